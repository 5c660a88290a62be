//! Whether the kernel has the io_uring that the cores need, and whether it lets this process use it.

use std::fs;

use io_uring::{IoUring, Probe, cqueue, opcode, squeue};
use rlimit::Resource;

use super::StartError;
use super::error::ring_error;

/// The first kernel with everything that is needed: multishot accept (5.19), rings of provided
/// buffers (5.19), messages between rings (5.18), multishot receive (6.0), deferred task work (6.1).
pub(super) const KERNEL_MIN: &str = "6.1";

/// Operations that cores submit. Those that have a multishot form are as old as their plain form, so
/// asking for them by name is not enough; `DEFER_TASKRUN` is younger than all of them.
const OPERATIONS: &[(u8, &str)] = &[
    (opcode::Accept::CODE, "accept"),
    (opcode::Recv::CODE, "receive"),
    (opcode::Send::CODE, "send"),
    (opcode::PollAdd::CODE, "poll"),
    (opcode::Timeout::CODE, "timeouts"),
    (opcode::AsyncCancel::CODE, "cancel"),
    (opcode::MsgRingData::CODE, "messages between rings"),
];

/// Sets up a small ring as the cores do and looks at what it can do.
pub(super) fn probe() -> Result<(), StartError> {
    let mut ring = small_ring().map_err(ring_error)?;
    let mut probe = Probe::new();
    // A sandbox may allow setting up and forbid registering.
    ring.submitter().register_probe(&mut probe).map_err(ring_error)?;
    // And entering.
    // SAFETY: the operation names no memory.
    let pushed = unsafe { ring.submission().push(&opcode::Nop::new().build()) };
    debug_assert!(pushed.is_ok(), "an empty ring has room");
    ring.submit_and_wait(1).map_err(ring_error)?;
    match OPERATIONS.iter().find(|(code, _)| !probe.is_supported(*code)) {
        Some((_, feature)) => Err(StartError::IoUringTooOld { release: kernel_release(), feature }),
        None => Ok(()),
    }
}

fn small_ring() -> std::io::Result<IoUring<squeue::Entry, cqueue::Entry>> {
    const ENTRIES: u32 = 8;
    IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(ENTRIES)
}

/// Whether this kernel counts rings as locked memory: whether one can be set up while none may be
/// locked.
pub(super) fn rings_count_as_locked() -> bool {
    let Ok((soft, hard)) = Resource::MEMLOCK.get() else { return false };
    if Resource::MEMLOCK.set(0, hard).is_err() {
        return false;
    }
    let refused = small_ring().is_err();
    if let Err(error) = Resource::MEMLOCK.set(soft, hard) {
        tracing::warn!("the limit of locked memory could not be set back: {error}");
    }
    refused
}

/// Who forbids io_uring.
pub(super) fn forbidden() -> StartError {
    let setting = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    match setting.trim().parse() {
        Ok(disabled @ 1..) => StartError::IoUringDisabled(disabled),
        Ok(0) | Err(_) => StartError::IoUringForbidden,
    }
}

/// The kernel's version.
pub(super) fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{kernel_release, probe};

    #[test]
    fn this_kernel_will_do() {
        assert!(probe().is_ok());
        assert!(!kernel_release().is_empty());
    }
}
