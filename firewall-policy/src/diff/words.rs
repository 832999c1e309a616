//! A box of packets in the words of the policy language: `tcp port 8080 from 203.0.113.0/24`.
//!
//! A field is left out where the box accepts all that packets of its kind can have there.

use super::live;
use crate::fields::{Form, ROWS, icmp_words};
use crate::range::RangeSet;
use crate::rule::Mac;
use crate::space::{Address, Space, within};
use crate::vocabulary;
use firewall_common::field::Field;
use firewall_common::key::Family;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Values of a field that are named before the rest is counted.
const SHOWN: usize = 4;

/// The box in words. `doors` are the packets that there are.
pub(super) fn of<T: Address>(
    space: &Space<T>,
    doors: &[Space<T>],
    zones: &[String],
    (sets, macs): (&[String], &[Mac]),
) -> Words {
    let near: Vec<&Space<T>> = doors.iter().filter(|door| door.meets(space)).collect();
    let union = |doors: &[&Space<T>], field: Field| {
        let all = doors.iter().map(|door| door.field(field));
        all.fold(RangeSet::empty(), |sum, values| sum.union(values))
    };
    let mut parts = Vec::new();
    // A protocol is left out by the kinds of packets that are, not only by its number.
    let all: Vec<&Space<T>> = doors.iter().collect();
    let every = union(&all, Field::Proto);
    let protos = space
        .field(Field::Proto)
        .intersection(&union(&near, Field::Proto));
    if !within(&every, &protos) {
        let out = every.intersection(&protos.complement());
        parts.push(if out.ranges().len() < protos.ranges().len() {
            format!("all but {}", protocols(&out))
        } else {
            protocols(&protos)
        });
    }
    let mut put = |field: Field, word: &str, text: &dyn Fn(&RangeSet<u32>) -> String| {
        let possible = union(&near, field);
        let accepted = space.field(field);
        if !within(&possible, accepted) {
            parts.push(format!(
                "{word} {}",
                text(&accepted.intersection(&possible))
            ));
        }
    };
    for row in ROWS.iter().filter(|row| row.field != Field::Proto) {
        put(row.field, row.word, &|values| match row.form {
            Form::Icmp => icmp(values, T::FAMILY),
            Form::Addresses => live::words(values, sets),
            Form::Macs => mac_words(values, macs),
            _ => list(values, row.field.none(), &|value| row.show(value, zones)),
        });
    }
    let mut addresses_of = [None, None];
    for (side, words) in addresses_of.iter_mut().enumerate() {
        let accepted = &space.addresses[side];
        let all = near.iter().map(|door| &*door.addresses[side]);
        let possible = all.fold(RangeSet::empty(), |sum: RangeSet<T>, set| sum.union(set));
        *words = (!within(&possible, accepted)).then(|| addresses(accepted, &possible));
    }
    Words {
        parts,
        addresses: addresses_of,
    }
}

/// A box in words: what the packets are, and from where to where, if not from and to everywhere.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Words {
    parts: Vec<String>,
    addresses: [Option<String>; 2],
}

impl Words {
    /// Whether a box of the other family is the same but for its addresses.
    pub(super) fn folds_with(&self, other: &Self) -> bool {
        let [from, to] =
            [0, 1].map(|side| self.addresses[side].is_some() == other.addresses[side].is_some());
        self.parts == other.parts && from && to
    }

    /// Adds the addresses of the other family.
    pub(super) fn fold(&mut self, other: &Self) {
        for (own, other) in self.addresses.iter_mut().zip(&other.addresses) {
            if let (Some(own), Some(other)) = (own, other) {
                let shown = other
                    .strip_prefix("all but ")
                    .filter(|_| own.starts_with("all but "));
                own.push_str(&format!(",{}", shown.unwrap_or(other)));
            }
        }
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sides = ["from", "to"].into_iter().zip(&self.addresses);
        let sides = sides.filter_map(|(word, side)| Some(format!("{word} {}", side.as_ref()?)));
        let all: Vec<String> = self.parts.iter().cloned().chain(sides).collect();
        match all.is_empty() {
            true => f.write_str("every packet"),
            false => f.write_str(&all.join(" ")),
        }
    }
}

/// MAC addresses by their numbers; those that no policy names are others.
pub(super) fn mac_words(values: &RangeSet<u32>, macs: &[Mac]) -> String {
    let named = (0..).zip(macs);
    let mut items: Vec<String> = named
        .filter(|(number, _)| values.contains(*number))
        .map(|(_, mac)| mac.to_string())
        .collect();
    if values.contains(Field::Mac.none()) {
        items.push("others".into());
    }
    shown(items)
}

/// Protocols by name and number.
fn protocols(values: &RangeSet<u32>) -> String {
    let name = |value| vocabulary::name(vocabulary::PROTOCOLS, value);
    let item = |&(first, last): &(u32, u32)| match name(first) {
        Some(name) if first == last => name.to_owned(),
        _ if first == last => format!("proto {first}"),
        _ => format!("proto {first}-{last}"),
    };
    shown(values.ranges().iter().map(item).collect())
}

/// ICMP types, and codes where not every code is meant.
fn icmp(values: &RangeSet<u32>, family: Family) -> String {
    let name = |kind: u32| {
        let words = icmp_words(family == Family::V6, kind as u8);
        words.trim_start_matches("type ").to_owned()
    };
    let item = |&(first, last): &(u32, u32)| {
        let (types, codes) = ((first >> 8, last >> 8), (first & 255, last & 255));
        match (types.0 == types.1, codes) {
            (true, (0, 255)) => name(types.0),
            (true, (a, b)) if a == b => format!("{} code {a}", name(types.0)),
            (true, (a, b)) => format!("{} code {a}-{b}", name(types.0)),
            (false, (0, 255)) => format!("{}-{}", types.0, types.1),
            (false, (a, b)) => format!("{} code {a} to {} code {b}", types.0, types.1),
        }
    };
    shown(values.ranges().iter().map(item).collect())
}

/// Values of a small field; `none` stands for packets without the field.
pub(super) fn list(values: &RangeSet<u32>, none: u32, name: &dyn Fn(u32) -> String) -> String {
    let mut items: Vec<String> = Vec::new();
    for &(first, last) in values.ranges() {
        let end = if last == none { last - 1 } else { last };
        if first == end {
            items.push(name(first));
        } else if first < end {
            items.push(format!("{}-{}", name(first), name(end)));
        }
        if end < last {
            items.push("none".into());
        }
    }
    shown(items)
}

fn shown(mut items: Vec<String>) -> String {
    let more = items.len().saturating_sub(SHOWN);
    items.truncate(SHOWN);
    let mut text = items.join(",");
    if more > 0 {
        text.push_str(&format!(",... ({more} more)"));
    }
    text
}

/// Addresses as prefixes and ranges; those that are left out, if that is shorter.
fn addresses<T: Address>(accepted: &RangeSet<T>, possible: &RangeSet<T>) -> String {
    let out = accepted.complement();
    let held = accepted.intersection(possible);
    if out.ranges().len() < held.ranges().len() {
        let items = out.ranges().iter().map(|&range| one(range)).collect();
        return format!("all but {}", shown(items));
    }
    shown(held.ranges().iter().map(|&range| one(range)).collect())
}

/// A range as a prefix, an address, or its ends.
fn one<T: Address>((first, last): (T, T)) -> String {
    let number = |value: T| {
        let mut key = firewall_common::key::PacketKey::empty(T::FAMILY);
        T::put(&mut key, value, value);
        key.src()
    };
    let (first, last) = (number(first), number(last));
    let (text, bits): (fn(u128) -> String, u32) = match T::FAMILY {
        Family::V4 => (|value| Ipv4Addr::from(value as u32).to_string(), 32),
        Family::V6 => (|value| Ipv6Addr::from(value).to_string(), 128),
    };
    let host = first ^ last;
    let aligned = host & host.wrapping_add(1) == 0 && first & host == 0;
    match (aligned, host) {
        (true, 0) => text(first),
        (true, _) => format!("{}/{}", text(first), bits - host.count_ones()),
        _ => format!("{}-{}", text(first), text(last)),
    }
}
