//! Random frames for comparisons, made by the builders of [`firewall_policy::evasion::frames`], which
//! use no code of the parser: what the parser believes is what is tested.

use crate::random::Random;
pub use firewall_policy::evasion::frames::*;

/// Values that random frames prefer: those at the borders of a policy's rules.
#[derive(Clone, Debug, Default)]
pub struct Taste {
    /// IPv4 addresses.
    pub v4: Vec<u32>,
    /// IPv6 addresses.
    pub v6: Vec<u128>,
    /// Ports.
    pub ports: Vec<u16>,
}

/// What is wrong with a checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sum {
    /// Nothing.
    Right,
    /// It is that of the pseudo header alone: what a neighbour on a virtual cable leaves to the card.
    Bare,
    /// It is another one.
    Wrong,
}

/// Puts the checksum into a TCP segment, a UDP datagram, an ICMP or ICMPv6 message between two
/// addresses of 4 or 16 bytes.
pub fn seal(payload: &mut [u8], proto: u8, source: &[u8], destination: &[u8], sum: Sum) {
    let at = match proto {
        6 => 16,
        17 => 6,
        _ => 2,
    };
    payload[at..at + 2].fill(0);
    let mut pseudo = match proto {
        1 => Vec::new(),
        _ => [source, destination].concat(),
    };
    if proto != 1 {
        pseudo.extend((payload.len() as u32).to_be_bytes());
        pseudo.extend([0, 0, 0, proto]);
    }
    let right = match checksum(&[&pseudo, &*payload].concat()) {
        // Of UDP 0 means that there is none.
        0 if proto == 17 => 0xffff,
        right => right,
    };
    let sum = match sum {
        Sum::Right => right,
        Sum::Bare => !checksum(&pseudo),
        Sum::Wrong => right ^ 0x0100,
    };
    payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// A random frame: mostly well-formed, often odd, sometimes cut or damaged.
#[must_use]
pub fn random(random: &mut Random, taste: &Taste) -> Frame {
    let mut frame = match random.below(20) {
        0 => ethernet(0x0806, &arp(random)),
        1 => ethernet(
            random.pick(&[0x8864, 0x8847, 0x0042, 0x05ff, 0x0600, 0x88cc]),
            &bytes(random, 60),
        ),
        2..=10 => ethernet(0x0800, &random_v4(random, taste)),
        _ => ethernet(0x86dd, &random_v6(random, taste)),
    };
    if random.one_in(4) {
        let tags: Vec<(u16, u16)> = (0..random.below(7))
            .map(|_| {
                (
                    random.pick(&[0x8100, 0x88a8, 0x9100]),
                    random.pick(&[0, 10, 100, 0xffff]),
                )
            })
            .collect();
        frame = tagged(&frame, &tags);
    }
    if random.one_in(8) {
        let at = 12 + random.below(frame.len() as u64 - 12) as usize;
        frame[at] = random.byte();
    }
    if random.one_in(8) {
        let keep = 14 + random.below(frame.len() as u64 - 13) as usize;
        frame.truncate(keep);
    }
    if random.one_in(8) {
        // Ethernet padding, or a trailer.
        frame.resize(frame.len() + random.below(40) as usize, 0x50);
    }
    frame
}

fn bytes(random: &mut Random, most: u64) -> Vec<u8> {
    (0..random.below(most)).map(|_| random.byte()).collect()
}

fn arp(random: &mut Random) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 1];
    packet.extend((0..20).map(|_| random.byte()));
    packet
}

fn address4(random: &mut Random, taste: &Taste) -> [u8; 4] {
    if taste.v4.is_empty() || random.one_in(3) {
        (random.bits() as u32).to_be_bytes()
    } else {
        let near = random.pick(&taste.v4);
        near.wrapping_add(random.below(3) as u32)
            .wrapping_sub(1)
            .to_be_bytes()
    }
}

fn address6(random: &mut Random, taste: &Taste) -> [u8; 16] {
    if taste.v6.is_empty() || random.one_in(3) {
        let (high, low) = (random.bits(), random.bits());
        (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
    } else {
        let near = random.pick(&taste.v6);
        near.wrapping_add(u128::from(random.below(3)))
            .wrapping_sub(1)
            .to_be_bytes()
    }
}

fn port(random: &mut Random, taste: &Taste) -> u16 {
    if taste.ports.is_empty() || random.one_in(4) {
        random.bits() as u16
    } else {
        let near = random.pick(&taste.ports);
        near.wrapping_add(random.below(3) as u16).wrapping_sub(1)
    }
}

/// A transport protocol and its bytes.
fn transport(random: &mut Random, taste: &Taste, v6: bool) -> (u8, Vec<u8>) {
    let (sport, dport) = (port(random, taste), port(random, taste));
    let data = bytes(random, 40);
    match random.below(10) {
        0..=3 => {
            let flags = random.pick(&[0x02, 0x10, 0x18, 0x11, 0x04, 0x12, 0x00, 0x29, 0x03, 0x3f]);
            (6, tcp(sport, dport, flags, &data))
        }
        4..=6 => {
            let dhcp = random.pick(&[(67, 68), (547, 546), (sport, dport), (sport, dport)]);
            (17, udp(dhcp.0, dhcp.1, &data))
        }
        7 | 8 => {
            let kind = if v6 {
                random.pick(&[1, 2, 3, 4, 128, 129, 130, 133, 134, 135, 136, 137, 143])
            } else {
                random.pick(&[0, 3, 4, 5, 8, 11, 12, 13])
            };
            let mut message = vec![kind, random.below(5) as u8, 0, 0, 0, 0, 0, 0];
            message.extend(bytes(random, 90));
            (if v6 { 58 } else { 1 }, message)
        }
        _ => (
            random.pick(&[47, 50, 132, 4, 41, 59, 255]),
            bytes(random, 40),
        ),
    }
}

fn random_v4(random: &mut Random, taste: &Taste) -> Vec<u8> {
    let (proto, payload) = transport(random, taste, false);
    let mut header = Ipv4::new(address4(random, taste), address4(random, taste), proto);
    header.ttl = random.pick(&[1, 64, 254, 255]);
    if random.one_in(8) {
        header.options = random
            .pick(&[
                &[1u8, 1, 1, 1][..],
                &[131, 7, 4, 198, 51, 100, 7][..],
                &[137, 3, 4][..],
                &[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0][..],
                &[148, 4, 0, 0][..],
                &[68, 1][..],
                &[1; 40][..],
            ])
            .to_vec();
    }
    if random.one_in(6) {
        header.fragment = random.pick(&[0x2000, 0x2001, 1, 2, 185, 8189, 0x3fff, 0x4000, 0x8000]);
    }
    let mut packet = header.packet(&payload);
    if random.one_in(10) {
        let length = random.pick(&[0u16, 19, 20, 24, 1400, 65_535]);
        packet[2..4].copy_from_slice(&length.to_be_bytes());
    }
    packet
}

fn random_v6(random: &mut Random, taste: &Taste) -> Vec<u8> {
    let (mut next, mut payload) = transport(random, taste, true);
    for _ in 0..if random.one_in(3) {
        random.below(11)
    } else {
        0
    } {
        let kind = random.pick(&[0, 43, 44, 51, 60, 60, 60]);
        let mut header = vec![next, 0];
        match kind {
            44 => {
                header[1] = random.byte();
                let offset = random.pick(&[0u16, 1, 8, 9, 16, 1440, 0xfff8]);
                header.extend(offset.to_be_bytes());
                header.extend([0, 0, 0, 1]);
            }
            51 => {
                header[1] = 4;
                header.extend([0; 22]);
            }
            43 => header.extend([random.pick(&[0, 2, 4]), random.pick(&[0, 1]), 0, 0, 0, 0]),
            _ => {
                let units = random.pick(&[0, 0, 0, 1, 20]);
                header[1] = units;
                header.extend(std::iter::repeat_n(0, 6 + 8 * usize::from(units)));
            }
        }
        header.extend(payload);
        payload = header;
        next = kind;
    }
    let hop_limit = random.pick(&[1, 64, 254, 255]);
    let mut packet = ipv6(
        address6(random, taste),
        address6(random, taste),
        next,
        hop_limit,
        &payload,
    );
    if random.one_in(10) {
        let length = random.pick(&[0u16, 4, 8, 1400, 65_535]);
        packet[4..6].copy_from_slice(&length.to_be_bytes());
    }
    packet
}
