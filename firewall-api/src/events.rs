//! Packets that rules with `log` have matched: requests for them, and the documents that list them.

use crate::failure::{Exit, Failure};
use crate::network::Network;
use core::net::IpAddr;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Longest time that a request may wait for events, in seconds.
pub const LONGEST_WAIT: f64 = 5.0;

/// Which events are asked for. What is `None` fits every event. An answer never has more than the ring
/// holds.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventsRequest {
    /// Those behind this place. `None`: those that are there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<EventCursor>,
    /// How many at most, the newest. `None`: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<usize>,
    /// Seconds to wait for the first one, at most [`LONGEST_WAIT`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<f64>,
    /// The interface where the packet came in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The rule's name; `default`: no rule matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What the rule does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// The network of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Network>,
    /// The network of the destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Network>,
    /// The port on either side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

impl EventsRequest {
    /// Whether an event is one of those that are asked for.
    #[must_use]
    pub fn fits(&self, view: &EventView) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        };
        let has_port = |port: u16| view.source_port == Some(port) || view.port == Some(port);
        is(
            &self.interface,
            view.interface.as_deref().unwrap_or_default(),
        ) && is(&self.rule, &view.rule)
            && is(&self.verdict, &view.verdict)
            && is_in(self.from.as_ref(), &view.from)
            && is_in(self.to.as_ref(), &view.to)
            && self.port.is_none_or(has_port)
    }
}

/// Whether an address is in a network, where one is asked for. A MAC address is in none.
fn is_in(wanted: Option<&Network>, found: &str) -> bool {
    let address = found.parse::<IpAddr>();
    wanted.is_none_or(|net| address.is_ok_and(|address| net.contains(address)))
}

/// A place in the ring of events.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct EventCursor {
    /// The ring: a change of the policy can bring another one.
    pub ring: u32,
    /// Number of the next event.
    pub next: u64,
}

impl fmt::Display for EventCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ring, self.next)
    }
}

impl FromStr for EventCursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('-');
        let numbers =
            numbers.and_then(|(ring, next)| Some((ring.parse().ok()?, next.parse().ok()?)));
        let (ring, next) = numbers
            .ok_or_else(|| format!("`{text}` is no place among the events, such as 12-3400"))?;
        Ok(Self { ring, next })
    }
}

impl From<EventCursor> for String {
    fn from(cursor: EventCursor) -> Self {
        cursor.to_string()
    }
}

impl TryFrom<String> for EventCursor {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// `GET /v1/events`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct EventsReport {
    /// [`crate::view::SCHEMA`].
    pub schema: String,
    /// The events, the oldest first.
    pub events: Vec<EventView>,
    /// The place behind them.
    pub cursor: EventCursor,
    /// How many were overwritten before this request could read them.
    pub missed: u64,
    /// Packets that were to be logged and exceeded log rates, since they were counted.
    pub unlogged: u64,
}

/// An event, for people and scripts.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct EventView {
    /// [`crate::view::SCHEMA`].
    pub schema: String,
    /// `2026-11-22T18:30:00.123Z`.
    pub time: String,
    /// What the rule does; of a rule or a policy in audit mode, what it would do.
    pub verdict: String,
    /// Whether that is not done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub audit: bool,
    /// Whether the packet was over the rule's limit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub over: bool,
    /// Name of the rule; `default`: none matched; `?`: it is not in force any more.
    pub rule: String,
    /// Where the packet came in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Its source: an address of IP; of a frame that is not IP its MAC address.
    pub from: String,
    /// The source's port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// Its destination, likewise.
    pub to: String,
    /// The destination's port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Of a frame that is not IP: its type, as rules name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ethertype: Option<String>,
    /// The packet as `test` reads it.
    pub packet: String,
    /// How many events there were before it.
    pub number: u64,
}

/// The failure of a request for events where no rule logs.
#[must_use]
pub fn logs_nothing() -> Failure {
    Failure::new(Exit::Failed, "the active policy logs nothing")
        .help("add `log: 10/s` to a rule, or to the default: `default: {in: drop, log: 5/s}`")
}

#[cfg(test)]
mod tests {
    use super::EventCursor;

    #[test]
    fn places_are_read_as_they_are_written() {
        let cursor = EventCursor {
            ring: 12,
            next: u64::MAX,
        };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for wrong in ["", "12", "12-", "-3", "12-3-4", "a-1"] {
            assert!(wrong.parse::<EventCursor>().is_err(), "{wrong}");
        }
    }
}
