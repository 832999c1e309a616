//! Which packets reach the rules at all: the boxes of what the parser can find in a frame that
//! neither an anomaly nor the essential group has ended before.
//!
//! Under `tunnels: inner` the packets inside of tunnels reach the rules too, of which none is
//! essential. Where a condition is no box (source equal to destination, what an ICMP error quotes), the boxes
//! hold more than there is, never less. Under `malformed: rules`, malformed packets reach the rules with
//! any values in the fields that could be read, and without the others.

use super::{Address, Space};
use crate::fields::{self, ROWS, Row};
use crate::range::RangeSet;
use crate::rule::Policy;
use firewall_common::abi::{PacketConfig, essential_bit, fragments, malformed, tunnels};
use firewall_common::field::Field;
use firewall_common::flows::state_field;
use firewall_common::key::Family;
use firewall_common::parse::{flag, fragment, proto};
use std::rc::Rc;

/// Addresses that packets can carry, in the two families.
pub(crate) trait Carried: Address {
    /// Source addresses of ordinary packets, and of hosts without an address if they are set apart.
    fn sources() -> (RangeSet<Self>, Option<RangeSet<Self>>);
    /// Destination addresses.
    fn destinations() -> RangeSet<Self>;
    /// Bytes of the shortest IP header.
    const HEADER: u32;
}

impl Carried for u32 {
    const HEADER: u32 = 20;

    fn sources() -> (RangeSet<Self>, Option<RangeSet<Self>>) {
        // 0.0.0.0 is a source, the rest of 0/8 is not, nor 127/8, nor what is above 224/4.
        let ranges = vec![
            (0, 0),
            (0x0100_0000, 0x7eff_ffff),
            (0x8000_0000, 0xdfff_ffff),
        ];
        (RangeSet::from_ranges(ranges), None)
    }

    fn destinations() -> RangeSet<Self> {
        RangeSet::of(0x7f00_0000, 0x7fff_ffff).complement()
    }
}

impl Carried for u128 {
    const HEADER: u32 = 40;

    fn sources() -> (RangeSet<Self>, Option<RangeSet<Self>>) {
        let never = vec![
            (0, 1),
            (0xffff_0000_0000, 0xffff_ffff_ffff),
            (0xff << 120, u128::MAX),
        ];
        (
            RangeSet::from_ranges(never).complement(),
            Some(RangeSet::of(0, 0)),
        )
    }

    fn destinations() -> RangeSet<Self> {
        let never = vec![(1, 1), (0xffff_0000_0000, 0xffff_ffff_ffff)];
        RangeSet::from_ranges(never).complement()
    }
}

/// What decides which packets reach the rules.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doors {
    packet: PacketConfig,
    essential: u32,
    zones: u32,
    /// Whether packets inside of tunnels come to the rules.
    inner: bool,
    /// Whether some rule looks at state; else every packet is new.
    flows: bool,
    /// Whether some rule tells what is related from what is new.
    related: bool,
    /// How many live sets there are.
    live: u32,
    /// How many MAC addresses the policy names.
    macs: u32,
}

impl Doors {
    /// Those of a policy.
    pub(crate) fn of(policy: &Policy) -> Self {
        Self {
            packet: policy.packet,
            essential: policy.essential,
            zones: policy.zones.len() as u32,
            inner: looks_inside(policy),
            flows: policy.tracks_connections(),
            related: policy.tells_related(),
            live: policy.live.len() as u32,
            macs: policy.macs.len() as u32,
        }
    }

    /// What both policies let through. `zones` counts those of both.
    pub(crate) fn of_both(a: &Policy, b: &Policy, zones: u32) -> Self {
        let (mut packet, other) = (a.packet, b.packet);
        if other.fragments == fragments::DROP {
            packet.fragments = fragments::DROP;
        }
        packet.vlan_depth = packet.vlan_depth.min(other.vlan_depth);
        if other.malformed != malformed::RULES {
            packet.malformed = malformed::DROP;
        }
        Self {
            packet,
            essential: a.essential | b.essential,
            zones,
            inner: looks_inside(a) || looks_inside(b),
            flows: a.tracks_connections() || b.tracks_connections(),
            related: a.tells_related() || b.tells_related(),
            live: a.live.len().max(b.live.len()) as u32,
            macs: a.macs.len().max(b.macs.len()) as u32,
        }
    }

    /// The boxes of one family, disjoint.
    pub(crate) fn boxes<T: Carried>(&self) -> Vec<Space<T>> {
        let (sources, nowhere) = T::sources();
        let mut any = Space::<T>::everything();
        any.addresses = [Rc::new(sources), Rc::new(T::destinations())];
        any = any
            .with(Field::Proto, RangeSet::of(0, 255))
            .with(Field::State, one(state_field::NEW))
            .with(Field::Zone, self.of_link(Field::Zone))
            .with(Field::Vlan, self.of_link(Field::Vlan))
            .with(Field::Mac, self.of_link(Field::Mac))
            .with(Field::SourceSets, RangeSet::of(0, (1 << self.live) - 1))
            .with(
                Field::DestinationSets,
                RangeSet::of(0, (1 << self.live) - 1),
            );
        for row in fields::numbers() {
            any = any.with(
                row.field,
                if row.is_of_all(T::FAMILY) {
                    RangeSet::of(row.range.0, row.range.1)
                } else {
                    one(row.field.none())
                },
            );
        }
        if self.packet.malformed == malformed::RULES {
            return self.with_malformed(&any);
        }
        let mut boxes = self.transports(&any);
        if self.flows {
            boxes = boxes.iter().flat_map(|space| self.states(space)).collect();
        }
        if let Some(nowhere) = nowhere {
            boxes.push(self.addressless(&any, nowhere));
        }
        if self.packet.fragments == fragments::PASS {
            let later = no_transport(&any)
                .with(Field::Fragment, one(fragment::LATER))
                .with(Field::Length, RangeSet::of(T::HEADER + 1, 65_535));
            boxes.push(later);
        }
        boxes
    }

    /// The values of a field that every frame has, be it IP or not.
    fn of_link(&self, field: Field) -> RangeSet<u32> {
        let without = one(field.none());
        match field {
            Field::Zone => RangeSet::of(0, self.zones.saturating_sub(1)),
            Field::Vlan if self.packet.vlan_depth == 0 => without,
            Field::Vlan => RangeSet::of(1, 4_095).union(&without),
            Field::Mac if self.macs == 0 => without,
            _ => RangeSet::of(0, self.macs - 1).union(&without),
        }
    }

    /// The frames that are not IP and that no parser reads on, in the form of
    /// [`frame_rules`](crate::rule::frame_rules). Of what is essential some are always left.
    pub(crate) fn frames(&self) -> Vec<Space<u32>> {
        let headers = [0x0800, 0x86dd, 0x8100, 0x88a8, 0x9100].map(|number| (number, number));
        let never = headers.into_iter().chain([(0x101, 0x5ff)]).collect();
        let types = RangeSet::from_ranges(never).complement();
        let mut any = Space::<u32>::everything().with(
            Field::DestinationPort,
            types.intersection(&RangeSet::of(0, 0xffff)),
        );
        for field in [Field::Zone, Field::Vlan, Field::Mac] {
            any = any.with(field, self.of_link(field));
        }
        vec![any]
    }

    /// The boxes of a box, by what its packets can belong to.
    fn states<T: Carried>(&self, space: &Space<T>) -> Vec<Space<T>> {
        let with_state =
            |space: &Space<T>, state: u32| space.clone().with(Field::State, one(state));
        let mut boxes = Vec::new();
        if can_belong(space) {
            boxes.push(with_state(space, state_field::ESTABLISHED));
        }
        let is_udp = space.field(Field::Proto).ranges() == [(proto::UDP, proto::UDP)];
        if self.related && is_udp {
            boxes.push(with_state(space, state_field::RELATED));
        }
        let Some((field, values)) = belongs_or_invalid(space) else {
            boxes.push(space.clone());
            return boxes;
        };
        let invalid = space.clone().with(field, values.clone());
        if !invalid.field(field).is_empty() {
            boxes.push(with_state(&invalid, state_field::INVALID));
            if !can_belong(space) {
                boxes.push(with_state(&invalid, state_field::ESTABLISHED));
            }
        }
        // Nobody looks for the connections of what is in a tunnel: all of it is new.
        let new = if self.inner {
            space.field(field).clone()
        } else {
            space.field(field).intersection(&values.complement())
        };
        let new = space.clone().with(field, new);
        if !new.field(field).is_empty() {
            boxes.push(new);
        }
        boxes
    }

    /// Packets in order and others: with ports, with a type of ICMP, with neither.
    fn with_malformed<T: Carried>(&self, any: &Space<T>) -> Vec<Space<T>> {
        let mut any = any.clone();
        any.addresses = Space::<T>::everything().addresses;
        let mut states = one(state_field::NEW);
        if self.flows {
            states = states.union(&RangeSet::of(state_field::ESTABLISHED, Field::State.none()));
        }
        let part = if self.packet.fragments == fragments::DROP {
            one(fragment::WHOLE).union(&one(Field::Fragment.none()))
        } else {
            RangeSet::of(fragment::WHOLE, Field::Fragment.none())
        };
        any = any
            .with(Field::State, states)
            .with(Field::Fragment, part)
            .with(Field::Length, RangeSet::of(T::HEADER, 65_535));
        let any = no_transport(&any);
        let with_ports = |proto: u32| {
            any.clone()
                .with(Field::Proto, one(proto))
                .with(Field::SourcePort, RangeSet::of(0, 65_535))
                .with(Field::DestinationPort, RangeSet::of(0, 65_535))
        };
        let icmp = match T::FAMILY {
            Family::V4 => proto::ICMP,
            Family::V6 => proto::ICMPV6,
        };
        let unread = |field: Field| RangeSet::of(0, field.none());
        vec![
            of_tcp().fold(with_ports(proto::TCP), |space, row| {
                space.with(row.field, unread(row.field))
            }),
            with_ports(proto::UDP),
            with_ports(proto::SCTP),
            any.clone()
                .with(Field::Proto, one(icmp))
                .with(Field::Icmp, RangeSet::of(0, 65_535)),
            fields::numbers()
                .filter(|row| row.is_of_all(T::FAMILY))
                .map(|row| row.field)
                .chain([Field::Proto])
                .fold(any.clone(), |space, field| space.with(field, unread(field))),
        ]
    }

    /// Packets with a transport header, and whole ones of protocols without.
    fn transports<T: Carried>(&self, any: &Space<T>) -> Vec<Space<T>> {
        let whole = if self.packet.fragments == fragments::DROP {
            one(fragment::WHOLE)
        } else {
            RangeSet::of(fragment::WHOLE, fragment::FIRST)
        };
        let with_header = |proto: u32, bytes: u32| {
            no_transport(any)
                .with(Field::Proto, one(proto))
                .with(Field::Fragment, whole.clone())
                .with(Field::Length, RangeSet::of(T::HEADER + bytes, 65_535))
        };
        let ports = |space: Space<T>, source: RangeSet<u32>, destination: RangeSet<u32>| {
            space
                .with(Field::SourcePort, source)
                .with(Field::DestinationPort, destination)
        };
        let used = || RangeSet::of(1, 65_535);
        let all = || RangeSet::of(0, 65_535);
        let tcp = of_tcp().fold(with_header(proto::TCP, 20), |space, row| {
            space.with(row.field, RangeSet::of(row.range.0, row.range.1))
        });
        let mut boxes = vec![
            ports(tcp, used(), used()).with(Field::TcpFlags, sane_flags()),
            ports(with_header(proto::SCTP, 12), all(), all()),
        ];
        let udp = ports(with_header(proto::UDP, 8), all(), used());
        // (Of DHCP what has been asked for does not come here, and it depends on the moment what that is.)
        boxes.push(udp);
        let (icmp, headerless) = match T::FAMILY {
            Family::V4 => (
                proto::ICMP,
                [proto::ICMP, proto::TCP, proto::UDP, proto::SCTP],
            ),
            Family::V6 => (
                proto::ICMPV6,
                [proto::ICMPV6, proto::TCP, proto::UDP, proto::SCTP],
            ),
        };
        let icmp = with_header(icmp, 8).with(Field::Icmp, all());
        match T::FAMILY {
            Family::V4 => boxes.push(icmp),
            Family::V6 => boxes.extend(self.icmpv6(&icmp)),
        }
        let others = RangeSet::from_ranges(headerless.map(|p| (p, p)).to_vec())
            .complement()
            .intersection(&RangeSet::of(0, 255));
        // IPv6 extension headers are not what a packet carries.
        let others = match T::FAMILY {
            Family::V4 => others,
            Family::V6 => {
                let chain = [0, 43, 44, 51, 60].map(|p| (p, p)).to_vec();
                others.intersection(&RangeSet::from_ranges(chain).complement())
            }
        };
        boxes.push(
            no_transport(any)
                .with(Field::Proto, others)
                .with(Field::Fragment, whole)
                .with(Field::Length, RangeSet::of(T::HEADER, 65_535)),
        );
        boxes
    }

    /// Neighbour discovery reaches the rules with hop limit 255 only, and most of it is essential.
    fn icmpv6<T: Carried>(&self, icmp: &Space<T>) -> Vec<Space<T>> {
        if self.inner {
            return vec![icmp.clone()];
        }
        let types = |first: u32, last: u32| RangeSet::of(first << 8, last << 8 | 255);
        let discovery = types(133, 137);
        let rest = icmp
            .field(Field::Icmp)
            .intersection(&discovery.complement());
        let left = if self.essential & essential_bit::NEIGHBOUR == 0 {
            discovery
        } else {
            types(137, 137)
        };
        vec![
            icmp.clone().with(Field::Icmp, rest),
            icmp.clone()
                .with(Field::Icmp, left)
                .with(Field::Ttl, one(255)),
        ]
    }

    /// What hosts without an address may send: listener reports, and discovery if it is not
    /// essential.
    fn addressless<T: Carried>(&self, any: &Space<T>, nowhere: RangeSet<T>) -> Space<T> {
        let mut types = vec![131, 132, 143];
        if self.essential & essential_bit::NEIGHBOUR == 0 {
            types.extend([133, 135]);
        }
        let types = types.iter().map(|kind| (kind << 8, kind << 8 | 255));
        let mut space = no_transport(any)
            .with(Field::Proto, one(proto::ICMPV6))
            .with(Field::Icmp, RangeSet::from_ranges(types.collect()))
            .with(Field::Fragment, one(fragment::WHOLE))
            .with(Field::Length, RangeSet::of(T::HEADER + 8, 65_535));
        space.addresses[0] = Rc::new(nowhere);
        space
    }
}

/// The packets of a box, all of one protocol, that are invalid if they belong to no connection
/// ([`firewall_common::flows`]), by the field that tells them: TCP that opens none, ICMP errors, echo
/// replies.
fn belongs_or_invalid<T: Carried>(space: &Space<T>) -> Option<(Field, RangeSet<u32>)> {
    let &[(protocol, last)] = space.field(Field::Proto).ranges() else {
        return None;
    };
    let types = |types: &[(u32, u32)]| {
        let ranges = types.iter().map(|&(a, b)| (a << 8, b << 8 | 255));
        space
            .field(Field::Icmp)
            .intersection(&RangeSet::from_ranges(ranges.collect()))
    };
    let (field, values) = match (protocol, T::FAMILY) {
        _ if protocol != last => return None,
        (proto::TCP, _) => {
            let opens = |flags: &u32| flags & (flag::SYN | flag::ACK) == flag::SYN;
            let opening = (0..256).filter(opens).map(|flags| (flags, flags)).collect();
            let others = RangeSet::from_ranges(opening).complement();
            (Field::TcpFlags, sane_flags().intersection(&others))
        }
        (proto::ICMP, Family::V4) => (Field::Icmp, types(&[(0, 0), (3, 3), (11, 12)])),
        (proto::ICMPV6, Family::V6) => (Field::Icmp, types(&[(1, 4), (129, 129)])),
        _ => return None,
    };
    Some((field, values))
}

/// Whether packets of a box, all of one protocol, can belong to a connection.
fn can_belong<T: Carried>(space: &Space<T>) -> bool {
    let ranges = space.field(Field::Proto).ranges();
    ranges == [(proto::TCP, proto::TCP)] || ranges == [(proto::UDP, proto::UDP)]
}

fn looks_inside(policy: &Policy) -> bool {
    policy.packet.tunnels == tunnels::INNER
}

fn one(value: u32) -> RangeSet<u32> {
    RangeSet::of(value, value)
}

fn no_transport<T: Address>(any: &Space<T>) -> Space<T> {
    [Field::SourcePort, Field::DestinationPort, Field::Icmp]
        .into_iter()
        .chain(of_tcp().map(|row| row.field))
        .fold(any.clone(), |space, field| {
            space.with(field, one(field.none()))
        })
}

/// What only TCP has.
fn of_tcp() -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(|row| row.is_of_tcp())
}

/// The flags that the parser lets through.
fn sane_flags() -> RangeSet<u32> {
    let sane = |flags: &u32| {
        let of = flags & (flag::FIN | flag::SYN | flag::RST | flag::ACK);
        let clash = of & flag::SYN != 0 && of & (flag::FIN | flag::RST) != 0;
        of != 0 && !clash && of & (flag::FIN | flag::ACK) != flag::FIN
    };
    RangeSet::from_ranges((0..256).filter(sane).map(|flags| (flags, flags)).collect())
}
