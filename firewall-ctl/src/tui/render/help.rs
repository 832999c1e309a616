//! The key help, and what is said on a terminal that is too small.

use super::super::state::State;
use super::theme::Theme;
use super::{MIN_HEIGHT, MIN_WIDTH, put};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::symbols::border;
use ratatui::widgets::{Block, Clear, Paragraph, Widget, Wrap};

const TEXT: [&str; 13] = [
    "Tab  1 2 3 4     next table, table by number",
    "Up Down PgUp PgDn Home End       move",
    "Enter            details of a row, chart of 60 s",
    "s  < >           sort by the next or previous column",
    "p  d  r          by PASS/s, by DROP/s, reverse",
    "/                filter by part of a name; Esc clears",
    "space            pause and go on",
    "+  -             longer or shorter interval",
    "b  i             bits or bytes, totals of an interface",
    "q  Ctrl-C        quit",
    "",
    "60 s: packets a second, each row up to its own peak",
    "PASSED, DROPPED, HITS: packets since first loaded",
];

/// Draws the help over everything else.
pub(super) fn overlay(area: Rect, buf: &mut Buffer, state: &State, theme: &Theme) {
    let width = MIN_WIDTH.min(area.width);
    let height = MIN_HEIGHT.min(area.height);
    let popup = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    Clear.render(popup, buf);
    let borders = if state.options.unicode {
        border::PLAIN
    } else {
        ASCII_BORDER
    };
    let block = Block::bordered()
        .border_set(borders)
        .title(" firewall top: keys ")
        .title_bottom(" any key closes this ")
        .border_style(theme.columns);
    let inner = block.inner(popup);
    block.render(popup, buf);
    for (line, text) in inner.rows().zip(TEXT) {
        put(line, buf, format!(" {text}"));
    }
}

const ASCII_BORDER: border::Set<'static> = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

/// Says what is needed instead of drawing something unreadable.
pub(super) fn too_small(area: Rect, buf: &mut Buffer) {
    let text = format!(
        "This terminal has {}x{} cells; top needs {MIN_WIDTH}x{MIN_HEIGHT}.\nMake it larger, or \
         press q and use: firewall-ctl top --plain",
        area.width, area.height
    );
    Paragraph::new(text)
        .wrap(Wrap { trim: true })
        .render(area, buf);
}
