//! What an ICMP error quotes: whether this host, or one that it forwards for, has sent that. And what a
//! DHCP answer answers.
//!
//! May not ask what the policy says of it.

use super::table::find;
use super::{Tuple, at, echo, request, socket, state, tcp};
use crate::abi::essential_bit;
use crate::calls::{Calls, FrameCalls};
use crate::field::Field;
use crate::frame::{Frame, Header as _};
use crate::key::Family;
use crate::parse::{Packet, proto};

/// It is about what nobody has sent, or cannot be read.
pub const NOTHING: u64 = 0;
/// About a packet of a flow or of a connection, of a TCP flow one that was sent lately.
pub const PROVEN: u64 = 1;
/// One from the port of a socket that talks to anybody.
pub const LISTENED: u64 = 2;
/// One of a protocol that has neither flows nor ports, or a later fragment: nobody can tell.
pub const UNKNOWN: u64 = 3;
/// A TCP segment of no flow and no socket.
pub const TCP: u64 = 4;
/// A UDP datagram of no flow and no socket.
pub const UDP: u64 = 5;

/// How far behind the last byte sent a TCP packet may begin that an ICMP error quotes: as much as
/// Linux keeps unacknowledged (net.ipv4.tcp_wmem), or as is known to be on the way
/// ([`super::state::REACH`]).
const SENT_MAX: u64 = 4 << 20;

/// Bytes of an ICMP header, in front of what it quotes.
const ICMP_HEADER: u32 = 8;

/// Fragment offset of a quoted IPv4 header, and of an IPv6 fragment header.
const OFFSET_V4: u32 = 0x1fff;
const OFFSET_V6: u32 = 0xfff8;

/// An IPv6 fragment header.
const FRAGMENT: u32 = 44;

/// The packet that is quoted.
struct Quoted {
    /// Byte offset of its transport header.
    l4: u32,
    protocol: u32,
    is_later: bool,
    remote: [u64; 2],
}

/// What a DHCP answer or the ICMP error `packet` is about: one of the numbers above, of which an answer
/// has [`PROVEN`] and [`NOTHING`] alone.
#[inline(always)]
pub fn quote<M: Calls, F: FrameCalls>(machine: &M, frame: &F, packet: &Packet) -> u64 {
    let key = &packet.key;
    let is_v6 = key.family() == Family::V6;
    let mut tuple = request::tuple(frame.interface_index(), is_v6);
    let mut protocol = NONE;
    let mut sequence = 0;
    if key.field(Field::Proto) != proto::UDP {
        let tracks = machine.constant(|c| &c.flows) != 0;
        if !tracks && machine.constant(|c| &c.asked) & essential_bit::ICMP_ERROR == 0 {
            return NOTHING;
        }
        let quoted = if is_v6 {
            v6(frame, packet)
        } else {
            v4(frame, packet)
        };
        let Some(quoted) = quoted else {
            return NOTHING;
        };
        protocol = quoted.protocol;
        let is_icmp = is_icmp(protocol);
        if !is_icmp && (quoted.is_later || !matches!(protocol, proto::TCP | proto::UDP)) {
            return UNKNOWN;
        }
        let Some(inner) = frame.header::<8>(quoted.l4) else {
            return NOTHING;
        };
        let request = if is_v6 {
            echo::REQUEST_V6
        } else {
            echo::REQUEST
        };
        if is_icmp && (quoted.is_later || inner.be16::<0>() != request << 8) {
            return NOTHING;
        }
        let (local, remote) = if is_icmp {
            (inner.be16::<4>(), 0)
        } else {
            (inner.be16::<0>(), inner.be16::<2>())
        };
        // Nothing is sent to port 0: in the table that is the name of what is expected.
        if protocol == proto::UDP && remote == 0 {
            return NOTHING;
        }
        sequence = inner.be32::<4>();
        tuple = Tuple {
            remote: quoted.remote,
            local: [key.dst_hi, key.dst_lo],
            identity: Tuple::identity_of(local, remote, protocol, is_v6),
        };
    }
    match find(machine, &tuple, machine.ticks()) {
        Some(found) if protocol != proto::TCP || found.state & state::KNOWS_OUT == 0 => PROVEN,
        Some(found) => {
            let end = (found.read(machine, at::OUT) >> 32) as u32;
            let sent = u64::from(end.wrapping_sub(sequence));
            u64::from(sent <= SENT_MAX || sent <= tcp::reach(found.state))
        }
        None if protocol == NONE || is_icmp(protocol) => NOTHING,
        None => by_socket(frame.socket(machine, &tuple), protocol),
    }
}

/// In the place of a protocol, of a DHCP answer.
const NONE: u32 = 0x100;

#[inline(always)]
const fn is_icmp(protocol: u32) -> bool {
    matches!(protocol, proto::ICMP | proto::ICMPV6)
}

/// What the socket of a TCP or UDP packet without a flow says.
#[inline(always)]
const fn by_socket(socket: u64, protocol: u32) -> u64 {
    if socket == socket::LISTENS {
        LISTENED
    } else if socket::is_connection(socket) {
        PROVEN
    } else if protocol == proto::TCP {
        TCP
    } else {
        UDP
    }
}

/// An IPv4 packet (RFC 792: its header, and 8 bytes).
#[inline(always)]
fn v4<F: Frame>(frame: &F, packet: &Packet) -> Option<Quoted> {
    let quote = packet.l4 + ICMP_HEADER;
    let inner = frame.header::<20>(quote)?;
    let version_ihl = inner.u8::<0>();
    let header_len = (version_ihl & 15) * 4;
    if version_ihl >> 4 != 4
        || header_len < 20
        || quote + header_len + 8 > packet.end
        || u64::from(inner.be32::<12>()) != packet.key.dst_lo
    {
        return None;
    }
    Some(Quoted {
        l4: quote + header_len,
        protocol: inner.u8::<9>(),
        is_later: inner.be16::<6>() & OFFSET_V4 != 0,
        remote: [0, u64::from(inner.be32::<16>())],
    })
}

/// As [`v4`], for IPv6 (RFC 4443): with a fragment header or none. Behind others nobody looks.
#[inline(always)]
fn v6<F: Frame>(frame: &F, packet: &Packet) -> Option<Quoted> {
    let quote = packet.l4 + ICMP_HEADER;
    let inner = frame.header::<48>(quote)?;
    if inner.u8::<0>() >> 4 != 6
        || quote + 48 > packet.end
        || inner.be64::<8, 12>() != packet.key.dst_hi
        || inner.be64::<16, 20>() != packet.key.dst_lo
    {
        return None;
    }
    let mut quoted = Quoted {
        l4: quote + 40,
        protocol: inner.u8::<6>(),
        is_later: false,
        remote: [inner.be64::<24, 28>(), inner.be64::<32, 36>()],
    };
    if quoted.protocol == FRAGMENT {
        quoted.l4 += 8;
        quoted.protocol = inner.u8::<40>();
        // What is cut off behind the fragment header is as good as a later fragment.
        quoted.is_later = inner.be16::<42>() & OFFSET_V6 != 0 || quoted.l4 + 8 > packet.end;
    }
    Some(quoted)
}
