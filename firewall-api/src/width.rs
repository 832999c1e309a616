//! Text in columns, by the cells that a terminal gives its characters: two for CJK and emoji, none for
//! accents that are combined with the letter before.
//!
//! Pure; imports nothing of the project. Text that others wrote is made safe beforehand.

use std::borrow::Cow;
use unicode_width::UnicodeWidthStr;

/// How many cells a text takes.
#[must_use]
pub fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// The text with spaces behind it, `cells` wide.
#[must_use]
pub fn left(text: &str, cells: usize) -> String {
    format!("{text}{}", blanks(text, cells))
}

/// The text with spaces before it, `cells` wide.
#[must_use]
pub fn right(text: &str, cells: usize) -> String {
    format!("{}{text}", blanks(text, cells))
}

fn blanks(text: &str, cells: usize) -> String {
    " ".repeat(cells.saturating_sub(width(text)))
}

/// The start of the text, at most `cells` wide, with `sign` at its end if something is missing.
#[must_use]
pub fn cut(text: &str, cells: usize, sign: char) -> Cow<'_, str> {
    if width(text) <= cells {
        return Cow::Borrowed(text);
    }
    let Some(room) = cells.checked_sub(1) else {
        return Cow::Borrowed("");
    };
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    let end = ends.take_while(|&end| width(&text[..end]) <= room).last();
    Cow::Owned(format!("{}{sign}", &text[..end.unwrap_or(0)]))
}

/// The end of the text, at most `cells` wide, with `sign` at its start if something is missing: for
/// errors, whose cause stands last.
#[must_use]
pub fn tail(text: &str, cells: usize, sign: char) -> Cow<'_, str> {
    if width(text) <= cells {
        return Cow::Borrowed(text);
    }
    let Some(room) = cells.checked_sub(1) else {
        return Cow::Borrowed("");
    };
    let starts = text.char_indices().rev().map(|(at, _)| at);
    let start = starts
        .take_while(|&start| width(&text[start..]) <= room)
        .last();
    Cow::Owned(format!("{sign}{}", &text[start.unwrap_or(text.len())..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_and_not_characters_count() {
        for (text, cells) in [
            ("web", 3),
            ("größe", 5),
            ("e\u{301}", 1),
            ("\u{65e5}\u{672c}", 4),
            ("\u{1f600}", 2),
            ("\u{2764}\u{fe0f}", 2),
            ("\u{ff76}", 1),
        ] {
            assert_eq!(width(text), cells, "{text}");
            assert_eq!(width(&left(text, 8)), 8, "{text}");
            assert_eq!(width(&right(text, 8)), 8, "{text}");
        }
        assert_eq!(left("abc", 2), "abc");
    }

    #[test]
    fn what_is_cut_fits() {
        assert_eq!(cut("abcdef", 4, '…'), "abc…");
        assert_eq!(cut("abcd", 4, '…'), "abcd");
        assert_eq!(cut("abcd", 0, '…'), "");
        assert_eq!(cut("\u{65e5}\u{672c}\u{8a9e}", 4, '…'), "\u{65e5}…");
        assert_eq!(cut("\u{65e5}\u{672c}\u{8a9e}", 5, '~'), "\u{65e5}\u{672c}~");
        assert_eq!(cut("e\u{301}e\u{301}e\u{301}", 2, '…'), "e\u{301}…");
        assert_eq!(tail("abcdef", 4, '…'), "…def");
        assert_eq!(tail("\u{65e5}\u{672c}\u{8a9e}", 4, '…'), "…\u{8a9e}");
        assert_eq!(tail("abcd", 0, '…'), "");
        for text in [
            "\u{1f600}\u{1f600}\u{1f600}",
            "a\u{65e5}b\u{672c}c",
            "\u{2764}\u{fe0f}x\u{2764}\u{fe0f}",
        ] {
            for cells in 0..8 {
                assert!(width(&cut(text, cells, '…')) <= cells, "{text} {cells}");
                assert!(width(&tail(text, cells, '…')) <= cells, "{text} {cells}");
            }
        }
    }
}
