//! Frames that two readers may read differently: those of the other generators, sent to the host and
//! with checksums that it takes; and headers that are one thing to who believes one field, and
//! another to who believes another.

use super::{TCP, UDP};
use crate::frames::{Frame, Ipv4, ethernet, ipv6, tagged};
use crate::fuzz::{Datagrams, Generator};
use crate::netns::Pair;
use crate::random::Random;
use firewall_policy::evasion::frames::checksum;

/// Ports of both kinds, open and closed.
const PORTS: [u16; 8] = [UDP, TCP[0], TCP[1], 22, 161, 443, 546, 4789];

/// An endless supply. Equal seeds give equal frames.
#[derive(Debug)]
pub struct Frames {
    random: Random,
    generator: Generator,
    datagrams: Datagrams,
    /// Identifications of fragments, few enough to meet.
    id: u32,
}

/// A piece of a packet: what the header before it has to call it, and its bytes, of which the first
/// names what follows.
struct Block {
    name: u8,
    bytes: Vec<u8>,
    names_next: bool,
}

impl Frames {
    /// Starts a supply.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            generator: Generator::new(seed ^ 1),
            datagrams: Datagrams::new(seed ^ 2),
            id: 0,
        }
    }

    /// The next frame.
    pub fn frame(&mut self) -> Frame {
        let mut frame = match self.random.below(16) {
            0..=3 => self.generator.frame(),
            4 | 5 => self.datagrams.frame(),
            6..=11 => self.chain(),
            _ => self.v4(),
        };
        if self.random.one_in(6) {
            self.change(&mut frame);
        }
        frame.resize(frame.len().clamp(14, 1_400), 0);
        frame[..12].copy_from_slice(&Pair::macs());
        if !self.random.one_in(16) {
            let at = network(&frame);
            mend(&mut frame, at);
        }
        frame
    }

    /// Changes a byte or two, or the length.
    fn change(&mut self, frame: &mut Frame) {
        for _ in 0..1 + self.random.below(3) {
            let at = 12 + self.random.below(frame.len().clamp(13, 90) as u64 - 12) as usize;
            if let Some(byte) = frame.get_mut(at) {
                *byte = match self.random.below(3) {
                    0 => *byte ^ 1 << self.random.below(8),
                    1 => self.random.byte(),
                    _ => self
                        .random
                        .pick(&[0, 1, 2, 4, 6, 8, 17, 41, 43, 44, 51, 58, 60]),
                };
            }
        }
        match self.random.below(6) {
            0 => frame.truncate(14 + self.random.below(frame.len() as u64) as usize),
            1 => frame.resize(frame.len() + self.random.below(32) as usize, 0x50),
            _ => {}
        }
    }

    fn port(&mut self) -> u16 {
        self.random.pick(&PORTS)
    }

    /// A transport header that ends a packet.
    fn last(&mut self) -> Block {
        let port = self.port();
        let data = self.random.below(24) as usize;
        let (name, mut bytes) = match self.random.below(8) {
            0..=2 => (17, udp(40_000, port, 8 + data as u16)),
            3..=5 => (6, tcp(40_000, port)),
            6 => {
                let kind = self.random.pick(&[8, 128, 0, 129, 3, 133, 135]);
                (self.random.pick(&[1, 58]), vec![kind, 0, 0, 0, 0, 1, 0, 1])
            }
            _ => (self.random.pick(&[4, 41, 47, 50, 132, 136, 89]), vec![0; 8]),
        };
        bytes.resize(bytes.len() + data, 0);
        Block {
            name,
            bytes,
            names_next: false,
        }
    }

    /// An extension header, or a transport header to an open port that can be read as one.
    fn extension(&mut self) -> Block {
        let units = self.random.pick(&[0u8, 0, 1]);
        let name = self
            .random
            .pick(&[0, 43, 44, 44, 44, 51, 60, 60, 60, 17, 17, 6]);
        let mut bytes = vec![0, units];
        match name {
            // Padding. Sometimes of a kind that nobody knows, to be skipped.
            0 | 60 => {
                let kind = self.random.pick(&[1, 1, 0x1e]);
                bytes.extend([kind, 4 + 8 * units]);
                bytes.resize(8 + 8 * usize::from(units), 0);
            }
            43 => {
                bytes.extend([
                    self.random.pick(&[0, 2, 3, 4]),
                    self.random.pick(&[0, 0, 1]),
                ]);
                bytes.resize(8 + 8 * usize::from(units), 0);
            }
            44 => {
                self.id = self.id.wrapping_add(u32::from(!self.random.one_in(4)));
                let field = self.random.pick(&[0u16, 0, 0, 0, 1, 8, 9, 16]);
                bytes[1] = self.random.pick(&[0, 0, 0, 255]);
                bytes.extend(field.to_be_bytes());
                bytes.extend(self.id.to_be_bytes());
            }
            51 => {
                bytes[1] = 2;
                bytes.resize(16, 0);
            }
            // As options: Pad1, then two that are skipped; the second takes all that is left.
            17 => {
                bytes.extend(UDP.to_be_bytes());
                bytes.extend([0, 0, 1 + 8 * units, 0]);
                bytes.resize(8 + 8 * usize::from(units), 0);
            }
            // Pad1, then one that takes all that is left of 24 bytes.
            _ => {
                bytes = vec![0, 2];
                bytes.extend(TCP[0].to_be_bytes());
                bytes.extend([19, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 4, 0, 0, 0, 0, 0]);
                bytes.resize(24, 0);
            }
        }
        Block {
            name,
            bytes,
            names_next: true,
        }
    }

    /// An IPv6 packet of such headers.
    fn chain(&mut self) -> Frame {
        let mut blocks: Vec<Block> = (0..self.random.below(5))
            .map(|_| self.extension())
            .collect();
        blocks.push(self.last());
        let mut next = self.random.pick(&[17, 6, 60, 44]);
        let mut payload: Vec<u8> = Vec::new();
        for block in blocks.iter_mut().rev() {
            if block.names_next {
                block.bytes[0] = if self.random.one_in(10) {
                    self.random.pick(&[0, 6, 17, 43, 44, 58, 59, 60])
                } else {
                    next
                };
            }
            next = block.name;
            payload.splice(0..0, block.bytes.iter().copied());
            if block.names_next && block.name == 17 {
                // The length of a datagram, as far as one byte goes.
                payload[5] = payload.len().min(63) as u8;
            }
        }
        if self.random.one_in(10) {
            next = self.random.pick(&[0, 17, 6, 43, 44, 60]);
        }
        let mut source = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
        let mut to = source;
        source[15] = self.random.pick(&[9, 9, 9, 1, 0x66]);
        to[15] = self.random.pick(&[0x80, 0x80, 2]);
        let packet = ipv6(source, to, next, 64, &payload);
        self.tags(ethernet(0x86dd, &packet))
    }

    /// An IPv4 packet with options, or a fragment.
    fn v4(&mut self) -> Frame {
        let last = self.last();
        let source = [192, 0, 2, self.random.pick(&[9, 9, 9, 1, 0x66])];
        let to = self.random.pick(&[[192, 0, 2, 80], [198, 51, 100, 80]]);
        let mut header = Ipv4::new(source, to, last.name);
        if self.random.one_in(3) {
            let length = 4 * self.random.below(11) as usize;
            header.options = vec![self.random.pick(&[0, 1, 1]); length];
            if length > 8 {
                let kind = self.random.pick(&[7, 68, 131, 137, 148, 130]);
                let room = self.random.pick(&[4, 3, 7, 8]);
                header.options[..3].copy_from_slice(&[kind, room, 4]);
            }
        }
        let mut bytes = last.bytes;
        if self.random.one_in(2) {
            self.id = self.id.wrapping_add(u32::from(self.random.one_in(3)));
            header.id = self.id as u16;
            header.fragment = self
                .random
                .pick(&[0x2000, 0x2000, 1, 2, 3, 0x2001, 0x4000, 0]);
            if header.fragment & 0x2000 != 0 {
                bytes.resize(bytes.len().next_multiple_of(8), 0);
            }
        }
        let packet = header.packet(&bytes);
        self.tags(ethernet(0x0800, &packet))
    }

    /// By chance, tags in front.
    fn tags(&mut self, frame: Frame) -> Frame {
        if !self.random.one_in(12) {
            return frame;
        }
        let tag = (
            self.random.pick(&[0x8100, 0x88a8]),
            self.random.pick(&[0, 0, 0x2000, 100]),
        );
        let depth = 1 + self.random.below(2) as usize;
        tagged(&frame, &vec![tag; depth])
    }
}

fn udp(from: u16, to: u16, length: u16) -> Vec<u8> {
    let words = [from, to, length, 0];
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn tcp(from: u16, to: u16) -> Vec<u8> {
    let mut bytes = udp(from, to, 0);
    bytes.extend([0, 0, 0, 0, 0x50, 2, 4, 0, 0, 0, 0, 0]);
    bytes
}

/// Where the network header starts.
pub(super) fn network(frame: &[u8]) -> usize {
    let mut at = 12;
    while matches!(frame.get(at..at + 2), Some([0x81, 0] | [0x88, 0xa8])) {
        at += 4;
    }
    at + 2
}

/// Gives the packet at `ip` the checksums that the host looks at, as far as they have a place.
fn mend(frame: &mut [u8], ip: usize) {
    match frame.get(ip - 2..ip) {
        Some([8, 0]) => {
            let length = frame.get(ip).map_or(0, |byte| usize::from(byte & 15) * 4);
            if length >= 20 && frame.len() >= ip + length {
                frame[ip + 10..ip + 12].fill(0);
                let sum = checksum(&frame[ip..ip + length]);
                frame[ip + 10..ip + 12].copy_from_slice(&sum.to_be_bytes());
            }
        }
        Some([0x86, 0xdd]) if frame.get(ip + 6) == Some(&58) && frame.len() > ip + 44 => {
            let mut pseudo = frame[ip + 8..ip + 40].to_vec();
            frame[ip + 42..ip + 44].fill(0);
            pseudo.extend(((frame.len() - ip - 40) as u32).to_be_bytes());
            pseudo.extend([0, 0, 0, 58]);
            pseudo.extend(&frame[ip + 40..]);
            let sum = checksum(&pseudo);
            frame[ip + 42..ip + 44].copy_from_slice(&sum.to_be_bytes());
        }
        _ => {}
    }
}
