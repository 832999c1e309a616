//! The gateways of the routes of this namespace, of every table and both families.
//!
//! Attributes: `linux/rtnetlink.h`. A route has its gateway beside it or, with several next hops, one
//! in each of those.

use super::{HEADER, ROUTE, Told, attributes, dump};
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

const RTM_GETROUTE: u16 = 26;
const RTM_NEWROUTE: u16 = 24;
const RTA_GATEWAY: u16 = 5;
const RTA_MULTIPATH: u16 = 9;
const RTA_VIA: u16 = 18;

/// Bytes of `rtmsg`.
const RTMSG: usize = 12;

/// Bytes of `rtnexthop`.
const NEXT_HOP: usize = 8;

/// The gateways.
pub(crate) fn gateways() -> io::Result<BTreeSet<IpAddr>> {
    let mut found = BTreeSet::new();
    dump(ROUTE, RTM_GETROUTE, &[0; RTMSG], |told| match told {
        Told::Message(message) => read(message, &mut found),
        Told::Again => found.clear(),
    })?;
    Ok(found)
}

/// Takes the gateways of one route.
fn read(message: &[u8], found: &mut BTreeSet<IpAddr>) {
    if message.len() < HEADER + RTMSG || super::kind_of(message) != RTM_NEWROUTE {
        return;
    }
    of_attributes(&message[HEADER + RTMSG..], found);
}

fn of_attributes(bytes: &[u8], found: &mut BTreeSet<IpAddr>) {
    for (kind, value) in attributes(bytes) {
        match kind {
            RTA_GATEWAY => found.extend(address(value)),
            // A gateway of the other family: the family first.
            RTA_VIA => found.extend(value.get(2..).and_then(address)),
            RTA_MULTIPATH => {
                let mut rest = value;
                while let Some(len) = rest.first_chunk::<2>() {
                    let len = usize::from(u16::from_ne_bytes(*len));
                    let Some(hop) = rest.get(NEXT_HOP..len) else {
                        break;
                    };
                    of_attributes(hop, found);
                    rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
                }
            }
            _ => {}
        }
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

#[cfg(test)]
mod tests {
    use super::super::attribute;
    use super::*;

    #[test]
    fn gateways_beside_routes_and_in_next_hops() {
        let mut hops = Vec::new();
        for last in [1, 2] {
            let mut gateway = Vec::new();
            attribute(&mut gateway, RTA_GATEWAY, &[192, 0, 2, last]);
            hops.extend(((NEXT_HOP + gateway.len()) as u16).to_ne_bytes());
            hops.extend([0; NEXT_HOP - 2]);
            hops.extend(gateway);
        }
        let mut message = vec![0; HEADER + RTMSG];
        message[4..6].copy_from_slice(&RTM_NEWROUTE.to_ne_bytes());
        attribute(&mut message, RTA_MULTIPATH, &hops);
        attribute(&mut message, RTA_GATEWAY, &[0xfe; 16]);
        attribute(&mut message, RTA_VIA, &[2, 0, 198, 51, 100, 1]);
        attribute(&mut message, RTA_GATEWAY, &[1, 2, 3]);
        let mut found = BTreeSet::new();
        read(&message, &mut found);
        let found: Vec<String> = found.iter().map(IpAddr::to_string).collect();
        assert_eq!(
            found,
            [
                "192.0.2.1",
                "192.0.2.2",
                "198.51.100.1",
                &IpAddr::from([0xfe; 16]).to_string()
            ]
        );
    }

    #[test]
    fn cut_next_hops_end_the_list() {
        for hops in [&[200, 0, 0, 0][..], &[0, 0, 0, 0, 0, 0, 0, 0], &[8, 0]] {
            let mut bytes = Vec::new();
            attribute(&mut bytes, RTA_MULTIPATH, hops);
            let mut found = BTreeSet::new();
            of_attributes(&bytes, &mut found);
            assert!(found.is_empty());
        }
    }
}
