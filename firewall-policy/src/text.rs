//! Text that others wrote, made safe for a terminal: comments, file names, interfaces, what a kernel
//! or a daemon answered.
//!
//! Imports nothing. Invariant: what comes out moves no cursor, changes no colour, hides nothing, and
//! shows its characters in the order in which they are stored.

use std::borrow::Cow;

/// Whether a terminal obeys a character, or hides it, where it should show it: control characters,
/// marks of the direction of writing, characters without a width of their own that are no accents,
/// and tags.
#[must_use]
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// The text in one line, with Rust's escapes in place of unsafe characters: `a\u{202e}b`.
#[must_use]
pub fn safe(text: &str) -> Cow<'_, str> {
    escaped(text, is_unsafe)
}

/// As [`safe`], but line breaks stay.
#[must_use]
pub fn safe_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && is_unsafe(c))
}

/// As [`safe_lines`], but `styles` stay, the control sequences that the program itself writes.
#[must_use]
pub fn safe_screen<'t>(text: &'t str, styles: &[&str]) -> Cow<'t, str> {
    if !text.contains('\u{1b}') {
        return safe_lines(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        let (before, from) = rest.split_at(at);
        out.push_str(&safe_lines(before));
        let style = styles.iter().find(|style| from.starts_with(**style));
        let length = style.map_or(1, |style| style.len());
        let (sequence, after) = from.split_at(length);
        match style {
            Some(style) => out.push_str(style),
            None => out.push_str(&safe(sequence)),
        }
        rest = after;
    }
    out.push_str(&safe_lines(rest));
    Cow::Owned(out)
}

/// The start of a text, safe and in one line: at most `most` characters of it.
#[must_use]
pub fn safe_start(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", safe(&text[..end])),
        None => safe(text).into_owned(),
    }
}

fn escaped(text: &str, which: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&which) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if which(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_obeyed_or_unseen_is_spelled_out() {
        for (text, shown) in [
            ("web", "web"),
            (
                "größe \u{4f8b} e\u{301} \u{1f600}",
                "größe \u{4f8b} e\u{301} \u{1f600}",
            ),
            ("a\u{202e}b", "a\\u{202e}b"),
            ("a\u{2066}b\u{2069}", "a\\u{2066}b\\u{2069}"),
            ("a\u{200b}b\u{feff}", "a\\u{200b}b\\u{feff}"),
            ("a\u{e0041}b", "a\\u{e0041}b"),
            ("a\u{e0100}b", "a\\u{e0100}b"),
            (
                "a\u{61c}b\u{180e}c\u{3164}",
                "a\\u{61c}b\\u{180e}c\\u{3164}",
            ),
            ("\u{1b}[2J\u{9b}31m\u{7f}", "\\u{1b}[2J\\u{9b}31m\\u{7f}"),
            ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ] {
            assert_eq!(safe(text), shown);
        }
        assert_eq!(safe_lines("a\nb\rc"), "a\nb\\rc");
        assert_eq!(safe_start("a\nbcd", 3), "a\\nb...");
        assert_eq!(safe_start("abc", 3), "abc");
    }

    #[test]
    fn of_control_sequences_only_the_programs_own_stay() {
        let styles = ["\u{1b}[1;31m", "\u{1b}[0m"];
        let text = "\u{1b}[1;31mFAIL\u{1b}[0m \u{1b}[8mhidden\u{1b}]0;x\u{7}\u{202e}\n";
        let shown = "\u{1b}[1;31mFAIL\u{1b}[0m \\u{1b}[8mhidden\\u{1b}]0;x\\u{7}\\u{202e}\n";
        assert_eq!(safe_screen(text, &styles), shown);
        assert_eq!(safe_screen("\u{1b}", &styles), "\\u{1b}");
        assert_eq!(safe_screen("a\u{202e}\n", &styles), "a\\u{202e}\n");
    }
}
