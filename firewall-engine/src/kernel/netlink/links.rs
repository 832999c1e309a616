//! The rtnetlink request for all interfaces of this namespace: their MAC addresses, and which of them
//! lie over which.
//!
//! Attributes: `linux/if_link.h`.

use super::{HEADER, attributes, list};
use std::io;

const RTM_GETLINK: u16 = 18;
const IFLA_ADDRESS: u16 = 1;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_LINK_NETNSID: u16 = 37;

/// Bytes of `ifinfomsg`; the index lies behind family, padding and device type.
const IFINFO: usize = 16;

/// One interface.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Link {
    /// Kernel index.
    pub(crate) ifindex: u32,
    /// Its MAC address, if it has one, as a number of 48 bits.
    pub(crate) mac: Option<u64>,
    /// Index of the bond, bridge or team that it is a port of.
    pub(crate) master: Option<u32>,
    /// Index of the interface of this namespace that it lies over (of a veth: that at its other end).
    pub(crate) lower: Option<u32>,
    /// What it is: `bond`, `vlan`; empty for a card.
    pub(crate) kind: String,
}

/// All interfaces of this namespace.
pub(crate) fn links() -> io::Result<Vec<Link>> {
    let messages = list(RTM_GETLINK, &[0; IFINFO])?;
    Ok(messages
        .iter()
        .filter_map(|message| read(message.get(HEADER..)?))
        .collect())
}

fn read(body: &[u8]) -> Option<Link> {
    let number = |bytes: &[u8]| Some(u32::from_ne_bytes(*bytes.first_chunk::<4>()?));
    let mut link = Link {
        ifindex: number(body.get(4..)?)?,
        ..Link::default()
    };
    let mut is_elsewhere = false;
    for (kind, value) in attributes(body.get(IFINFO..)?) {
        match kind {
            IFLA_ADDRESS if value.len() == 6 => {
                link.mac = Some(
                    value
                        .iter()
                        .fold(0, |mac, &byte| mac << 8 | u64::from(byte)),
                );
            }
            IFLA_MASTER => link.master = number(value),
            IFLA_LINK => link.lower = number(value),
            IFLA_LINK_NETNSID => is_elsewhere = true,
            IFLA_LINKINFO => {
                let name = attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND);
                let name = name.map(|(_, name)| String::from_utf8_lossy(name));
                link.kind = name.unwrap_or_default().trim_end_matches('\0').into();
            }
            _ => {}
        }
    }
    if is_elsewhere {
        link.lower = None;
    }
    Some(link)
}

#[cfg(test)]
mod tests {
    use super::super::attribute;
    use super::*;

    fn message(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![0; IFINFO];
        body[4..8].copy_from_slice(&7u32.to_ne_bytes());
        for (kind, value) in attributes {
            attribute(&mut body, *kind, value);
        }
        body
    }

    #[test]
    fn a_link_says_what_it_is_and_where_it_lies() {
        let mut info = Vec::new();
        attribute(&mut info, IFLA_INFO_KIND, b"macvlan\0");
        let (master, lower) = (9u32.to_ne_bytes(), 8u32.to_ne_bytes());
        let mut said: Vec<(u16, &[u8])> = vec![
            (IFLA_ADDRESS, &[2, 0, 0, 0, 0, 0x80]),
            (IFLA_MASTER, &master),
            (IFLA_LINK, &lower),
            (IFLA_LINKINFO, &info),
        ];
        let mut wanted = Link {
            ifindex: 7,
            mac: Some(0x0200_0000_0080),
            master: Some(9),
            lower: Some(8),
            kind: "macvlan".into(),
        };
        assert_eq!(read(&message(&said)), Some(wanted.clone()));
        // An index of another namespace is no index here.
        said.push((IFLA_LINK_NETNSID, &[0; 4]));
        wanted.lower = None;
        assert_eq!(read(&message(&said)), Some(wanted));
        // A tunnel has four bytes, a point-to-point link none.
        let bare = read(&message(&[(IFLA_ADDRESS, &[192, 0, 2, 1])]));
        assert_eq!(bare.unwrap().mac, None);
        assert_eq!(read(&[0; 3]), None);
    }
}
