//! A cluster of real processes that is killed, frozen, stopped, cut off and robbed of its files, under a load that
//! notes what it sees; then it is checked whether that can have happened.
//!
//! Whatever is random follows a seed, which is printed: `RINGMAIN_CHAOS_SEED=… cargo test --test cluster_chaos` makes
//! the same plan again, though no two runs are quite the same. `RINGMAIN_CHAOS_SECONDS=600` makes trouble for that
//! long instead of a minute.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../sim/cluster/linear.rs"]
mod linear;

mod client;
mod counters;
mod disaster;
mod faults;
mod load;
mod members;
mod network;
mod reader;
mod rebuild;
mod replicas;
mod stale;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use harness::random::{Random, seed};

/// How long a cluster may take, once nothing ails it, until all its replicas have the same: a second or two, but debug
/// builds on a busy machine take longer.
const RECOVERY: Duration = Duration::from_secs(20);
/// How long a shard may be without a leader when a node is stopped as an operator does, or dies: as above.
const UNAVAILABLE_MAX: Duration = Duration::from_secs(20);

/// Clusters are run one after another: two at once would be in each other's way.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A generator with a seed that is printed.
fn random() -> Random {
    let seed = seed("RINGMAIN_CHAOS_SEED");
    println!("RINGMAIN_CHAOS_SEED={seed}");
    Random::new(seed)
}
