//! Names for what is imported: from comments, services and chains, each one once.
//!
//! May not import a reader. Invariant: a name is 1 to 63 of `a-z`, `0-9` and `-`.

use super::flatten::Step;
use super::packets::{Dim, NONE, Packets, state};
use super::values::word;
use firewall_common::verdict::Action;
use firewall_policy::vocabulary;
use firewall_policy::well_known_ports;
use std::collections::HashSet;

/// Longest name before a number is put behind it.
const LONGEST: usize = 56;

/// Names that are taken.
#[derive(Debug, Default)]
pub(super) struct Names {
    taken: HashSet<String>,
}

impl Names {
    /// A name like `wish` that nobody has.
    pub(super) fn take(&mut self, wish: &str) -> String {
        let mut wish = slug(wish);
        if wish.is_empty() {
            wish = "rule".into();
        }
        let mut name = wish.clone();
        let mut number = 2;
        while !self.taken.insert(name.clone()) {
            name = format!("{wish}-{number}");
            number += 1;
        }
        name
    }
}

/// Text as a name.
pub(super) fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            out.push(c.to_ascii_lowercase());
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
        if out.len() >= LONGEST {
            break;
        }
    }
    out.trim_matches('-').to_owned()
}

/// What a step would be called.
pub(super) fn of(step: &Step) -> String {
    if let Some(comment) = &step.comment {
        let name = slug(comment);
        if !name.is_empty() {
            return name;
        }
    }
    let mut parts = Vec::new();
    if !step.chain.is_empty() {
        parts.push(slug(step.chain.rsplit(' ').next().unwrap_or_default()));
    } else if step.action != Action::PASS {
        parts.push(step.action.name().into());
    }
    if let Some(what) = traffic(&step.packets) {
        parts.push(what);
    } else if step.packets.get(Dim::State) == &super::states::established() {
        parts.push("replies".into());
    } else if step.packets.get(Dim::State).ranges() == [(state::INVALID, state::INVALID)] {
        parts.push("invalid".into());
    } else if !step.packets.is_any(Dim::ToSelf) {
        parts.push("forward".into());
    }
    if parts.is_empty() || parts == [step.action.name()] {
        let side = |dim, word: &str| (!step.packets.is_any(dim)).then(|| word.to_owned());
        let side = side(Dim::Source, "from-listed")
            .or_else(|| side(Dim::Destination, "to-listed"))
            .or_else(|| side(Dim::Interface, "interface"));
        parts.push(side.unwrap_or_else(|| "rest".into()));
    }
    parts.join("-")
}

/// The protocol and the first ports.
fn traffic(packets: &Packets) -> Option<String> {
    let protos = packets.get(Dim::Proto).ranges();
    let [(first, last)] = protos else {
        return None;
    };
    if packets.is_any(Dim::Proto) || first != last {
        return None;
    }
    let proto =
        word(vocabulary::PROTOCOLS, *first).map_or_else(|| format!("proto-{first}"), str::to_owned);
    let (dim, reply) = if packets.is_any(Dim::DestinationPort) {
        (Dim::SourcePort, "from-")
    } else {
        (Dim::DestinationPort, "")
    };
    let ports = packets.get(dim).ranges();
    // Without a few ports, or without the value of packets that have none.
    let few = ports.len() <= 3 && ports.iter().all(|&(a, b)| (a > 0 && b < NONE) || a == b);
    if !packets.is_any(dim) && !few {
        return Some(format!("{proto}-other-ports"));
    }
    if !packets.is_any(dim) {
        let named = ports.iter().map(|&(a, b)| {
            let service = u8::try_from(*first).ok().zip(u16::try_from(a).ok());
            let service = service.and_then(|(proto, port)| well_known_ports::name(proto, port));
            match service {
                Some(name) if a == b => name.to_owned(),
                _ if a == b => format!("{proto}-{a}"),
                _ => format!("{proto}-{a}-{b}"),
            }
        });
        return Some(format!("{reply}{}", named.collect::<Vec<_>>().join("-")));
    }
    if let [(a, b)] = packets.get(Dim::Icmp).ranges()
        && a >> 8 == b >> 8
    {
        let table = match packets.family {
            super::packets::Family::V4 => vocabulary::ICMP_TYPES,
            super::packets::Family::V6 => vocabulary::ICMPV6_TYPES,
        };
        if let Some(kind) = word(table, a >> 8) {
            return Some(format!("{proto}-{kind}"));
        }
    }
    Some(proto)
}
