//! Why a packet got its verdict: the rule that decided, those that counted it, and the near misses,
//! rules that failed on one field only.
//!
//! The verdict is that of the host build ([`crate::host`]); the near misses are found by going
//! through the rules, which only text and tests do. Does no I/O.

use crate::content::Content;
use crate::fields::{self, icmp_words};
use crate::host::{self, Memory};
use crate::packet_text::{Kind, PacketText};
use crate::range::RangeSet;
use crate::rule::{FrameKey, Mac, Policy, Rule};
use crate::tables::Tables;
use crate::vocabulary;
use crate::well_known_ports;
use firewall_common::abi::tunnels;
use firewall_common::field::Field;
use firewall_common::key::{Family, PacketKey};
use firewall_common::link;
use firewall_common::parse::{Packet, Parsed, is_tunnel};
use firewall_common::pipeline::{self, NO_RULE, Outcome, look_into, look_up_sets};
use firewall_common::reason::Reason;
use firewall_common::verdict::{Action, Verdict};
use std::cell::RefCell;

/// Everything about one frame. Rules are indices into [`Policy::rules`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explained {
    /// Verdict and reason.
    pub outcome: Outcome,
    /// The rule that decided.
    pub rule: Option<usize>,
    /// The `next` rules that counted the packet before it.
    pub counted: Vec<usize>,
    /// What the parser found, if the frame is an IP packet.
    pub packet: Option<PacketText>,
    /// Rules before the deciding one that failed on one field only: first those that would have
    /// changed the verdict, each kind in policy order. Empty where the frame did not get as far as
    /// the rules.
    pub near: Vec<NearMiss>,
    /// The first rule behind the deciding one that matches too and would decide otherwise.
    pub hidden: Option<usize>,
}

/// A rule that would have matched but for one field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NearMiss {
    /// The rule.
    pub rule: usize,
    /// The field's key in a policy.
    pub field: &'static str,
    /// What the packet has there: `port is 23`, `no vlan`.
    pub found: String,
}

/// Judges a frame that came in on an interface of zone `zone`. `tables` are those of `policy`, in
/// which counter `i` has slot `i`; `memory` is what the program remembers. At most `most` near misses are looked for.
#[must_use]
pub fn explain(
    policy: &Policy,
    tables: &Tables,
    memory: &Memory,
    frame: &[u8],
    zone: u32,
    most: usize,
) -> Explained {
    let judged = host::decide_after(tables, memory, frame, zone);
    let index = |slot: u32| policy.rule_of_counter(slot as usize);
    let outcome = judged.outcome;
    let rule = index(outcome.rule).filter(|_| outcome.rule != NO_RULE);
    let mut explained = Explained {
        outcome,
        rule,
        counted: judged.counted.into_iter().filter_map(index).collect(),
        packet: None,
        near: Vec::new(),
        hidden: None,
    };
    if let Some((key, text)) = frame_of(policy, tables, frame, zone) {
        explained.packet = Some(text);
        of_frame(policy, &key, most, &mut explained);
        return explained;
    }
    let Some(outer) = parsed(tables, memory, frame, zone).map(|packet| packet.key) else {
        return explained;
    };
    // Of a tunnel that passed by its outer headers, the packet inside was judged last.
    let Some(key) = judged_key(policy, tables, memory, frame, outer) else {
        explained.packet = Some(PacketText::of_packet(&outer, policy));
        return explained;
    };
    explained.packet = Some(PacketText::of_packet(&key, policy));
    // Later fragments that no rule decides about have a reason of their own.
    if !matches!(
        outcome.reason,
        Reason::RULE | Reason::NO_MATCH | Reason::FRAGMENT
    ) && !outcome.reason.is_reject()
    {
        return explained;
    }
    let end = rule.unwrap_or(policy.rules.len());
    explained.near = near_misses(policy, &key, end);
    // Those that would have changed the verdict are what the reader looks for.
    let verdict = outcome.verdict;
    explained
        .near
        .sort_by_key(|near| leads_to(policy.rules[near.rule].action).is_none_or(|v| v == verdict));
    explained.near.truncate(most);
    explained.hidden = policy
        .rules
        .iter()
        .enumerate()
        .skip(end.saturating_add(1))
        .find(|(_, other)| {
            other.action != Action::NEXT
                && rule.is_some_and(|rule| other.action != policy.rules[rule].action)
                && crate::oracle::matches(other, &key)
        })
        .map(|(index, _)| index);
    explained
}

/// What rules look at in a frame that is not IP, and the frame as text; `None` for any other frame.
fn frame_of(
    policy: &Policy,
    tables: &Tables,
    frame: &[u8],
    zone: u32,
) -> Option<(FrameKey, PacketText)> {
    let counted = RefCell::new(Vec::new());
    let machine = host::HostMachine::new(tables, &counted);
    let mut packet = Packet::EMPTY;
    let found = firewall_common::parse::parse(&machine, &frame, &mut packet);
    let Parsed::Other { ethertype, offset } = found else {
        return None;
    };
    let key = FrameKey {
        ethertype: link::kind(&frame, ethertype, offset),
        vlan: packet.key.field(Field::Vlan),
        zone,
        mac: link::mac_of(&machine, &frame),
    };
    let addresses = frame.first_chunk::<12>()?;
    let mac = |at: usize| {
        let bytes = addresses[at..at + 6].iter();
        Mac(bytes.fold(0, |mac, &byte| mac << 8 | u64::from(byte)))
    };
    let text = PacketText::of_frame(&key, (mac(6), mac(0)), &policy.zones);
    Some((key, text))
}

/// What there is to say of a frame that is not IP: rules that failed on one field only, and the one
/// behind the deciding rule that would decide otherwise.
fn of_frame(policy: &Policy, key: &FrameKey, most: usize, explained: &mut Explained) {
    if !matches!(explained.outcome.reason, Reason::RULE | Reason::NON_IP) {
        return;
    }
    let end = explained.rule.unwrap_or(policy.rules.len());
    let missed = |(index, rule): (usize, &Rule)| {
        let ethertypes = rule.matches.ethertypes.as_ref().filter(|_| rule.enabled)?;
        let mut missed = FrameKey::FIELDS
            .into_iter()
            .filter(|&field| !rule.matches.field(field).contains(key.field(field)));
        let (field, found) = match (ethertypes.contains(key.ethertype), missed.next()) {
            (false, None) => {
                let found = vocabulary::ethertype(key.ethertype);
                ("ethertype", format!("ethertype is {found}"))
            }
            (true, Some(field)) => (field.name(), found_value(policy, field, key.field(field))),
            _ => return None,
        };
        missed.next().is_none().then_some(NearMiss {
            rule: index,
            field,
            found,
        })
    };
    let rules = || policy.rules.iter().enumerate();
    explained.near = rules().take(end).filter_map(missed).collect();
    let verdict = explained.outcome.verdict;
    explained
        .near
        .sort_by_key(|near| leads_to(policy.rules[near.rule].action).is_none_or(|v| v == verdict));
    explained.near.truncate(most);
    explained.hidden = rules()
        .skip(end.saturating_add(1))
        .find(|(_, other)| {
            let decided = explained.rule.map(|rule| policy.rules[rule].action);
            other.action != Action::NEXT
                && decided.is_some_and(|action| action != other.action)
                && crate::oracle::matches_frame(other, key)
        })
        .map(|(index, _)| index);
}

/// The value of a field that frames have which are not IP, in words.
fn found_value(policy: &Policy, field: Field, value: u32) -> String {
    let name = field.name();
    match field {
        _ if value == field.none() && field != Field::Mac => format!("no {name}"),
        Field::Zone if value == 0 => "no zone".into(),
        Field::Mac => match policy.macs.get(value as usize) {
            Some(mac) => format!("mac is {mac}"),
            None => "mac is another one".into(),
        },
        _ => format!("{name} is {}", fields::of(field).show(value, &policy.zones)),
    }
}

/// What the classifier looks up, if the frame is an IP packet and the program remembers nothing.
#[must_use]
pub fn key_of(tables: &Tables, frame: &[u8], zone: u32) -> Option<PacketKey> {
    parsed(tables, &Memory::of(tables), frame, zone).map(|packet| packet.key)
}

fn parsed(tables: &Tables, memory: &Memory, frame: &[u8], zone: u32) -> Option<Packet> {
    let counted = RefCell::new(Vec::new());
    let machine = host::HostMachine::with_memory(tables, &counted, memory);
    let mut packet = Packet::EMPTY;
    match firewall_common::parse::parse(&machine, &frame, &mut packet) {
        // What could be read of a malformed packet is no packet that text could name.
        Parsed::Ip if packet.anomaly() != Reason::RULE => None,
        Parsed::Ip => {
            packet.key.fields[Field::Zone as usize] = zone;
            packet.key.fields[Field::Mac as usize] = link::mac_of(&machine, &frame);
            if tables.config.flows != 0 {
                packet.key.fields[Field::State as usize] =
                    pipeline::state(&machine, &frame, &packet);
            }
            look_up_sets(&machine, &mut packet.key);
            look_into(&machine, &frame, &mut packet);
            Some(packet)
        }
        Parsed::Other { .. } | Parsed::Bad(_) => None,
    }
}

/// The headers that the last verdict is about: the inner ones of a tunnel that passed by its outer
/// ones, under `tunnels: inner`. `None` if what is inside never came to the rules.
fn judged_key(
    policy: &Policy,
    tables: &Tables,
    memory: &Memory,
    frame: &[u8],
    outer: PacketKey,
) -> Option<PacketKey> {
    if policy.packet.tunnels != tunnels::INNER || !is_tunnel(&outer) {
        return Some(outer);
    }
    let verdict = host::lookup(tables, &outer)
        .hit
        .and_then(|hit| leads_to(hit.action))
        .unwrap_or(policy.default_verdict);
    if verdict == Verdict::DROP {
        return Some(outer);
    }
    let mut packet = parsed(tables, memory, frame, outer.field(Field::Zone))?;
    let counted = RefCell::new(Vec::new());
    let machine = host::HostMachine::with_memory(tables, &counted, memory);
    match firewall_common::parse::parse_inner(&machine, &frame, &mut packet) {
        Parsed::Ip => {
            look_up_sets(&machine, &mut packet.key);
            look_into(&machine, &frame, &mut packet);
            Some(packet.key)
        }
        Parsed::Other { .. } | Parsed::Bad(_) => None,
    }
}

/// The verdict of an action that ends the search.
fn leads_to(action: Action) -> Option<Verdict> {
    match action {
        Action::PASS | Action::PROTECT => Some(Verdict::PASS),
        Action::DROP | Action::REJECT => Some(Verdict::DROP),
        _ => None,
    }
}

fn near_misses(policy: &Policy, key: &PacketKey, end: usize) -> Vec<NearMiss> {
    policy.rules[..end]
        .iter()
        .enumerate()
        .filter(|(_, rule)| rule.enabled)
        .filter_map(|(index, rule)| {
            let field = only_miss(rule, key)?;
            Some(NearMiss {
                rule: index,
                field: field.key(policy),
                found: found(policy, key, field),
            })
        })
        .collect()
}

/// A field by which a rule can miss.
#[derive(Clone, Copy)]
enum Missed {
    From,
    To,
    Small(Field),
    /// Payload or options, by the number of the condition.
    Content(u32),
}

impl Missed {
    fn key(self, policy: &Policy) -> &'static str {
        match self {
            Self::Content(number) => match policy.contents.get(number as usize) {
                Some(Content {
                    payload: Some(_), ..
                }) => "payload",
                _ => "options",
            },
            Self::From => "from",
            Self::To => "to",
            Self::Small(field) => field.name(),
        }
    }
}

/// The one field that the rule does not accept; `None` if there is none or more than one.
fn only_miss(rule: &Rule, key: &PacketKey) -> Option<Missed> {
    let matches = &rule.matches;
    let (from, to) = match key.family() {
        Family::V4 => (
            matches.src.v4.contains(key.src_lo as u32),
            matches.dst.v4.contains(key.dst_lo as u32),
        ),
        Family::V6 => (
            matches.src.v6.contains(key.src()),
            matches.dst.v6.contains(key.dst()),
        ),
    };
    let sides = [(from, Missed::From), (to, Missed::To)];
    let small = Field::ALL.into_iter().map(|field| {
        let accepted: &RangeSet<u32> = matches.field(field);
        (accepted.contains(key.field(field)), Missed::Small(field))
    });
    let content = matches
        .content
        .map(|number| (matches.content_matches(key), Missed::Content(number)));
    let mut missed = sides
        .into_iter()
        .chain(small)
        .chain(content)
        .filter_map(|(accepted, field)| (!accepted).then_some(field));
    let first = missed.next()?;
    missed.next().is_none().then_some(first)
}

/// The live sets that one of the packet's addresses is in.
fn found_in(policy: &Policy, key: &PacketKey, field: Field) -> String {
    let mask = key.field(field);
    let names: Vec<String> = policy
        .live
        .iter()
        .enumerate()
        .filter(|(bit, _)| mask >> bit & 1 != 0)
        .map(|(_, set)| format!("@{}", set.name))
        .collect();
    let side = field.name();
    if names.is_empty() {
        format!("{side} is in no live set")
    } else {
        format!("{side} is in {}", names.join(", "))
    }
}

/// What the packet has in a field, in words.
fn found(policy: &Policy, key: &PacketKey, missed: Missed) -> String {
    let text = PacketText::of_packet(key, policy);
    let field = match missed {
        Missed::From => return format!("from is {}", text.src),
        Missed::To => return format!("to is {}", text.dst),
        Missed::Content(number) => {
            let wanted = policy.contents.get(number as usize);
            return format!("no {}", wanted.map_or(String::new(), Content::to_string));
        }
        Missed::Small(field) => field,
    };
    let value = key.field(field);
    let name = field.name();
    if field == Field::Mac {
        return found_value(policy, field, value);
    }
    if value == field.none() {
        return format!("no {name}");
    }
    let value = match field {
        Field::Proto => {
            vocabulary::name(vocabulary::PROTOCOLS, value).map_or(value.to_string(), Into::into)
        }
        Field::SourcePort | Field::DestinationPort => {
            match well_known_ports::name(text.proto(), value as u16) {
                Some(service) => format!("{value} ({service})"),
                None => value.to_string(),
            }
        }
        Field::Icmp => match text.kind {
            Kind::Icmp { kind, code } => {
                format!("{} code {code}", icmp_words(text.dst.is_ipv6(), kind))
            }
            _ => value.to_string(),
        },
        Field::SourceSets | Field::DestinationSets => return found_in(policy, key, field),
        Field::Zone if value == 0 => return "no zone".into(),
        _ => fields::of(field).show(value, &policy.zones),
    };
    format!("{name} is {value}")
}

#[cfg(test)]
mod tests {
    use super::explain;
    use crate::compile::compile;
    use crate::host::Memory;
    use crate::packet_text::parse;
    use crate::source::{NoFiles, read_policy};

    #[test]
    fn of_a_tunnel_the_packet_inside_is_explained() {
        let policy = "version: 1\ndefault: {in: drop}\npacket: {tunnels: inner}\nrules:\n\
                      - {name: tunnel, proto: ipip, action: pass}\n\
                      - {name: web, proto: tcp, port: 443, action: pass}\n";
        let policy = read_policy("x.yaml", policy, &NoFiles).unwrap().policy;
        let tables = compile(&policy, &[0, 1]).unwrap();
        let inner = |port: u16| {
            let text = format!("tcp 203.0.113.9:5000 > 198.51.100.80:{port} syn");
            parse(&text).unwrap().frame()[14..].to_vec()
        };
        let wrapped = |port: u16| {
            let outer = parse("ipip 192.0.2.1 > 192.0.2.2 length 60").unwrap();
            let mut frame = outer.frame();
            frame.truncate(34);
            frame.extend(inner(port));
            explain(&policy, &tables, &Memory::default(), &frame, 0, 3)
        };
        let found = wrapped(443);
        assert_eq!((found.rule, found.counted), (Some(1), vec![0]));
        let found = wrapped(22);
        assert_eq!(found.rule, None);
        let text = found.packet.unwrap().to_string();
        assert!(
            text.starts_with("tcp 203.0.113.9:5000 > 198.51.100.80:22"),
            "{text}"
        );
        assert!(
            found
                .near
                .iter()
                .any(|near| near.found == "port is 22 (ssh)")
        );
    }
}
