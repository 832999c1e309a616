//! From [`PacketText`] to the bytes of an Ethernet frame, with all lengths and checksums right
//! (RFC 791, 8200, 9293, 768, 9260, 792, 4443, 1071).

use super::{Kind, PacketText, link};
use crate::fields::{self, Header, Place, Usual};
use crate::rule::Mac;
use firewall_common::field::Field;
use firewall_common::parse::{ethertype, flag, fragment};
use std::net::IpAddr;

/// Offset of the later fragments that are made, in units of 8 bytes: behind 1,480 bytes.
const LATER_OFFSET: u16 = 185;

const IGMP: u8 = 2;
const RSVP: u8 = 46;
const OSPF: u8 = 89;
const PIM: u8 = 103;
const VRRP: u8 = 112;

impl PacketText {
    /// The frame, Ethernet header included, frame check sequence not.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        let from = self.mac.unwrap_or(link::SENDER);
        let to = match self.kind {
            Kind::Frame { to, .. } => to,
            _ => link::STATION,
        };
        let mut frame = [to.bytes(), from.bytes()].concat();
        for vlan in &self.vlans {
            frame.extend(0x8100u16.to_be_bytes());
            frame.extend(vlan.to_be_bytes());
        }
        if let Kind::Frame { ethertype, .. } = self.kind {
            frame.extend(link::content(ethertype, from, frame.len()));
            return frame;
        }
        let (kind, packet) = match (self.kind, self.src, self.dst) {
            (Kind::Arp, IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
                arp.extend(from.bytes());
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

    /// The frame of a packet like this one with `content` behind its IP header, and behind that of UDP if
    /// it is a datagram, which has no checksum then.
    #[must_use]
    pub fn frame_with(&self, content: &[u8]) -> Vec<u8> {
        const UDP: usize = 8;
        let is_datagram = matches!(self.kind, Kind::Udp { .. });
        let header = self.ip_header() + if is_datagram { UDP } else { 0 };
        let mut packet = self.clone();
        packet.numbers.0[Field::Length as usize] = Some((header + content.len()) as u32);
        let mut frame = packet.frame();
        let at = frame.len().saturating_sub(content.len());
        frame[at..].copy_from_slice(content);
        if is_datagram {
            frame[at - 2..at].fill(0);
        }
        frame
    }

    /// Without the numbers that such a packet has anyway.
    #[must_use]
    pub fn without_usual(mut self) -> Self {
        let usual_ttl = self.usual_ttl();
        let shortest = self.shortest() as u32;
        for (field, usual) in [(Field::Ttl, usual_ttl), (Field::Length, shortest)] {
            if self.numbers.get(field) == Some(usual) {
                self.numbers.forget(field);
            }
        }
        self
    }

    /// The shortest that the IP packet can be, in bytes.
    pub(super) fn shortest(&self) -> usize {
        self.ip_header() + self.transport(0).len()
    }

    fn length(&self) -> usize {
        let shortest = self.shortest();
        let said = self.numbers.get(Field::Length);
        let usual = shortest + self.usual_body().len();
        let length = said.map_or(usual, |length| length as usize).max(shortest);
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
            IpAddr::V4(_) => 20 + self.options_v4().len() + 4 * usize::from(self.alerts()),
            IpAddr::V6(_) => 40 + self.extensions_v6().1.len(),
        }
    }

    /// Which part of a datagram it is: its place there in units of 8 bytes, and whether more follows.
    const fn part(&self) -> Option<(u16, bool)> {
        match self.fragment {
            fragment::WHOLE => None,
            fragment::FIRST => Some((0, true)),
            _ => Some((LATER_OFFSET, false)),
        }
    }

    /// The extension headers of IPv6, and the number of the first, or of what there is without.
    fn extensions_v6(&self) -> (u8, Vec<u8>) {
        let part = self.part().map(|(at, more)| {
            let [high, low] = (at << 3 | u16::from(more)).to_be_bytes();
            [0, high, low, 0, 0, 0x12, 0x34]
        });
        self.extensions(self.alerts(), part, self.proto())
    }

    /// The IP packet with `length` bytes in all.
    fn ip(&self, length: usize) -> Vec<u8> {
        let header = self.ip_header();
        let payload = self.transport(length - header);
        let mut packet;
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let flags = self
                    .part()
                    .map_or(0, |(at, more)| at | u16::from(more) << 13);
                packet = vec![0x40 | (header / 4) as u8, 0, 0, 0, 0x12, 0x34];
                packet.extend(flags.to_be_bytes());
                packet.extend([0, self.proto(), 0, 0]);
                packet.extend(src.octets());
                packet.extend(dst.octets());
                self.write_numbers(Header::Ipv4, &mut packet, length);
                if self.alerts() {
                    packet.extend([148, 4, 0, 0]);
                }
                packet.extend(self.options_v4());
                let sum = checksum(&[&packet]);
                packet[10..12].copy_from_slice(&sum);
            }
            (src, dst) => {
                let (next, extensions) = self.extensions_v6();
                packet = vec![0x60, 0, 0, 0, 0, 0, next, 0];
                packet.extend(octets(src));
                packet.extend(octets(dst));
                self.write_numbers(Header::Ipv6, &mut packet, length);
                packet.extend(extensions);
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

    /// Whether routers are asked to look at it, as all of IGMP (from version 2 on) and listener discovery
    /// asks, and RSVP on its way (RFC 2236, RFC 3376, RFC 2710, RFC 3810, RFC 2205): by an option, or by a
    /// hop-by-hop header.
    fn alerts(&self) -> bool {
        let is_whole = self.fragment == fragment::WHOLE;
        is_whole
            && match (self.kind, self.dst) {
                (Kind::Other(IGMP | RSVP), IpAddr::V4(_)) => true,
                (Kind::Icmp { kind, .. }, IpAddr::V6(_)) => matches!(kind, 130..=132 | 143),
                _ => false,
            }
    }

    /// What goes on the wire if nothing is said: what does not count with another number of hops has the
    /// one that its standard wants.
    fn usual_ttl(&self) -> u32 {
        match self.kind {
            // RFC 4861; RFC 2710 and RFC 3810.
            Kind::Icmp { kind, .. } if self.dst.is_ipv6() => match kind {
                133..=137 => 255,
                130..=132 | 143 => 1,
                _ => 64,
            },
            // RFC 2236; RFC 2328 A.1 and RFC 7761 4.9, which stay on the link; RFC 9568 5.1.
            Kind::Other(IGMP | OSPF | PIM) => 1,
            // RFC 6762 11; RFC 5881 5.
            Kind::Other(VRRP)
            | Kind::Udp {
                destination: 5353 | 3784,
                ..
            } => 255,
            _ => 64,
        }
    }

    /// What follows the transport header if nothing is said of the length.
    fn usual_body(&self) -> Vec<u8> {
        match self.kind {
            _ if !self.payload.is_empty() => Vec::new(),
            Kind::Udp {
                source: 68,
                destination: 67,
            } if self.dst.is_ipv4() => dhcp(1, self.mac.unwrap_or(link::SENDER)),
            Kind::Udp {
                source: 67,
                destination: 68,
            } if self.dst.is_ipv4() => dhcp(2, link::STATION),
            _ => Vec::new(),
        }
    }

    /// What IGMP says to this group: a query to all hosts, a report of version 3, a leave to all routers,
    /// or a report of version 2 to the group itself.
    fn igmp(&self) -> Vec<u8> {
        let group = octets(self.dst);
        let mut message = match group[..] {
            [224, 0, 0, 22] => vec![0x22, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 239, 1, 2, 3],
            [224, 0, 0, 2] => vec![0x17, 0, 0, 0, 239, 1, 2, 3],
            [224, 0, 0, 1] => vec![0x11, 100, 0, 0, 0, 0, 0, 0],
            _ => [&[0x16, 0, 0, 0], &group[..]].concat(),
        };
        let sum = checksum(&[&message]);
        message[2..4].copy_from_slice(&sum);
        message
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
                bytes.extend(self.said_payload());
                sum_at = Some(16);
            }
            Kind::Udp {
                source,
                destination,
            } => {
                bytes = ports(source, destination);
                let shortest = 8 + self.said_payload().len();
                bytes.extend((length.max(shortest) as u16).to_be_bytes());
                bytes.extend([0, 0]);
                bytes.extend(self.said_payload());
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
            Kind::Other(IGMP) if self.dst.is_ipv4() && self.fragment == fragment::WHOLE => {
                bytes = self.igmp();
            }
            // At least one unit of eight bytes, which a fragment must have.
            Kind::Other(_) => bytes = vec![0; 8],
            Kind::Arp | Kind::Frame { .. } => bytes = Vec::new(),
        }
        let body = self.usual_body();
        if bytes.len() + body.len() <= length {
            bytes.extend(body);
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

/// A DHCP message: a client looks for servers, or a server offers an address (RFC 2131, RFC 2132).
fn dhcp(operation: u8, client: Mac) -> Vec<u8> {
    // Ethernet, addresses of 6 bytes; a number for both.
    let mut message = vec![operation, 1, 6, 0, 0x12, 0x34, 0x56, 0x78];
    message.resize(28, 0);
    message.extend(client.bytes());
    message.resize(236, 0);
    // The mark of DHCP; the kind of message; the end.
    message.extend([99, 130, 83, 99, 53, 1, operation, 255]);
    // The least that BOOTP has.
    message.resize(300, 0);
    message
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
