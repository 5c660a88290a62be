//! The types of Redis's values, as `TYPE` and people name them.

/// The type of a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bitmaps and HyperLogLogs are strings too.
    String,
    /// A list.
    List,
    /// A set.
    Set,
    /// A sorted set.
    SortedSet,
    /// A hash.
    Hash,
    /// A stream.
    Stream,
    /// A type that a module defines.
    Module,
}

impl Kind {
    /// How many there are.
    pub const COUNT: usize = 7;
    /// All of them; each stands at its index.
    pub const ALL: [Self; Self::COUNT] = [
        Self::String,
        Self::List,
        Self::Set,
        Self::SortedSet,
        Self::Hash,
        Self::Stream,
        Self::Module,
    ];

    /// Its place in tables by kind.
    pub fn index(self) -> usize {
        self as usize
    }

    /// What `TYPE` answers; `None` for no key. Names that Redis does not have are those of modules.
    pub fn from_type_name(name: &[u8]) -> Option<Self> {
        match name {
            b"none" => None,
            b"string" => Some(Self::String),
            b"list" => Some(Self::List),
            b"set" => Some(Self::Set),
            b"zset" => Some(Self::SortedSet),
            b"hash" => Some(Self::Hash),
            b"stream" => Some(Self::Stream),
            _ => Some(Self::Module),
        }
    }

    /// A command that every server with this type has; none for a module's.
    pub fn command(self) -> Option<&'static str> {
        match self {
            Self::String => Some("set"),
            Self::List => Some("rpush"),
            Self::Set => Some("sadd"),
            Self::SortedSet => Some("zadd"),
            Self::Hash => Some("hset"),
            Self::Stream => Some("xadd"),
            Self::Module => None,
        }
    }

    /// `count` of them, in words.
    pub fn counted(self, count: u64) -> String {
        let (one, many) = match self {
            Self::String => ("string", "strings"),
            Self::List => ("list", "lists"),
            Self::Set => ("set", "sets"),
            Self::SortedSet => ("sorted set", "sorted sets"),
            Self::Hash => ("hash", "hashes"),
            Self::Stream => ("stream", "streams"),
            Self::Module => ("value of a module's type", "values of modules' types"),
        };
        format!("{count} {}", if count == 1 { one } else { many })
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn each_stands_at_its_index() {
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), index);
        }
    }
}
