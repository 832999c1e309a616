//! `action: reject` with real clients: they see an error at once and not a time-out; a flood of
//! rejected packets gets few answers and fewer bytes than it has; what nobody may answer is not.
//!
//! On the ports that are rejected somebody listens, so that only the firewall can have refused.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::frames::{self, Ipv4};
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
packet: {malformed: pass}
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
