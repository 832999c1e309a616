//! Packets that rules with `log` have matched: requests for them, and the documents that list them.

use crate::failure::{Exit, Failure};
use crate::network::Network;
use core::net::IpAddr;
use firewall_common::watch::ETHERTYPE;
use firewall_policy::{vocabulary, well_known_ports};
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
    /// Those of this time and later, as [`EventView::time`] has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The interface where the packet came in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The rule's name; `default`: no rule matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What the rule does, or what has become of the packet: one word, or several with commas between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// Reasons of verdicts, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The protocol of IP, or the type of a frame that is not IP, as [`EventView::protocol`] has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The network of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Network>,
    /// The network of the destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Network>,
    /// The port on either side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<Ports>,
    /// The source's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_port: Option<Ports>,
    /// The destination's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<Ports>,
    /// Which of the fields above are negated: names with commas between, such as `from,port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not: Option<String>,
}

impl EventsRequest {
    /// Names of the fields that can be negated.
    pub const NEGATED: [&'static str; 10] = [
        "interface",
        "rule",
        "verdict",
        "reason",
        "protocol",
        "from",
        "to",
        "port",
        "source_port",
        "destination_port",
    ];

    /// Whether a field is negated.
    #[must_use]
    pub fn is_negated(&self, field: &str) -> bool {
        has_word(self.not.as_deref(), field)
    }

    /// Whether it names anything that packets are chosen by.
    #[must_use]
    pub fn chooses(&self) -> bool {
        let place = Self {
            after: self.after,
            last: self.last,
            wait: self.wait,
            since: self.since.clone(),
            ..Self::default()
        };
        *self != place
    }

    /// Whether an event is one of those that are asked for.
    #[must_use]
    pub fn fits(&self, view: &EventView) -> bool {
        let fits =
            |field: &str, fits: Option<bool>| fits.is_none_or(|it| it != self.is_negated(field));
        let is = |wanted: &Option<String>, found: Option<&str>| {
            let wanted = wanted.as_deref()?;
            Some(found.is_some_and(|found| has_word(Some(wanted), found)))
        };
        let named = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().map(|wanted| found == Some(wanted))
        };
        let has = |wanted: Option<Ports>, ports: [Option<u16>; 2]| {
            wanted.map(|wanted| ports.into_iter().flatten().any(|port| wanted.has(port)))
        };
        let (source, destination) = (view.source_port, view.port);
        self.since.as_ref().is_none_or(|since| view.time >= *since)
            && fits(
                "interface",
                named(&self.interface, view.interface.as_deref()),
            )
            && fits("rule", named(&self.rule, Some(&view.rule)))
            && fits("verdict", is(&self.verdict, Some(&view.verdict)))
            && fits("reason", is(&self.reason, view.reason.as_deref()))
            && fits(
                "protocol",
                is_protocol(self.protocol.as_deref(), view.protocol.as_deref()),
            )
            && is_in(self.from.as_ref(), &view.from, self.is_negated("from"))
            && is_in(self.to.as_ref(), &view.to, self.is_negated("to"))
            && fits("port", has(self.port, [source, destination]))
            && fits("source_port", has(self.source_port, [source, None]))
            && fits(
                "destination_port",
                has(self.destination_port, [destination, None]),
            )
    }
}

/// Whether a protocol is the one that is asked for, if one is, by whichever of its names.
fn is_protocol(wanted: Option<&str>, found: Option<&str>) -> Option<bool> {
    let number = |name: &str| protocol_number(name).ok();
    let wanted = number(wanted?);
    Some(wanted.is_some() && wanted == found.and_then(number))
}

/// Whether a word is one of those with commas between.
fn has_word(words: Option<&str>, word: &str) -> bool {
    words.is_some_and(|words| words.split(',').any(|one| one == word))
}

/// Whether an address is in a network, where one is asked for, or outside of it. A MAC address is
/// neither.
fn is_in(wanted: Option<&Network>, found: &str, is_negated: bool) -> bool {
    let address = found.parse::<IpAddr>();
    wanted.is_none_or(|net| address.is_ok_and(|address| net.contains(address) != is_negated))
}

/// A port, or ports from one to another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Ports {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl Ports {
    /// Whether a port is one of them.
    #[must_use]
    pub const fn has(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no port: write a number (443), a range (8000-8100) or a service (https)"
            )
        };
        if let Some((port, _)) = well_known_ports::find(text) {
            return Ok(Self {
                first: port,
                last: port,
            });
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| text.parse::<u16>().map_err(|_| wrong());
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(format!(
                "`{text}` ends before it begins: write {last}-{first}"
            ));
        }
        Ok(Self { first, last })
    }
}

impl From<Ports> for String {
    fn from(ports: Ports) -> Self {
        ports.to_string()
    }
}

impl TryFrom<String> for Ports {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// The number of a protocol of IP, or of a frame's type ([`ETHERTYPE`] added), by its name as
/// [`EventView::protocol`] has it.
///
/// # Errors
/// The word is no protocol: what to write instead.
pub fn protocol_number(word: &str) -> Result<u32, String> {
    let hex = |digits: &str| u32::from_str_radix(digits, 16).ok();
    vocabulary::number(vocabulary::PROTOCOLS, word)
        .or_else(|| word.parse::<u8>().ok().map(u32::from))
        .or_else(|| Some(vocabulary::number(vocabulary::ETHERTYPES, word)? | ETHERTYPE))
        .or_else(|| Some(word.strip_prefix("0x").and_then(hex).filter(|n| *n < ETHERTYPE)? | ETHERTYPE))
        .ok_or_else(|| {
            format!(
                "`{word}` is no protocol: write tcp, udp, icmp, icmpv6, sctp, another name or number \
                 of IP (esp, 50), or a frame's type (arp, lldp, 0x88cc)"
            )
        })
}

/// Back from [`protocol_number`].
#[must_use]
pub fn protocol_name(number: u32) -> String {
    if number & ETHERTYPE != 0 {
        return vocabulary::ethertype(number & !ETHERTYPE);
    }
    match vocabulary::name(vocabulary::PROTOCOLS, number) {
        Some(name) => name.to_owned(),
        None => number.to_string(),
    }
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
    /// When the oldest event that is still there was written. Not in answers about what comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<String>,
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
    /// Name of the rule; `default`: none matched; `?`: it is not in force any more; empty: the packet
    /// never came to the rules, for the `reason`.
    pub rule: String,
    /// The reason of the verdict; that of a rule that goes on (`next`) has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where the packet came in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Its protocol of IP, or the type of a frame that is not IP, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Its source: an address of IP; of a frame that is not IP its MAC address; empty if it was not read.
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
    /// The packet as `test` reads it; of one that could not be read, what is known of it.
    pub packet: String,
    /// Bytes of the frame, where a live filter has seen it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame_bytes: Option<u32>,
    /// How many events there were before it.
    pub number: u64,
}

/// The failure of a request for events where no rule logs.
#[must_use]
pub fn logs_nothing() -> Failure {
    Failure::new(Exit::Failed, "the active policy logs nothing").help(
        "add `log: 10/s` to a rule, or to the default: `default: {in: drop, log: 5/s}`; or watch \
             packets live: observe -f --verdict drop",
    )
}

#[cfg(test)]
mod tests {
    use super::{EventCursor, Ports, protocol_name, protocol_number};

    #[test]
    fn ports_and_protocols_are_read_as_they_are_written() {
        for (text, ports) in [
            ("443", (443, 443)),
            ("8000-8100", (8000, 8100)),
            ("https", (443, 443)),
        ] {
            let read: Ports = text.parse().unwrap();
            assert_eq!((read.first, read.last), ports);
            assert_eq!(read.to_string().parse(), Ok(read));
        }
        for wrong in ["", "65536", "80,443", "90-80", "-1", "htps"] {
            assert!(wrong.parse::<Ports>().is_err(), "{wrong}");
        }
        for number in (0..256).chain([0x1_0806, 0x1_88cc, 0x1_1234, 0x1_0042]) {
            assert_eq!(protocol_number(&protocol_name(number)), Ok(number));
        }
        for wrong in ["", "256", "tpc", "0x10000", "TCP "] {
            assert!(protocol_number(wrong).is_err(), "{wrong}");
        }
    }

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
