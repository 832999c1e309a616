//! The bytes of an answer: a TCP reset (RFC 9293), an ICMP (RFC 792) or ICMPv6 (RFC 4443) error.
//!
//! An answer is two runs of words: the link header, with MAC addresses swapped and VLAN tags as they
//! came, and the IP packet. It is made of the frame that it answers and nothing else, into memory of
//! its own: what is read here is overwritten later.
//!
//! May not import anything of the host or the kernel. Invariant: all checksums are right, whatever
//! those of the frame are.

use super::{QUOTE_MAX, quoted};
use crate::field::Field;
use crate::frame::{Frame, Header as _};
use crate::key::{Family, PacketKey};
use crate::machine::Machine;
use crate::parse::{Packet, flag, is_tag, proto};

/// Words of the link header at most: 14 bytes, 8 tags, and two bytes that are not sent.
pub const LINK_WORDS: usize = 16;

/// Words of the IP packet at most: IPv6 header, ICMPv6 header, quote.
pub const IP_WORDS: usize = 32;

const _: () = assert!(40 + 8 + QUOTE_MAX as usize <= IP_WORDS * 4);

/// Shortest Ethernet frame, without its check sequence: a frame is not cut below it, because not
/// every driver fills up what it sends.
const SHORTEST: u32 = 60;

/// Hop limit and time to live of an answer.
const TTL: u32 = 64;

/// An answer. Words are in network byte order: as bytes they are what goes out.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Answer {
    /// The link header.
    pub link: [u32; LINK_WORDS],
    /// The IP packet, and zeros.
    pub ip: [u32; IP_WORDS],
    /// Bytes of the link header.
    pub link_len: u32,
    /// Bytes behind it: those of the IP packet, and what fills the frame up.
    pub ip_len: u32,
}

impl Answer {
    /// An answer to be filled in. Of zeros that the compiler knows it would make a call of `memset`,
    /// which goes byte by byte in the kernel; of zeros that the verifier knows, it would tell one
    /// length of the answer from another.
    #[inline(always)]
    pub fn new<M: Machine>(machine: &M) -> Self {
        let zero = machine.forget(machine.opaque(0)) as u32;
        Self {
            link: [zero; LINK_WORDS],
            ip: [zero; IP_WORDS],
            link_len: zero,
            ip_len: zero,
        }
    }

    /// Bytes of the frame.
    #[inline(always)]
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.link_len + self.ip_len
    }

    /// Whether nothing has been filled in.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Makes the answer to a packet that [`super::may_be_answered`]. False if its headers are too long
/// for that.
#[inline(always)]
pub fn build<M: Machine, F: Frame>(
    machine: &M,
    frame: &F,
    packet: &Packet,
    answer: &mut Answer,
) -> bool {
    let Some(link_len) = link(machine, frame, answer) else {
        return false;
    };
    let key = &packet.key;
    let made = if key.field(Field::Proto) == proto::TCP {
        reset(frame, packet, answer)
    } else {
        unreachable(machine, frame, packet, link_len, answer)
    };
    let Some(ip_len) = made else { return false };
    finish(frame, link_len, ip_len, answer);
    true
}

/// Says how long the answer's parts are; it stays as long as the frame where that is short.
#[inline(always)]
pub(super) fn finish<F: Frame>(frame: &F, link_len: u32, ip_len: u32, answer: &mut Answer) {
    let least = if frame.len() < SHORTEST {
        frame.len()
    } else {
        SHORTEST
    };
    answer.link_len = link_len;
    answer.ip_len = if link_len + ip_len < least {
        least - link_len
    } else {
        ip_len
    };
}

/// The link header back to the sender; its length.
#[inline(always)]
pub(super) fn link<M: Machine, F: Frame>(
    machine: &M,
    frame: &F,
    answer: &mut Answer,
) -> Option<u32> {
    let macs = frame.header::<12>(0)?;
    answer.link[0] = macs.be32::<6>().to_be();
    answer.link[1] = (macs.be16::<10>() << 16 | macs.be16::<0>()).to_be();
    answer.link[2] = macs.be32::<2>().to_be();
    // Tags, then the EtherType; the last word has two bytes that belong to the packet.
    let mut length = 14;
    for word in 3..LINK_WORDS - 4 {
        let header = frame.header::<4>(word as u32 * 4)?;
        answer.link[word] = header.be32::<0>().to_be();
        if !is_tag(header.be16::<0>()) {
            break;
        }
        length += 4;
    }
    // One path from here on, whatever the number of tags.
    Some(machine.forget(length) as u32 & 63)
}

/// The IP header from the packet's destination to its source. Returns the sum that a transport
/// checksum begins with: the pseudo header's.
#[inline(always)]
pub(super) fn ip_header(
    key: &PacketKey,
    protocol: u32,
    payload: u32,
    ip: &mut [u32; IP_WORDS],
) -> u64 {
    let addresses = match key.family() {
        Family::V4 => {
            let (from, to) = (key.dst_lo as u32, key.src_lo as u32);
            let length = 20 + payload;
            // Alone in its datagram, so it needs no identification (RFC 6864).
            let first = 0x4500_0000 | length;
            let second: u32 = 0x0000_4000;
            let third = TTL << 24 | protocol << 16;
            let addresses = u64::from(from) + u64::from(to);
            let sum = u64::from(first) + u64::from(second) + u64::from(third) + addresses;
            ip[0] = first.to_be();
            ip[1] = second.to_be();
            ip[2] = (third | checksum(sum)).to_be();
            ip[3] = from.to_be();
            ip[4] = to.to_be();
            addresses
        }
        Family::V6 => {
            ip[0] = 0x6000_0000u32.to_be();
            ip[1] = (payload << 16 | protocol << 8 | TTL).to_be();
            let mut sum = 0;
            let halves = [key.dst_hi, key.dst_lo, key.src_hi, key.src_lo];
            for (number, half) in halves.into_iter().enumerate() {
                let (high, low) = ((half >> 32) as u32, half as u32);
                ip[2 + number * 2] = high.to_be();
                ip[3 + number * 2] = low.to_be();
                sum += u64::from(high) + u64::from(low);
            }
            sum
        }
    };
    addresses + u64::from(protocol) + u64::from(payload)
}

/// Words of the answer's IP header.
#[inline(always)]
pub(super) const fn header_words(key: &PacketKey) -> usize {
    match key.family() {
        Family::V4 => 5,
        Family::V6 => 10,
    }
}

/// What a closed port answers (RFC 9293, 3.10.7.1). Returns the length of the IP packet.
#[inline(always)]
fn reset<F: Frame>(frame: &F, packet: &Packet, answer: &mut Answer) -> Option<u32> {
    const LENGTH: u32 = 20;
    let header = frame.header::<20>(packet.l4)?;
    let flags = header.u8::<13>();
    let (sequence, acknowledged, back) = if flags & flag::ACK != 0 {
        (header.be32::<8>(), 0, flag::RST)
    } else {
        // SYN and FIN count as one byte each.
        let data = packet
            .end
            .wrapping_sub(packet.l4)
            .wrapping_sub((header.u8::<12>() >> 4) * 4);
        let length = data + (flags >> 1 & 1) + (flags & flag::FIN);
        let next = header.be32::<4>().wrapping_add(length);
        (0, next, flag::RST | flag::ACK)
    };
    let ports = header.be16::<2>() << 16 | header.be16::<0>();
    let last = 5 << 28 | back << 16;
    let key = &packet.key;
    let sum = ip_header(key, proto::TCP, LENGTH, &mut answer.ip);
    let words = [ports, sequence, acknowledged, last];
    let sum = words.iter().fold(sum, |sum, &word| sum + u64::from(word));
    let check = checksum(sum) << 16;
    let body = [ports, sequence, acknowledged, last, check];
    match key.family() {
        Family::V4 => put::<5, 5>(&mut answer.ip, body),
        Family::V6 => put::<10, 5>(&mut answer.ip, body),
    }
    Some(header_words(key) as u32 * 4 + LENGTH)
}

/// Writes words from the word `AT` on.
#[inline(always)]
pub(super) fn put<const AT: usize, const N: usize>(ip: &mut [u32; IP_WORDS], words: [u32; N]) {
    for (number, word) in words.into_iter().enumerate() {
        ip[AT + number] = word.to_be();
    }
}

/// Port unreachable, with what the sender needs to find out whom that is about. Returns the length
/// of the IP packet.
#[inline(always)]
fn unreachable<M: Machine, F: Frame>(
    machine: &M,
    frame: &F,
    packet: &Packet,
    link_len: u32,
    answer: &mut Answer,
) -> Option<u32> {
    let key = &packet.key;
    // A multiple of four, as the lengths of IP headers are.
    let quoted = quoted(packet);
    if quoted > QUOTE_MAX {
        return None;
    }
    match key.family() {
        Family::V4 => {
            let sum = quote::<M, F, 7>(machine, frame, link_len, quoted, &mut answer.ip)?;
            ip_header(key, proto::ICMP, 8 + quoted, &mut answer.ip);
            let kind = 3 << 24 | 3 << 16;
            let check = checksum(sum + u64::from(kind));
            put::<5, 2>(&mut answer.ip, [kind | check, 0]);
        }
        Family::V6 => {
            let sum = quote::<M, F, 12>(machine, frame, link_len, quoted, &mut answer.ip)?;
            let sum = sum + ip_header(key, proto::ICMPV6, 8 + quoted, &mut answer.ip);
            let kind = 1 << 24 | 4 << 16;
            let check = checksum(sum + u64::from(kind));
            put::<10, 2>(&mut answer.ip, [kind | check, 0]);
        }
    }
    Some(header_words(key) as u32 * 4 + 8 + quoted)
}

/// Copies the first `length` bytes of the packet at `start` to the word `AT` of the answer; their
/// sum.
#[inline(always)]
fn quote<M: Machine, F: Frame, const AT: usize>(
    machine: &M,
    frame: &F,
    start: u32,
    length: u32,
    ip: &mut [u32; IP_WORDS],
) -> Option<u64> {
    // Another number for the verifier: what it learns in the loop of one, it does not know of the other.
    let end = machine.forget(u64::from(length));
    let mut sum = 0;
    for number in 0..QUOTE_MAX / 4 {
        if u64::from(number * 4) >= end {
            break;
        }
        let word = frame.header::<4>(start + number * 4)?.be32::<0>();
        sum += u64::from(word);
        ip[AT + number as usize] = word.to_be();
    }
    Some(sum)
}

/// The internet checksum (RFC 1071) of bytes whose 32-bit words have this sum: 2^16 is 1 modulo
/// 2^16 - 1, so words of any multiple of 16 bits may be added.
#[inline(always)]
pub(super) const fn checksum(sum: u64) -> u32 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    !(sum as u32) & 0xffff
}

#[cfg(test)]
mod tests {
    use super::checksum;

    #[test]
    fn the_checksum_is_that_of_the_rfc() {
        // RFC 1071, section 3: 00 01 f2 03 f4 f5 f6 f7 sum to ddf2.
        assert_eq!(checksum(0x0001_f203 + 0xf4f5_f6f7), !0xddf2 & 0xffff);
        assert_eq!(checksum(0), 0xffff);
        assert_eq!(checksum(u64::from(u32::MAX) * 40), 0);
    }
}
