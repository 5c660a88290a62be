//! The server that keys are written to.
//!
//! Requests leave in batches; the replies to one are read once the next has left, so that the server
//! always has work, at most two batches are under way, and memory is bounded by them and one value.

use std::collections::VecDeque;

use super::Failure;
use super::connection::{Connection, Reply};
use super::endpoint::Endpoint;
use super::kind::Kind;
use super::rdb::Value;
use super::record::{Expiry, Record, Sink, now_ms};
use super::tally::Tally;

/// Most requests of a batch.
const BATCH_REQUESTS: usize = 256;
/// Bytes of values after which a batch leaves.
const BATCH_BYTES: usize = 256 * 1024;

/// What a request that was sent will tell.
struct Sent {
    key: Vec<u8>,
    kind: Kind,
}

/// The server, and what is under way to it.
pub(super) struct Target {
    connection: Connection,
    replace: bool,
    knows: [bool; Kind::COUNT],
    database: u64,
    sent: VecDeque<Sent>,
    /// How many of `sent` belong to batches that have left.
    left: usize,
    batch_bytes: usize,
    pub(super) tally: Tally,
}

impl Target {
    /// Connects, and asks which types the server knows. With `replace`, keys that are there are
    /// overwritten.
    pub(super) fn open(endpoint: &Endpoint, replace: bool) -> Result<Self, Failure> {
        let mut connection = Connection::open(endpoint)?;
        let knows = known_types(&mut connection).map_err(Failure::before)?;
        Ok(Self {
            connection,
            replace,
            knows,
            database: 0,
            sent: VecDeque::new(),
            left: 0,
            batch_bytes: 0,
            tally: Tally::default(),
        })
    }

    /// The server, as sentences name it.
    pub(super) fn name(&self) -> &str {
        self.connection.name()
    }

    /// Waits until all that was put has been answered.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        self.send_batch()?;
        self.read_replies(self.left)
    }

    fn send_batch(&mut self) -> Result<(), Failure> {
        let earlier = self.left;
        self.connection.flush()?;
        self.left = self.sent.len();
        self.batch_bytes = 0;
        self.read_replies(earlier)
    }

    fn read_replies(&mut self, count: usize) -> Result<(), Failure> {
        for sent in self.sent.drain(..count) {
            let reply = self.connection.read()?;
            judge(&mut self.tally, &sent, reply).map_err(|error| {
                let name = self.connection.name();
                Failure::Lost(format!(
                    "The server at {name} takes no more keys ({error}): {}.",
                    mend(&error)
                ))
            })?;
        }
        self.left -= count;
        Ok(())
    }

    fn queue_string(&mut self, record: &Record, value: &[u8]) -> Result<(), Failure> {
        let mut digits = itoa::Buffer::new();
        let mut args: Vec<&[u8]> = vec![b"SET", &record.key, value];
        match record.expiry {
            Expiry::Never => {}
            Expiry::At(ms) => args.extend([&b"PXAT"[..], digits.format(ms).as_bytes()]),
            Expiry::In(ms) => args.extend([&b"PX"[..], digits.format(ms).as_bytes()]),
        }
        if !self.replace {
            args.push(b"NX");
        }
        self.connection.queue(&args)
    }

    fn queue_payload(&mut self, record: &Record, payload: &[u8]) -> Result<(), Failure> {
        let mut digits = itoa::Buffer::new();
        let (ttl, absolute) = match record.expiry {
            Expiry::Never => (0, false),
            Expiry::At(ms) => (ms, true),
            Expiry::In(ms) => (ms, false),
        };
        let ttl = digits.format(ttl).as_bytes();
        let mut args: Vec<&[u8]> = vec![b"RESTORE", &record.key, ttl, payload];
        args.extend(absolute.then_some(&b"ABSTTL"[..]));
        args.extend(self.replace.then_some(&b"REPLACE"[..]));
        self.connection.queue(&args)
    }
}

impl Sink for Target {
    fn wants(&self, kind: Kind) -> bool {
        self.knows[kind.index()]
    }

    fn select(&mut self, database: u64) -> Result<(), Failure> {
        if database == self.database {
            return Ok(());
        }
        // What follows must not reach another database if this is refused.
        self.finish()?;
        match self.connection.call(&[b"SELECT", database.to_string().as_bytes()])? {
            Reply::Error(error) => Err(Failure::Lost(format!(
                "The server at {} has no database {database} ({error}): choose others with --db, or \
                 start it with that many.",
                self.name()
            ))),
            _ => {
                self.database = database;
                Ok(())
            }
        }
    }

    fn put(&mut self, record: Record) -> Result<(), Failure> {
        if record.expiry.has_passed(now_ms()) {
            self.tally.expired += 1;
            return Ok(());
        }
        let bytes = match &record.value {
            Value::Skipped => {
                self.tally.unknown(record.kind);
                return Ok(());
            }
            Value::TooLong => {
                self.tally.too_long += 1;
                return Ok(());
            }
            Value::String(value) => {
                self.queue_string(&record, value)?;
                value.len()
            }
            Value::Payload(payload) => {
                self.queue_payload(&record, payload)?;
                payload.len()
            }
        };
        self.batch_bytes += bytes + record.key.len();
        self.sent.push_back(Sent { key: record.key, kind: record.kind });
        if self.sent.len() - self.left >= BATCH_REQUESTS || self.batch_bytes >= BATCH_BYTES {
            self.send_batch()?;
        }
        Ok(())
    }
}

/// Counts what a reply says of its key.
///
/// # Errors
/// The server's, if there is no sense in going on: it would say the same of the next key.
fn judge(tally: &mut Tally, sent: &Sent, reply: Reply) -> Result<(), String> {
    match reply {
        Reply::Simple(_) => tally.written += 1,
        // `SET … NX` has found a key.
        Reply::Null => tally.kept += 1,
        Reply::Error(error) if error.starts_with("BUSYKEY") => tally.kept += 1,
        Reply::Error(error) if sent.kind != Kind::String && is_foreign(&error) => {
            tally.unknown(sent.kind);
        }
        Reply::Error(error) if error.starts_with("ERR ") => tally.refuse(&sent.key, &error),
        Reply::Error(error) => return Err(error),
        Reply::Integer(_) | Reply::Bulk(_) | Reply::TooLong | Reply::Array(_) => {
            return Err("its reply belongs to no SET or RESTORE".to_owned());
        }
    }
    Ok(())
}

/// Whether `RESTORE` was refused because the server knows no such payload.
fn is_foreign(error: &str) -> bool {
    error.starts_with("ERR Bad data format") || error.starts_with("ERR DUMP payload version")
}

/// What to do about an error that ends the transfer.
fn mend(error: &str) -> &'static str {
    let code = error.split(' ').next().unwrap_or(error);
    match code {
        "OOM" => "raise its maxmemory, or let it evict",
        "READONLY" => "name its primary",
        "NOAUTH" | "NOPERM" | "WRONGPASS" => {
            "give a user that may write, with --user and --password"
        }
        "MOVED" | "ASK" | "CROSSSLOT" | "CLUSTERDOWN" => {
            "it holds only a part of a cluster's keys; name a server that takes all of them"
        }
        "LOADING" | "BUSY" | "TRYAGAIN" => "wait until it is ready, and start again",
        _ => "mend that, and start again",
    }
}

/// Which types have commands. A server that does not tell is given everything.
fn known_types(connection: &mut Connection) -> Result<[bool; Kind::COUNT], Failure> {
    let mut knows = [true; Kind::COUNT];
    for kind in Kind::ALL {
        let Some(command) = kind.command() else { continue };
        let reply = connection.call(&[b"COMMAND", b"INFO", command.as_bytes()])?;
        if let Reply::Array(rows) = reply {
            knows[kind.index()] = !matches!(rows.first(), Some(Reply::Null) | None);
        }
    }
    Ok(knows)
}

#[cfg(test)]
mod tests {
    use super::{Kind, Reply, Sent, Tally, judge};

    #[test]
    fn replies_are_judged() {
        let error = |text: &str| Reply::Error(text.to_owned());
        for (kind, reply, expect) in [
            (Kind::String, Reply::Simple(b"OK".to_vec()), Ok((1, 0, 0, 0))),
            (Kind::String, Reply::Null, Ok((0, 1, 0, 0))),
            (Kind::List, error("BUSYKEY Target key name already exists."), Ok((0, 1, 0, 0))),
            (Kind::List, error("ERR Bad data format"), Ok((0, 0, 1, 0))),
            (Kind::Set, error("ERR DUMP payload version or checksum are wrong"), Ok((0, 0, 1, 0))),
            (Kind::String, error("ERR string exceeds maximum allowed size"), Ok((0, 0, 0, 1))),
            (Kind::List, error("ERR unknown command 'RESTORE'"), Ok((0, 0, 0, 1))),
            (Kind::String, error("OOM no"), Err("OOM no".to_owned())),
            (Kind::String, error("MOVED 1 a:1"), Err("MOVED 1 a:1".to_owned())),
        ] {
            let mut tally = Tally::default();
            let outcome = judge(&mut tally, &Sent { key: b"k".to_vec(), kind }, reply);
            let counts = (tally.written, tally.kept, tally.unknown_count(), tally.refused);
            assert_eq!(outcome.map(|()| counts), expect);
        }
    }
}
