//! TCP segments and datagrams that a forger puts on a cable, and what a listener on it sees of the
//! real ones: numbers, flags, options.
//!
//! Uses no code of the parser under test.

use crate::frames::{self, Frame, Ipv4, checksum};
use crate::netns::{Namespace, interface};
use anyhow::{Context, Result, bail};
use pnet_datalink::{Channel, Config, DataLinkReceiver};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Flags of TCP.
pub const FIN: u8 = 1;
/// Flags of TCP.
pub const SYN: u8 = 2;
/// Flags of TCP.
pub const RST: u8 = 4;
/// Flags of TCP.
pub const PSH: u8 = 8;
/// Flags of TCP.
pub const ACK: u8 = 16;
/// Flags of TCP.
pub const URG: u8 = 32;

/// What stands in a checksum field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sum {
    /// The sum of all that it covers.
    Right,
    /// That of the pseudo-header alone, which a neighbour leaves to the card to complete.
    Partial,
    /// Another one.
    Wrong,
}

/// A TCP segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Sender.
    pub from: SocketAddr,
    /// Receiver, of the same family.
    pub to: SocketAddr,
    /// Flags.
    pub flags: u8,
    /// Number of the first byte.
    pub seq: u32,
    /// Acknowledgement.
    pub ack: u32,
    /// Window, as it stands in the header.
    pub window: u16,
    /// Options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// Payload.
    pub data: Vec<u8>,
}

impl Segment {
    /// One without options or payload.
    #[must_use]
    pub fn new(from: SocketAddr, to: SocketAddr, flags: u8, seq: u32, ack: u32) -> Self {
        Self {
            from,
            to,
            flags,
            seq,
            ack,
            window: 1_024,
            options: Vec::new(),
            data: Vec::new(),
        }
    }

    /// The number behind its last byte; SYN and FIN count as one each.
    #[must_use]
    pub fn end(&self) -> u32 {
        let flags = u32::from(self.flags & SYN != 0) + u32::from(self.flags & FIN != 0);
        self.seq
            .wrapping_add(self.data.len() as u32)
            .wrapping_add(flags)
    }

    /// The same with other flags, and a number that is smaller by so much.
    #[must_use]
    pub fn before(&self, bytes: u32, flags: u8) -> Self {
        Self {
            seq: self.seq.wrapping_sub(bytes),
            flags,
            ..self.clone()
        }
    }

    /// Whether it goes from the one to the other.
    #[must_use]
    pub fn goes(&self, from: SocketAddr, to: SocketAddr) -> bool {
        self.from == from && self.to == to
    }

    /// The frame between two Ethernet addresses (receiver, then sender).
    #[must_use]
    pub fn frame(&self, macs: [u8; 12], sum: Sum) -> Frame {
        let mut segment = frames::tcp(self.from.port(), self.to.port(), self.flags, &[]);
        segment[4..8].copy_from_slice(&self.seq.to_be_bytes());
        segment[8..12].copy_from_slice(&self.ack.to_be_bytes());
        segment[12] = 0x50 + (self.options.len() as u8 / 4 * 16);
        segment[14..16].copy_from_slice(&self.window.to_be_bytes());
        segment.extend(&self.options);
        segment.extend(&self.data);
        packed(self.from.ip(), self.to.ip(), 6, segment, 16, macs, sum)
    }
}

/// A UDP datagram as a frame between two Ethernet addresses (receiver, then sender).
#[must_use]
pub fn datagram(from: SocketAddr, to: SocketAddr, data: &[u8], macs: [u8; 12]) -> Frame {
    let datagram = frames::udp(from.port(), to.port(), data);
    packed(from.ip(), to.ip(), 17, datagram, 6, macs, Sum::Right)
}

/// An ICMP or ICMPv6 message, its checksum zero so far, as a frame.
#[must_use]
pub fn icmp(from: IpAddr, to: IpAddr, message: Vec<u8>, macs: [u8; 12]) -> Frame {
    let proto = if from.is_ipv4() { 1 } else { 58 };
    packed(from, to, proto, message, 2, macs, Sum::Right)
}

/// Addresses as they stand in a header, one after the other.
fn addresses(from: IpAddr, to: IpAddr) -> Vec<u8> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
        (IpAddr::V6(from), IpAddr::V6(to)) => [from.octets(), to.octets()].concat(),
        _ => panic!("{from} and {to} are of two families"),
    }
}

fn packed(
    from: IpAddr,
    to: IpAddr,
    proto: u8,
    mut payload: Vec<u8>,
    sum_at: usize,
    macs: [u8; 12],
    sum: Sum,
) -> Frame {
    let both = addresses(from, to);
    let length = (payload.len() as u32).to_be_bytes();
    let mut covered = [&both[..], &length, &[0, 0, 0, proto]].concat();
    if proto == 1 {
        covered.clear();
    }
    let value = match sum {
        Sum::Partial => !checksum(&covered),
        Sum::Right | Sum::Wrong => {
            covered.extend(&payload);
            checksum(&covered)
        }
    };
    let value = if sum == Sum::Wrong { !value ^ 1 } else { value };
    payload[sum_at..sum_at + 2].copy_from_slice(&value.to_be_bytes());
    let mut frame = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let packet = Ipv4::new(from.octets(), to.octets(), proto).packet(&payload);
            frames::ethernet(0x0800, &packet)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let packet = frames::ipv6(from.octets(), to.octets(), proto, 64, &payload);
            frames::ethernet(0x86dd, &packet)
        }
        _ => panic!("{from} and {to} are of two families"),
    };
    frame[..12].copy_from_slice(&macs);
    frame
}

/// Reads a TCP segment out of a frame without extension headers; `None` for all else.
#[must_use]
pub fn read(frame: &[u8]) -> Option<Segment> {
    let packet = frame.get(14..)?;
    let (from, to, segment): (IpAddr, IpAddr, &[u8]) = match frame.get(12..14)? {
        [8, 0] => {
            let header = usize::from(packet.first()? & 15) * 4;
            let length = usize::from(u16::from_be_bytes(packet.get(2..4)?.try_into().ok()?));
            if *packet.get(9)? != 6 {
                return None;
            }
            let address = |at: usize| <[u8; 4]>::try_from(packet.get(at..at + 4)?).ok();
            (
                address(12)?.into(),
                address(16)?.into(),
                packet.get(header..length)?,
            )
        }
        [0x86, 0xdd] => {
            let length = usize::from(u16::from_be_bytes(packet.get(4..6)?.try_into().ok()?));
            if *packet.get(6)? != 6 {
                return None;
            }
            let address = |at: usize| <[u8; 16]>::try_from(packet.get(at..at + 16)?).ok();
            (
                address(8)?.into(),
                address(24)?.into(),
                packet.get(40..40 + length)?,
            )
        }
        _ => return None,
    };
    let half = |at: usize| {
        Some(u16::from_be_bytes(
            segment.get(at..at + 2)?.try_into().ok()?,
        ))
    };
    let word = |at: usize| {
        Some(u32::from_be_bytes(
            segment.get(at..at + 4)?.try_into().ok()?,
        ))
    };
    let header = usize::from(segment.get(12)? >> 4) * 4;
    Some(Segment {
        from: (from, half(0)?).into(),
        to: (to, half(2)?).into(),
        flags: *segment.get(13)?,
        seq: word(4)?,
        ack: word(8)?,
        window: half(14)?,
        options: segment.get(20..header)?.to_vec(),
        data: segment.get(header..)?.to_vec(),
    })
}

/// What goes over an interface in both directions, from now on.
pub struct Tap {
    receiver: Box<dyn DataLinkReceiver>,
}

impl Tap {
    /// On an interface of `host`.
    ///
    /// # Errors
    /// No packet socket.
    pub fn on(host: &Namespace, name: &str) -> Result<Self> {
        host.run(|| {
            let config = Config {
                read_buffer_size: 1 << 17,
                read_timeout: Some(Duration::from_millis(10)),
                ..Config::default()
            };
            match pnet_datalink::channel(&interface(name)?, config)? {
                Channel::Ethernet(_, receiver) => Ok(Self { receiver }),
                _ => bail!("{name} is no Ethernet interface"),
            }
        })
    }

    /// All segments up to now, and those of the next `time`.
    pub fn segments(&mut self, time: Duration) -> Vec<Segment> {
        let until = Instant::now() + time;
        let mut seen = Vec::new();
        loop {
            match self.receiver.next() {
                Ok(frame) => seen.extend(read(frame)),
                Err(_) if Instant::now() > until => return seen,
                Err(_) => {}
            }
        }
    }

    /// The first segment that fits.
    ///
    /// # Errors
    /// None comes within ten seconds.
    pub fn wait(&mut self, fits: impl Fn(&Segment) -> bool) -> Result<Segment> {
        let until = Instant::now() + crate::patience(Duration::from_secs(10));
        while Instant::now() < until {
            if let Ok(frame) = self.receiver.next()
                && let Some(segment) = read(frame)
                && fits(&segment)
            {
                return Ok(segment);
            }
        }
        None.context("no such segment within ten seconds")
    }
}
