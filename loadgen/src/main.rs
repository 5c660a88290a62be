//! `loadgen`: load on a server that speaks Redis's protocol or Ringmain's, and the truth about what it
//! answers and how fast.
//!
//! | module | what it is |
//! |---|---|
//! | [`options`], [`quantity`] | the command line |
//! | [`schedule`] | when an open loop means to send |
//! | [`work`] | what is asked, and whether an answer is right |
//! | [`wire`] | replies cut from bytes, greetings, who owns which slot |
//! | [`engine`] | threads, rings, connections: performs a run and counts |
//! | [`report`] | what a run came to, shown and written |
//! | [`search`], [`compare`] | many runs: the highest rate, several servers |
//!
//! A request's life: a client's `work::Source` draws it, `engine::traffic` writes it when the pace allows
//! and notes when it was due, `engine::worker` sends it with whatever else is due in one turn of the ring;
//! the reply is cut out by `wire::resp`, or is an item of a frame and found by its id in `engine::dialogue`,
//! judged by the source, and its latency counted in `engine::book`.

mod compare;
mod engine;
mod options;
mod quantity;
mod report;
mod schedule;
mod search;
mod wire;
mod work;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;

use engine::Failure;
use engine::plan::{Cpus, Load, Plan};
use options::{Command, CompareRun, Options, RunOptions};
use report::document::Document;
use report::outcome::Outcome;
use report::overlay;
use report::progress::{LiveLine, Silent, Watch};
use schedule::Curve;
use search::Slo;
use work::Work;

/// What the process ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Clean,
    /// Not every reply was right, or the run broke.
    Faulty,
    /// What was asked makes no sense, or there is no server.
    Refused,
    Interrupted,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(match status {
            Status::Clean => 0,
            Status::Faulty => 1,
            Status::Refused => 2,
            Status::Interrupted => 130,
        })
    }
}

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) if error.use_stderr() => {
            eprintln!("loadgen: {}", options::sentence(&error));
            return Status::Refused.into();
        }
        // --help and --version.
        Err(error) => error.exit(),
    };
    let stop = Arc::new(AtomicBool::new(false));
    if let Err(error) = listen_for_signals(&stop) {
        eprintln!("loadgen: {error}");
        return Status::Faulty.into();
    }
    let result = match &options.command {
        None => run(&options.run, &stop),
        Some(Command::Report(options)) => match overlay::report(options) {
            Ok(text) => {
                print!("{text}");
                Ok(Status::Clean)
            }
            Err(error) => Err(Failure::Refused(error)),
        },
        Some(Command::Compare(options)) => compare_servers(options, &stop),
    };
    let status = result.unwrap_or_else(|failure| {
        let (status, why) = match failure {
            Failure::Refused(why) => (Status::Refused, why),
            Failure::Broken(why) => (Status::Faulty, why),
            Failure::Interrupted => {
                (Status::Interrupted, "interrupted before the run began".to_owned())
            }
        };
        eprintln!("loadgen: {why}");
        status
    });
    status.into()
}

/// The first signal ends the run, which then shows what it has; the second ends the process.
fn listen_for_signals(stop: &Arc<AtomicBool>) -> std::io::Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    Ok(())
}

fn run(options: &RunOptions, stop: &Arc<AtomicBool>) -> Result<Status, Failure> {
    let slo = options.search_slo.as_deref().map(str::parse::<Slo>).transpose();
    let slo = slo.map_err(|error| Failure::Refused(format!("--search-slo: {error}")))?;
    options.outputs.check().map_err(Failure::Refused)?;
    let work_options = options.load.work();
    let work = Arc::new(Work::new(&work_options).map_err(Failure::Refused)?);
    let plan = options.plan(stop.clone());
    let settings = plan.settings(&work_options);
    if options.load.work.fill {
        fill(&plan, &work, &mut *watch(options.quiet, ""))?;
    }
    let document = match slo {
        Some(slo) => search_rate(options, &plan, &work, &slo)?,
        None => {
            let mut outcome = engine::run(&plan, &work, &mut *watch(options.quiet, ""))?;
            outcome.settings = settings;
            Document::of(outcome)
        }
    };
    print!("{}", overlay::show(&document));
    for remark in work.remarks() {
        eprintln!("loadgen: {remark}");
    }
    options.outputs.write(&document).map_err(Failure::Broken)?;
    Ok(status(&document, stop))
}

fn watch(is_quiet: bool, prefix: &str) -> Box<dyn Watch> {
    if is_quiet { Box::new(Silent) } else { Box::new(LiveLine::stderr(prefix)) }
}

/// Writes every key; a key that could not be written would spoil the run.
fn fill(plan: &Plan, work: &Arc<Work>, watch: &mut dyn Watch) -> Result<(), Failure> {
    let outcome = engine::fill(plan, work, watch)?;
    if outcome.is_clean() || outcome.interrupted {
        return Ok(());
    }
    let warnings = report::warnings::warnings(&outcome).join(" ");
    Err(Failure::Broken(format!("the fill phase did not write every key. {warnings}")))
}

fn search_rate(
    options: &RunOptions,
    plan: &Plan,
    work: &Arc<Work>,
    slo: &Slo,
) -> Result<Document, Failure> {
    let settings = plan.settings(&options.load.work());
    let mut run = |rate: f64| {
        let arrivals = options.load.amount.arrivals;
        let load = Load::Open { curve: Curve::constant(rate), arrivals };
        let prefix = format!("{}/s  ", report::units::rate(rate));
        let plan = Plan { load, ..plan.clone() };
        let mut outcome = engine::run(&plan, work, &mut *watch(options.quiet, &prefix))?;
        outcome.settings.clone_from(&settings);
        Ok(outcome)
    };
    println!("{}", search::progress_line(&search::header()));
    let mut tell = |step: &search::Step| println!("{}", search::progress_line(&step.row()));
    let (search, best) = search::search(slo, options.search_range(), &mut run, &mut tell)?;
    let runs = best.into_iter().collect();
    Ok(Document { runs, search: Some(search), ..Document::default() })
}

fn compare_servers(options: &CompareRun, stop: &Arc<AtomicBool>) -> Result<Status, Failure> {
    options.compare.check().map_err(Failure::Refused)?;
    options.outputs.check().map_err(Failure::Refused)?;
    let work_options = options.load.work();
    Work::new(&work_options).map_err(Failure::Refused)?;
    let mut run = |target: &compare::Target<'_>, watch: &mut dyn Watch| {
        let mut plan = options.load.plan(target.host, target.port, stop.clone());
        target.name.clone_into(&mut plan.label);
        if options.load.amount.cpus.is_none() {
            plan.cpus = Cpus::List(options.compare.client_cpus());
        }
        let fail = |failure| match failure {
            Failure::Refused(why) | Failure::Broken(why) => why,
            Failure::Interrupted => "interrupted".to_owned(),
        };
        // Each server starts empty, so that nothing is known of any version.
        let work = Arc::new(Work::new(&work_options)?);
        if options.load.work.fill {
            fill(&plan, &work, watch).map_err(fail)?;
        }
        let mut outcome = engine::run(&plan, &work, watch).map_err(fail)?;
        outcome.settings = plan.settings(&work_options);
        Ok(outcome)
    };
    let (document, result) = compare::compare(&options.compare, stop, &mut run);
    if let Some(comparison) = &document.comparison {
        print!("{}", comparison.render());
        options.write_markdown(comparison).map_err(Failure::Broken)?;
        options.outputs.write(&document).map_err(Failure::Broken)?;
    }
    match result {
        Ok(()) => Ok(status(&document, stop)),
        Err(_) if stop.load(Ordering::Relaxed) => Ok(Status::Interrupted),
        Err(why) => Err(Failure::Broken(why)),
    }
}

fn status(document: &Document, stop: &AtomicBool) -> Status {
    let is_interrupted = document.runs.iter().any(|run| run.interrupted);
    if is_interrupted || stop.load(Ordering::Relaxed) {
        Status::Interrupted
    } else if document.runs.iter().all(Outcome::is_clean) {
        Status::Clean
    } else {
        Status::Faulty
    }
}
