//! Frames from keys: the inverse of the parser, written from the standards and with none of its
//! code. What no frame can say is replaced by the nearest thing that one can, and said so.

use crate::frames::{Frame, Ipv4, checksum, ethernet, ipv6, tagged, tcp, udp};
use firewall_common::field::Field;
use firewall_common::key::{Family, PacketKey};
use firewall_policy::rule::Mac;

/// Longest IP packet: a test run takes frames of up to a page, less the program's headroom.
const LONGEST: usize = 3_000;

/// A protocol that nobody has (RFC 3692).
const UNASSIGNED: u32 = 253;
const ICMP: u32 = 1;
const TCP: u32 = 6;
const UDP: u32 = 17;
const ICMPV6: u32 = 58;
const SCTP: u32 = 132;

/// Fragment offset of later fragments, in units of 8 bytes.
const LATER: u16 = 185;

/// The station that [`stations`] have by a number.
const fn station(number: u32) -> [u8; 6] {
    let [_, _, high, low] = number.to_be_bytes();
    // Far from in order.
    [2, 0, 0, 1, low, high]
}

/// The MAC addresses of a policy, which is full of them, whose numbers frames have here. Not in order:
/// their numbers are those of the policy's rules, in the tables they stand by value.
#[must_use]
pub fn stations() -> Vec<Mac> {
    let numbers = 0..Field::Mac.none();
    let mac = |number| {
        station(number)
            .iter()
            .fold(0, |mac, &byte| mac << 8 | u64::from(byte))
    };
    numbers.map(|number| Mac(mac(number))).collect()
}

/// The frame of a packet with key `wish`, as far as there is one, and the key that it really has.
/// `None` if no packet comes from or goes to such addresses. The zone is not in the frame: it is
/// taken as it is.
#[must_use]
pub fn frame(wish: &PacketKey) -> Option<(Frame, PacketKey)> {
    let mut key = *wish;
    if !possible(&key) {
        return None;
    }
    let v6 = key.family() == Family::V6;
    let mut or_else = |field: Field, impossible: fn(u32) -> bool, instead: u32| {
        let value = &mut key.fields[field as usize];
        if *value == field.none() || impossible(*value) {
            *value = instead;
        }
        *value
    };
    // What announces another header, and what announces none.
    let is_extension: fn(u32) -> bool = if v6 {
        |proto| matches!(proto, 0 | 43 | 44 | 51 | 59 | 60)
    } else {
        |_| false
    };
    let proto = or_else(Field::Proto, is_extension, UNASSIGNED);
    let ttl = or_else(Field::Ttl, |_| false, 64) as u8;
    let dscp = or_else(Field::Dscp, |_| false, 0) as u8;
    let vlan = or_else(Field::Vlan, |id| id == 0, Field::Vlan.none());
    // In no live set: those are empty.
    or_else(Field::SourceSets, |sets| sets != 0, 0);
    or_else(Field::DestinationSets, |sets| sets != 0, 0);
    let fragment = or_else(Field::Fragment, |_| false, 0);
    let length = wish.field(Field::Length) as usize;

    let header = match (v6, fragment) {
        (false, _) => 20,
        (true, 0) => 40,
        (true, _) => 48,
    };
    let room = length.clamp(header, LONGEST) - header;
    let mut payload = transport(&mut key, proto, fragment, room);
    if fragment != 0 {
        payload.resize(payload.len().max(1).next_multiple_of(8), 0);
    }
    if payload.is_empty() && v6 {
        payload.push(0);
    }
    key.fields[Field::Length as usize] = (header + payload.len()) as u32;
    // Of no connection: nothing has gone out.
    let opens_nothing = match proto {
        _ if fragment == 2 => false,
        TCP => key.field(Field::TcpFlags) & 0x12 != 2,
        ICMP if !v6 => matches!(key.field(Field::Icmp) >> 8, 0 | 3 | 11 | 12),
        ICMPV6 if v6 => matches!(key.field(Field::Icmp) >> 8, 1..=4 | 129),
        _ => false,
    };
    key.fields[Field::State as usize] = if opens_nothing { 2 } else { 0 };

    let (ethertype, packet) = if v6 {
        (0x86dd, packet_v6(&key, proto as u8, fragment, &payload))
    } else {
        let address = |number: u64| (number as u32).to_be_bytes();
        let mut ip = Ipv4::new(address(key.src_lo), address(key.dst_lo), proto as u8);
        ip.ttl = ttl;
        ip.fragment = [0, 0x2000, LATER][fragment as usize];
        let mut packet = ip.packet(&payload);
        packet[1] = dscp << 2;
        packet[10..12].fill(0);
        let sum = checksum(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        (0x0800, packet)
    };
    let frame = ethernet(ethertype, &packet);
    let frame = if vlan == Field::Vlan.none() {
        frame
    } else {
        tagged(&frame, &[(0x8100, vlan as u16)])
    };
    let mut frame = frame;
    let mac = key.field(Field::Mac);
    if mac != Field::Mac.none() {
        frame[6..12].copy_from_slice(&station(mac));
    }
    Some((frame, key))
}

/// Whether packets come from and go to such addresses at all (RFC 1122, RFC 4291).
fn possible(key: &PacketKey) -> bool {
    match key.family() {
        Family::V4 => {
            let first = |address: u64| address >> 24;
            !matches!(first(key.src_lo), 0 | 127 | 224..)
                && first(key.dst_lo) != 127
                && key.src_lo != key.dst_lo
        }
        Family::V6 => {
            // Loopback, mapped IPv4 addresses and the like: all of ::/64.
            key.src_hi >> 56 != 0xff && key.src_hi != 0 && key.dst_hi != 0 && key.src() != key.dst()
        }
    }
}

/// The transport header and data, `room` bytes if the header leaves that. Writes into `key` what
/// the header says.
fn transport(key: &mut PacketKey, proto: u32, fragment: u32, room: usize) -> Vec<u8> {
    let v6 = key.family() == Family::V6;
    let wish = key.fields;
    for field in [
        Field::SourcePort,
        Field::DestinationPort,
        Field::TcpFlags,
        Field::Icmp,
    ] {
        key.fields[field as usize] = field.none();
    }
    if fragment == 2 {
        return vec![0xff; room];
    }
    let data = |header: usize| vec![0; room.saturating_sub(header)];
    // Port 0 and "no port" become 1.
    let [source, destination] = [Field::SourcePort, Field::DestinationPort].map(|field| {
        let port = wish[field as usize];
        if (1..field.none()).contains(&port) {
            port
        } else {
            1
        }
    });
    let ports = |key: &mut PacketKey| {
        key.fields[Field::SourcePort as usize] = source;
        key.fields[Field::DestinationPort as usize] = destination;
    };
    match proto {
        TCP => {
            ports(key);
            let flags = match wish[Field::TcpFlags as usize] {
                flags if flags > 255 || impossible_flags(flags) => 2,
                flags => flags,
            };
            key.fields[Field::TcpFlags as usize] = flags;
            tcp(source as u16, destination as u16, flags as u8, &data(20))
        }
        UDP => {
            ports(key);
            udp(source as u16, destination as u16, &data(8))
        }
        SCTP => {
            ports(key);
            let mut packet = vec![0; room.max(12)];
            packet[..2].copy_from_slice(&(source as u16).to_be_bytes());
            packet[2..4].copy_from_slice(&(destination as u16).to_be_bytes());
            packet
        }
        ICMP | ICMPV6 if v6 == (proto == ICMPV6) => {
            // Neighbour discovery has rules of its own: an echo request instead.
            let icmp = match wish[Field::Icmp as usize] {
                65_536 => 8 << 8,
                icmp if v6 && matches!(icmp >> 8, 130..=143) => 128 << 8 | icmp & 0xff,
                icmp => icmp,
            };
            key.fields[Field::Icmp as usize] = icmp;
            let mut packet = vec![0; room.max(8)];
            packet[..2].copy_from_slice(&(icmp as u16).to_be_bytes());
            packet
        }
        _ => vec![0; room],
    }
}

/// No flag; SYN with FIN or RST; FIN without ACK.
fn impossible_flags(flags: u32) -> bool {
    let [fin, syn, rst, ack] = [1, 2, 4, 16].map(|bit| flags & bit != 0);
    !(fin || syn || rst || ack) || (syn && (fin || rst)) || (fin && !ack)
}

fn packet_v6(key: &PacketKey, proto: u8, fragment: u32, payload: &[u8]) -> Vec<u8> {
    let (next, bytes) = if fragment == 0 {
        (proto, payload.to_vec())
    } else {
        // RFC 8200 4.5: offset in the upper 13 bits, "more" in the lowest.
        let offset = if fragment == 1 { 1 } else { LATER << 3 };
        let mut bytes = vec![proto, 0];
        bytes.extend(offset.to_be_bytes());
        bytes.extend([0, 0, 0, 7]);
        bytes.extend(payload);
        (44, bytes)
    };
    let (src, dst) = (key.src().to_be_bytes(), key.dst().to_be_bytes());
    let ttl = key.field(Field::Ttl) as u8;
    let dscp = key.field(Field::Dscp) as u8;
    let mut packet = ipv6(src, dst, next, ttl, &bytes);
    packet[0] |= dscp >> 2;
    packet[1] |= dscp << 6;
    packet
}
