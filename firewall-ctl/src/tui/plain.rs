//! `top` as lines of text: for pipes, logs, terminals that cannot do more, and people who prefer it.
//! One block for each interval: totals, the busiest rows, what the rest adds up to.
//!
//! Invariant: ASCII without control characters other than newline, except what names themselves
//! hold beyond ASCII.

use super::columns::{self, Column, Id};
use super::options::{Tab, TopOptions};
use super::rows::{self, Query, Row, Sort};
use super::text::{cut, rates};
use anyhow::Result;
use firewall_api::format::{self, Numbers};
use firewall_api::view::Snapshot;
use firewall_api::width::{left, right};
use firewall_policy::text::safe;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Instant;

/// Width of a line: that of a terminal that was not changed, more where numbers are long.
const fn width(options: &TopOptions) -> u16 {
    match options.numbers {
        Numbers::Si => 80,
        Numbers::Raw => 120,
    }
}

/// Writes a block for each interval, `options.count` times or until the reader goes away.
///
/// # Errors
/// The first call of `source` fails, or `out` cannot be written. A reader that closed the pipe is
/// no error. Later failures of the source are written as a line and the source is asked again.
pub fn run(
    mut source: impl FnMut() -> Result<Snapshot>,
    options: &TopOptions,
    mut out: impl Write,
) -> Result<()> {
    let mut done = 0;
    let mut next = Instant::now();
    let mut seen = None;
    loop {
        let text = match source() {
            Ok(snapshot) => {
                if seen.is_none() {
                    options.check(&snapshot)?;
                }
                seen = Some(Instant::now());
                block(&snapshot, options)
            }
            Err(error) => match seen {
                None => return Err(error),
                Some(seen) => format!(
                    "daemon not reachable: {}, retrying; last data {} s old\n",
                    safe(&format!("{error:#}")),
                    seen.elapsed().as_secs()
                ),
            },
        };
        done += 1;
        let last = options.count.is_some_and(|count| done >= count);
        let end = if last { "" } else { "\n" };
        match out
            .write_all(format!("{text}{end}").as_bytes())
            .and_then(|()| out.flush())
        {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
        if last {
            return Ok(());
        }
        next += options.interval;
        match next.checked_duration_since(Instant::now()) {
            Some(pause) => std::thread::sleep(pause),
            // Late (a slow source, a suspended machine): go on from now, do not catch up.
            None => next = Instant::now(),
        }
    }
}

/// Writes one block, or with `json` the snapshot as JSON (schema [`firewall_api::view::SCHEMA`]).
///
/// # Errors
/// `source` fails, or `out` cannot be written.
pub fn once(
    mut source: impl FnMut() -> Result<Snapshot>,
    options: &TopOptions,
    json: bool,
    mut out: impl Write,
) -> Result<()> {
    if !json {
        let options = TopOptions {
            count: Some(1),
            ..options.clone()
        };
        return run(source, &options, out);
    }
    let mut text = serde_json::to_string_pretty(&source()?)?;
    text.push('\n');
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// One block of text about a snapshot, ending in a newline.
#[must_use]
pub fn block(snapshot: &Snapshot, options: &TopOptions) -> String {
    let mut text = String::new();
    header(&mut text, snapshot, options);
    let tab = options.tab;
    // A minute of history stands in the lines above already.
    let shown = columns::of(tab, Some(snapshot)).filter(|column| column.id != Id::History);
    let columns = columns::fit(shown, width(options), options.numbers);
    line(&mut text, &columns, |column, _| {
        column.title(options.bytes).into()
    });
    let query = Query {
        tab,
        sort: Sort::initial(tab),
        filter: "",
    };
    let page = rows::page(snapshot, query, 0, options.rows);
    for row in page
        .rows
        .iter()
        .filter_map(|index| rows::row(snapshot, tab, *index))
    {
        line(&mut text, &columns, |column, width| {
            cut(&row.cell(column.id, width, options), width.into(), false).into_owned()
        });
    }
    if page.total == 0 {
        let what = if tab == Tab::Interfaces {
            "no interface"
        } else {
            "no packet counted yet"
        };
        let _ = writeln!(text, "({what})");
    }
    let shown = page
        .rows
        .iter()
        .filter_map(|index| rows::row(snapshot, tab, *index));
    others(&mut text, snapshot, tab, shown, page.total, options);
    text
}

/// Time and totals; then what drops, and what wants attention.
fn header(text: &mut String, snapshot: &Snapshot, options: &TopOptions) {
    let status = &snapshot.status;
    let chosen = options
        .interface
        .as_ref()
        .and_then(|name| status.interfaces.iter().find(|view| view.name == *name));
    let (pass, drop) = chosen.map_or((snapshot.pass.rate, snapshot.drop.rate), |view| {
        (view.pass.rate, view.drop.rate)
    });
    let name = match (&options.interface, chosen) {
        (None, _) => String::new(),
        (Some(name), Some(_)) => format!("{} ", safe(name)),
        (Some(name), None) => format!("({} is gone) ", safe(name)),
    };
    let generation = match &status.generation {
        Some(generation) => format!("gen {}", generation.number),
        None => "no policy in force".to_owned(),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{}  {name}PASS {}  DROP {}  {generation}",
        format::clock(snapshot.time),
        rates(pass, options),
        rates(drop, options)
    );
    let dropping: Vec<String> = rows::page(
        snapshot,
        Query {
            tab: Tab::Reasons,
            sort: Sort::initial(Tab::Reasons),
            filter: "",
        },
        0,
        snapshot.reasons.len(),
    )
    .rows
    .into_iter()
    .filter_map(|index| snapshot.reasons.get(index))
    .filter(|reason| reason.is_drop() && reason.hits.rate.pps > 0.0)
    .take(4)
    .map(|reason| {
        format!(
            "{} {}",
            safe(&reason.name),
            format::rate(reason.hits.rate.pps, options.numbers)
        )
    })
    .collect();
    if !dropping.is_empty() && options.tab != Tab::Reasons {
        let _ = writeln!(text, "dropped/s by reason: {}", dropping.join(", "));
    }
    let failed = status
        .last_error
        .iter()
        .map(|error| format!("last apply FAILED: {error}"));
    for warning in failed.chain(status.warnings.iter().cloned()) {
        let _ = writeln!(text, "! {}", safe(&warning));
    }
}

/// Writes one line of cells, without blanks at its end.
fn line(text: &mut String, columns: &[(Column, u16)], cell: impl Fn(&Column, u16) -> String) {
    let mut line = String::new();
    for (column, width) in columns {
        let (cell, width) = (cell(column, *width), usize::from(*width));
        line.push_str(&match column.is_number() {
            true => right(&cell, width),
            false => left(&cell, width),
        });
        line.push(' ');
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// What the rows that are not shown add up to, if there are any.
fn others<'a>(
    text: &mut String,
    snapshot: &'a Snapshot,
    tab: Tab,
    shown: impl Iterator<Item = Row<'a>> + Clone,
    total: usize,
    options: &TopOptions,
) {
    // Ports that the source left out belong to those that are not shown.
    let outside = (tab == Tab::Ports).then_some(&snapshot.other_ports);
    let more = total - shown.clone().count() + outside.map_or(0, |others| others.count);
    if more == 0 {
        return;
    }
    if tab == Tab::Rules {
        // A rule with `next` counts packets that a later rule counts too: no sum of rules.
        let _ = writeln!(text, "(other {more} rules)");
        return;
    }
    let sum = |[pass, drop]: [f64; 2], row: Row<'_>| {
        let [p, d] = row.traffic();
        [pass + p.rate.pps, drop + d.rate.pps]
    };
    let all = (0..total).filter_map(|index| rows::row(snapshot, tab, index));
    let all = all.chain(outside.map(Row::Others)).fold([0.0; 2], sum);
    let shown = shown.fold([0.0; 2], sum);
    let rest = |at: usize| {
        // The difference of two sums may leave a rounding error where there is nothing.
        let pps: f64 = all[at] - shown[at];
        format::rate(if pps < 0.05 { 0.0 } else { pps }, options.numbers)
    };
    let (name, pass, drop) = (tab.name(), rest(0), rest(1));
    let _ = writeln!(text, "(other {more} {name}: PASS {pass}/s, DROP {drop}/s)");
}
