//! The limit of locked memory, which io_uring's rings and registered buffers count against.
//!
//! Facts, found in glommio 0.9.0's source and by trying on Linux 6.18 as a user without privileges:
//!
//! - glommio refuses to start an executor if the limit is below 512 KiB, whatever it needs.
//! - An executor sets up three rings and registers its I/O memory (`io_memory`, at least 64 KiB) with
//!   each of the three, which counts three times. Where registering fails it goes on without.
//! - Since about Linux 6.14 rings count as well: 8 KiB for 64 entries, 16 KiB for 128, 104 KiB for
//!   1,024, 404 KiB for 4,096. Before, they did not since 5.12.
//! - The count is per user, not per process, and a ring's share is given back some milliseconds after
//!   its process has ended. With `CAP_IPC_LOCK`, as root has, nothing counts.
//! - With the usual limit of 8 MiB, `ring_depth` 128 and the smallest `io_memory`, 34 executors start
//!   and not one more, because the early ones register memory that the later ones' rings lack. If the
//!   I/O memory is larger than the limit, so that no one registers any, 170 start.

use rlimit::Resource;

use super::StartError;
use super::io_uring;
use crate::config::Config;
use crate::limits::{RECEIVE_BUFFERS, RING_COMPLETIONS, RING_SUBMISSIONS};

/// Entries of each of an executor's three rings: as many as cost no more than eight would.
pub const GLOMMIO_RING_DEPTH: usize = 64;

/// The limit below which glommio refuses to start.
const GLOMMIO_LIMIT_MIN: u64 = 512 << 10;
/// The least I/O memory that an executor takes.
const GLOMMIO_IO_MEMORY_MIN: u64 = 64 << 10;
/// Rings of an executor.
const GLOMMIO_RINGS: u64 = 3;
/// I/O memory that is larger than the limit becomes resident in vain. This much a core may waste so
/// that more cores can start.
const IO_MEMORY_WASTE_MAX: u64 = 16 << 20;

const PAGE: u64 = 4096;

/// Locked bytes of a ring of `submissions` and `completions` entries, as the kernel lays it out.
const fn ring_bytes(submissions: u64, completions: u64) -> u64 {
    const HEADER: u64 = 64;
    let entries = (64 * submissions).next_multiple_of(PAGE);
    let rings = (HEADER + 16 * completions + 4 * submissions).next_multiple_of(PAGE);
    entries + rings
}

/// Locked bytes of one core's rings: its own, with the ring of receive buffers, and its executor's.
const CORE_RINGS_BYTES: u64 = ring_bytes(RING_SUBMISSIONS as u64, RING_COMPLETIONS as u64)
    + (16 * RECEIVE_BUFFERS as u64).next_multiple_of(PAGE)
    + GLOMMIO_RINGS * ring_bytes(GLOMMIO_RING_DEPTH as u64, 2 * GLOMMIO_RING_DEPTH as u64);

/// Locked bytes of one core whose executor registers its I/O memory.
const CORE_BYTES: u64 = CORE_RINGS_BYTES + GLOMMIO_RINGS * GLOMMIO_IO_MEMORY_MIN;

/// Raises the limit of locked memory as far as the user may, towards what `cores` cores can use. An
/// error if it stays below what a single executor insists on.
pub(super) fn raise_limit(cores: u16) -> Result<(), StartError> {
    let wanted = (u64::from(cores) * CORE_BYTES).max(GLOMMIO_LIMIT_MIN);
    let limit = raise(wanted);
    if limit < GLOMMIO_LIMIT_MIN {
        return Err(StartError::TooLittleLockableMemory {
            limit_kib: limit >> 10,
            needed_kib: wanted >> 10,
        });
    }
    Ok(())
}

/// Takes CPUs away until the rings of the cores that are left fit the limit of locked memory.
pub(super) fn fit_cores(config: &mut Config) -> Result<(), StartError> {
    let limit = limit();
    let cores = u64::from(config.core_count());
    if cores * CORE_RINGS_BYTES <= limit || !io_uring::rings_count_as_locked() {
        return Ok(());
    }
    let possible = cores_possible(limit);
    if possible == 0 {
        return Err(StartError::TooLittleLockableMemory {
            limit_kib: limit >> 10,
            needed_kib: CORE_BYTES >> 10,
        });
    }
    if possible < cores {
        tracing::warn!(
            "{possible} of {cores} CPUs are used, because {} KiB of lockable memory are too little \
             for more: raise the limit to {} KiB with `ulimit -l`, or with LimitMEMLOCK in a systemd \
             unit",
            limit >> 10,
            (cores * CORE_BYTES) >> 10,
        );
        config.cpus.truncate(usize::try_from(possible).unwrap_or(usize::MAX));
    }
    Ok(())
}

/// Cores whose rings fit `limit`.
fn cores_possible(limit: u64) -> u64 {
    if limit < IO_MEMORY_WASTE_MAX { limit / CORE_RINGS_BYTES } else { limit / CORE_BYTES }
}

/// The I/O memory that each of `cores` executors is to be given: the least, or, where registering it
/// would take from the later cores' rings what they need, more than can be registered.
pub fn glommio_io_memory_bytes(cores: u16) -> usize {
    let bytes = io_memory_bytes(u64::from(cores), limit());
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn io_memory_bytes(cores: u64, limit: u64) -> u64 {
    if cores * CORE_BYTES <= limit || limit >= IO_MEMORY_WASTE_MAX {
        GLOMMIO_IO_MEMORY_MIN
    } else {
        (limit + 1).next_multiple_of(PAGE)
    }
}

/// What to tell when memory can't be locked any more though the limit allows for it.
pub(super) fn used_up() -> StartError {
    StartError::LockableMemoryUsedUp { limit_kib: limit() >> 10 }
}

/// What this process may lock: no limit with `CAP_IPC_LOCK`.
fn limit() -> u64 {
    if may_lock_anything() {
        return u64::MAX;
    }
    Resource::MEMLOCK.get().map_or(u64::MAX, |(soft, _)| soft)
}

/// Raises the limit towards `wanted`, beyond the hard limit if the user may; what it is then.
fn raise(wanted: u64) -> u64 {
    let Ok((soft, hard)) = Resource::MEMLOCK.get() else { return u64::MAX };
    if soft >= wanted {
        return soft;
    }
    let reachable = wanted.min(hard);
    if Resource::MEMLOCK.set(wanted, hard.max(wanted)).is_ok() {
        wanted
    } else if Resource::MEMLOCK.set(reachable, hard).is_ok() {
        reachable
    } else {
        soft
    }
}

/// Whether the process has `CAP_IPC_LOCK`.
fn may_lock_anything() -> bool {
    const CAP_IPC_LOCK: u32 = 14;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = capabilities.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    capabilities.is_some_and(|bits| bits & (1 << CAP_IPC_LOCK) != 0)
}

#[cfg(test)]
mod tests {
    use super::{
        CORE_BYTES, CORE_RINGS_BYTES, GLOMMIO_IO_MEMORY_MIN, cores_possible, io_memory_bytes,
        ring_bytes,
    };

    const USUAL_LIMIT: u64 = 8 << 20;

    #[test]
    fn rings_lock_what_the_kernel_was_seen_to_count() {
        for (entries, kib) in [(8, 8), (64, 8), (128, 16), (256, 28), (1024, 104), (4096, 404)] {
            assert_eq!(ring_bytes(entries, 2 * entries) >> 10, kib, "{entries}");
        }
    }

    #[test]
    fn the_usual_limit_does_for_a_large_machine() {
        assert!(cores_possible(USUAL_LIMIT) >= 32, "{CORE_RINGS_BYTES}");
        const { assert!(USUAL_LIMIT / CORE_BYTES >= 16) };
    }

    #[test]
    fn io_memory_is_registered_only_where_rings_can_spare_it() {
        let few = USUAL_LIMIT / CORE_BYTES;
        assert_eq!(io_memory_bytes(few, USUAL_LIMIT), GLOMMIO_IO_MEMORY_MIN);
        assert!(io_memory_bytes(few + 1, USUAL_LIMIT) > USUAL_LIMIT);
        assert_eq!(io_memory_bytes(1024, u64::MAX), GLOMMIO_IO_MEMORY_MIN);
        assert_eq!(io_memory_bytes(1024, 64 << 20), GLOMMIO_IO_MEMORY_MIN);
    }
}
