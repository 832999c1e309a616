//! The packets that carry what comes through a tunnel.
//!
//! May not change anything.

use super::{Flow, Role, Search};
use crate::engine::types::EngineError;
use crate::kernel::{Carrier, Leaving, Tunnel, host};
use firewall_common::flows::timeout;
use firewall_policy::connection::{Form, Sample, protocol_of};
use firewall_policy::packet_text::{Kind, PacketText};
use std::collections::BTreeSet;
use std::net::IpAddr;

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
            Carrier::Frames(ethertype) => {
                let lower = self.present.link(index).and_then(|link| link.lower);
                self.by_frames(&name, ethertype.into(), lower.into_iter().collect())
            }
            Carrier::Ppp => {
                let devices = host::pppoe().into_iter();
                let devices = devices.filter_map(|name| self.present.index_of(&name));
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

    /// Of WireGuard, the peer's datagrams. Whether this host has sent some that they answer is not known
    /// unless it always does.
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
        let own = self.own_address(end.ip(), None, (None, device.mark))?;
        let Some(own) = own else {
            self.doubt(format!(
                "it comes through {name}, and no route leads to {}",
                end.ip()
            ));
            return Ok(());
        };
        let kind = Kind::Udp {
            source: end.port(),
            destination: device.port,
        };
        let packet = PacketText::new(end.ip(), own, kind);
        let follows = Sample {
            is_steady: true,
            ..Sample::of(PacketText {
                established: true,
                ..packet.clone()
            })
        };
        let is_kept_open = (1..=KEPT_OPEN).contains(&peer.keepalive);
        let calls = (!is_kept_open).then(|| Sample::of(packet));
        self.follow(&Flow {
            from: end.ip(),
            to: own,
            by: None,
            mark: device.mark,
            role: Role::Carries,
            samples: calls.into_iter().chain([follows]).collect(),
            inside: flow.within(index),
        })
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
