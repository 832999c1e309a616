//! What a host asks for, and what comes in that may be about it: DHCP, and errors about pings, TCP, UDP
//! and what has no ports. Of few hosts, ports and identifiers, so that much of it meets.

use crate::frames::{Frame, Ipv4, ethernet, ipv6, udp};
use crate::oracle::Asked;
use crate::random::Random;
use std::net::IpAddr;

/// The host.
const HERE: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 80)),
    IpAddr::V6(std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x80)),
];

/// A frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Moment {
    /// Leaves.
    Leaves(Frame),
    /// Comes in.
    Comes(Frame),
}

/// The next frame; what leaves is noted in `asked`. TCP is no connection of this host, but of one that it
/// forwards for: there is no socket. `remembers`: some rule looks at state.
pub fn moment(random: &mut Random, asked: &mut Asked, remembers: bool) -> Moment {
    let is_v6 = random.one_in(2);
    let here = HERE[usize::from(is_v6)];
    let number = random.below(4) as u8;
    let there: IpAddr = if is_v6 {
        std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into()).into()
    } else {
        [198, 51, 100, number].into()
    };
    let port = 5_000 + random.below(4) as u16;
    let ports = |local: u16, remote: u16| {
        let mut header = [local.to_be_bytes(), remote.to_be_bytes()].concat();
        header.extend([0; 16]);
        header[12] = 0x50;
        header[13] = 0x02;
        header
    };
    let ping = |identifier: u16| {
        let [high, low] = identifier.to_be_bytes();
        vec![if is_v6 { 128 } else { 8 }, 0, 0, 0, high, low, 0, 1]
    };
    let icmp = if is_v6 { 58 } else { 1 };
    if random.one_in(8) {
        let (proto, content) = match random.below(4) {
            0 => {
                asked.dhcp[usize::from(is_v6)] = true;
                let (client, server) = if is_v6 { (546, 547) } else { (68, 67) };
                if remembers {
                    asked.flows.insert((17, (here, client), (there, server)));
                }
                (17, udp(client, server, &[0; 16]))
            }
            1 => {
                asked.pings.insert((here, there, port));
                (icmp, ping(port))
            }
            kind => {
                let proto = if kind == 2 { 17 } else { 6 };
                if remembers {
                    asked.flows.insert((proto, (here, port), (there, 53)));
                }
                let content = if proto == 17 {
                    udp(port, 53, &[])
                } else {
                    ports(port, 53)
                };
                (proto, content)
            }
        };
        return Moment::Leaves(enclose(here, there, proto, &content));
    }
    if random.one_in(4) {
        let (from, to) = if is_v6 {
            ([547, port][usize::from(random.one_in(4))], 546)
        } else {
            (67, 68)
        };
        return Moment::Comes(enclose(there, here, 17, &udp(from, to, &[0; 16])));
    }
    let (proto, content) = match random.below(8) {
        0 | 1 => (icmp, ping(port)),
        2 | 3 => (17, udp(port, 53, &[0; 12])),
        4 | 5 => (6, ports(port, 53)),
        6 => ([47, 50, 132][random.below(3) as usize], vec![1; 20]),
        _ if is_v6 => {
            // Behind a fragment header, first or later.
            let offset = if random.one_in(2) { 0 } else { 8 };
            let mut fragment = vec![17, 0, 0, offset | 1, 0, 0, 0, 1];
            fragment.extend(udp(port, 53, &[0; 12]));
            (44, fragment)
        }
        _ => (17, udp(port, 54, &[0; 12])),
    };
    let about = packet(here, there, proto, &content);
    let kind = if is_v6 { 2 } else { 3 };
    let error = [&[kind, 4, 0, 0, 0, 0, 5, 0][..], &about].concat();
    Moment::Comes(enclose(there, here, icmp, &error))
}

fn packet(from: IpAddr, to: IpAddr, proto: u8, content: &[u8]) -> Vec<u8> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            Ipv4::new(from.octets(), to.octets(), proto).packet(content)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => ipv6(from.octets(), to.octets(), proto, 64, content),
        _ => Vec::new(),
    }
}

fn enclose(from: IpAddr, to: IpAddr, proto: u8, content: &[u8]) -> Frame {
    let ethertype = if from.is_ipv6() { 0x86dd } else { 0x0800 };
    ethernet(ethertype, &packet(from, to, proto, content))
}
