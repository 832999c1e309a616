//! Random traffic of a host: what it sends and what comes in, so that the two often belong
//! together, nearly belong together, or have nothing to do with each other.

use crate::frames::{Frame, Ipv4, ethernet, ipv6};
use crate::oracle::flows::{Flows, Message, Packet, Quote, Segment, Side, Sum};
use crate::random::Random;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// This host sends the packet.
    Out(Packet, Frame),
    /// The packet comes in.
    In(Packet, Frame),
    /// Nothing happens for so many units of 2^30 nanoseconds.
    Wait(u64),
}

/// Makes events. Equal seeds give equal ones, as long as the flows are the same.
#[derive(Debug)]
pub struct Connections {
    random: Random,
    ends: u64,
    groups: bool,
}

impl Connections {
    /// `ends`: how many ports and hosts the traffic is spread over, each way.
    #[must_use]
    pub const fn new(seed: u64, ends: u64) -> Self {
        Self {
            random: Random::new(seed),
            ends,
            groups: false,
        }
    }

    /// Some datagrams go to groups.
    #[must_use]
    pub const fn with_groups(mut self) -> Self {
        self.groups = true;
        self
    }

    /// The next event. `flows` are those that there are, so that numbers can be near theirs.
    pub fn event(&mut self, flows: &Flows) -> Event {
        let random = &mut self.random;
        if random.one_in(400) {
            return Event::Wait(random.pick(&[1, 5, 9, 20, 30, 60, 115, 300, 50_000]));
        }
        let v6 = random.one_in(3);
        let host = |random: &mut Random, net: u8, ends: u64| -> IpAddr {
            let n = random.below(ends) as u16;
            if v6 {
                Ipv6Addr::new(0x2001, 0xdb8, net.into(), 0, 0, 0, 0, n + 1).into()
            } else {
                Ipv4Addr::new(198, 51 + net, (n >> 7) as u8, n as u8 & 0x7f | 0x80).into()
            }
        };
        let ends = self.ends;
        let local = (host(random, 0, 2), 1_000 + random.below(ends) as u16);
        let mut remote = (host(random, 1, ends), 80 + random.below(2) as u16);
        let out = random.one_in(3);
        if !out && random.one_in(4) {
            // Nobody that this host has ever sent to.
            remote.0 = if v6 {
                Ipv6Addr::from_bits(0x2001 << 112 | u128::from(random.bits())).into()
            } else {
                Ipv4Addr::from_bits(0x0b00_0000 | random.bits() as u32 & 0xff_ffff).into()
            };
        }
        let message = match random.below(12) {
            0..=6 => Message::Tcp(Segment {
                syn: false,
                ack: true,
                fin: false,
                rst: false,
                sequence: 0,
                acknowledged: 0,
                data: random.pick(&[0, 0, 1, 100]),
                sum: Sum::Right,
            }),
            7 | 8 => Message::Udp,
            9 => Message::EchoRequest,
            10 => Message::EchoReply,
            _ => Message::Error(match random.below(3) {
                0 => Quote::Udp,
                1 => Quote::EchoRequest,
                _ => Quote::Tcp(0),
            }),
        };
        if self.groups && out && message == Message::Udp && random.one_in(4) {
            remote.0 = match v6 {
                true => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xc).into(),
                false => random
                    .pick(&[Ipv4Addr::new(239, 255, 255, 250), Ipv4Addr::BROADCAST])
                    .into(),
            };
        }
        let mut packet = Packet {
            local,
            remote,
            message,
        };
        let known = flows.get(&packet).copied();
        let near = |random: &mut Random, number: u32, reach: u32| {
            let edges = [
                0,
                1,
                u32::MAX,
                reach,
                reach.wrapping_add(1),
                reach.wrapping_add(2),
                reach / 2,
            ];
            if random.one_in(6) {
                random.bits() as u32
            } else {
                number.wrapping_add(random.pick(&edges))
            }
        };
        match &mut packet.message {
            Message::Tcp(segment) => {
                // SYN, SYN and ACK, FIN, RST, RST and ACK, or none of them.
                match random.below(9) {
                    0 | 1 => (segment.syn, segment.ack) = (true, false),
                    2 => segment.syn = true,
                    3 => segment.fin = true,
                    4 => segment.rst = true,
                    5 => (segment.rst, segment.ack) = (true, false),
                    _ => {}
                }
                if segment.rst {
                    segment.sum = random.pick(&[Sum::Right, Sum::Right, Sum::Bare, Sum::Wrong]);
                }
                let (own, other) = known.map_or((0, 0), |flow| {
                    if out {
                        (end(&flow.own), end(&flow.other))
                    } else {
                        (end(&flow.other), end(&flow.own))
                    }
                });
                (segment.sequence, segment.acknowledged) = if random.one_in(2) {
                    (own, other)
                } else {
                    let reach = random.pick(&[0, 1 << 20, (1 << 20) - 100, 1u32 << 31]);
                    let back = reach.wrapping_neg();
                    let reach = random.pick(&[reach, back]);
                    (near(random, own, reach), near(random, other, back))
                };
                if !segment.ack {
                    segment.acknowledged = 0;
                }
            }
            Message::Error(Quote::Tcp(sequence)) => {
                let next = known.map_or(0, |flow| end(&flow.own));
                let back = random.pick(&[0, 1, 1_000, 4 << 20, (4 << 20) + 1, u32::MAX]);
                *sequence = next.wrapping_sub(back);
            }
            _ => {}
        }
        let frame = frame(&packet, out);
        if out {
            Event::Out(packet, frame)
        } else {
            Event::In(packet, frame)
        }
    }
}

/// The number behind the last byte of a side; 0 if it has said none.
fn end(side: &Side) -> u32 {
    side.numbers.map_or(0, |numbers| numbers.end)
}

/// The packet on the wire. ICMP errors come from a router on the way.
#[must_use]
pub fn frame(packet: &Packet, out: bool) -> Frame {
    let (local, remote) = (packet.local, packet.remote);
    let (from, to) = if out {
        (local, remote)
    } else {
        (remote, local)
    };
    let v6 = local.0.is_ipv6();
    let (protocol, payload) = match packet.message {
        Message::Tcp(segment) => (6, tcp(from, to, &segment)),
        Message::Udp => (17, crate::frames::udp(from.1, to.1, b"data")),
        Message::EchoRequest => echo(v6, true, local.1),
        Message::EchoReply => echo(v6, false, local.1),
        Message::Error(quote) => {
            let message = match quote {
                Quote::Tcp(sequence) => {
                    let mut segment = crate::frames::tcp(local.1, remote.1, 16, &[]);
                    segment[4..8].copy_from_slice(&sequence.to_be_bytes());
                    (6, segment)
                }
                Quote::Udp => (17, crate::frames::udp(local.1, remote.1, b"data")),
                Quote::EchoRequest => echo(v6, true, local.1),
            };
            let quoted = packet_of(local.0, remote.0, message.0, &message.1);
            let kind = if v6 { 3 } else { 11 };
            let mut payload = vec![kind, 0, 0, 0, 0, 0, 0, 0];
            payload.extend(quoted);
            let router: IpAddr = if v6 {
                Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 1).into()
            } else {
                Ipv4Addr::new(203, 0, 113, 1).into()
            };
            let icmp = if v6 { 58 } else { 1 };
            let (from, to) = if out {
                (local.0, remote.0)
            } else {
                (router, local.0)
            };
            return wrap(v6, &packet_of(from, to, icmp, &payload));
        }
    };
    wrap(v6, &packet_of(from.0, to.0, protocol, &payload))
}

fn wrap(v6: bool, packet: &[u8]) -> Frame {
    ethernet(if v6 { 0x86dd } else { 0x0800 }, packet)
}

fn packet_of(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            Ipv4::new(from.octets(), to.octets(), protocol).packet(payload)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            ipv6(from.octets(), to.octets(), protocol, 64, payload)
        }
        _ => Vec::new(),
    }
}

fn echo(v6: bool, request: bool, identifier: u16) -> (u8, Vec<u8>) {
    let (protocol, kind) = match (v6, request) {
        (false, true) => (1, 8),
        (false, false) => (1, 0),
        (true, true) => (58, 128),
        (true, false) => (58, 129),
    };
    let mut message = vec![kind, 0, 0, 0];
    message.extend(identifier.to_be_bytes());
    message.extend([0, 1]);
    (protocol, message)
}

fn tcp(from: (IpAddr, u16), to: (IpAddr, u16), segment: &Segment) -> Vec<u8> {
    let bits = [
        (segment.fin, 1),
        (segment.syn, 2),
        (segment.rst, 4),
        (segment.ack, 16),
    ];
    let flags = bits.iter().map(|&(set, bit)| u8::from(set) * bit).sum();
    let data = vec![0; segment.data as usize];
    let mut bytes = crate::frames::tcp(from.1, to.1, flags, &[]);
    bytes[4..8].copy_from_slice(&segment.sequence.to_be_bytes());
    bytes[8..12].copy_from_slice(&segment.acknowledged.to_be_bytes());
    if segment.syn {
        // Largest segment, no operation, window scale, no operation.
        bytes.extend([2, 4, 5, 180, 1, 3, 3, 7, 1, 1, 1, 1]);
        bytes[12] = 0x80;
    }
    bytes.extend(data);
    let sum = checksum(from.0, to.0, &mut bytes, segment.sum);
    bytes[16..18].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// The checksum of a segment, by the book: the one's complement of the sum in one's complement of
/// pseudo-header and segment, 16 bits at a time.
fn checksum(from: IpAddr, to: IpAddr, segment: &mut [u8], sum: Sum) -> u16 {
    segment[16..18].fill(0);
    let mut bytes = Vec::new();
    for address in [from, to] {
        match address {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    bytes.extend([0, 6]);
    bytes.extend((segment.len() as u16).to_be_bytes());
    let right = crate::frames::checksum(&[&bytes[..], segment].concat());
    match sum {
        Sum::Right => right,
        Sum::Bare => !crate::frames::checksum(&bytes),
        // Neither the right one nor the bare one.
        Sum::Wrong => right ^ 0x5a5a,
    }
}
