//! Runs a load: threads, each pinned and with a ring of its own ([`worker`]), and a coordinator that
//! starts them together, adds up what they report, and tells how it goes.
//!
//! [`traffic`] decides what is sent and what replies mean, with [`pace`], [`link`] and [`dialogue`] as its parts;
//! [`worker`], [`ring`] and [`buffers`] perform. [`book`] and [`ledger`] count.

mod book;
mod buffers;
mod clock;
mod cpu;
pub(crate) mod dialogue;
mod ledger;
mod link;
mod pace;
pub(crate) mod plan;
mod probe;
mod ring;
mod tally;
mod traffic;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use book::{Book, Interval};
use clock::Clock;
use ledger::Ledger;
use pace::{Budget, Open, Pace, Replay};
use plan::{Amount, Load, Plan};
use traffic::{Bounds, Traffic};
use worker::{Ended, Worker};

use crate::report::outcome::Outcome;
use crate::report::progress::{Phase, Watch};
use crate::schedule::Schedule;
use crate::wire::cluster::SlotMap;
use crate::wire::greeting::Greeting;
use crate::work::Work;

/// How often the coordinator tells how it goes.
const SHOW_EVERY: Duration = Duration::from_millis(100);

/// Why there is no outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// What was asked can't be done: exit status 2.
    Refused(String),
    /// Something went wrong on the way.
    Broken(String),
    /// A signal came before the run had begun.
    Interrupted,
}

/// What threads tell the coordinator.
enum Message {
    /// All connections are open.
    Ready,
    Interval(usize, Box<Interval>),
    Ended(Result<Ended, String>),
}

/// What a thread starts with.
struct Job<'a> {
    plan: &'a Plan,
    work: &'a Arc<Work>,
    thread: usize,
    phase: Phase,
    slots: SlotMap,
    greeting: Greeting,
    budget: Arc<AtomicU64>,
    to: Sender<Message>,
    spare: Receiver<Box<Interval>>,
    go: Receiver<Clock>,
}

/// Runs the plan.
///
/// # Errors
/// If there is no server, or it won't have us; or if the machine won't.
pub(crate) fn run(
    plan: &Plan,
    work: &Arc<Work>,
    watch: &mut dyn Watch,
) -> Result<Outcome, Failure> {
    let phase = if plan.warmup.is_zero() { Phase::Measure } else { Phase::WarmUp };
    work.begin().map_err(Failure::Refused)?;
    coordinate(plan, work, watch, phase)
}

/// Writes every key once.
///
/// # Errors
/// As [`run`].
pub(crate) fn fill(
    plan: &Plan,
    work: &Arc<Work>,
    watch: &mut dyn Watch,
) -> Result<Outcome, Failure> {
    const DEPTH: usize = 16;
    let plan = Plan {
        depth: plan.depth.max(DEPTH),
        amount: Amount::Everything,
        warmup: Duration::ZERO,
        load: Load::Closed,
        ..plan.clone()
    };
    coordinate(&plan, work, watch, Phase::Fill)
}

fn coordinate(
    plan: &Plan,
    work: &Arc<Work>,
    watch: &mut dyn Watch,
    phase: Phase,
) -> Result<Outcome, Failure> {
    let (slots, greeting) = probe::probe(plan).map_err(Failure::Refused)?;
    let threads = plan.threads.min(plan.connections);
    let budget = Arc::new(AtomicU64::new(match plan.amount {
        Amount::Requests(count) => count,
        Amount::Time(_) | Amount::Everything => 0,
    }));
    let (to, from_threads) = mpsc::channel();
    thread::scope(|scope| {
        let mut ends = Vec::new();
        for thread in 0..threads {
            let (spare_to, spare) = mpsc::channel();
            let (go_to, go) = mpsc::channel();
            let (slots, greeting) = (slots.clone(), greeting.clone());
            let (budget, to) = (budget.clone(), to.clone());
            let job = Job { plan, work, thread, phase, slots, greeting, budget, to, spare, go };
            ends.push((go_to, spare_to));
            let name = format!("load-{thread}");
            let spawned = thread::Builder::new().name(name).spawn_scoped(scope, move || job.run());
            spawned.map_err(|error| Failure::Broken(format!("cannot start a thread: {error}")))?;
        }
        drop(to);
        let ledger = Ledger::new(plan, work.commands(), phase);
        Coordinator { plan, from_threads, ends, ledger, threads }.run(watch)
    })
}

/// Ends of channels: a thread's start, and its way to get intervals back.
type Ends = (Sender<Clock>, Sender<Box<Interval>>);

struct Coordinator<'a> {
    plan: &'a Plan,
    from_threads: Receiver<Message>,
    ends: Vec<Ends>,
    ledger: Ledger<'a>,
    threads: usize,
}

impl Coordinator<'_> {
    fn run(mut self, watch: &mut dyn Watch) -> Result<Outcome, Failure> {
        let clock = Clock::start();
        let mut ready = 0;
        while ready < self.threads {
            match self.from_threads.recv() {
                Ok(Message::Ready) => ready += 1,
                Ok(Message::Interval(..)) => {}
                Ok(Message::Ended(Err(_))) if self.plan.stop.load(Ordering::Relaxed) => {
                    return Err(Failure::Interrupted);
                }
                Ok(Message::Ended(Err(why))) => return Err(Failure::Refused(why)),
                Ok(Message::Ended(Ok(_))) | Err(_) => {
                    return Err(Failure::Broken("a thread ended before it started".to_owned()));
                }
            }
        }
        let started_at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let clock = clock.restarted();
        self.ledger.start();
        for (go, _) in &self.ends {
            // A thread that is gone has said so.
            let _ = go.send(clock.clone());
        }
        self.watch(watch)?;
        watch.measure_ends();
        let started_at = started_at.unwrap_or_default() + self.plan.warmup;
        let mut outcome = self.ledger.finish();
        outcome.started_at_unix_ms = u64::try_from(started_at.as_millis()).unwrap_or(0);
        Ok(outcome)
    }

    /// Adds up until all threads have ended.
    fn watch(&mut self, watch: &mut dyn Watch) -> Result<(), Failure> {
        let from_ns = nanoseconds(self.plan.warmup);
        let mut left = self.threads;
        let mut show_at = Instant::now() + SHOW_EVERY;
        let mut begins_at = Some(Instant::now() + self.plan.warmup);
        while left > 0 {
            let now = Instant::now();
            if begins_at.is_some_and(|at| at <= now) {
                begins_at = None;
                watch.measure_begins();
            }
            let wake_at = begins_at.map_or(show_at, |at| at.min(show_at));
            let patience = wake_at.saturating_duration_since(now);
            match self.from_threads.recv_timeout(patience) {
                Ok(Message::Ready) => {}
                Ok(Message::Interval(thread, mut interval)) => {
                    self.ledger.add(&interval);
                    Book::recycle(&mut interval);
                    // A thread that has ended needs none.
                    let _ = self.ends[thread].1.send(interval);
                }
                Ok(Message::Ended(Ok(ended))) => {
                    left -= 1;
                    self.ledger.end(ended, from_ns);
                }
                Ok(Message::Ended(Err(why))) => {
                    self.plan.stop.store(true, Ordering::Relaxed);
                    return Err(Failure::Broken(why));
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() < show_at => {}
                Err(RecvTimeoutError::Timeout) => {
                    show_at += SHOW_EVERY;
                    self.ledger.progress(&mut |progress| watch.second(progress));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::Broken("a thread has ended without a word".to_owned()));
                }
            }
        }
        Ok(())
    }
}

impl Job<'_> {
    fn run(self) {
        let to = self.to.clone();
        let ended = self.work();
        if let Some(ended) = ended.transpose() {
            // Nobody listens when another thread has failed.
            let _ = to.send(Message::Ended(ended));
        }
    }

    /// How the run went; nothing if it never started because another thread failed.
    fn work(self) -> Result<Option<Ended>, String> {
        let plan = self.plan;
        cpu::settle(cpu::of_thread(&plan.cpus, self.thread))?;
        let from_ns = nanoseconds(plan.warmup);
        let until_ns = match plan.amount {
            Amount::Time(length) => from_ns.saturating_add(nanoseconds(length)),
            Amount::Requests(_) | Amount::Everything => u64::MAX,
        };
        let to = self.to.clone();
        let (traffic, go) = self.traffic(from_ns, until_ns);
        let mut worker = Worker::new(traffic).map_err(|error| {
            format!("io_uring is not to be had ({error}); Linux 6.1 or newer is needed")
        })?;
        worker.connect(&plan.stop)?;
        let _ = to.send(Message::Ready);
        let Ok(clock) = go.recv() else { return Ok(None) };
        worker.run(clock, from_ns, until_ns, &plan.stop).map(Some)
    }

    fn traffic(self, from_ns: u64, until_ns: u64) -> (Traffic, Receiver<Clock>) {
        let plan = self.plan;
        let threads = plan.threads.min(plan.connections);
        let sources =
            (self.thread..plan.connections).step_by(threads).map(|connection| match self.phase {
                Phase::Fill => self.work.fill(connection, plan.connections),
                Phase::WarmUp | Phase::Measure => self.work.source(connection, plan.connections),
            });
        let budget = match plan.amount {
            Amount::Requests(total) => Some(Budget::new(self.budget, total, threads)),
            Amount::Time(_) | Amount::Everything => None,
        };
        let pace = match &plan.load {
            Load::Closed => Pace::Closed,
            Load::Open { curve, arrivals } => {
                let curve = curve.clone().after(plan.warmup);
                let (thread, seed) = (self.thread, plan.seed);
                Pace::Open(Open::new(Schedule::new(curve, *arrivals, thread, threads, seed)))
            }
            Load::Replay => Pace::Replay(Replay::default()),
        };
        let depth = u32::try_from(plan.depth).unwrap_or(u32::MAX);
        let bounds = Bounds { depth, from_ns, until_ns, budget };
        let commands = self.work.commands().len();
        let book = Book::new(self.thread, commands, from_ns, self.to, self.spare);
        let (sources, greeting) = (sources.collect(), self.greeting);
        let traffic = Traffic::new(sources, self.slots, plan.cluster, greeting, pace, bounds, book);
        (traffic, self.go)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
