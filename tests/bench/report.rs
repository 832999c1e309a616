//! What came out: rows of measurements, bars that hold or not, points for the plot; as JSON and as
//! tables. Pure functions of the [`BenchReport`].

use crate::measure::Series;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// The case that measures single packets.
pub(crate) const PACKETS: &str = "P13";

/// Everything that a run found.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct BenchReport {
    /// Where it ran.
    pub(crate) machine: Machine,
    /// Where the rule sets come from: `ClassBench` or `generated`.
    pub(crate) origin: String,
    /// Rounds that were counted.
    pub(crate) rounds: usize,
    /// A run with small sizes, whose bars are not judged.
    pub(crate) quick: bool,
    /// Measurements.
    pub(crate) rows: Vec<Row>,
    /// Bars.
    pub(crate) bars: Vec<Bar>,
    /// Points of the plot.
    pub(crate) points: Vec<Point>,
    /// What single packets cost, before and now.
    pub(crate) packets: Vec<Packet>,
}

/// Kernel, processor and day.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Release of the kernel.
    pub(crate) kernel: String,
    /// The processor's name.
    pub(crate) cpu: String,
    /// How many processors.
    pub(crate) cpus: usize,
    /// `YYYY-MM-DD`.
    pub(crate) date: String,
}

/// One measured subject.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// `P1` to `P12`.
    pub(crate) case: String,
    /// What.
    pub(crate) what: String,
    /// Median of the rounds.
    pub(crate) median: f64,
    /// Median distance from the median.
    pub(crate) spread: f64,
    /// Unit of both.
    pub(crate) unit: String,
}

/// How a bar fared.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// Measured.
    Measured {
        /// The value that is held against the bar.
        value: f64,
        /// Its spread.
        spread: f64,
    },
    /// Not run, and why.
    NotRun(String),
}

/// Which side of a bar is good.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Side {
    /// Values up to the bar hold.
    AtMost,
    /// Values from the bar on hold.
    AtLeast,
}

/// One bar of the project.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Bar {
    /// `P1` to `P12`.
    pub(crate) case: String,
    /// What is held against it.
    pub(crate) what: String,
    /// Unit of value, bar and moonshot.
    pub(crate) unit: String,
    /// Which side is good.
    pub(crate) side: Side,
    /// The bar.
    pub(crate) bar: f64,
    /// What would be better than anybody asks.
    pub(crate) moonshot: Option<f64>,
    /// How it fared.
    pub(crate) outcome: Outcome,
}

/// One point of the plot.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Point {
    /// Which line it belongs to.
    pub(crate) line: String,
    /// Number of rules.
    pub(crate) rules: f64,
    /// Nanoseconds a packet.
    pub(crate) nanoseconds: f64,
}

/// What one packet costs, in nanoseconds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Packet {
    /// Which.
    pub(crate) what: String,
    /// Median of the rounds.
    pub(crate) now: f64,
    /// The same in the source tree that it is compared with.
    pub(crate) before: Option<f64>,
    /// Median of the ratios of the rounds, now over before, and their spread.
    pub(crate) ratio: Option<(f64, f64)>,
    /// The same over something else.
    pub(crate) times: Times,
}

/// How many times as much as something else a packet costs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Times {
    /// So many.
    pub(crate) times: f64,
    /// As what.
    pub(crate) of: String,
}

impl Times {
    /// The median of the rounds' ratios.
    pub(crate) fn of(ratios: &Series, of: &str) -> Self {
        Self {
            times: ratios.median(),
            of: of.into(),
        }
    }
}

impl Bar {
    fn reaches(&self, mark: f64) -> Option<bool> {
        match self.outcome {
            Outcome::NotRun(_) => None,
            Outcome::Measured { value, .. } => Some(match self.side {
                Side::AtMost => value <= mark,
                Side::AtLeast => value >= mark,
            }),
        }
    }

    /// Whether it holds; `None` if it was not run.
    pub(crate) fn holds(&self) -> Option<bool> {
        self.reaches(self.bar)
    }

    fn mark(&self, mark: f64) -> String {
        let sign = match self.side {
            Side::AtMost => "<=",
            Side::AtLeast => ">=",
        };
        format!("{sign} {}", number(mark))
    }
}

impl BenchReport {
    /// Adds a measurement.
    pub(crate) fn row(&mut self, case: &str, what: impl Into<String>, unit: &str, series: &Series) {
        self.rows.push(Row {
            case: case.into(),
            what: what.into(),
            median: series.median(),
            spread: series.spread(),
            unit: unit.into(),
        });
    }

    /// Adds a bar with what was measured for it.
    pub(crate) fn bar(&mut self, bar: Mark<'_>, series: &Series) {
        let outcome = Outcome::Measured {
            value: series.median(),
            spread: series.spread(),
        };
        self.bars.push(bar.with(outcome));
    }

    /// Adds a bar that could not be measured.
    pub(crate) fn not_run(&mut self, bar: Mark<'_>, why: impl Into<String>) {
        self.bars.push(bar.with(Outcome::NotRun(why.into())));
    }

    /// Adds a point of the plot.
    pub(crate) fn point(&mut self, line: &str, rules: usize, series: &Series) {
        self.points.push(Point {
            line: line.into(),
            rules: rules as f64,
            nanoseconds: series.median(),
        });
    }

    /// Adds a packet, with what it cost before if that was measured.
    pub(crate) fn packet(
        &mut self,
        what: &str,
        now: &Series,
        before: Option<&Series>,
        times: Times,
    ) {
        self.packets.push(Packet {
            what: what.into(),
            now: now.median(),
            before: before.map(Series::median),
            ratio: before.map(|before| {
                let ratios = now.over(before);
                (ratios.median(), ratios.spread())
            }),
            times,
        });
    }

    /// Whether no bar that was judged is missed.
    pub(crate) fn is_good(&self) -> bool {
        self.quick || self.bars.iter().all(|bar| bar.holds() != Some(false))
    }

    /// One line that says where and when.
    pub(crate) fn caption(&self) -> String {
        let Machine {
            kernel,
            cpu,
            cpus,
            date,
        } = &self.machine;
        let quick = if self.quick {
            "; a quick run with small sizes, bars not judged"
        } else {
            ""
        };
        format!(
            "Linux {kernel}, {cpu} ({cpus} CPUs), {date}; {} rule sets, medians of {} rounds{quick}",
            self.origin, self.rounds
        )
    }

    /// Bars as a table of cells, the first row being the head.
    fn bar_cells(&self, wanted: impl Fn(&Bar) -> bool) -> Vec<Vec<String>> {
        let head = [
            "case", "what", "measured", "spread", "bar", "holds", "moonshot", "reached",
        ];
        let mut cells = vec![head.map(str::to_owned).to_vec()];
        let word = |answer: Option<bool>| match answer {
            None => "not run",
            Some(true) => "yes",
            Some(false) => "no",
        };
        let judged = |answer| {
            if self.quick { "-" } else { word(answer) }
        };
        for bar in self.bars.iter().filter(|bar| wanted(bar)) {
            let (value, spread, what) = match &bar.outcome {
                Outcome::Measured { value, spread } => (
                    with_unit(*value, &bar.unit),
                    format!("±{}", number(*spread)),
                    bar.what.clone(),
                ),
                Outcome::NotRun(why) => (
                    "not run".into(),
                    String::new(),
                    format!("{}: {why}", bar.what),
                ),
            };
            cells.push(vec![
                bar.case.clone(),
                what,
                value,
                spread,
                bar.mark(bar.bar),
                judged(bar.holds()).into(),
                bar.moonshot.map_or("-".into(), |mark| bar.mark(mark)),
                bar.moonshot
                    .map_or("-", |mark| judged(bar.reaches(mark)))
                    .into(),
            ]);
        }
        cells
    }

    /// The measurements as a table of cells, the first row being the head.
    fn row_cells(&self) -> Vec<Vec<String>> {
        let head = ["case", "what", "median", "spread", "unit"];
        let mut cells = vec![head.map(str::to_owned).to_vec()];
        cells.extend(self.rows.iter().map(|row| {
            vec![
                row.case.clone(),
                row.what.clone(),
                number(row.median),
                format!("±{}", number(row.spread)),
                row.unit.clone(),
            ]
        }));
        cells
    }

    /// The packets as a table of cells, the first row being the head.
    fn packet_cells(&self) -> Vec<Vec<String>> {
        let head = ["packet", "ns", "ns before", "over before", "costs"];
        let mut cells = vec![head.map(str::to_owned).to_vec()];
        cells.extend(self.packets.iter().map(|packet| {
            vec![
                packet.what.clone(),
                number(packet.now),
                packet.before.map_or("-".into(), number),
                packet.ratio.map_or("-".into(), |(ratio, spread)| {
                    format!("{} ±{}", number(ratio), number(spread))
                }),
                format!("{} x {}", number(packet.times.times), packet.times.of),
            ]
        }));
        cells
    }

    /// All tables for a terminal.
    pub(crate) fn text(&self) -> String {
        let mut text = self.caption() + "\n";
        let tables = [
            (self.rows.is_empty(), self.row_cells()),
            (self.packets.is_empty(), self.packet_cells()),
            (self.bars.is_empty(), self.bar_cells(|_| true)),
        ];
        for (_, cells) in tables.iter().filter(|(is_empty, _)| !is_empty) {
            text += "\n";
            text += &aligned(cells);
        }
        text
    }

    /// The table of packets for a document, and their bars.
    pub(crate) fn packets_markdown(&self) -> String {
        let bars = self.bar_cells(|bar| bar.case == PACKETS);
        markdown(&self.packet_cells()) + "\n" + &markdown(&bars)
    }

    /// The table of bars for a document, but those of single packets.
    pub(crate) fn bars_markdown(&self) -> String {
        markdown(&self.bar_cells(|bar| bar.case != PACKETS))
    }

    /// The plot as a table for a document: a row for each line, a column for each number of rules.
    pub(crate) fn points_markdown(&self) -> String {
        let mut rules: Vec<f64> = self.points.iter().map(|point| point.rules).collect();
        rules.sort_by(f64::total_cmp);
        rules.dedup();
        let mut lines: Vec<&str> = Vec::new();
        for point in &self.points {
            if !lines.contains(&point.line.as_str()) {
                lines.push(&point.line);
            }
        }
        let mut cells = vec![vec!["rules".to_owned()]];
        cells[0].extend(rules.iter().map(|&count| whole(count)));
        for line in lines {
            let mut row = vec![line.to_owned()];
            row.extend(rules.iter().map(|&count| {
                self.points
                    .iter()
                    .find(|point| point.line == line && point.rules == count)
                    .map_or(String::new(), |point| whole(point.nanoseconds))
            }));
            cells.push(row);
        }
        markdown(&cells)
    }

    /// The table of measurements for a document.
    pub(crate) fn rows_markdown(&self) -> String {
        markdown(&self.row_cells())
    }
}

/// A bar before it is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark<'a> {
    /// `P1` to `P12`.
    pub(crate) case: &'a str,
    /// What is held against it.
    pub(crate) what: &'a str,
    /// Unit.
    pub(crate) unit: &'a str,
    /// Which side is good.
    pub(crate) side: Side,
    /// The bar.
    pub(crate) bar: f64,
    /// The moonshot.
    pub(crate) moonshot: Option<f64>,
}

impl<'a> Mark<'a> {
    /// `what` must be at most `bar`; `moonshot` is the dream.
    pub(crate) fn at_most(case: &'a str, what: &'a str, unit: &'a str, bar: f64) -> Self {
        Self {
            case,
            what,
            unit,
            side: Side::AtMost,
            bar,
            moonshot: None,
        }
    }

    /// `what` must be at least `bar`.
    pub(crate) fn at_least(case: &'a str, what: &'a str, unit: &'a str, bar: f64) -> Self {
        Self {
            side: Side::AtLeast,
            ..Self::at_most(case, what, unit, bar)
        }
    }

    /// With a moonshot.
    pub(crate) fn moonshot(self, mark: f64) -> Self {
        Self {
            moonshot: Some(mark),
            ..self
        }
    }

    fn with(self, outcome: Outcome) -> Bar {
        Bar {
            case: self.case.into(),
            what: self.what.into(),
            unit: self.unit.into(),
            side: self.side,
            bar: self.bar,
            moonshot: self.moonshot,
            outcome,
        }
    }
}

/// Three digits that mean something; thousands with commas.
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "-".into();
    }
    match value.abs() {
        v if v < 9.995 => format!("{value:.2}"),
        v if v < 99.95 => format!("{value:.1}"),
        _ => whole(value),
    }
}

/// Without decimals; thousands with commas.
pub(crate) fn whole(value: f64) -> String {
    let text = format!("{:.0}", value.abs());
    let mut grouped = if value < 0.0 { "-" } else { "" }.to_owned();
    for (index, digit) in text.chars().enumerate() {
        if index > 0 && (text.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn with_unit(value: f64, unit: &str) -> String {
    format!("{} {unit}", number(value)).trim_end().to_owned()
}

fn aligned(cells: &[Vec<String>]) -> String {
    let columns = cells.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            cells
                .iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in cells {
        let line: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", line.join("  ").trim_end());
    }
    text
}

fn markdown(cells: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (index, row) in cells.iter().enumerate() {
        let _ = writeln!(text, "| {} |", row.join(" | "));
        if index == 0 {
            let _ = writeln!(text, "|{}", "---|".repeat(row.len()));
        }
    }
    text
}
