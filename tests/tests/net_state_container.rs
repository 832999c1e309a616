//! `state: established` for a container whose interface lies over the filtered one (macvlan): its
//! connections are no connections of this host, and no packet of them is marked as forwarded.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INTERFACE, Namespace, OUTSIDE_V4, OUTSIDE_V6, Pair};
use firewall_tests::talk;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const POLICY: &str = "\
version: 1
interfaces: [{match: wan0}]
default: {in: drop}
rules:
  - {name: opens, proto: tcp, port: 80, flags: {set: [syn], clear: [ack]}, action: pass}
  - {name: replies, state: established, action: pass}
";

/// The container's address, then that of the host outside.
const BOTH: [(IpAddr, IpAddr); 2] = [
    (
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, 90)),
        IpAddr::V4(OUTSIDE_V4),
    ),
    (
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x90)),
        IpAddr::V6(OUTSIDE_V6),
    ),
];

/// A container with an interface of its own over the filtered one.
fn container(pair: &Pair) -> Namespace {
    let container = Namespace::new("box").unwrap();
    let name = container.name();
    pair.inside
        .ip(&format!(
            "link add box0 link wan0 netns {name} type macvlan mode bridge"
        ))
        .unwrap();
    for (address, _) in BOTH {
        let rest = if address.is_ipv4() {
            "/24"
        } else {
            "/64 nodad"
        };
        container
            .ip(&format!("addr add {address}{rest} dev box0"))
            .unwrap();
    }
    container.ip("link set box0 up").unwrap();
    container
}

fn load<'a>(pair: &'a Pair) -> Ctl<'a> {
    let ctl = Ctl::new(&pair.inside).unwrap();
    let file = ctl.policy(POLICY).unwrap();
    ctl.ok(&["load", "-i", INTERFACE, "-f", file.to_str().unwrap()])
        .unwrap();
    ctl
}

#[test]
#[ignore = "needs root"]
fn a_container_is_reached_on_a_port_that_this_host_listens_on_too() {
    let pair = Pair::new().unwrap();
    let container = container(&pair);
    let _ctl = load(&pair);
    let _host = talk::listener(&pair.inside, 80).unwrap();
    let listener = talk::listener(&container, 80).unwrap();
    for (address, _) in BOTH {
        let ends = talk::ends(&pair.outside, (address, 80), &listener);
        let (mut client, mut server) = ends.unwrap();
        // A server that speaks first, then the client.
        talk::tells(&mut server, &mut client, b"220 ready").unwrap();
        talk::tells(&mut client, &mut server, b"EHLO").unwrap();
    }
}

#[test]
#[ignore = "needs root"]
fn a_container_connects_from_a_port_that_this_host_listens_on() {
    const PORT: u16 = 40_080;
    let pair = Pair::new().unwrap();
    let container = container(&pair);
    let _ctl = load(&pair);
    let _host = talk::listener(&pair.inside, PORT).unwrap();
    talk::listen(&pair.outside, 443).unwrap();
    for (_, outside) in BOTH {
        let to = SocketAddr::new(outside, 443);
        let mut stream = talk::from_port(&container, PORT, to).unwrap();
        talk::says(&mut stream).unwrap();
    }
}

#[test]
#[ignore = "needs root"]
fn this_host_goes_on_beside_a_container() {
    let pair = Pair::new().unwrap();
    let container = container(&pair);
    let ctl = load(&pair);
    let _box = talk::listener(&container, 80).unwrap();
    let listener = talk::listener(&pair.inside, 80).unwrap();
    let host = firewall_tests::netns::INSIDE_V4;
    let (mut client, mut server) = talk::ends(&pair.outside, (host, 80), &listener).unwrap();
    talk::tells(&mut server, &mut client, b"220 ready").unwrap();
    // By its socket: the table holds nothing of it.
    let flows = ctl.json(&["flows", "count"]).unwrap();
    assert_eq!(flows["summary"]["from"].to_string(), r#"{"socket":1}"#);
}
