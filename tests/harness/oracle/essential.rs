//! What a default-drop host cannot do without, and forgeries of it: ARP (RFC 826), neighbour
//! discovery (RFC 4861, RFC 6980), multicast listeners (RFC 2710, RFC 3810), ICMP errors (RFC 792,
//! RFC 4443), DHCP (RFC 2131, RFC 8415).

use super::{Anomaly, Knobs, Packet, Part, be16};
use std::collections::HashSet;
use std::net::IpAddr;

/// An end of a conversation: address and port.
type End = (IpAddr, u16);

/// What a host has sent that somebody may answer, or have an error about.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// DHCP requests, of IPv4 and of IPv6.
    pub dhcp: [bool; 2],
    /// Pings by source, destination and identifier.
    pub pings: HashSet<(IpAddr, IpAddr, u16)>,
    /// TCP and UDP where that is remembered: protocol, and both ends.
    pub flows: HashSet<(u8, End, End)>,
}

impl Asked {
    /// Whether an error to `local` about `quoted`, sent to `remote`, is about something: a protocol's
    /// header, at least 8 bytes of it unless it is a `later` fragment.
    fn is_about(
        &self,
        (local, remote): (IpAddr, IpAddr),
        (proto, quoted, later): (u8, &[u8], bool),
        knobs: &Knobs,
    ) -> bool {
        match proto {
            // Of a later fragment, fewer bytes than a header can be there.
            1 | 58 if later => false,
            1 | 58 => {
                let request = if local.is_ipv6() { [128, 0] } else { [8, 0] };
                let identifier = be16(quoted, 4);
                quoted[..2] == request
                    && (proto == 58) == local.is_ipv6()
                    && self.pings.contains(&(local, remote, identifier))
            }
            // Nothing is sent to it.
            17 if !later && be16(quoted, 2) == 0 => false,
            6 | 17 if !later => {
                let flow = (proto, (local, be16(quoted, 0)), (remote, be16(quoted, 2)));
                // Who keeps no book cannot tell, nor who keeps it in part.
                !knobs.remembers || proto == 17 && knobs.serves || self.flows.contains(&flow)
            }
            _ => true,
        }
    }
}

/// The reason for which a frame that is not IP passes, if it is essential.
pub(super) fn other(
    frame: &[u8],
    ethertype: u16,
    payload: &[u8],
    knobs: &Knobs,
) -> Result<Option<&'static str>, Anomaly> {
    if knobs.link && keeps_the_link(frame, ethertype, payload, knobs) {
        return Ok(Some("link"));
    }
    if ethertype != 0x0806 || !knobs.arp {
        return Ok(None);
    }
    if payload.len() < 28 {
        return Err("truncated");
    }
    // Ethernet addresses of 6 bytes, IPv4 addresses of 4.
    let is_ours = be16(payload, 0) == 1 && be16(payload, 2) == 0x0800 && payload[4..6] == [6, 4];
    Ok(is_ours.then_some("arp"))
}

/// What the two ends of a cable say to each other, untagged or with a priority alone: port access
/// (IEEE 802.1X), link aggregation and other Slow Protocols (IEEE 802.3 annex 57A), LLDP (IEEE 802.1AB),
/// spanning tree (IEEE 802.1D). Each to one of the sixteen groups that bridges keep to themselves
/// (IEEE 802.1Q, table 8-1); port access to a single station as well.
fn keeps_the_link(frame: &[u8], ethertype: u16, payload: &[u8], knobs: &Knobs) -> bool {
    let is_in_a_vlan = !matches!(super::link::untag(frame, knobs), Ok((None, ..)));
    if is_in_a_vlan || payload.len() < 4 {
        return false;
    }
    let kept = matches!(frame[..6], [1, 0x80, 0xc2, 0, 0, 0..=15]);
    let to_a_station = frame[0].is_multiple_of(2);
    match ethertype {
        // Protocol version, packet type, body length (11.3).
        0x888e => (kept || to_a_station) && payload.len() >= 4 + usize::from(be16(payload, 2)),
        // Subtypes 1 to 10 (57A.4.3).
        0x8809 => kept && (1..=10).contains(&payload[0]),
        // A chassis identifier, type 1 of seven bits, comes first (8.5.2).
        0x88cc => kept && payload[0] / 2 == 1,
        // Both service access points 42h, an unnumbered information frame (IEEE 802.2).
        ..1536 => kept && payload[..3] == [0x42, 0x42, 3],
        _ => false,
    }
}

/// The reason for which a packet passes, if it is essential.
pub(super) fn packet(
    packet: &Packet,
    knobs: &Knobs,
    asked: &Asked,
) -> Result<Option<&'static str>, Anomaly> {
    match (packet.source, packet.destination) {
        (IpAddr::V4(_), _) => Ok(v4(packet, knobs, asked)),
        (IpAddr::V6(source), _) => {
            // RFC 4861, 4862, 3590: what a host sends before it has an address.
            let kind = packet.icmp.map(|(kind, _)| kind);
            if source.is_unspecified() && !matches!(kind, Some(131 | 132 | 133 | 135 | 143)) {
                return Err("bogon");
            }
            v6(packet, knobs, asked)
        }
    }
}

fn v4(packet: &Packet, knobs: &Knobs, asked: &Asked) -> Option<&'static str> {
    let is_dhcp = packet.proto == 17 && packet.ports == Some((67, 68));
    if is_dhcp && knobs.dhcp && asked.dhcp[0] {
        return Some("dhcp");
    }
    // IGMP (RFC 2236, RFC 3376): what is said on this link, of version 2 and 3. Of version 1 nothing has the
    // router alert (RFC 1112).
    if let (2, &[kind, ..], IpAddr::V4(to)) =
        (packet.proto, &packet.payload[..], packet.destination)
    {
        let is_exact = to.is_multicast()
            && packet.ttl == 1
            && packet.alert
            && packet.part == Part::Whole
            && packet.payload.len() >= 8
            && [0x11, 0x16, 0x17, 0x22].contains(&kind);
        return (is_exact && knobs.igmp).then_some("igmp");
    }
    let (kind, _) = packet.icmp?;
    if ![3, 11, 12].contains(&kind) || packet.part != Part::Whole || !knobs.icmp_error {
        return None;
    }
    // Behind the ICMP header stands the packet that the error is about: its header, and at least
    // 8 bytes more. We must have sent it.
    let quoted = &packet.payload[8..];
    let header_length = usize::from(quoted.first()? % 16) * 4;
    let is_whole = quoted[0] / 16 == 4 && header_length >= 20 && quoted.len() >= header_length + 8;
    // Nobody sends errors about answers.
    let is_ours = is_whole
        && IpAddr::from(<[u8; 4]>::try_from(&quoted[12..16]).ok()?) == packet.destination
        && (quoted[9] != 1 || quoted[header_length] == 8)
        && asked.is_about(
            (
                packet.destination,
                <[u8; 4]>::try_from(&quoted[16..20]).ok()?.into(),
            ),
            (
                quoted[9],
                &quoted[header_length..],
                be16(quoted, 6) & 0x1fff != 0,
            ),
            knobs,
        );
    is_ours.then_some("icmp-error")
}

fn v6(packet: &Packet, knobs: &Knobs, asked: &Asked) -> Result<Option<&'static str>, Anomaly> {
    let is_near = match packet.destination {
        IpAddr::V6(to) => to.is_unicast_link_local(),
        IpAddr::V4(_) => false,
    };
    let is_dhcp = packet.proto == 17 && matches!(packet.ports, Some((_, 546)));
    if is_dhcp && is_near && knobs.dhcp && asked.dhcp[1] {
        return Ok(Some("dhcp"));
    }
    let Some((kind, _)) = packet.icmp else {
        return Ok(None);
    };
    let message = packet.payload.as_slice();
    match kind {
        133..=137 => {
            // Any other hop limit means that it comes from another network.
            if packet.ttl != 255 || packet.has_fragment_header {
                return Err("nd-spoof");
            }
            let shortest = [8, 16, 24, 24, 40][usize::from(kind - 133)];
            if message.len() < shortest {
                return Err("truncated");
            }
            let is_essential = kind != 137 && knobs.neighbour;
            Ok(is_essential.then_some("neighbour"))
        }
        130..=132 | 143 => {
            let shortest = if kind == 143 { 8 } else { 24 };
            let IpAddr::V6(source) = packet.source else {
                return Ok(None);
            };
            let is_near = source.is_unicast_link_local() || source.is_unspecified();
            let is_sane = packet.ttl == 1 && message.len() >= shortest && is_near && packet.alert;
            Ok((is_sane && knobs.multicast).then_some("multicast-listener"))
        }
        1..=4 => {
            let is_whole = packet.part == Part::Whole && message.len() >= 8 + 40 + 8;
            if !is_whole || !knobs.icmp_error {
                return Ok(None);
            }
            let quoted = &message[8..];
            let sender: [u8; 16] = quoted[8..24].try_into().expect("16 bytes");
            // What it is about must be seen, and be no answer.
            let is_header = |next: u8| [0, 43, 44, 51, 60].contains(&next);
            let is_known = match (quoted[6], quoted[40]) {
                (58, kind) => kind == 128,
                (44, next) => next != 58 && !is_header(next),
                (next, _) => !is_header(next),
            };
            let receiver: [u8; 16] = quoted[24..40].try_into().expect("16 bytes");
            // Behind a fragment header stands a first fragment, if its 8 bytes are there, or a later one.
            let about = match quoted[6] {
                44 => {
                    let later = be16(quoted, 42) & 0xfff8 != 0 || quoted.len() < 56;
                    (quoted[40], &quoted[48..], later)
                }
                next => (next, &quoted[40..], false),
            };
            let is_ours = quoted[0] / 16 == 6
                && IpAddr::from(sender) == packet.destination
                && is_known
                && asked.is_about((packet.destination, receiver.into()), about, knobs);
            Ok(is_ours.then_some("icmp-error"))
        }
        _ => Ok(None),
    }
}
