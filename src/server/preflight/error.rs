//! Why the server does not start. Each reason is one sentence that ends with the mend.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use glommio::{GlommioError, ReactorErrorKind};

use super::{io_uring, memory};
use crate::server::data_dir::DataDirError;

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something else listens there.
    #[error(
        "Something else listens on {0}: stop it (`ss -ltnp` shows what it is), or choose another \
             --port or --shard-port-base."
    )]
    PortTaken(SocketAddr),
    /// The port is for privileged users.
    #[error(
        "This user may not listen on port {0}: choose one from 1024 up with --port or \
             --shard-port-base, or grant CAP_NET_BIND_SERVICE."
    )]
    PortPrivileged(u16),
    /// No interface has the address.
    #[error(
        "This machine has no address {0}: give --bind an address that `ip addr` shows, or write \
             it as -{0} to do without it where it is missing."
    )]
    AddressMissing(IpAddr),
    /// Listening failed otherwise.
    #[error("Listening on {addr} failed ({error}): check --bind, --port and --shard-port-base.")]
    Bind {
        /// Where.
        addr: SocketAddr,
        /// What the operating system says.
        error: io::Error,
    },
    /// The last shard port would be above 65535.
    #[error(
        "{cores} cores from port {base} on go beyond port 65535: choose a lower \
             --shard-port-base, or 0 for none."
    )]
    ShardPortsTooHigh {
        /// The first shard port.
        base: u16,
        /// How many there are to be.
        cores: u16,
    },
    /// The common port is one of the shard ports.
    #[error(
        "The shard ports {base} to {last} take in the common port {port}: choose another \
             --shard-port-base, or 0 for none."
    )]
    ShardPortsCollide {
        /// The common port.
        port: u16,
        /// The first shard port.
        base: u16,
        /// The last one.
        last: u16,
    },
    /// A node of a cluster lacks something, or is told what can't be.
    #[error("{0}")]
    Cluster(String),
    /// `--cpus` names CPUs that are not there or not for this process.
    #[error(
        "This process may not use CPU {missing} that --cpus names, only {available}: name some \
             of these, or widen the process's CPU set (taskset, cpuset)."
    )]
    CpusMissing {
        /// Those that are missing.
        missing: String,
        /// Those that are there.
        available: String,
    },
    /// `--dir` is not there.
    #[error("There is no directory '{}': make it, or name another one with --dir.", path.display())]
    DirMissing {
        /// The directory.
        path: PathBuf,
    },
    /// `--dir` is something else.
    #[error("'{}' is not a directory: name one with --dir.", path.display())]
    DirIsNone {
        /// What was named.
        path: PathBuf,
    },
    /// `--dir` can't be used.
    #[error("The directory '{}' can't be written to ({error}): let this user do so, or name another \
             one with --dir.", path.display())]
    DirClosed {
        /// The directory.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// The data directory can't be used.
    #[error(transparent)]
    Data(#[from] DataDirError),
    /// A shard's log can't be read.
    #[error("{0}")]
    Log(String),
    /// The limit of open files leaves no room for clients.
    #[error(
        "{limit} open files are too few: raise the limit to {needed} or more with `ulimit -n \
             {needed}`, or with LimitNOFILE in a systemd unit."
    )]
    TooFewFiles {
        /// What the process may open.
        limit: u64,
        /// What would do.
        needed: u64,
    },
    /// The limit of locked memory is too low for a core's rings.
    #[error(
        "{limit_kib} KiB of lockable memory are too little: raise the limit to {needed_kib} KiB \
             or more with `ulimit -l {needed_kib}`, or with LimitMEMLOCK={needed_kib}K in a systemd \
             unit."
    )]
    TooLittleLockableMemory {
        /// What the process may lock.
        limit_kib: u64,
        /// What would do.
        needed_kib: u64,
    },
    /// The user's processes together have used up the limit of locked memory.
    #[error(
        "No lockable memory is left for io_uring: other processes of this user hold some of the \
             {limit_kib} KiB, so stop them, or raise the limit with `ulimit -l`, or with LimitMEMLOCK \
             in a systemd unit."
    )]
    LockableMemoryUsedUp {
        /// What the user may lock.
        limit_kib: u64,
    },
    /// The kernel has no io_uring at all.
    #[error(
        "This kernel ({release}) has no io_uring: use Linux {} or newer, built with \
             CONFIG_IO_URING.",
        io_uring::KERNEL_MIN
    )]
    IoUringMissing {
        /// The kernel's version.
        release: String,
    },
    /// The kernel's io_uring is too old.
    #[error(
        "The io_uring of this kernel ({release}) lacks {feature}: use Linux {} or newer.",
        io_uring::KERNEL_MIN
    )]
    IoUringTooOld {
        /// The kernel's version.
        release: String,
        /// What is missing.
        feature: &'static str,
    },
    /// A system setting forbids io_uring.
    #[error(
        "The system setting kernel.io_uring_disabled={0} forbids io_uring to this user: run \
             `sysctl kernel.io_uring_disabled=0`, or, if it is 1, add the user to the group that \
             kernel.io_uring_group names."
    )]
    IoUringDisabled(u8),
    /// Something else forbids io_uring.
    #[error(
        "A container or sandbox forbids io_uring: allow io_uring_setup, io_uring_enter and \
             io_uring_register in its seccomp profile (Docker and Podman: `--security-opt \
             seccomp=PROFILE`)."
    )]
    IoUringForbidden,
    /// Something that ought not to fail did.
    #[error(
        "The operating system refuses what a start needs ({0}): look at its limits and at the \
             kernel's log."
    )]
    Io(#[from] io::Error),
    /// A core did not start.
    #[error(
        "A core did not start ({0}): look at the limits of the process and at the kernel's log."
    )]
    Core(String),
}

impl StartError {
    /// What the process exits with: 2 if flags contradict each other, 1 if the machine does not do
    /// what they ask for.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::ShardPortsTooHigh { .. } | Self::ShardPortsCollide { .. } | Self::Cluster(_) => 2,
            Self::PortTaken(_)
            | Self::PortPrivileged(_)
            | Self::AddressMissing(_)
            | Self::Bind { .. }
            | Self::CpusMissing { .. }
            | Self::DirMissing { .. }
            | Self::DirIsNone { .. }
            | Self::DirClosed { .. }
            | Self::Data(_)
            | Self::Log(_)
            | Self::TooFewFiles { .. }
            | Self::TooLittleLockableMemory { .. }
            | Self::LockableMemoryUsedUp { .. }
            | Self::IoUringMissing { .. }
            | Self::IoUringTooOld { .. }
            | Self::IoUringDisabled(_)
            | Self::IoUringForbidden
            | Self::Io(_)
            | Self::Core(_) => 1,
        }
    }
}

/// Why a socket does not listen on `addr`.
pub fn bind_error(addr: SocketAddr, error: io::Error) -> StartError {
    match error.kind() {
        io::ErrorKind::AddrInUse => StartError::PortTaken(addr),
        io::ErrorKind::AddrNotAvailable => StartError::AddressMissing(addr.ip()),
        io::ErrorKind::PermissionDenied => StartError::PortPrivileged(addr.port()),
        _ => StartError::Bind { addr, error },
    }
}

/// Why a ring was not set up.
pub fn ring_error(error: io::Error) -> StartError {
    match error.raw_os_error() {
        Some(libc::ENOMEM) => memory::used_up(),
        Some(libc::ENOSYS) => StartError::IoUringMissing { release: io_uring::kernel_release() },
        Some(libc::EPERM | libc::EACCES) => io_uring::forbidden(),
        Some(libc::EINVAL) => StartError::IoUringTooOld {
            release: io_uring::kernel_release(),
            feature: "deferred task work",
        },
        _ => StartError::Io(error),
    }
}

/// Why an executor was not started.
pub fn executor_error(error: &GlommioError<()>) -> StartError {
    match error {
        GlommioError::IoError(error) => ring_error(copy(error)),
        GlommioError::EnhancedIoError { source, .. } => ring_error(copy(source)),
        GlommioError::ReactorError(ReactorErrorKind::MemLockLimit(..)) => memory::used_up(),
        error => StartError::Core(error.to_string()),
    }
}

/// `io::Error` can't be cloned; its number or its text tells the same.
fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use super::{GlommioError, StartError, bind_error, executor_error, ring_error};

    #[test]
    fn a_port_that_does_not_listen_says_why() {
        let addr = "127.0.0.1:6379".parse().unwrap();
        for (code, start) in [
            (libc::EADDRINUSE, "Something else listens on 127.0.0.1:6379: stop it"),
            (libc::EACCES, "This user may not listen on port 6379: choose"),
            (libc::EADDRNOTAVAIL, "This machine has no address 127.0.0.1: give --bind"),
            (libc::EAFNOSUPPORT, "Listening on 127.0.0.1:6379 failed (Address family"),
        ] {
            let error = bind_error(addr, Error::from_raw_os_error(code));
            assert!(error.to_string().starts_with(start), "{error}");
            assert_eq!(error.exit_code(), 1);
        }
    }

    #[test]
    fn a_ring_that_is_not_set_up_says_why() {
        for (code, part) in [
            (libc::ENOMEM, "`ulimit -l`"),
            (libc::ENOSYS, "has no io_uring: use Linux 6.1 or newer"),
            (libc::EPERM, "forbids io_uring"),
            (libc::EINVAL, "use Linux 6.1 or newer"),
            (libc::EMFILE, "(Too many open files"),
        ] {
            for error in [
                ring_error(Error::from_raw_os_error(code)),
                executor_error(&GlommioError::IoError(Error::from_raw_os_error(code))),
            ] {
                assert!(error.to_string().contains(part), "{error}");
                assert_eq!(error.to_string().lines().count(), 1);
            }
        }
    }

    #[test]
    fn sentences_are_whole() {
        for error in [
            StartError::IoUringForbidden,
            StartError::IoUringDisabled(2),
            StartError::TooFewFiles { limit: 20, needed: 1024 },
            StartError::TooLittleLockableMemory { limit_kib: 64, needed_kib: 512 },
        ] {
            let text = error.to_string();
            assert!(text.ends_with('.') && !text.contains("  ") && !text.contains('\n'), "{text}");
        }
    }
}
