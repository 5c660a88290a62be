//! Codes that only who knows a key can make: BLAKE3 with a key, cut to 16 bytes.

use std::fmt;

use subtle::ConstantTimeEq;

use crate::types::NodeId;

/// Bytes of an authentication code.
pub const CODE_BYTES: usize = 16;

/// What the nodes of a cluster share, so that they know each other.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterSecret(Key);

impl ClusterSecret {
    /// From what is in the operator's file.
    pub fn new(secret: &[u8]) -> Self {
        Self(Key(blake3::derive_key("ringmain cluster secret 1", secret)))
    }

    /// The key that shows that somebody knows the secret, and wants a link.
    pub(super) fn hello_key(&self) -> Key {
        self.0.derive("ringmain link hello 1")
    }

    /// The key of the link that began with these bytes: both sides' ids and nonces.
    pub(super) fn link_key(&self, beginning: &[&[u8]]) -> Key {
        let mut hasher = self.0.derive("ringmain link keys 1").hasher();
        beginning.iter().for_each(|bytes| {
            hasher.update(bytes);
        });
        Key(*hasher.finalize().as_bytes())
    }

    /// 40 hexadecimal digits that stand for a node, the same after every start.
    pub fn node_name(&self, node: NodeId) -> String {
        let mut hasher = self.0.derive("ringmain node name 1").hasher();
        hasher.update(&node.0.to_le_bytes());
        hasher.finalize().to_hex()[..40].to_owned()
    }
}

/// The secret is nobody's to read.
impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret")
    }
}

/// A key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// A key for another purpose.
    pub(super) fn derive(&self, purpose: &str) -> Self {
        Self(blake3::derive_key(purpose, &self.0))
    }

    fn hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.0)
    }

    /// The code of `parts`, one behind the other.
    pub(super) fn code(&self, parts: &[&[u8]]) -> [u8; CODE_BYTES] {
        let mut hasher = self.hasher();
        parts.iter().for_each(|part| {
            hasher.update(part);
        });
        let mut code = [0; CODE_BYTES];
        code.copy_from_slice(&hasher.finalize().as_bytes()[..CODE_BYTES]);
        code
    }

    /// Whether that is `code`; how long it takes says nothing about where it differs.
    pub(super) fn is_code(&self, parts: &[&[u8]], code: &[u8]) -> bool {
        self.code(parts).ct_eq(code).into()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}
