//! Three hosts in a row: the `inside` of a [`Pair`], a router in the place of its `outside`, and
//! behind that a far host.
//!
//! Invariant: as for a [`Pair`]; neighbours are looked up, as on any host.

use crate::netns::{INSIDE_V4, INSIDE_V6, INTERFACE, Namespace, OUTSIDE_V4, OUTSIDE_V6, Pair};
use anyhow::{Context, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The interface between router and far host, on both.
pub const FAR_INTERFACE: &str = "far0";
/// The far host.
pub const FAR_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// The far host.
pub const FAR_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 2);
/// The router, on the far side.
const NEAR_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The router, on the far side.
const NEAR_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 1);

/// The three hosts.
#[derive(Debug)]
pub struct Routed {
    /// A host, and the router on one cable with it.
    pub pair: Pair,
    /// The host behind the router.
    pub far: Namespace,
}

impl Routed {
    /// Makes them. `mtu` is that of the cable to the far host, in bytes.
    ///
    /// # Errors
    /// What `ip` says, or the kernel to a setting.
    pub fn new(mtu: u32) -> Result<Self> {
        let net = Self {
            pair: Pair::new()?,
            far: Namespace::new("far")?,
        };
        let (router, far, inside) = (net.router(), &net.far, &net.pair.inside);
        router.ip(&format!(
            "link add {FAR_INTERFACE} type veth peer name {FAR_INTERFACE} netns {}",
            far.name()
        ))?;
        for (host, v4, v6) in [(router, NEAR_V4, NEAR_V6), (far, FAR_V4, FAR_V6)] {
            host.ip(&format!("link set {FAR_INTERFACE} addrgenmode none"))?;
            host.ip(&format!("link set {FAR_INTERFACE} mtu {mtu}"))?;
            host.ip(&format!("addr add {v4}/24 dev {FAR_INTERFACE}"))?;
            host.ip(&format!("addr add {v6}/64 dev {FAR_INTERFACE} nodad"))?;
            host.ip(&format!("link set {FAR_INTERFACE} up"))?;
        }
        for file in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            router
                .run(|| std::fs::write(format!("/proc/sys/net/{file}"), "1"))
                .context(file)?;
        }
        for (host, v4, v6) in [(inside, OUTSIDE_V4, OUTSIDE_V6), (far, NEAR_V4, NEAR_V6)] {
            host.ip(&format!("route add default via {v4}"))?;
            host.ip(&format!("-6 route add default via {v6}"))?;
        }
        // A router asks for neighbours by its link-local address.
        for interface in [FAR_INTERFACE, INTERFACE] {
            router.ip(&format!("addr add fe80::9/64 dev {interface} nodad"))?;
        }
        for (host, peers) in [
            (router, [IpAddr::from(INSIDE_V4), IpAddr::from(INSIDE_V6)]),
            (inside, [OUTSIDE_V4.into(), OUTSIDE_V6.into()]),
        ] {
            for peer in peers {
                host.ip(&format!("neigh del {peer} dev {INTERFACE}"))?;
            }
        }
        Ok(net)
    }

    /// The host in the middle.
    #[must_use]
    pub const fn router(&self) -> &Namespace {
        &self.pair.outside
    }
}
