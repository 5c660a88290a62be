//! Durability as users meet it: real servers on real files, killed, stopped, started again, out of room.
//!
//! Whatever is random follows a seed, which is printed: `RINGMAIN_CRASH_SEED=… cargo test --test durability`
//! asks the same again, though a kill never comes at quite the same moment. `RINGMAIN_CRASHES=200` crashes
//! that many servers instead of twenty.

#[path = "../harness/mod.rs"]
mod harness;

mod crash;
mod disk;
mod faults;
mod levels;
mod load;
mod loading;
mod restart;
mod server;
mod snapshots;
