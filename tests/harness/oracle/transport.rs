//! TCP (RFC 9293), UDP (RFC 768), SCTP (RFC 9260), ICMP (RFC 792) and ICMPv6 (RFC 4443).

use super::{Anomaly, Knobs, Packet, Part, Read, be16};

/// Reads the transport header, if the packet has one.
pub(super) fn read(packet: &mut Packet, knobs: &Knobs) -> Result<(), Anomaly> {
    packet.read = Read::All;
    if packet.part == Part::Later {
        return Ok(());
    }
    for anomaly in anomalies(packet) {
        packet.suffers(anomaly, knobs)?;
        packet.read = Read::Protocol;
    }
    Ok(())
}

/// Takes down what the transport header says; all that is wrong with it, in order.
fn anomalies(packet: &mut Packet) -> Vec<Anomaly> {
    let is_first = packet.part == Part::First;
    let cut = if is_first { "frag-tiny" } else { "truncated" };
    let bytes = packet.payload.as_slice();
    let shortest = match (packet.proto, packet.source.is_ipv4()) {
        (6, _) => 20,
        (17, _) | (1, true) | (58, false) => 8,
        (132, _) => 12,
        _ => return Vec::new(),
    };
    // Ports come first, in protocols that have any, and are known of a header that is cut behind.
    if [6, 17, 132].contains(&packet.proto) && bytes.len() >= 4 {
        packet.ports = Some((be16(bytes, 0), be16(bytes, 2)));
    }
    if bytes.len() < shortest {
        return vec![cut];
    }
    let mut wrong = Vec::new();
    match packet.proto {
        6 => {
            packet.tcp_flags = Some(bytes[13]);
            let header_length = usize::from(bytes[12] / 16) * 4;
            if header_length < 20 {
                wrong.push("bad-header-len");
            } else if header_length > bytes.len() {
                wrong.push(if is_first { cut } else { "bad-header-len" });
            }
            if !are_possible(bytes[13]) {
                wrong.push("tcp-flags");
            }
            if be16(bytes, 0) == 0 || be16(bytes, 2) == 0 {
                wrong.push("port-zero");
            }
        }
        17 => {
            let length = usize::from(be16(bytes, 4));
            // The length is the whole datagram's, of which the first fragment has the beginning.
            if length < 8 || (length > bytes.len() && !is_first) {
                wrong.push("bad-length");
            }
            // Source port 0 is allowed: no answer is wanted.
            if be16(bytes, 2) == 0 {
                wrong.push("port-zero");
            }
        }
        132 => {}
        _ => packet.icmp = Some((bytes[0], bytes[1])),
    }
    wrong
}

/// Whether a sane host sends these TCP flags. PSH, URG and the ECN bits go with all of them.
fn are_possible(flags: u8) -> bool {
    let [fin, syn, rst, ack] = [1, 2, 4, 16].map(|bit| flags & bit != 0);
    if syn {
        // A connection opens: nothing closes in the same moment.
        !rst && !fin
    } else {
        // Whatever follows acknowledges something, but for a bare reset.
        ack || (rst && !fin)
    }
}
