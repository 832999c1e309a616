//! Transport protocols by name and number.

use crate::vocabulary::{self, PROTOCOLS};

/// TCP, UDP, SCTP: the protocols with ports.
pub(super) const WITH_PORTS: [u8; 3] = [6, 17, 132];

/// ICMP.
pub(super) const ICMP: u8 = 1;

/// ICMPv6.
pub(super) const ICMPV6: u8 = 58;

/// TCP.
pub(super) const TCP: u8 = 6;

/// A protocol's name; `another protocol` for those without.
pub(super) fn name(proto: u8) -> &'static str {
    vocabulary::name(PROTOCOLS, proto.into()).unwrap_or("another protocol")
}
