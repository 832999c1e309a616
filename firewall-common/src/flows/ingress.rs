//! What comes in: whether it belongs to a flow, and what it changes in it.
//!
//! | packet of a flow | it is | what it changes |
//! |---|---|---|
//! | TCP SYN | new | nothing |
//! | TCP SYN with ACK | established, if it acknowledges the SYN that was sent, and nothing but it; or repeats what has been acknowledged | the flow is answered |
//! | TCP RST | established, if its number lies in the window (RFC 5961); before there is one, if it acknowledges the SYN | the flow is reset |
//! | TCP FIN | established, if its number lies in the window | the other side is done |
//! | other TCP | established, once the flow is answered | nothing |
//! | UDP, echo reply | established | the flow is answered |
//! | ICMP error | established, if it quotes a packet of a flow, of TCP one that was sent lately | nothing |
//! | later fragment, all else | new | nothing |
//!
//! A flow that is not there, and one that has expired, makes a packet new. What a rule drops has
//! changed its flow nevertheless: flows are looked at before the rules are.

use super::state_field::{ESTABLISHED, NEW};
use super::table::{Found, find};
use super::{Tuple, at, echo, state};
use crate::field::Field;
use crate::frame::{Frame, Header as _};
use crate::key::{Family, PacketKey};
use crate::machine::Machine;
use crate::parse::{Packet, flag, fragment, proto};

/// Largest window in bytes that is believed where its scale is not known.
pub(super) const WINDOW_MAX: u64 = 1 << 20;

/// How far behind the last byte sent a TCP packet may begin that an ICMP error quotes: as much as
/// Linux keeps unacknowledged (net.ipv4.tcp_wmem).
const SENT_MAX: u32 = 4 << 20;

/// Bytes of an ICMP header, in front of what it quotes.
const ICMP_HEADER: u32 = 8;

/// Fragment offset of a quoted IPv4 header.
const OFFSET_MASK: u32 = 0x1fff;

/// The state of a packet: a value of [`super::state_field`].
#[inline(always)]
pub fn state_of<M: Machine, F: Frame>(machine: &M, frame: &F, packet: &Packet) -> u32 {
    let key = &packet.key;
    if key.field(Field::Fragment) == fragment::LATER {
        return NEW;
    }
    let is_v6 = key.family() == Family::V6;
    let belongs = match key.field(Field::Proto) {
        proto::TCP => tcp(machine, frame, packet),
        proto::UDP => {
            let (remote, local) = (
                key.field(Field::SourcePort),
                key.field(Field::DestinationPort),
            );
            answer(machine, &Tuple::incoming(key, local, remote))
        }
        proto::ICMP if !is_v6 => match key.field(Field::Icmp) >> 8 {
            echo::REPLY => echo_reply(machine, frame, packet),
            3 | 11 | 12 => error_v4(machine, frame, packet),
            _ => false,
        },
        proto::ICMPV6 if is_v6 => match key.field(Field::Icmp) >> 8 {
            echo::REPLY_V6 => echo_reply(machine, frame, packet),
            1..=4 => error_v6(machine, frame, packet),
            _ => false,
        },
        _ => false,
    };
    if belongs { ESTABLISHED } else { NEW }
}

/// A packet that answers a flow without sequence numbers.
#[inline(always)]
fn answer<M: Machine>(machine: &M, tuple: &Tuple) -> bool {
    let now = machine.ticks();
    let Some(found) = find(machine, tuple, now) else {
        return false;
    };
    found.mark(machine, state::REPLIED);
    found.touch(machine, now);
    true
}

#[inline(always)]
fn echo_reply<M: Machine, F: Frame>(machine: &M, frame: &F, packet: &Packet) -> bool {
    let Some(header) = frame.header::<8>(packet.l4) else {
        return false;
    };
    // Named like the request that it answers.
    let tuple = Tuple::incoming(&packet.key, header.be16::<4>(), 0);
    answer(machine, &tuple)
}

#[inline(always)]
fn tcp<M: Machine, F: Frame>(machine: &M, frame: &F, packet: &Packet) -> bool {
    let key = &packet.key;
    let flags = key.field(Field::TcpFlags);
    if flags & (flag::SYN | flag::ACK) == flag::SYN {
        return false;
    }
    let Some(header) = frame.header::<20>(packet.l4) else {
        return false;
    };
    let (sequence, acknowledged) = (header.be32::<4>(), header.be32::<8>());
    let tuple = Tuple::incoming(
        key,
        key.field(Field::DestinationPort),
        key.field(Field::SourcePort),
    );
    let now = machine.ticks();
    let Some(found) = find(machine, &tuple, now) else {
        return false;
    };
    let marks = if found.state & state::REPLIED == 0 {
        opening(machine, &found, flags, acknowledged)
    } else {
        goes_on(machine, &found, flags, sequence)
    };
    if marks == NOT_OF_IT {
        return false;
    }
    if marks != 0 {
        found.mark(machine, marks);
    }
    found.touch(machine, now);
    true
}

/// In place of bits of a state: the packet is none of the flow's.
const NOT_OF_IT: u64 = u64::MAX;

/// What a segment marks in a flow whose SYN has no answer so far.
#[inline(always)]
fn opening<M: Machine>(machine: &M, found: &Found, flags: u32, acknowledged: u32) -> u64 {
    let next = found.read(machine, at::NEXT) as u32;
    if flags & flag::ACK == 0 || acknowledged != next {
        NOT_OF_IT
    } else if flags & flag::SYN != 0 {
        state::REPLIED
    } else if flags & flag::RST != 0 {
        state::RESET
    } else {
        NOT_OF_IT
    }
}

/// What a segment marks in a flow that both sides have used.
#[inline(always)]
fn goes_on<M: Machine>(machine: &M, found: &Found, flags: u32, sequence: u32) -> u64 {
    if flags & (flag::SYN | flag::RST | flag::FIN) == 0 {
        return 0;
    }
    let word = found.read(machine, at::WINDOW);
    let (expected, window) = ((word >> 32) as u32, word as u32);
    if flags & flag::SYN != 0 {
        // The answer to the SYN once more: this host's ACK was lost, or has not left yet.
        let not_yet = expected == 0 && found.state & state::OPENING != 0;
        return if not_yet || sequence.wrapping_add(1) == expected {
            0
        } else {
            NOT_OF_IT
        };
    }
    if sequence.wrapping_sub(expected) > window {
        return NOT_OF_IT;
    }
    if flags & flag::RST != 0 {
        state::RESET
    } else {
        state::FIN_IN
    }
}

/// An ICMP error that quotes an IPv4 packet of a flow (RFC 792: its header, and 8 bytes).
#[inline(always)]
fn error_v4<M: Machine, F: Frame>(machine: &M, frame: &F, packet: &Packet) -> bool {
    let quote = packet.l4 + ICMP_HEADER;
    let Some(inner) = frame.header::<20>(quote) else {
        return false;
    };
    let version_ihl = inner.u8::<0>();
    let header_len = (version_ihl & 15) * 4;
    if version_ihl >> 4 != 4
        || header_len < 20
        || inner.be16::<6>() & OFFSET_MASK != 0
        || quote + header_len + 8 > packet.end
        || u64::from(inner.be32::<12>()) != packet.key.dst_lo
    {
        return false;
    }
    let remote = [0, u64::from(inner.be32::<16>())];
    let protocol = inner.u8::<9>();
    quoted(machine, frame, packet, quote + header_len, remote, protocol)
}

/// As [`error_v4`], for IPv6 (RFC 4443). A quoted packet with extension headers is of no flow.
#[inline(always)]
fn error_v6<M: Machine, F: Frame>(machine: &M, frame: &F, packet: &Packet) -> bool {
    let quote = packet.l4 + ICMP_HEADER;
    let Some(inner) = frame.header::<40>(quote) else {
        return false;
    };
    if inner.u8::<0>() >> 4 != 6
        || quote + 48 > packet.end
        || inner.be64::<8, 12>() != packet.key.dst_hi
        || inner.be64::<16, 20>() != packet.key.dst_lo
    {
        return false;
    }
    let remote = [inner.be64::<24, 28>(), inner.be64::<32, 36>()];
    let protocol = inner.u8::<6>();
    quoted(machine, frame, packet, quote + 40, remote, protocol)
}

/// Whether the packet that is quoted, with its transport header at `at`, is one that this host has
/// sent.
#[inline(always)]
fn quoted<M: Machine, F: Frame>(
    machine: &M,
    frame: &F,
    packet: &Packet,
    offset: u32,
    remote: [u64; 2],
    protocol: u32,
) -> bool {
    let key: &PacketKey = &packet.key;
    let is_v6 = key.family() == Family::V6;
    let Some(inner) = frame.header::<8>(offset) else {
        return false;
    };
    let request = if is_v6 {
        echo::REQUEST_V6
    } else {
        echo::REQUEST
    };
    let (local_port, remote_port) = match protocol {
        proto::TCP | proto::UDP => (inner.be16::<0>(), inner.be16::<2>()),
        proto::ICMP | proto::ICMPV6 if inner.be16::<0>() == request << 8 => (inner.be16::<4>(), 0),
        _ => return false,
    };
    let tuple = Tuple {
        remote,
        local: [key.dst_hi, key.dst_lo],
        identity: Tuple::identity_of(local_port, remote_port, protocol, is_v6),
    };
    let Some(found) = find(machine, &tuple, machine.ticks()) else {
        return false;
    };
    if protocol != proto::TCP {
        return true;
    }
    let next = found.read(machine, at::NEXT) as u32;
    next.wrapping_sub(inner.be32::<4>()) <= SENT_MAX
}
