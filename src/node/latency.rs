//! Latency spikes: for each kind of event, when it last took longer than
//! `latency-monitor-threshold` and how long.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::metrics::lock;
use crate::types::UnixMs;

/// Spikes kept for each event (as Redis).
const SAMPLES_MAX: usize = 160;

/// One second in which an event was slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spike {
    /// The second, since the Unix epoch.
    pub at_seconds: u64,
    /// The longest time it took in that second, in milliseconds.
    pub latency_ms: u64,
}

/// What is known of one event.
#[derive(Clone, Debug, Default)]
pub struct EventHistory {
    /// The longest time ever seen, in milliseconds.
    pub max_ms: u64,
    /// The latest spikes, oldest first.
    pub spikes: Vec<Spike>,
}

/// All events.
#[derive(Debug, Default)]
pub struct LatencyEvents(Mutex<BTreeMap<&'static str, EventHistory>>);

impl LatencyEvents {
    /// Notes that `event` took `latency_ms`; the caller compared it with the threshold. Redis's names:
    /// `command`, `fast-command`, `expire-cycle`, `eviction-cycle`, ….
    pub fn record(&self, event: &'static str, latency_ms: u64, now: UnixMs) {
        let at_seconds = now.0 / 1000;
        let mut events = lock(&self.0);
        let history = events.entry(event).or_default();
        history.max_ms = history.max_ms.max(latency_ms);
        match history.spikes.last_mut() {
            Some(last) if last.at_seconds == at_seconds => {
                last.latency_ms = last.latency_ms.max(latency_ms);
            }
            _ => {
                if history.spikes.len() == SAMPLES_MAX {
                    history.spikes.remove(0);
                }
                history.spikes.push(Spike { at_seconds, latency_ms });
            }
        }
    }

    /// All events with their histories, by name.
    pub fn all(&self) -> Vec<(&'static str, EventHistory)> {
        lock(&self.0).iter().map(|(event, history)| (*event, history.clone())).collect()
    }

    /// The history of one event.
    pub fn history(&self, event: &[u8]) -> Option<EventHistory> {
        let event = std::str::from_utf8(event).ok()?;
        lock(&self.0).get(event).cloned()
    }

    /// Forgets the events that `chosen` accepts; answers how many there were.
    pub fn reset(&self, chosen: impl Fn(&str) -> bool) -> usize {
        let mut events = lock(&self.0);
        let before = events.len();
        events.retain(|event, _| !chosen(event));
        before - events.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{LatencyEvents, SAMPLES_MAX, Spike, UnixMs};

    #[test]
    fn spikes_of_one_second_are_one() {
        let events = LatencyEvents::default();
        for (ms, latency) in [(1000, 5), (1900, 9), (1950, 7), (2000, 3)] {
            events.record("command", latency, UnixMs(ms));
        }
        let history = events.history(b"command").unwrap();
        assert_eq!(history.max_ms, 9);
        let spike = |at_seconds, latency_ms| Spike { at_seconds, latency_ms };
        assert_eq!(history.spikes, [spike(1, 9), spike(2, 3)]);
        for second in 0..500 {
            events.record("fork", 1, UnixMs(second * 1000));
        }
        assert_eq!(events.history(b"fork").unwrap().spikes.len(), SAMPLES_MAX);
        assert_eq!(events.reset(|event| event == "command"), 1);
        assert_eq!(events.reset(|_| true), 1);
        assert!(events.history(b"command").is_none());
    }
}
