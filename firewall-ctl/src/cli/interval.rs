//! Times on the command line: `1s`, `500ms`, `2m`, and a bare number for seconds.

use firewall_policy::duration;
use std::time::Duration;

/// Shortest interval: below it, rates are noise.
const SHORTEST: Duration = Duration::from_millis(100);

/// Longest interval.
const LONGEST: Duration = Duration::from_secs(3600);

/// Reads an interval of 100 ms to 1 h.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let interval = seconds
        .or_else(|| duration::parse(text))
        .ok_or("write a number and a unit: 1s, 500ms, 2m")?;
    if interval < SHORTEST || interval > LONGEST {
        return Err("an interval must be 100ms to 60m".to_owned());
    }
    Ok(interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        assert_eq!(parse("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("2"), Ok(Duration::from_secs(2)));
        assert_eq!(parse("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("1h"), Ok(Duration::from_secs(3600)));
        for bad in [
            "", "s", "2h", "-1s", "-1", "1x", "0s", "99ms", "61m", "1e400s", "nan", "inf", "1 s",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
