//! Transport protocols by name and number.

use super::number::{Domain, Names};
use crate::vocabulary::{self, PROTOCOLS};

/// TCP, UDP, SCTP: the protocols with ports.
pub(super) const WITH_PORTS: [u8; 3] = [6, 17, 132];

/// ICMP.
pub(super) const ICMP: u8 = 1;

/// ICMPv6.
pub(super) const ICMPV6: u8 = 58;

/// TCP.
pub(super) const TCP: u8 = 6;

/// The domain of `proto`.
pub(super) const DOMAIN: Domain<'static> = Domain {
    key: "proto",
    first: 0,
    last: 255,
    example: "a protocol (tcp, udp, icmp) or its number",
    names: Names::Table(PROTOCOLS),
};

/// A protocol's name; `another protocol` for those without.
pub(super) fn name(proto: u8) -> &'static str {
    vocabulary::name(PROTOCOLS, proto.into()).unwrap_or("another protocol")
}
