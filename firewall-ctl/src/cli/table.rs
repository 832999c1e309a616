//! Aligned columns. Pure.
//!
//! Invariant: what cells hold is safe for a terminal, and no line ends with spaces.

use firewall_api::width::{cut, left, right, width};
use firewall_policy::text::safe;

/// Which edge the cells of a column share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table with a head line.
#[derive(Clone, Debug)]
pub(super) struct Table {
    columns: Vec<(String, Align)>,
    /// Columns that give way where the width is short, by their places.
    flexible: Vec<usize>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns; a name that starts with `>` is aligned to the right, and one with `~`
    /// gives way where the width is short.
    pub(super) fn new(columns: &[&str]) -> Self {
        let places = columns.iter().enumerate();
        let flexible = places.filter(|(_, name)| name.starts_with('~'));
        let flexible = flexible.map(|(place, _)| place).collect();
        let columns = columns.iter().map(|name| match name.strip_prefix('>') {
            Some(name) => (name.to_owned(), Align::Right),
            None => (name.trim_start_matches('~').to_owned(), Align::Left),
        });
        Self {
            flexible,
            columns: columns.collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; missing cells are empty.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter().map(|cell| safe(&cell).into_owned());
        self.rows.push(cells.collect());
    }

    /// Whether there is no row.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text, two spaces between columns, whole.
    pub(super) fn render(&self) -> String {
        self.render_within(None)
    }

    /// As [`Table::render`], of a terminal that is so many cells wide: flexible columns are cut, the widest
    /// first, as far as that helps.
    pub(super) fn render_within(&self, limit: Option<usize>) -> String {
        let mut widths: Vec<usize> = (0..self.columns.len())
            .map(|i| {
                let cells = self.rows.iter().filter_map(|row| row.get(i));
                cells
                    .map(|cell| width(cell))
                    .max()
                    .unwrap_or(0)
                    .max(width(&self.columns[i].0))
            })
            .collect();
        if let Some(limit) = limit {
            self.shrink(&mut widths, limit);
        }
        let head: Vec<String> = self.columns.iter().map(|(name, _)| name.clone()).collect();
        let mut text = String::new();
        for row in std::iter::once(&head).chain(&self.rows) {
            let start = text.len();
            for (i, cell) in row.iter().enumerate().take(widths.len()) {
                if i > 0 {
                    text.push_str("  ");
                }
                let cell = cut(cell, widths[i], '…');
                text.push_str(&match self.columns[i].1 {
                    Align::Left => left(&cell, widths[i]),
                    Align::Right => right(&cell, widths[i]),
                });
            }
            text.truncate(start + text[start..].trim_end().len());
            text.push('\n');
        }
        text
    }
    /// Takes cells from the widest flexible column until the table fits or none can give more.
    fn shrink(&self, widths: &mut [usize], limit: usize) {
        const NARROWEST: usize = 10;
        let between = 2 * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + between > limit {
            let mut places = self.flexible.iter().copied();
            let widest = places
                .by_ref()
                .filter(|&place| widths[place] > NARROWEST.max(width(&self.columns[place].0)))
                .max_by_key(|&place| widths[place]);
            match widest {
                Some(place) => widths[place] -= 1,
                None => return,
            }
        }
    }
}

/// A cell of a text that may be long: at most `cells` wide, with `…` at its end if something was cut off.
pub(super) fn shorten(text: &str, cells: usize) -> String {
    cut(&safe(text), cells, '…').into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_and_cleans() {
        let mut table = Table::new(&["NAME", ">N", "NOTE"]);
        table.row(["a\x1b[2Jb".to_owned(), "7".to_owned(), String::new()]);
        table.row(["größe".to_owned(), "1234".to_owned(), "x".to_owned()]);
        assert_eq!(
            table.render(),
            "NAME            N  NOTE\na\\u{1b}[2Jb     7\ngröße        1234  x\n"
        );
        assert_eq!(shorten("abcdef", 4), "abc…");
        assert_eq!(shorten("abcd", 4), "abcd");
    }

    #[test]
    fn a_table_uses_the_width_that_there_is() {
        let mut table = Table::new(&[">#", "~RULE", "~MATCH"]);
        let long = "a-rule-with-a-long-name-that-says-much".to_owned();
        let summary = "tcp port 80,443 from 203.0.113.0/24,198.51.100.0/24".to_owned();
        table.row(["1".to_owned(), long.clone(), summary.clone()]);
        let whole = table.render();
        assert!(whole.contains(&long) && whole.contains(&summary), "{whole}");
        assert_eq!(table.render_within(Some(200)), whole);
        for limit in [40, 60, 80] {
            let text = table.render_within(Some(limit));
            assert!(text.lines().all(|line| width(line) <= limit), "{text}");
            assert!(text.contains('…'), "{text}");
        }
        // What cannot give way does not.
        let text = table.render_within(Some(5));
        assert!(text.lines().all(|line| width(line) <= 25), "{text}");
    }

    #[test]
    fn columns_line_up_and_nothing_reorders_in_any_script() {
        const NAMES: [&str; 8] = [
            "web",
            "\u{65e5}\u{672c}\u{8a9e}",
            "\u{1f600}\u{1f525}",
            "e\u{301}a\u{308}",
            "a\u{202e}gro.live\u{202c}",
            "\u{2066}a\u{2069}\u{200b}\u{feff}",
            "\u{5e9}\u{5dc}\u{5d5}\u{5dd}",
            "a\u{e0067}\u{e0062}",
        ];
        let mut table = Table::new(&["NAME", ">N", "NOTE"]);
        for name in NAMES {
            table.row([name.to_owned(), "7".to_owned(), "END".to_owned()]);
        }
        let text = table.render();
        let mut lines = text.lines();
        let note = width(lines.next().unwrap()) - "NOTE".len();
        for line in lines {
            let end = line.strip_suffix("END").unwrap();
            assert_eq!(width(end), note, "{text}");
            assert!(!line.contains(firewall_policy::text::is_unsafe), "{text}");
        }
        assert!(text.contains("a\\u{202e}gro.live\\u{202c} "), "{text}");
        assert_eq!(width(&shorten("\u{65e5}\u{672c}\u{8a9e}", 4)), 3);
        assert_eq!(shorten("a\u{202e}b", 5), "a\\u{…");
    }
}
