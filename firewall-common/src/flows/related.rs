//! `state: related`: datagrams from another port of a host that this host has just sent one to (TFTP), and
//! answers to a question that went to a group (SSDP, WS-Discovery, mDNS where one host alone is answered).
//!
//! A datagram that goes out makes a flow of a second name beside its own: without the other side's port, or
//! if it went to a group, with the interface that it left by in the place of the other side. Nothing that
//! comes in changes it. It lasts as long as the flow of a question that nobody answers
//! ([`super::timeout::UDP`]), counted from the last datagram that went out; what goes on with the port that
//! the answer came from has a flow of its own.
//!
//! Where no rule asks for it, none of this is there.

use super::Tuple;
use super::table::find;
use crate::calls::Calls;
use crate::field::Field;
use crate::key::PacketKey;
use crate::parse::proto;

/// Whether a flow is such a name: no datagram is sent to port 0.
#[must_use]
pub const fn is_expectation(tuple: &Tuple) -> bool {
    Tuple::proto_of(tuple.identity) == proto::UDP && Tuple::remote_port_of(tuple.identity) == 0
}

/// Whether an address is one of a group, or of all of a network.
#[inline(always)]
const fn is_group(high: u64, low: u64, is_v6: bool) -> bool {
    if is_v6 {
        high >> 56 == 0xff
    } else {
        low >> 28 == 0xe || low == 0xffff_ffff
    }
}

/// Whoever answers on an interface. (No host has the address 0 and a number behind it.)
#[inline(always)]
const fn of_group(tuple: &Tuple, interface: u32) -> Tuple {
    Tuple {
        remote: [0, interface as u64],
        ..*tuple
    }
}

/// Makes the key of a datagram that leaves by an interface that of what may come because of it: the
/// egress program takes note of it as of another datagram.
#[inline(always)]
pub fn expect(key: &mut PacketKey, interface: u32) {
    if is_group(key.dst_hi, key.dst_lo, key.is_v6 != 0) {
        (key.dst_hi, key.dst_lo) = (0, u64::from(interface));
    }
    key.fields[Field::DestinationPort as usize] = 0;
}

/// Whether a datagram that comes in by an interface, and is of no flow, may come because of one that has
/// left. (Not a part of [`super::state_of`], because the kernel's stack has no room for it there.)
#[inline(always)]
pub fn is_expected<M: Calls>(machine: &M, key: &PacketKey, interface: u32) -> bool {
    let tuple = Tuple::incoming(key, key.field(Field::DestinationPort), 0);
    let now = machine.ticks();
    find(machine, &tuple, now).is_some()
        || find(machine, &of_group(&tuple, interface), now).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Family;

    /// What leaves is noted under the name under which what comes in is looked for.
    #[test]
    fn groups_are_told_from_hosts() {
        for (remote, family, group) in [
            ([0, 0xdfff_ffff], Family::V4, false),
            ([0, 0xe000_00fb], Family::V4, true),
            ([0, 0xefff_ffff], Family::V4, true),
            ([0, 0xf000_0000], Family::V4, false),
            ([0, 0xffff_ffff], Family::V4, true),
            ([0xff02 << 48, 0xc], Family::V6, true),
            ([0xfe80 << 48, 0xe000_0001], Family::V6, false),
        ] {
            let mut key = PacketKey::empty(family);
            (key.src_lo, key.dst_hi, key.dst_lo) = (9, remote[0], remote[1]);
            key.fields[Field::Proto as usize] = proto::UDP;
            let asked = Tuple::outgoing(&key, 40_000, 69);
            expect(&mut key, 7);
            let port = key.field(Field::DestinationPort);
            let expected = Tuple::outgoing(&key, 40_000, port);
            assert!(is_expectation(&expected) && !is_expectation(&asked));
            let any_port = Tuple {
                identity: Tuple::identity_of(40_000, 0, proto::UDP, family == Family::V6),
                ..asked
            };
            let wanted = match group {
                true => of_group(&any_port, 7),
                false => any_port,
            };
            assert_eq!(expected, wanted);
        }
    }
}
