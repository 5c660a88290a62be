//! Client-side caching: who is told of keys that change, and how (`CLIENT TRACKING`).
//!
//! A client's own core writes what the client chose; whoever holds a shard with a key that has changed reads
//! it. Shards have clients registered by a serial number, which is new each time that tracking begins: what
//! was registered before is nobody's.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use hashbrown::HashMap;

use crate::metrics::lock;
use crate::types::ClientId;

/// Which keys a client is told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrackingMode {
    /// Those that it has read.
    #[default]
    Read,
    /// Those that it has read just after `CLIENT CACHING YES`.
    OptIn,
    /// Those that it has read, but for just after `CLIENT CACHING NO`.
    OptOut,
    /// Those that begin with its prefixes, whether it has read them or not.
    Broadcast,
}

/// What a client is told of keys that change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTracking {
    /// Which keys.
    pub mode: TrackingMode,
    /// Not those that it changes itself.
    pub no_loop: bool,
    /// Who gets the messages, if it is somebody else.
    pub redirect: Option<ClientId>,
    /// Whether that client was found gone.
    pub is_broken: bool,
    /// In [`Broadcast`](TrackingMode::Broadcast) mode; an empty one stands for all keys.
    pub prefixes: Vec<Arc<[u8]>>,
}

/// One client's tracking as others see it.
#[derive(Debug, Default)]
pub struct TrackingCell(Mutex<(u64, Option<ClientTracking>)>);

impl TrackingCell {
    fn inner(&self) -> MutexGuard<'_, (u64, Option<ClientTracking>)> {
        lock(&self.0)
    }

    /// What the client is told, if anything.
    pub fn get(&self) -> Option<ClientTracking> {
        self.inner().1.clone()
    }

    /// The same, if the tracking is the one with this number.
    pub fn get_if(&self, serial: u64) -> Option<ClientTracking> {
        let inner = self.inner();
        if inner.0 == serial { inner.1.clone() } else { None }
    }

    /// Begins or goes on; answers the number.
    pub fn set(&self, tracking: ClientTracking) -> u64 {
        let mut inner = self.inner();
        if inner.1.replace(tracking).is_none() {
            inner.0 += 1;
        }
        inner.0
    }

    /// Ends; answers what was.
    pub fn clear(&self) -> Option<ClientTracking> {
        self.inner().1.take()
    }

    /// The client that gets the messages is gone.
    pub fn set_broken(&self) {
        if let Some(tracking) = &mut self.inner().1 {
            tracking.is_broken = true;
        }
    }
}

/// How many clients track keys, and which prefixes they have.
#[derive(Debug, Default)]
pub struct Tracking {
    clients: AtomicUsize,
    prefixes: Mutex<HashMap<Arc<[u8]>, usize>>,
}

impl Tracking {
    /// Clients that track.
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    /// Different prefixes.
    pub fn prefixes(&self) -> usize {
        lock(&self.prefixes).len()
    }

    /// A client begins.
    pub fn add_client(&self) {
        self.clients.fetch_add(1, Ordering::Relaxed);
    }

    /// A client has one more prefix.
    pub fn add_prefix(&self, prefix: &Arc<[u8]>) {
        *lock(&self.prefixes).entry(prefix.clone()).or_default() += 1;
    }

    /// A client has ended.
    pub fn remove(&self, tracking: &ClientTracking) {
        self.clients.fetch_sub(1, Ordering::Relaxed);
        let mut prefixes = lock(&self.prefixes);
        for prefix in &tracking.prefixes {
            if let Some(count) = prefixes.get_mut(prefix) {
                *count -= 1;
                if *count == 0 {
                    prefixes.remove(prefix);
                }
            }
        }
    }
}
