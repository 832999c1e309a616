//! TCP (RFC 9293), UDP (RFC 768), SCTP (RFC 9260), ICMP (RFC 792) and ICMPv6 (RFC 4443).

use super::{Anomaly, Packet, Part, be16};

/// Reads the transport header, if the packet has one.
pub(super) fn read(packet: &mut Packet) -> Result<(), Anomaly> {
    if packet.part == Part::Later {
        return Ok(());
    }
    let is_first = packet.part == Part::First;
    let bytes = packet.payload.as_slice();
    let needs = |length: usize| {
        if bytes.len() >= length {
            Ok(())
        } else if is_first {
            Err("frag-tiny")
        } else {
            Err("truncated")
        }
    };
    match (packet.proto, packet.source.is_ipv4()) {
        (6, _) => {
            needs(20)?;
            let header_length = usize::from(bytes[12] / 16) * 4;
            if header_length < 20 {
                return Err("bad-header-len");
            }
            if header_length > bytes.len() {
                return Err(if is_first {
                    "frag-tiny"
                } else {
                    "bad-header-len"
                });
            }
            if !are_possible(bytes[13]) {
                return Err("tcp-flags");
            }
            let (source, destination) = (be16(bytes, 0), be16(bytes, 2));
            if source == 0 || destination == 0 {
                return Err("port-zero");
            }
            packet.tcp_flags = Some(bytes[13]);
            packet.ports = Some((source, destination));
        }
        (17, _) => {
            needs(8)?;
            let length = usize::from(be16(bytes, 4));
            // The length is the whole datagram's, of which the first fragment has the beginning.
            if length < 8 || (length > bytes.len() && !is_first) {
                return Err("bad-length");
            }
            // Source port 0 is allowed: no answer is wanted.
            if be16(bytes, 2) == 0 {
                return Err("port-zero");
            }
            packet.ports = Some((be16(bytes, 0), be16(bytes, 2)));
        }
        (132, _) => {
            needs(12)?;
            packet.ports = Some((be16(bytes, 0), be16(bytes, 2)));
        }
        (1, true) | (58, false) => {
            needs(8)?;
            packet.icmp = Some((bytes[0], bytes[1]));
        }
        _ => {}
    }
    Ok(())
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
