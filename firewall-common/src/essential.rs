//! Essential traffic: what a default-drop host must let in to stay on the network at all. Each
//! group can be switched off by name in `default.essential`.
//!
//! Only exact forms pass here; everything else goes to the rules. Of what strangers can send, too, the
//! form is not enough where what leaves is taken note of: see [`crate::asked`]. Neighbour discovery that
//! breaks RFC 4861 or RFC 6980 is an anomaly under every policy, and so is all that a host without an
//! address (`::`) has no reason to send.

use crate::abi::essential_bit;
use crate::field::Field;
use crate::frame::{Frame, Header as _};
use crate::key::{Family, PacketKey};
use crate::machine::Machine;
use crate::parse::{Packet, ethertype, fragment, proto};
use crate::reason::Reason;

/// Bytes of an ARP packet for IPv4 over Ethernet (RFC 826).
const ARP_LEN: u32 = 28;
const ICMP_UNREACHABLE: u32 = 3;
const ICMP_TIME_EXCEEDED: u32 = 11;
const ICMP_PARAMETER_PROBLEM: u32 = 12;
const ICMP_ECHO: u32 = 8;
const ICMPV6_ECHO: u32 = 128;
const IGMP_QUERY: u32 = 0x11;
const IGMP2_REPORT: u32 = 0x16;
const IGMP2_LEAVE: u32 = 0x17;
const IGMP3_REPORT: u32 = 0x22;
/// The first four bytes of the group addresses that no bridge forwards, and how many there are.
const LINK_GROUP: u32 = 0x0180_c200;
const LINK_GROUPS: u32 = 0x10;
/// Both service access points of spanning tree, and the control byte (IEEE 802.2).
const SPANNING_TREE: u32 = 0x4242;
const UNNUMBERED: u32 = 0x03;
/// A router alert in an IPv6 option, with its length, and the value that says "multicast listener
/// discovery" (RFC 2711).
const ROUTER_ALERT_V6: u32 = 0x0502_0000;
/// Options that fill up: one byte twice, and two bytes.
const PADDING: [u32; 2] = [0x0000, 0x0100];
const HOP_BY_HOP: u32 = 0;
const ROUTING: u32 = 43;
const IPV6_FRAGMENT: u32 = 44;
const AUTHENTICATION: u32 = 51;
const DESTINATION_OPTIONS: u32 = 60;
/// ICMPv6 errors are the types 1 (unreachable) to 4 (parameter problem).
const ICMPV6_LAST_ERROR: u32 = 4;
const MLD_QUERY: u32 = 130;
const MLD_REPORT: u32 = 131;
const MLD_DONE: u32 = 132;
const MLD2_REPORT: u32 = 143;
const ROUTER_SOLICITATION: u32 = 133;
const ROUTER_ADVERTISEMENT: u32 = 134;
const NEIGHBOUR_SOLICITATION: u32 = 135;
const REDIRECT: u32 = 137;

/// Bytes that an ICMP error quotes at least: ICMP header, inner IP header, 8 bytes of transport.
const ICMP_HEADER: u32 = 8;

#[inline(always)]
fn is_on<M: Machine>(machine: &M, bit: u32) -> bool {
    machine.constant(|config| &config.essential) & bit != 0
}

/// Whether a frame that is not IP is a whole ARP packet for IPv4 over Ethernet, where that is essential.
#[inline(always)]
pub fn check_arp<M: Machine, F: Frame>(
    machine: &M,
    frame: &F,
    ether: u32,
    offset: u32,
) -> Result<bool, Reason> {
    if ether != ethertype::ARP || !is_on(machine, essential_bit::ARP) {
        return Ok(false);
    }
    let header = frame
        .header::<{ ARP_LEN as usize }>(offset)
        .ok_or(Reason::TRUNCATED)?;
    // Hardware Ethernet (1), protocol IPv4, address lengths 6 and 4.
    Ok(header.be32::<0>() == 0x0001_0800 && header.be16::<4>() == 0x0604)
}

/// Whether a frame without VLAN is one of those without which a port is closed, a bond falls apart or a
/// neighbour is not seen: EAPOL (IEEE 802.1X-2020, 11), Slow Protocols (IEEE 802.3, annex 57A), LLDP
/// (IEEE 802.1AB, 7.1) and spanning tree (IEEE 802.1D-2004, 7.12.3). Sent to a group address that no bridge
/// forwards (IEEE 802.1Q, 8.6.3), so from the other end of the cable; EAPOL to this station, too.
#[inline(always)]
pub fn is_of_link<M: Machine, F: Frame>(machine: &M, frame: &F, ether: u32, offset: u32) -> bool {
    if !is_on(machine, essential_bit::LINK) {
        return false;
    }
    let Some(to) = frame.header::<6>(0) else {
        return false;
    };
    let is_to_link = to.be32::<0>() == LINK_GROUP && to.be16::<4>() < LINK_GROUPS;
    let Some(header) = frame.header::<4>(offset) else {
        return false;
    };
    match ether {
        ethertype::EAPOL => {
            // Version, type, length of what follows.
            let is_whole = offset + 4 + header.be16::<2>() <= frame.len();
            let is_to_one = to.u8::<0>() & 1 == 0;
            is_whole && (is_to_link || is_to_one)
        }
        ethertype::SLOW => is_to_link && matches!(header.u8::<0>(), 1..=10),
        // The first part is the name of the sender.
        ethertype::LLDP => is_to_link && header.be16::<0>() >> 9 == 1,
        length if length < ethertype::FIRST => {
            is_to_link && header.be16::<0>() == SPANNING_TREE && header.u8::<2>() == UNNUMBERED
        }
        _ => false,
    }
}

/// Whether an IP packet is essential, and which group it belongs to; or why it may not pass at
/// all.
#[inline(always)]
pub fn check_ip<M: Machine, F: Frame>(
    machine: &M,
    frame: &F,
    packet: &Packet,
) -> Result<Option<Reason>, Reason> {
    let key = &packet.key;
    let protocol = key.field(Field::Proto);
    match key.family() {
        Family::V4 => match protocol {
            proto::UDP if is_on(machine, essential_bit::DHCP) => Ok(dhcp_v4(key)),
            proto::ICMP if is_on(machine, essential_bit::ICMP_ERROR) => {
                Ok(icmp_error(frame, packet))
            }
            proto::IGMP if is_on(machine, essential_bit::IGMP) => Ok(igmp(frame, packet)),
            _ => Ok(None),
        },
        Family::V6 if is_from_nowhere(key) => Err(Reason::BOGON),
        Family::V6 => match protocol {
            proto::UDP if is_on(machine, essential_bit::DHCP) => Ok(dhcp_v6(key)),
            proto::ICMPV6 => icmpv6(machine, frame, packet),
            _ => Ok(None),
        },
    }
}

/// Whether a host without an address sends what it may not: it asks whether an address is taken
/// (RFC 4862) and for routers (RFC 4861), and reports the groups that it needs for that (RFC 3590).
#[inline(always)]
const fn is_from_nowhere(key: &PacketKey) -> bool {
    key.src_hi == 0
        && key.src_lo == 0
        && !matches!(
            // Past every type for what is not ICMPv6.
            key.field(Field::Icmp) >> 8,
            ROUTER_SOLICITATION | NEIGHBOUR_SOLICITATION | MLD_REPORT | MLD_DONE | MLD2_REPORT
        )
}

/// An answer of a DHCP server (RFC 2131) to its client.
#[inline(always)]
fn dhcp_v4(key: &PacketKey) -> Option<Reason> {
    let ports = (
        key.field(Field::SourcePort),
        key.field(Field::DestinationPort),
    );
    (ports == (67, 68)).then_some(Reason::DHCP)
}

/// An answer of a DHCPv6 server or relay (RFC 8415): to a link-local address, where no other network
/// reaches. It may come from any address and any port.
#[inline(always)]
fn dhcp_v6(key: &PacketKey) -> Option<Reason> {
    (key.field(Field::DestinationPort) == 546 && is_link_local(key.dst_hi)).then_some(Reason::DHCP)
}

/// A router of this link asks which groups there are, or a host says so (RFC 2236, RFC 3376).
#[inline(always)]
fn igmp<F: Frame>(frame: &F, packet: &Packet) -> Option<Reason> {
    let key = &packet.key;
    if key.field(Field::Ttl) != 1
        || !packet.has_router_alert()
        || key.dst_lo >> 28 != 0xe
        || key.field(Field::Fragment) != fragment::WHOLE
        || packet.l4 + 8 > packet.end
    {
        return None;
    }
    let kind = frame.header::<8>(packet.l4)?.u8::<0>();
    matches!(kind, IGMP_QUERY | IGMP2_REPORT | IGMP2_LEAVE | IGMP3_REPORT).then_some(Reason::IGMP)
}

/// An ICMP error that quotes a packet from the address that the error is sent to. Of ICMP nothing but
/// echo requests: of an answer the kernel would believe it without a socket that has sent it.
#[inline(always)]
fn icmp_error<F: Frame>(frame: &F, packet: &Packet) -> Option<Reason> {
    let kind = packet.key.field(Field::Icmp) >> 8;
    if !matches!(
        kind,
        ICMP_UNREACHABLE | ICMP_TIME_EXCEEDED | ICMP_PARAMETER_PROBLEM
    ) || packet.key.field(Field::Fragment) != fragment::WHOLE
        || packet.l4 + ICMP_HEADER + 28 > packet.end
    {
        return None;
    }
    let inner = frame.header::<20>(packet.l4 + ICMP_HEADER)?;
    let inner_len = (inner.u8::<0>() & 15) * 4;
    let inner_l4 = packet.l4 + ICMP_HEADER + inner_len;
    if inner.u8::<0>() >> 4 != 4
        || inner_len < 20
        || inner_l4 + 8 > packet.end
        || u64::from(inner.be32::<12>()) != packet.key.dst_lo
        || (inner.u8::<9>() == proto::ICMP && frame.header::<1>(inner_l4)?.u8::<0>() != ICMP_ECHO)
    {
        return None;
    }
    Some(Reason::ICMP_ERROR)
}

/// Whether the transport header lies behind this one, and further than is quoted for sure.
#[inline(always)]
const fn is_extension(next: u32) -> bool {
    matches!(
        next,
        HOP_BY_HOP | ROUTING | IPV6_FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS
    )
}

/// As [`icmp_error`]. What it quotes begins with the transport header, or with a fragment header and
/// no ICMPv6: behind others nobody looks here for what it is.
#[inline(always)]
fn icmpv6_error<F: Frame>(frame: &F, packet: &Packet) -> Option<Reason> {
    let key = &packet.key;
    let quote = packet.l4 + ICMP_HEADER;
    if key.field(Field::Fragment) != fragment::WHOLE || quote + 48 > packet.end {
        return None;
    }
    let inner = frame.header::<48>(quote)?;
    let may_be = match inner.u8::<6>() {
        proto::ICMPV6 => inner.u8::<40>() == ICMPV6_ECHO,
        IPV6_FRAGMENT => inner.u8::<40>() != proto::ICMPV6 && !is_extension(inner.u8::<40>()),
        next => !is_extension(next),
    };
    (inner.u8::<0>() >> 4 == 6
        && inner.be64::<8, 12>() == key.dst_hi
        && inner.be64::<16, 20>() == key.dst_lo
        && may_be)
        .then_some(Reason::ICMP_ERROR)
}

/// Whether the packet begins with a hop-by-hop header of eight bytes that holds a router alert for
/// multicast listener discovery, and nothing else.
#[inline(always)]
fn has_router_alert<F: Frame>(frame: &F, packet: &Packet) -> bool {
    let start = packet.end.wrapping_sub(packet.key.field(Field::Length));
    let Some(header) = frame.header::<48>(start) else {
        return false;
    };
    header.u8::<6>() == HOP_BY_HOP
        && header.be16::<40>() == proto::ICMPV6 << 8
        && (header.be32::<42>() == ROUTER_ALERT_V6 && PADDING.contains(&header.be16::<46>())
            || header.be32::<44>() == ROUTER_ALERT_V6 && PADDING.contains(&header.be16::<42>()))
}

/// Whether the source is a link-local address, or that of a host which has none so far.
#[inline(always)]
const fn is_from_this_link(key: &PacketKey) -> bool {
    is_link_local(key.src_hi) || (key.src_hi == 0 && key.src_lo == 0)
}

/// Whether an IPv6 address with this upper half is a link-local one (RFC 4291).
#[inline(always)]
const fn is_link_local(hi: u64) -> bool {
    hi >> 54 == 0xfe80 >> 6
}

#[inline(always)]
fn icmpv6<M: Machine, F: Frame>(
    machine: &M,
    frame: &F,
    packet: &Packet,
) -> Result<Option<Reason>, Reason> {
    let key = &packet.key;
    // A later fragment has no type; its value is past every type below.
    let kind = key.field(Field::Icmp) >> 8;
    let hop_limit = key.field(Field::Ttl);
    let body = packet.end - packet.l4;
    if matches!(kind, ROUTER_SOLICITATION..=REDIRECT) {
        if hop_limit != 255 || packet.fragment_header != 0 {
            return Err(Reason::ND_SPOOF);
        }
        let shortest = match kind {
            ROUTER_SOLICITATION => 8,
            ROUTER_ADVERTISEMENT => 16,
            REDIRECT => 40,
            _ => 24,
        };
        if body < shortest {
            return Err(Reason::TRUNCATED);
        }
        // A redirect changes routes: it is left to the rules.
        if kind != REDIRECT && is_on(machine, essential_bit::NEIGHBOUR) {
            return Ok(Some(Reason::NEIGHBOUR));
        }
        return Ok(None);
    }
    if matches!(kind, MLD_QUERY..=MLD_DONE | MLD2_REPORT) {
        // RFC 2710 section 3, RFC 3810 section 5: so it comes from this link, and no other way.
        let ours = hop_limit == 1
            && (body >= 24 || kind == MLD2_REPORT)
            && is_from_this_link(key)
            && has_router_alert(frame, packet);
        return Ok((ours && is_on(machine, essential_bit::MULTICAST)).then_some(Reason::MULTICAST));
    }
    if (1..=ICMPV6_LAST_ERROR).contains(&kind) && is_on(machine, essential_bit::ICMP_ERROR) {
        return Ok(icmpv6_error(frame, packet));
    }
    Ok(None)
}
