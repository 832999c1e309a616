//! The details of one row: what it is, its rates and totals, and a chart of the last minute.

use super::super::columns;
use super::super::options::Tab;
use super::super::rows::{self, Row, RowId};
use super::super::spark;
use super::super::state::State;
use super::super::text::rates;
use super::theme::Theme;
use super::{Lines, put};
use firewall_api::format;
use firewall_api::view::{HISTORY, Traffic};
use firewall_policy::text::safe;
use firewall_policy::time;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// Cells left of the chart for the scale.
const SCALE: u16 = 9;
/// Highest useful chart.
const CHART_MAX: u16 = 16;

/// Draws the details of the row `id`.
pub(super) fn draw(area: Rect, buf: &mut Buffer, state: &State, id: &RowId, theme: &Theme) {
    let mut lines = Lines(area);
    let Some(row) = state
        .snapshot
        .as_ref()
        .and_then(|snapshot| rows::find(snapshot, id))
    else {
        return put(lines.next(), buf, Line::styled(gone(id), theme.warning));
    };
    put(
        lines.next(),
        buf,
        Line::styled(format!(" {}", title(row)), theme.tab),
    );
    for (label, fact) in facts(row) {
        let spans = vec![
            Span::styled(format!(" {label:<9}"), theme.quiet),
            Span::raw(fact),
        ];
        put(lines.next(), buf, spans);
    }
    traffic(&mut lines, buf, state, row, theme);
    if !row.history().is_empty() {
        chart(lines, buf, state, row.history(), theme);
    }
}

fn gone(id: &RowId) -> String {
    let name = match id {
        RowId::Port(proto, port) => format!("{proto}/{port}"),
        RowId::Rule(name) | RowId::Reason(name, _) => name.clone(),
        RowId::Interface(ifindex) => format!("interface {ifindex}"),
    };
    format!(" {} is not there any more.", safe(&name))
}

fn title(row: Row<'_>) -> String {
    let (tab, kind) = match row {
        Row::Port(_) | Row::Others(_) => (Tab::Ports, "port"),
        Row::Rule(_) => (Tab::Rules, "rule"),
        Row::Reason(_) => (Tab::Reasons, "reason"),
        Row::Interface(_) => (Tab::Interfaces, "interface"),
    };
    format!("{kind} {} ", row.text(columns::name(tab)))
}

/// Labels and values of what the row is.
fn facts(row: Row<'_>) -> Vec<(&'static str, String)> {
    match row {
        Row::Port(view) => {
            let service = view.service.as_deref().unwrap_or("no well-known service");
            vec![("service", safe(service).into_owned())]
        }
        // Not a row that can be opened.
        Row::Others(_) => Vec::new(),
        Row::Rule(view) => {
            let state = if view.enabled || view.expired {
                ""
            } else {
                ", switched off (enabled: false)"
            };
            let action = safe(&view.does()).to_uppercase();
            let mut lines = vec![
                ("rule", format!("number {}, {action}{state}", view.number)),
                ("match", safe(&view.summary).into_owned()),
                ("place", safe(&view.place).into_owned()),
            ];
            lines.extend(view.expires.map(|at| ("expires", time::print(at))));
            for (key, text) in [("owner", &view.owner), ("reason", &view.reason)] {
                lines.extend(text.as_ref().map(|text| (key, safe(text).into_owned())));
            }
            lines
        }
        Row::Reason(view) => vec![
            (
                "verdict",
                match view.would_drop {
                    true => "PASS, because of mode: audit".to_owned(),
                    false => safe(&view.verdict).to_uppercase(),
                },
            ),
            ("meaning", rows::meaning(&view.name).to_owned()),
        ],
        Row::Interface(view) => {
            let zone = if view.zone.is_empty() {
                "none".into()
            } else {
                safe(&view.zone)
            };
            let fallback = match &view.fallback {
                Some(why) => format!(", because native failed: {}", safe(why)),
                None => String::new(),
            };
            vec![
                ("mode", format!("{}{fallback}", view.mode.name())),
                (
                    "kernel",
                    format!(
                        "interface {}, link {}, program {}",
                        view.ifindex, view.link_id, view.program_id
                    ),
                ),
                ("zone", zone.into_owned()),
            ]
        }
    }
}

fn traffic(lines: &mut Lines, buf: &mut Buffer, state: &State, row: Row<'_>, theme: &Theme) {
    let options = &state.options;
    let [pass, drop] = row.traffic();
    let words = |flow: Traffic| {
        let total = flow.total;
        format!(
            "{:<22} {:>7} packets, {}",
            rates(flow.rate, options),
            format::count(total.packets, options.numbers),
            format::bytes(total.bytes, options.numbers)
        )
    };
    let line = |label: &'static str, style, flow| {
        vec![
            Span::styled(format!(" {label:<9}"), style),
            Span::raw(words(flow)),
        ]
    };
    // Ports and interfaces count both; a rule or reason has one verdict (or `next`).
    match row {
        Row::Port(_) | Row::Interface(_) | Row::Others(_) => {
            put(lines.next(), buf, line("PASS", theme.pass, pass));
            put(lines.next(), buf, line("DROP", theme.drop, drop));
        }
        Row::Rule(view) => {
            put(lines.next(), buf, line("hits", theme.title, view.hits));
            if let Some(over) = view.over {
                put(lines.next(), buf, line("over", theme.title, over));
            }
        }
        Row::Reason(view) => put(lines.next(), buf, line("hits", theme.title, view.hits)),
    }
}

fn chart(mut lines: Lines, buf: &mut Buffer, state: &State, history: &[u64], theme: &Theme) {
    let options = &state.options;
    let heading = lines.next();
    let last = history.len().min(HISTORY);
    let mean = history[history.len() - last..]
        .iter()
        .map(|n| *n as f64)
        .sum::<f64>()
        / last as f64;
    // A line for the time axis where there is room for it.
    let axis = u16::from(lines.0.height >= 4);
    let height = lines.0.height.saturating_sub(axis).min(CHART_MAX);
    // Whole cells a second look better than a chart over the whole width.
    let width = (HISTORY as u16).min(lines.0.width.saturating_sub(SCALE + 1));
    let (peak, rows) = spark::chart(history, width.into(), height.into(), options.unicode);
    let number = |n: f64| format::rate(n, options.numbers);
    put(
        heading,
        buf,
        Line::styled(
            format!(
                " packets/s of the last 60 s: peak {}, mean {}",
                number(peak as f64),
                number(mean)
            ),
            theme.title,
        ),
    );
    let rule = if options.unicode { '│' } else { '|' };
    let bottom = rows.len().saturating_sub(1);
    for (index, text) in rows.into_iter().enumerate() {
        let scale = match index {
            0 => number(peak as f64),
            _ if index == bottom => "0".to_owned(),
            _ => String::new(),
        };
        let spans = vec![
            Span::styled(format!("{scale:>7} {rule}"), theme.quiet),
            Span::styled(text, theme.history),
        ];
        put(lines.next(), buf, spans);
    }
    if axis > 0 {
        let left = "60 s ago";
        let gap = usize::from(width).saturating_sub(left.len());
        let text = format!(
            "{:width$}{left}{:>gap$}",
            "",
            "now",
            width = usize::from(SCALE)
        );
        put(lines.next(), buf, Line::styled(text, theme.quiet));
    }
}
