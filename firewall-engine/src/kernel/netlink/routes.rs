//! The routes of this namespace, of every table and both families: their gateways, and by which interfaces
//! default routes leave.
//!
//! Attributes: `linux/rtnetlink.h`, `linux/nexthop.h`, `linux/fib_rules.h`. A route has gateway and
//! interface beside it or, with several next hops, in each of those, or it names a next hop that is an
//! object of its own, or a group of such.

use super::links::Link;
use super::{HEADER, ROUTE, Told, address, attribute, attributes, dump, find, number, request};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

const RTM_GETROUTE: u16 = 26;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETRULE: u16 = 34;
const RTM_NEWRULE: u16 = 32;
const RTM_GETNEXTHOP: u16 = 106;
const RTM_NEWNEXTHOP: u16 = 104;
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTA_MARK: u16 = 16;
const RTA_VIA: u16 = 18;
const RTA_NH_ID: u16 = 30;
const FRA_TABLE: u16 = 15;
const FRA_L3MDEV: u16 = 19;
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_OIF: u16 = 5;

/// A route that leads to somebody (`RTN_UNICAST`), and one that leads to this host (`RTN_LOCAL`).
const UNICAST: u8 = 1;
const LOCAL: u8 = 2;
/// A rule that has a table looked up (`FR_ACT_TO_TBL`).
const TO_TABLE: u8 = 1;
/// What the kernel remembers of a route, and no route (`RTM_F_CLONED`).
const CLONED: u32 = 0x200;

/// Bytes of `rtmsg`.
const RTMSG: usize = 12;

/// Bytes of `rtnexthop`; the interface is its last word.
const NEXT_HOP: usize = 8;

/// Bytes of `nhmsg`, and of an entry of a group, which begins with the number of its next hop.
const NHMSG: usize = 8;
const GROUP_ENTRY: usize = 8;

/// The gateways.
pub(crate) fn gateways() -> io::Result<BTreeSet<IpAddr>> {
    let mut found = BTreeSet::new();
    dump(ROUTE, RTM_GETROUTE, &[0; RTMSG], |told| match told {
        Told::Message(message) => read(message, &mut found),
        Told::Again => found.clear(),
    })?;
    Ok(found)
}

/// Packets that leave this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Leaving {
    /// Where they go.
    pub(crate) to: IpAddr,
    /// Where they come from, if that is fixed.
    pub(crate) from: Option<IpAddr>,
    /// The interface, or the VRF, that they have to leave by.
    pub(crate) by: Option<u32>,
    /// Their mark.
    pub(crate) mark: u32,
}

/// How packets leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hop {
    /// The interface.
    pub(crate) interface: u32,
    /// The neighbour that they are sent to, if it is not their destination.
    pub(crate) gateway: Option<IpAddr>,
    /// The address of this host that they come from, if it was not asked for.
    pub(crate) source: Option<IpAddr>,
    /// Whether they go to this host.
    pub(crate) is_local: bool,
}

/// How packets leave; `None` where no route leads there.
pub(crate) fn hop_of(leaving: &Leaving) -> io::Result<Option<Hop>> {
    let mut body = vec![0; RTMSG];
    let mut say = |kind: u16, address: IpAddr| match address {
        IpAddr::V4(address) => attribute(&mut body, kind, &address.octets()),
        IpAddr::V6(address) => attribute(&mut body, kind, &address.octets()),
    };
    say(RTA_DST, leaving.to);
    if let Some(from) = leaving.from {
        say(RTA_SRC, from);
    }
    let (family, length) = match leaving.to {
        IpAddr::V4(_) => (libc::AF_INET, 32),
        IpAddr::V6(_) => (libc::AF_INET6, 128),
    };
    (body[0], body[1]) = (family as u8, length);
    body[2] = leaving.from.map_or(0, |_| length);
    if let Some(by) = leaving.by {
        attribute(&mut body, RTA_OIF, &by.to_ne_bytes());
    }
    if leaving.mark != 0 {
        attribute(&mut body, RTA_MARK, &leaving.mark.to_ne_bytes());
    }
    let answer = match request(RTM_GETROUTE, 0, &body) {
        Err(error) if is_unreachable(&error) => return Ok(None),
        answer => answer?,
    };
    Ok(answer.get(HEADER..).and_then(hop))
}

/// The next hop of a route.
fn hop(route: &[u8]) -> Option<Hop> {
    let (head, bytes) = route.split_at_checked(RTMSG)?;
    let via = || find(bytes, RTA_VIA)?.get(2..);
    let gateway = find(bytes, RTA_GATEWAY).or_else(via);
    Some(Hop {
        interface: find(bytes, RTA_OIF).and_then(number)?,
        gateway: gateway.and_then(address),
        source: find(bytes, RTA_PREFSRC).and_then(address),
        is_local: head[7] == LOCAL,
    })
}

/// Whether an answer says that no route leads somewhere.
fn is_unreachable(error: &io::Error) -> bool {
    let known = [
        libc::ENETUNREACH,
        libc::EHOSTUNREACH,
        libc::EACCES,
        libc::EINVAL,
    ];
    error
        .raw_os_error()
        .is_some_and(|code| known.contains(&code))
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
                for hop in each_hop(value) {
                    of_attributes(&hop[NEXT_HOP..], found);
                }
            }
            _ => {}
        }
    }
}

/// The messages of one kind of a list; none where the kernel has no such list.
fn listed(ask: u16, wanted: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let mut messages = Vec::new();
    let asked = dump(ROUTE, ask, body, |told| match told {
        Told::Message(message) if super::kind_of(message) == wanted => {
            messages.push(message[HEADER..].to_vec());
        }
        Told::Message(_) => {}
        Told::Again => messages.clear(),
    });
    match asked {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(Vec::new()),
        answer => answer.map(|()| messages),
    }
}

/// Indices of the interfaces that default routes leave through, of all tables that rules have looked up.
/// `links` are all interfaces, of which VRFs have tables.
pub(crate) fn default_routes(links: &[Link]) -> io::Result<BTreeSet<u32>> {
    let routes = listed(RTM_GETROUTE, RTM_NEWROUTE, &[0; RTMSG])?;
    let rules = listed(RTM_GETRULE, RTM_NEWRULE, &[0; RTMSG])?;
    let hops = listed(RTM_GETNEXTHOP, RTM_NEWNEXTHOP, &[0; NHMSG])?;
    let vrfs = links.iter().filter_map(|link| link.table).collect();
    let tables = (!rules.is_empty()).then(|| tables(&rules, &vrfs));
    let hops = next_hops(&hops);
    let mut found = BTreeSet::new();
    for route in &routes {
        default_route(route, tables.as_ref(), &hops, &mut found);
    }
    Ok(found)
}

/// The tables that rules have looked up. (Body of a rule: family, length of destination and source, type
/// of service, table, two bytes, action.)
fn tables(rules: &[Vec<u8>], vrfs: &BTreeSet<u32>) -> BTreeSet<u32> {
    let mut tables = BTreeSet::new();
    for rule in rules {
        let (Some(head), Some(bytes)) = (rule.first_chunk::<RTMSG>(), rule.get(RTMSG..)) else {
            continue;
        };
        if head[7] != TO_TABLE {
            continue;
        }
        if find(bytes, FRA_L3MDEV).is_some_and(|value| value.first() == Some(&1)) {
            tables.extend(vrfs);
        }
        let table = find(bytes, FRA_TABLE).and_then(number);
        tables.insert(table.unwrap_or(u32::from(head[4])));
    }
    tables
}

/// The interfaces of each next hop that is an object, by its number.
fn next_hops(messages: &[Vec<u8>]) -> BTreeMap<u32, BTreeSet<u32>> {
    let mut hops: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    let mut groups = Vec::new();
    for bytes in messages.iter().filter_map(|message| message.get(NHMSG..)) {
        let Some(id) = find(bytes, NHA_ID).and_then(number) else {
            continue;
        };
        let interface = find(bytes, NHA_OIF).and_then(number);
        hops.entry(id).or_default().extend(interface);
        if let Some(group) = find(bytes, NHA_GROUP) {
            groups.push((id, group.chunks_exact(GROUP_ENTRY).filter_map(number)));
        }
    }
    for (id, members) in groups {
        let members = members.filter_map(|member| hops.get(&member).cloned());
        let members: BTreeSet<u32> = members.flatten().collect();
        hops.entry(id).or_default().extend(members);
    }
    hops
}

/// Takes the interfaces of a route, if it is a default route of one of these tables (`None`: of any).
fn default_route(
    route: &[u8],
    tables: Option<&BTreeSet<u32>>,
    hops: &BTreeMap<u32, BTreeSet<u32>>,
    found: &mut BTreeSet<u32>,
) {
    let (Some(head), Some(bytes)) = (route.first_chunk::<RTMSG>(), route.get(RTMSG..)) else {
        return;
    };
    let flags = number(&head[8..]).unwrap_or_default();
    if !is_default(route) || head[7] != UNICAST || flags & CLONED != 0 {
        return;
    }
    let table = find(bytes, RTA_TABLE).and_then(number);
    let table = table.unwrap_or(u32::from(head[4]));
    if tables.is_some_and(|tables| !tables.contains(&table)) {
        return;
    }
    for (kind, value) in attributes(bytes) {
        match kind {
            RTA_OIF => found.extend(number(value)),
            RTA_NH_ID => found.extend(
                number(value)
                    .and_then(|id| hops.get(&id))
                    .into_iter()
                    .flatten(),
            ),
            RTA_MULTIPATH => found.extend(each_hop(value).filter_map(|hop| number(&hop[4..]))),
            _ => {}
        }
    }
}

/// Whether the body of a message is about a route to everywhere.
pub(super) fn is_default(route: &[u8]) -> bool {
    route.get(1) == Some(&0)
}

/// The next hops of a route that has several, whole.
fn each_hop(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_ne_bytes(*rest.first_chunk::<2>()?));
        let hop = rest.get(..len).filter(|_| len >= NEXT_HOP)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(hop)
    })
}

#[cfg(test)]
mod tests {
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
    fn a_route_says_interface_neighbour_and_source() {
        let mut route = vec![0; RTMSG];
        route[7] = UNICAST;
        assert_eq!(hop(&route), None);
        attribute(&mut route, RTA_OIF, &3u32.to_ne_bytes());
        attribute(&mut route, RTA_PREFSRC, &[192, 0, 2, 80]);
        let near = hop(&route).unwrap();
        assert_eq!((near.interface, near.gateway), (3, None));
        assert_eq!(
            (near.source, near.is_local),
            (Some([192, 0, 2, 80].into()), false)
        );
        let bare = route.clone();
        attribute(&mut route, RTA_GATEWAY, &[192, 0, 2, 1]);
        assert_eq!(hop(&route).unwrap().gateway, Some([192, 0, 2, 1].into()));
        // By a neighbour of the other family.
        let mut via = bare;
        attribute(&mut via, RTA_VIA, &[&[10, 0][..], &[0xfe; 16]].concat());
        assert_eq!(hop(&via).unwrap().gateway, Some([0xfe; 16].into()));
        // What goes to this host.
        let own = Leaving {
            to: [127, 0, 0, 1].into(),
            from: None,
            by: None,
            mark: 0,
        };
        assert!(hop_of(&own).unwrap().unwrap().is_local);
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

    /// A route of a table: to a prefix of a length, of a type.
    fn route(table: u32, length: u8, kind: u8, more: &[(u16, &[u8])]) -> Vec<u8> {
        let mut route = vec![0; RTMSG];
        (route[1], route[4], route[7]) = (length, 252, kind);
        attribute(&mut route, RTA_TABLE, &table.to_ne_bytes());
        for (kind, value) in more {
            attribute(&mut route, *kind, value);
        }
        route
    }

    #[test]
    fn default_routes_of_every_form_and_of_tables_that_rules_reach() {
        let index = |number: u32| number.to_ne_bytes();
        let mut several = Vec::new();
        for interface in [3, 4] {
            several.extend(16u16.to_ne_bytes());
            several.extend([0; 2]);
            several.extend(index(interface));
            attribute(&mut several, RTA_GATEWAY, &[192, 0, 2, 1]);
        }
        let object = |id: u32, more: &[(u16, &[u8])]| {
            let mut object = vec![0; NHMSG];
            attribute(&mut object, NHA_ID, &index(id));
            for (kind, value) in more {
                attribute(&mut object, *kind, value);
            }
            object
        };
        let group = [index(1), [0; 4], index(2), [0; 4]].concat();
        // A group may be listed before what it is made of.
        let hops = next_hops(&[
            object(9, &[(NHA_GROUP, &group)]),
            object(1, &[(NHA_OIF, &index(5))]),
            object(2, &[(NHA_OIF, &index(6))]),
        ]);
        let rule = |action: u8, table: u8, more: &[(u16, &[u8])]| {
            let mut rule = vec![0; RTMSG];
            (rule[4], rule[7]) = (table, action);
            for (kind, value) in more {
                attribute(&mut rule, *kind, value);
            }
            rule
        };
        let tables = tables(
            &[
                rule(TO_TABLE, 254, &[]),
                rule(TO_TABLE, 252, &[(FRA_TABLE, &index(51_820))]),
                rule(TO_TABLE, 0, &[(FRA_L3MDEV, &[1])]),
                rule(6, 77, &[]),
            ],
            &BTreeSet::from([10]),
        );
        let of = |route: Vec<u8>| {
            let mut found = BTreeSet::new();
            default_route(&route, Some(&tables), &hops, &mut found);
            found.into_iter().collect::<Vec<u32>>()
        };
        let by = |number: u32| index(number).to_vec();
        assert_eq!(of(route(254, 0, UNICAST, &[(RTA_OIF, &by(2))])), [2]);
        assert_eq!(of(route(51_820, 0, UNICAST, &[(RTA_OIF, &by(7))])), [7]);
        assert_eq!(of(route(10, 0, UNICAST, &[(RTA_OIF, &by(8))])), [8]);
        assert_eq!(
            of(route(254, 0, UNICAST, &[(RTA_MULTIPATH, &several)])),
            [3, 4]
        );
        assert_eq!(of(route(254, 0, UNICAST, &[(RTA_NH_ID, &by(9))])), [5, 6]);
        // Another table, a network, and what leads nowhere.
        assert!(of(route(77, 0, UNICAST, &[(RTA_OIF, &by(2))])).is_empty());
        assert!(of(route(254, 24, UNICAST, &[(RTA_OIF, &by(2))])).is_empty());
        assert!(of(route(254, 0, 7, &[(RTA_OIF, &by(1))])).is_empty());
        assert!(of(vec![0; RTMSG - 1]).is_empty());
        let mut remembered = route(254, 0, UNICAST, &[(RTA_OIF, &by(2))]);
        remembered[8..12].copy_from_slice(&CLONED.to_ne_bytes());
        assert!(of(remembered).is_empty());
    }
}
