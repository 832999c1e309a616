//! DHCP requests: a client asks by broadcast, whoever answers does so from an address of its own, and
//! some from a port of their own. So a request is a flow that is named by the interface that it leaves
//! by, the family, and the client's port.
//!
//! It counts as one that both sides use: it is remembered for [`super::timeout::UDP_SETTLED`], which no
//! answer shortens (there may be several servers, and a second exchange), and gives way to no other kind.

use super::table::{Start, insert};
use super::{Tuple, state};
use crate::calls::Calls;
use crate::field::Field;
use crate::key::{Family, PacketKey};
use crate::parse::proto;

/// Client and server, of IPv4 (RFC 2131) and of IPv6 (RFC 8415).
const PORTS_V4: (u32, u32) = (68, 67);
const PORTS_V6: (u32, u32) = (546, 547);

/// No packet is to the address that nobody has, so no other flow has this name.
#[inline(always)]
pub(super) const fn tuple(interface: u32, is_v6: bool) -> Tuple {
    let (client, server) = if is_v6 { PORTS_V6 } else { PORTS_V4 };
    Tuple {
        remote: [0; 2],
        local: [0, interface as u64],
        identity: Tuple::identity_of(client, server, proto::UDP, is_v6),
    }
}

/// Whether a flow is a DHCP request.
#[must_use]
pub const fn is_request(tuple: &Tuple) -> bool {
    let ports = (
        Tuple::local_port_of(tuple.identity) as u32,
        Tuple::remote_port_of(tuple.identity) as u32,
    );
    tuple.remote[0] == 0
        && tuple.remote[1] == 0
        && Tuple::proto_of(tuple.identity) == proto::UDP
        && matches!(ports, PORTS_V4 | PORTS_V6)
}

/// Takes note of a UDP datagram that leaves by an interface, if it is a request.
#[inline(always)]
pub(super) fn note<M: Calls>(machine: &M, key: &PacketKey, interface: u32) {
    let is_v6 = key.family() == Family::V6;
    let wanted = if is_v6 { PORTS_V6 } else { PORTS_V4 };
    let ports = (
        key.field(Field::SourcePort),
        key.field(Field::DestinationPort),
    );
    if ports != wanted {
        return;
    }
    let start = Start {
        state: state::OWN | state::REPLIED | state::SETTLED,
        out: 0,
    };
    insert(machine, &tuple(interface, is_v6), start, machine.ticks());
}
