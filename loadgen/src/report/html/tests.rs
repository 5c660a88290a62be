//! The page as a browser would take it: well-formed, complete, and loading nothing.

use roxmltree::{Document as Xml, Node, ParsingOptions};

use super::*;
use crate::report::outcome::{CommandOutcome, Second, ThreadUse};
use crate::search::{Search, Step};

const HOSTILE: &str = "\"><img src=http://evil.example/x onerror=alert(1)></script><script>alert(2)</script>&\u{1b}[31m";

fn run(label: &str) -> Outcome {
    let command = |name: &str, base: u64| {
        let mut command = CommandOutcome::new(name);
        (1..=20_000_u64).for_each(|i| command.latencies.record(base + i * 7).unwrap());
        command
    };
    let second = |i: u32| Second {
        at_s: f64::from(i),
        requests: 10_000 + u64::from(i) * 100,
        p50_ns: 40_000,
        p99_ns: 90_000,
        p999_ns: 500_000,
        max_ns: 900_000,
        intended_rate: Some(10_500.0),
        ..Second::default()
    };
    Outcome {
        label: label.to_owned(),
        started_at_unix_ms: 1_763_655_000_123,
        elapsed_ns: 4_000_000_000,
        settings: vec![("mix".to_owned(), format!("get=1,{label}"))],
        commands: vec![command("get", 30_000), command("set", 60_000)],
        seconds: (1..=4).map(second).collect(),
        hits: 3,
        misses: 1,
        ..Outcome::default()
    }
}

fn searched() -> Document {
    let step = |asked: f64, missed: Option<&str>| Step {
        asked,
        achieved: asked,
        quantiles_ns: vec![40_000, 50_000, 60_000, 80_000, 200_000, 300_000, 400_000],
        missed: missed.map(str::to_owned),
        ..Step::default()
    };
    let search = Search {
        objective: "p99.9 < 1.00 ms".to_owned(),
        steps: vec![step(1000.0, None), step(4000.0, Some(HOSTILE)), step(2000.0, None)],
        best: Some(2),
        interrupted: false,
    };
    Document { runs: vec![run("best")], search: Some(search), ..Document::default() }
}

/// Parses the page strictly and hands it to the checks.
fn with_page<T>(document: &Document, check: impl FnOnce(&Xml<'_>) -> T) -> T {
    let html = render(document);
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    let page = Xml::parse_with_options(&html, options).unwrap_or_else(|e| panic!("{e}\n{html}"));
    check(&page)
}

fn named<'a>(page: &'a Xml<'a>, name: &'a str) -> impl Iterator<Item = Node<'a, 'a>> {
    page.descendants().filter(move |node| node.tag_name().name() == name)
}

fn texts<'a>(page: &'a Xml<'a>, name: &'a str) -> Vec<String> {
    let text = |node: Node<'_, '_>| {
        node.descendants().filter(Node::is_text).filter_map(|n| n.text()).collect::<String>()
    };
    named(page, name).map(text).collect()
}

#[test]
fn the_page_of_a_run_has_every_picture_and_every_series() {
    with_page(&Document::of(run("one run")), |page| {
        assert_eq!(texts(page, "h1"), ["one run"]);
        assert_eq!(
            texts(page, "h2"),
            [
                "Latency by percentile",
                "Latency by percentile, each command",
                "Throughput over time",
                "Latency over time",
                "Latency by command"
            ]
        );
        let legend = texts(page, "li");
        assert_eq!(
            legend,
            ["one run", "get", "set", "one run", "one run, asked", "p50", "p99", "p99.9", "max"]
        );
        // Each chart is drawn for a wide and for a narrow screen, with a line for each series.
        assert_eq!(named(page, "svg").count(), 2 * 4);
        let lines = named(page, "path").filter(|p| p.attribute("d").is_some_and(|d| d.len() > 20));
        assert_eq!(lines.count(), 2 * legend.len());
        assert!(texts(page, "p").iter().any(|p| p.contains("2025-11-20 16:10:00 UTC")));
        assert!(texts(page, "dd").contains(&"75 %".to_owned()));
    });
}

#[test]
fn the_page_of_a_search_shows_its_curve_and_its_answer() {
    with_page(&searched(), |page| {
        assert_eq!(texts(page, "h1"), ["Search for p99.9 < 1.00 ms"]);
        assert_eq!(texts(page, "h2")[0], "Latency by rate");
        assert!(texts(page, "p").iter().any(|p| p.starts_with("2,000 requests/s is the highest")));
        let legend = texts(page, "li");
        assert_eq!(legend[..4], ["p50", "p99", "p99.9", "\u{d7} objective missed"]);
        let names = texts(page, "text");
        assert!(names.contains(&"p99.9 < 1.00 ms".to_owned()), "the level has its name");
        assert!(texts(page, "td").contains(&"4,000".to_owned()), "the table has every step");
    });
}

#[test]
fn several_runs_lie_over_one_another() {
    let document = Document { runs: vec![run("before"), run("after")], ..Document::default() };
    with_page(&document, |page| {
        assert_eq!(texts(page, "h1"), ["before, after"]);
        assert_eq!(texts(page, "li")[..2], ["before", "after"]);
        assert!(texts(page, "h2").contains(&"Side by side".to_owned()));
    });
}

#[test]
fn what_comes_from_outside_stays_text() {
    let mut hostile = run(HOSTILE);
    hostile.commands[0].name = HOSTILE.to_owned();
    hostile.commands[0].count_errors(HOSTILE.as_bytes(), 1);
    hostile.threads = vec![ThreadUse { busy_fraction: 0.99, cpu_s: 4.0 }];
    let mut document = searched();
    document.runs = vec![hostile, run("b")];
    with_page(&document, |page| {
        assert_eq!(named(page, "img").count(), 0);
        let scripts: Vec<_> = named(page, "script").collect();
        assert_eq!(scripts.len(), 2, "the data and the script of the page");
        let data: serde_json::Value = serde_json::from_str(scripts[0].text().unwrap()).unwrap();
        assert_eq!(data[1][0]["name"], HOSTILE, "the data has the label as it is");
        let shown = HOSTILE.replace('\u{1b}', "\u{fffd}");
        assert!(texts(page, "li").contains(&shown));
        assert!(texts(page, "p").iter().any(|p| p.contains("99 %") && p.contains("bottleneck")));
        // An HTML parser ends a script at the first `</`, whatever an XML parser thinks.
        let html = render(&document);
        assert_eq!(html.matches("<script").count(), 2);
        assert_eq!(html.matches("</script").count(), 2);
    });
}

#[test]
fn the_page_loads_nothing() {
    for document in [searched(), Document::of(run(HOSTILE)), Document::default()] {
        with_page(&document, |page| {
            for element in page.descendants().filter(Node::is_element) {
                for attribute in element.attributes() {
                    let name = attribute.name();
                    assert!(
                        !["src", "href", "srcset", "data", "action", "poster"].contains(&name)
                            && !name.starts_with("on"),
                        "{name}={}",
                        attribute.value()
                    );
                }
            }
            for code in texts(page, "style") {
                assert!(!code.contains("url(") && !code.contains("@import"));
            }
            let policy = named(page, "meta").find_map(|meta| {
                meta.attribute("content")
                    .filter(|_| meta.attribute("http-equiv") == Some("Content-Security-Policy"))
            });
            assert!(policy.unwrap().starts_with("default-src 'none'"));
        });
    }
    let script = include_str!("../page.js");
    assert!(
        !script.contains("fetch") && !script.contains("import") && !script.contains("innerHTML")
    );
}
