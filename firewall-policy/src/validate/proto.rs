//! Transport protocols by name and number.

use super::number::{Domain, Names};

/// TCP, UDP, SCTP: the protocols with ports.
pub(super) const WITH_PORTS: [u8; 3] = [6, 17, 132];

/// ICMP.
pub(super) const ICMP: u8 = 1;

/// ICMPv6.
pub(super) const ICMPV6: u8 = 58;

/// TCP.
pub(super) const TCP: u8 = 6;

pub(crate) const NAMES: &[(&str, u32)] = &[
    ("tcp", 6),
    ("udp", 17),
    ("icmp", 1),
    ("icmpv6", 58),
    ("sctp", 132),
    ("esp", 50),
    ("ah", 51),
    ("gre", 47),
    ("igmp", 2),
    ("ipip", 4),
    ("ipv6", 41),
    ("ospf", 89),
    ("pim", 103),
    ("vrrp", 112),
    ("dccp", 33),
    ("udplite", 136),
];

/// The domain of `proto`.
pub(super) const DOMAIN: Domain<'static> = Domain {
    key: "proto",
    first: 0,
    last: 255,
    example: "a protocol (tcp, udp, icmp) or its number",
    names: Names::Table(NAMES),
};

/// A protocol's name; `another protocol` for those without.
pub(super) fn name(proto: u8) -> &'static str {
    NAMES
        .iter()
        .find(|&&(_, number)| number == u32::from(proto))
        .map_or("another protocol", |&(name, _)| name)
}
