//! What a run came to: counts, latencies, faults, and how busy the tool itself was.
//!
//! Plain data. Each thread fills an [`Outcome`] of its own; the coordinator merges them when the
//! threads have ended. An `Outcome` keeps whole histograms, never just their percentiles, so that
//! threads, rounds and files can be put together without loss.
//!
//! Only a right reply enters `latencies`; an error reply is counted by its kind and nowhere else.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::histogram;

/// Most kinds of error told apart; what comes after is counted as [`OTHER_ERRORS`].
const ERROR_KINDS_MAX: usize = 32;
/// Longest name of a kind of error.
const ERROR_KIND_CHARS_MAX: usize = 64;
/// A second shorter than this is what is left over of a run.
const LEFT_OVER_S_MAX: f64 = 0.1;
/// Where errors go whose kind is one too many.
const OTHER_ERRORS: &str = "others";

/// What one run, or one thread of it, came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Outcome {
    /// What reports call this run.
    pub(crate) label: String,
    pub(crate) started_at_unix_ms: u64,
    /// Length of the measured part: warm-up and fill are not in it.
    pub(crate) elapsed_ns: u64,
    /// The options that matter to a reader, by name, in the order to show them.
    pub(crate) settings: Vec<(String, String)>,
    /// In the order of the mix.
    pub(crate) commands: Vec<CommandOutcome>,
    pub(crate) seconds: Vec<Second>,
    pub(crate) faults: Faults,
    /// Reads that found their key.
    pub(crate) hits: u64,
    /// Reads that did not.
    pub(crate) misses: u64,
    /// Bytes of the values found, and of those that were not: as long as the trace says, or as they would
    /// have been if they had been written now.
    #[serde(default)]
    pub(crate) hit_bytes: u64,
    #[serde(default)]
    pub(crate) miss_bytes: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// Open loop: how long after its intended time each request was sent.
    #[serde(with = "histogram::base64")]
    pub(crate) lateness: Histogram<u64>,
    /// Open loop: how long requests had waited that were due and had no reply when the tool stopped
    /// waiting. They are part of [`Outcome::total`], so that a server that never came back shows.
    #[serde(with = "histogram::base64")]
    pub(crate) overdue: Histogram<u64>,
    /// Cluster: requests that were sent on to a slot's new owner, and to the one it is moving to.
    pub(crate) moved: u64,
    pub(crate) asked: u64,
    /// One a thread of the tool.
    pub(crate) threads: Vec<ThreadUse>,
    /// Stopped before its end; what is here is what there was by then.
    pub(crate) interrupted: bool,
    /// User and system time of the server over the run, where it could be read.
    pub(crate) server_cpu_s: Option<f64>,
}

/// One command's part of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CommandOutcome {
    pub(crate) name: String,
    pub(crate) sent: u64,
    /// Of right replies, in nanoseconds.
    #[serde(with = "histogram::base64")]
    pub(crate) latencies: Histogram<u64>,
    /// Error replies by kind: the code in front of a RESP error, or a word of the tool's own.
    pub(crate) errors: BTreeMap<String, u64>,
}

/// One second of a run, or less if it is the last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Second {
    /// Its end, since the start of the measured part.
    pub(crate) at_s: f64,
    /// Right replies.
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) p999_ns: u64,
    pub(crate) max_ns: u64,
    /// Open loop: requests that were due a second.
    pub(crate) intended_rate: Option<f64>,
}

/// What must not happen and did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Faults {
    /// Replies of a type that the command can't have. Verify: a damaged value.
    pub(crate) wrong: u64,
    /// Verify: an acknowledged write is gone.
    pub(crate) lost: u64,
    /// Verify: an older value than the one acknowledged.
    pub(crate) stale: u64,
    /// Verify: a value of another key, or of a version that nobody wrote.
    pub(crate) foreign: u64,
    /// Connections that had to be opened again.
    pub(crate) reconnects: u64,
    /// Requests sent whose reply never came.
    pub(crate) unanswered: u64,
}

/// How busy one thread of the tool was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ThreadUse {
    /// Processor time over elapsed time.
    pub(crate) busy_fraction: f64,
    pub(crate) cpu_s: f64,
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            label: String::new(),
            started_at_unix_ms: 0,
            elapsed_ns: 0,
            settings: Vec::new(),
            commands: Vec::new(),
            seconds: Vec::new(),
            faults: Faults::default(),
            hits: 0,
            misses: 0,
            hit_bytes: 0,
            miss_bytes: 0,
            bytes_in: 0,
            bytes_out: 0,
            lateness: histogram::new(),
            overdue: histogram::new(),
            moved: 0,
            asked: 0,
            threads: Vec::new(),
            interrupted: false,
            server_cpu_s: None,
        }
    }
}

impl Outcome {
    /// Latencies of all commands together, and what is overdue.
    pub(crate) fn total(&self) -> Histogram<u64> {
        let commands = self.commands.iter().map(|command| &command.latencies);
        histogram::sum(commands.chain([&self.overdue]))
    }

    /// Commands that the run made use of: a fill phase's own is in the list as well.
    pub(crate) fn used_commands(&self) -> Vec<&CommandOutcome> {
        let is_used = |c: &&CommandOutcome| c.sent + c.requests() + c.errors() > 0;
        self.commands.iter().filter(is_used).collect()
    }

    /// Right replies.
    pub(crate) fn requests(&self) -> u64 {
        self.commands.iter().map(CommandOutcome::requests).sum()
    }

    /// Error replies of every kind.
    pub(crate) fn errors(&self) -> u64 {
        self.commands.iter().map(CommandOutcome::errors).sum()
    }

    /// Error replies of all commands, by kind.
    pub(crate) fn errors_by_kind(&self) -> BTreeMap<&str, u64> {
        let mut kinds = BTreeMap::new();
        for (kind, count) in self.commands.iter().flat_map(|command| &command.errors) {
            *kinds.entry(kind.as_str()).or_default() += count;
        }
        kinds
    }

    /// Seconds measured.
    pub(crate) fn elapsed_s(&self) -> f64 {
        self.elapsed_ns as f64 / 1e9
    }

    /// Right replies a second.
    pub(crate) fn rate(&self) -> f64 {
        per_second(self.requests(), self.elapsed_s())
    }

    /// The server's processor time for each right reply, in microseconds.
    pub(crate) fn server_cpu_us_per_request(&self) -> Option<f64> {
        let requests = self.requests();
        self.server_cpu_s.filter(|_| requests > 0).map(|cpu_s| cpu_s * 1e6 / requests as f64)
    }

    /// Of the reads, how many found their key; none if nothing was read.
    pub(crate) fn hit_ratio(&self) -> Option<f64> {
        let reads = self.hits + self.misses;
        (reads > 0).then(|| self.hits as f64 / reads as f64)
    }

    /// Of the bytes that were asked for, how many were found; none if nothing was asked for.
    pub(crate) fn byte_hit_ratio(&self) -> Option<f64> {
        let bytes = self.hit_bytes + self.miss_bytes;
        (bytes > 0).then(|| self.hit_bytes as f64 / bytes as f64)
    }

    /// Whether everything was answered, and answered rightly.
    pub(crate) fn is_clean(&self) -> bool {
        self.errors() == 0 && self.faults.replies() == 0
    }

    /// Adds another thread of the same run: counts add up, the run is as long as its longest thread.
    pub(crate) fn merge(&mut self, other: Outcome) {
        self.elapsed_ns = self.elapsed_ns.max(other.elapsed_ns);
        self.started_at_unix_ms = match (self.started_at_unix_ms, other.started_at_unix_ms) {
            (0, at) | (at, 0) => at,
            (ours, theirs) => ours.min(theirs),
        };
        for command in other.commands {
            match self.commands.iter_mut().find(|ours| ours.name == command.name) {
                Some(ours) => ours.merge(command),
                None => self.commands.push(command),
            }
        }
        merge_seconds(&mut self.seconds, other.seconds);
        self.faults.merge(&other.faults);
        self.hits += other.hits;
        self.misses += other.misses;
        self.hit_bytes += other.hit_bytes;
        self.miss_bytes += other.miss_bytes;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        histogram::add(&mut self.lateness, &other.lateness);
        histogram::add(&mut self.overdue, &other.overdue);
        self.moved += other.moved;
        self.asked += other.asked;
        self.threads.extend(other.threads);
        self.interrupted |= other.interrupted;
        self.server_cpu_s = match (self.server_cpu_s, other.server_cpu_s) {
            (Some(ours), Some(theirs)) => Some(ours + theirs),
            (ours, theirs) => ours.or(theirs),
        };
    }
}

impl Outcome {
    /// Adds another run of the same load, as if it had come right after this one.
    pub(crate) fn follow(&mut self, mut later: Outcome) {
        let (ours_ns, theirs_ns) = (self.elapsed_ns, later.elapsed_ns);
        let (start_s, share) =
            (self.elapsed_s(), ours_ns as f64 / (ours_ns + theirs_ns).max(1) as f64);
        let mut seconds = std::mem::take(&mut self.seconds);
        seconds.extend(
            later.seconds.drain(..).map(|second| Second { at_s: start_s + second.at_s, ..second }),
        );
        let mut threads = std::mem::take(&mut self.threads);
        for (i, thread) in later.threads.drain(..).enumerate() {
            match threads.get_mut(i) {
                Some(ours) => {
                    ours.busy_fraction =
                        ours.busy_fraction * share + thread.busy_fraction * (1.0 - share);
                    ours.cpu_s += thread.cpu_s;
                }
                None => threads.push(thread),
            }
        }
        self.merge(later);
        self.elapsed_ns = ours_ns + theirs_ns;
        self.seconds = seconds;
        self.threads = threads;
    }
}

impl Default for CommandOutcome {
    fn default() -> Self {
        Self::new("")
    }
}

impl CommandOutcome {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            sent: 0,
            latencies: histogram::new(),
            errors: BTreeMap::new(),
        }
    }

    /// Right replies.
    pub(crate) fn requests(&self) -> u64 {
        self.latencies.len()
    }

    /// Error replies of every kind.
    pub(crate) fn errors(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Counts error replies. The kind comes from the server, so it is cut and cleaned.
    pub(crate) fn count_errors(&mut self, kind: &[u8], count: u64) {
        let kind = String::from_utf8_lossy(kind);
        let clean = kind.chars().filter(|c| !c.is_control()).take(ERROR_KIND_CHARS_MAX);
        self.add_errors(clean.collect(), count);
    }

    fn add_errors(&mut self, kind: String, count: u64) {
        let is_known = self.errors.contains_key(&kind);
        let kind = if is_known || self.errors.len() < ERROR_KINDS_MAX {
            kind
        } else {
            OTHER_ERRORS.to_owned()
        };
        *self.errors.entry(kind).or_default() += count;
    }

    fn merge(&mut self, other: CommandOutcome) {
        self.sent += other.sent;
        histogram::add(&mut self.latencies, &other.latencies);
        for (kind, count) in other.errors {
            self.add_errors(kind, count);
        }
    }
}

impl Second {
    /// A second whose right replies took what the histogram holds.
    pub(crate) fn new(at_s: f64, latencies: &Histogram<u64>, errors: u64) -> Self {
        Self {
            at_s,
            requests: latencies.len(),
            errors,
            p50_ns: latencies.value_at_quantile(0.5),
            p99_ns: latencies.value_at_quantile(0.99),
            p999_ns: latencies.value_at_quantile(0.999),
            max_ns: latencies.max(),
            intended_rate: None,
        }
    }
}

impl Second {
    /// Counts add up; of latencies, which can't be put together, the greater stays.
    pub(crate) fn add(&mut self, other: &Second) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.p50_ns = self.p50_ns.max(other.p50_ns);
        self.p99_ns = self.p99_ns.max(other.p99_ns);
        self.p999_ns = self.p999_ns.max(other.p999_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }
}

impl Faults {
    /// Replies that were wrong in themselves, or missing.
    pub(crate) fn replies(&self) -> u64 {
        self.wrong + self.lost + self.stale + self.foreign + self.unanswered
    }

    pub(crate) fn merge(&mut self, other: &Faults) {
        self.wrong += other.wrong;
        self.lost += other.lost;
        self.stale += other.stale;
        self.foreign += other.foreign;
        self.reconnects += other.reconnects;
        self.unanswered += other.unanswered;
    }
}

/// Seconds with how long each was: from the end of the one before to its own end. What is left over
/// at the end of a run, a few replies in a few milliseconds, would make a rate out of chance; it goes
/// to the second before it.
pub(crate) fn whole_seconds(seconds: &[Second]) -> Vec<(Second, f64)> {
    let mut whole: Vec<(Second, f64)> = Vec::with_capacity(seconds.len());
    let mut start_s = 0.0;
    for second in seconds {
        let length_s = second.at_s - start_s;
        start_s = second.at_s;
        match whole.last_mut().filter(|_| length_s < LEFT_OVER_S_MAX) {
            Some((last, last_s)) => {
                last.at_s = second.at_s;
                *last_s += length_s;
                last.add(second);
            }
            None => whole.push((second.clone(), length_s)),
        }
    }
    whole
}

/// How many a second; zero if no time went by.
pub(crate) fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// Percentiles of two parts can't be put together, so a second that both have shows the worse of
/// the two. A coordinator that wants them exact makes each [`Second`] from the threads' histograms.
fn merge_seconds(ours: &mut Vec<Second>, theirs: Vec<Second>) {
    for second in theirs {
        let same = |s: &&mut Second| (s.at_s - second.at_s).abs() < 0.5;
        match ours.iter_mut().find(same) {
            Some(s) => {
                s.add(&second);
                s.intended_rate = match (s.intended_rate, second.intended_rate) {
                    (Some(a), Some(b)) => Some(a + b),
                    (a, b) => a.or(b),
                };
            }
            None => ours.push(second),
        }
    }
    ours.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, count: u64, at_s: &[f64]) -> Outcome {
        let mut command = CommandOutcome::new(name);
        command.latencies.record_n(1000 * count, count).unwrap();
        command.sent = count + 1;
        command.count_errors(b"ERR", 1);
        Outcome {
            started_at_unix_ms: 100 + count,
            elapsed_ns: count * 1_000_000_000,
            commands: vec![command],
            seconds: at_s
                .iter()
                .map(|at_s| Second {
                    at_s: *at_s,
                    requests: count,
                    p99_ns: count,
                    ..Second::default()
                })
                .collect(),
            faults: Faults { reconnects: 1, ..Faults::default() },
            hits: count,
            hit_bytes: 3 * count,
            miss_bytes: count,
            threads: vec![ThreadUse { busy_fraction: count as f64 / 10.0, cpu_s: 1.0 }],
            server_cpu_s: Some(1.0),
            ..Outcome::default()
        }
    }

    #[test]
    fn threads_of_a_run_add_up_over_the_same_time() {
        let mut run = part("get", 2, &[1.0, 2.0]);
        run.merge(part("get", 3, &[1.01, 2.0, 3.0]));
        run.merge(part("set", 1, &[]));
        run.commands.push(CommandOutcome::new("fill"));
        assert_eq!((run.commands.len(), run.used_commands().len()), (3, 2));
        assert_eq!((run.requests(), run.errors(), run.commands[0].sent), (6, 3, 7));
        assert_eq!(run.errors_by_kind(), BTreeMap::from([("ERR", 3)]));
        assert_eq!((run.elapsed_ns, run.started_at_unix_ms), (3_000_000_000, 101));
        assert_eq!(run.rate(), 2.0);
        let seconds: Vec<_> = run.seconds.iter().map(|s| (s.requests, s.p99_ns)).collect();
        assert_eq!(seconds, [(5, 3), (5, 3), (3, 3)]);
        assert_eq!((run.faults.reconnects, run.hits, run.threads.len()), (3, 6, 3));
        assert_eq!((run.hit_bytes, run.byte_hit_ratio()), (18, Some(0.75)));
        assert_eq!(Outcome::default().byte_hit_ratio(), None);
        assert_eq!(run.total().max(), 3001, "three digits: the top of 3000's step");
    }

    #[test]
    fn rounds_follow_one_another_in_time() {
        let mut run = part("get", 2, &[1.0, 2.0]);
        run.follow(part("get", 3, &[1.0]));
        assert_eq!((run.elapsed_ns, run.requests()), (5_000_000_000, 5));
        let at: Vec<f64> = run.seconds.iter().map(|s| s.at_s).collect();
        assert_eq!(at, [1.0, 2.0, 3.0]);
        assert_eq!(run.threads.len(), 1);
        assert!((run.threads[0].busy_fraction - (0.2 * 2.0 + 0.3 * 3.0) / 5.0).abs() < 1e-9);
        assert_eq!(run.server_cpu_s, Some(2.0));
    }

    #[test]
    fn what_is_left_over_goes_to_the_second_before() {
        let second = |at_s: f64, requests: u64| Second { at_s, requests, ..Second::default() };
        let seconds = [second(1.0, 10), second(1.004, 2), second(2.004, 10), second(2.5, 5)];
        let whole: Vec<(f64, u64, f64)> = whole_seconds(&seconds)
            .into_iter()
            .map(|(s, length_s)| (s.at_s, s.requests, (length_s * 1e3).round() / 1e3))
            .collect();
        assert_eq!(whole, [(1.004, 12, 1.004), (2.004, 10, 1.0), (2.5, 5, 0.496)]);
        assert_eq!(whole_seconds(&[second(0.05, 1)]).len(), 1, "a run shorter than that");
    }

    #[test]
    fn kinds_of_error_are_bounded_and_cleaned() {
        let mut command = CommandOutcome::new("get");
        command.count_errors(b"ODD\x1b\xff", 1);
        for i in 0..1000 {
            command.count_errors(format!("E{i}").as_bytes(), 1);
        }
        command.count_errors(&[b'x'; 5000], 1);
        assert_eq!(command.errors(), 1002);
        assert!(command.errors.len() <= ERROR_KINDS_MAX + 1);
        assert_eq!(command.errors["ODD\u{fffd}"], 1);
        assert!(command.errors.keys().all(|kind| kind.chars().count() <= ERROR_KIND_CHARS_MAX));
    }

    #[test]
    fn a_run_without_time_or_requests_has_no_rate() {
        let run = Outcome::default();
        assert_eq!(
            (run.rate(), run.hit_ratio(), run.server_cpu_us_per_request()),
            (0.0, None, None)
        );
    }
}
