//! `draw`: the screen for a [`State`]. Pure: the same state gives the same cells.
//!
//! ```text
//!  firewall top  12:04:31 UTC  every 1s  generation 42, default DROP  eth0 native
//!  PASS 188.3k pps 411.0 Mb/s   DROP 1.05M pps 400.1 Mb/s   84.8 % dropped
//!  [banner: the daemon is gone]                                    only when it is
//!  [notice: first warning, or no policy]                           only if there is one
//!  1 ports  2 rules  3 reasons  4 interfaces      sort packets/s v  1-19 of 224
//!  PORT      SERVICE   PASS/s  DROP/s ...
//!  table, or the details of one row
//!  keys, or the filter
//! ```
//!
//! Invariants: colour is never the only sign (words, markers and reverse video say the same), and no
//! name is written without [`firewall_policy::text::safe`].

mod detail;
mod frame;
mod help;
mod table;
mod theme;

use super::state::State;
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use theme::Theme;

/// Narrowest terminal that `top` draws on, in cells.
pub const MIN_WIDTH: u16 = 60;
/// Lowest terminal that `top` draws on, in cells.
pub const MIN_HEIGHT: u16 = 15;

/// Lines that are always there: two of header, tabs, column titles, keys.
const FIXED_LINES: u16 = 5;

/// Draws the whole screen.
pub fn draw(frame: &mut Frame<'_>, state: &State) {
    let area = frame.area();
    let buf = frame.buffer_mut();
    let theme = Theme::new(state.options.colour);
    if area.width < MIN_WIDTH || area.height < MIN_HEIGHT {
        return help::too_small(area, buf);
    }
    let mut lines = Lines(area);
    frame::header(lines.next(), lines.next(), buf, state, &theme);
    if let Some(trouble) = state.trouble() {
        frame::banner(lines.next(), buf, state, &trouble, &theme);
    }
    if let Some(notice) = frame::notice(state) {
        put(
            lines.next(),
            buf,
            Line::styled(format!(" {notice}"), theme.warning),
        );
    }
    let keys = lines.last();
    if let Some(id) = &state.detail {
        detail::draw(lines.0, buf, state, id, &theme);
    } else {
        frame::tabs(lines.next(), buf, state, &theme);
        table::draw(lines.0, buf, state, &theme);
    }
    frame::footer(keys, buf, state, &theme);
    if state.help {
        help::overlay(area, buf, state, &theme);
    }
}

/// Rows of the table that fit on the screen.
pub(super) fn body_rows(state: &State) -> usize {
    let extra = u16::from(state.trouble().is_some())
        + u16::from(frame::notice(state).is_some())
        + u16::from(state.others().is_some());
    state.size.1.saturating_sub(FIXED_LINES + extra).into()
}

/// An area that is taken line by line.
struct Lines(Rect);

impl Lines {
    /// The topmost line; empty when none is left.
    fn next(&mut self) -> Rect {
        let line = Rect {
            height: self.0.height.min(1),
            ..self.0
        };
        self.0.y += line.height;
        self.0.height -= line.height;
        line
    }

    /// The lowest line; empty when none is left.
    fn last(&mut self) -> Rect {
        let height = self.0.height.min(1);
        self.0.height -= height;
        Rect {
            y: self.0.y + self.0.height,
            height,
            ..self.0
        }
    }
}

/// Writes a line, cut at the area's right edge.
fn put(area: Rect, buf: &mut Buffer, line: impl Into<Line<'static>>) {
    if area.height > 0 {
        let line = line.into();
        buf.set_line(area.x, area.y, &line, area.width);
    }
}

/// Writes a line that ends at the area's right edge, if it is no wider than the area.
fn put_right(area: Rect, buf: &mut Buffer, line: Line<'static>) {
    let width = u16::try_from(line.width()).unwrap_or(u16::MAX);
    if width <= area.width {
        put(
            Rect {
                x: area.right() - width,
                width,
                ..area
            },
            buf,
            line,
        );
    }
}
