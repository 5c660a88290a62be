//! Clusters to which nothing happens but what a test has happen: no faults by chance, and clients that do as they are told.

use super::clients::Work;
use super::{CALM_US, Cluster, Event, Kind};
use crate::shard::Shard;
use crate::sim::{Outcome, SHARD};

impl Cluster {
    /// One shard on as many nodes, three or five, which are started.
    pub(super) fn quiet(nodes: usize) -> Outcome<Self> {
        let is_it = |it: &Self| (it.nodes, it.shards, it.kind) == (nodes, 1, Kind::Minority);
        let mut cluster = (0..).map(|seed| Self::new(seed, None)).find(is_it).expect("some are so");
        cluster.network.heal(0);
        // So that it is soon used up.
        cluster.settings.stream.segment_bytes = 16_384;
        (cluster.busy_until, cluster.haste_us) = (0, 3_000);
        cluster.begin();
        let first = cluster.first();
        cluster.until("the replica leads that should", |it| it.leads(first))?;
        Ok(cluster)
    }

    /// The part that should lead.
    pub(super) fn first(&self) -> usize {
        usize::from(SHARD.0) % self.nodes
    }

    /// Clients think of something, all the time from now on.
    pub(super) fn be_busy(&mut self) {
        self.busy_until = u64::MAX;
        for client in 0..self.clients.all.len() {
            self.at(self.time, Event::Client(client));
        }
    }

    /// Goes on until something is so.
    pub(super) fn until(
        &mut self,
        what: &str,
        mut is_so: impl FnMut(&mut Self) -> bool,
    ) -> Outcome {
        let deadline = self.time + CALM_US;
        while !is_so(self) {
            self.next()?;
            if self.time > deadline {
                return Err(format!("it does not come to be that {what}: {}", self.survey()));
            }
        }
        Ok(())
    }

    /// Goes on for so long, all through which something is so.
    pub(super) fn while_for(
        &mut self,
        us: u64,
        what: &str,
        is_so: impl Fn(&Self) -> bool,
    ) -> Outcome {
        let end = self.time + us;
        while self.time < end {
            self.next()?;
            if !is_so(self) {
                return Err(format!("it is no longer so that {what}: {}", self.survey()));
            }
        }
        Ok(())
    }

    /// A client asks until it is answered.
    pub(super) fn ask(&mut self, client: usize, work: Work) -> Outcome {
        let answered = self.clients.answered;
        let deadline = self.time + CALM_US;
        while self.clients.answered == answered {
            if self.clients.all[client].pending.is_none() {
                self.call(client, work);
            }
            self.next()?;
            if self.time > deadline {
                return Err(format!("nobody answers: {}", self.survey()));
            }
        }
        Ok(())
    }

    /// A part's shard, while its process runs.
    pub(super) fn shard(&self, part: usize) -> Option<&Shard> {
        self.parts[part].process.as_ref().map(|process| &process.shard)
    }

    pub(super) fn leads(&self, part: usize) -> bool {
        self.shard(part).is_some_and(Shard::is_serving)
    }

    /// The part that leads the only shard.
    pub(super) fn leading(&self) -> Option<usize> {
        (0..self.nodes).find(|part| self.leads(*part))
    }
}
