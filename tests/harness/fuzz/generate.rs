//! Frames for fuzzing: at random, built in layers with something wrong in any of them, and the
//! evasion frames with a few bytes changed.

use crate::evasion;
use crate::frames::{self, Frame, Taste};
use crate::random::Random;

/// Numbers at which lengths and offsets turn.
const EDGES: [u16; 24] = [
    0, 1, 4, 7, 8, 9, 14, 19, 20, 21, 24, 28, 39, 40, 41, 46, 48, 60, 255, 1400, 8189, 0x1fff,
    0x2000, 0xffff,
];

/// What next-header fields and EtherTypes prefer to say.
const PROTOCOLS: [u8; 14] = [0, 1, 4, 6, 17, 41, 43, 44, 47, 51, 58, 59, 60, 132];
const ETHERTYPES: [u16; 8] = [
    0x0800, 0x86dd, 0x8100, 0x88a8, 0x9100, 0x0806, 0x8864, 0x0600,
];

/// An endless supply of frames of 14 to a few hundred bytes.
#[derive(Debug)]
pub struct Generator {
    random: Random,
    bases: Vec<Frame>,
    taste: Taste,
}

impl Generator {
    /// Equal seeds give equal frames.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            bases: evasion::rows().into_iter().map(|row| row.frame).collect(),
            taste: Taste {
                v4: vec![0xc000_0201, 0xc633_6450, 0x7f00_0001, 0xe000_0000, 0],
                v6: vec![
                    0x2001_0db8 << 96 | 1,
                    0x2001_0db8 << 96 | 2,
                    0xff02 << 112 | 1,
                    0xffff_c000_0201,
                    1,
                ],
                ports: vec![22, 53, 67, 80, 443, 546, 1024, 40_000, 65_535],
            },
        }
    }

    /// The next frame.
    pub fn frame(&mut self) -> Frame {
        let mut frame = match self.random.below(9) {
            0 => self.link(),
            1 | 2 => frames::random(&mut self.random, &self.taste),
            3 | 4 => self.layers(),
            _ => {
                let index = self.random.below(self.bases.len() as u64) as usize;
                self.bases[index].clone()
            }
        };
        for _ in 0..self.random.below(4) {
            self.mutate(&mut frame);
        }
        if self.random.one_in(4) && frame.len() >= 12 {
            frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, self.random.pick(&[0, 4, 5, 6, 7, 8])]);
        }
        // Less the kernel does not take; more belongs to jumbo frames.
        frame.resize(frame.len().clamp(14, 1500), 0);
        frame
    }

    /// A frame that is not IP: what keeps a link up, or nearly.
    fn link(&mut self) -> Frame {
        let (ethertype, payload): (u16, Vec<u8>) = match self.random.below(6) {
            0 => {
                let length = self.random.pick(&[0, 0, 4, 5]);
                (0x888e, vec![2, 1, 0, length, 0, 0, 0, 0])
            }
            1 => (0x8809, vec![self.random.pick(&[0, 1, 3, 10, 11]), 1, 1, 20]),
            2 => (0x88cc, vec![self.random.pick(&[2, 3, 4]), 7, 4, 0, 0]),
            3 => {
                let control = self.random.pick(&[3, 3, 0]);
                (
                    4,
                    vec![0x42, self.random.pick(&[0x42, 0x42, 0x43]), control, 0],
                )
            }
            4 => (
                self.random.below(0x600) as u16,
                vec![self.random.byte(), 1, 3, 0],
            ),
            _ => (
                self.random.pick(&[0x88f7, 0x8863, 0x8806, 0x0600, 0xffff]),
                vec![0; 40],
            ),
        };
        let mut frame = frames::ethernet(ethertype, &payload);
        match self.random.below(8) {
            0 => frame[..6].fill(255),
            1 => frame[..6].copy_from_slice(&[1, 0x80, 0xc2, 0, 0, 0x10]),
            2 => {}
            _ => frame[..6].copy_from_slice(&[1, 0x80, 0xc2, 0, 0, self.random.byte() % 16]),
        }
        if self.random.one_in(4) {
            frame = frames::tagged(&frame, &[(0x8100, self.random.pick(&[0, 100, 0xe000]))]);
        }
        frame
    }

    fn byte_position(&mut self, frame: &Frame) -> usize {
        // What a parser looks at stands in front.
        let most = if self.random.one_in(4) {
            frame.len()
        } else {
            80
        };
        12 + self.random.below(most.min(frame.len()).max(13) as u64 - 12) as usize
    }

    /// Changes one thing.
    fn mutate(&mut self, frame: &mut Frame) {
        if frame.len() < 14 {
            frame.resize(14, 0);
        }
        let at = self.byte_position(frame);
        match self.random.below(12) {
            0 => frame[at] ^= 1 << self.random.below(8),
            1 => frame[at] = self.random.byte(),
            2 => frame[at] = self.random.pick(&PROTOCOLS),
            3 => self.put16(frame, at, &EDGES),
            4 => frame.truncate(at.max(14)),
            5 => {
                let more = self.random.below(48) as usize;
                frame.resize(frame.len() + more, 0x50);
            }
            6 => {
                // The length of the IP packet, made to fit or to fail by a little.
                let little = self.random.below(5) as u16;
                let (field, header) = match frame[12..14] {
                    [0x86, 0xdd] => (18, 54),
                    _ => (16, 14),
                };
                let rest = (frame.len() as u16).wrapping_sub(header);
                let length = rest.wrapping_add(2).wrapping_sub(little);
                put(frame, field, &length.to_be_bytes());
            }
            7 => {
                // Flags and offset of a fragment.
                let field = if frame[12] == 0x86 { 56 } else { 20 };
                self.put16(frame, field, &EDGES);
            }
            8 => {
                let tag = (
                    self.random.pick(&[0x8100, 0x88a8, 0x9100]),
                    self.random.pick(&[0, 1, 100, 0xe000, 0xffff]),
                );
                *frame = frames::tagged(frame, &[tag]);
            }
            9 => self.put16(frame, 12, &ETHERTYPES),
            10 => self.extension(frame),
            _ => {
                // A piece twice, or not at all.
                let length = self.random.pick(&[1, 2, 4, 8, 20]);
                let end = (at + length).min(frame.len());
                if self.random.one_in(2) {
                    frame.drain(at..end);
                } else {
                    let piece = frame[at..end].to_vec();
                    frame.splice(at..at, piece);
                }
            }
        }
    }

    fn put16(&mut self, frame: &mut Frame, at: usize, choices: &[u16]) {
        let value = self.random.pick(choices);
        put(frame, at, &value.to_be_bytes());
    }

    /// Puts an extension header in front of what an untagged IPv6 packet holds.
    fn extension(&mut self, frame: &mut Frame) {
        if frame.len() < 54 || frame[12..14] != [0x86, 0xdd] {
            return;
        }
        let kind = self.random.pick(&[0, 43, 44, 51, 60]);
        let units = self.random.pick(&[0, 0, 0, 1, 2, 4]);
        let mut header = vec![frame[20], units];
        let length = match kind {
            44 => 8,
            51 => 4 * (usize::from(units) + 2),
            _ => 8 * (usize::from(units) + 1),
        };
        header.resize(length, 0);
        if kind == 44 {
            let offset = self.random.pick(&[0u16, 1, 8, 9, 16, 1440, 0xfff8]);
            header[2..4].copy_from_slice(&offset.to_be_bytes());
        } else if kind == 43 {
            header[2] = self.random.pick(&[0, 2, 3, 4]);
            header[3] = self.random.pick(&[0, 0, 0, 1, 255]);
        }
        frame[20] = kind;
        let grown = u16::from_be_bytes([frame[18], frame[19]]).wrapping_add(length as u16);
        frame[18..20].copy_from_slice(&grown.to_be_bytes());
        frame.splice(54..54, header);
    }

    /// A packet in order, with a stack of tags, options or extension headers, in fragments, with
    /// padding: each layer by chance.
    fn layers(&mut self) -> Frame {
        let v6 = self.random.one_in(2);
        let port = self.random.pick(&[22, 80, 53, 68]);
        let index = self.random.below(40) as usize;
        let data = vec![0; index];
        let (proto, payload) = match self.random.below(6) {
            0 | 1 => {
                let flags = self
                    .random
                    .pick(&[0x02, 0x10, 0x12, 0x18, 0x04, 0x14, 0x11]);
                (6, frames::tcp(40_000, port, flags, &data))
            }
            2 => (17, frames::udp(53, port, &data)),
            3 if v6 => self.icmp6(),
            3 => {
                let kind = self.random.pick(&[0, 3, 8, 11, 12, 13]);
                let ours = frames::Ipv4::new([198, 51, 100, 80], [192, 0, 2, 1], 6);
                let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
                message.extend(ours.packet(&[0; 20]));
                message.truncate(8 + self.random.below(40) as usize);
                (1, message)
            }
            4 => (132, frames::tcp(40_000, port, 0, &data)),
            5 if self.random.one_in(2) => self.tunnel(),
            _ => (self.random.pick(&[47, 4, 41, 50, 255]), data),
        };
        let mut frame = if v6 {
            let hop_limit = self.random.pick(&[1, 64, 255]);
            let mut source = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
            let mut destination = source;
            destination[15] = 2;
            if self.random.one_in(8) {
                source = [0; 16];
            }
            let packet = frames::ipv6(source, destination, proto, hop_limit, &payload);
            frames::ethernet(0x86dd, &packet)
        } else {
            let mut header = frames::Ipv4::new([192, 0, 2, 1], [198, 51, 100, 80], proto);
            if self.random.one_in(3) {
                let length = self.random.below(41) as usize;
                header.options = self.options(length);
            }
            if self.random.one_in(3) {
                header.fragment = self
                    .random
                    .pick(&[0x2000, 0x2001, 0x2002, 1, 2, 3, 185, 0x4000]);
            }
            frames::ethernet(0x0800, &header.packet(&payload))
        };
        if v6 {
            for _ in 0..self.random.below(4) * self.random.below(5) {
                self.extension(&mut frame);
            }
        }
        if self.random.one_in(3) {
            let tag = (
                self.random.pick(&[0x8100, 0x88a8]),
                self.random.pick(&[0, 100]),
            );
            let depth = self.random.below(9) as usize;
            frame = frames::tagged(&frame, &vec![tag; depth]);
        }
        frame
    }

    /// A tunnel with a packet inside, and something wrong in any part of it by chance.
    fn tunnel(&mut self) -> (u8, Vec<u8>) {
        let base = self.random.below(self.bases.len() as u64) as usize;
        let mut inside = self.bases[base].clone();
        if self.random.one_in(3) {
            self.mutate(&mut inside);
        }
        if self.random.one_in(8) {
            let length = self.random.below(inside.len() as u64 + 1) as usize;
            inside.truncate(length);
        }
        let packet = inside.get(14..).unwrap_or_default().to_vec();
        let kind = inside.get(12..14).unwrap_or(&[8, 0]).to_vec();
        match self.random.below(4) {
            0 => (if kind == [0x86, 0xdd] { 41 } else { 4 }, packet),
            1 => {
                let mut vxlan = vec![self.random.pick(&[8, 8, 8, 0, 255]), 0, 0, 0, 0, 0, 1, 0];
                vxlan.extend(inside);
                let mut datagram = frames::udp(40_000, 4789, &vxlan);
                if self.random.one_in(8) {
                    let length = self.random.below(40) as u16;
                    put(&mut datagram, 4, &length.to_be_bytes());
                }
                (17, datagram)
            }
            _ => {
                let flags = self
                    .random
                    .pick(&[0u16, 0, 0x8000, 0x2000, 0x1000, 0xb000, 0x4000, 1]);
                let mut gre = flags.to_be_bytes().to_vec();
                let whole = self.random.one_in(3);
                let redirected = !whole && self.random.one_in(4);
                gre.extend(match (whole, redirected) {
                    (true, _) => vec![0x65, 0x58],
                    (_, true) => vec![0x88, 0x3e],
                    _ => kind,
                });
                let options = (flags & 0xb000).count_ones() as usize;
                gre.resize(4 + 4 * options, 0);
                if redirected && self.random.one_in(2) {
                    gre.extend([self.random.byte(), 1, 2, 3]);
                }
                gre.extend(if whole { inside } else { packet });
                (47, gre)
            }
        }
    }

    /// IPv4 options that fill `length` bytes, or nearly.
    fn options(&mut self, length: usize) -> Vec<u8> {
        let mut options = Vec::new();
        while options.len() < length {
            match self.random.below(6) {
                0 | 1 => options.push(1),
                2 => options.push(self.random.pick(&[0, 131, 137, 148])),
                _ => {
                    let size = self.random.below(9) as u8;
                    options.extend([self.random.pick(&[7, 68, 148]), size]);
                    options.resize(options.len() + usize::from(size.saturating_sub(2)), 0);
                }
            }
        }
        options.truncate(length);
        options
    }

    fn icmp6(&mut self) -> (u8, Vec<u8>) {
        let kind = self
            .random
            .pick(&[1, 2, 4, 128, 130, 131, 133, 134, 135, 136, 137, 143]);
        let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        if kind < 5 {
            let mut ours = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
            ours[15] = self.random.pick(&[2, 2, 3]);
            message.extend(frames::ipv6(ours, [1; 16], 6, 64, &[0; 20]));
        } else {
            message.resize(48, 0);
        }
        message.truncate(8 + self.random.below(64) as usize);
        (58, message)
    }
}

/// Writes as much of `bytes` as there is room for.
fn put(frame: &mut Frame, at: usize, bytes: &[u8]) {
    for (offset, byte) in bytes.iter().enumerate() {
        if let Some(place) = frame.get_mut(at + offset) {
            *place = *byte;
        }
    }
}
