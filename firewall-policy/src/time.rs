//! Moments as text: dates, and times in the form of RFC 3339.
//!
//! May not import anything of the policy, nor ask for the time. Moments are seconds since the Unix
//! epoch, without leap seconds. The calendar is the proleptic Gregorian one, by Howard Hinnant's
//! algorithms ("chrono-compatible low-level date algorithms", 2013).

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A moment from `2027-01-31` (its first second in UTC) or `2027-01-31T18:00:00+01:00`. Fractions of
/// a second are cut off. `None` for all other text, days that no month has, and what is before 1970.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let (date, time) = match text.split_at_checked(10)? {
        (date, "") => (date, None),
        (date, rest) => (date, Some(rest.strip_prefix(['T', 't', ' '])?)),
    };
    let (year, rest) = digits(date, 4)?;
    let (month, rest) = digits(rest.strip_prefix('-')?, 2)?;
    let (day, rest) = digits(rest.strip_prefix('-')?, 2)?;
    if !rest.is_empty() || !(1..=12).contains(&month) || !(1..=length(year, month)).contains(&day) {
        return None;
    }
    let seconds = days(year, month, day) * DAY + time.map_or(Some(0), of_day)?;
    u64::try_from(seconds).ok()
}

/// `18:00:00+01:00`: seconds since the day began in UTC.
fn of_day(text: &str) -> Option<i64> {
    let (hour, rest) = digits(text, 2)?;
    let (minute, rest) = digits(rest.strip_prefix(':')?, 2)?;
    let (second, mut rest) = digits(rest.strip_prefix(':')?, 2)?;
    if let Some(fraction) = rest.strip_prefix('.') {
        rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
        if rest.len() == fraction.len() {
            return None;
        }
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let here = hour * HOUR + minute * MINUTE + second;
    let (sign, offset) = match rest.split_at_checked(1)? {
        ("Z" | "z", "") => return Some(here),
        ("+", offset) => (1, offset),
        ("-", offset) => (-1, offset),
        _ => return None,
    };
    let (hours, rest) = digits(offset, 2)?;
    let (minutes, rest) = digits(rest.strip_prefix(':')?, 2)?;
    if !rest.is_empty() || hours > 23 || minutes > 59 {
        return None;
    }
    Some(here - sign * (hours * HOUR + minutes * MINUTE))
}

/// A number of exactly `count` digits, and what is behind it.
fn digits(text: &str, count: usize) -> Option<(i64, &str)> {
    let (number, rest) = text.split_at_checked(count)?;
    let all = number.bytes().all(|b| b.is_ascii_digit());
    Some((number.parse().ok().filter(|_| all)?, rest))
}

/// Days of a month.
const fn length(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date. Years begin in March here, so that the leap day is the last.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Nanoseconds since the Unix epoch, to the millisecond: `2027-01-31T17:00:00.000Z`.
#[must_use]
pub fn print_milliseconds(nanoseconds: u64) -> String {
    let seconds = print(nanoseconds / 1_000_000_000);
    let milliseconds = nanoseconds / 1_000_000 % 1_000;
    format!("{}.{milliseconds:03}Z", seconds.trim_end_matches('Z'))
}

/// `2027-01-31T17:00:00Z`.
#[must_use]
pub fn print(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let (day, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let shifted = day + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march = (5 * day_of_year + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{:02}T{:02}:{:02}:{:02}Z",
        day_of_year - (153 * march + 2) / 5 + 1,
        second / HOUR,
        second % HOUR / MINUTE,
        second % MINUTE
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        for (text, seconds) in [
            ("1970-01-01", 0),
            ("2000-02-29", 951_782_400),
            ("2000-02-29T00:00:00Z", 951_782_400),
            ("2026-11-22T19:30:00+01:00", 1_795_372_200),
            ("2026-11-22T18:30:00.999Z", 1_795_372_200),
            ("2026-11-22t13:00:00-05:30", 1_795_372_200),
            ("2100-03-01", 4_107_542_400),
        ] {
            assert_eq!(parse(text), Some(seconds), "{text}");
        }
        assert_eq!(print(1_795_372_200), "2026-11-22T18:30:00Z");
    }

    #[test]
    fn every_day_prints_and_reads_back() {
        for day in (0..200_000).step_by(7) {
            let seconds = day * 86_400 + day % 86_400;
            assert_eq!(parse(&print(seconds)), Some(seconds), "{day}");
        }
    }

    #[test]
    fn all_else_is_refused() {
        for text in [
            "",
            "2027",
            "2027-13-01",
            "2027-02-29",
            "2100-02-29",
            "2027-00-10",
            "2027-1-1",
            "10d",
            "2027-01-01T",
            "2027-01-01T10:00",
            "2027-01-01T10:00:00",
            "2027-01-01T24:00:00Z",
            "2027-01-01T10:00:00.Z",
            "2027-01-01T10:00:00+1:00",
            "1969-12-31",
            "2027-01-01Z",
            "+027-01-01",
            "2027-01-01T10:00:00Zz",
            "２０２７-01-01",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
