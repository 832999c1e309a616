//! What a rejected packet is answered with (RFC 9293 3.10.7.1; RFC 792; RFC 4443 3.1), and which
//! packets nobody answers (RFC 1122 3.2.2, RFC 1812 4.3.2.7, RFC 4443 2.4 e).
//!
//! Builds the answer as a sender would, header by header, with the frame builders of the harness.
//! Shares nothing with the product's code.

use super::{Packet, Part};
use crate::frames::{Ipv4, checksum, ipv6};
use std::net::IpAddr;

/// The frame that answers `packet`, which begins at byte `start` of `frame`; `None` if nobody may
/// answer it.
pub(super) fn to(frame: &[u8], start: usize, packet: &Packet) -> Option<Vec<u8>> {
    let from_group = frame[0] % 2 == 1 || frame[6] % 2 == 1;
    if from_group || !is_host(packet.source) || !is_host(packet.destination) {
        return None;
    }
    if !is_intact(&frame[start..], packet) {
        return None;
    }
    let (proto, message) = match packet.proto {
        6 => (6, reset(packet)?),
        _ => unreachable(frame, start, packet)?,
    };
    let mut packet = enclose(packet, proto, message);
    let mut answer: Vec<u8> = [&frame[6..12], &frame[..6], &frame[12..start]].concat();
    answer.append(&mut packet);
    // Shortest frame of Ethernet; but a short one is not made longer for that.
    if answer.len() < 60 && frame.len() > answer.len() {
        answer.resize(frame.len().min(60), 0);
    }
    Some(answer)
}

/// Whether a host would take the packet, by its checksums. On a virtual cable those of TCP and UDP may
/// be left to the card, and are those of the pseudo header alone.
fn is_intact(ip: &[u8], packet: &Packet) -> bool {
    let headers = packet.length - packet.payload.len();
    if packet.source.is_ipv4() && checksum(&ip[..headers]) != 0 {
        return false;
    }
    let payload = &packet.payload[..];
    let (at, left_to_the_card) = match (packet.proto, packet.source) {
        (6, _) => (16, true),
        (17, _) => (6, true),
        (58, IpAddr::V6(_)) => (2, false),
        (1, IpAddr::V4(_)) => return packet.part == Part::Whole && checksum(payload) == 0,
        _ => return true,
    };
    if packet.part != Part::Whole {
        return false;
    }
    let carried = [payload[at], payload[at + 1]];
    let length = match packet.proto {
        17 => usize::from(payload[4]) << 8 | usize::from(payload[5]),
        _ => payload.len(),
    };
    if packet.proto == 17 && carried == [0, 0] {
        return packet.source.is_ipv4();
    }
    let mut summed = match (packet.source, packet.destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
        (IpAddr::V6(from), IpAddr::V6(to)) => [from.octets(), to.octets()].concat(),
        _ => unreachable!("both addresses are of one family"),
    };
    summed.extend((length as u32).to_be_bytes());
    summed.extend([0, 0, 0, packet.proto]);
    if left_to_the_card && !checksum(&summed) == u16::from_be_bytes(carried) {
        return true;
    }
    summed.extend(&payload[..length]);
    checksum(&summed) == 0
}

fn is_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let first = address.octets()[0];
            first != 0 && first != 127 && first < 224
        }
        IpAddr::V6(address) => {
            !(address.is_multicast() || address.is_loopback() || address.is_unspecified())
        }
    }
}

/// A TCP reset without its checksum.
fn reset(packet: &Packet) -> Option<Vec<u8>> {
    let segment = &packet.payload;
    let flags = packet.tcp_flags?;
    let [fin, syn, rst, ack] = [0, 1, 2, 4].map(|bit| flags >> bit & 1 == 1);
    if packet.part != Part::Whole || rst {
        return None;
    }
    let number = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|i| segment[at + i]));
    let mut answer = Vec::new();
    answer.extend(&segment[2..4]);
    answer.extend(&segment[..2]);
    if ack {
        answer.extend(number(8).to_be_bytes());
        answer.extend([0; 4]);
    } else {
        let data = segment.len() - usize::from(segment[12] / 16) * 4;
        let length = data as u32 + u32::from(syn) + u32::from(fin);
        answer.extend([0; 4]);
        answer.extend(number(4).wrapping_add(length).to_be_bytes());
    }
    let flags = if ack { 4 } else { 4 + 16 };
    answer.extend([5 * 16, flags, 0, 0, 0, 0, 0, 0]);
    Some(answer)
}

/// Port unreachable without its checksum, and its protocol.
fn unreachable(frame: &[u8], start: usize, packet: &Packet) -> Option<(u8, Vec<u8>)> {
    let v4 = packet.source.is_ipv4();
    let echo_request = if v4 { 8 } else { 128 };
    let is_icmp = packet.proto == 1 || packet.proto == 58;
    if is_icmp && packet.icmp.map(|(kind, _)| kind) != Some(echo_request) {
        return None;
    }
    let headers = packet.length - packet.payload.len();
    if packet.part == Part::Later || packet.payload.len() < 8 || headers + 8 > 80 {
        return None;
    }
    let (proto, kind) = if v4 { (1, [3, 3]) } else { (58, [1, 4]) };
    let mut answer = kind.to_vec();
    answer.extend([0; 6]);
    answer.extend(&frame[start..start + headers + 8]);
    Some((proto, answer))
}

/// The message in a packet from where the other went to where it came from, with its checksum.
fn enclose(packet: &Packet, proto: u8, mut message: Vec<u8>) -> Vec<u8> {
    let length = message.len() as u32;
    let at = if proto == 6 { 16 } else { 2 };
    let mut summed = match (packet.source, packet.destination) {
        // ICMP for IPv4 has no pseudo header.
        (IpAddr::V4(_), _) | (_, IpAddr::V4(_)) if proto == 1 => Vec::new(),
        (IpAddr::V4(to), IpAddr::V4(from)) => {
            let mut pseudo = [from.octets(), to.octets()].concat();
            pseudo.extend([0, proto]);
            pseudo.extend((length as u16).to_be_bytes());
            pseudo
        }
        (IpAddr::V6(to), IpAddr::V6(from)) => {
            let mut pseudo = [from.octets(), to.octets()].concat();
            pseudo.extend(length.to_be_bytes());
            pseudo.extend([0, 0, 0, proto]);
            pseudo
        }
        _ => unreachable!("both addresses are of one family"),
    };
    summed.extend(&message);
    message[at..at + 2].copy_from_slice(&checksum(&summed).to_be_bytes());
    match (packet.source, packet.destination) {
        (IpAddr::V4(to), IpAddr::V4(from)) => {
            let mut header = Ipv4::new(from.octets(), to.octets(), proto);
            (header.id, header.fragment) = (0, 0x4000);
            header.packet(&message)
        }
        (IpAddr::V6(to), IpAddr::V6(from)) => ipv6(from.octets(), to.octets(), proto, 64, &message),
        _ => unreachable!("both addresses are of one family"),
    }
}
