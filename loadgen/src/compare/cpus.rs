//! Lists of CPUs as `taskset -c` writes them, and the processor time of processes.

use std::fs;
use std::str::FromStr;

use rustix::thread::{CpuSet, sched_getaffinity};

/// A list such as `0,2-3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CpuList(Vec<usize>);

impl CpuList {
    pub(crate) fn contains(&self, cpu: usize) -> bool {
        self.0.contains(&cpu)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().copied()
    }

    pub(crate) fn set(&self) -> CpuSet {
        let mut set = CpuSet::new();
        self.0.iter().for_each(|cpu| set.set(*cpu));
        set
    }
}

impl FromStr for CpuList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is no list of CPUs; one looks like 0 or 0,2-3");
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: usize = first.trim().parse().map_err(|_| wrong())?;
            let last: usize = last.trim().parse().map_err(|_| wrong())?;
            if first > last || last >= CpuSet::MAX_CPU {
                return Err(wrong());
            }
            cpus.extend(first..=last);
        }
        cpus.sort_unstable();
        cpus.dedup();
        Ok(Self(cpus))
    }
}

/// The CPUs this process may run on.
pub(crate) fn allowed() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect();
    if cpus.is_empty() { vec![0] } else { cpus }
}

/// User and system time so far of all processes in a group, with their threads and the children
/// they have waited for. None if there is none left.
pub(crate) fn group_cpu_s(group: i32) -> Option<f64> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let processes = processes.filter(|entry| {
        entry.file_name().to_str().is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()))
    });
    let stats = processes.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let ticks: Vec<u64> = stats.filter_map(|stat| ticks_in_group(&stat, group)).collect();
    let per_s = rustix::param::clock_ticks_per_second();
    (!ticks.is_empty()).then(|| ticks.iter().sum::<u64>() as f64 / per_s as f64)
}

/// Whether the process is there and has not ended.
pub(crate) fn is_alive(process: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"));
    let state = |stat: &str| stat.rsplit_once(')').and_then(|(_, rest)| rest.trim().chars().next());
    stat.is_ok_and(|stat| !matches!(state(&stat), None | Some('Z' | 'X')))
}

/// What a line of `/proc/PID/stat` says, if the process is in the group. proc(5): after the name,
/// which may hold anything, stand state, parent and group; nine fields on, the times: user, system,
/// and both of the children waited for.
fn ticks_in_group(stat: &str, group: i32) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let is_member = fields.get(2)?.parse() == Ok(group);
    let times = fields.get(11..15)?;
    is_member.then(|| times.iter().filter_map(|time| time.parse::<u64>().ok()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_taskset_reads_them() {
        let cases: [(&str, &[usize]); 4] =
            [("0", &[0]), ("0,2-4", &[0, 2, 3, 4]), ("3,1-3", &[1, 2, 3]), ("1 , 2", &[1, 2])];
        for (text, cpus) in cases {
            assert_eq!(text.parse::<CpuList>().unwrap().0, cpus, "{text}");
        }
        for text in ["", "a", "3-1", "1-", "0,,1", "99999999", "-1"] {
            assert!(text.parse::<CpuList>().unwrap_err().contains("no list of CPUs"), "{text}");
        }
    }

    #[test]
    fn a_line_of_proc_is_read_even_if_the_name_is_odd() {
        let stat = "42 (a) b (c) S 1 77 77 0 -1 4194560 100 0 0 0 11 7 3 2 20 0 4 0 100 0 0";
        assert_eq!(ticks_in_group(stat, 77), Some(23));
        assert_eq!(ticks_in_group(stat, 78), None);
        assert_eq!(ticks_in_group("nonsense", 77), None);
    }

    #[test]
    fn our_own_group_has_used_some_time() {
        let group = rustix::process::getpgrp().as_raw_nonzero().get();
        assert!(group_cpu_s(group).unwrap() >= 0.0);
        assert_eq!(group_cpu_s(i32::MAX), None);
    }
}
