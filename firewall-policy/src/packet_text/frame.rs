//! From [`PacketText`] to the bytes of an Ethernet frame, with all lengths and checksums right
//! (RFC 791, 8200, 9293, 768, 9260, 792, 4443, 1071).

use super::{Kind, PacketText};
use crate::fields::{self, Header, Place, Usual};
use firewall_common::field::Field;
use firewall_common::parse::{ethertype, flag, fragment};
use std::net::IpAddr;

/// Locally administered addresses of receiver and sender.
const MACS: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];

/// Offset of the later fragments that are made, in units of 8 bytes: behind 1,480 bytes.
const LATER_OFFSET: u16 = 185;

impl PacketText {
    /// The frame, Ethernet header included, frame check sequence not.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        let mut frame = MACS.to_vec();
        for vlan in &self.vlans {
            frame.extend(0x8100u16.to_be_bytes());
            frame.extend(vlan.to_be_bytes());
        }
        let (kind, packet) = match (self.kind, self.src, self.dst) {
            (Kind::Arp, IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
                arp.extend(&MACS[6..]);
                arp.extend(src.octets());
                arp.extend([0; 6]);
                arp.extend(dst.octets());
                (ethertype::ARP, arp)
            }
            (_, IpAddr::V4(_), _) => (ethertype::IPV4, self.ip(self.length())),
            _ => (ethertype::IPV6, self.ip(self.length())),
        };
        frame.extend((kind as u16).to_be_bytes());
        frame.extend(packet);
        frame
    }

    /// The shortest that the IP packet can be, in bytes.
    pub(super) fn shortest(&self) -> usize {
        self.ip_header() + self.transport(0).len()
    }

    fn length(&self) -> usize {
        let shortest = self.shortest();
        let said = self.numbers.get(Field::Length);
        let length = said
            .map_or(shortest, |length| length as usize)
            .max(shortest);
        // All fragments but the last carry a multiple of 8 bytes.
        let pad = said.is_none() && self.fragment == fragment::FIRST;
        if pad {
            let header = self.ip_header();
            header + (length - header).next_multiple_of(8)
        } else {
            length
        }
    }

    /// Bytes in front of the transport header.
    fn ip_header(&self) -> usize {
        match self.dst {
            IpAddr::V4(_) => 20 + 4 * usize::from(self.options),
            IpAddr::V6(_) => {
                40 + 8 * usize::from(self.fragment != fragment::WHOLE || self.alerts())
            }
        }
    }

    /// The IP packet with `length` bytes in all.
    fn ip(&self, length: usize) -> Vec<u8> {
        let header = self.ip_header();
        let payload = self.transport(length - header);
        let fragment_word = match self.fragment {
            fragment::WHOLE => None,
            fragment::FIRST => Some((0, true)),
            _ => Some((LATER_OFFSET, false)),
        };
        let mut packet;
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let flags = fragment_word.map_or(0, |(at, more)| at | u16::from(more) << 13);
                packet = vec![0x40 | (header / 4) as u8, 0, 0, 0, 0x12, 0x34];
                packet.extend(flags.to_be_bytes());
                packet.extend([0, self.proto(), 0, 0]);
                packet.extend(src.octets());
                packet.extend(dst.octets());
                self.write_numbers(Header::Ipv4, &mut packet, length);
                // No operation, which changes nothing but that there are options.
                packet.resize(header, 1);
                let sum = checksum(&[&packet]);
                packet[10..12].copy_from_slice(&sum);
            }
            (src, dst) => {
                let next = if fragment_word.is_some() {
                    44
                } else if self.alerts() {
                    0
                } else {
                    self.proto()
                };
                packet = vec![0x60, 0, 0, 0, 0, 0, next, 0];
                packet.extend(octets(src));
                packet.extend(octets(dst));
                self.write_numbers(Header::Ipv6, &mut packet, length);
                if self.alerts() {
                    packet.extend([self.proto(), 0, 5, 2, 0, 0, 1, 0]);
                }
                if let Some((at, more)) = fragment_word {
                    packet.extend([self.proto(), 0]);
                    packet.extend((at << 3 | u16::from(more)).to_be_bytes());
                    packet.extend([0, 0, 0x12, 0x34]);
                }
            }
        }
        packet.extend(payload);
        packet
    }

    /// Writes the numbers of a header, in a packet of `length` bytes.
    fn write_numbers(&self, header: Header, bytes: &mut [u8], length: usize) {
        for row in fields::numbers() {
            for place in row.places.iter().filter(|place| place.header == header) {
                let value = match (self.numbers.get(row.field), row.field, row.usual) {
                    (_, Field::Length, _) => length as u32,
                    (Some(said), ..) => said,
                    (None, Field::Ttl, _) => self.usual_ttl(),
                    (None, _, Usual::Is(value) | Usual::Near(value)) => value,
                };
                write_bits(bytes, *place, value - place.less);
            }
        }
    }

    /// Whether it has a hop-by-hop header with a router alert, as all of listener discovery has (RFC
    /// 2710, RFC 3810).
    fn alerts(&self) -> bool {
        let is_whole = self.fragment == fragment::WHOLE;
        is_whole
            && self.dst.is_ipv6()
            && matches!(
                self.kind,
                Kind::Icmp {
                    kind: 130..=132 | 143,
                    ..
                }
            )
    }

    /// What goes on the wire if nothing is said: neighbour discovery and listener discovery only
    /// count with the hop limits of RFC 4861 and RFC 2710.
    fn usual_ttl(&self) -> u32 {
        match self.kind {
            Kind::Icmp { kind, .. } if self.dst.is_ipv6() => match kind {
                133..=137 => 255,
                130..=132 | 143 => 1,
                _ => 64,
            },
            _ => 64,
        }
    }

    /// The transport header and its data, `length` bytes or as few as there can be.
    fn transport(&self, length: usize) -> Vec<u8> {
        let mut bytes;
        let mut sum_at = None;
        match self.kind {
            Kind::Tcp {
                source,
                destination,
                flags,
            } => {
                bytes = ports(source, destination);
                // A SYN has byte 0; the first byte behind it is 1, for either side.
                let opens = u32::from(flags) & flag::SYN != 0;
                bytes.extend(u32::from(!opens).to_be_bytes());
                let ack = u32::from(flags) & flag::ACK != 0;
                bytes.extend(u32::from(ack).to_be_bytes());
                bytes.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
                self.write_numbers(Header::Tcp, &mut bytes, length);
                sum_at = Some(16);
            }
            Kind::Udp {
                source,
                destination,
            } => {
                bytes = ports(source, destination);
                bytes.extend((length.max(8) as u16).to_be_bytes());
                bytes.extend([0, 0]);
                sum_at = Some(6);
            }
            Kind::Sctp {
                source,
                destination,
            } => {
                bytes = ports(source, destination);
                bytes.extend([0; 8]);
            }
            Kind::Icmp { kind, code } => {
                bytes = vec![kind, code, 0, 0, 0, 0, 0, 0];
                bytes.extend(self.icmp_body(kind));
                sum_at = Some(2);
            }
            // At least one unit of eight bytes, which a fragment must have.
            Kind::Other(_) => bytes = vec![0; 8],
            Kind::Arp => bytes = Vec::new(),
        }
        if bytes.len() < length {
            bytes.resize(length, 0);
        }
        if let Some(at) = sum_at {
            let sum = self.transport_sum(&bytes);
            bytes[at..at + 2].copy_from_slice(&sum);
        }
        bytes
    }

    /// What follows an ICMP header: errors quote a UDP packet that the destination has sent to the
    /// source, neighbour discovery and listener discovery name an address.
    fn icmp_body(&self, kind: u8) -> Vec<u8> {
        let quote = || {
            let kind = Kind::Udp {
                source: super::SOURCE_PORT,
                destination: super::before::QUOTED_PORT,
            };
            let packet = Self::new(self.dst, self.src, kind);
            packet.ip(packet.shortest())
        };
        match (self.dst, kind) {
            (IpAddr::V4(_), 3 | 4 | 5 | 11 | 12) | (IpAddr::V6(_), 1..=4) => quote(),
            (IpAddr::V6(_), 134) => vec![0; 8],
            (IpAddr::V6(dst), 130..=132 | 135 | 136) => dst.octets().to_vec(),
            (IpAddr::V6(dst), 137) => [dst.octets(), dst.octets()].concat(),
            _ => Vec::new(),
        }
    }

    /// The checksum over pseudo header and segment; that of UDP is never 0.
    fn transport_sum(&self, bytes: &[u8]) -> [u8; 2] {
        let length = (bytes.len() as u32).to_be_bytes();
        let (src, dst) = (octets(self.src), octets(self.dst));
        let pseudo = [0, 0, 0, self.proto()];
        let sum = match self.kind {
            Kind::Icmp { .. } if self.dst.is_ipv4() => checksum(&[bytes]),
            _ => checksum(&[&src, &dst, &length, &pseudo, bytes]),
        };
        match (self.kind, sum) {
            (Kind::Udp { .. }, [0, 0]) => [0xff, 0xff],
            _ => sum,
        }
    }
}

/// Writes a number into its bits, which may be parts of bytes.
fn write_bits(bytes: &mut [u8], place: Place, value: u32) {
    for number in 0..place.bits {
        let (at, bit) = (place.bit + number, place.bits - 1 - number);
        let mask = 0x80 >> (at % 8);
        let byte = &mut bytes[at as usize / 8];
        *byte = *byte & !mask | if value >> bit & 1 != 0 { mask } else { 0 };
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn ports(source: u16, destination: u16) -> Vec<u8> {
    [source.to_be_bytes(), destination.to_be_bytes()].concat()
}

/// The Internet checksum (RFC 1071) of parts, each of an even number of bytes but the last.
pub(super) fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let mut sum = 0u64;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u64::from(u16::from_be_bytes([pair[0], low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}
