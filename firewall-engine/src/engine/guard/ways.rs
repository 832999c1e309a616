//! The packets without which a session ends, and the interfaces that they come in by: its own, those of the
//! tunnels that they come through, and those by which the neighbour finds this host.
//!
//! ```text
//! ways.rs       from addresses and routes to interfaces, and what lies below them
//! carriers.rs   from a tunnel to the packets that carry what comes through it
//! ```
//!
//! Addresses, routes, tunnels and neighbours of this host say where that is. May not change anything.
//! Invariant: where they do not say it, that is a doubt, or each interface that is filtered, and not
//! "nowhere".

mod carriers;

use super::unclear;
use crate::engine::resolve::Present;
use crate::engine::types::EngineError;
use crate::kernel::links::Link;
use crate::kernel::{Carrier, Leaving, Neighbours, host};
use firewall_policy::connection::{Connection, Sample};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// How many tunnels a session may come through, one in the other.
const DEEPEST: usize = 4;

/// How many VLANs may lie one over the other in Linux (`MAX_NEST_DEV`).
const MOST_TAGS: usize = 8;

/// What a packet is to a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// One of its own.
    Own,
    /// One that carries it through a tunnel.
    Carries,
    /// One by which the next host on its way finds this one.
    Finds,
}

/// A packet that a session needs, where it comes in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Arrival {
    pub(super) role: Role,
    pub(super) interface: u32,
    /// The VLAN tags that it has there, outermost first.
    pub(super) vlans: Vec<u16>,
    pub(super) sample: Sample,
    /// Whether it is known to come in there, and not just able to.
    pub(super) is_certain: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Ways {
    pub(super) arrivals: Vec<Arrival>,
    /// What is not known of the way.
    pub(super) doubts: Vec<String>,
}

impl Ways {
    /// The ways of some connections through the interfaces that are filtered.
    ///
    /// # Errors
    /// What the system says; connections that cannot be told.
    pub(super) fn of(
        present: &Present,
        connections: &[Connection],
        filtered: &[u32],
    ) -> Result<Self, EngineError> {
        let mut search = Search {
            present,
            filtered,
            neighbours: OnceCell::new(),
            found: Self::default(),
        };
        for connection in connections {
            let (from, to) = (canonical(connection.from), canonical(connection.to));
            let wire = host::untranslated(from, to)?.unwrap_or((from, to));
            let connection = Connection {
                from: wire.0,
                to: wire.1,
            };
            let (sender, own) = (wire.0.ip(), wire.1.ip());
            if !filtered.is_empty() && present.decrypts() && host::decrypts_between(sender, own)? {
                search.doubt("IPsec decrypts it, and what carries that is not known".to_owned());
            }
            search.follow(&Flow {
                from: sender,
                to: own,
                by: None,
                mark: 0,
                role: Role::Own,
                samples: connection.samples().into(),
                is_certain: true,
                inside: Vec::new(),
            })?;
        }
        Ok(search.found)
    }

    /// The addresses of those who send what is no neighbour's question.
    pub(super) fn senders(&self) -> BTreeSet<IpAddr> {
        let sent = self.arrivals.iter().filter(|it| it.role != Role::Finds);
        sent.flat_map(|it| it.sample.ends())
            .map(|it| it[0])
            .collect()
    }

    /// The addresses in all packets.
    pub(super) fn addresses(&self) -> BTreeSet<IpAddr> {
        let ends = self.arrivals.iter().flat_map(|it| it.sample.ends());
        ends.flatten().collect()
    }
}

fn canonical(end: SocketAddr) -> SocketAddr {
    SocketAddr::new(end.ip().to_canonical(), end.port())
}

/// Packets of one sender to one address of this host.
struct Flow {
    from: IpAddr,
    to: IpAddr,
    /// The interface that answers have to leave by.
    by: Option<u32>,
    /// The mark of answers.
    mark: u32,
    role: Role,
    samples: Vec<Sample>,
    /// Whether it is known to be there, and not just able to.
    is_certain: bool,
    /// The tunnels that it is the outside of.
    inside: Vec<u32>,
}

impl Flow {
    /// The tunnels of what carries it through one more.
    fn within(&self, tunnel: u32) -> Vec<u32> {
        let more = self.inside.iter().copied();
        more.chain([tunnel]).collect()
    }
}

/// The first host on the way of answers.
#[derive(Clone, Copy)]
struct Next {
    interface: u32,
    address: IpAddr,
    is_local: bool,
}

struct Search<'a> {
    present: &'a Present,
    filtered: &'a [u32],
    /// Asked for when they are needed.
    neighbours: OnceCell<Neighbours>,
    found: Ways,
}

impl Search<'_> {
    /// Follows packets to the interfaces that they come in by.
    fn follow(&mut self, flow: &Flow) -> Result<(), EngineError> {
        if flow.inside.len() > DEEPEST {
            self.doubt(format!("it comes through more than {DEEPEST} tunnels"));
            return Ok(());
        }
        let named = host::interfaces_with(flow.to)?;
        if let Some(index) = named.iter().find(|it| self.present.link(**it).is_none()) {
            return Err(unclear(&format!(
                "interface {index}, which has the address {}, has just come",
                flow.to
            )));
        }
        let next = self.next(flow, &named)?;
        if let Some(local) = next.filter(|next| next.is_local) {
            let loopback = self.present.links().iter().find(|it| it.is_loopback());
            let interface = loopback.map_or(local.interface, |it| it.ifindex);
            self.add_all(flow.role, (interface, &[]), &flow.samples, flow.is_certain);
            return Ok(());
        }
        let link = |index: &u32| self.present.link(*index);
        let outward = named
            .iter()
            .copied()
            .filter(|it| link(it).is_some_and(|it| !it.is_inward()));
        let mut starts: BTreeSet<u32> = outward.collect();
        let has_address = !starts.is_empty();
        // A link-local sender is on any link, if its packets do not go to another such address.
        let is_anywhere = is_near(flow.from) && !is_near(flow.to);
        let is_symmetric = !is_anywhere && next.is_none_or(|next| starts.contains(&next.interface));
        starts.extend(next.map(|next| next.interface));
        let refuses = |index: &u32| self.refuses(*index, flow.from);
        let starts = those_that_take(starts, refuses);
        let reached = self.enter(flow, &starts, next)?;
        if has_address && is_symmetric {
            return Ok(());
        }
        // Whoever has the address is elsewhere, or answers leave by another way: it may come in by any.
        for &index in self.filtered {
            if reached.contains(&index) || self.refuses(index, flow.from) {
                continue;
            }
            self.add_all(flow.role, (index, &[]), &flow.samples, false);
        }
        Ok(())
    }

    /// Whether an interface lets nothing in from a sender: WireGuard's, if that is none of its peers.
    fn refuses(&self, index: u32, sender: IpAddr) -> bool {
        let tunnel = self.present.link(index).and_then(|link| link.tunnel);
        tunnel.is_some_and(|it| it.carrier == Carrier::WireGuard)
            && host::wireguard(index).is_ok_and(|device| device.peer_of(sender).is_none())
    }

    /// Where answers of a flow go.
    fn next(&self, flow: &Flow, named: &BTreeSet<u32>) -> Result<Option<Next>, EngineError> {
        let links = named.iter().filter_map(|index| self.present.link(*index));
        let mut vrfs = links.filter(|it| it.master_kind == "vrf");
        // A link-local address is on the link of the other one.
        let near = named.first().copied();
        let near = near.filter(|_| is_near(flow.from) && is_near(flow.to) && named.len() == 1);
        let by = flow.by.or(near);
        let by = by.or_else(|| vrfs.find_map(|link| link.master));
        let leaving = Leaving {
            to: flow.from,
            from: Some(flow.to),
            by,
            mark: flow.mark,
        };
        let hop = match host::hop_of(&leaving)? {
            None => host::hop_of(&Leaving {
                from: None,
                ..leaving
            })?,
            hop => hop,
        };
        Ok(hop.map(|hop| Next {
            interface: hop.interface,
            address: hop.gateway.unwrap_or(flow.from),
            is_local: hop.is_local,
        }))
    }

    /// Takes note of a flow that comes in by some interfaces, and by what lies below them; which ones those
    /// are.
    fn enter(
        &mut self,
        flow: &Flow,
        starts: &BTreeSet<u32>,
        next: Option<Next>,
    ) -> Result<BTreeSet<u32>, EngineError> {
        let neighbour = next.map_or(flow.from, |next| next.address);
        let mac = match starts.is_empty() {
            true => None,
            false => {
                let known = self.neighbours()?;
                starts.iter().find_map(|&it| known.mac_of(it, neighbour))
            }
        };
        let mut reached = BTreeSet::new();
        let mut tunnels = BTreeMap::new();
        for &start in starts {
            let has_neighbours = self.present.link(start).is_some_and(|it| it.has_neighbours);
            let own = own_end(flow.to, neighbour).filter(|_| has_neighbours);
            let finds = own.map(|own| Sample::of_neighbour(neighbour, own));
            let finds = finds.unwrap_or_default();
            for (index, vlans) in self.below(start, mac)? {
                self.add_all(flow.role, (index, &vlans), &flow.samples, flow.is_certain);
                self.add_all(Role::Finds, (index, &vlans), &finds, flow.is_certain);
                let tunnel = self.present.link(index).and_then(|link| link.tunnel);
                tunnels.extend(tunnel.map(|tunnel| (index, tunnel)));
                reached.insert(index);
            }
        }
        for (index, tunnel) in tunnels {
            self.through(flow, (index, &tunnel), mac)?;
        }
        Ok(reached)
    }

    /// An interface and those below it, with the VLAN tags that frames have there. Of a bridge's ports that
    /// are tunnels, those that the neighbour may be behind.
    fn below(
        &self,
        start: u32,
        mac: Option<[u8; 6]>,
    ) -> Result<BTreeSet<(u32, Vec<u16>)>, EngineError> {
        let mut found = BTreeSet::new();
        let mut open = vec![(start, Vec::new())];
        while let Some((index, vlans)) = open.pop() {
            // An interface may lie below by several VLANs.
            if vlans.len() > MOST_TAGS || !found.insert((index, vlans.clone())) {
                continue;
            }
            let link = self.present.link(index).filter(|it| !is_encrypted(it));
            if let Some(link) = link {
                let tags: Vec<u16> = link.vlan.into_iter().chain(vlans.iter().copied()).collect();
                let port = match (mac, &*link.kind) {
                    (Some(mac), "bridge") => self.neighbours()?.port_of(index, mac),
                    _ => None,
                };
                let may_be = |lower: &&Link| {
                    let is_other = port.is_some_and(|port| port != lower.ifindex);
                    link.is_over(lower) && !(is_other && is_far(lower))
                };
                let below = self.present.links().iter().filter(may_be);
                open.extend(below.map(|lower| (lower.ifindex, tags.clone())));
            }
        }
        Ok(found)
    }

    fn neighbours(&self) -> Result<&Neighbours, EngineError> {
        if let Some(known) = self.neighbours.get() {
            return Ok(known);
        }
        let found = host::neighbours()?;
        Ok(self.neighbours.get_or_init(|| found))
    }

    fn add_all(
        &mut self,
        role: Role,
        (interface, vlans): (u32, &[u16]),
        samples: &[Sample],
        is_certain: bool,
    ) {
        if !self.filtered.contains(&interface) {
            return;
        }
        for sample in samples {
            let arrival = Arrival {
                role,
                interface,
                vlans: vlans.to_vec(),
                sample: sample.clone(),
                is_certain,
            };
            if !self.found.arrivals.contains(&arrival) {
                self.found.arrivals.push(arrival);
            }
        }
    }

    fn doubt(&mut self, doubt: String) {
        if !self.found.doubts.contains(&doubt) {
            self.found.doubts.push(doubt);
        }
    }
}

/// Of interfaces that a packet may come in by, those that let it in; all of them if none does, as then
/// something is not known.
fn those_that_take(starts: BTreeSet<u32>, refuses: impl Fn(&u32) -> bool) -> BTreeSet<u32> {
    let taking: BTreeSet<u32> = starts.iter().copied().filter(|it| !refuses(it)).collect();
    match taking.is_empty() {
        true => starts,
        false => taking,
    }
}

/// Whether an address is one of IPv6 on each link.
const fn is_near(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(it) if it.is_unicast_link_local())
}

/// Whether an interface is a tunnel to elsewhere.
fn is_far(link: &Link) -> bool {
    link.tunnel
        .is_some_and(|it| !matches!(it.carrier, Carrier::Tagged(_)))
}

/// Whether frames of the interface below look different: it is a tunnel as well.
fn is_encrypted(link: &Link) -> bool {
    let carrier = link.tunnel.map(|tunnel| tunnel.carrier);
    matches!(carrier, Some(Carrier::Frames(_)))
}

/// The address of this host that a neighbour looks for: of a neighbour of IPv6 on the way of packets of IPv4,
/// a link-local one.
const fn own_end(own: IpAddr, neighbour: IpAddr) -> Option<IpAddr> {
    match (own, neighbour) {
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => Some(own),
        (IpAddr::V4(_), IpAddr::V6(_)) => {
            Some(IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)))
        }
        (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host of the LAN that calls the address of a WireGuard device.
    #[test]
    fn what_a_tunnel_refuses_comes_by_another_interface() {
        let starts = BTreeSet::from([2, 7]);
        let taking = |refusing: &[u32]| those_that_take(starts.clone(), |it| refusing.contains(it));
        assert_eq!(taking(&[]), starts);
        assert_eq!(taking(&[7]), BTreeSet::from([2]));
        assert_eq!(taking(&[2, 7]), starts);
    }
}
