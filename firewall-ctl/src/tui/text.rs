//! Small text helpers that the screen and the plain output share. Pure; imports only
//! [`firewall_api::view`], [`firewall_api::format`] and [`firewall_api::width`].

use super::options::TopOptions;
use firewall_api::format;
use firewall_api::view::Rate;
use firewall_api::width;
use std::borrow::Cow;

/// The text cut to a width in cells, with an ellipsis at its end if something is missing.
pub(super) fn cut(text: &str, cells: usize, unicode: bool) -> Cow<'_, str> {
    width::cut(text, cells, ellipsis(unicode))
}

/// The end of the text, with an ellipsis at its start if something is missing.
pub(super) fn tail(text: &str, cells: usize, unicode: bool) -> Cow<'_, str> {
    width::tail(text, cells, ellipsis(unicode))
}

const fn ellipsis(unicode: bool) -> char {
    if unicode { '…' } else { '~' }
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

#[cfg(test)]
mod tests {
    use super::*;

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
