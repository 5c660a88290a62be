//! The synchronization types under the shard token. `tests/token.rs` puts loom's in their place.

pub(crate) use std::cell::UnsafeCell;
pub(crate) use std::sync::atomic::{AtomicUsize, Ordering};
pub(crate) use std::sync::{Mutex, MutexGuard};
