//! The peers of a WireGuard device: where they are, and which addresses are theirs.
//!
//! Attributes: `linux/wireguard.h`, `linux/genetlink.h`. Needs CAP_NET_ADMIN, as all changes do.

use super::{HEADER, Told, address, attribute, attributes, dump, find, number, request_of};
use rustix::net::{Protocol, netlink};
use std::io;
use std::net::{IpAddr, SocketAddr};

/// The family that knows the numbers of the others, and its question.
const CONTROL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

const WG_CMD_GET_DEVICE: u8 = 0;
const WGDEVICE_A_IFINDEX: u16 = 1;
const WGDEVICE_A_LISTEN_PORT: u16 = 6;
const WGDEVICE_A_FWMARK: u16 = 7;
const WGDEVICE_A_PEERS: u16 = 8;
const WGPEER_A_PUBLIC_KEY: u16 = 1;
const WGPEER_A_ENDPOINT: u16 = 4;
const WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL: u16 = 5;
const WGPEER_A_ALLOWEDIPS: u16 = 9;
const WGALLOWEDIP_A_IPADDR: u16 = 2;
const WGALLOWEDIP_A_CIDR_MASK: u16 = 3;

/// Bytes of `genlmsghdr`: command, version.
const GENERIC: usize = 4;

/// A device.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Device {
    /// The port that it listens on.
    pub(crate) port: u16,
    /// The mark of packets that leave.
    pub(crate) mark: u32,
    peers: Vec<Peer>,
}

/// A peer of it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Peer {
    key: Vec<u8>,
    /// Where it was last, or is said to be.
    pub(crate) endpoint: Option<SocketAddr>,
    /// Seconds between packets that this host sends to it in any case; 0 for none.
    pub(crate) keepalive: u16,
    allowed: Vec<(IpAddr, u8)>,
}

impl Device {
    /// Asks the kernel.
    pub(crate) fn of(interface: u32) -> io::Result<Self> {
        let protocol: Option<Protocol> = Some(netlink::GENERIC);
        let mut body = vec![CTRL_CMD_GETFAMILY, 1, 0, 0];
        attribute(&mut body, CTRL_ATTR_FAMILY_NAME, b"wireguard\0");
        let answer = request_of(protocol, CONTROL, 0, &body)?;
        let said = answer.get(HEADER + GENERIC..).unwrap_or_default();
        let family = find(said, CTRL_ATTR_FAMILY_ID).and_then(|it| it.first_chunk());
        let family = u16::from_ne_bytes(*family.ok_or(io::ErrorKind::InvalidData)?);
        let mut body = vec![WG_CMD_GET_DEVICE, 1, 0, 0];
        attribute(&mut body, WGDEVICE_A_IFINDEX, &interface.to_ne_bytes());
        let mut device = Self::default();
        dump(protocol, family, &body, |told| match told {
            Told::Message(message) => {
                device.read(message.get(HEADER + GENERIC..).unwrap_or_default());
            }
            Told::Again => device = Self::default(),
        })?;
        Ok(device)
    }

    /// The peer that an address belongs to: that of the longest prefix.
    pub(crate) fn peer_of(&self, wanted: IpAddr) -> Option<&Peer> {
        let lengths = self.peers.iter().filter_map(|peer| {
            let holding = peer.allowed.iter().filter(|it| holds(it, wanted));
            Some((holding.map(|it| it.1).max()?, peer))
        });
        lengths.max_by_key(|it| it.0).map(|it| it.1)
    }

    /// Reads a part of an answer. Of a peer that does not fit into one part, the next one says the key again.
    fn read(&mut self, part: &[u8]) {
        for (kind, value) in attributes(part) {
            match kind {
                WGDEVICE_A_LISTEN_PORT => self.port = short(value),
                WGDEVICE_A_FWMARK => self.mark = number(value).unwrap_or_default(),
                WGDEVICE_A_PEERS => {
                    for (_, peer) in attributes(value) {
                        self.read_peer(peer);
                    }
                }
                _ => {}
            }
        }
    }

    fn read_peer(&mut self, said: &[u8]) {
        let Some(key) = find(said, WGPEER_A_PUBLIC_KEY) else {
            return;
        };
        if self.peers.last().is_none_or(|last| last.key != key) {
            self.peers.push(Peer {
                key: key.to_vec(),
                ..Peer::default()
            });
        }
        let Some(peer) = self.peers.last_mut() else {
            return;
        };
        for (kind, value) in attributes(said) {
            match kind {
                WGPEER_A_ENDPOINT => peer.endpoint = socket_address(value),
                WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL => peer.keepalive = short(value),
                WGPEER_A_ALLOWEDIPS => {
                    let all = attributes(value);
                    peer.allowed.extend(all.filter_map(|it| prefix(it.1)));
                }
                _ => {}
            }
        }
    }
}

fn short(value: &[u8]) -> u16 {
    value
        .first_chunk()
        .map_or(0, |bytes| u16::from_ne_bytes(*bytes))
}

/// `sockaddr_in` or `sockaddr_in6`.
fn socket_address(value: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(*value.get(2..)?.first_chunk()?);
    let bytes = match i32::from(short(value)) {
        libc::AF_INET => value.get(4..8)?,
        libc::AF_INET6 => value.get(8..24)?,
        _ => return None,
    };
    Some(SocketAddr::new(address(bytes)?.to_canonical(), port))
}

fn prefix(said: &[u8]) -> Option<(IpAddr, u8)> {
    let length = find(said, WGALLOWEDIP_A_CIDR_MASK)?;
    let address = address(find(said, WGALLOWEDIP_A_IPADDR)?)?;
    Some((address, *length.first()?))
}

fn holds(prefix: &(IpAddr, u8), wanted: IpAddr) -> bool {
    let length = u32::from(prefix.1);
    match (prefix.0, wanted) {
        (IpAddr::V4(prefix), IpAddr::V4(wanted)) => {
            let differs = prefix.to_bits() ^ wanted.to_bits();
            differs.checked_shr(32 - length.min(32)).unwrap_or(0) == 0
        }
        (IpAddr::V6(prefix), IpAddr::V6(wanted)) => {
            let differs = prefix.to_bits() ^ wanted.to_bits();
            differs.checked_shr(128 - length.min(128)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(parts: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, value) in parts {
            attribute(&mut bytes, *kind, value);
        }
        bytes
    }

    fn allowed(address: &[u8], length: u8) -> (u16, Vec<u8>) {
        let one = nested(&[
            (1, vec![2, 0]),
            (WGALLOWEDIP_A_IPADDR, address.to_vec()),
            (WGALLOWEDIP_A_CIDR_MASK, vec![length]),
        ]);
        (0, one)
    }

    /// As `wg set wg0 listen-port 51820 fwmark 7 peer A endpoint 198.51.100.1:51000 persistent-keepalive 25
    /// allowed-ips 10.8.0.0/24 peer B allowed-ips 0.0.0.0/0,10.8.0.9/32` comes back, the second peer in two
    /// parts.
    #[test]
    fn the_peer_of_an_address_says_where_its_packets_come_from() {
        let mut endpoint = vec![libc::AF_INET as u8, 0, 0xc7, 0x38, 198, 51, 100, 1];
        endpoint.resize(16, 0);
        let a = nested(&[
            (WGPEER_A_PUBLIC_KEY, vec![1; 32]),
            (WGPEER_A_ENDPOINT, endpoint),
            (WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, vec![25, 0]),
            (WGPEER_A_ALLOWEDIPS, nested(&[allowed(&[10, 8, 0, 0], 24)])),
        ]);
        let b = |more| {
            nested(&[
                (WGPEER_A_PUBLIC_KEY, vec![2; 32]),
                (WGPEER_A_ALLOWEDIPS, nested(&[more])),
            ])
        };
        let mut device = Device::default();
        device.read(&nested(&[
            (WGDEVICE_A_LISTEN_PORT, 51_820u16.to_ne_bytes().to_vec()),
            (WGDEVICE_A_FWMARK, 7u32.to_ne_bytes().to_vec()),
            (
                WGDEVICE_A_PEERS,
                nested(&[(0, a), (0, b(allowed(&[0; 4], 0)))]),
            ),
        ]));
        device.read(&nested(&[(
            WGDEVICE_A_PEERS,
            nested(&[(0, b(allowed(&[10, 8, 0, 9], 32)))]),
        )]));
        assert_eq!(
            (device.port, device.mark, device.peers.len()),
            (51_820, 7, 2)
        );
        let peer = |text: &str| device.peer_of(text.parse().unwrap()).unwrap();
        let near = peer("10.8.0.5");
        assert_eq!(near.endpoint, Some("198.51.100.1:51000".parse().unwrap()));
        assert_eq!(near.keepalive, 25);
        for far in ["10.8.0.9", "203.0.113.1"] {
            assert_eq!(peer(far).endpoint, None, "{far}");
        }
        assert_eq!(device.peer_of("2001:db8::1".parse().unwrap()), None);
    }

    #[test]
    fn an_endpoint_of_ipv6_and_a_cut_one() {
        let mut bytes = vec![libc::AF_INET6 as u8, 0, 0xc7, 0x38, 0, 0, 0, 0];
        bytes.extend([0x20; 16]);
        bytes.extend([0; 4]);
        let read = socket_address(&bytes).unwrap();
        assert_eq!((read.ip(), read.port()), ([0x20; 16].into(), 51_000));
        assert_eq!(socket_address(&bytes[..20]), None);
        assert_eq!(socket_address(&[]), None);
    }
}
