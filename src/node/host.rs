//! Facts about the process, told by whoever runs it: command code reads no files and no clocks.

use std::fmt::Debug;
use std::time::Duration;

/// Processor time of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// In the program.
    pub user: Duration,
    /// In the kernel on its behalf.
    pub system: Duration,
}

/// What changes while the process runs. Read when somebody asks (`INFO`), never on a request's way.
pub trait Host: Debug + Send + Sync {
    /// Resident memory of the process.
    fn resident_bytes(&self) -> u64;
    /// Processor time so far.
    fn cpu_times(&self) -> CpuTimes;
    /// Memory of the machine, or of the container if that is less.
    fn total_memory_bytes(&self) -> u64;
}

/// What does not change while the process runs.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Process id.
    pub id: u32,
    /// Path of the executable.
    pub executable: String,
    /// Path of the configuration file, if one was given.
    pub config_file: Option<String>,
    /// As `uname -srm` gives it: `Linux 6.1.0 x86_64`.
    pub os: String,
}
