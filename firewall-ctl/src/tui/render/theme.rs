//! Styles by meaning. Without colour the same meanings are told by bold, dim and reverse video, and
//! always by words as well.
//!
//! Only the terminal's own 16 colours are used, so its light or dark scheme stays in charge.

use ratatui::style::{Color, Modifier, Style};

/// Styles for one drawing.
pub(super) struct Theme {
    /// Program name, headings.
    pub(super) title: Style,
    /// Column titles.
    pub(super) columns: Style,
    /// What passes.
    pub(super) pass: Style,
    /// What is dropped.
    pub(super) drop: Style,
    /// Labels, zeros, what matters less.
    pub(super) quiet: Style,
    /// Keys in the last line.
    pub(super) key: Style,
    /// Wants attention.
    pub(super) warning: Style,
    /// Something is broken.
    pub(super) alarm: Style,
    /// History.
    pub(super) history: Style,
    /// The tab in front.
    pub(super) tab: Style,
    /// The highlighted row; laid over the other styles.
    pub(super) selected: Style,
}

impl Theme {
    pub(super) fn new(colour: bool) -> Self {
        let plain = Style::new();
        let bold = plain.add_modifier(Modifier::BOLD);
        let reversed = bold.add_modifier(Modifier::REVERSED);
        let fg = |colour_of: Color| if colour { plain.fg(colour_of) } else { plain };
        Self {
            title: bold,
            columns: if colour { bold.fg(Color::Cyan) } else { bold },
            pass: fg(Color::Green),
            drop: fg(Color::Red),
            quiet: plain.add_modifier(Modifier::DIM),
            key: if colour { bold.fg(Color::Cyan) } else { bold },
            warning: if colour { bold.fg(Color::Yellow) } else { bold },
            alarm: if colour {
                bold.fg(Color::White).bg(Color::Red)
            } else {
                reversed
            },
            history: fg(Color::Blue),
            tab: reversed,
            // One bar in one colour: reversed colours of single cells would look like alarms.
            selected: plain
                .fg(Color::Reset)
                .remove_modifier(Modifier::DIM)
                .add_modifier(Modifier::REVERSED),
        }
    }
}
