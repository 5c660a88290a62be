//! The running server that keys are read from, or all primaries of a cluster.
//!
//! Strings are read with `GET`, which every version writes and reads alike; other types with `DUMP`,
//! which another version may refuse. A key's time to live is asked for right before its value.

use super::Failure;
use super::connection::{Connection, Reply};
use super::endpoint::Endpoint;
use super::kind::Kind;
use super::rdb::Value;
use super::record::{Expiry, Record, Sink};
use super::tally::Tally;

/// Keys that a `SCAN` is asked for.
const SCAN_COUNT: &[u8] = b"512";
/// Most keys asked for before the first reply is read.
const WINDOW_KEYS: usize = 512;
/// Bytes of names asked for before the first reply is read: fewer than sockets hold, so that the server
/// never waits for us to read while we wait for it to.
const WINDOW_NAME_BYTES: usize = 64 * 1024;
/// Bytes of values that may wait in the server's output, going by the values that came before.
const WINDOW_VALUE_BYTES: usize = 4 * 1024 * 1024;

/// A database and the number of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Database {
    pub(super) index: u64,
    pub(super) keys: u64,
}

/// One server.
pub(super) struct Origin {
    connection: Connection,
    /// It knows `PEXPIRETIME`, which is exact; `PTTL` is not.
    tells_time: bool,
    /// Mean bytes of a value in the last window.
    value_bytes: usize,
}

impl Origin {
    /// Connects to the server, and to all primaries if it is part of a cluster.
    pub(super) fn open_all(endpoint: &Endpoint) -> Result<Vec<Self>, Failure> {
        let mut first = Self::open(endpoint)?;
        let nodes = first.primaries(endpoint).map_err(Failure::before)?;
        if nodes.is_empty() {
            return Ok(vec![first]);
        }
        nodes.iter().map(Self::open).collect()
    }

    fn open(endpoint: &Endpoint) -> Result<Self, Failure> {
        let mut connection = Connection::open(endpoint)?;
        let reply =
            connection.call(&[b"COMMAND", b"INFO", b"pexpiretime"]).map_err(Failure::before)?;
        let tells_time =
            matches!(reply, Reply::Array(rows) if matches!(rows.first(), Some(Reply::Array(_))));
        Ok(Self { connection, tells_time, value_bytes: 0 })
    }

    /// The server, as sentences name it.
    pub(super) fn name(&self) -> &str {
        self.connection.name()
    }

    /// The primaries of the cluster that the server belongs to; none if it serves all keys.
    fn primaries(&mut self, endpoint: &Endpoint) -> Result<Vec<Endpoint>, Failure> {
        let info = self.info("cluster")?;
        if !info.lines().any(|line| line.trim_end() == "cluster_enabled:1") {
            return Ok(Vec::new());
        }
        let slots = self.connection.call(&[b"CLUSTER", b"SLOTS"])?;
        let mut nodes: Vec<Endpoint> = Vec::new();
        for row in self.array(slots, "CLUSTER SLOTS")? {
            let Some((host, port)) = primary_of(&row) else { continue };
            let host = if host.is_empty() { endpoint.host.clone() } else { host };
            if !nodes.iter().any(|node| node.host == host && node.port == port) {
                nodes.push(Endpoint { host, port, ..endpoint.clone() });
            }
        }
        Ok(nodes)
    }

    /// The databases with keys, of those in `chosen`; of all if that is empty.
    pub(super) fn databases(&mut self, chosen: &[u64]) -> Result<Vec<Database>, Failure> {
        let info = self.info("keyspace")?;
        let databases = info.lines().filter_map(database);
        Ok(databases.filter(|db| chosen.is_empty() || chosen.contains(&db.index)).collect())
    }

    /// Chooses the database that is read.
    pub(super) fn select(&mut self, index: u64) -> Result<(), Failure> {
        let reply = self.connection.call(&[b"SELECT", index.to_string().as_bytes()])?;
        self.no_error(reply, "SELECT").map(drop)
    }

    /// Some keys, and the cursor to go on with; after the last it is `0`.
    pub(super) fn scan(&mut self, cursor: &[u8]) -> Result<(Vec<Vec<u8>>, Vec<u8>), Failure> {
        let reply = self.connection.call(&[b"SCAN", cursor, b"COUNT", SCAN_COUNT])?;
        let mut parts = self.array(reply, "SCAN")?.into_iter();
        let (Some(Reply::Bulk(next)), Some(Reply::Array(found))) = (parts.next(), parts.next())
        else {
            return Err(self.strange("SCAN"));
        };
        let bulk = |reply| match reply {
            Reply::Bulk(key) => Some(key),
            _ => None,
        };
        Ok((found.into_iter().filter_map(bulk).collect(), next))
    }

    /// Reads the values of `keys` into `sink`; counts in `tally` those that have none to give.
    pub(super) fn read(
        &mut self,
        keys: &[Vec<u8>],
        sink: &mut impl Sink,
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        let mut rest = keys;
        while !rest.is_empty() {
            let (window, after) = rest.split_at(self.window(rest));
            self.read_window(window, sink, tally)?;
            rest = after;
        }
        Ok(())
    }

    /// How many of `keys` are asked for in one go; at least one.
    fn window(&self, keys: &[Vec<u8>]) -> usize {
        let by_values = WINDOW_VALUE_BYTES / self.value_bytes.max(1);
        let mut name_bytes = 0;
        let by_names = keys.iter().take_while(|key| {
            name_bytes += key.len();
            name_bytes <= WINDOW_NAME_BYTES
        });
        by_names.count().min(by_values).clamp(1, WINDOW_KEYS.min(keys.len()))
    }

    fn read_window(
        &mut self,
        keys: &[Vec<u8>],
        sink: &mut impl Sink,
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        let kinds = self.kinds(keys)?;
        tally.vanished += kinds.iter().filter(|kind| kind.is_none()).count() as u64;
        let found = || keys.iter().zip(&kinds).filter_map(|(key, kind)| Some((key, (*kind)?)));
        let ttl: &[u8] = if self.tells_time { b"PEXPIRETIME" } else { b"PTTL" };
        for (key, kind) in found().filter(|(_, kind)| sink.wants(*kind)) {
            let value: &[u8] = if kind == Kind::String { b"GET" } else { b"DUMP" };
            self.connection.queue(&[ttl, key])?;
            self.connection.queue(&[value, key])?;
        }
        self.connection.flush()?;
        let (mut bytes, mut values) = (0, 0);
        for (key, kind) in found() {
            let key = key.clone();
            if !sink.wants(kind) {
                sink.put(Record { key, kind, expiry: Expiry::Never, value: Value::Skipped })?;
                continue;
            }
            let expiry = self.connection.read()?;
            let value = match self.connection.read()? {
                Reply::Bulk(value) if kind == Kind::String => Value::String(value),
                Reply::Bulk(payload) => Value::Payload(payload),
                Reply::TooLong => Value::TooLong,
                Reply::Null => {
                    tally.vanished += 1;
                    continue;
                }
                // A key that has another type by now: another run finds it.
                Reply::Error(error) if is_of_the_key(&error) => {
                    tally.refuse(&key, &error);
                    continue;
                }
                reply => return Err(self.refused(reply, "GET")),
            };
            if let Value::String(value) | Value::Payload(value) = &value {
                bytes += value.len();
                values += 1;
            }
            match self.expiry(expiry)? {
                Some(expiry) => sink.put(Record { key, kind, expiry, value })?,
                None => tally.vanished += 1,
            }
        }
        self.value_bytes = bytes / values.max(1);
        Ok(())
    }

    fn kinds(&mut self, keys: &[Vec<u8>]) -> Result<Vec<Option<Kind>>, Failure> {
        for key in keys {
            self.connection.queue(&[b"TYPE", key])?;
        }
        self.connection.flush()?;
        let mut kinds = Vec::with_capacity(keys.len());
        for _ in keys {
            match self.connection.read()? {
                Reply::Simple(name) => kinds.push(Kind::from_type_name(&name)),
                reply => return Err(self.refused(reply, "TYPE")),
            }
        }
        Ok(kinds)
    }

    /// When a key expires; `None` if it is gone.
    fn expiry(&self, reply: Reply) -> Result<Option<Expiry>, Failure> {
        match reply {
            Reply::Integer(-1) => Ok(Some(Expiry::Never)),
            Reply::Integer(-2) => Ok(None),
            Reply::Integer(ms) => {
                let ms = u64::try_from(ms).unwrap_or(0).max(1);
                Ok(Some(if self.tells_time { Expiry::At(ms) } else { Expiry::In(ms) }))
            }
            reply => Err(self.refused(reply, "PTTL")),
        }
    }

    fn info(&mut self, section: &str) -> Result<String, Failure> {
        let reply = self.connection.call(&[b"INFO", section.as_bytes()])?;
        match reply {
            Reply::Bulk(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
            reply => Err(self.refused(reply, "INFO")),
        }
    }

    fn array(&self, reply: Reply, command: &str) -> Result<Vec<Reply>, Failure> {
        match reply {
            Reply::Array(items) => Ok(items),
            reply => Err(self.refused(reply, command)),
        }
    }

    fn no_error(&self, reply: Reply, command: &str) -> Result<Reply, Failure> {
        match reply {
            Reply::Error(_) => Err(self.refused(reply, command)),
            reply => Ok(reply),
        }
    }

    fn refused(&self, reply: Reply, command: &str) -> Failure {
        let Reply::Error(error) = reply else { return self.strange(command) };
        let mend = match error.split(' ').next() {
            Some("NOPERM") => "give a user that may read",
            Some("MOVED" | "ASK" | "CLUSTERDOWN") => {
                "its cluster is changing; start again when it has settled"
            }
            _ => "mend that, and start again",
        };
        Failure::Lost(format!("The server at {} refuses {command} ({error}): {mend}.", self.name()))
    }

    fn strange(&self, command: &str) -> Failure {
        Failure::Lost(format!(
            "The server at {} answers {command} as no Redis server does: name another.",
            self.name()
        ))
    }
}

/// Whether an error says something of its key alone.
fn is_of_the_key(error: &str) -> bool {
    error.starts_with("ERR ") || error.starts_with("WRONGTYPE")
}

/// The primary in a row of `CLUSTER SLOTS`: first and last slot, then the nodes, it first.
fn primary_of(row: &Reply) -> Option<(String, u16)> {
    let Reply::Array(row) = row else { return None };
    let Some(Reply::Array(node)) = row.get(2) else { return None };
    let host = match node.first()? {
        Reply::Bulk(host) if host.as_slice() != b"?" => String::from_utf8_lossy(host).into_owned(),
        // It does not know its own address: the one that was connected to.
        _ => String::new(),
    };
    match node.get(1)? {
        Reply::Integer(port) => Some((host, u16::try_from(*port).ok()?)),
        _ => None,
    }
}

/// A line of `INFO keyspace`: `db0:keys=2,expires=0,avg_ttl=0`.
fn database(line: &str) -> Option<Database> {
    let (index, fields) = line.strip_prefix("db")?.split_once(':')?;
    let keys = fields.trim_end().split(',').find_map(|field| field.strip_prefix("keys="))?;
    Some(Database { index: index.parse().ok()?, keys: keys.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::{Database, Reply, database, primary_of};

    #[test]
    fn lines_of_the_keyspace() {
        let row = |index, keys| Some(Database { index, keys });
        for (line, expect) in [
            ("db0:keys=2,expires=0,avg_ttl=0\r", row(0, 2)),
            ("db15:keys=3000000000,expires=1,avg_ttl=0,subexpiry=0", row(15, 3_000_000_000)),
            ("# Keyspace", None),
            ("", None),
            ("db0:expires=1", None),
            ("dbx:keys=1", None),
        ] {
            assert_eq!(database(line), expect, "{line}");
        }
    }

    #[test]
    fn rows_of_cluster_slots() {
        let node =
            |host| Reply::Array(vec![host, Reply::Integer(7000), Reply::Bulk(b"id".to_vec())]);
        let row = |host| {
            Reply::Array(vec![Reply::Integer(0), Reply::Integer(9), node(host), node(Reply::Null)])
        };
        let host = |name: &str| Some((name.to_owned(), 7000));
        assert_eq!(primary_of(&row(Reply::Bulk(b"10.0.0.1".to_vec()))), host("10.0.0.1"));
        assert_eq!(primary_of(&row(Reply::Null)), host(""));
        assert_eq!(primary_of(&row(Reply::Bulk(b"?".to_vec()))), host(""));
        assert_eq!(primary_of(&Reply::Array(vec![Reply::Integer(0)])), None);
        assert_eq!(primary_of(&Reply::Null), None);
    }
}
