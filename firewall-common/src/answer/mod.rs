//! Answers: what goes back to the sender of a packet that a rule with `action: reject` matches.
//! Here: who may be answered, and how often. [`build`] makes the bytes. What goes back to whoever opens
//! a connection to a port under attack is in [`guard`].
//!
//! TCP gets a reset (RFC 9293, 3.10.7.1), everything else an ICMP or ICMPv6 port unreachable. Nobody
//! is answered whom RFC 1122 (3.2.2), RFC 1812 (4.3.2.7) and RFC 4443 (2.4 e) forbid to answer: a
//! reset or an ICMP error, what came to a group, what does not come from one host, later fragments.
//! Nor is what came without a link header, by which an answer goes back,
//! nor a frame that was sent to another station, which a card in promiscuous mode hands on, nor one
//! that no host would take, because its checksum is wrong ([`is_intact`]).
//!
//! May not import anything of the host or the kernel. Invariant: in any time `t` there are at most
//! `burst + rate * t` answers ([`Config::answers`]), and to one source likewise.

mod build;
mod checksum;
mod handshake;

pub use build::{Answer, IP_WORDS, LINK_WORDS, build};
pub use checksum::is_intact;
pub use handshake::{FORGED, GO_ON, WATCHES, build_handshake, guard};

#[cfg(doc)]
use crate::abi::Config;
use crate::abi::{Entry, answers, broadcast, station};
use crate::calls::Calls;
use crate::field::Field;
use crate::frame::{Frame, Header as _};
use crate::key::{Family, PacketKey};
use crate::machine::Machine;
use crate::parse::{Packet, flag, fragment, proto};
use crate::reason::Reason;

/// Bytes of the rejected packet that an ICMP error quotes at most: its IP header with options or
/// extension headers, and eight bytes behind it. Packets with longer headers get no answer.
pub const QUOTE_MAX: u32 = 80;

/// Bytes that are quoted behind the IP header: where ports are, by which the sender finds the socket
/// (RFC 792; RFC 1122 3.2.2).
pub const QUOTE_BEHIND: u32 = 8;

/// Whether a packet that a rule rejects is answered, before anything is taken from what answers
/// there may be; one of the [`Reason`]s of rejected packets.
#[inline(always)]
pub fn reject<M: Calls, F: Frame>(machine: &M, frame: &F, packet: &Packet) -> Reason {
    if !may_be_answered(machine, frame, packet) {
        Reason::REJECT_SILENT
    } else if !within(machine, &packet.key) {
        Reason::REJECT_LIMIT
    } else if !is_intact(machine, frame, packet) {
        Reason::REJECT_SILENT
    } else {
        Reason::REJECT
    }
}

/// Whether the packet is one that may be answered at all, if it [`is_intact`]. (That is asked last: it
/// costs most, and so it costs that only as often as there may be answers.)
#[inline(always)]
pub fn may_be_answered<M: Machine, F: Frame>(machine: &M, frame: &F, packet: &Packet) -> bool {
    let key = &packet.key;
    has_link_header(machine)
        && is_from_one_host_to_one(key)
        && is_sent_here(machine, frame)
        && !is_broadcast(machine, key)
        && match (key.field(Field::Proto), key.field(Field::Fragment)) {
            (_, fragment::LATER) => false,
            // Of a first fragment it is not known how far the segment goes.
            (proto::TCP, part) => {
                part == fragment::WHOLE && key.field(Field::TcpFlags) & flag::RST == 0
            }
            // Errors are not answered by errors, nor answers; what else there is asks for nothing.
            (proto::ICMP | proto::ICMPV6, _) => is_echo_request(key) && can_be_quoted(packet),
            _ => can_be_quoted(packet),
        }
}

/// Whether frames have a link header, in which an answer finds its way back. Without one Linux takes the
/// answer's bytes for one and sends it nowhere.
#[inline(always)]
fn has_link_header<M: Machine>(machine: &M) -> bool {
    machine.constant(|c| &c.raw_ip) == 0
}

/// Bytes of the packet that an ICMP error quotes.
#[inline(always)]
const fn quoted(packet: &Packet) -> u32 {
    let start = packet.end.wrapping_sub(packet.key.field(Field::Length));
    packet.l4.wrapping_sub(start).wrapping_add(QUOTE_BEHIND)
}

#[inline(always)]
const fn can_be_quoted(packet: &Packet) -> bool {
    packet.l4 + QUOTE_BEHIND <= packet.end && quoted(packet) <= QUOTE_MAX
}

/// Whether there is an answer left for the packet's source, and one for all.
#[inline(always)]
pub fn within<M: Calls>(machine: &M, key: &PacketKey) -> bool {
    if machine.constant(|c| &c.answers) == answers::UNLIMITED {
        return true;
    }
    let of_source = u64::from(machine.constant(|c| &c.answers_limit));
    let is_within = |limit: u64| machine.limit(key, Entry::of_limit(limit)) == Entry::WITHIN;
    is_within(of_source) && is_within(of_source + 1)
}

#[inline(always)]
fn is_echo_request(key: &PacketKey) -> bool {
    let request = match key.family() {
        Family::V4 => 8,
        Family::V6 => 128,
    };
    key.field(Field::Icmp) >> 8 == request
}

/// Whether both addresses are of one host each: no group, no broadcast, not nobody, not loopback,
/// nothing reserved.
#[inline(always)]
fn is_from_one_host_to_one(key: &PacketKey) -> bool {
    let is_host = |hi: u64, lo: u64| match key.family() {
        Family::V4 => !matches!(lo >> 24, 0 | 127 | 224..),
        Family::V6 => hi >> 56 != 0xff && (hi != 0 || lo > 1),
    };
    is_host(key.src_hi, key.src_lo)
        && is_host(key.dst_hi, key.dst_lo)
        && (key.src_hi != key.dst_hi || key.src_lo != key.dst_lo)
}

/// Whether the frame goes from one station to this host. Where nobody has said which addresses are
/// its own (test runs), every station is.
#[inline(always)]
pub fn is_sent_here<M: Machine, F: Frame>(machine: &M, frame: &F) -> bool {
    let Some(header) = frame.header::<12>(0) else {
        return false;
    };
    // The lowest bit of the first byte: a group.
    if (header.u8::<0>() | header.u8::<6>()) & 1 != 0 {
        return false;
    }
    if machine.constant(|c| &c.stations) == 0 {
        return true;
    }
    let mac = u64::from(header.be16::<0>()) << 32 | u64::from(header.be32::<2>());
    machine.is_station(station(frame.interface(), mac))
}

/// Whether one of the addresses is the broadcast address of a network of this host: as the frame of
/// such a packet goes to all stations, one that goes to this one alone is forged.
#[inline(always)]
fn is_broadcast<M: Machine>(machine: &M, key: &PacketKey) -> bool {
    machine.constant(|c| &c.stations) != 0
        && key.family() == Family::V4
        && (machine.is_station(broadcast(key.dst_lo)) || machine.is_station(broadcast(key.src_lo)))
}
