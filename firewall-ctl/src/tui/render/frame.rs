//! What stands around the table: header, banner, notice, tabs, keys.

use super::super::options::Tab;
use super::super::state::State;
use super::super::text::{cut, rates, tail};
use super::theme::Theme;
use super::{body_rows, put, put_right};
use firewall_api::format;
use firewall_api::view::Snapshot;
use firewall_api::width::width;
use firewall_policy::duration;
use firewall_policy::text::safe;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// The first two lines: what is watched, and how much of it passes.
pub(super) fn header(first: Rect, second: Rect, buf: &mut Buffer, state: &State, theme: &Theme) {
    let mut spans = vec![Span::raw(" "), Span::styled("firewall top", theme.title)];
    let Some(snapshot) = &state.snapshot else {
        spans.push(Span::raw("  waiting for the first answer"));
        return put(first, buf, spans);
    };
    let every = duration::print(state.options.interval);
    spans.push(Span::raw(format!(
        "  {}  every {every}",
        format::clock(snapshot.time)
    )));
    let badge = state.paused.then(|| Span::styled(" PAUSED ", theme.tab));
    let room = |spans: &[Span<'_>]| {
        let taken: usize = spans.iter().chain(&badge).map(Span::width).sum();
        usize::from(first.width).saturating_sub(taken)
    };
    match &snapshot.status.generation {
        Some(generation) => {
            let number = format!("  generation {}", generation.number);
            if generation.audit {
                spans.push(Span::raw("  "));
                spans.push(Span::styled(" AUDIT: nothing is dropped ", theme.alarm));
            }
            let default = format!(", default {}", safe(&generation.default).to_uppercase());
            if number.len() <= room(&spans) {
                spans.push(Span::raw(number));
            }
            if default.len() <= room(&spans) {
                spans.push(Span::raw(default));
            }
        }
        None => spans.push(Span::styled("  no policy in force", theme.warning)),
    }
    // Half a name helps nobody: interfaces are named where at least one fits.
    let room = room(&spans).saturating_sub(3);
    if room >= 12 {
        let names = cut(&interfaces(snapshot), room, state.options.unicode).into_owned();
        spans.push(Span::styled(format!("  {names}"), theme.quiet));
    }
    put(first, buf, spans);
    if let Some(badge) = badge {
        put_right(first, buf, Line::from(badge));
    }
    put(second, buf, totals(second.width, state, snapshot, theme));
}

fn interfaces(snapshot: &Snapshot) -> String {
    let names = snapshot.status.interfaces.iter();
    let names: Vec<String> = names
        .map(|view| format!("{} {}", safe(&view.name), view.mode.name()))
        .collect();
    if names.is_empty() {
        "no interface attached".to_owned()
    } else {
        names.join(", ")
    }
}

fn totals(width: u16, state: &State, snapshot: &Snapshot, theme: &Theme) -> Vec<Span<'static>> {
    let mut spans = vec![Span::raw(" ")];
    let (pass, drop) = match state.interface() {
        Some(view) => {
            spans.push(Span::styled(format!("{} ", safe(&view.name)), theme.title));
            (view.pass.rate, view.drop.rate)
        }
        None => {
            if let Some(name) = &state.options.interface {
                let gone = format!("({} is gone) ", safe(name));
                spans.push(Span::styled(gone, theme.warning));
            }
            (snapshot.pass.rate, snapshot.drop.rate)
        }
    };
    if snapshot.interval <= 0.0 {
        spans.push(Span::styled(
            "rates start with the second sample",
            theme.quiet,
        ));
        return spans;
    }
    spans.push(Span::styled("PASS ", theme.pass));
    spans.push(Span::raw(rates(pass, &state.options)));
    spans.push(Span::styled("   DROP ", theme.drop));
    spans.push(Span::raw(rates(drop, &state.options)));
    let share = format::percent(drop.pps, pass.pps + drop.pps);
    let share = format!("   {share} % dropped");
    let taken: usize = spans.iter().map(Span::width).sum();
    if pass.pps + drop.pps > 0.0 && taken + share.len() <= width.into() {
        spans.push(Span::styled(share, theme.quiet));
    }
    spans
}

/// The line that says that what is on the screen is old, and why.
pub(super) fn banner(area: Rect, buf: &mut Buffer, state: &State, trouble: &str, theme: &Theme) {
    let stale = match &state.snapshot {
        Some(_) => format!(", retrying; STALE for {} s ", state.age().as_secs()),
        None => ", retrying ".to_owned(),
    };
    let start = " daemon not reachable: ";
    let room = usize::from(area.width).saturating_sub(start.len() + stale.len());
    let reason = safe(trouble.lines().next().unwrap_or_default());
    // The system's error number says nothing that its words do not.
    let reason = reason
        .rsplit_once(" (os error ")
        .map_or(&*reason, |(words, _)| words);
    let reason = tail(reason, room, state.options.unicode);
    let width = usize::from(area.width);
    let text = format!("{start}{reason}{stale}");
    put(
        area,
        buf,
        Line::styled(format!("{text:width$}"), theme.alarm),
    );
}

/// One line about what wants attention, with the number of other such things.
pub(super) fn notice(state: &State) -> Option<String> {
    let status = &state.snapshot.as_ref()?.status;
    if status.generation.is_none() {
        return Some("! Nothing is filtered. Start with: firewall-ctl apply -f FILE".to_owned());
    }
    let failed = status
        .last_error
        .iter()
        .map(|error| format!("last apply FAILED: {error}"));
    let all: Vec<String> = failed.chain(status.warnings.iter().cloned()).collect();
    let first = all.first()?;
    let more = match all.len() {
        1 => String::new(),
        n => format!("(+{} more: firewall-ctl status) ", n - 1),
    };
    Some(format!("! {more}{}", safe(first)))
}

/// The line with the tables' names, the order and the position.
pub(super) fn tabs(area: Rect, buf: &mut Buffer, state: &State, theme: &Theme) {
    let mut spans = Vec::new();
    for tab in Tab::ALL {
        let label = format!(" {} {} ", tab.index() + 1, tab.name());
        let style = if tab == state.tab {
            theme.tab
        } else {
            theme.quiet
        };
        spans.push(Span::styled(label, style));
    }
    let left: usize = spans.iter().map(Span::width).sum();
    put(area, buf, spans);
    let (by, descending) = state.sort();
    let arrow = arrow(descending, state.options.unicode);
    let count = state.count();
    let first = state.table().first;
    let last = (first + body_rows(state)).min(count);
    let mut parts = vec![format!("by {by} {arrow}")];
    if count > 0 {
        parts.push(format!("{}-{last} of {count}", first + 1));
    }
    if state.interface().is_some() && state.tab != Tab::Interfaces {
        parts.insert(0, "counted over all interfaces".to_owned());
    }
    let fits = |text: &str| width(text) + left < usize::from(area.width);
    // What does not fit goes, the most needed part last; then a shorter way to say that one.
    let texts = (0..parts.len()).map(|start| format!("{} ", parts[start..].join("   ")));
    let short = format!("{}/{count} ", state.table().selected + 1);
    if let Some(text) = texts.chain([short]).find(|text| fits(text)) {
        put_right(area, buf, Line::styled(text, theme.quiet));
    }
}

/// The sign for the direction of the order.
pub(super) const fn arrow(descending: bool, unicode: bool) -> &'static str {
    match (descending, unicode) {
        (true, true) => "▼",
        (false, true) => "▲",
        (true, false) => "v",
        (false, false) => "^",
    }
}

/// Keys, in the order in which they stay on a narrowing terminal.
const KEYS: [(&str, &str); 9] = [
    ("q", "quit"),
    ("?", "help"),
    ("Tab", "table"),
    ("s", "sort"),
    ("/", "filter"),
    ("space", "pause"),
    ("Enter", "details"),
    ("r", "reverse"),
    ("i", "interface"),
];

/// The last line: keys, or the filter.
pub(super) fn footer(area: Rect, buf: &mut Buffer, state: &State, theme: &Theme) {
    let mut spans = vec![Span::raw(" ")];
    let keys = |pairs: &[(&'static str, &'static str)], spans: &mut Vec<Span<'static>>| {
        for (key, what) in pairs {
            let used: usize = spans.iter().map(Span::width).sum();
            if used + key.len() + what.len() + 1 > usize::from(area.width) {
                break;
            }
            spans.push(Span::styled(*key, theme.key));
            spans.push(Span::raw(format!(" {what}  ")));
        }
    };
    if state.editing || !state.filter.is_empty() {
        spans.push(Span::styled("filter: ", theme.title));
        spans.push(Span::raw(safe(&state.filter).into_owned()));
        if state.editing {
            spans.push(Span::styled(" ", theme.selected));
            spans.push(Span::raw("  "));
            keys(&[("Enter", "keep"), ("Esc", "clear")], &mut spans);
        } else {
            spans.push(Span::raw("  "));
            keys(
                &[("Esc", "clear"), ("/", "change"), ("q", "quit")],
                &mut spans,
            );
        }
    } else if state.detail.is_some() {
        keys(
            &[
                ("Esc", "back"),
                ("space", "pause"),
                ("b", "bits or bytes"),
                ("?", "help"),
            ],
            &mut spans,
        );
    } else {
        keys(&KEYS, &mut spans);
    }
    put(area, buf, spans);
}
