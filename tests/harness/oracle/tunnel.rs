//! What a tunnel carries: IP in IP (RFC 2003, RFC 4213, RFC 2473), GRE (RFC 2784, RFC 2890), VXLAN
//! (RFC 7348).

use super::{Anomaly, Content, Knobs, Packet, Part, Read, be16, ip, link, with_transport};
use std::net::{IpAddr, Ipv6Addr};

/// What `outer` carries, if it is a tunnel.
pub(super) fn content(outer: &Packet, knobs: &Knobs) -> Result<Option<Content>, Anomaly> {
    if outer.read < Read::Protocol {
        return Ok(None);
    }
    let is_vxlan = outer.proto == 17 && outer.ports.is_some_and(|(_, to)| to == 4789);
    if ![4, 41, 47].contains(&outer.proto) && !is_vxlan {
        return Ok(None);
    }
    if outer.part != Part::Whole {
        return Err("fragment");
    }
    let bytes = outer.payload.as_slice();
    let content = match outer.proto {
        4 => network(0x0800, bytes, outer.vlan, knobs)?,
        41 => network(0x86dd, bytes, outer.vlan, knobs)?,
        47 => gre(bytes, outer, knobs)?,
        _ => vxlan(bytes, outer.read == Read::All, knobs)?,
    };
    let mut content = content;
    if let Content::Ip(inner) = &mut content
        && inner.source == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    {
        inner.suffers("bogon", knobs)?;
    }
    Ok(Some(content))
}

fn network(
    ethertype: u16,
    bytes: &[u8],
    vlan: Option<u16>,
    knobs: &Knobs,
) -> Result<Content, Anomaly> {
    let mut packet = match ethertype {
        0x0800 => ip::v4(bytes, knobs)?,
        0x86dd => ip::v6(bytes, knobs)?,
        other => return Ok(Content::Other(other, bytes.to_vec())),
    };
    packet.vlan = vlan;
    with_transport(packet, knobs)
}

fn gre(bytes: &[u8], outer: &Packet, knobs: &Knobs) -> Result<Content, Anomaly> {
    if bytes.len() < 4 {
        return Err("truncated");
    }
    let flags = be16(bytes, 0);
    if flags & 0x4000 != 0 {
        return Err("source-route");
    }
    // Checksum, key and sequence number: four bytes each, where they are.
    let options = [0x8000, 0x2000, 0x1000]
        .into_iter()
        .filter(|bit| flags & bit != 0);
    let length = 4 + 4 * options.count();
    if flags & 7 != 0 {
        return Ok(Content::Other(0, Vec::new()));
    }
    let payload = bytes.get(length..).unwrap_or_default();
    match be16(bytes, 2) {
        0x6558 => ethernet(payload, knobs),
        // WCCP: for Linux, IP of the outer family, behind four bytes unless it begins like IPv4.
        0x883e if flags == 0 => {
            let first = payload.first().ok_or("truncated")?;
            let from = if first / 16 == 4 { 0 } else { 4 };
            let ethertype = if outer.source.is_ipv4() {
                0x0800
            } else {
                0x86dd
            };
            let packet = payload.get(from..).unwrap_or_default();
            network(ethertype, packet, outer.vlan, knobs)
        }
        ethertype => network(ethertype, payload, outer.vlan, knobs),
    }
}

fn vxlan(bytes: &[u8], is_in_order: bool, knobs: &Knobs) -> Result<Content, Anomaly> {
    // Behind the datagram there may be padding, inside the IP packet. A length that is wrong says
    // nothing.
    let datagram = match is_in_order {
        true => &bytes[..usize::from(be16(bytes, 4))],
        false => bytes,
    };
    if datagram.len() < 16 {
        return Err("truncated");
    }
    if datagram[8] & 0x08 == 0 {
        return Ok(Content::Other(0, Vec::new()));
    }
    ethernet(&datagram[16..], knobs)
}

fn ethernet(bytes: &[u8], knobs: &Knobs) -> Result<Content, Anomaly> {
    let (vlan, ethertype, payload) = link::untag(bytes, knobs)?;
    network(ethertype, payload, vlan, knobs)
}
