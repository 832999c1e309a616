//! Which groups of essential traffic the original passes, so that a policy passes them too and no
//! others.
//!
//! May not import a reader or the writer. Invariant: a group is on if every one of its packets that
//! is tried here passes the original, or if nothing is known of its family.

use super::flatten::Step;
use super::join::verdict;
use super::packets::{Dim, Family, NONE, Packets, state};
use firewall_common::field::Field;
use firewall_policy::fields::{self, Usual};
use firewall_policy::range::RangeSet;
use std::net::Ipv6Addr;

/// The groups that a policy can switch off. ARP never comes to these firewalls, and a DHCP client
/// reads its answers before they do, so both stay on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Groups {
    pub(super) neighbour: bool,
    pub(super) multicast: bool,
    pub(super) icmp_error: bool,
    pub(super) igmp: bool,
}

/// Tries the packets of each group.
pub(super) fn groups(steps: &[Step], families: &[Family]) -> Groups {
    let all = |packets: &[Packets]| {
        packets
            .iter()
            .filter(|packet| families.contains(&packet.family))
            .all(|packet| verdict(steps, packet) == Some(true))
    };
    let v6 = |kind, hops, of| icmp(Family::V6, kind, hops, of);
    let v4 = |kind| icmp(Family::V4, kind, 64, state::RELATED);
    Groups {
        neighbour: all(&[134, 135, 136].map(|kind| v6(kind, 255, state::UNTRACKED))),
        multicast: all(&[130, 131, 132, 143].map(|kind| v6(kind, 1, state::UNTRACKED))),
        icmp_error: all(&[v4(3), v4(11), v4(12)])
            && all(&[1, 2, 3, 4].map(|kind| v6(kind, 64, state::RELATED))),
        igmp: all(&[v4(0)
            .with(Dim::Destination, one(0xe000_0001))
            .with(Dim::Proto, one(2))
            .with(Dim::Number(Field::Ttl), one(1))
            .with(Dim::Icmp, one(NONE))
            .with(Dim::State, one(state::NEW))]),
    }
}

fn one(value: u128) -> RangeSet<u128> {
    RangeSet::of(value, value)
}

/// One ICMP packet as a box of single values.
fn icmp(family: Family, kind: u128, hops: u128, of: u128) -> Packets {
    let address = |text: &str| u128::from(text.parse::<Ipv6Addr>().unwrap_or(Ipv6Addr::LOCALHOST));
    let (proto, from, to) = match family {
        Family::V4 => (1, 0xcb00_7109, 0xc633_6450),
        Family::V6 if kind > 127 => (58, address("fe80::1"), address("ff02::1")),
        Family::V6 => (58, address("2001:db8::9"), address("2001:db8::1")),
    };
    let mut packet = Packets::all(family);
    for row in fields::numbers() {
        let dim = Dim::Number(row.field);
        let value = match row.usual {
            _ if row.field == Field::Ttl => hops,
            _ if row.field == Field::Length => 100,
            Usual::Is(value) | Usual::Near(value) if dim.real(family) == dim.full(family) => {
                value.into()
            }
            _ => dim.last(family),
        };
        packet = packet.with(dim, one(value));
    }
    packet
        .with(Dim::Source, one(from))
        .with(Dim::Destination, one(to))
        .with(Dim::Proto, one(proto))
        .with(Dim::DestinationPort, one(NONE))
        .with(Dim::SourcePort, one(NONE))
        .with(Dim::Icmp, one(kind << 8))
        .with(Dim::Flags, one(256))
        .with(Dim::Interface, one(0))
        .with(Dim::State, one(of))
}
