//! Interfaces without a link header (tun, as WireGuard and PPP are): rules, state, limits, counters and events
//! work on them as on Ethernet, beside it and alone.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::frames::{ipv6, tcp};
use firewall_tests::netns::{
    INSIDE_V4, INSIDE_V6, INTERFACE, Namespace, OUTSIDE_V4, OUTSIDE_V6, Pair, put,
};
use firewall_tests::patience;
use firewall_tests::snapshot::{reason, rule};
use firewall_tests::talk::{LONG, SHORT, asks, connect, connect_within, listen, says};
use firewall_tests::tun::{Cable, RawPair};
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// Nothing but the web gets in, and what has been asked for.
const POLICY: &str = "\
version: 1
default: {in: drop}
rules:
  - {name: replies, state: established, action: pass}
  - {name: web, proto: tcp, port: 80, action: pass}
  - {name: few, proto: udp, port: 53, limit: {rate: 5/d, burst: 5}, action: pass}
  - {name: told, proto: udp, port: 69, log: 100/s, action: drop}
  - {name: refused, proto: tcp, port: 23, action: reject}
";

fn load(ctl: &Ctl<'_>, interfaces: &[&str]) -> String {
    let file = ctl.policy(POLICY).unwrap();
    let mut words = vec!["load", "-f", file.to_str().unwrap()];
    words.extend(interfaces.iter().flat_map(|it| ["-i", it]));
    let output = ctl.run(&words).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

/// Opens both ways what may be opened, and tries what may not.
fn talk(outside: &Namespace, inside: &Namespace, ends: [(IpAddr, IpAddr); 2]) {
    for (here, there) in ends {
        let at = |port: u16| SocketAddr::from((here, port));
        for _ in 0..3 {
            says(&mut connect(outside, at(80)).unwrap()).unwrap();
        }
        connect_within(outside, at(22), SHORT).unwrap_err();
        // What this host asks for comes back, by TCP and UDP.
        says(&mut connect(inside, SocketAddr::from((there, 443))).unwrap()).unwrap();
        asks(inside, SocketAddr::from((there, 443)), LONG).unwrap();
    }
}

const BOTH: [(IpAddr, IpAddr); 2] = [
    (IpAddr::V4(INSIDE_V4), IpAddr::V4(OUTSIDE_V4)),
    (IpAddr::V6(INSIDE_V6), IpAddr::V6(OUTSIDE_V6)),
];

#[test]
#[ignore = "needs root"]
fn rules_state_limits_and_counters_work_over_a_tunnel() {
    let pair = RawPair::new().unwrap();
    for port in [22, 23, 80] {
        listen(&pair.inside, port).unwrap();
    }
    listen(&pair.outside, 443).unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let said = load(&ctl, &[INTERFACE]);
    assert!(said.contains("generic mode"), "{said}");
    assert!(said.contains("what is rejected there is dropped"), "{said}");
    talk(&pair.outside, &pair.inside, BOTH);

    // A rule that rejects drops, and says so.
    connect_within(&pair.outside, (INSIDE_V4, 23), SHORT).unwrap_err();
    let before = ctl.snapshot().unwrap();
    assert!(reason(&before, "reject-silent", "drop").0 > 0);
    assert_eq!(reason(&before, "reject", "drop").0, 0);
    assert!(rule(&before, "web").0 > 0 && rule(&before, "replies").0 > 0);
    assert!(reason(&before, "no-match", "drop").0 > 0);
    // Every packet, with its bytes: 28 of headers, and no link header.
    pair.outside.run(|| {
        let socket = UdpSocket::bind((OUTSIDE_V4, 4000)).unwrap();
        for _ in 0..20 {
            socket.send_to(b"line", (INSIDE_V4, 53)).unwrap();
            socket.send_to(b"line", (INSIDE_V4, 69)).unwrap();
        }
    });
    std::thread::sleep(patience(SHORT));
    let after = ctl.snapshot().unwrap();
    assert_eq!(rule(&after, "few"), (5, 5 * 32));
    assert_eq!(reason(&after, "limit", "drop"), (15, 15 * 32));
    assert_eq!(rule(&after, "told"), (20, 20 * 32));
    let seen = ctl.ok(&["observe"]).unwrap();
    assert_eq!(seen.matches("told").count(), 20, "{seen}");
    assert!(seen.contains(INTERFACE), "{seen}");
    ctl.ok(&["status"]).unwrap();
    ctl.ok(&["unload", "--all"]).unwrap();
    connect(&pair.outside, (INSIDE_V4, 22)).unwrap();
}

/// M1: an address whose bytes are a header, where one stands behind an Ethernet header.
#[test]
#[ignore = "needs root"]
fn an_address_opens_nothing() {
    let pair = RawPair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let policy = "version: 1\ndefault: {in: drop}\nrules:\n\
                  \x20 - {name: esp, proto: esp, action: pass}\n";
    let file = ctl.policy(policy).unwrap();
    ctl.ok(&["load", "-i", INTERFACE, "-f", file.to_str().unwrap()])
        .unwrap();
    let mut from = [0; 16];
    from[..12].copy_from_slice(&[0x20, 1, 0x0d, 0xb8, 8, 0, 0x45, 0, 0, 0x28, 0, 0]);
    from[14..].copy_from_slice(&[0x40, 0x32]);
    let packet = ipv6(from, INSIDE_V6.octets(), 6, 64, &tcp(40_000, 22, 2, &[]));
    pair.send(&vec![packet; 50]).unwrap();
    std::thread::sleep(patience(SHORT));
    let snapshot = ctl.snapshot().unwrap();
    assert_eq!(rule(&snapshot, "esp").0, 0);
    assert_eq!(reason(&snapshot, "no-match", "drop").0, 50);
}

#[test]
#[ignore = "needs root"]
fn one_policy_filters_cards_and_tunnels() {
    let pair = Pair::new().unwrap();
    let _cable = Cable::new(&pair.outside, &pair.inside, "wg0").unwrap();
    for (host, v4, v6) in [
        (&pair.outside, "203.0.113.9", "2001:db8:1::9"),
        (&pair.inside, "203.0.113.80", "2001:db8:1::80"),
    ] {
        host.ip("link set wg0 addrgenmode none").unwrap();
        host.ip(&format!("addr add {v4}/24 dev wg0")).unwrap();
        host.ip(&format!("addr add {v6}/64 dev wg0 nodad")).unwrap();
        host.ip("link set wg0 up").unwrap();
    }
    let tunnel = [
        (
            "203.0.113.80".parse().unwrap(),
            "203.0.113.9".parse().unwrap(),
        ),
        (
            "2001:db8:1::80".parse().unwrap(),
            "2001:db8:1::9".parse().unwrap(),
        ),
    ];
    for port in [22, 80] {
        listen(&pair.inside, port).unwrap();
    }
    listen(&pair.outside, 443).unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let both = |names: &[&str]| {
        load(&ctl, names);
        talk(&pair.outside, &pair.inside, BOTH);
        talk(&pair.outside, &pair.inside, tunnel);
    };
    both(&[INTERFACE, "wg0"]);
    // The same changes nothing, another policy all of it, and one interface leaves the other alone.
    load(&ctl, &[]);
    let other = ctl
        .policy(&POLICY.replace("name: few", "name: others"))
        .unwrap();
    let words = ["load", "-f", other.to_str().unwrap()];
    ctl.ok(&words).unwrap();
    talk(&pair.outside, &pair.inside, tunnel);
    ctl.ok(&["status"]).unwrap();
    ctl.ok(&["unload", "-i", INTERFACE]).unwrap();
    connect(&pair.outside, (INSIDE_V4, 22)).unwrap();
    talk(&pair.outside, &pair.inside, tunnel);
    both(&[INTERFACE]);
    ctl.ok(&["unload", "-i", "wg0"]).unwrap();
    let stranger = SocketAddr::from((tunnel[0].0, 22));
    connect(&pair.outside, stranger).unwrap();
    connect_within(&pair.outside, (INSIDE_V4, 22), SHORT).unwrap_err();
    ctl.ok(&["unload", "--all"]).unwrap();
    assert!(!ctl.pins().exists());
}

/// Packets that are no IP, and hardly any: nothing of them gets in, and all of them are counted.
#[test]
#[ignore = "needs root"]
fn what_is_no_packet_is_dropped() {
    let pair = RawPair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let file = ctl
        .policy("version: 1\ndefault: {in: pass}\nrules: []\n")
        .unwrap();
    ctl.ok(&["load", "-i", INTERFACE, "-f", file.to_str().unwrap()])
        .unwrap();
    // A device without packet information takes these by their first half byte.
    let packets: Vec<Vec<u8>> = (1..40)
        .flat_map(|length| [vec![0x45; length], vec![0x60; length]])
        .collect();
    let sent = packets.len() as u64;
    pair.outside.run(|| put(INTERFACE, &packets)).unwrap();
    std::thread::sleep(patience(SHORT));
    let snapshot = ctl.snapshot().unwrap();
    assert_eq!(reason(&snapshot, "truncated", "drop").0, sent);
    assert_eq!(reason(&snapshot, "no-match", "pass").0, 0);
}
