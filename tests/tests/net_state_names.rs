//! `state: established` and what TCP, ICMP and networks do on rare days, by name, with real sockets:
//! where the kernels at both ends go on, the filter lets them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INSIDE_V4, INSIDE_V6, INTERFACE, OUTSIDE_V4, OUTSIDE_V6, Pair};
use firewall_tests::patience;
use firewall_tests::routed::{FAR_INTERFACE, FAR_V4, FAR_V6, Routed};
use firewall_tests::segments::{SYN, Tap, icmp};
use firewall_tests::snapshot::{reason, rule};
use firewall_tests::talk;
use rustix::net::{SendFlags, sockopt};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

const PORT: u16 = 80;

/// The inside host's address, then that of the outside one.
const BOTH: [(IpAddr, IpAddr); 2] = [
    (IpAddr::V4(INSIDE_V4), IpAddr::V4(OUTSIDE_V4)),
    (IpAddr::V6(INSIDE_V6), IpAddr::V6(OUTSIDE_V6)),
];

const REPLIES: &str = "\
version: 1
default: {in: drop, essential: {icmp_error: false}}
rules:
  - {name: replies, state: established, action: pass}
";

const OPENS: &str = "  - {name: opens, proto: tcp, port: 80, flags: {set: [syn], clear: [ack]}, \
                     action: pass}\n";

fn load(ctl: &Ctl<'_>, policy: &str, interfaces: &[&str]) {
    let file = ctl.policy(policy).unwrap();
    let mut words = vec!["load", "-f", file.to_str().unwrap()];
    for interface in interfaces {
        words.extend(["-i", interface]);
    }
    ctl.ok(&words).unwrap();
}

/// Packets that no rule has let in.
fn strangers(ctl: &Ctl<'_>) -> u64 {
    reason(&ctl.snapshot().unwrap(), "no-match", "drop").0
}

/// Connections in both directions and families under a rule for SYNs and one for replies; `inside`
/// and `outside` ends.
fn connections(pair: &Pair) -> Vec<(TcpStream, TcpStream)> {
    let mut all = Vec::new();
    for (inside, outside) in BOTH {
        let listener = talk::listener(&pair.outside, PORT).unwrap();
        all.push(talk::ends(&pair.inside, (outside, PORT), &listener).unwrap());
        let listener = talk::listener(&pair.inside, PORT).unwrap();
        let (client, server) = talk::ends(&pair.outside, (inside, PORT), &listener).unwrap();
        all.push((server, client));
    }
    all
}

#[test]
#[ignore = "needs root"]
fn both_sides_open_at_once() {
    const SAME: u16 = 6_000;
    for (inside, outside) in BOTH {
        let pair = Pair::new().unwrap();
        let ctl = Ctl::new(&pair.inside).unwrap();
        load(&ctl, REPLIES, &[INTERFACE]);
        // The outside host never gets the SYN, so it sends its own.
        pair.outside
            .nft(
                "table inet fwt { chain in { type filter hook prerouting priority -300; \
                 tcp flags & (syn | ack) == syn drop; }; }",
            )
            .unwrap();
        let (mut here, mut there) = std::thread::scope(|scope| {
            let to = SocketAddr::new(outside, SAME);
            let client = &pair.inside;
            let here = scope.spawn(move || talk::from_port(client, SAME, to));
            let to = SocketAddr::new(inside, SAME);
            std::thread::sleep(Duration::from_millis(100));
            let there = talk::from_port(&pair.outside, SAME, to);
            (here.join().unwrap().unwrap(), there.unwrap())
        });
        talk::tells(&mut here, &mut there, b"hello").unwrap();
        talk::tells(&mut there, &mut here, b"hello").unwrap();
    }
}

#[test]
#[ignore = "needs root"]
fn a_port_is_used_again_in_time_wait() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(&ctl, &format!("{REPLIES}{OPENS}"), &[INTERFACE]);
    for host in [&pair.inside, &pair.outside] {
        talk::listen(host, PORT).unwrap();
    }
    for (inside, outside) in BOTH {
        for (client, to) in [(&pair.inside, outside), (&pair.outside, inside)] {
            for _ in 0..4 {
                let to = SocketAddr::new(to, PORT);
                let mut stream = talk::from_port(client, 5_001, to).unwrap();
                talk::says(&mut stream).unwrap();
                sockopt::set_socket_linger(&stream, None).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                assert_eq!(stream.read(&mut [0]).unwrap(), 0, "{to}");
            }
        }
    }
    assert_eq!(strangers(&ctl), 0);
}

#[test]
#[ignore = "needs root"]
fn a_window_of_zero_opens_again() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(&ctl, &format!("{REPLIES}{OPENS}"), &[INTERFACE]);
    for (inside, outside) in connections(&pair) {
        for (mut from, mut to) in [
            (inside.try_clone().unwrap(), outside.try_clone().unwrap()),
            (outside, inside),
        ] {
            from.set_nonblocking(true).unwrap();
            let (mut sent, mut full) = (0, 0);
            while full < 5 {
                match from.write(&[7; 1 << 16]) {
                    Ok(length) => sent += length,
                    Err(_) => {
                        full += 1;
                        std::thread::sleep(Duration::from_millis(100));
                    }
                }
            }
            let mut heard = vec![0; sent];
            to.read_exact(&mut heard).unwrap();
            from.set_nonblocking(false).unwrap();
        }
    }
    assert_eq!(strangers(&ctl), 0);
}

#[test]
#[ignore = "needs root"]
fn the_largest_window_scale_works() {
    const BYTES: usize = 4 << 20;
    let pair = Pair::new().unwrap();
    for host in [&pair.inside, &pair.outside] {
        let sizes = "4096 1048576 1073741824";
        host.set("ipv4/tcp_rmem", sizes).unwrap();
    }
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(&ctl, &format!("{REPLIES}{OPENS}"), &[INTERFACE]);
    let mut tap = Tap::on(&pair.outside, INTERFACE).unwrap();
    let connections = connections(&pair);
    let syns = tap.segments(Duration::from_millis(50));
    let mut syns = syns.iter().filter(|it| it.flags & SYN != 0);
    // Kind 3, length 3, and the scale.
    assert!(syns.all(|it| it.options.windows(3).any(|option| option == [3, 3, 14])));
    for (inside, outside) in connections {
        for (mut from, mut to) in [
            (inside.try_clone().unwrap(), outside.try_clone().unwrap()),
            (outside, inside),
        ] {
            std::thread::scope(|scope| {
                scope.spawn(move || from.write_all(&vec![7; BYTES]).unwrap());
                to.read_exact(&mut vec![0; BYTES]).unwrap();
            });
        }
    }
    assert_eq!(strangers(&ctl), 0);
}

#[test]
#[ignore = "needs root"]
fn urgent_data_arrives() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(&ctl, &format!("{REPLIES}{OPENS}"), &[INTERFACE]);
    for (inside, outside) in connections(&pair) {
        for (from, mut to) in [
            (inside.try_clone().unwrap(), outside.try_clone().unwrap()),
            (outside, inside),
        ] {
            rustix::net::send(&from, b"stop!", SendFlags::OOB).unwrap();
            // The last byte is out of band.
            let mut heard = [0; 4];
            to.read_exact(&mut heard).unwrap();
            assert_eq!(&heard, b"stop");
        }
    }
    assert_eq!(strangers(&ctl), 0);
}

#[test]
#[ignore = "needs root"]
fn a_real_reset_is_heard_wherever_it_comes() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(&ctl, &format!("{REPLIES}{OPENS}"), &[INTERFACE]);
    for (_, outside) in BOTH {
        let refused = talk::connect(&pair.inside, (outside, 9)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
    for place in [
        "before data",
        "after data",
        "half closed",
        "with bytes unread",
    ] {
        for (mut inside, mut outside) in connections(&pair) {
            match place {
                "after data" => {
                    talk::tells(&mut inside, &mut outside, b"hello").unwrap();
                    talk::tells(&mut outside, &mut inside, b"hello").unwrap();
                }
                "half closed" => {
                    inside.shutdown(Shutdown::Write).unwrap();
                    assert_eq!(outside.read(&mut [0]).unwrap(), 0);
                }
                "with bytes unread" => {
                    inside.write_all(&[0; 9_000]).unwrap();
                    std::thread::sleep(Duration::from_millis(20));
                }
                _ => {}
            }
            sockopt::set_socket_linger(&outside, Some(Duration::ZERO)).unwrap();
            drop(outside);
            let end = inside.read(&mut [0; 8]).unwrap_err();
            assert_eq!(end.kind(), ErrorKind::ConnectionReset, "{place}");
        }
    }
    assert_eq!(strangers(&ctl), 0);
}

#[test]
#[ignore = "needs root"]
fn connections_join_by_another_address() {
    let pair = Pair::new().unwrap();
    pair.inside.ip("addr add 192.0.2.81/24 dev wan0").unwrap();
    pair.outside
        .ip("neigh replace 192.0.2.81 lladdr 02:00:00:00:00:80 dev wan0 nud permanent")
        .unwrap();
    pair.inside
        .ip("mptcp limits set subflow 2 add_addr_accepted 2")
        .unwrap();
    pair.outside
        .ip("mptcp limits set subflow 2 add_addr_accepted 2")
        .unwrap();
    pair.inside
        .ip("mptcp endpoint add 192.0.2.81 dev wan0 subflow")
        .unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(&ctl, REPLIES, &[INTERFACE]);
    let mptcp = Some(rustix::net::ipproto::MPTCP);
    let socket = || {
        rustix::net::socket(
            rustix::net::AddressFamily::INET,
            rustix::net::SocketType::STREAM,
            mptcp,
        )
        .unwrap()
    };
    let to = SocketAddr::new(OUTSIDE_V4.into(), PORT);
    let server = pair.outside.run(|| {
        let server = socket();
        rustix::net::bind(&server, &to).unwrap();
        rustix::net::listen(&server, 4).unwrap();
        server
    });
    let mut client = pair.inside.run(|| {
        let client = socket();
        rustix::net::connect(&client, &to).unwrap();
        TcpStream::from(client)
    });
    let mut server = TcpStream::from(rustix::net::accept(&server).unwrap());
    // The second way is joined once data has been acknowledged.
    for _ in 0..20 {
        talk::tells(&mut client, &mut server, b"hello").unwrap();
        talk::tells(&mut server, &mut client, b"hello").unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    let counters = pair
        .outside
        .run(|| std::fs::read_to_string("/proc/thread-self/net/netstat").unwrap());
    let mut lines = counters
        .lines()
        .filter(|line| line.starts_with("MPTcpExt:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let joined = names
        .split_whitespace()
        .zip(values.split_whitespace())
        .find(|(name, _)| *name == "MPJoinAckRx")
        .unwrap();
    assert_eq!(joined.1, "1", "{names}\n{values}");
    assert_eq!(strangers(&ctl), 0);
}

#[test]
#[ignore = "needs root"]
fn replies_may_come_in_by_another_interface() {
    let pair = Pair::new().unwrap();
    // A second cable, by which the outside host sends.
    pair.outside
        .ip(&format!(
            "link add wan1 address 02:00:00:00:01:09 type veth peer name wan1 address \
             02:00:00:00:01:80 netns {}",
            pair.inside.name()
        ))
        .unwrap();
    for host in [&pair.inside, &pair.outside] {
        host.ip("link set wan1 addrgenmode none").unwrap();
        host.ip("link set wan1 up").unwrap();
        for interface in ["all", "wan0", "wan1"] {
            host.set(&format!("ipv4/conf/{interface}/rp_filter"), "0")
                .unwrap();
        }
    }
    for (inside, _) in BOTH {
        let length = if inside.is_ipv4() { 32 } else { 128 };
        let family = if inside.is_ipv4() { "-4" } else { "-6" };
        pair.outside
            .ip(&format!("{family} route add {inside}/{length} dev wan1"))
            .unwrap();
        pair.outside
            .ip(&format!(
                "neigh replace {inside} lladdr 02:00:00:00:01:80 dev wan1 nud permanent"
            ))
            .unwrap();
    }
    talk::listen(&pair.outside, PORT).unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(&ctl, REPLIES, &[INTERFACE, "wan1"]);
    for (_, outside) in BOTH {
        talk::says(&mut talk::connect(&pair.inside, (outside, PORT)).unwrap()).unwrap();
        talk::asks(&pair.inside, (outside, PORT), talk::LONG).unwrap();
    }
    assert_eq!(strangers(&ctl), 0);
}

#[test]
#[ignore = "needs root"]
fn a_narrow_path_is_heard_of_by_state_alone() {
    let net = Routed::new(1_280).unwrap();
    // The far host takes more than the router can send it.
    net.far
        .ip(&format!("link set {FAR_INTERFACE} mtu 1500"))
        .unwrap();
    let ctl = Ctl::new(&net.pair.inside).unwrap();
    load(&ctl, &format!("{REPLIES}{OPENS}"), &[INTERFACE]);
    for (inside, far) in [
        (BOTH[0].0, FAR_V4.into()),
        (BOTH[1].0, IpAddr::from(FAR_V6)),
    ] {
        let listener = talk::listener(&net.far, PORT).unwrap();
        let opened = talk::ends(&net.pair.inside, (far, PORT), &listener).unwrap();
        let listener = talk::listener(&net.pair.inside, PORT).unwrap();
        let (client, server) = talk::ends(&net.far, (inside, PORT), &listener).unwrap();
        for (mut from, mut to) in [opened, (server, client)] {
            std::thread::scope(|scope| {
                scope.spawn(move || from.write_all(&[7; 1 << 18]).unwrap());
                to.read_exact(&mut [0; 1 << 18]).unwrap();
            });
        }
    }
}

#[test]
#[ignore = "needs root"]
fn two_pings_with_one_identifier_are_both_answered() {
    let pair = Pair::new().unwrap();
    pair.outside.ip("addr add 192.0.2.10/24 dev wan0").unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(&ctl, REPLIES, &[INTERFACE]);
    let macs = Pair::macs();
    let macs: [u8; 12] = [&macs[6..], &macs[..6]].concat().try_into().unwrap();
    let ping = |to: IpAddr, number: u8| {
        let (from, kind): (IpAddr, u8) = match to {
            IpAddr::V4(_) => (INSIDE_V4.into(), 8),
            IpAddr::V6(_) => (INSIDE_V6.into(), 128),
        };
        icmp(from, to, vec![kind, 0, 0, 0, 0, 7, 0, number], macs)
    };
    let frames: Vec<_> = (0..5)
        .flat_map(|number| {
            // Two to the same host, and one to another.
            [
                ping(OUTSIDE_V4.into(), number),
                ping(OUTSIDE_V4.into(), number),
                ping([192, 0, 2, 10].into(), number),
                ping(OUTSIDE_V6.into(), number),
            ]
        })
        .collect();
    pair.send_from_inside(&frames).unwrap();
    std::thread::sleep(patience(Duration::from_millis(300)));
    let snapshot = ctl.snapshot().unwrap();
    assert_eq!(rule(&snapshot, "replies").0, frames.len() as u64);
}

#[test]
#[ignore = "needs root"]
fn a_container_behind_the_host_gets_what_it_asks_for() {
    let net = Routed::new(1_500).unwrap();
    // The host is in the middle: the far host is its container, the inside one the internet.
    net.pair.inside.ip("route del default").unwrap();
    net.router()
        .nft(&format!(
            "table ip fwt {{
                chain in {{
                    type nat hook prerouting priority -100;
                    ip daddr {OUTSIDE_V4} tcp dport 8080 dnat to {FAR_V4}:{PORT}
                }}
                chain out {{
                    type nat hook postrouting priority 100;
                    ip saddr 198.51.100.0/24 oifname {INTERFACE} masquerade
                    ip saddr {FAR_V4} ip daddr {FAR_V4} masquerade
                }}
            }}"
        ))
        .unwrap();
    for host in [&net.pair.inside, &net.far] {
        talk::listen(host, PORT).unwrap();
    }
    let ctl = Ctl::new(net.router()).unwrap();
    // As Docker has it: what is published is let in at the port that packets come to.
    let published = "  - {name: published, proto: tcp, port: 8080, state: new, action: pass}\n";
    load(&ctl, &format!("{REPLIES}{published}"), &[INTERFACE]);
    let (internet, container) = (&net.pair.inside, &net.far);
    for _ in 0..3 {
        talk::says(&mut talk::connect(container, (INSIDE_V4, PORT)).unwrap()).unwrap();
        talk::asks(container, (INSIDE_V4, PORT), talk::LONG).unwrap();
        talk::says(&mut talk::connect(internet, (OUTSIDE_V4, 8_080)).unwrap()).unwrap();
        // To itself, by the host's address.
        talk::says(&mut talk::connect(container, (OUTSIDE_V4, 8_080)).unwrap()).unwrap();
    }
}
