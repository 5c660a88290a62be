//! A process as `/proc` shows it: what CPU time it used and what memory it holds; and where it runs.

use std::time::Duration;
use std::{fs, io};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// User and system time of all threads of `pid` since it started, in steps of a clock tick (10 ms).
pub(crate) fn cpu_time(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in brackets, which may hold spaces and brackets.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let (Some(user), Some(system)) = (fields.next(), fields.next()) else {
        return Err(io::Error::other(format!("/proc/{pid}/stat has too few fields")));
    };
    let ticks = parse(user)? + parse(system)?;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// Resident memory of `pid` in bytes.
pub(crate) fn resident_bytes(pid: u32) -> io::Result<u64> {
    // Unlike `status`, `smaps_rollup` counts pages now, not per-CPU estimates.
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    field(&rollup, "Rss:").map(|kib| kib * 1024)
}

/// Most files this process and those it starts may have open.
pub(crate) fn open_files_max() -> io::Result<u64> {
    field(&fs::read_to_string("/proc/self/limits")?, "Max open files")
}

/// The first number after `name` at the start of a line of `text`.
fn field(text: &str, name: &str) -> io::Result<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name));
    match rest.and_then(|rest| rest.split_ascii_whitespace().next()) {
        Some(number) => parse(number),
        None => Err(io::Error::other(format!("no {name} in /proc"))),
    }
}

fn parse(number: &str) -> io::Result<u64> {
    number.parse().map_err(|_| io::Error::other(format!("{number} in /proc is no number")))
}

/// The CPUs this process may use.
pub(crate) fn allowed_cpus() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect())
}

/// Calls `act` on `cpus` only. A process started inside inherits them.
pub(crate) fn pinned<T>(cpus: &[usize], act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let before = sched_getaffinity(None)?;
    let mut wanted = CpuSet::new();
    cpus.iter().for_each(|&cpu| wanted.set(cpu));
    sched_setaffinity(None, &wanted)?;
    let result = act();
    sched_setaffinity(None, &before)?;
    result
}
