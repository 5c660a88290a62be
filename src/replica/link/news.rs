//! What a client has published on a channel, told to another node for those who listen there.
//!
//! ```text
//! channel bytes u32 │ channel │ the text, to the end
//! ```

use bytes::Bytes;

use crate::replica::Fault;
use crate::replica::fields::Fields;

/// A text that was published on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The channel; any bytes.
    pub channel: Bytes,
    /// What was published there; any bytes.
    pub text: Bytes,
}

impl News {
    /// Appends the bytes of what was published.
    pub fn encode(channel: &[u8], text: &[u8], out: &mut Vec<u8>) {
        let length = u32::try_from(channel.len()).expect("a length below 2^32");
        out.reserve(size_of::<u32>() + channel.len() + text.len());
        out.extend(length.to_le_bytes());
        out.extend_from_slice(channel);
        out.extend_from_slice(text);
    }

    /// Reads all of `bytes`.
    ///
    /// # Errors
    /// If the channel is longer than they are.
    pub fn decode(bytes: &Bytes) -> Result<Self, Fault> {
        let mut fields = Fields::new(bytes);
        let length = fields.u32()? as usize;
        let channel = fields.bytes(length)?;
        let text = fields.bytes(fields.left())?;
        fields.end()?;
        Ok(Self { channel, text })
    }
}
