//! A walk over all keys of the server.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::Client;
use super::call::Call;
use super::error::Error;
use super::operation::done;
use super::request::{Terms, send};
use crate::protocol::binary::body::{ScanStep, read_scanned};

/// A walk over all keys of the server, in no order. A key that is there from the beginning to the end is
/// met at least once; one that comes or goes meanwhile may be met or not.
///
/// ```no_run
/// # async fn example(client: ringmain::client::Client) -> Result<(), ringmain::client::Error> {
/// let mut scan = client.scan().pattern("user:*");
/// while let Some(key) = scan.next().await? {
///     println!("{}", key.escape_ascii());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a scan goes on when `next` is awaited"]
pub struct Scan {
    client: Client,
    terms: Terms,
    pattern: Bytes,
    count: u32,
    cursor: u64,
    ended: bool,
    found: VecDeque<Bytes>,
}

impl Scan {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            terms: Terms::default(),
            pattern: Bytes::new(),
            count: 0,
            cursor: 0,
            ended: false,
            found: VecDeque::new(),
        }
    }

    /// Only keys that match a glob pattern, as `SCAN MATCH` has it.
    pub fn pattern(mut self, pattern: impl AsRef<[u8]>) -> Self {
        self.pattern = Bytes::copy_from_slice(pattern.as_ref());
        self
    }

    /// About how many keys the server looks at in one step, which is one request. It chooses itself
    /// otherwise.
    pub fn count(mut self, count: u32) -> Self {
        self.count = count;
        self
    }

    /// The time that one step has.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.terms.set_timeout(timeout);
        self
    }

    /// The next key; `None` at the end. After an error, or when the future was dropped, it goes on where
    /// it was.
    ///
    /// # Errors
    /// As a read.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(key) = self.found.pop_front() {
                return Ok(Some(key));
            }
            if self.ended {
                return Ok(None);
            }
            self.step().await?;
        }
    }

    async fn step(&mut self) -> Result<(), Error> {
        let mut step = Vec::with_capacity(ScanStep::BYTES);
        ScanStep { cursor: self.cursor, count: self.count }.write(&mut step);
        let call = Call::scan(self.pattern.clone(), step);
        let (cursor, keys) = send(&self.client, &self.terms, call, |answer| {
            done(&answer)?;
            let (cursor, keys) = read_scanned(&answer.body).map_err(|error| error.to_string())?;
            Ok((cursor, keys.into_iter().map(Bytes::copy_from_slice).collect::<Vec<_>>()))
        })
        .await?;
        self.cursor = cursor;
        self.ended = cursor == 0;
        self.found.extend(keys);
        Ok(())
    }
}
