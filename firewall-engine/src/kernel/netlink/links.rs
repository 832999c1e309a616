//! What rtnetlink says of interfaces: all of this namespace, or one. What they are, and which of them
//! lie over which. The one reader of messages about links, but for the XDP programs in them ([`xdp`]).
//!
//! Attributes: `linux/if_link.h`. Hardware types: `linux/if_arp.h`.
//!
//! [`xdp`]: super::xdp

use super::tunnels::Tunnel;
use super::{HEADER, attributes, find, kind_of, list, number, request, u16_at, word};
use std::io;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_VRF_TABLE: u16 = 1;
const IFLA_GRE_REMOTE: u16 = 7;
const IFLA_TUN_TYPE: u16 = 3;
/// The type of a device of tun whose frames have an Ethernet header (`IFF_TAP`).
const TAP: u8 = 2;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_XDP: u16 = 43;
/// In it: how a program is attached; 0 if none is.
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_GRO_MAX_SIZE: u16 = 58;
const IFLA_GRO_IPV4_MAX_SIZE: u16 = 64;

/// Flag of an interface that asks nobody for MAC addresses.
const IFF_NOARP: u32 = 0x80;
/// Hardware types: Ethernet, and the loopback interface.
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_LOOPBACK: u16 = 772;

/// Bytes of `ifinfomsg`, with which a message about a link begins; device type and index lie behind
/// family and padding.
const IFINFO: usize = 16;

/// One interface.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Link {
    /// Kernel index.
    pub(crate) ifindex: u32,
    /// `ARPHRD_*`: what stands at the beginning of its frames.
    pub(crate) hardware: u16,
    /// The longest IP packet that it takes, in bytes.
    pub(crate) mtu: u32,
    /// Its MAC address, if it has one, as a number of 48 bits.
    pub(crate) mac: Option<u64>,
    /// Index of the bond, bridge, team or VRF that it is a port of.
    pub(crate) master: Option<u32>,
    /// What that is: `bond`, `bridge`; empty if it is no port.
    pub(crate) master_kind: String,
    /// Index of the interface of this namespace that it lies over (of a veth: that at its other end).
    pub(crate) lower: Option<u32>,
    /// What it is: `bond`, `vlan`, `tun`; empty for a card.
    pub(crate) kind: String,
    /// The number of its VLAN, if it is one.
    pub(crate) vlan: Option<u16>,
    /// Its name.
    pub(crate) name: String,
    /// The number of its routing table, if it is a VRF.
    pub(crate) table: Option<u32>,
    /// Whether it is a GRE tunnel to one host, and to no group.
    pub(crate) has_remote: bool,
    /// Whether it is a device of tun whose frames have an Ethernet header.
    pub(crate) is_tap: bool,
    /// What is known of the packets that carry its own, if it is a tunnel.
    pub(crate) tunnel: Option<Tunnel>,
    /// Whether hosts at its other side are found by ARP and neighbour discovery.
    pub(crate) has_neighbours: bool,
    /// Whether it carries an XDP program.
    pub(crate) has_program: bool,
    /// The longest packet that is put together of received ones, in bytes; 0 if it does not say.
    pub(crate) gro_max: u32,
}

/// All interfaces of this namespace.
pub(crate) fn links() -> io::Result<Vec<Link>> {
    all(Link::read)
}

/// Asks about all interfaces of this namespace at once, and reads each answer.
pub(super) fn all<T>(read: impl Fn(&[u8; IFINFO], &[u8]) -> T) -> io::Result<Vec<T>> {
    let messages = list(RTM_GETLINK, &[0; IFINFO])?;
    let answers = messages.iter().filter_map(|message| split(message));
    Ok(answers
        .map(|(head, attributes)| read(head, attributes))
        .collect())
}

/// The index of the interface that a message is about.
pub(super) fn index_of(head: &[u8; IFINFO]) -> u32 {
    number(&head[4..]).unwrap_or_default()
}

/// Asks about an interface of this namespace, and reads the answer: what it begins with, and the
/// attributes behind.
pub(super) fn ask<T>(ifindex: u32, read: impl FnOnce(&[u8; IFINFO], &[u8]) -> T) -> io::Result<T> {
    let answer = request(RTM_GETLINK, 0, &about(ifindex, &[]))?;
    let (head, attributes) = split(&answer).ok_or(io::ErrorKind::InvalidData)?;
    Ok(read(head, attributes))
}

/// The body of a request about a link: `ifinfomsg` and attributes.
pub(super) fn about(ifindex: u32, attributes: &[u8]) -> Vec<u8> {
    let mut body = vec![0; IFINFO];
    body[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    body.extend(attributes);
    body
}

/// What a message about a link begins with, and its attributes.
fn split(message: &[u8]) -> Option<(&[u8; IFINFO], &[u8])> {
    let body = message.get(HEADER..)?;
    let body = (kind_of(message) == RTM_NEWLINK).then_some(body)?;
    body.split_first_chunk()
}

impl Link {
    fn read(head: &[u8; IFINFO], bytes: &[u8]) -> Self {
        let mut link = Self {
            ifindex: number(&head[4..]).unwrap_or_default(),
            hardware: u16_at(head, 2),
            ..Self::default()
        };
        let flags = number(&head[8..]).unwrap_or_default();
        link.has_neighbours = link.hardware == ARPHRD_ETHER && flags & IFF_NOARP == 0;
        let mut is_elsewhere = false;
        for (kind, value) in attributes(bytes) {
            match kind {
                IFLA_ADDRESS if value.len() == 6 => {
                    let mac = value
                        .iter()
                        .fold(0, |mac, &byte| mac << 8 | u64::from(byte));
                    link.mac = Some(mac);
                }
                IFLA_IFNAME => link.name = word(value),
                IFLA_MTU => link.mtu = number(value).unwrap_or_default(),
                IFLA_GRO_MAX_SIZE | IFLA_GRO_IPV4_MAX_SIZE => {
                    link.gro_max = link.gro_max.max(number(value).unwrap_or_default());
                }
                IFLA_MASTER => link.master = number(value),
                IFLA_LINK => link.lower = number(value),
                IFLA_LINK_NETNSID => is_elsewhere = true,
                IFLA_LINKINFO => link.read_info(value),
                IFLA_XDP => {
                    let mode = find(value, IFLA_XDP_ATTACHED).and_then(<[u8]>::first);
                    link.has_program = mode.is_some_and(|&mode| mode != 0);
                }
                _ => {}
            }
        }
        if is_elsewhere {
            link.lower = None;
        }
        link
    }

    fn read_info(&mut self, bytes: &[u8]) {
        for (kind, value) in attributes(bytes) {
            match kind {
                IFLA_INFO_KIND => {
                    self.kind = word(value);
                    self.tunnel = Tunnel::read(&self.kind, &[]);
                }
                IFLA_INFO_SLAVE_KIND => self.master_kind = word(value),
                IFLA_INFO_DATA => self.read_data(value),
                _ => {}
            }
        }
    }

    /// Whether nothing comes in by it that another host has sent: only addresses are there.
    pub(crate) fn is_inward(&self) -> bool {
        self.hardware == ARPHRD_LOOPBACK || matches!(&*self.kind, "dummy" | "vrf")
    }

    /// Whether it is the loopback interface.
    pub(crate) const fn is_loopback(&self) -> bool {
        self.hardware == ARPHRD_LOOPBACK
    }

    /// Whether it lies over the interface with an index, for the kernel: a port's master, and what takes
    /// frames from it. (The other end of a cable does not.)
    pub(crate) fn is_over(&self, lower: &Self) -> bool {
        const OVER: [&str; 6] = ["vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec"];
        lower.master == Some(self.ifindex)
            || (self.lower == Some(lower.ifindex) && OVER.contains(&&*self.kind))
    }

    /// What is in it depends on the kind.
    fn read_data(&mut self, data: &[u8]) {
        self.tunnel = Tunnel::read(&self.kind, data);
        match &*self.kind {
            "vlan" => {
                let id = find(data, IFLA_VLAN_ID).and_then(|id| id.first_chunk());
                self.vlan = id.map(|id| u16::from_ne_bytes(*id));
            }
            "tun" => {
                self.is_tap = find(data, IFLA_TUN_TYPE).is_some_and(|of| of.first() == Some(&TAP));
            }
            "vrf" => self.table = find(data, IFLA_VRF_TABLE).and_then(number),
            "gre" | "ip6gre" => {
                let remote = find(data, IFLA_GRE_REMOTE).unwrap_or_default();
                let is_group = match remote.len() {
                    4 => remote[0] >> 4 == 14,
                    _ => remote.first() == Some(&0xff),
                };
                self.has_remote = !is_group && remote.iter().any(|&byte| byte != 0);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NLA_F_NESTED, attribute};
    use super::*;

    /// What a message about a link of index 7 and of this hardware type says.
    fn read(hardware: u16, said: &[(u16, &[u8])]) -> Link {
        let mut message = vec![0; HEADER + IFINFO];
        message[4..6].copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
        message[HEADER + 2..HEADER + 4].copy_from_slice(&hardware.to_ne_bytes());
        message[HEADER + 4..HEADER + 8].copy_from_slice(&7u32.to_ne_bytes());
        for (kind, value) in said {
            attribute(&mut message, *kind, value);
        }
        let (head, attributes) = split(&message).expect("a link");
        Link::read(head, attributes)
    }

    fn info(pairs: &[(u16, &[u8])]) -> Vec<u8> {
        let mut info = Vec::new();
        for (kind, value) in pairs {
            attribute(&mut info, *kind, value);
        }
        info
    }

    #[test]
    fn a_link_says_what_it_is_and_where_it_lies() {
        let info = info(&[(IFLA_INFO_KIND, b"macvlan\0")]);
        let (master, lower, mtu) = (9u32, 8u32, 1_500u32);
        let (master, lower) = (master.to_ne_bytes(), lower.to_ne_bytes());
        let mut said: Vec<(u16, &[u8])> = vec![
            (IFLA_ADDRESS, &[2, 0, 0, 0, 0, 0x80]),
            (IFLA_MASTER, &master),
            (IFLA_LINK, &lower),
            (IFLA_LINKINFO, &info),
        ];
        let mtu = mtu.to_ne_bytes();
        said.push((IFLA_MTU, &mtu));
        let (gro, gro_v4) = (4_096u32.to_ne_bytes(), 65_536u32.to_ne_bytes());
        said.push((IFLA_IFNAME, b"up0\0"));
        said.push((IFLA_GRO_MAX_SIZE, &gro));
        said.push((IFLA_GRO_IPV4_MAX_SIZE, &gro_v4));
        let mut wanted = Link {
            ifindex: 7,
            hardware: 1,
            mtu: 1_500,
            mac: Some(0x0200_0000_0080),
            master: Some(9),
            master_kind: String::new(),
            lower: Some(8),
            kind: "macvlan".into(),
            has_neighbours: true,
            name: "up0".into(),
            gro_max: 65_536,
            ..Link::default()
        };
        assert_eq!(read(1, &said), wanted);
        // An index of another namespace is no index here.
        said.push((IFLA_LINK_NETNSID, &[0; 4]));
        wanted.lower = None;
        assert_eq!(read(1, &said), wanted);
        // A tunnel has four bytes, a point-to-point link none.
        let bare = read(0xfffe, &[(IFLA_ADDRESS, &[192, 0, 2, 1])]);
        assert_eq!((bare.mac, bare.hardware), (None, 0xfffe));
    }

    #[test]
    fn a_port_names_its_master_and_that_ones_kind() {
        let info = info(&[
            (IFLA_INFO_KIND, b"vlan\0"),
            (IFLA_INFO_SLAVE_KIND, b"bond\0"),
        ]);
        let master = 9u32.to_ne_bytes();
        for nested in [0, NLA_F_NESTED] {
            let said: [(u16, &[u8]); 2] = [(IFLA_LINKINFO | nested, &info), (IFLA_MASTER, &master)];
            let port = read(1, &said);
            assert_eq!((&*port.kind, &*port.master_kind), ("vlan", "bond"));
            assert_eq!(port.master, Some(9));
        }
        assert_eq!(read(1, &[]).master, None);
    }

    #[test]
    fn a_link_says_whether_it_carries_a_program() {
        for mode in 0..5u8 {
            let of = info(&[(IFLA_XDP_ATTACHED, &[mode])]);
            let said: [(u16, &[u8]); 1] = [(IFLA_XDP | NLA_F_NESTED, &of)];
            assert_eq!(read(1, &said).has_program, mode != 0);
        }
        assert!(!read(1, &[]).has_program);
    }

    #[test]
    fn a_vlan_says_its_number() {
        let mut data = Vec::new();
        attribute(&mut data, IFLA_VLAN_ID, &10u16.to_ne_bytes());
        for (kind, vlan) in [(&b"vlan\0"[..], Some(10)), (b"vxlan\0", None)] {
            let info = info(&[(IFLA_INFO_KIND, kind), (IFLA_INFO_DATA, &data)]);
            assert_eq!(read(1, &[(IFLA_LINKINFO, &info)]).vlan, vlan);
        }
    }

    #[test]
    fn a_tunnel_says_whether_one_host_is_at_its_end_and_a_vrf_its_table() {
        let with = |kind: &[u8], number: u16, value: &[u8]| {
            let mut data = Vec::new();
            attribute(&mut data, number, value);
            let info = info(&[(IFLA_INFO_KIND, kind), (IFLA_INFO_DATA, &data)]);
            read(778, &[(IFLA_LINKINFO, &info)])
        };
        let mut group = [0; 16];
        (group[0], group[15]) = (0xff, 2);
        for (kind, remote, has_remote) in [
            (&b"gre\0"[..], &[192, 0, 2, 1][..], true),
            (b"gre\0", &[0; 4], false),
            (b"gre\0", &[239, 0, 0, 1], false),
            (b"ip6gre\0", &[0x20; 16], true),
            (b"ip6gre\0", &[0; 16], false),
            (b"ip6gre\0", &group, false),
        ] {
            assert_eq!(with(kind, IFLA_GRE_REMOTE, remote).has_remote, has_remote);
        }
        assert!(with(b"tun\0", IFLA_TUN_TYPE, &[2]).is_tap);
        assert!(!with(b"tun\0", IFLA_TUN_TYPE, &[1]).is_tap);
        assert_eq!(
            with(b"vrf\0", IFLA_VRF_TABLE, &[10, 0, 0, 0]).table,
            Some(10)
        );
    }

    #[test]
    fn a_cut_message_is_no_link() {
        let mut message = vec![0; HEADER + IFINFO];
        message[4..6].copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
        assert!(split(&message).is_some());
        for end in HEADER..HEADER + IFINFO {
            assert_eq!(split(&message[..end]), None, "{end}");
        }
        // About something else.
        message[4] = 20;
        assert_eq!(split(&message), None);
    }
}
