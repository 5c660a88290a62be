//! `loadgen report`: several report files laid over one another.

use std::path::PathBuf;

use clap::Args;

use super::document::Document;
use super::outcome::Outcome;
use super::table::clean;
use super::{Outputs, summary};
use crate::search;

/// Most runs in one picture; more can't be told apart.
const RUNS_MAX: usize = 16;

/// Lay reports of earlier runs over one another.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReportOptions {
    /// Files written with `--json`.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What to call each run, in the order of the files.
    #[arg(long, value_name = "NAME")]
    label: Vec<String>,
    #[command(flatten)]
    outputs: Outputs,
}

/// Reads the files, writes what is asked for, and returns what the terminal shows.
pub(crate) fn report(options: &ReportOptions) -> Result<String, String> {
    let mut documents = Vec::new();
    for path in &options.files {
        documents.push((path, Document::read(path)?));
    }
    let mut joined = Document::default();
    // One file is shown with all it holds; of several, runs alone can be compared.
    if let [(_, document)] = documents.as_slice() {
        joined.search = document.search.clone();
        joined.comparison = document.comparison.clone();
    }
    for (path, document) in documents {
        let stem = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        joined.runs.extend(document.runs.into_iter().map(|run| named(run, &stem)));
    }
    if joined.runs.len() > RUNS_MAX {
        return Err(format!("{} runs are more than one picture can hold", joined.runs.len()));
    }
    if options.label.len() > joined.runs.len() {
        return Err(format!("there are {} runs and more labels", joined.runs.len()));
    }
    for (run, label) in joined.runs.iter_mut().zip(&options.label) {
        run.label.clone_from(label);
    }
    tell_apart(&mut joined.runs);
    options.outputs.check()?;
    options.outputs.write(&joined)?;
    Ok(show(&joined))
}

/// What the terminal shows of a report.
pub(crate) fn show(document: &Document) -> String {
    if let Some(search) = &document.search {
        return search::render(search, document.runs.first());
    }
    if let Some(comparison) = &document.comparison {
        return comparison.render();
    }
    match document.runs.as_slice() {
        [run] => summary::render(run),
        runs => {
            let warned = runs.iter().flat_map(|run| {
                let warnings = super::warnings::warnings(run).into_iter();
                warnings.map(|w| format!("warning: {}\n", clean(&format!("{}: {w}", run.label))))
            });
            let warned: String = warned.collect();
            format!("{}{warned}", summary::side_by_side(runs))
        }
    }
}

fn named(mut run: Outcome, stem: &str) -> Outcome {
    if run.label.is_empty() {
        stem.clone_into(&mut run.label);
    }
    run
}

/// Two runs of one name get numbers.
fn tell_apart(runs: &mut [Outcome]) {
    let names: Vec<String> = runs.iter().map(|run| run.label.clone()).collect();
    for (i, run) in runs.iter_mut().enumerate() {
        let same = names.iter().filter(|name| **name == run.label).count();
        if same > 1 {
            let number = names[..=i].iter().filter(|name| **name == names[i]).count();
            run.label = format!("{} ({number})", run.label);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::outcome::CommandOutcome;

    fn file(directory: &std::path::Path, name: &str, label: &str, ns: u64) -> PathBuf {
        let mut get = CommandOutcome::new("get");
        get.latencies.record_n(ns, 100_000).unwrap();
        let run = Outcome {
            label: label.to_owned(),
            elapsed_ns: 1_000_000_000,
            commands: vec![get],
            ..Outcome::default()
        };
        let path = directory.join(name);
        std::fs::write(&path, Document::of(run).to_json()).unwrap();
        path
    }

    fn options(files: Vec<PathBuf>) -> ReportOptions {
        ReportOptions { files, label: Vec::new(), outputs: Outputs::default() }
    }

    #[test]
    fn files_become_columns_and_a_page() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let a = file(directory.path(), "a.json", "", 50_000);
        let b = file(directory.path(), "b.json", "same", 100_000);
        let c = file(directory.path(), "c.json", "same", 100_000);
        let mut options = options(vec![a, b, c]);
        options.label = vec!["first".to_owned()];
        options.outputs.html = Some(path("page.html"));
        options.outputs.svg = Some(path("curve.svg"));
        options.outputs.json = Some(path("all.json"));
        let text = report(&options).unwrap();
        let head: Vec<_> = text.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(head, ["first", "same", "(1)", "ratio", "same", "(2)", "ratio"]);
        assert!(text.lines().any(|line| line.starts_with("p99 ") && line.contains("2.00")));
        let page = std::fs::read_to_string(path("page.html")).unwrap();
        assert!(page.contains("first, same (1), same (2)"));
        assert!(std::fs::read_to_string(path("curve.svg")).unwrap().starts_with("<svg"));
        assert_eq!(Document::read(&path("all.json")).unwrap().runs.len(), 3);
    }

    #[test]
    fn one_file_is_shown_as_its_run_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(directory.path(), "alone.json", "", 50_000);
        let text = report(&options(vec![path])).unwrap();
        assert!(text.starts_with("alone\n100,000 requests in 1.0 s"), "{text}");
    }

    #[test]
    fn bad_input_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let bad = directory.path().join("bad.json");
        std::fs::write(&bad, "{}").unwrap();
        let error = report(&options(vec![bad])).unwrap_err();
        assert!(error.contains("bad.json: it is not a report of loadgen"), "{error}");
        let mut many = options(vec![file(directory.path(), "a.json", "", 1)]);
        many.label = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(report(&many).unwrap_err(), "there are 1 runs and more labels");
        many.label.clear();
        many.outputs.html = Some(directory.path().join("none/page.html"));
        assert!(report(&many).unwrap_err().contains("none/page.html: "));
    }
}
