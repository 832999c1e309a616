//! IPv6 with extension headers and fragments (RFC 8200, RFC 5095, RFC 5722, RFC 6946, RFC 7112).

use super::{Packet, fragment, fragment_allowed, ipv4, knob, new_packet, proto};
use crate::field::Field;
use crate::frame::{Frame, Header as _};
use crate::key::Family;
use crate::machine::Machine;
use crate::reason::Reason;

/// Bytes of the fixed header.
const HEADER: u32 = 40;
const HOP_BY_HOP: u32 = 0;
const ROUTING: u32 = 43;
const FRAGMENT: u32 = 44;
const AUTHENTICATION: u32 = 51;
const DESTINATION_OPTIONS: u32 = 60;

/// The most extension headers that a policy can allow; the loop below is bounded by it.
const MAX_HEADERS: u32 = 16;

/// Parses the header at byte offset `l3` and all extension headers. Leaves the transport fields to
/// `transport`.
#[inline(always)]
pub(super) fn parse<M: Machine, F: Frame>(
    machine: &M,
    frame: &F,
    l3: u32,
) -> Result<Packet, Reason> {
    let header = frame.header::<40>(l3).ok_or(Reason::TRUNCATED)?;
    if header.u8::<0>() >> 4 != 6 {
        return Err(Reason::BAD_VERSION);
    }
    let payload_len = header.be16::<4>();
    let next = header.u8::<6>();
    // Length 0 announces a jumbogram (RFC 2675), which no Ethernet carries.
    if payload_len == 0 && next != proto::NO_NEXT {
        return Err(Reason::JUMBOGRAM);
    }
    let end = l3 + HEADER + payload_len;
    if end > frame.len() {
        return Err(Reason::TRUNCATED);
    }

    let mut packet = new_packet(Family::V6);
    packet.key.src_hi = header.be64::<8, 12>();
    packet.key.src_lo = header.be64::<16, 20>();
    packet.key.dst_hi = header.be64::<24, 28>();
    packet.key.dst_lo = header.be64::<32, 36>();
    packet.l4 = l3 + HEADER;
    packet.end = end;
    let fields = &mut packet.key.fields;
    fields[Field::Proto as usize] = next;
    fields[Field::Ttl as usize] = header.u8::<7>();
    fields[Field::Dscp as usize] = (header.be16::<0>() >> 6) & 63;
    let length = HEADER + payload_len;
    fields[Field::Length as usize] = if length > 65_535 { 65_535 } else { length };
    fields[Field::Fragment as usize] = fragment::WHOLE;

    if is_bogon(&packet) {
        return Err(Reason::BOGON);
    }
    if is_extension(next) {
        extensions(machine, frame, &mut packet)?;
    }
    Ok(packet)
}

#[inline(always)]
const fn is_extension(next: u32) -> bool {
    matches!(
        next,
        HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS
    )
}

/// RFC 4291: `::1` never leaves a host, multicast is never a source, IPv4-mapped addresses never
/// stand in a packet. Source equal to destination is the LAND attack. `::` may be a source: hosts
/// that check an address for duplicates use it.
#[inline(always)]
const fn is_bogon(packet: &Packet) -> bool {
    let key = &packet.key;
    key.src_hi >> 56 == 0xff
        || (key.src_hi == key.dst_hi && key.src_lo == key.dst_lo)
        || (key.src_hi == 0 && (key.src_lo == 1 || key.src_lo >> 32 == 0xffff))
        || (key.dst_hi == 0 && (key.dst_lo == 1 || key.dst_lo >> 32 == 0xffff))
}

/// Follows the chain to the transport header, or to the payload of a later fragment.
#[inline(always)]
fn extensions<M: Machine, F: Frame>(
    machine: &M,
    frame: &F,
    packet: &mut Packet,
) -> Result<(), Reason> {
    let max = knob(machine, |k| &k.ipv6_ext_max);
    let mut next = packet.key.field(Field::Proto);
    let mut at = packet.l4;
    for seen in 0..MAX_HEADERS + 1 {
        if !is_extension(next) {
            packet.key.fields[Field::Proto as usize] = next;
            packet.l4 = at;
            return Ok(());
        }
        if seen >= max {
            return Err(Reason::EXT_CHAIN);
        }
        // RFC 7112: the first fragment holds the whole chain.
        let cut = if packet.fragment_header != 0 {
            Reason::FRAG_TINY
        } else {
            Reason::TRUNCATED
        };
        let header = frame.header::<8>(at).ok_or(cut)?;
        if at + 8 > packet.end {
            return Err(cut);
        }
        let (current, units) = (next, header.u8::<1>());
        next = header.u8::<0>();
        let len = match current {
            FRAGMENT => 8,
            AUTHENTICATION => (units + 2) * 4,
            _ => (units + 1) * 8,
        };
        if current == HOP_BY_HOP && seen != 0 {
            return Err(Reason::EXT_ORDER);
        }
        if current == ROUTING && header.u8::<2>() == 0 {
            return Err(Reason::SOURCE_ROUTE);
        }
        at += len;
        if at > packet.end {
            return Err(cut);
        }
        if current == FRAGMENT {
            if packet.fragment_header != 0 {
                return Err(Reason::EXT_ORDER);
            }
            packet.fragment_header = 1;
            let offset_flags = header.be16::<2>();
            let (offset, more) = (offset_flags & 0xfff8, offset_flags & 1 != 0);
            if offset != 0 || more {
                ipv4::check(next, offset, more, packet.end - at)?;
                if offset != 0 {
                    packet.key.fields[Field::Fragment as usize] = fragment::LATER;
                    packet.key.fields[Field::Proto as usize] = next;
                    packet.l4 = at;
                    return fragment_allowed(machine);
                }
                packet.key.fields[Field::Fragment as usize] = fragment::FIRST;
            }
        }
    }
    Err(Reason::EXT_CHAIN)
}
