//! How much work each shard makes, whichever core does it. A core counts in private and adds what it has
//! counted some times a second, so that counting costs nothing between cores.

use std::sync::atomic::{AtomicU64, Ordering};

/// The work that a shard has made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardLoad {
    /// Commands run on it.
    pub commands: u64,
    /// The time they took, in nanoseconds. A command over several shards counts for each.
    pub busy_ns: u64,
}

impl ShardLoad {
    /// Counts a command that took so long.
    #[inline]
    pub fn count(&mut self, ns: u64) {
        self.commands += 1;
        self.busy_ns += ns;
    }
}

/// The work that all cores have counted for one shard since the last reset.
#[derive(Debug, Default)]
pub struct ShardLoadSum {
    commands: AtomicU64,
    busy_ns: AtomicU64,
}

impl ShardLoadSum {
    /// Adds what a core has counted.
    pub fn add(&self, load: ShardLoad) {
        self.commands.fetch_add(load.commands, Ordering::Relaxed);
        self.busy_ns.fetch_add(load.busy_ns, Ordering::Relaxed);
    }

    /// The sum.
    pub fn get(&self) -> ShardLoad {
        ShardLoad {
            commands: self.commands.load(Ordering::Relaxed),
            busy_ns: self.busy_ns.load(Ordering::Relaxed),
        }
    }

    /// Counts from zero again. What cores have not added yet comes later.
    pub fn reset(&self) {
        self.commands.store(0, Ordering::Relaxed);
        self.busy_ns.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{ShardLoad, ShardLoadSum};

    #[test]
    fn cores_add_up() {
        let (sum, mut load) = (ShardLoadSum::default(), ShardLoad::default());
        load.count(30);
        load.count(12);
        sum.add(load);
        sum.add(ShardLoad { commands: 1, busy_ns: 8 });
        assert_eq!(sum.get(), ShardLoad { commands: 3, busy_ns: 50 });
        sum.reset();
        assert_eq!(sum.get(), ShardLoad::default());
    }
}
