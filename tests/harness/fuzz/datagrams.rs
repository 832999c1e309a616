//! Sequences of fragments: datagrams cut at random, interleaved, out of order, doubled, overlapping,
//! with few identifications, so that they meet.

use crate::frames::{Frame, Ipv4, ethernet, ipv6, tagged, tcp, udp};
use crate::random::Random;

/// A piece of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Whether it is IPv6.
    pub v6: bool,
    /// Last byte of the source address; the destination is always the same.
    pub host: u8,
    /// UDP or TCP.
    pub proto: u8,
    /// Identification. (IPv4 takes 16 bits of it.)
    pub id: u32,
    /// First and behind the last byte.
    pub bytes: (usize, usize),
    /// Whether more follow.
    pub more: bool,
}

/// The frame of a piece of `datagram`, which begins with the transport header. What is past its end
/// is zeros.
#[must_use]
pub fn fragment(datagram: &[u8], piece: &Piece) -> Frame {
    let (from, to) = piece.bytes;
    let data: Vec<u8> = (from..to)
        .map(|at| datagram.get(at).copied().unwrap_or(0))
        .collect();
    if piece.v6 {
        let address = |last| [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
        let word = from as u16 & 0xfff8 | u16::from(piece.more);
        let mut payload = vec![piece.proto, 0];
        payload.extend(word.to_be_bytes());
        payload.extend(piece.id.to_be_bytes());
        payload.extend(data);
        let packet = ipv6(address(piece.host), address(250), 44, 64, &payload);
        return ethernet(0x86dd, &packet);
    }
    let mut header = Ipv4::new([192, 0, 2, piece.host], [198, 51, 100, 80], piece.proto);
    header.id = piece.id as u16;
    header.fragment = (from / 8) as u16 | u16::from(piece.more) << 13;
    ethernet(0x0800, &header.packet(&data))
}

/// An endless sequence of frames. Equal seeds give equal sequences.
#[derive(Debug)]
pub struct Datagrams {
    random: Random,
    pending: Vec<Frame>,
}

impl Datagrams {
    /// Starts a sequence.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            pending: Vec::new(),
        }
    }

    /// The next frame.
    pub fn frame(&mut self) -> Frame {
        while self.pending.len() < 24 {
            self.datagram();
        }
        // Mostly in order, sometimes from anywhere.
        let among = if self.random.one_in(3) {
            self.pending.len()
        } else {
            2
        };
        self.pending
            .remove(self.random.below(among as u64) as usize)
    }

    /// Adds the fragments of one datagram, and perhaps what does not belong to it.
    fn datagram(&mut self) {
        let random = &mut self.random;
        let length = 32 + random.below(800) as usize;
        let port = random.pick(&[22, 53, 80]);
        let proto = random.pick(&[6, 17, 17]);
        let datagram = if proto == 6 {
            tcp(40_000, port, 2, &vec![7; length])
        } else {
            udp(40_000, port, &vec![7; length])
        };
        let whole = Piece {
            v6: random.one_in(2),
            host: random.pick(&[1, 2]),
            proto,
            id: random.pick(&[7, 8, 0x1_0007]),
            bytes: (0, datagram.len()),
            more: false,
        };
        let mut cuts = vec![24];
        while let Some(&last) = cuts.last()
            && last < datagram.len()
        {
            cuts.push(last + 8 * (1 + random.below(12) as usize));
        }
        let mut pieces: Vec<Piece> = std::iter::once(0)
            .chain(cuts.iter().copied())
            .zip(cuts.iter().copied())
            .filter(|(from, _)| *from < datagram.len())
            .map(|(from, to)| Piece {
                bytes: (from, to.min(datagram.len())),
                more: to < datagram.len(),
                ..whole
            })
            .collect();
        if random.one_in(3) {
            // Backwards behind the first: many pieces apart from each other.
            let odd = pieces.iter().copied().skip(1).step_by(2);
            let even = pieces.iter().copied().skip(2).step_by(2);
            pieces = pieces
                .iter()
                .copied()
                .take(1)
                .chain(odd)
                .chain(even)
                .collect();
        }
        for mut piece in pieces {
            let (from, to) = piece.bytes;
            match random.below(60) {
                0 => continue,
                1 => self.pending.push(fragment(&datagram, &piece)),
                2 if from >= 16 => piece.bytes.0 -= 8,
                3 if piece.more => piece.bytes.1 = to + 8,
                4 if from != 0 => piece.more = !piece.more && to.is_multiple_of(8),
                5 => piece.id ^= 1,
                6 if from != 0 => piece.proto ^= 6 ^ 17,
                _ => {}
            }
            let mut frame = fragment(&datagram, &piece);
            if random.one_in(20) {
                frame = tagged(&frame, &[(0x8100, random.pick(&[0, 100]))]);
            }
            self.pending.push(frame);
        }
    }
}
