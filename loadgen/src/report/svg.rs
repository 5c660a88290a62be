//! Draws a [`Chart`] as SVG: inside the page, and as a file of its own.
//!
//! Colours are classes; the style sheet gives them their light and dark values, so one drawing
//! serves both. A drawing can't rearrange itself for a narrow screen, so the page has each chart
//! twice and shows the one that fits.

use std::fmt::Write as _;

use super::chart::{Chart, Series, Style};
use super::element::Element;

/// The style of charts, wherever they stand.
pub(crate) const STYLE: &str = include_str!("chart.css");

/// How many colours the style sheet has.
pub(crate) const COLORS: usize = 8;

/// The room a drawing has, in CSS pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) class: &'static str,
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

/// Beside a text column.
pub(crate) const WIDE: Room = Room {
    class: "wide",
    width: 820.0,
    height: 340.0,
    left: 62.0,
    right: 18.0,
    top: 14.0,
    bottom: 48.0,
};
/// On a phone.
pub(crate) const NARROW: Room = Room {
    class: "narrow",
    width: 350.0,
    height: 290.0,
    left: 54.0,
    right: 14.0,
    top: 14.0,
    bottom: 48.0,
};

/// Width of a letter of a legend, about.
const LETTER: f64 = 7.0;
/// Room between the words on the x axis.
const TICK_GAP: f64 = 10.0;

impl Room {
    fn plot_width(&self) -> f64 {
        self.width - self.left - self.right
    }

    fn plot_height(&self) -> f64 {
        self.height - self.top - self.bottom
    }

    fn x(&self, position: f64) -> f64 {
        self.left + position * self.plot_width()
    }

    fn y(&self, position: f64) -> f64 {
        self.top + (1.0 - position) * self.plot_height()
    }
}

/// The chart inside a page. `data-plot` tells the script where the plot area is.
pub(crate) fn inline(chart: &Chart, room: Room) -> Element {
    let plot = [room.left, room.top, room.plot_width(), room.plot_height()];
    let plot: Vec<String> = plot.iter().map(f64::to_string).collect();
    Element::new("svg")
        .class(format!("chart {}", room.class))
        .attr("viewBox", format!("0 0 {} {}", room.width, room.height))
        .attr("data-plot", plot.join(" "))
        .attr("role", "img")
        .attr("aria-label", format!("{}. {}", chart.title, chart.caption))
        .children(body(chart, room))
}

/// The chart as a file: with title, legend, background and its own style.
pub(crate) fn standalone(chart: &Chart) -> String {
    let (legend, legend_height) = legend(chart, WIDE);
    let head = 34.0 + legend_height;
    let moved = |y: f64| format!("translate(0 {y})");
    let height = WIDE.height + head;
    let svg = Element::new("svg")
        .attr("xmlns", "http://www.w3.org/2000/svg")
        .class("chart")
        .attr("viewBox", format!("0 0 {} {height}", WIDE.width))
        .attr("width", WIDE.width)
        .attr("height", height)
        .attr("role", "img")
        .child(Element::new("title").text(&chart.title))
        .child(Element::new("style").raw(STYLE))
        .child(Element::new("rect").class("paper").attr("width", "100%").attr("height", "100%"))
        .child(text(WIDE.left, 26.0, "title", &chart.title))
        .child(Element::new("g").attr("transform", moved(34.0)).children(legend))
        .child(Element::new("g").attr("transform", moved(head)).children(body(chart, WIDE)));
    format!("{svg}\n")
}

fn body(chart: &Chart, room: Room) -> Vec<Element> {
    let mut parts = axes(chart, room);
    parts.extend(levels(chart, room));
    parts.extend(chart.series.iter().flat_map(|series| draw(chart, series, room)));
    parts
}

fn axes(chart: &Chart, room: Room) -> Vec<Element> {
    let (left, right) = (room.x(0.0), room.x(1.0));
    let bottom = room.y(0.0);
    let mut parts = Vec::new();
    for (position, name) in &chart.y.ticks {
        let y = room.y(*position);
        parts.push(stroke("grid", left, y, right, y));
        parts.push(text(left - 8.0, y + 4.0, "tick end", name));
    }
    let mut free_from = f64::MIN;
    for (position, name) in &chart.x.ticks {
        let x = room.x(*position);
        parts.push(stroke("grid", x, room.y(1.0), x, bottom));
        let half = name.chars().count() as f64 * LETTER / 2.0;
        // A word that has no room is left out; its line stays. Words don't leave the drawing.
        let x = x.min(room.width - half);
        if x - half >= free_from {
            parts.push(text(x, bottom + 18.0, "tick middle", name));
            free_from = x + half + TICK_GAP;
        }
    }
    parts.push(stroke("axis", left, bottom, right, bottom));
    parts.push(text(f64::midpoint(left, right), bottom + 38.0, "name middle", &chart.x.title));
    parts
}

fn levels(chart: &Chart, room: Room) -> Vec<Element> {
    let levels = chart.levels.iter().flat_map(|level| {
        let y = room.y(chart.y.scale.position(level.y));
        [
            stroke("level", room.x(0.0), y, room.x(1.0), y),
            text(room.x(0.0) + 6.0, y - 5.0, "levelname", &level.name),
        ]
    });
    levels.collect()
}

fn draw(chart: &Chart, series: &Series, room: Room) -> Vec<Element> {
    let places: Vec<(f64, f64)> = series
        .points
        .iter()
        .map(|point| {
            (room.x(chart.x.scale.position(point.x)), room.y(chart.y.scale.position(point.y)))
        })
        .collect();
    let color = format!("c{}", series.color % COLORS);
    let path = || {
        let style = if series.style == Style::Dashed { "line dashed" } else { "line" };
        Element::new("path").class(format!("{style} {color}")).attr("d", path_data(&places))
    };
    let marks = |class: &str, mark: &dyn Fn(f64, f64) -> Element| -> Vec<Element> {
        let class = format!("{class} {color}");
        places.iter().map(|(x, y)| mark(*x, *y).class(&class)).collect()
    };
    match series.style {
        Style::Line if places.len() == 1 => marks("dot", &dot),
        Style::Line | Style::Dashed => vec![path()],
        Style::Marked => std::iter::once(path()).chain(marks("dot", &dot)).collect(),
        Style::Crosses => marks("line", &cross),
    }
}

fn path_data(places: &[(f64, f64)]) -> String {
    let mut data = String::new();
    for (i, (x, y)) in places.iter().enumerate() {
        let _ = write!(data, "{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' });
    }
    data
}

fn dot(x: f64, y: f64) -> Element {
    Element::new("circle").attr("cx", one(x)).attr("cy", one(y)).attr("r", 3)
}

fn cross(x: f64, y: f64) -> Element {
    let (l, r, t, b) = (one(x - 5.0), one(x + 5.0), one(y - 5.0), one(y + 5.0));
    Element::new("path").attr("d", format!("M{l} {t}L{r} {b}M{l} {b}L{r} {t}"))
}

fn stroke(class: &str, x1: f64, y1: f64, x2: f64, y2: f64) -> Element {
    Element::new("line")
        .class(class)
        .attr("x1", one(x1))
        .attr("y1", one(y1))
        .attr("x2", one(x2))
        .attr("y2", one(y2))
}

fn text(x: f64, y: f64, class: &str, text: &str) -> Element {
    Element::new("text").class(class).attr("x", one(x)).attr("y", one(y)).text(text)
}

/// A row or more of swatches with names, and how high it is. One series needs no legend.
fn legend(chart: &Chart, room: Room) -> (Vec<Element>, f64) {
    if chart.series.len() < 2 {
        return (Vec::new(), 0.0);
    }
    let (mut x, mut y) = (room.left, 16.0);
    let mut parts = Vec::new();
    for series in &chart.series {
        let width = 26.0 + series.name.chars().count() as f64 * LETTER + 16.0;
        if x > room.left && x + width > room.width {
            (x, y) = (room.left, y + 20.0);
        }
        let dashed = if series.style == Style::Dashed { " dashed" } else { "" };
        let class = format!("line{dashed} c{}", series.color % COLORS);
        parts.push(stroke(&class, x, y - 4.0, x + 18.0, y - 4.0));
        parts.push(text(x + 26.0, y, "name", &series.name));
        x += width;
    }
    (parts, y + 6.0)
}

/// One decimal is a tenth of a pixel.
fn one(x: f64) -> String {
    format!("{x:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::charts;
    use crate::report::outcome::{CommandOutcome, Outcome};

    fn run(label: &str) -> Outcome {
        let mut get = CommandOutcome::new("get");
        (1..=1000_u64).for_each(|i| get.latencies.record(i * 1000).unwrap());
        Outcome { label: label.to_owned(), commands: vec![get], ..Outcome::default() }
    }

    #[test]
    fn a_picture_is_well_formed_and_names_every_series() {
        let hostile = "</text><script>alert(1)</script>";
        let svg = standalone(&charts::percentiles(&[run(hostile), run("b")]));
        let document = roxmltree::Document::parse(&svg).unwrap();
        let is_text = |node: &roxmltree::Node<'_, '_>| node.tag_name().name() == "text";
        let texts = document.descendants().filter(is_text).filter_map(|node| node.text());
        let texts: Vec<_> = texts.collect();
        for word in [hostile, "b", "99.9 %", "Latency by percentile", "percentile", "1 ms"] {
            assert!(texts.contains(&word), "{word} is not among {texts:?}");
        }
        assert!(!svg.contains("<script"));
        let lines = document.descendants().filter(|node| {
            node.tag_name().name() == "path" && node.attribute("d").is_some_and(|d| d.len() > 100)
        });
        assert_eq!(lines.count(), 2);
    }

    #[test]
    fn nothing_is_drawn_outside() {
        let svg = standalone(&charts::percentiles(&[run("a")]));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        let document = roxmltree::Document::parse(&svg).unwrap();
        for line in document.descendants().filter(|node| node.tag_name().name() == "line") {
            let x: f64 = line.attribute("x2").unwrap().parse().unwrap();
            assert!((0.0..=WIDE.width).contains(&x));
        }
    }
}
