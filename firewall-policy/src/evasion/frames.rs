//! Frames by hand, byte by byte from the standards. Uses no code of the parser or of `packet_text`:
//! what the parser believes is what is tested.

/// Bytes of a frame.
pub type Frame = Vec<u8>;

/// An Ethernet header between two locally administered addresses.
#[must_use]
pub fn ethernet(ethertype: u16, payload: &[u8]) -> Frame {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Puts VLAN tags, outermost first, behind the addresses of `frame`. Each is EtherType and TCI.
#[must_use]
pub fn tagged(frame: &[u8], tags: &[(u16, u16)]) -> Frame {
    let mut tagged = frame[..12].to_vec();
    for (ethertype, tci) in tags {
        tagged.extend(ethertype.to_be_bytes());
        tagged.extend(tci.to_be_bytes());
    }
    tagged.extend(&frame[12..]);
    tagged
}

/// The Internet checksum (RFC 1071) of `bytes`.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// What an IPv4 header says besides addresses and lengths.
#[derive(Clone, Debug)]
pub struct Ipv4 {
    /// Source address.
    pub src: [u8; 4],
    /// Destination address.
    pub dst: [u8; 4],
    /// Protocol.
    pub proto: u8,
    /// Time to live.
    pub ttl: u8,
    /// Identification.
    pub id: u16,
    /// Flags and fragment offset, as on the wire.
    pub fragment: u16,
    /// Options; padded to four bytes.
    pub options: Vec<u8>,
}

impl Ipv4 {
    /// A plain header.
    #[must_use]
    pub fn new(src: [u8; 4], dst: [u8; 4], proto: u8) -> Self {
        Self {
            src,
            dst,
            proto,
            ttl: 64,
            id: 0x1234,
            fragment: 0,
            options: Vec::new(),
        }
    }

    /// The packet with this payload, lengths and checksum right.
    #[must_use]
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let mut options = self.options.clone();
        options.resize(options.len().next_multiple_of(4), 0);
        let header_len = 20 + options.len();
        let mut packet = vec![0x40 | (header_len / 4) as u8, 0];
        packet.extend(((header_len + payload.len()) as u16).to_be_bytes());
        packet.extend(self.id.to_be_bytes());
        packet.extend(self.fragment.to_be_bytes());
        packet.extend([self.ttl, self.proto, 0, 0]);
        packet.extend(self.src);
        packet.extend(self.dst);
        packet.extend(options);
        let sum = checksum(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(payload);
        packet
    }
}

/// An IPv6 packet; `next` says what `payload` begins with.
#[must_use]
pub fn ipv6(src: [u8; 16], dst: [u8; 16], next: u8, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, hop_limit]);
    packet.extend(src);
    packet.extend(dst);
    packet.extend(payload);
    packet
}

/// A TCP header with 20 bytes and `data`.
#[must_use]
pub fn tcp(sport: u16, dport: u16, flags: u8, data: &[u8]) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(sport.to_be_bytes());
    segment.extend(dport.to_be_bytes());
    segment.extend([1, 2, 3, 4, 0, 0, 0, 0, 0x50, flags, 4, 0, 0, 0, 0, 0]);
    segment.extend(data);
    segment
}

/// A UDP datagram.
#[must_use]
pub fn udp(sport: u16, dport: u16, data: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend(sport.to_be_bytes());
    datagram.extend(dport.to_be_bytes());
    datagram.extend((8 + data.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(data);
    datagram
}
