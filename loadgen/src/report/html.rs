//! The page: one file with figures, curves and tables, that opens without a network.
//!
//! Style and script are part of it and it loads nothing, which it also tells the browser (a content
//! security policy), so that nothing a server or a label says could make it do so.

use serde_json::json;

use super::chart::{Chart, Style};
use super::document::Document;
use super::element::Element;
use super::outcome::{Outcome, whole_seconds};
use super::svg::{COLORS, NARROW, WIDE};
use super::table::Table;
use super::{charts, summary, svg, units, warnings};

mod spread;

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
/// Rows of the table of seconds; a longer run has its `--csv` for that.
const SECONDS_MAX: usize = 600;

/// The whole page.
pub(crate) fn render(document: &Document) -> String {
    let charts = charts::all(&document.runs, document.search.as_ref());
    let title = title(document);
    let head = Element::new("head")
        .child(Element::new("meta").attr("charset", "utf-8"))
        .child(meta("viewport", "width=device-width, initial-scale=1"))
        .child(
            Element::new("meta")
                .attr("http-equiv", "Content-Security-Policy")
                .attr("content", POLICY),
        )
        .child(Element::new("title").text(format!("{title} - loadgen")))
        .child(Element::new("style").raw(svg::STYLE).raw(include_str!("page.css")));
    let body = Element::new("body")
        .child(header(document, &title))
        .children(findings(document))
        .children(document.comparison.as_ref().map(spread::section))
        .children(charts.iter().enumerate().map(|(i, chart)| figure(chart, i)))
        .children(tables(document))
        .child(footer())
        .child(data(&charts))
        .child(Element::new("script").raw(include_str!("page.js")));
    let html = Element::new("html").attr("lang", "en").child(head).child(body);
    format!("<!DOCTYPE html>\n{html}\n")
}

fn meta(name: &str, content: &str) -> Element {
    Element::new("meta").attr("name", name).attr("content", content)
}

fn title(document: &Document) -> String {
    if let Some(search) = &document.search {
        return format!("Search for {}", search.objective);
    }
    let names: Vec<&str> = document.runs.iter().map(|run| run.label.as_str()).collect();
    let names: Vec<&str> = names.into_iter().filter(|name| !name.is_empty()).collect();
    if names.is_empty() { "Report".to_owned() } else { names.join(", ") }
}

fn header(document: &Document, title: &str) -> Element {
    let mut header = Element::new("header").child(Element::new("h1").text(title));
    if let [run] = document.runs.as_slice() {
        let at = time(run.started_at_unix_ms);
        let which = if document.search.is_some() { "The best step: " } else { "" };
        header = header.child(muted(&format!("{which}{}{at}", summary::headline(run))));
        header = header.child(tiles(run));
    } else if let Some(run) = document.runs.first() {
        let at = time(run.started_at_unix_ms);
        header = header.child(muted(&format!("{} runs{at}", document.runs.len())));
    }
    header
}

fn time(unix_ms: u64) -> String {
    if unix_ms == 0 {
        return String::new();
    }
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(unix_ms);
    let text = humantime::format_rfc3339_seconds(at).to_string();
    format!(", {} UTC", text.trim_end_matches('Z').replace('T', " "))
}

fn muted(text: &str) -> Element {
    Element::new("p").class("muted").text(text)
}

fn tiles(run: &Outcome) -> Element {
    let total = run.total();
    let mut tiles = vec![("requests/s".to_owned(), units::rate(run.rate()))];
    for quantile in [0.5, 0.99, 0.999] {
        let ns = total.value_at_quantile(quantile) as f64;
        tiles.push((units::quantile_name(quantile), units::latency(ns)));
    }
    tiles.push(("max".to_owned(), units::latency(total.max() as f64)));
    tiles.push(("errors".to_owned(), units::count(run.errors())));
    tiles.extend(run.hit_ratio().map(|ratio| ("hits".to_owned(), units::percent(ratio))));
    tiles.extend(
        run.server_cpu_us_per_request()
            .map(|us| ("server CPU".to_owned(), units::latency(us * 1000.0))),
    );
    Element::new("dl").class("tiles").children(tiles.iter().map(|(name, value)| {
        Element::new("div")
            .class("tile")
            .child(Element::new("dt").text(name))
            .child(Element::new("dd").text(value))
    }))
}

/// What must be read before the figures are believed.
fn findings(document: &Document) -> Vec<Element> {
    let is_one = document.runs.len() == 1;
    let mut parts = Vec::new();
    for run in &document.runs {
        let faults = warnings::faults(run);
        for warning in warnings::warnings(run) {
            let is_fault = faults.contains(&warning);
            let class = if is_fault { "warning fault" } else { "warning" };
            let text = if is_one { warning } else { format!("{}: {warning}", run.label) };
            parts.push(Element::new("p").class(class).attr("role", "note").text(text));
        }
    }
    parts
}

fn figure(chart: &Chart, index: usize) -> Element {
    let legend = chart.series.iter().map(|series| {
        let dashed = if series.style == Style::Dashed { " dashed" } else { "" };
        let class = format!("swatch{dashed} c{}", series.color % COLORS);
        let name = if series.style == Style::Crosses {
            format!("\u{d7} {}", series.name)
        } else {
            series.name.clone()
        };
        Element::new("li")
            .child(Element::new("span").class(class))
            .child(Element::new("span").text(name))
    });
    Element::new("section")
        .child(Element::new("h2").text(&chart.title))
        .child(muted(&chart.caption))
        .child(
            Element::new("figure")
                .attr("data-chart", index)
                .child(Element::new("ul").class("legend").children(legend))
                .child(svg::inline(chart, WIDE))
                .child(svg::inline(chart, NARROW)),
        )
}

/// Positions and words for the script, as JSON in which no character ends a script.
fn data(charts: &[Chart]) -> Element {
    let charts: Vec<_> = charts
        .iter()
        .map(|chart| {
            let series = chart.series.iter().map(|series| {
                let points = series.points.iter().map(|point| {
                    let x = short(chart.x.scale.position(point.x));
                    let y = short(chart.y.scale.position(point.y));
                    json!([x, y, point.at, point.value])
                });
                let points: Vec<_> = points.collect();
                json!({ "name": series.name, "color": series.color % COLORS, "points": points })
            });
            series.collect::<Vec<_>>()
        })
        .collect();
    let text = json!(charts).to_string();
    let text = text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    Element::new("script").attr("type", "application/json").attr("id", "charts").raw(text)
}

fn short(position: f64) -> f64 {
    (position * 1e4).round() / 1e4
}

fn tables(document: &Document) -> Vec<Element> {
    let mut parts = Vec::new();
    if let Some(comparison) = &document.comparison {
        parts.push(section("Servers side by side", &comparison.table()));
        parts.push(muted("Median (least to greatest) of the rounds."));
    } else if document.runs.len() > 1 {
        parts.push(section("Side by side", &summary::side_by_side(&document.runs)));
    }
    if let Some(search) = &document.search {
        parts.push(section("Rates tried", &search.table()));
    }
    for run in &document.runs {
        parts.extend(run_tables(run, document.runs.len() == 1));
    }
    parts
}

fn run_tables(run: &Outcome, is_one: bool) -> Vec<Element> {
    let title = if is_one { "Latency by command".to_owned() } else { run.label.clone() };
    let mut section = section(&title, &summary::commands(run));
    if !is_one {
        section = section.child(muted(&summary::headline(run)));
    }
    for line in summary::details(run) {
        section = section.child(muted(&line));
    }
    let kinds = run.errors_by_kind();
    if !kinds.is_empty() {
        let mut table = Table::new(["error", "count"]);
        kinds.iter().for_each(|(kind, count)| table.row([*kind, &units::count(*count)]));
        section = section.child(scroll(&table, ""));
    }
    if !run.settings.is_empty() {
        let mut table = Table::new(["setting", "value"]);
        run.settings.iter().for_each(|(name, value)| table.row([name, value]));
        section = section.child(folded("Settings", scroll(&table, "facts")));
    }
    if (1..=SECONDS_MAX).contains(&run.seconds.len()) {
        section = section.child(folded("Every second", scroll(&seconds(run), "")));
    }
    vec![section]
}

fn seconds(run: &Outcome) -> Table {
    let names = ["until", "requests/s", "errors", "p50", "p99", "p99.9", "max"];
    let mut table = Table::new(names);
    for (second, length_s) in whole_seconds(&run.seconds) {
        let rate = super::outcome::per_second(second.requests, length_s);
        let mut row =
            vec![format!("{:.1} s", second.at_s), units::rate(rate), units::count(second.errors)];
        let latencies = [second.p50_ns, second.p99_ns, second.p999_ns, second.max_ns];
        row.extend(latencies.map(|ns| units::latency(ns as f64)));
        table.row(row);
    }
    table
}

fn section(title: &str, table: &Table) -> Element {
    Element::new("section").child(Element::new("h2").text(title)).child(scroll(table, ""))
}

fn folded(title: &str, content: Element) -> Element {
    Element::new("details").child(Element::new("summary").text(title)).child(content)
}

fn scroll(table: &Table, class: &str) -> Element {
    let row = |cells: &[String], name: &'static str| {
        Element::new("tr").children(cells.iter().map(|cell| Element::new(name).text(cell)))
    };
    let head = Element::new("thead").child(row(table.header(), "th"));
    let body = Element::new("tbody").children(table.rows().iter().map(|cells| row(cells, "td")));
    let table = Element::new("table").class(class).child(head).child(body);
    Element::new("div").class("scroll").child(table)
}

fn footer() -> Element {
    Element::new("footer").text(concat!(
        "Made by loadgen ",
        env!("CARGO_PKG_VERSION"),
        ". Latency counts from when a request was due to when its reply was whole. This page loads \
         nothing."
    ))
}

#[cfg(test)]
mod tests;
