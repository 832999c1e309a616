//! The table in front: column titles and one page of rows.

use super::super::columns::{Column, Id};
use super::super::options::Tab;
use super::super::rows::{self, Row};
use super::super::state::State;
use super::super::text::cut;
use super::frame::arrow;
use super::theme::Theme;
use super::{Lines, put};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;

/// Draws titles and rows into `area`.
pub(super) fn draw(area: Rect, buf: &mut Buffer, state: &State, theme: &Theme) {
    let columns = state.columns(area.width);
    let mut lines = Lines(area);
    titles(lines.next(), buf, state, &columns, theme);
    let Some(snapshot) = &state.snapshot else {
        return;
    };
    if let Some(others) = state.others() {
        draw_row(lines.last(), buf, state, others, &columns, theme);
    }
    let table = state.table();
    let page = rows::page(snapshot, state.query(), table.first, lines.0.height.into());
    if page.rows.is_empty() {
        lines.next();
        return put(lines.next(), buf, Line::styled(nothing(state), theme.quiet));
    }
    for (offset, index) in page.rows.into_iter().enumerate() {
        let Some(row) = rows::row(snapshot, state.tab, index) else {
            continue;
        };
        let line = lines.next();
        draw_row(line, buf, state, row, &columns, theme);
        if table.first + offset == table.selected {
            buf.set_string(line.x, line.y, ">", theme.title);
            buf.set_style(line, theme.selected);
        }
    }
}

/// Why there is no row.
fn nothing(state: &State) -> String {
    if !state.filter.is_empty() {
        return format!(
            " Nothing is called *{}*. Esc clears the filter.",
            state.filter
        );
    }
    match state.tab {
        Tab::Ports => " No TCP or UDP packet has been counted yet.",
        Tab::Rules => " The policy has no rules.",
        Tab::Reasons => " No packets counted.",
        Tab::Interfaces => " No interface is filtered.",
    }
    .to_owned()
}

fn titles(area: Rect, buf: &mut Buffer, state: &State, columns: &[(Column, u16)], theme: &Theme) {
    let sort = state.table().sort;
    let mut x = area.x + 1;
    for (column, width) in columns {
        let title = column.title(state.options.bytes);
        cell(
            Rect {
                x,
                width: *width,
                ..area
            },
            buf,
            column,
            title,
            theme.columns,
        );
        if column.id == sort.by {
            // On the side of the title that faces its own column: left of numbers, right of words.
            let length = u16::try_from(title.len()).unwrap_or(*width).min(*width);
            let at = match column.is_number() {
                true => x + width - length - 1,
                false => (x + length).min(area.right().saturating_sub(1)),
            };
            let arrow = arrow(sort.descending, state.options.unicode);
            buf.set_string(at, area.y, arrow, theme.columns);
        }
        x += width + 1;
    }
}

fn draw_row(
    area: Rect,
    buf: &mut Buffer,
    state: &State,
    row: Row<'_>,
    columns: &[(Column, u16)],
    theme: &Theme,
) {
    let mut x = area.x + 1;
    for (column, width) in columns {
        let text = row.cell(column.id, *width, &state.options);
        let style = style_of(column.id, &text, theme);
        let text = cut(&text, (*width).into(), state.options.unicode);
        cell(
            Rect {
                x,
                width: *width,
                ..area
            },
            buf,
            column,
            &text,
            style,
        );
        x += width + 1;
    }
}

/// Writes one cell; numbers to the right.
fn cell(area: Rect, buf: &mut Buffer, column: &Column, text: &str, style: Style) {
    let width = usize::from(area.width);
    let text = if column.is_number() {
        format!("{text:>width$}")
    } else {
        text.to_owned()
    };
    buf.set_stringn(area.x, area.y, text, width, style);
}

fn style_of(id: Id, text: &str, theme: &Theme) -> Style {
    match (id, text) {
        (_, "0" | "-" | "0.0" | "off") | (Id::Meaning | Id::Place | Id::Service, _) => theme.quiet,
        (Id::PassRate | Id::Passed, _) | (Id::Action | Id::Verdict, "PASS") => theme.pass,
        (Id::DropRate | Id::Dropped | Id::DropShare, _) | (Id::Action | Id::Verdict, "DROP") => {
            theme.drop
        }
        (Id::History, _) => theme.history,
        _ => Style::new(),
    }
}
