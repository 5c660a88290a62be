//! `--verify`: which version of each key was written last, and which was acknowledged.
//!
//! A key is written by one connection only (its number modulo the connections), one request after the other,
//! so versions on the server only rise. They are counted from the second in which the run started, times
//! 2^24, so that a value that an earlier run left is older than any of this one's.
//!
//! ```text
//! versions of a key:   … earlier runs … | base  acknowledged ≤ (what a read may find) ≤ issued
//! ```
//!
//! Shared by all threads; a key's `issued` has one writer.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Verdict;
use super::values::Claim;

/// Most keys that can be followed: 16 bytes each, 1 GiB.
pub(super) const VERIFIED_KEYS_MAX: u64 = 64 * 1024 * 1024;

/// What is known about every key's versions; 0: none.
#[derive(Debug)]
pub(super) struct Versions {
    base: u64,
    issued: Box<[AtomicU64]>,
    acknowledged: Box<[AtomicU64]>,
}

impl Versions {
    pub(super) fn new(keys: u64, started_at_unix_s: u64) -> Result<Self, String> {
        if keys > VERIFIED_KEYS_MAX {
            return Err(format!("--keys {keys}: --verify can follow {VERIFIED_KEYS_MAX} keys"));
        }
        let none = || (0..keys).map(|_| AtomicU64::new(0)).collect();
        Ok(Self { base: started_at_unix_s << 24, issued: none(), acknowledged: none() })
    }

    /// The version that the next write of `key` has.
    pub(super) fn issue(&self, key: u64) -> u64 {
        let issued = at(&self.issued, key);
        let version = issued.load(Ordering::Acquire).max(self.base) + 1;
        issued.store(version, Ordering::Release);
        version
    }

    /// The least version that a read of `key` sent from now on may find; 0 if it need find nothing.
    pub(super) fn floor(&self, key: u64) -> u64 {
        at(&self.acknowledged, key).load(Ordering::Acquire)
    }

    /// A write of `version` was acknowledged.
    pub(super) fn acknowledge(&self, key: u64, version: u64) {
        at(&self.acknowledged, key).fetch_max(version, Ordering::AcqRel);
    }

    /// Judges what a read of `key` found, which was sent when `floor` was the least it might find.
    pub(super) fn judge(&self, key: u64, floor: u64, found: Option<Claim>) -> Verdict<'static> {
        let Some(claim) = found else { return Verdict::Wrong };
        if claim.key != key {
            return Verdict::Foreign;
        }
        if claim.version < floor {
            return Verdict::Stale;
        }
        // What is below the base comes from an earlier run, and was judged there.
        let is_known =
            claim.version <= self.base.max(at(&self.issued, key).load(Ordering::Acquire));
        if is_known { Verdict::Hit } else { Verdict::Foreign }
    }
}

fn at(versions: &[AtomicU64], key: u64) -> &AtomicU64 {
    &versions[usize::try_from(key).expect("keys are below VERIFIED_KEYS_MAX")]
}

#[cfg(test)]
mod tests {
    use super::{Claim, Verdict, Versions};

    #[test]
    fn versions_rise_from_run_to_run() {
        let (first, second) = (Versions::new(2, 100).unwrap(), Versions::new(2, 101).unwrap());
        assert_eq!(first.issue(1) + 1, first.issue(1));
        assert_eq!(first.issue(0), (100 << 24) + 1);
        assert!(second.issue(1) > first.issue(1));
        assert!(
            Versions::new(1 << 40, 0).err().unwrap().contains("--verify can follow 67108864 keys")
        );
    }

    #[test]
    fn each_fault_is_told_apart() {
        let versions = Versions::new(2, 100).unwrap();
        let found = |version| Some(Claim { key: 1, version });
        assert_eq!(versions.floor(1), 0);
        assert_eq!(versions.judge(1, 0, found(99 << 24)), Verdict::Hit, "an earlier run's");
        let (old, new) = (versions.issue(1), versions.issue(1));
        assert_eq!(versions.judge(1, 0, found(new)), Verdict::Hit, "not acknowledged yet");
        versions.acknowledge(1, new);
        versions.acknowledge(1, old);
        let floor = versions.floor(1);
        assert_eq!(floor, new, "an acknowledgment that comes late takes nothing back");
        assert_eq!(versions.judge(1, floor, found(new)), Verdict::Hit);
        assert_eq!(versions.judge(1, floor, found(old)), Verdict::Stale);
        assert_eq!(versions.judge(1, floor, found(99 << 24)), Verdict::Stale);
        assert_eq!(versions.judge(1, floor, found(new + 1)), Verdict::Foreign, "nobody wrote it");
        assert_eq!(versions.judge(0, 0, found(new)), Verdict::Foreign, "another key's");
        assert_eq!(versions.judge(1, 0, None), Verdict::Wrong);
    }
}
