//! Bytes from a peer, as the tests and the fuzz target try them.

use bytes::Bytes;
use ringmain::replica::{Fault, ShardMessage};

/// What must hold for any bytes: they are the one message that is written so, or none.
pub(crate) fn check_message(bytes: &[u8]) -> Result<ShardMessage, Fault> {
    let message = ShardMessage::decode(&Bytes::copy_from_slice(bytes))?;
    let mut again = Vec::new();
    message.encode(&mut again);
    assert_eq!(again, bytes, "{message:?}");
    Ok(message)
}
