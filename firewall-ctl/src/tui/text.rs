//! Small text helpers that the screen and the plain output share. Pure; imports only
//! [`firewall_api::view`], [`firewall_api::format`] and `firewall_policy::rule`.
//!
//! Invariant: what comes out holds no control character, so no name or error message can move the
//! cursor or change the terminal.

use super::options::TopOptions;
use firewall_api::format;
use firewall_api::view::Rate;
use firewall_policy::rule::Mode;
use std::borrow::Cow;

/// The text with every control character replaced by `?`.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        Cow::Owned(
            text.chars()
                .map(|c| if c.is_control() { '?' } else { c })
                .collect(),
        )
    } else {
        Cow::Borrowed(text)
    }
}

/// The text cut to `width` characters, the last of them an ellipsis if something is missing.
pub(super) fn cut(text: &str, width: usize, unicode: bool) -> Cow<'_, str> {
    if text.chars().count() <= width {
        return Cow::Borrowed(text);
    }
    let Some(keep) = width.checked_sub(1) else {
        return Cow::Borrowed("");
    };
    let mut short: String = text.chars().take(keep).collect();
    short.push(if unicode { '…' } else { '~' });
    Cow::Owned(short)
}

/// The end of the text, at most `width` characters: for error messages, whose cause stands last.
pub(super) fn tail(text: &str, width: usize, unicode: bool) -> Cow<'_, str> {
    let length = text.chars().count();
    if length <= width {
        return Cow::Borrowed(text);
    }
    let Some(keep) = width.checked_sub(1) else {
        return Cow::Borrowed("");
    };
    let sign = if unicode { '…' } else { '~' };
    Cow::Owned(
        std::iter::once(sign)
            .chain(text.chars().skip(length - keep))
            .collect(),
    )
}

/// Time of day of a Unix time, in UTC, so that it agrees with logs of other hosts: `12:04:31 UTC`.
pub(super) fn clock(time: f64) -> String {
    let seconds = time as u64 % 86_400;
    format!(
        "{:02}:{:02}:{:02} UTC",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// `188.3k pps 411.0 Mb/s`: packets and bits always stand together.
pub(super) fn rates(rate: Rate, options: &TopOptions) -> String {
    let pps = format::rate(rate.pps, options.numbers);
    format!("{pps} pps {}", bandwidth(rate.bps, options))
}

/// `411.0 Mb/s`, or `51.4 MB/s` where bytes were asked for.
pub(super) fn bandwidth(bps: f64, options: &TopOptions) -> String {
    let bits = format::bits(if options.bytes { bps / 8.0 } else { bps }, options.numbers);
    if options.bytes {
        bits.replace("b/s", "B/s")
    } else {
        bits
    }
}

/// A duration as options take it: `1s`, `500ms`, `1.5s`.
pub(super) fn interval(interval: std::time::Duration) -> String {
    let millis = interval.as_millis();
    if millis < 1000 {
        format!("{millis}ms")
    } else if millis.is_multiple_of(1000) {
        format!("{}s", millis / 1000)
    } else {
        format!("{:.1}s", interval.as_secs_f64())
    }
}

/// The attach mode's name.
pub(super) const fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Auto => "auto",
        Mode::Native => "native",
        Mode::Generic => "generic",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn no_control_character_gets_through() {
        assert_eq!(clean("a\x1b[2Jb\n\u{9b}c"), "a?[2Jb??c");
        assert!(matches!(clean("naïve"), Cow::Borrowed(_)));
    }

    #[test]
    fn cutting_marks_what_is_missing() {
        assert_eq!(cut("abc", 3, true), "abc");
        assert_eq!(cut("abcd", 3, true), "ab…");
        assert_eq!(cut("abcd", 3, false), "ab~");
        assert_eq!(cut("äöüß", 2, false), "ä~");
        assert_eq!(cut("abcd", 1, false), "~");
        assert_eq!(cut("abcd", 0, false), "");
        assert_eq!(tail("abcd", 3, true), "…cd");
        assert_eq!(tail("abcd", 4, true), "abcd");
        assert_eq!(tail("abcd", 0, true), "");
    }

    #[test]
    fn clock_and_interval() {
        assert_eq!(clock(1_700_000_000.9), "22:13:20 UTC");
        assert_eq!(clock(-5.0), "00:00:00 UTC");
        assert_eq!(interval(Duration::from_millis(500)), "500ms");
        assert_eq!(interval(Duration::from_secs(10)), "10s");
        assert_eq!(interval(Duration::from_millis(1500)), "1.5s");
    }

    #[test]
    fn bytes_and_bits() {
        let rate = Rate {
            pps: 188_300.0,
            bps: 411e6,
        };
        let mut options = TopOptions::default();
        assert_eq!(rates(rate, &options), "188.3k pps 411.0 Mb/s");
        options.bytes = true;
        assert_eq!(rates(rate, &options), "188.3k pps 51.38 MB/s");
    }
}
