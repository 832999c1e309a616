//! The neighbours of this host: which MAC address an address has, and behind which port of a bridge, or at
//! which other end of a VXLAN, that is.
//!
//! Attributes: `linux/neighbour.h`.

use super::{HEADER, address, find, kind_of, list, number};
use std::io;
use std::net::IpAddr;

const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_MASTER: u16 = 9;

/// Bytes of `ndmsg`; its second word is the interface.
const NDMSG: usize = 12;

/// What this host knows of neighbours.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Neighbours {
    /// Interface, address, MAC address.
    hosts: Vec<(u32, IpAddr, [u8; 6])>,
    stations: Vec<Station>,
}

/// A MAC address behind an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Station {
    interface: u32,
    /// The bridge that the interface is a port of, if a bridge says it.
    bridge: Option<u32>,
    mac: [u8; 6],
    /// The other end of the tunnel that the interface is.
    remote: Option<IpAddr>,
}

impl Neighbours {
    /// Asks the kernel.
    pub(crate) fn now() -> io::Result<Self> {
        let mut found = Self::default();
        for message in list(RTM_GETNEIGH, &[0; NDMSG])? {
            found.hosts.extend(host(&message));
        }
        let mut of_bridges = [0; NDMSG];
        of_bridges[0] = libc::AF_BRIDGE as u8;
        for message in list(RTM_GETNEIGH, &of_bridges)? {
            found.stations.extend(station(&message));
        }
        Ok(found)
    }

    /// The MAC address of a neighbour.
    pub(crate) fn mac_of(&self, interface: u32, neighbour: IpAddr) -> Option<[u8; 6]> {
        let mut hosts = self.hosts.iter();
        let found = hosts.find(|it| (it.0, it.1) == (interface, neighbour))?;
        Some(found.2)
    }

    /// The port of a bridge that a MAC address is behind.
    pub(crate) fn port_of(&self, bridge: u32, mac: [u8; 6]) -> Option<u32> {
        let mut stations = self.stations.iter();
        let found = stations.find(|it| it.bridge == Some(bridge) && it.mac == mac)?;
        Some(found.interface)
    }

    /// The other end of a tunnel that a MAC address is at; of all that are not known, with the address
    /// `None`.
    pub(crate) fn remote_of(&self, tunnel: u32, mac: Option<[u8; 6]>) -> Option<IpAddr> {
        let at = |mac: [u8; 6]| {
            let mut stations = self.stations.iter();
            stations.find_map(|it| {
                let is_it = it.interface == tunnel && it.mac == mac;
                it.remote.filter(|_| is_it)
            })
        };
        at(mac.unwrap_or_default())
    }
}

/// Interface, and what follows the head of a message.
fn split(message: &[u8]) -> Option<(u32, &[u8])> {
    let (head, rest) = message.get(HEADER..)?.split_at_checked(NDMSG)?;
    let is_one = kind_of(message) == RTM_NEWNEIGH;
    is_one.then_some((number(&head[4..])?, rest))
}

fn mac(attributes: &[u8]) -> Option<[u8; 6]> {
    find(attributes, NDA_LLADDR)?.try_into().ok()
}

fn host(message: &[u8]) -> Option<(u32, IpAddr, [u8; 6])> {
    let (interface, rest) = split(message)?;
    Some((interface, address(find(rest, NDA_DST)?)?, mac(rest)?))
}

fn station(message: &[u8]) -> Option<Station> {
    let (interface, rest) = split(message)?;
    let remote = find(rest, NDA_DST).and_then(address);
    Some(Station {
        interface,
        bridge: find(rest, NDA_MASTER).and_then(number),
        mac: mac(rest)?,
        remote: remote.filter(|it| !it.is_multicast() && !it.is_unspecified()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::attribute;
    use super::*;

    fn message(interface: u32, said: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = vec![0; HEADER + NDMSG];
        message[4..6].copy_from_slice(&RTM_NEWNEIGH.to_ne_bytes());
        message[HEADER + 4..HEADER + 8].copy_from_slice(&interface.to_ne_bytes());
        for (kind, value) in said {
            attribute(&mut message, *kind, value);
        }
        message
    }

    #[test]
    fn a_neighbour_is_behind_a_port_or_at_the_other_end_of_a_tunnel() {
        const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
        let bridge = 4u32.to_ne_bytes();
        let known = Neighbours {
            hosts: vec![
                host(&message(
                    4,
                    &[(NDA_DST, &[192, 0, 2, 9]), (NDA_LLADDR, &MAC)],
                ))
                .unwrap(),
            ],
            stations: vec![
                station(&message(6, &[(NDA_LLADDR, &MAC), (NDA_MASTER, &bridge)])).unwrap(),
                station(&message(
                    6,
                    &[(NDA_LLADDR, &MAC), (NDA_DST, &[198, 51, 100, 1])],
                ))
                .unwrap(),
                station(&message(
                    8,
                    &[(NDA_LLADDR, &[0; 6]), (NDA_DST, &[239, 0, 0, 1])],
                ))
                .unwrap(),
            ],
        };
        let mac = known.mac_of(4, [192, 0, 2, 9].into());
        assert_eq!(mac, Some(MAC));
        assert_eq!(known.mac_of(5, [192, 0, 2, 9].into()), None);
        assert_eq!(
            (known.port_of(4, MAC), known.port_of(5, MAC)),
            (Some(6), None)
        );
        assert_eq!(known.remote_of(6, mac), Some([198, 51, 100, 1].into()));
        assert_eq!(known.remote_of(8, None), None);
    }

    #[test]
    fn what_says_no_address_is_no_neighbour() {
        assert_eq!(host(&message(4, &[(NDA_DST, &[192, 0, 2, 9])])), None);
        assert_eq!(station(&message(4, &[])), None);
        assert_eq!(station(&message(4, &[(NDA_LLADDR, &[1, 2])])), None);
        assert!(Neighbours::now().is_ok());
    }
}
