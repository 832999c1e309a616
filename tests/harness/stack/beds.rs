//! The filtered host as a router, with a host behind it that has its addresses, and with a bridge
//! whose port is filtered.

use crate::netns::{INSIDE_V4, INSIDE_V6, INTERFACE, Namespace, OUTSIDE_V4, OUTSIDE_V6, Pair};
use anyhow::Result;
use std::net::IpAddr;

/// Addresses that the generators send to, beside that of the interface.
pub(super) const ADDRESSES: [&str; 3] = ["198.51.100.80/32", "2001:db8::2/128", "2001:db8::fa/128"];

const LAN: &str = "lan0";
const GATE: [&str; 2] = ["203.0.113.1", "2001:db8:b::1"];
const BEHIND: [&str; 2] = ["203.0.113.2", "2001:db8:b::2"];
const GATE_MAC: &str = "02:00:00:00:0b:01";
const BEHIND_MAC: &str = "02:00:00:00:0b:02";

/// An Ethernet address as `ip` writes it.
fn text(mac: &[u8]) -> String {
    let digits: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.join(":")
}

/// Makes a router of the host, and a host behind it that has its addresses.
pub(super) fn route(router: &Namespace) -> Result<Namespace> {
    let behind = Namespace::new("behind")?;
    for file in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        router.set(file, "1")?;
    }
    router.ip(&format!(
        "link add {LAN} address {GATE_MAC} type veth peer name {LAN} address {BEHIND_MAC} netns {}",
        behind.name()
    ))?;
    for (host, own, peer, mac) in [
        (router, GATE, BEHIND, BEHIND_MAC),
        (&behind, BEHIND, GATE, GATE_MAC),
    ] {
        host.ip(&format!("link set {LAN} addrgenmode none"))?;
        host.ip(&format!("addr add {}/24 dev {LAN}", own[0]))?;
        host.ip(&format!("addr add {}/64 dev {LAN} nodad", own[1]))?;
        host.ip(&format!("link set {LAN} up"))?;
        for peer in peer {
            host.ip(&format!(
                "neigh replace {peer} lladdr {mac} dev {LAN} nud permanent"
            ))?;
        }
    }
    // The router has other addresses on the cable now.
    router.ip(&format!("addr del {INSIDE_V4}/24 dev {INTERFACE}"))?;
    router.ip(&format!("addr del {INSIDE_V6}/64 dev {INTERFACE}"))?;
    router.ip(&format!("addr add 192.0.2.81/24 dev {INTERFACE}"))?;
    router.ip(&format!("addr add 2001:db8::81/64 dev {INTERFACE} nodad"))?;
    behind.ip(&format!("addr add {INSIDE_V4}/32 dev lo"))?;
    behind.ip(&format!("addr add {INSIDE_V6}/128 dev lo"))?;
    neighbours(router, INTERFACE)?;
    let own = [format!("{INSIDE_V4}/32"), format!("{INSIDE_V6}/128")];
    let own = own.iter().map(String::as_str);
    for address in own.chain(ADDRESSES) {
        let by = BEHIND[usize::from(address.contains(':'))];
        router.ip(&format!("route add {address} via {by}"))?;
    }
    for by in GATE {
        behind.ip(&format!("route add default via {by}"))?;
    }
    // What the router itself has to say (that a host cannot be reached) is no frame from outside.
    router.nft(&format!(
        "table inet own {{ chain out {{ type filter hook output priority 0; oifname {LAN} drop; }}; }}"
    ))?;
    Ok(behind)
}

/// Makes the interface of the host a port of a bridge, which has its addresses.
pub(super) fn bridge(host: &Namespace) -> Result<()> {
    let mac = text(&Pair::macs()[..6]);
    host.ip(&format!("link add br0 address {mac} type bridge"))?;
    host.ip("link set br0 addrgenmode none")?;
    host.ip(&format!("addr flush dev {INTERFACE}"))?;
    host.ip(&format!("link set {INTERFACE} master br0"))?;
    host.ip("link set br0 up")?;
    host.ip(&format!("addr add {INSIDE_V4}/24 dev br0"))?;
    host.ip(&format!("addr add {INSIDE_V6}/64 dev br0 nodad"))?;
    neighbours(host, "br0")
}

/// The other end of the cable.
fn neighbours(host: &Namespace, interface: &str) -> Result<()> {
    let mac = text(&Pair::macs()[6..]);
    for peer in [IpAddr::from(OUTSIDE_V4), OUTSIDE_V6.into()] {
        host.ip(&format!(
            "neigh replace {peer} lladdr {mac} dev {interface} nud permanent"
        ))?;
    }
    Ok(())
}
