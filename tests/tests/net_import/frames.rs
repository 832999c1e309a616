//! Frames aimed at rules: at what stands in their texts, and its neighbours.

use firewall_policy::evasion::frames::{Ipv4, checksum, ipv6, tcp, udp};
use firewall_policy::rule::Mac;
use firewall_tests::original::INSIDE_MAC;
use firewall_tests::random::Random;

/// One frame on its way.
pub(crate) struct Sent {
    pub(crate) interface: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) v6: bool,
    pub(crate) number: u32,
    /// Netfilter does not take it for the first packet of a connection.
    pub(crate) odd: bool,
    /// It is TCP that goes on with a connection which is none.
    pub(crate) acknowledges: bool,
    pub(crate) words: String,
}

impl Sent {
    /// What tells its connection from others, in whatever direction: the two ends and the protocol.
    pub(crate) fn connection(&self) -> [Vec<u8>; 3] {
        let ip = &self.bytes[14..];
        let (proto, addresses, width, payload) = if self.v6 {
            (ip[6], 8, 16, 40)
        } else {
            (ip[9], 12, 4, 20)
        };
        let end = |side: usize| {
            let address = addresses + side * width;
            let mut end = ip[address..address + width].to_vec();
            // The identifier of echo messages is the frame's number.
            if matches!(proto, 1 | 58) {
                end.extend(&ip[payload + 4..payload + 6]);
            } else if matches!(proto, 6 | 17 | 132) {
                end.extend(&ip[payload + 2 * side..payload + 2 * side + 2]);
            }
            end
        };
        let (from, to) = (end(0), end(1));
        [from.clone().min(to.clone()), from.max(to), vec![proto]]
    }

    /// The IPv4 source address.
    pub(crate) fn source4(&self) -> u32 {
        u32::from_be_bytes(self.bytes[26..30].try_into().unwrap())
    }
}

/// The last address of a network.
pub(crate) fn broadcast(text: &str) -> Option<u32> {
    let (address, length) = text.split_once('/')?;
    let address: std::net::Ipv4Addr = address.parse().ok()?;
    let host = u32::MAX.checked_shr(length.parse().ok()?).unwrap_or(0);
    Some(u32::from(address) | host)
}

/// Values that frames are aimed at: what stands in the rules, and its neighbours.
pub(crate) struct Aims {
    pub(crate) v4: Vec<u32>,
    pub(crate) v6: Vec<u128>,
    pub(crate) numbers: Vec<u16>,
    /// Stations that frames come from.
    pub(crate) macs: Vec<[u8; 6]>,
    /// What stands behind the headers of TCP and UDP.
    pub(crate) payloads: Vec<Vec<u8>>,
}

impl Aims {
    /// Everything in a text that looks like an address, a prefix or a number.
    pub(crate) fn of(texts: &[&str]) -> Self {
        let mut aims = Self {
            v4: vec![0xcb00_7109],
            v6: vec![0x2001_0db8 << 96 | 0x99],
            numbers: vec![22, 80, 443, 40_000],
            macs: vec![[2, 0, 0, 0, 0, 9]],
            payloads: Vec::new(),
        };
        for text in texts {
            let words = text.split(|c: char| !c.is_ascii_hexdigit() && !".:/".contains(c));
            for word in words.filter(|word| !word.is_empty()) {
                let (address, length) = word.split_once('/').unwrap_or((word, ""));
                if let Ok(v4) = address.parse::<std::net::Ipv4Addr>() {
                    let host = u32::MAX
                        .checked_shr(length.parse().unwrap_or(32))
                        .unwrap_or(0);
                    let (first, last) = (u32::from(v4) & !host, u32::from(v4) | host);
                    aims.v4
                        .extend([first, last, first.wrapping_sub(1), last.wrapping_add(1)]);
                    aims.v4.push(first.wrapping_add((last - first) / 2));
                } else if let Some(bytes) = digits(word) {
                    aims.payloads.push(bytes);
                } else if let Some(mac) = Mac::parse(word) {
                    aims.macs.push(mac.bytes());
                } else if let Ok(v6) = address.parse::<std::net::Ipv6Addr>() {
                    let host = u128::MAX
                        .checked_shr(length.parse().unwrap_or(128))
                        .unwrap_or(0);
                    let (first, last) = (u128::from(v6) & !host, u128::from(v6) | host);
                    aims.v6
                        .extend([first, last, first.wrapping_sub(1), last.wrapping_add(1)]);
                }
                for number in word.split([':', '/']).filter_map(|n| n.parse::<u16>().ok()) {
                    aims.numbers.extend([
                        number,
                        number.saturating_sub(1),
                        number.saturating_add(1),
                    ]);
                }
            }
        }
        aims.v4.retain(|&address| usable_v4(address));
        aims.v6.retain(|&address| usable_v6(address));
        aims.numbers.retain(|&number| number > 0);
        aims
    }
}

/// Bytes of a payload: as many digits as no address and no number has, and not those of a decimal one.
fn digits(word: &str) -> Option<Vec<u8>> {
    let is_long = matches!(word.len(), 8 | 16 | 32) && word.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_long || word.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = u128::from_str_radix(word, 16).ok()?;
    Some(number.to_be_bytes()[16 - word.len() / 2..].to_vec())
}

/// One of the payloads that rules ask for, whole, cut, changed, or behind other bytes; or none.
fn payload(random: &mut Random, aims: &Aims) -> Vec<u8> {
    if aims.payloads.is_empty() || random.one_in(4) {
        return Vec::new();
    }
    let which = random.below(aims.payloads.len() as u64) as usize;
    let mut bytes = aims.payloads[which].clone();
    match random.below(6) {
        0 => bytes.truncate(bytes.len() - 1),
        1 => bytes[0] ^= 1,
        2 => bytes.insert(0, 0),
        3 => bytes.extend([0; 9]),
        4 => bytes.splice(0..0, [0; 4]).for_each(drop),
        _ => {}
    }
    bytes
}

/// Addresses that packets between hosts have.
fn usable_v4(address: u32) -> bool {
    !matches!(address >> 24, 0 | 127 | 224..) && address >> 16 != 0xa9fe
}

fn usable_v6(address: u128) -> bool {
    // Global unicast alone.
    address >> 125 == 1
}

/// The checksum of a transport header with its pseudo header put into place.
fn sum(v6: bool, src: &[u8], dst: &[u8], proto: u8, at: usize, payload: &mut [u8]) {
    let mut pseudo = [src, dst].concat();
    if v6 || proto != 1 {
        pseudo.extend((payload.len() as u32).to_be_bytes());
        pseudo.extend([0, 0, 0, proto]);
    } else {
        pseudo.clear();
    }
    if pseudo.len() % 2 == 1 {
        pseudo.push(0);
    }
    pseudo.extend_from_slice(payload);
    let sum = checksum(&pseudo);
    payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// A frame aimed at the rules.
pub(crate) fn frame(
    random: &mut Random,
    aims: &Aims,
    interface: &str,
    number: u32,
    v6: bool,
) -> Sent {
    let port = |random: &mut Random| {
        if random.one_in(5) {
            (random.below(65_535) + 1) as u16
        } else {
            random.pick(&aims.numbers)
        }
    };
    let (source, target) = (port(random), port(random));
    let (mut odd, mut acknowledges) = (false, false);
    let data = payload(random, aims);
    // A packet of its own for each frame: connections are told apart by their ports.
    let (proto, mut payload, at, words) = match random.below(20) {
        0..=8 => {
            let flags = random.pick(&[2u8, 2, 2, 2, 2, 0x10, 0x18, 0x12, 0x04, 0x11]);
            odd = !matches!(flags, 0x02 | 0x10 | 0x18);
            acknowledges = flags & 0x10 != 0;
            (
                6,
                tcp(source, target, flags, &data),
                16,
                format!("tcp {source} > {target} {flags:#x}"),
            )
        }
        9..=14 => (
            17,
            udp(source, target, &data),
            6,
            format!("udp {source} > {target}"),
        ),
        15..=17 => {
            let numbers = random.pick(&aims.numbers);
            let kind = match (random.below(4), v6) {
                (0, _) if numbers < 256 => numbers as u8,
                (1, false) => 0,
                (1, true) => 129,
                (_, false) => 8,
                (_, true) => 128,
            };
            let hops = matches!((kind, v6), (130..=137 | 143, true));
            let kind = if hops { 128 } else { kind };
            odd = !matches!((kind, v6), (8 | 13, false) | (128, true));
            let code = if odd && random.one_in(2) {
                random.below(6) as u8
            } else {
                0
            };
            let message = vec![kind, code, 0, 0, number as u8, (number >> 8) as u8, 0, 1];
            (
                if v6 { 58 } else { 1 },
                message,
                2,
                format!("icmp {kind}/{code}"),
            )
        }
        _ => {
            let proto = random.pick(&[47u8, 50, 132, 103]);
            let mut payload = source.to_be_bytes().to_vec();
            payload.extend(target.to_be_bytes());
            payload.extend([0; 12]);
            odd = matches!(proto, 47 | 132);
            (
                proto,
                payload,
                usize::MAX,
                format!("proto {proto} {source} > {target}"),
            )
        }
    };
    if random.one_in(4) && matches!(proto, 1 | 17 | 58) {
        let length = payload.len() + random.below(1_300) as usize;
        payload.resize(length, 0);
        if proto == 17 {
            payload[4..6].copy_from_slice(&(length as u16).to_be_bytes());
        }
    }
    let hops = if random.one_in(3) {
        random.pick(&aims.numbers).clamp(2, 255) as u8
    } else {
        64
    };
    let class = if random.one_in(4) {
        random.pick(&aims.numbers).min(63) as u8
    } else {
        0
    };
    let (ethertype, packet, words) = if v6 {
        let (src, dst) = pair(|| address6(random, aims));
        if at != usize::MAX {
            sum(
                true,
                &src.to_be_bytes(),
                &dst.to_be_bytes(),
                proto,
                at,
                &mut payload,
            );
        }
        let mut packet = ipv6(src.to_be_bytes(), dst.to_be_bytes(), proto, hops, &payload);
        packet[0] = 0x60 | class >> 2;
        packet[1] = class << 6 | (number >> 16) as u8;
        packet[2..4].copy_from_slice(&(number as u16).to_be_bytes());
        let (src, dst) = (std::net::Ipv6Addr::from(src), std::net::Ipv6Addr::from(dst));
        (0x86dd, packet, format!("{src} > {dst} {words}"))
    } else {
        let (src, dst) = pair(|| address4(random, aims));
        if at != usize::MAX {
            sum(
                false,
                &src.to_be_bytes(),
                &dst.to_be_bytes(),
                proto,
                at,
                &mut payload,
            );
        }
        let mut header = Ipv4::new(src.to_be_bytes(), dst.to_be_bytes(), proto);
        (header.ttl, header.id) = (hops, number as u16);
        let mut packet = header.packet(&payload);
        packet[1] = class << 2;
        packet[10..12].fill(0);
        let sum = checksum(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        let (src, dst) = (std::net::Ipv4Addr::from(src), std::net::Ipv4Addr::from(dst));
        (0x0800u16, packet, format!("{src} > {dst} {words}"))
    };
    let mut bytes = INSIDE_MAC.to_vec();
    bytes.extend(match aims.macs[..] {
        [only] => only,
        ref several => random.pick(several),
    });
    bytes.extend(ethertype.to_be_bytes());
    let length = packet.len();
    bytes.extend(packet);
    Sent {
        interface: interface.to_owned(),
        bytes,
        v6,
        number,
        odd,
        acknowledges,
        words: format!("{interface}: {words} hops {hops} class {class} length {length}"),
    }
}

/// Two addresses that differ: a packet from its own destination is malformed under every policy.
fn pair<T: PartialEq>(mut address: impl FnMut() -> T) -> (T, T) {
    let first = address();
    loop {
        let second = address();
        if second != first {
            return (first, second);
        }
    }
}

fn address4(random: &mut Random, aims: &Aims) -> u32 {
    if !random.one_in(4) {
        return random.pick(&aims.v4);
    }
    loop {
        let address = random.bits() as u32;
        if usable_v4(address) {
            return address;
        }
    }
}

fn address6(random: &mut Random, aims: &Aims) -> u128 {
    if !random.one_in(4) {
        return random.pick(&aims.v6);
    }
    1 << 125 | (u128::from(random.bits()) << 64 | u128::from(random.bits())) >> 3
}
