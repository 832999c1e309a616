//! Rate limits on real traffic: two senders on a cable, each held to what the rule allows it, by
//! sockets that count what arrives.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INSIDE_V4, INTERFACE, OUTSIDE_V4, Pair};
use firewall_tests::snapshot::{reason, rule};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// Another address of the sender.
const OTHER_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

/// Packets a second that one source may send.
const RATE: u32 = 2_000;
/// Packets that it may send at once: what it would be allowed while a busy machine does not run it.
const BURST: u32 = 1_000;

/// For how long both send.
const TIME: Duration = Duration::from_secs(3);

/// What the receiver's socket holds while a busy machine does not run the receiver: more than all
/// that may pass, at a page for each datagram.
const WAITING_BYTES: usize = 64 << 20;

/// How long silence is waited for.
const SOON: Duration = Duration::from_millis(400);

fn load(ctl: &Ctl<'_>, rules: &str) {
    let text = format!(
        "version: 1\ninterfaces: [{{match: wan0}}]\ndefault: {{in: drop}}\nrules:\n{rules}"
    );
    let file = ctl.policy(&text).unwrap();
    ctl.ok(&["load", "-i", INTERFACE, "-f", file.to_str().unwrap()])
        .unwrap();
}

/// Two senders on one cable, and who is sent to.
fn hosts() -> Pair {
    let pair = Pair::new().unwrap();
    pair.outside
        .ip(&format!("addr add {OTHER_V4}/24 dev {INTERFACE}"))
        .unwrap();
    pair.inside
        .ip(&format!(
            "neigh replace {OTHER_V4} lladdr 02:00:00:00:00:09 dev {INTERFACE} nud permanent"
        ))
        .unwrap();
    pair
}

/// Takes every datagram until none has come for a while; how many came from each sender.
fn count(socket: &UdpSocket) -> [u32; 2] {
    socket.set_read_timeout(Some(TIME)).unwrap();
    let mut counts = [0; 2];
    while let Ok((_, from)) = socket.recv_from(&mut [0; 16]) {
        counts[usize::from(from.ip() == OTHER_V4)] += 1;
    }
    counts
}

#[test]
#[ignore = "needs root"]
fn each_source_is_held_to_its_rate() {
    let pair = hosts();
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(
        &ctl,
        &format!(
            "  - {{name: syslog, proto: udp, port: 514, limit: {{rate: {RATE}/s, burst: {BURST}, \
             per: source}}, action: pass}}\n"
        ),
    );
    let socket = pair
        .inside
        .run(|| UdpSocket::bind((INSIDE_V4, 514)).unwrap());
    set_socket_recv_buffer_size_force(&socket, WAITING_BYTES).unwrap();
    let receiver = std::thread::spawn(move || count(&socket));

    // The first one sends as fast as it can, the second one only little more than it may.
    let (heavy, light, took) = pair.outside.run(|| {
        let heavy = UdpSocket::bind((OUTSIDE_V4, 0)).unwrap();
        let light = UdpSocket::bind((OTHER_V4, 0)).unwrap();
        let start = Instant::now();
        let (mut sent, mut due) = ([0_u32; 2], 0);
        while start.elapsed() < TIME {
            heavy.send_to(b"line", (INSIDE_V4, 514)).unwrap();
            sent[0] += 1;
            if start.elapsed().as_secs_f64() * f64::from(RATE) * 1.5 > f64::from(due) {
                light.send_to(b"line", (INSIDE_V4, 514)).unwrap();
                due += 1;
                sent[1] += 1;
            }
        }
        (sent[0], sent[1], start.elapsed())
    });
    let passed = receiver.join().unwrap();

    let allowed = f64::from(BURST) + f64::from(RATE) * took.as_secs_f64();
    println!("{heavy} and {light} sent, {passed:?} of {allowed:.0} passed");
    assert!(f64::from(heavy) > 3.0 * allowed, "a flood of {heavy}");
    assert!(
        f64::from(light) > 1.03 * allowed,
        "more than allowed: {light}"
    );
    for passed in passed {
        let share = f64::from(passed) / allowed;
        assert!((0.97..=1.001).contains(&share), "{passed} of {allowed:.0}");
    }
    // What arrived and what was held back is what was sent, to the packet.
    let snapshot = ctl.snapshot().unwrap();
    let within = u64::from(passed[0] + passed[1]);
    assert_eq!(rule(&snapshot, "syslog").0, within);
    let over = u64::from(heavy + light) - within;
    assert_eq!(reason(&snapshot, "limit", "drop").0, over);
}

/// Whether a connection to this port is taken; silence is the only other answer.
fn connects(pair: &Pair, port: u16) -> bool {
    let to = SocketAddr::from((INSIDE_V4, port));
    match pair.outside.run(|| TcpStream::connect_timeout(&to, SOON)) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
            false
        }
    }
}

#[test]
#[ignore = "needs root"]
fn the_seventh_connection_in_half_a_minute_waits() {
    let pair = hosts();
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(
        &ctl,
        "  - {name: ssh, proto: tcp, port: 22, limit: {new: 6/30s, per: source}, action: pass}\n",
    );
    let listener = pair
        .inside
        .run(|| TcpListener::bind((INSIDE_V4, 22)).unwrap());
    let mut open = pair
        .outside
        .run(|| TcpStream::connect_timeout(&(INSIDE_V4, 22).into(), SOON).unwrap());
    let (mut served, _) = listener.accept().unwrap();
    for number in 2..=8 {
        assert_eq!(connects(&pair, 22), number <= 6, "connection {number}");
    }
    // An allowance comes back every five seconds; until then what is open goes on, and another
    // sender has one of its own.
    for line in 0..100_u8 {
        open.write_all(&[line]).unwrap();
        let mut read = [0];
        served.read_exact(&mut read).unwrap();
        assert_eq!(read, [line]);
    }
    let route = format!("route add {INSIDE_V4}/32 dev {INTERFACE} src {OTHER_V4}");
    pair.outside.ip(&route).unwrap();
    assert!(connects(&pair, 22));
}
