//! Packets inside packets: IP in IP (RFC 2003, RFC 4213, RFC 2473), GRE (RFC 2784, RFC 2890) and
//! VXLAN (RFC 7348), for policies with `tunnels: inner`. IPv6 in IPv6 behind a routing header, which
//! Linux unpacks where `seg6_enabled` or `rpl_seg_enabled` is set, is IP in IP like any other.
//!
//! One level: a tunnel inside a tunnel is a packet like any other. An inner packet has to lie inside
//! the outer one, as a transport header has to.

use super::{
    Packet, Parsed, anomaly, ethernet, ethertype, fragment, ipv4, ipv6, proto,
    rules_judge_malformed, stopped, transport_layer,
};
use crate::field::Field;
use crate::frame::{Frame, Header as _};
use crate::key::PacketKey;
use crate::machine::Machine;
use crate::reason::Reason;

/// UDP port of VXLAN.
const VXLAN_PORT: u32 = 4789;
/// Bytes of the UDP header and the VXLAN header behind it.
const VXLAN: u32 = 16;
/// VXLAN: the network identifier is valid. RFC 7348 has the receiver ignore what lacks it.
const VXLAN_VALID: u32 = 0x08;
/// GRE: optional fields of four bytes each.
const GRE_CHECKSUM: u32 = 0x8000;
/// As [`GRE_CHECKSUM`].
const GRE_KEY: u32 = 0x2000;
/// As [`GRE_CHECKSUM`].
const GRE_SEQUENCE: u32 = 0x1000;
/// GRE: source routes of RFC 1701, which RFC 2784 abolished.
const GRE_ROUTING: u32 = 0x4000;
/// GRE: the packet that a router hands to a cache (draft-wilson-wrec-wccp-v2). Linux takes it for IP.
const GRE_WCCP: u32 = 0x883e;
/// GRE: version. 0, or 1 in PPTP.
const GRE_VERSION: u32 = 7;

/// Where the content of a tunnel begins, and what it is.
#[derive(Clone, Copy)]
struct Content {
    /// EtherType of the content; 0 if it is neither IP nor Ethernet.
    ethertype: u32,
    /// Byte offset of its first header in the frame.
    start: u32,
    /// Byte offset at which it ends, at the latest.
    limit: u32,
    /// Code of the reason against the packet; 0 for none (which no packet is refused for).
    ///
    /// In place of a `Result`: the numbers beside an error would be unwritten registers, which the
    /// compiler may move about and the verifier does not let it.
    refused: u8,
}

/// Whether a packet is one of the tunnels that [`parse_inner`] looks into.
#[inline(always)]
#[must_use]
pub const fn is_tunnel(key: &PacketKey) -> bool {
    match key.field(Field::Proto) {
        proto::IPIP | proto::IPV6 | proto::GRE => true,
        proto::UDP => key.field(Field::DestinationPort) == VXLAN_PORT,
        _ => false,
    }
}

/// Parses the content of the tunnel `packet` and puts it in the packet's place. Zone and VLAN stay;
/// a content that begins with an Ethernet header has the VLAN that is written there.
#[inline(always)]
pub fn parse_inner<M: Machine, F: Frame>(machine: &M, frame: &F, packet: &mut Packet) -> Parsed {
    match parse_content(machine, frame, packet) {
        Ok(None) => Parsed::Ip,
        Ok(Some((ethertype, offset))) => Parsed::Other { ethertype, offset },
        Err(reason) => stopped(machine, packet, reason),
    }
}

#[inline(always)]
fn parse_content<M: Machine, F: Frame>(
    machine: &M,
    frame: &F,
    packet: &mut Packet,
) -> Result<Option<(u32, u32)>, Reason> {
    let content = content(machine, frame, packet);
    if content.refused != NOT_REFUSED {
        if rules_judge_malformed(machine) {
            // Nothing of the content is known, and the tunnel has had its verdict.
            packet.end = 0;
        }
        return Err(Reason(content.refused));
    }
    let Content {
        mut ethertype,
        mut start,
        limit,
        ..
    } = content;
    let zone = packet.key.field(Field::Zone);
    let mac = packet.key.field(Field::Mac);
    let mut vlan = packet.key.field(Field::Vlan);
    // In the same place, because the kernel's stack has no room for two.
    *packet = Packet::EMPTY;
    if ethertype == ethertype::ETHERNET {
        let ethernet = ethernet::parse_inner(machine, frame, start, limit)?;
        vlan = ethernet.vlan;
        (ethertype, start) = (ethernet.ethertype, ethernet.payload);
    }
    packet.key.fields[Field::Zone as usize] = zone;
    packet.key.fields[Field::Vlan as usize] = vlan;
    if machine.constant(|config| &config.macs) != 0 {
        packet.key.fields[Field::Mac as usize] = mac;
    }
    match ethertype {
        ethertype::IPV4 if start + 20 > limit => return Err(Reason::TRUNCATED),
        ethertype::IPV4 => ipv4::parse(machine, frame, start, limit, packet)?,
        ethertype::IPV6 if start + 40 > limit => return Err(Reason::TRUNCATED),
        ethertype::IPV6 => ipv6::parse(machine, frame, start, limit, packet)?,
        other => return Ok(Some((other, start))),
    }
    transport_layer(machine, frame, packet)?;
    // Only neighbour discovery comes from `::`, and never through a tunnel.
    if packet.key.is_v6 != 0 && packet.key.src_hi == 0 && packet.key.src_lo == 0 {
        anomaly(machine, packet, Reason::BOGON)?;
    }
    Ok(None)
}

/// [`Content::refused`] of a packet that is in order.
const NOT_REFUSED: u8 = Reason::RULE.0;

/// Where the content of a tunnel is. A fragment has none: what it carries is not whole.
#[inline(always)]
fn content<M: Machine, F: Frame>(machine: &M, frame: &F, packet: &Packet) -> Content {
    let key = &packet.key;
    let mut content = Content {
        ethertype: ethertype::IPV4,
        start: packet.l4,
        limit: packet.end,
        refused: NOT_REFUSED,
    };
    if key.field(Field::Fragment) != fragment::WHOLE {
        content.refused = Reason::FRAGMENT.0;
        return content;
    }
    match key.field(Field::Proto) {
        proto::IPIP => {}
        proto::IPV6 => content.ethertype = ethertype::IPV6,
        proto::GRE => gre(frame, key.is_v6 != 0, &mut content),
        _ => {
            // A length that is wrong says nothing: the packet's does.
            let is_believed = !rules_judge_malformed(machine) || packet.is_sound();
            vxlan(frame, &mut content, is_believed);
        }
    }
    content
}

/// A GRE header at `content.start`, behind an IPv6 header if `v6`.
#[inline(always)]
fn gre<F: Frame>(frame: &F, v6: bool, content: &mut Content) {
    let Some(header) = within::<F, 4>(frame, content) else {
        content.refused = Reason::TRUNCATED.0;
        return;
    };
    let flags = header.be16::<0>();
    if flags & GRE_ROUTING != 0 {
        content.refused = Reason::SOURCE_ROUTE.0;
    }
    let option = |bit: u32| if flags & bit != 0 { 4 } else { 0 };
    content.start += 4 + option(GRE_CHECKSUM) + option(GRE_KEY) + option(GRE_SEQUENCE);
    content.ethertype = if flags & GRE_VERSION == 0 {
        header.be16::<2>()
    } else {
        0
    };
    if content.ethertype == GRE_WCCP && flags == 0 {
        wccp(frame, v6, content);
    }
}

/// What a router hands on: IP of the same family, in the second version of WCCP behind four bytes for
/// the cache. Which version it is, Linux tells by the first half byte (gre_parse_header), and so must
/// whoever stands in front of it.
#[inline(always)]
fn wccp<F: Frame>(frame: &F, v6: bool, content: &mut Content) {
    let Some(first) = within::<F, 1>(frame, content) else {
        content.refused = Reason::TRUNCATED.0;
        return;
    };
    if first.u8::<0>() >> 4 != 4 {
        content.start += 4;
    }
    content.ethertype = if v6 { ethertype::IPV6 } else { ethertype::IPV4 };
}

/// A UDP header and a VXLAN header at `content.start`.
#[inline(always)]
fn vxlan<F: Frame>(frame: &F, content: &mut Content, is_length_believed: bool) {
    let Some(header) = within::<F, { VXLAN as usize }>(frame, content) else {
        content.refused = Reason::TRUNCATED.0;
        return;
    };
    // What follows the datagram is padding, though it lies inside the IP packet. The length has
    // been compared with the packet's.
    if is_length_believed {
        content.limit = content.start + header.be16::<4>();
    }
    content.start += VXLAN;
    if content.start > content.limit {
        content.refused = Reason::TRUNCATED.0;
    }
    content.ethertype = if header.u8::<8>() & VXLAN_VALID != 0 {
        ethertype::ETHERNET
    } else {
        0
    };
}

/// The first `N` bytes of the content, if it has as many.
#[inline(always)]
fn within<F: Frame, const N: usize>(frame: &F, content: &Content) -> Option<F::Header<N>> {
    if content.start + N as u32 > content.limit {
        return None;
    }
    frame.header::<N>(content.start)
}
