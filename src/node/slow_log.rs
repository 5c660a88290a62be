//! The slow log: commands that took longer than `slowlog-log-slower-than`.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::metrics::lock;
use crate::types::UnixMs;

/// Most arguments that an entry keeps (as Redis).
const ARGS_MAX: usize = 32;
/// Most bytes that an entry keeps of an argument (as Redis).
const ARG_BYTES_MAX: usize = 128;

/// One slow command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowEntry {
    /// Grows by one with each entry, also over `SLOWLOG RESET`.
    pub id: u64,
    /// When it ended.
    pub at: UnixMs,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// Its arguments, cut short.
    pub args: Vec<Box<[u8]>>,
    /// The client's address.
    pub client_addr: String,
    /// The client's name.
    pub client_name: String,
}

/// The latest slow commands, newest first.
#[derive(Debug, Default)]
pub struct SlowLog {
    inner: Mutex<Inner>,
    length: AtomicUsize,
}

#[derive(Debug, Default)]
struct Inner {
    entries: VecDeque<SlowEntry>,
    next_id: u64,
}

impl SlowLog {
    /// Adds a command and drops the oldest entries beyond `max_length` (`slowlog-max-len`).
    /// `client` is the client's address and name.
    pub fn add<'a>(
        &self,
        args: impl ExactSizeIterator<Item = &'a [u8]>,
        duration_us: u64,
        at: UnixMs,
        client: (String, String),
        max_length: usize,
    ) {
        let args = shorten(args);
        let mut inner = lock(&self.inner);
        let id = inner.next_id;
        inner.next_id += 1;
        let (client_addr, client_name) = client;
        inner.entries.push_front(SlowEntry { id, at, duration_us, args, client_addr, client_name });
        inner.entries.truncate(max_length);
        self.length.store(inner.entries.len(), Ordering::Relaxed);
    }

    /// The newest `count` entries.
    pub fn newest(&self, count: usize) -> Vec<SlowEntry> {
        lock(&self.inner).entries.iter().take(count).cloned().collect()
    }

    /// Number of entries.
    pub fn length(&self) -> usize {
        self.length.load(Ordering::Relaxed)
    }

    /// Drops all entries.
    pub fn reset(&self) {
        lock(&self.inner).entries.clear();
        self.length.store(0, Ordering::Relaxed);
    }
}

fn shorten<'a>(args: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<Box<[u8]>> {
    let count = args.len();
    let kept = if count > ARGS_MAX { ARGS_MAX - 1 } else { count };
    let mut short: Vec<Box<[u8]>> = args.take(kept).map(shorten_argument).collect();
    if count > kept {
        short.push(format!("... ({} more arguments)", count - kept).into_bytes().into());
    }
    short
}

fn shorten_argument(argument: &[u8]) -> Box<[u8]> {
    if argument.len() <= ARG_BYTES_MAX {
        return argument.into();
    }
    let (kept, cut) = argument.split_at(ARG_BYTES_MAX);
    let mut short = kept.to_vec();
    short.extend_from_slice(format!("... ({} more bytes)", cut.len()).as_bytes());
    short.into()
}

#[cfg(test)]
mod tests {
    use super::{SlowLog, UnixMs};

    fn add(log: &SlowLog, args: &[&[u8]], max_length: usize) {
        let client = ("127.0.0.1:1".to_owned(), String::new());
        log.add(args.iter().copied(), 10, UnixMs(1), client, max_length);
    }

    #[test]
    fn keeps_the_newest_and_goes_on_counting() {
        let log = SlowLog::default();
        for _ in 0..5 {
            add(&log, &[b"get", b"k"], 3);
        }
        let ids = |count| log.newest(count).iter().map(|entry| entry.id).collect::<Vec<_>>();
        assert_eq!((ids(2), ids(9), log.length()), (vec![4, 3], vec![4, 3, 2], 3));
        log.reset();
        assert_eq!(log.length(), 0);
        add(&log, &[b"get", b"k"], 3);
        assert_eq!(ids(9), [5]);
        add(&log, &[b"get", b"k"], 0);
        assert_eq!(log.length(), 0);
    }

    #[test]
    fn long_requests_are_cut() {
        let log = SlowLog::default();
        let long = [b'x'; 130];
        let mut args: Vec<&[u8]> = vec![b"mset", &long];
        args.resize(40, b"a");
        add(&log, &args, 3);
        let entry = &log.newest(1)[0];
        assert_eq!(entry.args.len(), 32);
        assert_eq!(&*entry.args[31], b"... (9 more arguments)");
        assert_eq!(&entry.args[1][126..], b"xx... (2 more bytes)");
    }
}
