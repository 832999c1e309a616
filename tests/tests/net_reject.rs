//! `action: reject` with real clients: they see an error at once and not a time-out; a flood of
//! rejected packets gets few answers and fewer bytes than it has; what nobody may answer is not.
//!
//! On the ports that are rejected somebody listens, so that only the firewall can have refused.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::frames::{self, Ipv4, Sum, seal};
use firewall_tests::netns::{INSIDE_V4, INSIDE_V6, INTERFACE, OUTSIDE_V4, OUTSIDE_V6, Pair};
use firewall_tests::patience;
use firewall_tests::snapshot::{reason, rule};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

const POLICY: &str = "\
version: 1
interfaces: [{match: wan0, mode: MODE}]
default: {in: drop}
packet: {malformed: rules}
rules:
  - {name: telnet, proto: tcp, port: 23, action: reject}
  - {name: log, proto: udp, port: 514, action: reject}
  - {name: icmp, proto: [icmp, icmpv6], action: reject}
";

/// How long an error may take that comes at once.
const AT_ONCE: Duration = Duration::from_millis(100);

/// Puts a program on the outer end of the cable: without one, veth leaves lying there what a program
/// at the inner end sends back.
fn open_outside<'a>(pair: &'a Pair) -> Ctl<'a> {
    let ctl = Ctl::new(&pair.outside).unwrap();
    let text = "\
version: 1
interfaces: [{match: wan0, mode: native}]
default: pass
rules:
  - {name: resets, proto: tcp, flags: {set: [rst]}, action: next}
  - {name: errors, proto: icmp, icmp: {type: destination-unreachable}, action: next}
  - {name: errors6, proto: icmpv6, icmp: {type: destination-unreachable}, action: next}
";
    let policy = ctl.policy(text).unwrap();
    ctl.ok(&["load", "-i", INTERFACE, "-f", policy.to_str().unwrap()])
        .unwrap();
    ctl
}

fn start(ctl: &mut Ctl<'_>, mode: &str) {
    let policy = ctl.policy(&POLICY.replace("MODE", mode)).unwrap();
    ctl.start(&policy).unwrap();
}

/// Answers that have arrived outside: packets and bytes.
fn arrived(outside: &Ctl<'_>) -> (u64, u64) {
    let snapshot = outside.snapshot().unwrap();
    let counts = ["resets", "errors", "errors6"].map(|name| rule(&snapshot, name));
    counts
        .iter()
        .fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1))
}

#[test]
#[ignore = "needs root"]
fn clients_are_refused_at_once() {
    for mode in ["native", "generic"] {
        let pair = Pair::new().unwrap();
        let _outside = open_outside(&pair);
        let _listening = pair.inside.run(|| {
            let any: IpAddr = "::".parse().unwrap();
            let tcp = TcpListener::bind((any, 23)).unwrap();
            (tcp, UdpSocket::bind((any, 514)).unwrap())
        });
        let mut ctl = Ctl::new(&pair.inside).unwrap();
        start(&mut ctl, mode);
        for server in [IpAddr::V4(INSIDE_V4), IpAddr::V6(INSIDE_V6)] {
            let refused_at_once = |error: &std::io::Error, started: Instant| {
                let took = started.elapsed();
                let kind = error.kind();
                assert_eq!(kind, ErrorKind::ConnectionRefused, "{mode} {server}");
                assert!(took < patience(AT_ONCE), "{mode} {server}: {took:?}");
            };
            pair.outside.run(|| {
                let started = Instant::now();
                let address = SocketAddr::new(server, 23);
                let error = TcpStream::connect_timeout(&address, Duration::from_secs(5));
                let error = error.unwrap_err();
                refused_at_once(&error, started);

                let started = Instant::now();
                let any: IpAddr = if server.is_ipv4() {
                    OUTSIDE_V4.into()
                } else {
                    OUTSIDE_V6.into()
                };
                let socket = UdpSocket::bind((any, 0)).unwrap();
                socket.connect((server, 514)).unwrap();
                socket
                    .set_read_timeout(Some(Duration::from_secs(5)))
                    .unwrap();
                socket.send(b"x").unwrap();
                let error = socket.recv(&mut [0; 8]).unwrap_err();
                refused_at_once(&error, started);
            });
        }
        let snapshot = ctl.snapshot().unwrap();
        assert_eq!(
            (rule(&snapshot, "telnet").0, rule(&snapshot, "log").0),
            (2, 2),
            "{mode}"
        );
        assert_eq!(reason(&snapshot, "reject", "drop").0, 4, "{mode}");
    }
}

/// An Ethernet frame from outside to inside.
fn frame(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = frames::ethernet(ethertype, payload);
    frame[..12].copy_from_slice(&Pair::macs());
    frame
}

#[test]
#[ignore = "needs root"]
fn a_flood_is_not_answered_by_a_flood() {
    const FRAMES: u64 = 200_000;
    let pair = Pair::new().unwrap();
    let outside = open_outside(&pair);
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    start(&mut ctl, "native");
    // The shortest that there are: what is longer gets relatively less back. Sources all over the
    // network: the limit of one source holds none of them.
    let flood: Vec<Vec<u8>> = (0..FRAMES as u32)
        .map(|number| {
            let source = (0xc612_0000 | number & 0x1_ffff).to_be_bytes();
            let header = Ipv4::new(source, INSIDE_V4.octets(), 17);
            let packet = header.packet(&frames::udp(40_000, 514, &[]));
            let mut frame = frame(0x0800, &packet);
            frame.resize(60, 0);
            frame
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    let before = arrived(&outside);
    let started = Instant::now();
    pair.send(&flood).unwrap();
    let took = started.elapsed();
    std::thread::sleep(Duration::from_millis(300));
    let after = arrived(&outside);
    let (packets, bytes) = (after.0 - before.0, after.1 - before.1);
    let snapshot = ctl.snapshot().unwrap();
    println!(
        "{FRAMES} frames, {} bytes in {took:?}: {packets} answers, {bytes} bytes",
        FRAMES * 60
    );
    assert_eq!(rule(&snapshot, "log").0, FRAMES);
    // A second for the start and the end of the sending.
    let most = 200.0 + 1_000.0 * (took.as_secs_f64() + 1.0);
    assert!(
        (200.0..=most).contains(&(packets as f64)),
        "{packets} answers in {took:?}"
    );
    assert!(bytes < FRAMES * 60 / 10, "{bytes} bytes of answers");
    let counted = ["reject", "reject-limit"].map(|name| reason(&snapshot, name, "drop").0);
    assert_eq!(counted.iter().sum::<u64>(), FRAMES);
    assert!(
        counted[0] >= packets.saturating_sub(10),
        "{counted:?}, {packets}"
    );
}

#[test]
#[ignore = "needs root"]
fn nobody_is_answered_who_must_not_be() {
    let pair = Pair::new().unwrap();
    let outside = open_outside(&pair);
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    start(&mut ctl, "native");
    let from = OUTSIDE_V4.octets();
    let udp = frames::udp(40_000, 514, b"hello");
    let reset = frames::tcp(40_000, 23, 4, &[]);
    let v4 = |to: [u8; 4], proto, payload: &[u8]| {
        frame(0x0800, &Ipv4::new(from, to, proto).packet(payload))
    };
    let error = {
        // Port unreachable, about a packet that nobody here has sent.
        let mut error = vec![3, 3, 0, 0, 0, 0, 0, 0];
        error.extend(Ipv4::new([192, 0, 2, 1], [192, 0, 2, 2], 17).packet(&udp));
        let sum = frames::checksum(&error);
        error[2..4].copy_from_slice(&sum.to_be_bytes());
        error
    };
    let mut to_all_stations = v4(INSIDE_V4.octets(), 17, &udp);
    to_all_stations[..6].fill(0xff);
    let to_group6 = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let sent = [
        v4(INSIDE_V4.octets(), 1, &error),
        v4(INSIDE_V4.octets(), 6, &reset),
        v4([224, 0, 0, 9], 17, &udp),
        v4([255; 4], 17, &udp),
        to_all_stations,
        frame(
            0x0800,
            &Ipv4::new([0; 4], INSIDE_V4.octets(), 17).packet(&udp),
        ),
        frame(
            0x86dd,
            &frames::ipv6(OUTSIDE_V6.octets(), to_group6, 17, 64, &udp),
        ),
        frame(
            0x86dd,
            &frames::ipv6(OUTSIDE_V6.octets(), INSIDE_V6.octets(), 6, 64, &reset),
        ),
    ];
    std::thread::sleep(Duration::from_millis(300));
    let before = arrived(&outside);
    pair.send(&sent).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(arrived(&outside).0 - before.0, 0);
    let snapshot = ctl.snapshot().unwrap();
    assert_eq!(
        reason(&snapshot, "reject-silent", "drop").0,
        sent.len() as u64
    );
    assert_eq!(reason(&snapshot, "reject", "drop").0, 0);

    // The same cable does carry an answer.
    pair.send(&[v4(INSIDE_V4.octets(), 17, &udp)]).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(arrived(&outside).0 - before.0, 1);
}

/// Segments, datagrams and echo requests from outside to inside, over IPv4 and IPv6, each with this
/// checksum: six frames.
fn all_kinds(sum: Sum) -> Vec<Vec<u8>> {
    let echo = |kind| vec![kind, 0, 0, 0, 0, 7, 0, 1];
    let payloads = |v6| {
        [
            (6, frames::tcp(40_000, 23, 2, &[])),
            (17, frames::udp(40_000, 514, b"hello")),
            if v6 { (58, echo(128)) } else { (1, echo(8)) },
        ]
    };
    let v4 = payloads(false).map(|(proto, mut payload)| {
        let header = Ipv4::new(OUTSIDE_V4.octets(), INSIDE_V4.octets(), proto);
        seal(&mut payload, proto, &header.src, &header.dst, sum);
        frame(0x0800, &header.packet(&payload))
    });
    let v6 = payloads(true).map(|(proto, mut payload)| {
        let (from, to) = (OUTSIDE_V6.octets(), INSIDE_V6.octets());
        seal(&mut payload, proto, &from, &to, sum);
        frame(0x86dd, &frames::ipv6(from, to, proto, 64, &payload))
    });
    v4.into_iter().chain(v6).collect()
}

/// How many answers frames get.
fn answers_to(pair: &Pair, outside: &Ctl<'_>, sent: &[Vec<u8>]) -> u64 {
    std::thread::sleep(Duration::from_millis(300));
    let before = arrived(outside).0;
    pair.send(sent).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    arrived(outside).0 - before
}

fn sent_to(mac: [u8; 6]) -> Vec<Vec<u8>> {
    let mut frames = all_kinds(Sum::Right);
    for frame in &mut frames {
        frame[..6].copy_from_slice(&mac);
    }
    frames
}

const POLICY6: &str = "\
version: 1
interfaces: [{match: wan0, mode: MODE}]
default: {in: drop}
rules:
  - {name: telnet, proto: tcp, port: 23, action: reject}
  - {name: log, proto: udp, port: 514, action: reject}
  - {name: icmp, proto: icmp, icmp: {type: echo-request}, action: reject}
  - {name: icmp6, proto: icmpv6, icmp: {type: echo-request}, action: reject}
";

#[test]
#[ignore = "needs root"]
fn what_was_sent_to_another_station_is_not_answered() {
    for mode in ["native", "generic"] {
        let pair = Pair::new().unwrap();
        let outside = open_outside(&pair);
        let mut ctl = Ctl::new(&pair.inside).unwrap();
        let policy = ctl.policy(&POLICY6.replace("MODE", mode)).unwrap();
        ctl.start(&policy).unwrap();
        let own = [2, 0, 0, 0, 0, 0x80];
        let answers_to = |frames: &[Vec<u8>]| answers_to(&pair, &outside, frames);
        assert_eq!(answers_to(&sent_to(own)), 6, "{mode}");
        assert_eq!(answers_to(&sent_to([2, 0, 0, 0, 0, 0x81])), 0, "{mode}");
        assert_eq!(answers_to(&sent_to([0, 0x80, 0, 0, 0, 0x80])), 0, "{mode}");

        // An address of the network, and not of a host; to and from it.
        let udp = frames::udp(40_000, 514, b"hello");
        let between =
            |from: [u8; 4], to: [u8; 4]| vec![frame(0x0800, &Ipv4::new(from, to, 17).packet(&udp))];
        let (here, there) = (INSIDE_V4.octets(), OUTSIDE_V4.octets());
        let mut to_all = here;
        to_all[3] = 255;
        assert_eq!(answers_to(&between(there, to_all)), 0, "{mode}");
        assert_eq!(answers_to(&between(to_all, here)), 0, "{mode}");
        assert_eq!(answers_to(&between(there, here)), 1, "{mode}");

        // A virtual router: a station of its own over the interface. The daemon sees it come.
        let vrrp = [0, 0, 0x5e, 0, 1, 7];
        pair.inside
            .ip("link add vrrp7 link wan0 address 00:00:5e:00:01:07 type macvlan mode private")
            .unwrap();
        let deadline = Instant::now() + patience(Duration::from_secs(20));
        while answers_to(&sent_to(vrrp)) != 6 {
            assert!(Instant::now() < deadline, "{mode}: the virtual router");
        }
        pair.inside.ip("link del vrrp7").unwrap();
        // The interface gets another address.
        let new = [2, 0, 0, 0, 0, 0x70];
        pair.inside
            .ip("link set wan0 address 02:00:00:00:00:70")
            .unwrap();
        let deadline = Instant::now() + patience(Duration::from_secs(20));
        while answers_to(&sent_to(new)) != 6 {
            assert!(Instant::now() < deadline, "{mode}: the new address");
        }
        assert_eq!(answers_to(&sent_to(own)), 0, "{mode}: the old address");
        assert_eq!(answers_to(&sent_to(vrrp)), 0, "{mode}: the virtual router");
    }
}

#[test]
#[ignore = "needs root"]
fn a_wrong_checksum_is_not_answered() {
    for mode in ["native", "generic"] {
        let pair = Pair::new().unwrap();
        let outside = open_outside(&pair);
        let mut ctl = Ctl::new(&pair.inside).unwrap();
        let policy = ctl.policy(&POLICY6.replace("MODE", mode)).unwrap();
        ctl.start(&policy).unwrap();
        let answers_to = |frames: &[Vec<u8>]| answers_to(&pair, &outside, frames);
        assert_eq!(answers_to(&all_kinds(Sum::Right)), 6, "{mode}");
        assert_eq!(answers_to(&all_kinds(Sum::Wrong)), 0, "{mode}");
        // What a card was to complete: of TCP and UDP.
        assert_eq!(answers_to(&all_kinds(Sum::Bare)), 4, "{mode}");
        let mut header = all_kinds(Sum::Right);
        for frame in &mut header[..3] {
            frame[14 + 10] ^= 1;
        }
        assert_eq!(answers_to(&header[..3]), 0, "{mode}");
        // No sum at all is right in UDP over IPv4 alone.
        let mut none = vec![all_kinds(Sum::Right).swap_remove(1)];
        none[0][14 + 20 + 6..][..2].fill(0);
        assert_eq!(answers_to(&none), 1, "{mode}");
        let mut none = vec![all_kinds(Sum::Right).swap_remove(4)];
        none[0][14 + 40 + 6..][..2].fill(0);
        assert_eq!(answers_to(&none), 0, "{mode}");
        // Real clients, with the sums completed by the sender and left to the card.
        for offload in ["on", "off"] {
            let mut ethtool = pair.outside.command("ethtool");
            let done = ethtool
                .args(["-K", INTERFACE, "tx", offload])
                .output()
                .unwrap();
            assert!(done.status.success());
            for server in [IpAddr::V4(INSIDE_V4), IpAddr::V6(INSIDE_V6)] {
                let error = pair.outside.run(|| {
                    let address = SocketAddr::new(server, 23);
                    TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap_err()
                });
                assert_eq!(
                    error.kind(),
                    ErrorKind::ConnectionRefused,
                    "{mode} {offload}"
                );
            }
        }
    }
}
