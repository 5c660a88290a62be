//! The rounds of a comparison as a picture: for each figure a bar a server, as long as its median,
//! with a dot for every round, so that a difference can be told from noise at a glance.

use super::super::element::Element;
use super::super::svg::COLORS;
use super::super::units;
use super::muted;
use crate::compare::{Comparison, Round, ServerRounds, Spread};

type Figure = (&'static str, fn(&Round) -> Option<f64>, fn(f64) -> String);

const FIGURES: [Figure; 5] = [
    ("requests/s, more is better", |round| Some(round.requests_per_s), units::rate),
    ("p50, less is better", |round| round.quantile_ns(0.5), units::latency),
    ("p99, less is better", |round| round.quantile_ns(0.99), units::latency),
    ("p99.9, less is better", |round| round.quantile_ns(0.999), units::latency),
    (
        "server CPU a request, less is better",
        |round| round.server_cpu_us_per_request.map(|us| us * 1000.0),
        units::latency,
    ),
];

pub(super) fn section(comparison: &Comparison) -> Element {
    let servers = comparison.measured();
    let figures = FIGURES.iter().filter_map(|figure| blocks(figure, &servers)).flatten();
    Element::new("section")
        .child(Element::new("h2").text("Rounds"))
        .child(muted("Bars are medians, dots are rounds."))
        .children(figures)
}

/// A heading and the bars below it; none if no server has the figure.
fn blocks((title, of, show): &Figure, servers: &[&ServerRounds]) -> Option<[Element; 2]> {
    let values: Vec<Vec<f64>> =
        servers.iter().map(|server| server.rounds.iter().filter_map(of).collect()).collect();
    let most = values.iter().flatten().copied().fold(0.0, f64::max);
    if most <= 0.0 {
        return None;
    }
    let rows = servers.iter().zip(&values).enumerate().flat_map(|(i, (server, values))| {
        let value = Spread::of(values.iter().copied())
            .map_or_else(|| "-".to_owned(), |spread| show(spread.median));
        [
            Element::new("span").class("name").text(&server.name),
            track(values, most, i),
            Element::new("b").text(value),
        ]
    });
    let rows: Vec<Element> = rows.collect();
    let grid = Element::new("div").class("spread").children(rows);
    Some([Element::new("h3").text(title), grid])
}

fn track(values: &[f64], most: f64, color: usize) -> Element {
    let percent = |value: f64| format!("{:.2}%", value / most * 100.0);
    let track = Element::new("div").class(format!("track c{}", color % COLORS));
    let Some(spread) = Spread::of(values.iter().copied()) else { return track };
    let width = percent(spread.greatest - spread.least);
    let range = format!("left:{};width:{width}", percent(spread.least));
    let part = |class: &str, style: String| Element::new("span").class(class).attr("style", style);
    track
        .child(part("bar", format!("width:{}", percent(spread.median))))
        .child(part("range", range))
        .children(values.iter().map(|value| part("round", format!("left:{}", percent(*value)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_of_every_server_has_its_dot() {
        let server = |name: &str, rates: &[f64]| ServerRounds {
            name: name.to_owned(),
            command: String::new(),
            rounds: rates
                .iter()
                .map(|rate| Round { requests_per_s: *rate, ..Round::default() })
                .collect(),
        };
        let comparison = Comparison {
            servers: vec![
                server("<a>", &[50.0, 100.0, 75.0]),
                server("b", &[25.0]),
                server("c", &[]),
            ],
        };
        let html = section(&comparison).to_string();
        assert_eq!(html.matches("\"round\"").count(), 4);
        assert_eq!(html.matches("\"bar\"").count(), 2, "a server without a round has no row");
        assert!(html.contains("left:50.00%;width:50.00%"), "{html}");
        assert!(html.contains("&lt;a&gt;") && html.contains("width:25.00%"), "{html}");
        assert!(!html.contains("CPU"), "there is no such figure: {html}");
    }
}
