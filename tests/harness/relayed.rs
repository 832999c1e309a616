//! A protected host behind a judge and a bad cable:
//!
//! ```text
//! outside ── far0 relay near0 ── far0 judge wan0 ── wan0 inside
//! ```
//!
//! or, with the inside host as a router that is protected together with what is behind it:
//!
//! ```text
//! outside ── far0 relay near0 ── far0 judge wan0 ── wan0 inside lan0 ── lan0 behind
//! ```
//!
//! The judge is a router on which the kernel's connection tracking looks at every packet. It writes
//! what it thinks of it into the packet's code point, so that a rule behind `state: established` at
//! the inside host counts what it dropped of that, segment by segment.
//!
//! Invariant: as for a [`Pair`].

use crate::netns::{INSIDE_V4, INSIDE_V6, INTERFACE, Namespace, OUTSIDE_V4, OUTSIDE_V6, Pair};
use crate::relay::{Rates, Relay};
use crate::routed::{FAR_INTERFACE, FAR_V4, FAR_V6};
use anyhow::Result;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Code point of a packet of a connection that is open for the judge (`af11`).
pub const OPEN: u8 = 10;
/// Code point of a packet of a connection that is over for the judge, which it passes still
/// (`af12`).
pub const OVER: u8 = 12;

/// The relay's interface to the judge.
const NEAR_INTERFACE: &str = "near0";
/// The judge, on the far side.
const NEAR_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const NEAR_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 1);
const FAR_MAC: &str = "02:00:00:00:0f:02";
const NEAR_MAC: &str = "02:00:00:00:0f:01";

/// The interface between the inside host as a router and the one behind it, on both.
pub const LAN_INTERFACE: &str = "lan0";
const BEHIND_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
const BEHIND_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 2);
const GATE_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const GATE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 1);
const BEHIND_MAC: &str = "02:00:00:00:0b:02";
const GATE_MAC: &str = "02:00:00:00:0b:01";

/// Open connections live longer than this in the judge's eyes, in seconds, and closed ones less.
const LIVES: u32 = 600;

/// The four hosts, and the relay at work.
#[derive(Debug)]
pub struct Relayed {
    /// The bad cable.
    pub relay: Relay,
    /// The judge, and the protected host.
    pub pair: Pair,
    /// The relay's host.
    pub middle: Namespace,
    /// The host at the far end.
    pub outside: Namespace,
    /// The host behind the inside one, if that is a router.
    pub behind: Option<Namespace>,
}

impl Relayed {
    /// Makes them. What comes from outside meets `rates[0]`, what goes there `rates[1]`.
    ///
    /// # Errors
    /// What the tools of the system say.
    pub fn new(rates: [Rates; 2], seed: u64) -> Result<Self> {
        let pair = Pair::new()?;
        let (middle, outside) = (Namespace::new("mid")?, Namespace::new("far")?);
        let judge = &pair.outside;
        // No host in the middle: it has no address and says nothing by itself.
        middle.set("ipv6/conf/all/disable_ipv6", "1")?;
        middle.set("ipv6/conf/default/disable_ipv6", "1")?;
        for (host, mac, name) in [
            (&outside, FAR_MAC, FAR_INTERFACE),
            (judge, NEAR_MAC, NEAR_INTERFACE),
        ] {
            host.ip(&format!(
                "link add {FAR_INTERFACE} address {mac} type veth peer name {name} netns {}",
                middle.name()
            ))?;
            // The relay puts on the cable what a card would: whole sums, segments that fit.
            host.offload(FAR_INTERFACE, false)?;
            middle.offload(name, false)?;
            middle.ip(&format!("link set {name} up"))?;
        }
        cable(
            FAR_INTERFACE,
            [
                (&outside, FAR_V4, FAR_V6, NEAR_V4, NEAR_V6, NEAR_MAC),
                (judge, NEAR_V4, NEAR_V6, FAR_V4, FAR_V6, FAR_MAC),
            ],
        )?;
        forwards(judge)?;
        defaults(&pair.inside, OUTSIDE_V4, OUTSIDE_V6)?;
        defaults(&outside, NEAR_V4, NEAR_V6)?;
        judge_by_conntrack(judge)?;
        let interfaces = [FAR_INTERFACE, NEAR_INTERFACE];
        let relay = Relay::start(&middle, interfaces, rates, seed)?;
        Ok(Self {
            relay,
            pair,
            middle,
            outside,
            behind: None,
        })
    }

    /// Makes the inside host a router, with another host behind it.
    ///
    /// # Errors
    /// What the tools of the system say.
    pub fn route(&mut self) -> Result<()> {
        let (gate, behind) = (self.inside(), Namespace::new("behind")?);
        gate.ip(&format!(
            "link add {LAN_INTERFACE} address {GATE_MAC} type veth peer name {LAN_INTERFACE} \
             address {BEHIND_MAC} netns {}",
            behind.name()
        ))?;
        cable(
            LAN_INTERFACE,
            [
                (&behind, BEHIND_V4, BEHIND_V6, GATE_V4, GATE_V6, GATE_MAC),
                (gate, GATE_V4, GATE_V6, BEHIND_V4, BEHIND_V6, BEHIND_MAC),
            ],
        )?;
        forwards(gate)?;
        defaults(&behind, GATE_V4, GATE_V6)?;
        let judge = self.judge();
        judge.ip(&format!("route add {BEHIND_V4} via {INSIDE_V4}"))?;
        judge.ip(&format!("-6 route add {BEHIND_V6} via {INSIDE_V6}"))?;
        self.behind = Some(behind);
        Ok(())
    }

    /// Who speaks with the outside host.
    #[must_use]
    pub fn server(&self) -> &Namespace {
        self.behind.as_ref().unwrap_or_else(|| self.inside())
    }

    /// The router that knows connections.
    #[must_use]
    pub const fn judge(&self) -> &Namespace {
        &self.pair.outside
    }

    /// The protected host.
    #[must_use]
    pub const fn inside(&self) -> &Namespace {
        &self.pair.inside
    }

    /// The address of each end in one family: outside, and [`Relayed::server`].
    #[must_use]
    pub fn addresses(&self, v6: bool) -> (IpAddr, IpAddr) {
        match (v6, &self.behind) {
            (true, None) => (FAR_V6.into(), INSIDE_V6.into()),
            (true, Some(_)) => (FAR_V6.into(), BEHIND_V6.into()),
            (false, None) => (FAR_V4.into(), INSIDE_V4.into()),
            (false, Some(_)) => (FAR_V4.into(), BEHIND_V4.into()),
        }
    }

    /// Packets to the inside host that the judge passed as of an open connection, of one that is
    /// over, and as of none.
    ///
    /// # Errors
    /// What `nft` says.
    pub fn judged(&self) -> Result<[u64; 3]> {
        let of = |name: &str| self.judge().counted(&format!("inet fwt {name}"));
        Ok([of("open")?, of("over")?, of("other")?])
    }
}

/// An end of a cable: the host, its addresses, those of the other end.
type End<'a> = (
    &'a Namespace,
    Ipv4Addr,
    Ipv6Addr,
    Ipv4Addr,
    Ipv6Addr,
    &'a str,
);

/// Gives both ends of a cable their addresses. Neighbour entries are permanent.
fn cable(interface: &str, ends: [End<'_>; 2]) -> Result<()> {
    for (host, v4, v6, peer_v4, peer_v6, peer_mac) in ends {
        host.ip(&format!("link set {interface} addrgenmode none"))?;
        host.ip(&format!("addr add {v4}/24 dev {interface}"))?;
        host.ip(&format!("addr add {v6}/64 dev {interface} nodad"))?;
        host.ip(&format!("link set {interface} up"))?;
        for peer in [IpAddr::from(peer_v4), peer_v6.into()] {
            host.ip(&format!(
                "neigh replace {peer} lladdr {peer_mac} dev {interface} nud permanent"
            ))?;
        }
    }
    Ok(())
}

fn forwards(host: &Namespace) -> Result<()> {
    host.set("ipv4/ip_forward", "1")?;
    host.set("ipv6/conf/all/forwarding", "1")
}

fn defaults(host: &Namespace, v4: Ipv4Addr, v6: Ipv6Addr) -> Result<()> {
    host.ip(&format!("route add default via {v4}"))?;
    host.ip(&format!("-6 route add default via {v6}"))
}

/// Connections that are open live long, as they do anyway; what follows a close, short. A segment
/// whose connection nobody has seen begin is of none (`nf_conntrack_tcp_loose=0`).
fn judge_by_conntrack(judge: &Namespace) -> Result<()> {
    judge.nft(&format!(
        "table inet fwt {{
            counter open {{ }}
            counter over {{ }}
            counter other {{ }}
            chain forward {{
                type filter hook forward priority 0; policy accept;
                oifname != {INTERFACE} accept
                ct state established,related ct expiration >= {LIVES}s goto open
                ct state established,related goto over
                ip dscp set 0
                ip6 dscp set 0
                counter name other
            }}
            chain open {{
                ip dscp set {OPEN}
                ip6 dscp set {OPEN}
                counter name open
            }}
            chain over {{
                ip dscp set {OVER}
                ip6 dscp set {OVER}
                counter name over
            }}
        }}"
    ))?;
    judge.set("netfilter/nf_conntrack_tcp_loose", "0")?;
    for state in [
        "established",
        "syn_recv",
        "fin_wait",
        "close_wait",
        "last_ack",
    ] {
        let file = format!("netfilter/nf_conntrack_tcp_timeout_{state}");
        judge.set(&file, &(LIVES * 2).to_string())?;
    }
    for state in ["unacknowledged", "max_retrans"] {
        let file = format!("netfilter/nf_conntrack_tcp_timeout_{state}");
        judge.set(&file, &(LIVES * 2).to_string())?;
    }
    Ok(())
}
