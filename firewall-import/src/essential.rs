//! Which groups of essential traffic the original passes, so that a policy passes them too and no
//! others.
//!
//! May not import a reader or the writer. Invariant: a group is on if every packet of it passes in the
//! original, or if nothing is known of its family.

use super::flatten::Step;
use super::packets::{Dim, Family, Packets, Values, less_all, state};
use firewall_common::field::Field;
use firewall_common::verdict::Action;
use firewall_policy::range::RangeSet;

/// The groups that a policy can switch off. ARP never comes to these firewalls, and a DHCP client
/// reads its answers before they do, so both stay on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Groups {
    pub(super) neighbour: bool,
    pub(super) multicast: bool,
    pub(super) icmp_error: bool,
    pub(super) igmp: bool,
}

/// More parts of a group than this are not followed.
const MAX_PARTS: usize = 512;

/// fe80::/10.
const LINK_LOCAL: (u128, u128) = (0xfe80 << 112, (0xfec0 << 112) - 1);

/// Asks for each group what becomes of all of it. Neighbour discovery and multicast listener discovery
/// are not tracked by Netfilter; of ICMP errors, those that belong to no connection are asked for, too:
/// the others pass by `state: established`.
pub(super) fn groups(steps: &[Step], families: &[Family]) -> Groups {
    let all = |boxes: Vec<Packets>| {
        let known = |part: &Packets| families.contains(&part.family);
        pass(steps, boxes.into_iter().filter(known).collect())
    };
    let hops = |part: Packets, hops| part.with(Dim::Number(Field::Ttl), one(hops));
    let untracked = |part: Packets| part.with(Dim::State, one(state::UNTRACKED));
    let listeners = RangeSet::from_ranges(vec![types(130, 132), types(143, 143)]);
    let link = RangeSet::from_ranges(vec![LINK_LOCAL, (0, 0)]);
    let igmp = Packets::all(Family::V4)
        .with(Dim::Proto, one(2))
        .with(Dim::Icmp, one(super::packets::NONE))
        .with(Dim::Flags, one(256))
        .with(Dim::DestinationPort, one(super::packets::NONE))
        .with(Dim::SourcePort, one(super::packets::NONE))
        .with(Dim::State, one(state::NEW))
        .with(Dim::Destination, RangeSet::of(0xe000_0000, 0xefff_ffff));
    let errors = RangeSet::from_ranges(vec![types(3, 3), types(11, 12)]);
    Groups {
        neighbour: all(vec![untracked(hops(
            icmp(Family::V6, neighbour_types()),
            255,
        ))]),
        multicast: all(vec![
            untracked(hops(icmp(Family::V6, listeners), 1)).with(Dim::Source, link),
        ]),
        igmp: all(vec![hops(igmp, 1)]),
        icmp_error: all(vec![
            icmp(Family::V4, errors),
            icmp(Family::V6, RangeSet::of(1 << 8, types(4, 4).1)),
        ]),
    }
}

/// Neighbour discovery without redirects, whatever its hop limit: with another than 255 it is malformed.
pub(super) fn neighbours() -> Packets {
    Packets::all(Family::V6)
        .with(Dim::Proto, one(58))
        .with(Dim::Icmp, neighbour_types())
}

fn neighbour_types() -> Values {
    RangeSet::of(types(133, 133).0, types(136, 136).1)
}

fn one(value: u128) -> Values {
    RangeSet::of(value, value)
}

/// Types as values of [`Dim::Icmp`], with every code.
fn types(first: u128, last: u128) -> (u128, u128) {
    (first << 8, last << 8 | 255)
}

/// ICMP packets of a family.
fn icmp(family: Family, kinds: Values) -> Packets {
    let proto = if family == Family::V4 { 1 } else { 58 };
    let mut part = Packets::all(family)
        .with(Dim::Proto, one(proto))
        .with(Dim::Icmp, kinds)
        .with(Dim::Flags, one(256))
        .with(Dim::DestinationPort, one(super::packets::NONE))
        .with(Dim::SourcePort, one(super::packets::NONE));
    for row in firewall_policy::fields::numbers().filter(|row| row.is_of_tcp()) {
        let dim = Dim::Number(row.field);
        part = part.with(dim, one(dim.last(family)));
    }
    part
}

/// Whether the first step that takes a packet passes it, for every packet of these boxes.
pub(super) fn pass(steps: &[Step], boxes: Vec<Packets>) -> bool {
    let mut left = boxes;
    for step in steps {
        if left.is_empty() {
            return true;
        }
        if left.iter().all(|part| !part.meets(&step.packets)) {
            continue;
        }
        match (step.action, &step.limit) {
            // Those without such content go on.
            (Action::PASS, None) if step.content.is_some() => continue,
            (Action::PASS, None) => {}
            // Within the rate it passes; what is over it goes on.
            (Action::PASS, Some((_, Action::NEXT))) => continue,
            _ => return false,
        }
        left = less_all(left, std::slice::from_ref(&step.packets));
        if left.len() > MAX_PARTS {
            return false;
        }
    }
    left.is_empty()
}
