//! The picture: cost of a packet against number of rules, both logarithmic, as SVG. A pure function
//! of the [`BenchReport`].

use crate::report::{BenchReport, Point, whole};
use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 540.0;
/// The plot's area: left, top, right, bottom.
const AREA: (f64, f64, f64, f64) = (76.0, 64.0, 600.0, 470.0);

/// Colours that people with any colour vision can tell apart (Okabe and Ito, 2008).
const COLOURS: [&str; 8] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#777777",
];

/// One axis: values from `low` to `high`, both powers of ten, onto pixels.
#[derive(Clone, Copy)]
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut low, mut high) = (f64::MAX, f64::MIN);
        for value in values.filter(|value| *value > 0.0) {
            low = low.min(value.log10().floor());
            high = high.max(value.log10().ceil());
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        Self {
            low,
            high: high.max(low + 1.0),
            from,
            to,
        }
    }

    fn place(self, value: f64) -> f64 {
        let part = (value.log10() - self.low) / (self.high - self.low);
        self.from + part * (self.to - self.from)
    }

    fn decades(self) -> impl Iterator<Item = f64> {
        (self.low as i32..=self.high as i32).map(|power| 10f64.powi(power))
    }
}

/// The picture as SVG; nothing if there is nothing to show.
pub(crate) fn svg(report: &BenchReport) -> Option<String> {
    let points = &report.points;
    if points.is_empty() {
        return None;
    }
    let (left, top, right, bottom) = AREA;
    let x = Axis::of(points.iter().map(|point| point.rules), left, right);
    let y = Axis::of(points.iter().map(|point| point.nanoseconds), bottom, top);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"DejaVu Sans, Helvetica, Arial, \
         sans-serif\" font-size=\"13\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         fill=\"white\"/>\n"
    );
    text(
        &mut svg,
        20.0,
        28.0,
        18,
        "start",
        "What a dropped packet costs, by number of rules",
    );
    text(
        &mut svg,
        20.0,
        48.0,
        12,
        "start",
        "frames that match among the last tenth of the rules, through a veth pair, one CPU",
    );
    grid(&mut svg, x, y);
    let mut lines: Vec<&str> = Vec::new();
    for point in points {
        if !lines.contains(&point.line.as_str()) {
            lines.push(&point.line);
        }
    }
    let labels = label_places(&lines, points, y);
    for ((index, line), label) in lines.iter().enumerate().zip(labels) {
        let colour = COLOURS[index % COLOURS.len()];
        draw(
            &mut svg,
            points.iter().filter(|p| p.line == *line),
            x,
            y,
            colour,
            index,
        );
        let _ = write!(svg, "<g fill=\"{colour}\">");
        text(&mut svg, right + 14.0, label + 4.0, 13, "start", line);
        svg.push_str("</g>\n");
    }
    text(
        &mut svg,
        (left + right) / 2.0,
        bottom + 38.0,
        13,
        "middle",
        "rules",
    );
    text(
        &mut svg,
        20.0,
        HEIGHT - 12.0,
        11,
        "start",
        &report.caption(),
    );
    svg.push_str("</svg>\n");
    Some(svg)
}

fn grid(svg: &mut String, x: Axis, y: Axis) {
    let (left, top, right, bottom) = AREA;
    let mut line = |x1: f64, y1: f64, x2: f64, y2: f64| {
        // Writing to a string cannot fail.
        let _ = writeln!(
            svg,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#ddd\"/>"
        );
    };
    for value in x.decades() {
        line(x.place(value), top, x.place(value), bottom);
    }
    for value in y.decades() {
        line(left, y.place(value), right, y.place(value));
    }
    for value in x.decades() {
        text(
            svg,
            x.place(value),
            bottom + 18.0,
            12,
            "middle",
            &whole(value),
        );
    }
    for value in y.decades() {
        let label = if value >= 1e6 {
            format!("{} ms", whole(value / 1e6))
        } else if value >= 1e3 {
            format!("{} µs", whole(value / 1e3))
        } else {
            format!("{} ns", whole(value))
        };
        text(svg, left - 8.0, y.place(value) + 4.0, 12, "end", &label);
    }
}

fn draw<'a>(
    svg: &mut String,
    points: impl Iterator<Item = &'a Point>,
    x: Axis,
    y: Axis,
    colour: &str,
    index: usize,
) {
    let mut points: Vec<&Point> = points.collect();
    points.sort_by(|a, b| a.rules.total_cmp(&b.rules));
    let places: Vec<(f64, f64)> = points
        .iter()
        .map(|point| (x.place(point.rules), y.place(point.nanoseconds)))
        .collect();
    let path: Vec<String> = places
        .iter()
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    let width = if index == 0 { 3.0 } else { 1.8 };
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>",
        path.join(" ")
    );
    for ((x, y), point) in places.iter().zip(&points) {
        let _ = writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"><title>{}: {} rules, \
             {} ns</title></circle>",
            escape(&point.line),
            whole(point.rules),
            whole(point.nanoseconds)
        );
    }
}

/// Heights of the lines' names: at their last point, pushed apart where they would touch.
fn label_places(lines: &[&str], points: &[Point], y: Axis) -> Vec<f64> {
    const APART: f64 = 17.0;
    let mut places: Vec<(usize, f64)> = lines
        .iter()
        .enumerate()
        .map(|(index, line)| {
            let last = points
                .iter()
                .filter(|point| point.line == *line)
                .max_by(|a, b| a.rules.total_cmp(&b.rules));
            (
                index,
                last.map_or(AREA.3, |point| y.place(point.nanoseconds)),
            )
        })
        .collect();
    places.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut floor = f64::MIN;
    for place in &mut places {
        place.1 = place.1.max(floor);
        floor = place.1 + APART;
    }
    places.sort_by_key(|place| place.0);
    places.into_iter().map(|(_, height)| height).collect()
}

fn text(svg: &mut String, x: f64, y: f64, size: u32, anchor: &str, words: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" text-anchor=\"{anchor}\">{}</text>",
        escape(words)
    );
}

fn escape(words: &str) -> String {
    words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
