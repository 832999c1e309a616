//! `state: established` on a router between two others, with a forger on the side of the internet:
//! what is forwarded goes on in both directions whatever the forger sends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INSIDE_V4, INSIDE_V6, INTERFACE, OUTSIDE_V4, OUTSIDE_V6, Pair};
use firewall_tests::random::Random;
use firewall_tests::routed::{FAR_INTERFACE, FAR_V4, FAR_V6, Routed};
use firewall_tests::segments::{ACK, RST, SYN, Segment, Sum, Tap, datagram};
use firewall_tests::talk;
use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// The host on `wan0` is the internet with servers, clients and the forger, the far host is what
/// the router stands in front of.
const POLICY: &str = "\
version: 1
interfaces: [{match: wan0, zone: wan}, {match: far0, zone: lan}]
default: {in: drop}
rules:
  - {name: replies, state: established, action: pass}
  - {name: wan-web, zone: wan, proto: tcp, port: 80, action: pass}
  - {name: wan-game, zone: wan, proto: udp, port: 53, action: pass}
  - {name: lan-web, zone: lan, proto: tcp, port: 80, action: pass}
";

const PORT: u16 = 80;

/// The host on the internet, then the one behind the router.
const BOTH: [(IpAddr, IpAddr); 2] = [
    (IpAddr::V4(INSIDE_V4), IpAddr::V4(FAR_V4)),
    (IpAddr::V6(INSIDE_V6), IpAddr::V6(FAR_V6)),
];

/// Longer than a flow lives that somebody has reset.
const FORGOTTEN: Duration = Duration::from_secs(12);

fn load(ctl: &Ctl<'_>) {
    let file = ctl.policy(POLICY).unwrap();
    let file = file.to_str().unwrap();
    ctl.ok(&["load", "-i", INTERFACE, "-i", FAR_INTERFACE, "-f", file])
        .unwrap();
}

/// To the router, from the internet.
fn macs() -> [u8; 12] {
    let macs = Pair::macs();
    [&macs[6..], &macs[..6]].concat().try_into().unwrap()
}

/// A connection through the router, and what a forger has to know of it.
struct Known {
    what: String,
    /// The end on the internet.
    wan: TcpStream,
    /// The end behind the router.
    lan: TcpStream,
    /// An ACK that the host on the internet could send now.
    next: Segment,
}

fn known(net: &Routed, addresses: (IpAddr, IpAddr), from_wan: bool) -> Known {
    let (on_wan, on_lan) = addresses;
    let mut tap = Tap::on(&net.pair.inside, INTERFACE).unwrap();
    let (mut wan, mut lan) = if from_wan {
        let listener = talk::listener(&net.far, PORT).unwrap();
        talk::ends(&net.pair.inside, (on_lan, PORT), &listener).unwrap()
    } else {
        let listener = talk::listener(&net.pair.inside, PORT).unwrap();
        let (client, server) = talk::ends(&net.far, (on_wan, PORT), &listener).unwrap();
        (server, client)
    };
    talk::tells(&mut wan, &mut lan, b"hello").unwrap();
    talk::tells(&mut lan, &mut wan, b"hello").unwrap();
    let [there, here] = [&wan, &lan].map(|end| {
        let address = end.local_addr().unwrap();
        SocketAddr::new(address.ip().to_canonical(), address.port())
    });
    let said = tap.segments(Duration::from_millis(100));
    let last = |from, to| {
        let of = said.iter().filter(|it| it.goes(from, to));
        of.map(Segment::end).next_back().unwrap()
    };
    let next = Segment::new(there, here, ACK, last(there, here), last(here, there));
    Known {
        what: format!("{there} and {here}, from the internet: {from_wan}"),
        wan,
        lan,
        next,
    }
}

/// Connections of both directions and families.
fn connections(net: &Routed) -> Vec<Known> {
    let ways = BOTH
        .into_iter()
        .flat_map(|both| [(both, true), (both, false)]);
    ways.map(|(both, from_wan)| known(net, both, from_wan))
        .collect()
}

/// Puts forged segments on the cable to the internet.
fn forge(net: &Routed, known: &[Known], segments: impl Fn(&Segment) -> Vec<Segment>) {
    let frames: Vec<_> = known
        .iter()
        .flat_map(|known| segments(&known.next))
        .map(|segment| segment.frame(macs(), Sum::Right))
        .collect();
    net.pair.send_from_inside(&frames).unwrap();
    std::thread::sleep(Duration::from_millis(100));
}

/// Both ends hear each other, `lan` first.
fn all_live(known: &mut [Known]) {
    let mut dead = Vec::new();
    for Known { what, wan, lan, .. } in known {
        for end in [&*wan, &*lan] {
            end.set_read_timeout(Some(talk::LONG / 5)).unwrap();
        }
        if let Err(error) = talk::tells(lan, wan, b"from behind") {
            dead.push(format!("{what}: to the internet: {error}"));
        }
        if let Err(error) = talk::tells(wan, lan, b"from the internet") {
            dead.push(format!("{what}: from the internet: {error}"));
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
#[ignore = "needs root"]
fn forged_acks_to_a_silent_host_keep_nobody_from_connecting() {
    const FORGED: u32 = 200_000;
    const CLIENTS: usize = 40;
    let net = Routed::new(1_500).unwrap();
    talk::listen(&net.pair.inside, PORT).unwrap();
    net.router()
        .ip(&format!("route add 198.18.0.0/15 via {INSIDE_V4}"))
        .unwrap();
    // The host behind the router answers no stranger.
    net.far
        .nft(
            "table inet fwt { chain in { type filter hook prerouting priority -300; \
             ip saddr 198.18.0.0/15 drop; }; }",
        )
        .unwrap();
    let ctl = Ctl::new(net.router()).unwrap();
    load(&ctl);
    talk::says(&mut talk::connect(&net.far, (INSIDE_V4, PORT)).unwrap()).unwrap();
    let to = SocketAddr::new(FAR_V4.into(), PORT);
    let mut random = Random::new(3);
    for _ in 0..FORGED / 10_000 {
        let frames: Vec<_> = (0..10_000)
            .map(|_| {
                let [a, b, c, d, e, ..] = random.bits().to_be_bytes();
                let from = ([198, 18 | a & 1, b, c], u16::from_be_bytes([d, e]) | 1).into();
                Segment::new(from, to, ACK, 1, 1).frame(macs(), Sum::Right)
            })
            .collect();
        net.pair.send_from_inside(&frames).unwrap();
    }
    let failed = (0..CLIENTS)
        .filter(|_| {
            let time = Duration::from_millis(900);
            let stream = talk::connect_within(&net.far, (INSIDE_V4, PORT), time);
            !stream.is_ok_and(|mut stream| talk::says(&mut stream).is_ok())
        })
        .count();
    assert_eq!(failed, 0, "of {CLIENTS} new connections");
}

#[test]
#[ignore = "needs root"]
fn a_forged_syn_ends_no_forwarded_connection() {
    let net = Routed::new(1_500).unwrap();
    let ctl = Ctl::new(net.router()).unwrap();
    load(&ctl);
    let mut known = connections(&net);
    forge(&net, &known, |next| {
        let far = next.before(1 << 30, SYN);
        let near = next.before(0, SYN);
        vec![far, near]
    });
    all_live(&mut known);
}

#[test]
#[ignore = "needs root"]
fn a_forged_reset_ends_no_forwarded_connection() {
    let net = Routed::new(1_500).unwrap();
    let ctl = Ctl::new(net.router()).unwrap();
    load(&ctl);
    let mut known = connections(&net);
    forge(&net, &known, |next| {
        // Far from the window, behind it, and inside without being exact.
        [1 << 30, 1, u32::MAX - 100]
            .map(|before| next.before(before, RST))
            .into()
    });
    std::thread::sleep(FORGOTTEN);
    all_live(&mut known);
}

#[test]
#[ignore = "needs root"]
fn a_reset_with_a_wrong_checksum_ends_no_forwarded_connection() {
    let net = Routed::new(1_500).unwrap();
    let ctl = Ctl::new(net.router()).unwrap();
    load(&ctl);
    let mut known = connections(&net);
    let frames: Vec<_> = known
        .iter()
        .map(|known| known.next.before(0, RST).frame(macs(), Sum::Wrong))
        .collect();
    net.pair.send_from_inside(&frames).unwrap();
    std::thread::sleep(FORGOTTEN);
    all_live(&mut known);
}

#[test]
#[ignore = "needs root"]
fn a_forged_ack_does_not_hide_the_end_of_a_forwarded_connection() {
    let net = Routed::new(1_500).unwrap();
    let ctl = Ctl::new(net.router()).unwrap();
    load(&ctl);
    let mut known = connections(&net);
    forge(&net, &known, |next| {
        let mut forged = next.before(0, ACK);
        forged.ack = next.ack.wrapping_add(1 << 30);
        forged.window = 0;
        vec![forged]
    });
    all_live(&mut known);
    forge(&net, &known, |next| {
        let mut forged = next.before(1 << 29, ACK);
        forged.ack = next.ack.wrapping_sub(1 << 30);
        vec![forged]
    });
    for Known {
        what, mut wan, lan, ..
    } in known
    {
        drop(lan);
        let end = wan.read(&mut [0; 8]);
        assert!(matches!(end, Ok(0)), "{what}: {end:?}");
    }
}

/// Makes the router's interface on the side of the internet a port of a bridge, which has its addresses.
fn bridge(net: &Routed) {
    let router = net.router();
    for words in [
        "link add br0 type bridge stp_state 0 forward_delay 0",
        "addr flush dev wan0",
        "link set wan0 master br0",
        "link set br0 addrgenmode none",
        "link set br0 up",
        "addr add fe80::9/64 dev br0 nodad",
    ] {
        router.ip(words).unwrap();
    }
    let (v4, v6) = (OUTSIDE_V4, OUTSIDE_V6);
    router.ip(&format!("addr add {v4}/24 dev br0")).unwrap();
    router
        .ip(&format!("addr add {v6}/64 dev br0 nodad"))
        .unwrap();
}

#[test]
#[ignore = "needs root"]
fn what_turns_back_on_a_router_opens_nothing() {
    let net = Routed::new(1_500).unwrap();
    turns_back(&net, &["all", INTERFACE]);
}

/// The kernel says of such a packet that it came in by the bridge.
#[test]
#[ignore = "needs root"]
fn what_turns_back_on_a_bridge_opens_nothing() {
    let net = Routed::new(1_500).unwrap();
    bridge(&net);
    turns_back(&net, &["all", INTERFACE, "br0"]);
}

fn turns_back(net: &Routed, interfaces: &[&str]) {
    const HIDDEN: u16 = 9_999;
    // A router that does not ask where a source should come from.
    for interface in interfaces {
        net.router()
            .set(&format!("ipv4/conf/{interface}/rp_filter"), "0")
            .unwrap();
    }
    let ctl = Ctl::new(net.router()).unwrap();
    load(&ctl);
    for (on_wan, on_lan) in BOTH {
        let any: IpAddr = "::".parse().unwrap();
        let hidden = net.far.run(|| UdpSocket::bind((any, HIDDEN)).unwrap());
        hidden.set_read_timeout(Some(talk::SHORT)).unwrap();
        let attacker = net
            .pair
            .inside
            .run(|| UdpSocket::bind((on_wan, 53)).unwrap());
        // As if the hidden service had sent something to the attacker.
        let hairpin = datagram(
            (on_lan, HIDDEN).into(),
            (on_wan, 53).into(),
            b"hello",
            macs(),
        );
        net.pair.send_from_inside(&[hairpin]).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        attacker.send_to(b"attack", (on_lan, HIDDEN)).unwrap();
        let heard = hidden.recv(&mut [0; 16]);
        let is_silent = heard.as_ref().is_err_and(talk::is_silence);
        assert!(is_silent, "{on_lan}: {heard:?}");
    }
    // Without the filter it would have been heard.
    ctl.ok(&["unload", "--all"]).unwrap();
    let (on_wan, on_lan) = BOTH[0];
    let hidden = net.far.run(|| UdpSocket::bind((on_lan, HIDDEN)).unwrap());
    hidden.set_read_timeout(Some(talk::LONG)).unwrap();
    let attacker = net
        .pair
        .inside
        .run(|| UdpSocket::bind((on_wan, 53)).unwrap());
    attacker.send_to(b"attack", (on_lan, HIDDEN)).unwrap();
    hidden.recv(&mut [0; 16]).unwrap();
}
