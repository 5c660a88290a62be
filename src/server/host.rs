//! Facts about the process and the machine, read from `/proc` when somebody asks.

use std::time::Duration;

use crate::config::Config;
use crate::node::{CpuTimes, Host, Process};

/// The process as `/proc` shows it.
#[derive(Debug)]
pub(super) struct ProcFs;

impl Host for ProcFs {
    fn resident_bytes(&self) -> u64 {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
        pages * page_bytes()
    }

    fn cpu_times(&self) -> CpuTimes {
        // SAFETY: getrusage fills the zeroed struct it is given.
        let usage = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
            usage
        };
        CpuTimes { user: duration(usage.ru_utime), system: duration(usage.ru_stime) }
    }

    fn total_memory_bytes(&self) -> u64 {
        let machine = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let machine = machine
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"))
            .and_then(|kib| kib.parse::<u64>().ok())
            .map_or(0, |kib| kib * 1024);
        let container = std::fs::read_to_string("/sys/fs/cgroup/memory.max").unwrap_or_default();
        match container.trim().parse::<u64>() {
            Ok(limit) => machine.min(limit),
            Err(_) => machine,
        }
    }
}

fn page_bytes() -> u64 {
    // SAFETY: a plain query.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}

/// What stays the same while the process runs.
pub(super) fn process(config: &Config) -> Process {
    let executable = std::env::current_exe().map(|path| path.display().to_string());
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Process {
        id: std::process::id(),
        executable: executable.unwrap_or_default(),
        config_file: config.file.as_ref().map(|path| path.display().to_string()),
        os: format!("Linux {} {}", release.trim(), std::env::consts::ARCH),
    }
}
