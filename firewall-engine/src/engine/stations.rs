//! Which frames are sent to this host: the MAC addresses that are its own on each interface, and the
//! broadcast addresses of its networks. Only where the policy sends answers.
//!
//! An interface's own address is not all: frames to what lies over it (a VLAN or macvlan with an
//! address of its own, as VRRP has one), and to the bond or bridge that it is a port of, come in by
//! it, too; and those to a bond come in by its ports.

use super::types::{EngineError, InterfaceRecord, Record};
use crate::kernel::host;
use crate::kernel::links::Link;
use firewall_common::abi::{ANY_TAG, broadcast, station, upper};
use firewall_policy::rule::Policy;
use std::net::Ipv4Addr;

/// What lies over an interface and takes frames from it, with an address of its own or the same one.
/// (A macvtap is a machine's of its own.)
const OVER: [&str; 2] = ["vlan", "macvlan"];

/// What takes the frames of its ports, and whose frames come in by them.
const BONDS: [&str; 2] = ["bond", "team"];

/// The words of the table of stations, those that matter most first; `None` if the policy sends no
/// answers.
pub(super) fn of(
    policy: &Policy,
    interfaces: &[InterfaceRecord],
) -> Result<Option<Vec<u64>>, EngineError> {
    if !policy.rejects() && !policy.protects() {
        return Ok(None);
    }
    Ok(Some(now(interfaces)?))
}

/// Which interfaces lie over the filtered ones, as words of the same table; `None` if nothing is noted
/// of what leaves. What comes in by one of them and leaves by it again has come in by the filtered one
/// below, and leaves by it: no flow is made of that.
///
/// Not known of ports of a VRF, which makes no difference between them, of a VLAN in a VLAN, and where
/// a bridge takes a VLAN's tag off.
pub(super) fn uppers(
    policy: &Policy,
    interfaces: &[InterfaceRecord],
) -> Result<Option<Vec<u64>>, EngineError> {
    if !policy.tracks_connections() {
        return Ok(None);
    }
    Ok(Some(over(interfaces, &host::links()?)))
}

fn over(interfaces: &[InterfaceRecord], links: &[Link]) -> Vec<u64> {
    let mut words = Vec::new();
    for interface in interfaces {
        let own = links.iter().find(|link| link.ifindex == interface.ifindex);
        let bridge = own.filter(|link| link.master_kind == "bridge");
        let bridge = bridge.and_then(|link| link.master);
        words.extend(bridge.map(|bridge| upper(bridge, interface.slot, ANY_TAG)));
        let bases = [Some(interface.ifindex), bridge];
        for link in links
            .iter()
            .filter(|link| link.lower.is_some() && bases.contains(&link.lower))
        {
            let tag = match (&*link.kind, link.vlan) {
                ("vlan", Some(id)) => id.into(),
                ("macvlan", _) => ANY_TAG,
                _ => continue,
            };
            words.push(upper(link.ifindex, interface.slot, tag));
        }
    }
    words
}

impl Record {
    /// Whether other interfaces lie over the filtered ones than when the generation was made. Never, if
    /// nothing is noted of what leaves.
    pub(super) fn uppers_have_changed(&self) -> bool {
        let known = self.uppers.is_some();
        known && host::links().is_ok_and(|links| self.uppers_differ(&links))
    }

    /// As [`Record::uppers_have_changed`], by the interfaces that there are.
    pub(super) fn uppers_differ(&self, links: &[Link]) -> bool {
        let known = self.uppers.as_ref();
        known.is_some_and(|known| over(&self.interfaces, links) != *known)
    }

    /// Whether an address of this host has changed since the generation was made, so that what is sent
    /// to it is not answered. Never, if the policy sends no answers.
    pub(super) fn stations_have_changed(&self) -> bool {
        let known = self.stations.is_some();
        known && host::links().is_ok_and(|links| self.stations_differ(&links))
    }

    /// As [`Record::stations_have_changed`], by the interfaces that there are.
    pub(super) fn stations_differ(&self, links: &[Link]) -> bool {
        let now = || Some(words(&self.interfaces, links, &host::own_networks().ok()?));
        let known = self.stations.as_ref();
        known.is_some_and(|known| now().is_some_and(|now| now != *known))
    }
}

fn now(interfaces: &[InterfaceRecord]) -> Result<Vec<u64>, EngineError> {
    let links = host::links()?;
    let networks = host::own_networks()?;
    Ok(words(interfaces, &links, &networks))
}

fn words(interfaces: &[InterfaceRecord], links: &[Link], networks: &[(Ipv4Addr, u32)]) -> Vec<u64> {
    let mut words = Vec::new();
    let mut add = |word: u64| {
        if !words.contains(&word) {
            words.push(word);
        }
    };
    let of = |ifindex: u32| links.iter().find(|link| link.ifindex == ifindex);
    for interface in interfaces {
        if let Some(mac) = of(interface.ifindex).and_then(|link| link.mac) {
            add(station(interface.slot, mac));
        }
    }
    for &(address, length) in networks {
        // A network of two hosts has no such address (RFC 3021).
        if length < 31 {
            add(broadcast(u64::from(
                u32::from(address) | (u32::MAX >> length),
            )));
        }
    }
    for interface in interfaces {
        let is_bond = of(interface.ifindex).is_some_and(|link| BONDS.contains(&&*link.kind));
        for mac in related(interface.ifindex, is_bond, links) {
            add(station(interface.slot, mac));
            if is_bond {
                add(station(0, mac));
            }
        }
    }
    words
}

/// The addresses of an interface and of what belongs to it.
fn related(ifindex: u32, is_bond: bool, links: &[Link]) -> Vec<u64> {
    let mut family = vec![ifindex];
    let mut at = 0;
    while let Some(&of) = family.get(at) {
        at += 1;
        let masters = links.iter().filter(|link| link.ifindex == of);
        let masters = masters.filter_map(|link| link.master);
        let over = links
            .iter()
            .filter(|link| link.lower == Some(of) && OVER.contains(&&*link.kind));
        let ports = links
            .iter()
            .filter(|link| is_bond && of == ifindex && link.master == Some(of));
        let found: Vec<u32> = masters
            .chain(over.chain(ports).map(|link| link.ifindex))
            .collect();
        for ifindex in found {
            if !family.contains(&ifindex) {
                family.push(ifindex);
            }
        }
    }
    let of_family = |ifindex: &u32| links.iter().find(|link| link.ifindex == *ifindex)?.mac;
    family.iter().filter_map(of_family).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewall_policy::rule::Mode;

    fn interface(ifindex: u32, slot: u32) -> InterfaceRecord {
        InterfaceRecord {
            name: format!("if{ifindex}"),
            ifindex,
            slot,
            zone: 0,
            zone_name: String::new(),
            mode: Mode::Native,
            fallback: None,
        }
    }

    fn link(ifindex: u32, master: Option<u32>, lower: Option<u32>, kind: &str) -> Link {
        Link {
            ifindex,
            mac: Some(u64::from(ifindex) << 8),
            master,
            lower,
            kind: kind.into(),
            ..Link::default()
        }
    }

    #[test]
    fn what_lies_over_an_interface_is_sent_to_by_it() {
        let links = [
            link(1, None, None, ""),
            link(2, None, None, ""),
            // VRRP; a VLAN on a bridge that 2 is no port of; the machine's own; a cable's other end.
            link(3, None, Some(2), "macvlan"),
            link(4, None, Some(9), "vlan"),
            link(5, None, Some(2), "macvtap"),
            link(6, None, Some(2), "veth"),
        ];
        let found = words(&[interface(2, 7)], &links, &[]);
        assert_eq!(found, [station(7, 0x200), station(7, 0x300)]);
    }

    #[test]
    fn a_port_has_its_bonds_address_and_a_bond_those_of_its_ports() {
        let links = [
            link(2, Some(9), None, ""),
            link(3, Some(9), None, ""),
            link(9, None, None, "bond"),
            link(10, None, Some(9), "vlan"),
        ];
        let of_port = words(&[interface(2, 1)], &links, &[]);
        assert_eq!(of_port, [0x200, 0x900, 0xa00].map(|mac| station(1, mac)));
        let of_bond = words(&[interface(9, 1)], &links, &[]);
        for mac in [0x900, 0x200, 0x300, 0xa00] {
            assert!(of_bond.contains(&station(1, mac)), "{mac:x}");
            assert!(of_bond.contains(&station(0, mac)), "{mac:x}");
        }
        assert_eq!((of_bond.len(), of_bond[0]), (8, station(1, 0x900)));
        // Bonds in a ring end.
        let ring = [link(2, Some(3), None, "bond"), link(3, Some(2), None, "")];
        assert_eq!(words(&[interface(2, 1)], &ring, &[]).len(), 4);
    }

    #[test]
    fn what_lies_over_an_interface_or_its_bridge_leaves_by_it() {
        let mut links = [
            link(2, Some(9), None, ""),
            link(9, None, None, "bridge"),
            link(10, None, Some(9), "vlan"),
            link(11, None, Some(2), "vlan"),
            link(12, None, Some(2), "macvlan"),
            // Over another one; the other end of a cable; a VLAN in a VLAN.
            link(13, None, Some(7), "vlan"),
            link(14, None, Some(2), "veth"),
            link(15, None, Some(11), "vlan"),
        ];
        links[0].master_kind = "bridge".into();
        for link in &mut links {
            link.vlan = (link.kind == "vlan").then_some(link.ifindex as u16 * 10);
        }
        let wanted = [
            upper(9, 7, ANY_TAG),
            upper(10, 7, 100),
            upper(11, 7, 110),
            upper(12, 7, ANY_TAG),
        ];
        assert_eq!(over(&[interface(2, 7)], &links), wanted);
        // A port of a VRF is not told from the others.
        links[0].master_kind = "vrf".into();
        assert_eq!(over(&[interface(2, 7)], &links), wanted[2..]);
        assert!(over(&[interface(7, 1)], &links[..5]).is_empty());
    }

    #[test]
    fn networks_have_a_broadcast_address_if_there_is_room_for_one() {
        let networks = [
            ("192.0.2.80".parse().unwrap(), 24),
            ("192.0.2.81".parse().unwrap(), 24),
            ("10.0.0.1".parse().unwrap(), 31),
            ("10.0.0.1".parse().unwrap(), 32),
            ("203.0.113.5".parse().unwrap(), 30),
        ];
        let wanted = [0xc000_02ff, 0xcb00_7107].map(broadcast);
        assert_eq!(words(&[], &[], &networks), wanted);
    }
}
