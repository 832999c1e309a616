//! Real sockets on two hosts: what a policy lets through arrives, what it blocks gets no answer, and
//! the counters equal what was sent, exactly.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::frames;
use firewall_tests::netns::{INSIDE_V4, INSIDE_V6, OUTSIDE_V4, OUTSIDE_V6, Pair};
use firewall_tests::snapshot::{port, reason, rule};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

const POLICY: &str = "\
version: 1
interfaces: [{match: wan0}]
default: {in: drop}
rules:
  - {name: web, proto: tcp, port: 80, action: pass}
  - {name: log, proto: udp, port: 514, action: pass}
  - {name: ping, proto: icmp, icmp: {type: echo-request}, action: pass}
";

/// A page on port 80 and a listener on 8080, both families, as long as the process lives.
fn serve(pair: &Pair) {
    pair.inside.run(|| {
        let web = TcpListener::bind(("::".parse::<IpAddr>().unwrap(), 80)).unwrap();
        let closed = TcpListener::bind(("::".parse::<IpAddr>().unwrap(), 8080)).unwrap();
        for listener in [web, closed] {
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut stream = stream.unwrap();
                    let _ = stream.read(&mut [0; 1024]);
                    let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nhello");
                }
            });
        }
    });
}

fn get(pair: &Pair, server: IpAddr, port: u16) -> std::io::Result<String> {
    pair.outside.run(|| {
        let address = SocketAddr::new(server, port);
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(600))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })
}

/// An Ethernet frame from outside to inside.
fn frame(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = frames::ethernet(ethertype, payload);
    frame[..12].copy_from_slice(&Pair::macs());
    frame
}

fn syn_v4(port: u16) -> Vec<u8> {
    let header = frames::Ipv4::new(OUTSIDE_V4.octets(), INSIDE_V4.octets(), 6);
    frame(0x0800, &header.packet(&frames::tcp(40_000, port, 2, &[])))
}

fn syn_v6(port: u16) -> Vec<u8> {
    let segment = frames::tcp(40_000, port, 2, &[]);
    frame(
        0x86dd,
        &frames::ipv6(OUTSIDE_V6.octets(), INSIDE_V6.octets(), 6, 64, &segment),
    )
}

#[test]
#[ignore = "needs root"]
fn what_is_allowed_arrives_and_what_is_blocked_gets_no_answer() {
    let pair = Pair::new().unwrap();
    serve(&pair);
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.start(&policy).unwrap();

    for server in [IpAddr::V4(INSIDE_V4), IpAddr::V6(INSIDE_V6)] {
        let answer = get(&pair, server, 80).unwrap();
        assert!(answer.ends_with("hello"), "{server}: {answer}");
        let error = get(&pair, server, 8080).unwrap_err();
        assert_eq!(
            error.kind(),
            std::io::ErrorKind::TimedOut,
            "{server}: {error}"
        );
    }
    let snapshot = ctl.snapshot().unwrap();
    // One SYN for each family: the first retransmission would come after a second.
    assert_eq!(port(&snapshot, "tcp", 8080, "drop").0, 2);
    assert_eq!(port(&snapshot, "tcp", 8080, "pass").0, 0);
    assert_eq!(port(&snapshot, "tcp", 80, "drop").0, 0);
    assert_eq!(
        rule(&snapshot, "web").0,
        port(&snapshot, "tcp", 80, "pass").0
    );
    assert!(rule(&snapshot, "web").0 >= 8, "two whole connections");
}

#[test]
#[ignore = "needs root"]
fn counters_equal_the_packets_sent() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.start(&policy).unwrap();
    let received = pair
        .inside
        .run(|| UdpSocket::bind((INSIDE_V4, 514)).unwrap());
    received
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();

    pair.outside.run(|| {
        let socket = UdpSocket::bind((OUTSIDE_V4, 0)).unwrap();
        for (port, packets) in [(514, 50), (9, 1_000), (53, 321)] {
            for _ in 0..packets {
                socket.send_to(&[7; 100], (INSIDE_V4, port)).unwrap();
            }
        }
    });
    for _ in 0..50 {
        assert_eq!(received.recv(&mut [0; 200]).unwrap(), 100);
    }
    let snapshot = ctl.snapshot().unwrap();
    let frame_len = 14 + 20 + 8 + 100;
    assert_eq!(port(&snapshot, "udp", 514, "pass"), (50, 50 * frame_len));
    assert_eq!(
        port(&snapshot, "udp", 9, "drop"),
        (1_000, 1_000 * frame_len)
    );
    assert_eq!(port(&snapshot, "udp", 53, "drop"), (321, 321 * frame_len));
    assert_eq!(rule(&snapshot, "log").0, 50);
    assert_eq!(reason(&snapshot, "no-match", "drop").0, 1_321);
}

#[test]
#[ignore = "needs root"]
fn tagged_frames_meet_the_same_rules_as_untagged_ones() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.start(&policy).unwrap();

    let tags: [&[(u16, u16)]; 5] = [
        &[],
        &[(0x8100, 0)],
        &[(0x8100, 100)],
        &[(0x88a8, 100), (0x8100, 101)],
        &[(0x8100, 1); 4],
    ];
    let deep = [(0x8100, 1); 5];
    let mut sent = Vec::new();
    for tags in tags {
        for base in [syn_v4(80), syn_v6(80), syn_v4(22), syn_v6(22)] {
            sent.push(frames::tagged(&base, tags));
        }
    }
    sent.push(frames::tagged(&syn_v4(80), &deep));
    pair.send(&sent).unwrap();
    std::thread::sleep(Duration::from_millis(300));

    let snapshot = ctl.snapshot().unwrap();
    assert_eq!(port(&snapshot, "tcp", 80, "pass").0, 10);
    assert_eq!(port(&snapshot, "tcp", 80, "drop").0, 0);
    assert_eq!(port(&snapshot, "tcp", 22, "drop").0, 10);
    assert_eq!(port(&snapshot, "tcp", 22, "pass").0, 0);
    assert_eq!(reason(&snapshot, "vlan-depth", "drop").0, 1);
}

#[test]
#[ignore = "needs root"]
fn ping_follows_the_policy() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.start(&policy).unwrap();

    let mut echo = vec![8, 0, 0, 0, 0, 1, 0, 1];
    let sum = frames::checksum(&echo);
    echo[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut timestamp = vec![13, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let sum = frames::checksum(&timestamp);
    timestamp[2..4].copy_from_slice(&sum.to_be_bytes());
    let v4 = frames::Ipv4::new(OUTSIDE_V4.octets(), INSIDE_V4.octets(), 1);
    let echo6 = [128, 0, 0, 0, 0, 1, 0, 1];
    let v6 = frames::ipv6(OUTSIDE_V6.octets(), INSIDE_V6.octets(), 58, 64, &echo6);
    let listener = pair.outside.run(|| {
        rustix::net::socket(
            rustix::net::AddressFamily::INET,
            rustix::net::SocketType::RAW,
            Some(rustix::net::ipproto::ICMP),
        )
        .unwrap()
    });
    let wait = Some(Duration::from_secs(2));
    rustix::net::sockopt::set_socket_timeout(&listener, rustix::net::sockopt::Timeout::Recv, wait)
        .unwrap();
    pair.send(&[
        frame(0x0800, &v4.packet(&echo)),
        frame(0x0800, &v4.packet(&timestamp)),
        frame(0x86dd, &v6),
    ])
    .unwrap();

    // An echo reply, type 0, behind 20 bytes of IPv4 header.
    let mut answer = [0; 64];
    let (length, _) =
        rustix::net::recv(&listener, &mut answer, rustix::net::RecvFlags::empty()).unwrap();
    assert!(length >= 28, "{length} bytes");
    assert_eq!(answer[20], 0);
    let snapshot = ctl.snapshot().unwrap();
    assert_eq!(rule(&snapshot, "ping").0, 1);
    assert_eq!(reason(&snapshot, "no-match", "drop").0, 2);
}
