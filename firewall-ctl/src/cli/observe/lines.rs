//! Events as lines for people: in colour, with the services of ports, and equal ones folded.
//!
//! Pure: knows no clock and no stream.

use firewall_api::events::{EventView, protocol_number};
use firewall_policy::well_known_ports;
use std::time::{Duration, Instant};

/// How long equal lines are counted before the count is shown.
const WINDOW: Duration = Duration::from_secs(1);

/// Different lines that are remembered at a time.
const REMEMBERED: usize = 64;

/// An event as a line without its time and the line break.
pub(super) fn line(event: &EventView, color: bool) -> String {
    let audit = if event.audit { "audit " } else { "" };
    let verdict = format!("{:<7}", format!("{audit}{}", event.verdict));
    let verdict = match (color, &*event.verdict) {
        (true, "pass") => format!("\x1b[1;32m{verdict}\x1b[0m"),
        (true, "drop") => format!("\x1b[1;31m{verdict}\x1b[0m"),
        (true, "reject") => format!("\x1b[1;33m{verdict}\x1b[0m"),
        _ => verdict,
    };
    let by = match &*event.rule {
        "" => event.reason.as_deref().unwrap_or_default(),
        rule => rule,
    };
    let notes = notes(event);
    format!("{verdict} {by:<16} {}{notes}", event.packet)
}

/// The time of an event, as lines have it.
pub(super) fn time(event: &EventView) -> &str {
    event.time.split_once('T').map_or("", |(_, time)| time)
}

/// The packet in a line that [`line`] has written, behind its time, with or without a count. `None`: it is
/// no such line.
pub(in crate::cli) fn packet_of_line(line: &str) -> Option<&str> {
    const TIME: &str = "00:00:00.000Z";
    let (time, rest) = line.trim().split_once(' ')?;
    let shape = |c: char| if c.is_ascii_digit() { '0' } else { c };
    if time.chars().map(shape).ne(TIME.chars()) {
        return None;
    }
    let rest = rest.trim_start();
    let rest = rest.strip_prefix("audit ").unwrap_or(rest);
    let (_verdict, rest) = rest.split_once(' ')?;
    let (_by, rest) = rest.trim_start().split_once(' ')?;
    let rest = match rest.rsplit_once(" again x") {
        Some((rest, count)) if count.parse::<u64>().is_ok() => rest,
        _ => rest,
    };
    let rest = match rest
        .strip_suffix(')')
        .and_then(|rest| rest.rsplit_once(" ("))
    {
        Some((rest, _notes)) => rest,
        None => rest,
    };
    Some(rest.trim())
}

/// What else is to be said: the service, and what the verdict does not say of the reason.
fn notes(event: &EventView) -> String {
    let service = |port: Option<u16>| {
        let proto = protocol_number(event.protocol.as_deref()?).ok()?;
        well_known_ports::name(u8::try_from(proto).ok()?, port?)
    };
    let service = match (service(event.port), service(event.source_port)) {
        (Some(name), _) => Some(name.to_owned()),
        (None, Some(name)) => Some(format!("from {name}")),
        (None, None) => None,
    };
    let reason = match event.reason.as_deref() {
        _ if event.over => Some("over its limit"),
        Some("rule" | "no-match" | "non-ip" | "reject") => None,
        reason => reason.filter(|_| !event.rule.is_empty()),
    };
    let notes: Vec<&str> = service.as_deref().into_iter().chain(reason).collect();
    match notes.is_empty() {
        true => String::new(),
        false => format!(" ({})", notes.join(", ")),
    }
}

/// Folds equal lines: the first is shown at once, those that follow within a second as one with a count.
#[derive(Default)]
pub(super) struct Fold {
    lines: Vec<Line>,
}

/// A line that was shown.
struct Line {
    text: String,
    /// When it was shown last.
    shown: Instant,
    /// How often it came since.
    again: u64,
    /// The time of the last one.
    last: String,
}

impl Line {
    /// What has not been shown yet, if there is something.
    fn rest(&self) -> Option<String> {
        let Self {
            text, again, last, ..
        } = self;
        (*again > 0).then(|| format!("{last} {text} again x{again}\n"))
    }
}

impl Fold {
    /// What to show when an event has come.
    pub(super) fn add(&mut self, event: &EventView, color: bool, now: Instant) -> String {
        let text = line(event, color);
        if let Some(known) = self.lines.iter_mut().find(|line| line.text == text) {
            known.again += 1;
            time(event).clone_into(&mut known.last);
            return String::new();
        }
        let mut shown = String::new();
        if self.lines.len() == REMEMBERED {
            shown.extend(self.lines.remove(0).rest());
        }
        shown.push_str(&format!("{} {text}\n", time(event)));
        self.lines.push(Line {
            text,
            shown: now,
            again: 0,
            last: String::new(),
        });
        shown
    }

    /// What is due now.
    pub(super) fn due(&mut self, now: Instant) -> String {
        let mut shown = String::new();
        self.lines.retain_mut(|line| {
            if now.saturating_duration_since(line.shown) < WINDOW {
                return true;
            }
            let rest = line.rest();
            let is_alive = rest.is_some();
            shown.extend(rest);
            (line.shown, line.again) = (now, 0);
            is_alive
        });
        shown
    }

    /// What is left.
    pub(super) fn end(&mut self) -> String {
        let rest = self.lines.drain(..).filter_map(|line| line.rest());
        rest.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(second: u32, port: u16, rule: &str, reason: &str) -> EventView {
        let event = json!({
            "schema": "firewall/v1", "time": format!("2026-11-30T12:00:{second:02}.000Z"),
            "verdict": if reason == "rule" { "pass" } else { "drop" }, "rule": rule,
            "reason": reason, "protocol": "tcp", "from": "203.0.113.9", "source_port": 5000,
            "to": "198.51.100.80", "port": port, "over": reason == "limit", "number": 0,
            "packet": format!("tcp 203.0.113.9:5000 > 198.51.100.80:{port} syn on wan0"),
        });
        serde_json::from_value(event).unwrap()
    }

    #[test]
    fn lines_say_rule_or_reason_and_the_service() {
        let cases = [
            (
                event(1, 22, "ssh", "rule"),
                "pass    ssh              tcp 203.0.113.9:5000 > 198.51.100.80:22 syn on wan0 (ssh)",
            ),
            (
                event(1, 22, "ssh", "limit"),
                "drop    ssh              tcp 203.0.113.9:5000 > 198.51.100.80:22 syn on wan0 (ssh, over its limit)",
            ),
            (
                event(1, 4001, "default", "no-match"),
                "drop    default          tcp 203.0.113.9:5000 > 198.51.100.80:4001 syn on wan0",
            ),
            (
                event(1, 4001, "", "frag-tiny"),
                "drop    frag-tiny        tcp 203.0.113.9:5000 > 198.51.100.80:4001 syn on wan0",
            ),
            (
                event(1, 4001, "web", "syn-forged"),
                "drop    web              tcp 203.0.113.9:5000 > 198.51.100.80:4001 syn on wan0 (syn-forged)",
            ),
        ];
        for (event, expected) in cases {
            assert_eq!(line(&event, false), expected);
        }
        let colored = line(&event(1, 4001, "default", "no-match"), true);
        assert!(
            colored.starts_with("\x1b[1;31mdrop   \x1b[0m default"),
            "{colored:?}"
        );
    }

    #[test]
    fn the_packet_of_a_line_is_found() {
        let mut audited = event(1, 22, "ssh", "limit");
        audited.audit = true;
        for event in [
            event(1, 22, "ssh", "rule"),
            event(1, 4001, "", "bogon"),
            audited,
        ] {
            let mut line = format!("{} {}", time(&event), line(&event, false));
            assert_eq!(packet_of_line(&line), Some(&*event.packet), "{line}");
            line.push_str(" again x12\n");
            assert_eq!(packet_of_line(&line), Some(&*event.packet), "{line}");
        }
        for other in [
            "",
            "tcp 203.0.113.9:5000 > 198.51.100.80:22 syn",
            "12:00 drop x y",
            "12:00:00.000Z drop",
        ] {
            assert_eq!(packet_of_line(other), None, "{other}");
        }
    }

    #[test]
    fn equal_lines_are_counted_and_none_is_lost() {
        let (mut fold, begin) = (Fold::default(), Instant::now());
        let at = |millis: u64| begin + Duration::from_millis(millis);
        let first = fold.add(&event(1, 22, "ssh", "rule"), false, at(0));
        assert!(first.starts_with("12:00:01.000Z pass"), "{first}");
        assert_eq!(fold.add(&event(2, 22, "ssh", "rule"), false, at(200)), "");
        assert_ne!(fold.add(&event(2, 23, "ssh", "rule"), false, at(200)), "");
        assert_eq!(fold.add(&event(3, 22, "ssh", "rule"), false, at(400)), "");
        assert_eq!(fold.due(at(900)), "");
        let due = fold.due(at(1_000));
        assert!(
            due.starts_with("12:00:03.000Z pass") && due.ends_with("again x2\n"),
            "{due}"
        );
        // Once more, and at the end of a second without any it is a new line.
        assert_eq!(fold.add(&event(4, 22, "ssh", "rule"), false, at(1_500)), "");
        assert!(fold.due(at(2_000)).ends_with("again x1\n"));
        assert_eq!(fold.due(at(3_000)), "");
        assert!(
            !fold
                .add(&event(5, 22, "ssh", "rule"), false, at(3_100))
                .contains("again")
        );
        // What there is no room for, and what is left.
        fold.add(&event(6, 22, "ssh", "rule"), false, at(3_200));
        let mut shown = String::new();
        for port in 0..100 {
            shown += &fold.add(&event(6, 1_000 + port, "ssh", "rule"), false, at(3_300));
        }
        assert_eq!(shown.lines().count(), 101, "{shown}");
        fold.add(&event(7, 1_099, "ssh", "rule"), false, at(3_400));
        assert!(fold.end().ends_with("again x1\n"));
        assert_eq!(fold.end(), "");
    }
}
