//! The packets that carry what comes through a tunnel.
//!
//! May not change anything.

use super::{Flow, Role, Search, is_near};
use crate::engine::types::EngineError;
use crate::kernel::{Carrier, Leaving, Tunnel, host};
use firewall_common::flows::timeout;
use firewall_policy::connection::{Form, Sample, protocol_of};
use firewall_policy::packet_text::{Kind, PacketText};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// PPP over Ethernet, once it is up (RFC 2516).
const PPPOE_SESSION: u32 = 0x8864;

/// A port of those that senders of VXLAN and GENEVE take, by the connection inside.
const ANY_PORT: u16 = 50_000;

/// Whoever sends so often, in seconds, keeps the way back open: the program forgets no flow earlier.
const KEPT_OPEN: u16 = timeout::UDP as u16 - 1;

/// IP protocol number.
const GRE: u8 = 47;

impl Search<'_> {
    /// Follows what carries a flow through a tunnel.
    pub(super) fn through(
        &mut self,
        flow: &Flow,
        (index, tunnel): (u32, &Tunnel),
        mac: Option<[u8; 6]>,
    ) -> Result<(), EngineError> {
        let is_other = |it: &u32| *it != index && !flow.inside.contains(it);
        if !self.filtered.iter().any(is_other) {
            // What carries it comes in where nothing is filtered.
            return Ok(());
        }
        let name = self.present.name_of(index).unwrap_or("a tunnel").to_owned();
        match tunnel.carrier {
            Carrier::Unknown => {
                self.doubt(format!(
                    "it comes through {name}, and what carries that is not known"
                ));
                Ok(())
            }
            Carrier::Tagged(slaves) => {
                let lower = self.present.link(index).and_then(|link| link.lower);
                let mut below = lower.into_iter().chain(slaves);
                if let Some(below) = below.find(|it| self.filtered.contains(it)) {
                    let below = self.present.name_of(below).unwrap_or("an interface");
                    let doubt =
                        format!("it comes through {name}, and its frames have a tag on {below}");
                    self.doubt(doubt);
                }
                Ok(())
            }
            Carrier::Frames(ethertype) => {
                let lower = self.present.link(index).and_then(|link| link.lower);
                self.by_frames(&name, ethertype.into(), lower.into_iter().collect())
            }
            Carrier::Ppp => {
                let links = self.present.links().iter();
                let links =
                    links.filter(|it| it.tunnel.is_some_and(|it| it.carrier == Carrier::Ppp));
                let sessions = host::pppoe();
                let devices = of_pppoe(links.count(), &sessions).iter();
                let devices = devices.filter_map(|name| self.present.index_of(name));
                let devices = devices.collect();
                self.by_frames(&name, PPPOE_SESSION, devices)
            }
            Carrier::WireGuard => self.by_wireguard(flow, (index, &name)),
            Carrier::Ip | Carrier::Gre { .. } | Carrier::Udp { .. } => {
                let remote = match tunnel.carrier {
                    Carrier::Udp { .. } => self.neighbours()?.remote_of(index, mac),
                    _ => None,
                };
                self.by_packets(flow, (index, &name), tunnel, remote.or(tunnel.remote))
            }
        }
    }

    /// What comes through a device comes in as frames on others.
    fn by_frames(
        &mut self,
        name: &str,
        ethertype: u32,
        devices: BTreeSet<u32>,
    ) -> Result<(), EngineError> {
        if devices.is_empty() {
            self.doubt(format!(
                "it comes through {name}, and what carries that is not known"
            ));
        }
        let sample = Sample {
            is_steady: true,
            ..Sample::of(PacketText::frame_of(ethertype))
        };
        for device in devices {
            for (index, vlans) in self.below(device, None)? {
                self.add_all(
                    Role::Carries,
                    (index, &vlans),
                    std::slice::from_ref(&sample),
                    true,
                );
            }
        }
        Ok(())
    }

    /// Of WireGuard, the peer's datagrams. The address that they go to is known where they are tracked; it
    /// may be any of this host elsewhere.
    fn by_wireguard(&mut self, flow: &Flow, (index, name): (u32, &str)) -> Result<(), EngineError> {
        let device = match host::wireguard(index) {
            Ok(device) => device,
            Err(error) => {
                self.doubt(format!("it comes through {name}: {error}"));
                return Ok(());
            }
        };
        let peer = device.peer_of(flow.from);
        let Some((peer, end)) = peer.and_then(|peer| Some((peer, peer.endpoint?))) else {
            self.doubt(format!(
                "it comes through {name}, which does not say where the peer of {} is",
                flow.from
            ));
            return Ok(());
        };
        let inside = flow.within(index);
        let mut own = Vec::new();
        for address in host::own_addresses()? {
            let is_outside = |it: &u32| !inside.contains(it);
            if may_be_called(address, end.ip())
                && host::interfaces_with(address)?.iter().any(is_outside)
            {
                own.push(SocketAddr::new(address, device.port));
            }
        }
        let (ways, is_certain) = tracked_or_all(end, own, host::datagrams)?;
        if ways.is_empty() {
            self.doubt(format!(
                "it comes through {name}, and this host has no address for {}",
                end.ip()
            ));
        }
        let is_kept_open = (1..=KEPT_OPEN).contains(&peer.keepalive);
        for way in ways {
            let samples = datagrams(way, is_kept_open);
            self.follow(&Flow {
                from: way.0.ip(),
                to: way.1.ip(),
                by: None,
                mark: device.mark,
                role: Role::Carries,
                samples,
                is_certain: flow.is_certain && is_certain,
                inside: inside.clone(),
            })?;
        }
        Ok(())
    }

    /// Of tunnels that carry each packet in one of their own.
    fn by_packets(
        &mut self,
        flow: &Flow,
        (index, name): (u32, &str),
        tunnel: &Tunnel,
        remote: Option<IpAddr>,
    ) -> Result<(), EngineError> {
        let own = match remote {
            Some(remote) => self.own_address(remote, tunnel.local, (tunnel.link, tunnel.mark))?,
            None => None,
        };
        let (Some(remote), Some(own)) = (remote, own) else {
            self.doubt(format!(
                "it comes through {name}, whose other end is not known"
            ));
            return Ok(());
        };
        let (form, kind) = match tunnel.carrier {
            Carrier::Gre { frames: true } => (Some(Form::GreFrame), Kind::Other(GRE)),
            Carrier::Gre { frames: false } => (Some(Form::Gre), Kind::Other(GRE)),
            Carrier::Udp { port, is_vxlan } => {
                let kind = Kind::Udp {
                    source: ANY_PORT,
                    destination: port,
                };
                (is_vxlan.then_some(Form::Vxlan), kind)
            }
            _ => (Some(Form::Ip), Kind::Other(protocol_of(flow.to))),
        };
        let outer = PacketText::new(remote, own, kind);
        let carry = |inside: &Sample| Sample::carrying(inside, (form, outer.clone()));
        self.follow(&Flow {
            from: remote,
            to: own,
            by: tunnel.link,
            mark: tunnel.mark,
            role: Role::Carries,
            samples: flow.samples.iter().map(carry).collect(),
            is_certain: flow.is_certain,
            inside: flow.within(index),
        })
    }

    /// The address of this host that a tunnel's packets go to: the one that it fixes, or that from which its
    /// own leave.
    fn own_address(
        &self,
        remote: IpAddr,
        local: Option<IpAddr>,
        (by, mark): (Option<u32>, u32),
    ) -> Result<Option<IpAddr>, EngineError> {
        if local.is_some() {
            return Ok(local);
        }
        let leaving = Leaving {
            to: remote,
            from: None,
            by,
            mark,
        };
        Ok(host::hop_of(&leaving)?.and_then(|hop| hop.source))
    }
}

/// The devices that may carry what comes in by one of some PPP interfaces, as PPPoE has these sessions; none
/// if something else may carry it.
fn of_pppoe(interfaces: usize, sessions: &[String]) -> &[String] {
    match interfaces <= sessions.len() {
        true => sessions,
        false => &[],
    }
}

/// Whether a peer at this address may call this host by one of its own.
fn may_be_called(own: IpAddr, peer: IpAddr) -> bool {
    own.is_ipv4() == peer.is_ipv4()
        && own.is_loopback() == peer.is_loopback()
        && is_near(own) == is_near(peer)
}

/// The ends of a peer's datagrams as they come in, if some are tracked, and else those to each address of
/// this host; and whether they are known.
fn tracked_or_all<E>(
    peer: SocketAddr,
    own: Vec<SocketAddr>,
    tracked: impl Fn(SocketAddr, SocketAddr) -> Result<Option<(SocketAddr, SocketAddr)>, E>,
) -> Result<(BTreeSet<(SocketAddr, SocketAddr)>, bool), E> {
    let mut found = BTreeSet::new();
    for own in &own {
        found.extend(tracked(peer, *own)?);
    }
    Ok(match found.is_empty() {
        true => (own.into_iter().map(|own| (peer, own)).collect(), false),
        false => (found, true),
    })
}

/// Datagrams of WireGuard. Whether this host has sent some that they answer is not known unless it always
/// does.
fn datagrams((from, to): (SocketAddr, SocketAddr), is_kept_open: bool) -> Vec<Sample> {
    let kind = Kind::Udp {
        source: from.port(),
        destination: to.port(),
    };
    let packet = PacketText::new(from.ip(), to.ip(), kind);
    let follows = Sample {
        is_steady: true,
        ..Sample::of(PacketText {
            established: true,
            ..packet.clone()
        })
    };
    let calls = (!is_kept_open).then(|| Sample::of(packet));
    calls.into_iter().chain([follows]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    /// Two addresses of a card; a resolver's port that is redirected to WireGuard's.
    #[test]
    fn datagrams_of_wireguard_go_where_they_are_tracked_or_anywhere() {
        let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let peer = at("198.51.100.1:51000");
        let own = [at("192.0.2.80:51820"), at("192.0.2.81:51820")];
        let ways = |known: Option<(SocketAddr, SocketAddr)>| {
            let tracked = |_, to: SocketAddr| {
                let known = known.filter(|_| to == own[1]);
                Ok::<_, Infallible>(known)
            };
            let Ok(ways) = tracked_or_all(peer, own.to_vec(), tracked);
            ways
        };
        assert_eq!(
            ways(None),
            (BTreeSet::from(own.map(|to| (peer, to))), false)
        );
        for to in [own[1], at("192.0.2.81:53")] {
            assert_eq!(ways(Some((peer, to))), (BTreeSet::from([(peer, to)]), true));
            let samples = datagrams((peer, to), true);
            assert_eq!(samples.len(), 1);
            assert!(samples[0].to_string().contains(&to.to_string()));
        }
        assert_eq!(datagrams((peer, own[0]), false).len(), 2);
    }

    /// An uplink by PPPoE, and somebody who comes in by L2TP.
    #[test]
    fn what_comes_by_ppp_is_of_pppoe_where_all_of_it_is() {
        let sessions = ["eth0", "eth1"].map(str::to_owned);
        assert_eq!(of_pppoe(1, &sessions), sessions);
        assert_eq!(of_pppoe(2, &sessions), sessions);
        for (interfaces, sessions) in [(3, &sessions[..]), (2, &sessions[..1]), (1, &[])] {
            assert!(of_pppoe(interfaces, sessions).is_empty(), "{interfaces}");
        }
    }

    #[test]
    fn a_peer_calls_an_address_that_it_can_reach() {
        for (own, peer, may) in [
            ("192.0.2.80", "198.51.100.1", true),
            ("127.0.0.1", "198.51.100.1", false),
            ("2001:db8::1", "198.51.100.1", false),
            ("fe80::1", "2001:db8::9", false),
            ("fe80::1", "fe80::9", true),
            ("2001:db8::1", "2001:db8::9", true),
        ] {
            let [own, peer]: [IpAddr; 2] = [own, peer].map(|it| it.parse().unwrap());
            assert_eq!(may_be_called(own, peer), may, "{own} {peer}");
        }
    }
}
