//! What can be wrong with a file.

/// Why a file can't be read further. `Display` is a clause; [`RdbError::mend`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RdbError {
    /// The operating system refuses.
    #[error("it can't be read at byte {at}: {error}")]
    Io {
        /// Bytes read before.
        at: u64,
        /// Its word.
        error: std::io::Error,
    },
    /// Something else.
    #[error("it is no RDB file, which starts with REDIS and four digits")]
    NotRdb,
    /// A version that did not exist, or did not when this was written.
    #[error("it is in version {version} of the RDB format, and versions 1 to {newest} are read")]
    Version {
        /// The version it names.
        version: u16,
        /// The newest known.
        newest: u16,
    },
    /// The file ends inside of something.
    #[error("it ends at byte {at}, before the data does")]
    Truncated {
        /// Its length.
        at: u64,
    },
    /// Bytes that mean nothing.
    #[error("at byte {at} there is {what}")]
    Format {
        /// Where.
        at: u64,
        /// What they are.
        what: &'static str,
    },
    /// A type of value that is not known.
    #[error("at byte {at} there is type {byte} of value, which is not known")]
    UnknownType {
        /// Where.
        at: u64,
        /// The byte that names it.
        byte: u8,
    },
    /// The checksum is another than that of the bytes.
    #[error(
        "its bytes have the checksum {computed:016x}, and it says {stored:016x} at byte {at}: it is \
         damaged"
    )]
    Checksum {
        /// Where the checksum stands.
        at: u64,
        /// What it is.
        stored: u64,
        /// What it should be.
        computed: u64,
    },
    /// Something follows the end.
    #[error("after its end, at byte {at}, something follows")]
    Trailing {
        /// Where it ends.
        at: u64,
    },
}

impl RdbError {
    /// What to do about it.
    pub fn mend(&self) -> &'static str {
        match self {
            Self::Io { .. } => "name a file that is there and that this user may read",
            Self::NotRdb => "name what SAVE or BGSAVE wrote, usually dump.rdb",
            Self::Version { .. } => "copy the running server instead, with --from HOST:PORT",
            Self::Truncated { .. } => "copy the file again, once BGSAVE or the transfer has ended",
            Self::Format { .. } | Self::Checksum { .. } => {
                "copy the file again, or let the server write another with BGSAVE"
            }
            Self::UnknownType { .. } => {
                "copy the file again, or copy the running server instead, with --from HOST:PORT"
            }
            Self::Trailing { .. } => {
                "if it is an append-only file, let the server load it and write an RDB file with BGSAVE"
            }
        }
    }
}
