//! Durations as text: one reader and one printer.
//!
//! Imports nothing. Invariant: what is printed reads back as the same duration, to the millisecond.

use std::time::Duration;

const SECOND: u64 = 1_000_000_000;

/// Units and their nanoseconds. Of two words for one unit the first is the one that is written.
const UNITS: [(&str, u64); 6] = [
    ("d", 86_400 * SECOND),
    ("h", 3_600 * SECOND),
    ("m", 60 * SECOND),
    ("min", 60 * SECOND),
    ("s", SECOND),
    ("ms", SECOND / 1000),
];

/// A duration such as `30s`, `10m`, `1h`, `7d`, `500ms` or `1.5s`, or of several units from the
/// largest to the smallest, as feeds write it: `167h59m58.25s`. `None` for all other text, and for
/// what is longer than 500 years.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut all = 0u64;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let (number, behind) = split(rest, |c| c.is_ascii_digit())?;
        let (fraction, behind) = match behind.strip_prefix('.') {
            Some(behind) => split(behind, |c| c.is_ascii_digit())?,
            None => ("", behind),
        };
        let (word, behind) = split(behind, |c| c.is_ascii_alphabetic())?;
        let &(_, unit) = UNITS.iter().find(|(known, _)| *known == word)?;
        if unit >= smallest || !fraction.is_empty() && !behind.is_empty() {
            return None;
        }
        all = all
            .checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?
            .checked_add(part_of(fraction, unit))?;
        smallest = unit;
        rest = behind;
    }
    (smallest != u64::MAX).then(|| Duration::from_nanos(all))
}

/// A duration as people say it: what [`parse`] reads, and units as words, with blanks between: `1 hour`,
/// `90 minutes`, `1 day 12 hours`, `2w`. A number alone has no unit, so it is none.
#[must_use]
pub fn spoken(text: &str) -> Option<Duration> {
    let mut plain = String::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (number, behind) = split(rest, |c| c.is_ascii_digit() || c == '.')?;
        let (word, behind) = split(behind.trim_start(), |c| c.is_ascii_alphabetic())?;
        plain.push_str(&match unit(word)? {
            "w" => format!("{}d", number.parse::<u64>().ok()?.checked_mul(7)?),
            unit => format!("{number}{unit}"),
        });
        let behind = behind.trim_start().trim_start_matches(',').trim_start();
        rest = behind.strip_prefix("and ").unwrap_or(behind).trim_start();
    }
    parse(&plain)
}

/// The unit of a word. A capital letter alone may be another's: M is a month for some.
fn unit(word: &str) -> Option<&'static str> {
    const WORDS: [(&str, &[&str]); 6] = [
        ("s", &["s", "sec", "secs", "second", "seconds"]),
        ("m", &["m", "min", "mins", "minute", "minutes"]),
        ("h", &["h", "hr", "hrs", "hour", "hours"]),
        ("d", &["d", "day", "days"]),
        ("w", &["w", "week", "weeks"]),
        ("ms", &["ms"]),
    ];
    let lower = word.to_ascii_lowercase();
    let meant = if word.len() == 1 { word } else { &lower };
    let (unit, _) = WORDS.iter().find(|(_, words)| words.contains(&meant))?;
    Some(unit)
}

/// A duration as policies write it, in one unit: `30s`, `10m`, `1h`, `7d`.
#[must_use]
pub fn parse_one_unit(text: &str) -> Option<Duration> {
    let number = text.strip_suffix(['s', 'm', 'h', 'd'])?;
    let is_plain =
        number.bytes().all(|b| b.is_ascii_digit()) && (number == "0" || !number.starts_with('0'));
    is_plain.then(|| parse(text)).flatten()
}

/// `500ms`, `1.5s`, `10m`, `1h30m`, `7d`.
#[must_use]
pub fn print(duration: Duration) -> String {
    let milliseconds = duration.as_millis() % 1000;
    let seconds = duration.as_secs();
    if milliseconds > 0 {
        return match seconds {
            0 => format!("{milliseconds}ms"),
            _ => {
                let whole = match seconds / 60 {
                    0 => String::new(),
                    _ => print(Duration::from_secs(seconds - seconds % 60)),
                };
                let fraction = format!("{milliseconds:03}");
                format!(
                    "{whole}{}.{}s",
                    seconds % 60,
                    fraction.trim_end_matches('0')
                )
            }
        };
    }
    let mut text = String::new();
    let mut rest = seconds;
    for (word, unit) in UNITS {
        let unit = unit / SECOND;
        if unit > 0 && rest >= unit {
            text.push_str(&format!("{}{word}", rest / unit));
            rest %= unit;
        }
    }
    match text.is_empty() {
        true => "0s".to_owned(),
        false => text,
    }
}

/// The longest start of a text of such characters, at least one, and what is behind it.
fn split(text: &str, which: impl Fn(char) -> bool) -> Option<(&str, &str)> {
    let end = text.find(|c| !which(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// Nanoseconds of the digits behind a point. Parts of a nanosecond are cut off.
fn part_of(digits: &str, unit: u64) -> u64 {
    let digits = &digits[..digits.len().min(9)];
    let number: u64 = digits.parse().unwrap_or(0);
    let whole = 10u64.pow(digits.len() as u32);
    // At most a day times 10^9: more than 64 bits.
    (u128::from(number) * u128::from(unit) / u128::from(whole)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_and_feeds_write() {
        for (text, milliseconds) in [
            ("30s", 30_000),
            ("10m", 600_000),
            ("10min", 600_000),
            ("1h", 3_600_000),
            ("7d", 604_800_000),
            ("500ms", 500),
            ("1.5s", 1_500),
            ("1.5h", 5_400_000),
            ("1h30m", 5_400_000),
            ("1d12h", 129_600_000),
            ("167h59m58s", 604_798_000),
            ("3h59m53.234567s", 14_393_234),
            ("1h0m0s", 3_600_000),
            ("0s", 0),
        ] {
            let found = parse(text).map(|duration| duration.as_millis());
            assert_eq!(found, Some(milliseconds), "{text}");
        }
    }

    #[test]
    fn all_else_is_refused() {
        for text in [
            "",
            "s",
            "10",
            "1 h",
            "1h 30m",
            "-1s",
            "+1s",
            "1.s",
            ".5s",
            "1.5h30m",
            "30m1h",
            "1h1h",
            "1m1min",
            "1y",
            "1H",
            "1e3s",
            "٣s",
            "1h30",
            "99999999999999999999s",
            "213504d",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        for text in ["1h30m", "1.5s", "500ms", "10min", "010s", "s", "", "m10"] {
            assert_eq!(parse_one_unit(text), None, "{text}");
        }
        assert_eq!(parse_one_unit("10m"), Some(Duration::from_secs(600)));
        assert_eq!(parse_one_unit("0s"), Some(Duration::ZERO));
    }

    #[test]
    fn understands_what_people_say() {
        for (text, seconds) in [
            ("1h", 3_600),
            ("1 hour", 3_600),
            ("1hour", 3_600),
            ("2 hours", 7_200),
            ("90 Minutes", 5_400),
            ("10 min", 600),
            ("30 sec", 30),
            ("1 day", 86_400),
            ("1 day 12 hours", 129_600),
            ("1 day, 12 hours", 129_600),
            ("1 hour and 30 minutes", 5_400),
            ("1.5 hours", 5_400),
            ("2 weeks", 1_209_600),
            ("1w", 604_800),
            ("167h59m58s", 604_798),
        ] {
            let found = spoken(text).map(|duration| duration.as_secs());
            assert_eq!(found, Some(seconds), "{text}");
        }
        for text in [
            "", "600", "hour", "1 month", "1M", "1 year", "10.0.0.1", "1 hour 2", "1 h 2 h", "ever",
        ] {
            assert_eq!(spoken(text), None, "{text}");
        }
    }

    #[test]
    fn prints_what_it_reads() {
        for text in [
            "0s",
            "1ms",
            "999ms",
            "1s",
            "1.5s",
            "59s",
            "1m",
            "1m30.025s",
            "1h30m",
            "1d",
            "7d",
            "6d23h59m58s",
            "365d",
        ] {
            assert_eq!(parse(text).map(print).as_deref(), Some(text));
        }
        for milliseconds in (0..400_000_000u64).step_by(1_234_567) {
            let duration = Duration::from_millis(milliseconds);
            assert_eq!(parse(&print(duration)), Some(duration));
        }
    }
}
