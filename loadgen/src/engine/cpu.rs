//! The tool's own threads on their processors: where they run, and how much time they took.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity, set_current_timer_slack};
use rustix::time::{ClockId, clock_gettime};

use super::plan::Cpus;

/// The CPU that thread number `thread` is to be pinned to, if any.
pub(super) fn of_thread(cpus: &Cpus, thread: usize) -> Option<usize> {
    match cpus {
        Cpus::Any => None,
        Cpus::List(list) => list.get(thread % list.len().max(1)).copied(),
        Cpus::Last => {
            let allowed = allowed();
            // From the last one down: servers are usually given the first ones.
            (!allowed.is_empty()).then(|| allowed[allowed.len() - 1 - thread % allowed.len()])
        }
    }
}

/// The CPUs that this process may use.
pub(crate) fn allowed() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else { return Vec::new() };
    (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()
}

/// Pins the calling thread to one CPU, and has its timers go off when they are due.
pub(super) fn settle(cpu: Option<usize>) -> Result<(), String> {
    // Without this the kernel lets a sleeper sleep 50 us longer, to wake several at once.
    let _ = set_current_timer_slack(std::num::NonZeroU64::new(1));
    let Some(cpu) = cpu else { return Ok(()) };
    let mut set = CpuSet::new();
    if cpu < CpuSet::MAX_CPU {
        set.set(cpu);
    }
    sched_setaffinity(None, &set)
        .map_err(|error| format!("cannot pin a thread to CPU {cpu}: {error}"))
}

/// User and system time of the calling thread so far, in nanoseconds.
pub(super) fn used_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, rest) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or(0) * 1_000_000_000 + rest.unwrap_or(0)
}
