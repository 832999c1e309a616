//! Numbers and times as people read them: one place, so that `status`, `stats` and `top` agree.
//!
//! Pure functions from numbers to text; imports nothing of the project.
//!
//! Invariant: a formatted number is at most six characters wide (`999.9k`, `99.99M`) unless raw
//! numbers were asked for, so columns can be sized ahead of time.

/// How numbers are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Numbers {
    /// Decimal prefixes: `1.24M`.
    #[default]
    Si,
    /// All digits: `1240113`. For scripts (`--raw-numbers`).
    Raw,
}

/// Decimal prefixes from 10^3 on (ISO 80000-1, with the usual lower-case k).
const PREFIXES: [&str; 6] = ["k", "M", "G", "T", "P", "E"];

/// A whole number: `0`, `310`, `188.3k`, `1.24M`.
#[must_use]
pub fn count(n: u64, numbers: Numbers) -> String {
    match numbers {
        Numbers::Si if n >= 1000 => scaled(n as f64),
        _ => n.to_string(),
    }
}

/// A rate in units a second, without the unit: `0`, `0.4`, `310`, `188.3k`. Negative and not-finite
/// rates do not occur in a `Snapshot`; they are written as `0`.
#[must_use]
pub fn rate(per_second: f64, numbers: Numbers) -> String {
    let value = if per_second.is_finite() {
        per_second.max(0.0)
    } else {
        0.0
    };
    if numbers == Numbers::Raw {
        return trim_zero(format!("{value:.1}"));
    }
    if value < 9.95 {
        trim_zero(format!("{value:.1}"))
    } else if value < 999.5 {
        format!("{value:.0}")
    } else {
        scaled(value)
    }
}

/// A bit rate with its unit: `0 b/s`, `96.2 Mb/s`, `1.24 Gb/s`.
#[must_use]
pub fn bits(per_second: f64, numbers: Numbers) -> String {
    with_unit(&rate(per_second, numbers), "b/s")
}

/// A number of bytes with its unit: `512 B`, `1.24 MB`. Powers of 1000, like the rates.
#[must_use]
pub fn bytes(n: u64, numbers: Numbers) -> String {
    with_unit(&count(n, numbers), "B")
}

/// `part` of `whole` in percent, one digit after the point, without the sign: `84.8`; `-` when
/// there is no whole.
#[must_use]
pub fn percent(part: f64, whole: f64) -> String {
    if whole > 0.0 {
        format!("{:.1}", part / whole * 100.0)
    } else {
        "-".to_owned()
    }
}

/// How long something has lasted: `00:03:12` below a day, `3d 04:12` (hours, minutes) from then on.
#[must_use]
pub fn duration(seconds: f64) -> String {
    let all = whole_seconds(seconds);
    let (days, hours, minutes) = (all / 86_400, all / 3600 % 24, all / 60 % 60);
    if days > 0 {
        format!("{days}d {hours:02}:{minutes:02}")
    } else {
        format!("{hours:02}:{minutes:02}:{:02}", all % 60)
    }
}

/// How long ago something was, in its largest unit: `4s ago`, `12min ago`, `2h ago`, `3d ago`.
#[must_use]
pub fn ago(seconds: f64) -> String {
    match whole_seconds(seconds) {
        s @ 0..60 => format!("{s}s ago"),
        s @ 60..3600 => format!("{}min ago", s / 60),
        s @ 3600..86_400 => format!("{}h ago", s / 3600),
        s => format!("{}d ago", s / 86_400),
    }
}

/// The time of day of a Unix time, in UTC, so that it agrees with logs of other hosts: `12:03:09 UTC`.
#[must_use]
pub fn clock(unix: f64) -> String {
    let of_day = whole_seconds(unix) % 86_400;
    format!(
        "{:02}:{:02}:{:02} UTC",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}

fn whole_seconds(seconds: f64) -> u64 {
    // `as` saturates: negative and NaN become 0 (a clock that was set back, for instance).
    seconds as u64
}

/// Four significant digits at most, rounded before the prefix is chosen, so that 999,960 is
/// `1.00M` and not `1000.0k`.
fn scaled(value: f64) -> String {
    let mut value = value / 1000.0;
    let mut prefix = 0;
    while value >= 999.95 && prefix + 1 < PREFIXES.len() {
        value /= 1000.0;
        prefix += 1;
    }
    // Thousands take one digit, so that a table of mixed small numbers stays quiet to the eye.
    let digits = if prefix == 0 || value >= 99.995 { 1 } else { 2 };
    format!("{value:.digits$}{}", PREFIXES[prefix])
}

fn trim_zero(number: String) -> String {
    match number.strip_suffix(".0") {
        Some(whole) => whole.to_owned(),
        None => number,
    }
}

/// Moves the prefix from the number to the unit: `96.20M` and `b/s` give `96.20 Mb/s`.
fn with_unit(number: &str, unit: &str) -> String {
    let digits = number.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    format!("{digits} {}{unit}", &number[digits.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_scale_at_every_border() {
        let cases: [(u64, &str); 12] = [
            (0, "0"),
            (999, "999"),
            (1000, "1.0k"),
            (188_300, "188.3k"),
            (999_949, "999.9k"),
            (999_950, "1.00M"),
            (1_240_113, "1.24M"),
            (99_994_000, "99.99M"),
            (99_996_000, "100.0M"),
            (999_960_000, "1.00G"),
            (1_000_000_000_000, "1.00T"),
            (u64::MAX, "18.45E"),
        ];
        for (n, text) in cases {
            assert_eq!(count(n, Numbers::Si), text, "{n}");
            assert!(count(n, Numbers::Si).len() <= 6);
            assert_eq!(count(n, Numbers::Raw), n.to_string());
        }
    }

    #[test]
    fn rates_show_fractions_only_where_they_matter() {
        let cases = [
            (0.0, "0"),
            (0.04, "0"),
            (0.4, "0.4"),
            (9.94, "9.9"),
            (9.96, "10"),
            (310.4, "310"),
            (999.6, "1.0k"),
            (902_100.0, "902.1k"),
            (-5.0, "0"),
            (f64::NAN, "0"),
            (f64::INFINITY, "0"),
        ];
        for (value, text) in cases {
            assert_eq!(rate(value, Numbers::Si), text, "{value}");
        }
        assert_eq!(rate(902_100.25, Numbers::Raw), "902100.2");
        assert_eq!(bits(511_000_000.0, Numbers::Si), "511.0 Mb/s");
        assert_eq!(bits(0.0, Numbers::Si), "0 b/s");
        assert_eq!(bytes(512, Numbers::Si), "512 B");
        assert_eq!(bytes(1_240_000, Numbers::Si), "1.24 MB");
    }

    #[test]
    fn shares_and_times() {
        assert_eq!(percent(848.0, 1000.0), "84.8");
        assert_eq!(percent(1.0, 0.0), "-");
        assert_eq!(duration(192.9), "00:03:12");
        assert_eq!(
            duration(3.0 * 86_400.0 + 4.0 * 3600.0 + 12.0 * 60.0),
            "3d 04:12"
        );
        assert_eq!(duration(-1.0), "00:00:00");
        assert_eq!(ago(59.9), "59s ago");
        assert_eq!(ago(60.0), "1min ago");
        assert_eq!(ago(7200.0), "2h ago");
        assert_eq!(ago(90_000.0), "1d ago");
        assert_eq!(clock(-5.0), "00:00:00 UTC");
        assert_eq!(clock(1_792_661_009.7), "09:23:29 UTC");
    }
}
