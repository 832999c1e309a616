//! Tunnel devices: which packets carry those of one, as far as the kernel says it of the device.
//!
//! Attributes: `linux/if_tunnel.h`, `linux/if_link.h`. Pure. Invariant: a kind of device of which nothing is
//! known here is a tunnel of which nobody can say more.

use super::{attributes, number};
use std::net::IpAddr;

const IFLA_GRE_LINK: u16 = 1;
const IFLA_GRE_LOCAL: u16 = 6;
const IFLA_GRE_REMOTE: u16 = 7;
const IFLA_GRE_ENCAP_TYPE: u16 = 14;
const IFLA_GRE_COLLECT_METADATA: u16 = 18;
const IFLA_GRE_FWMARK: u16 = 20;
const IFLA_IPTUN_LINK: u16 = 1;
const IFLA_IPTUN_LOCAL: u16 = 2;
const IFLA_IPTUN_REMOTE: u16 = 3;
const IFLA_IPTUN_ENCAP_TYPE: u16 = 15;
const IFLA_IPTUN_COLLECT_METADATA: u16 = 19;
const IFLA_IPTUN_FWMARK: u16 = 20;
const IFLA_VXLAN_GROUP: u16 = 2;
const IFLA_VXLAN_LINK: u16 = 3;
const IFLA_VXLAN_LOCAL: u16 = 4;
const IFLA_VXLAN_PORT: u16 = 15;
const IFLA_VXLAN_GROUP6: u16 = 16;
const IFLA_VXLAN_LOCAL6: u16 = 17;
const IFLA_VXLAN_COLLECT_METADATA: u16 = 25;
const IFLA_GENEVE_REMOTE: u16 = 2;
const IFLA_GENEVE_PORT: u16 = 5;
const IFLA_GENEVE_COLLECT_METADATA: u16 = 6;
const IFLA_GENEVE_REMOTE6: u16 = 7;
const IFLA_HSR_SLAVE1: u16 = 1;
const IFLA_HSR_SLAVE2: u16 = 2;

/// IEEE 802.1AE.
const MACSEC: u16 = 0x88e5;

/// Kinds whose packets come in as they are, or by what lies below them.
const BARE: [&str; 21] = [
    "",
    "bond",
    "bridge",
    "dummy",
    "ifb",
    "ipoib",
    "ipvlan",
    "ipvtap",
    "macvlan",
    "macvtap",
    "netdevsim",
    "netkit",
    "nlmon",
    "rmnet",
    "team",
    "vcan",
    "veth",
    "virt_wifi",
    "vlan",
    "vrf",
    "wwan",
];

/// What carries a tunnel's packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Carrier {
    /// Packets of IP that hold packets of IP.
    Ip,
    /// GRE, with packets of IP or with frames.
    Gre { frames: bool },
    /// Datagrams to a port, with frames.
    Udp { port: u16, is_vxlan: bool },
    /// Datagrams of WireGuard: whose, it says itself.
    WireGuard,
    /// PPP over whatever.
    Ppp,
    /// Frames of this EtherType, on the interface below.
    Frames(u16),
    /// Frames with a tag that the program does not know: of a port of a switch (DSA) on the interface below,
    /// of HSR and PRP on these two.
    Tagged([u32; 2]),
    /// Nobody can say.
    Unknown,
}

/// A tunnel device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tunnel {
    /// What carries its packets.
    pub(crate) carrier: Carrier,
    /// This end, if the device fixes it.
    pub(crate) local: Option<IpAddr>,
    /// The other end, if the device has one.
    pub(crate) remote: Option<IpAddr>,
    /// The interface that its packets leave by, if the device fixes it.
    pub(crate) link: Option<u32>,
    /// The mark of packets that leave.
    pub(crate) mark: u32,
}

impl Tunnel {
    /// Of a device of this kind, which says this of itself; `None` if it is none.
    pub(super) fn read(kind: &str, data: &[u8]) -> Option<Self> {
        if BARE.contains(&kind) {
            return None;
        }
        let mut tunnel = Self {
            carrier: carrier_of(kind),
            local: None,
            remote: None,
            link: None,
            mark: 0,
        };
        for (number, value) in attributes(data) {
            tunnel.note(kind, number, value);
        }
        Some(tunnel)
    }

    /// Takes note of one thing that a device says.
    fn note(&mut self, kind: &str, attribute: u16, value: &[u8]) {
        let index = || number(value).filter(|&index| index != 0);
        match (kind, attribute) {
            ("gre" | "gretap" | "ip6gre" | "ip6gretap", attribute) => match attribute {
                IFLA_GRE_LINK => self.link = index(),
                IFLA_GRE_LOCAL => self.local = host(value),
                IFLA_GRE_REMOTE => self.remote = host(value),
                IFLA_GRE_FWMARK => self.mark = number(value).unwrap_or_default(),
                IFLA_GRE_ENCAP_TYPE if is_set(value) => self.carrier = Carrier::Unknown,
                IFLA_GRE_COLLECT_METADATA => self.carrier = Carrier::Unknown,
                _ => {}
            },
            ("ipip" | "sit" | "ip6tnl", attribute) => match attribute {
                IFLA_IPTUN_LINK => self.link = index(),
                IFLA_IPTUN_LOCAL => self.local = host(value),
                IFLA_IPTUN_REMOTE => self.remote = host(value),
                IFLA_IPTUN_FWMARK => self.mark = number(value).unwrap_or_default(),
                IFLA_IPTUN_ENCAP_TYPE if is_set(value) => self.carrier = Carrier::Unknown,
                IFLA_IPTUN_COLLECT_METADATA => self.carrier = Carrier::Unknown,
                _ => {}
            },
            ("vxlan", attribute) => match attribute {
                IFLA_VXLAN_LINK => self.link = index(),
                IFLA_VXLAN_LOCAL | IFLA_VXLAN_LOCAL6 => self.local = host(value),
                IFLA_VXLAN_GROUP | IFLA_VXLAN_GROUP6 => self.remote = host(value),
                IFLA_VXLAN_PORT => self.note_port(value, true),
                IFLA_VXLAN_COLLECT_METADATA if is_set(value) => self.carrier = Carrier::Unknown,
                _ => {}
            },
            ("geneve", attribute) => match attribute {
                IFLA_GENEVE_REMOTE | IFLA_GENEVE_REMOTE6 => self.remote = host(value),
                IFLA_GENEVE_PORT => self.note_port(value, false),
                IFLA_GENEVE_COLLECT_METADATA => self.carrier = Carrier::Unknown,
                _ => {}
            },
            ("hsr", IFLA_HSR_SLAVE1 | IFLA_HSR_SLAVE2) => {
                if let Carrier::Tagged(slaves) = &mut self.carrier {
                    slaves[usize::from(attribute - IFLA_HSR_SLAVE1)] = index().unwrap_or_default();
                }
            }
            _ => {}
        }
    }

    fn note_port(&mut self, value: &[u8], is_vxlan: bool) {
        if let (Some(port), Carrier::Udp { .. }) = (value.first_chunk(), self.carrier) {
            let port = u16::from_be_bytes(*port);
            self.carrier = Carrier::Udp { port, is_vxlan };
        }
    }
}

fn carrier_of(kind: &str) -> Carrier {
    match kind {
        "ipip" | "sit" | "ip6tnl" => Carrier::Ip,
        "gre" | "ip6gre" => Carrier::Gre { frames: false },
        "gretap" | "ip6gretap" => Carrier::Gre { frames: true },
        "vxlan" => Carrier::Udp {
            port: 8472,
            is_vxlan: true,
        },
        "geneve" => Carrier::Udp {
            port: 6081,
            is_vxlan: false,
        },
        "wireguard" => Carrier::WireGuard,
        "ppp" => Carrier::Ppp,
        "macsec" => Carrier::Frames(MACSEC),
        "dsa" | "hsr" => Carrier::Tagged([0; 2]),
        _ => Carrier::Unknown,
    }
}

/// The address of one host; `None` of all zeros, and of a group's.
fn host(bytes: &[u8]) -> Option<IpAddr> {
    let address = super::address(bytes)?;
    (!address.is_unspecified() && !address.is_multicast()).then_some(address)
}

fn is_set(value: &[u8]) -> bool {
    value.iter().any(|&byte| byte != 0)
}

#[cfg(test)]
mod tests {
    use super::super::attribute;
    use super::*;

    fn read(kind: &str, said: &[(u16, &[u8])]) -> Option<Tunnel> {
        let mut data = Vec::new();
        for (kind, value) in said {
            attribute(&mut data, *kind, value);
        }
        Tunnel::read(kind, &data)
    }

    #[test]
    fn tunnels_to_one_host_say_both_ends() {
        let (own, other) = ([192, 0, 2, 80], [198, 51, 100, 1]);
        let link = 7u32.to_ne_bytes();
        let mark = 9u32.to_ne_bytes();
        for (kind, numbers, carrier) in [
            ("gre", [1, 6, 7, 20], Carrier::Gre { frames: false }),
            ("gretap", [1, 6, 7, 20], Carrier::Gre { frames: true }),
            ("ipip", [1, 2, 3, 20], Carrier::Ip),
            ("sit", [1, 2, 3, 20], Carrier::Ip),
        ] {
            let values: [&[u8]; 4] = [&link, &own, &other, &mark];
            let said: Vec<(u16, &[u8])> = numbers.into_iter().zip(values).collect();
            let tunnel = read(kind, &said).unwrap();
            let wanted = Tunnel {
                carrier,
                local: Some(own.into()),
                remote: Some(other.into()),
                link: Some(7),
                mark: 9,
            };
            assert_eq!(tunnel, wanted, "{kind}");
        }
        let v6 = read("ip6tnl", &[(2, &[0x20; 16]), (3, &[0x30; 16])]).unwrap();
        assert_eq!(v6.remote, Some([0x30; 16].into()));
    }

    #[test]
    fn what_leads_to_many_or_nobody_knows_where_is_not_made_up() {
        for (kind, said) in [
            ("gre", &[(7, &[0, 0, 0, 0][..])][..]),
            ("gre", &[(7, &[239, 0, 0, 1][..])]),
            ("vxlan", &[(2, &[239, 0, 0, 1][..])]),
            ("vxlan", &[]),
        ] {
            assert_eq!(read(kind, said).unwrap().remote, None, "{kind}");
        }
        for (kind, said) in [
            ("tun", &[][..]),
            ("xfrm", &[]),
            ("vti", &[]),
            ("something-new", &[]),
            ("gre", &[(14, &[1, 0][..])]),
            ("ipip", &[(15, &[2, 0][..])]),
            ("ip6gre", &[(18, &[][..])]),
            ("vxlan", &[(25, &[1][..]), (15, &[0x12, 0xb5][..])]),
            ("geneve", &[(6, &[][..]), (5, &[0x17, 0xc1][..])]),
        ] {
            assert_eq!(
                read(kind, said).unwrap().carrier,
                Carrier::Unknown,
                "{kind}"
            );
        }
        for kind in ["", "bridge", "vlan", "veth", "dummy"] {
            assert_eq!(read(kind, &[]), None, "{kind}");
        }
    }

    #[test]
    fn ports_of_switches_and_rings_say_what_lies_below() {
        assert_eq!(read("dsa", &[]).unwrap().carrier, Carrier::Tagged([0; 2]));
        let (a, b) = (7u32.to_ne_bytes(), 8u32.to_ne_bytes());
        let ring = read("hsr", &[(1, &a), (2, &b)]).unwrap();
        assert_eq!(ring.carrier, Carrier::Tagged([7, 8]));
    }

    #[test]
    fn datagrams_say_their_port() {
        let vxlan = read("vxlan", &[(2, &[198, 51, 100, 1]), (15, &[0x12, 0xb5])]).unwrap();
        let carrier = Carrier::Udp {
            port: 4789,
            is_vxlan: true,
        };
        assert_eq!(
            (vxlan.carrier, vxlan.remote),
            (carrier, Some([198, 51, 100, 1].into()))
        );
        let geneve = read("geneve", &[(7, &[0x20; 16]), (5, &[0x17, 0xc1])]).unwrap();
        let carrier = Carrier::Udp {
            port: 6081,
            is_vxlan: false,
        };
        assert_eq!(
            (geneve.carrier, geneve.remote),
            (carrier, Some([0x20; 16].into()))
        );
    }
}
