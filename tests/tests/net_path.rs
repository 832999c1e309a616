//! A protected host behind a router, on a path with an MTU of 1,280 bytes: what keeps connections
//! alive (path-MTU discovery, neighbour discovery, fragments that follow their first) gets through
//! a policy that drops by default.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INSIDE_V4, INSIDE_V6};
use firewall_tests::number;
use firewall_tests::routed::{FAR_INTERFACE, FAR_V4, FAR_V6, Routed};
use firewall_tests::snapshot::reason;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

const POLICY: &str = "\
version: 1
interfaces: [{match: wan0}]
default: {in: drop}
packet: {fragments: follow-first}
rules:
  - {name: web, proto: tcp, port: [80, 7], action: pass}
  - {name: echo, proto: udp, port: 7, action: pass}
";

const MTU: u32 = 1_280;

/// How long a transfer or an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

fn connect(net: &Routed, to: IpAddr, port: u16) -> TcpStream {
    net.far.run(|| {
        let stream = TcpStream::connect_timeout(&SocketAddr::new(to, port), PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    })
}

const INSIDE: [IpAddr; 2] = [IpAddr::V4(INSIDE_V4), IpAddr::V6(INSIDE_V6)];

#[test]
#[ignore = "needs root"]
fn a_megabyte_crosses_a_narrow_path() {
    const BYTES: usize = 1 << 20;
    let net = Routed::new(MTU).unwrap();
    let mut ctl = Ctl::new(&net.pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.start(&policy).unwrap();
    net.pair.inside.run(|| {
        let web = TcpListener::bind(("::".parse::<IpAddr>().unwrap(), 80)).unwrap();
        std::thread::spawn(move || {
            for stream in web.incoming() {
                let page: Vec<u8> = (0..BYTES).map(|i| i as u8).collect();
                stream.unwrap().write_all(&page).unwrap();
            }
        });
    });
    // The far host takes more than the router can send it, so its MSS says nothing of the path.
    net.far
        .ip(&format!("link set {FAR_INTERFACE} mtu 1500"))
        .unwrap();
    for server in INSIDE {
        let mut page = Vec::new();
        let mut stream = connect(&net, server, 80);
        stream.read_to_end(&mut page).unwrap();
        assert_eq!(page.len(), BYTES, "{server}");
        assert!(page.iter().enumerate().all(|(i, &byte)| byte == i as u8));
    }
    // The router had to say how narrow the path is, once for each family at least.
    assert!(reason(&ctl.snapshot().unwrap(), "icmp-error", "pass").0 >= 2);
}

#[test]
#[ignore = "needs root"]
fn fragments_of_a_narrow_path_arrive_whole() {
    const BYTES: usize = 3_000;
    let net = Routed::new(MTU).unwrap();
    let mut ctl = Ctl::new(&net.pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.start(&policy).unwrap();
    let socket = net
        .pair
        .inside
        .run(|| UdpSocket::bind(("::".parse::<IpAddr>().unwrap(), 7)).unwrap());
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    for server in INSIDE {
        net.far.run(|| {
            let own: IpAddr = match server {
                IpAddr::V4(_) => FAR_V4.into(),
                IpAddr::V6(_) => FAR_V6.into(),
            };
            let client = UdpSocket::bind((own, 0)).unwrap();
            for number in 0..10 {
                client.send_to(&[number; BYTES], (server, 7)).unwrap();
            }
        });
        let mut datagram = [0; 4_000];
        for number in 0..10 {
            assert_eq!(socket.recv(&mut datagram).unwrap(), BYTES, "{server}");
            assert!(datagram[..BYTES].iter().all(|&byte| byte == number));
        }
    }
    // Three fragments each, of which the first came in by its rule.
    assert_eq!(
        reason(&ctl.snapshot().unwrap(), "fragment", "pass").0,
        2 * 10 * 2
    );
}

/// `FIREWALL_SECONDS` says for how long; 10 by default.
#[test]
#[ignore = "needs root"]
fn connections_outlive_their_neighbour_entries() {
    let seconds = number("FIREWALL_SECONDS", 10).unwrap();
    let net = Routed::new(MTU).unwrap();
    let mut ctl = Ctl::new(&net.pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.start(&policy).unwrap();
    net.pair.inside.run(|| {
        let echo = TcpListener::bind(("::".parse::<IpAddr>().unwrap(), 7)).unwrap();
        std::thread::spawn(move || {
            for stream in echo.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).is_ok() {
                        stream.write_all(&byte).unwrap();
                    }
                });
            }
        });
    });
    let mut streams = INSIDE.map(|server| connect(&net, server, 7));
    let mut exchanges = 0_u32;
    let mut slowest = Duration::ZERO;
    for _ in 0..seconds {
        for host in [&net.pair.inside, net.router(), &net.far] {
            host.ip("neigh flush all").unwrap();
            host.ip("-6 neigh flush all").unwrap();
        }
        let next = Instant::now() + Duration::from_secs(1);
        while Instant::now() < next {
            for stream in &mut streams {
                let start = Instant::now();
                let byte = [exchanges as u8];
                stream.write_all(&byte).unwrap();
                let mut answer = [0];
                stream.read_exact(&mut answer).unwrap();
                assert_eq!(answer, byte);
                slowest = slowest.max(start.elapsed());
                exchanges += 1;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    println!("{exchanges} exchanges, {seconds} flushes, slowest {slowest:?}");
    let snapshot = ctl.snapshot().unwrap();
    for found in ["arp", "neighbour"] {
        assert!(reason(&snapshot, found, "pass").0 >= seconds, "{found}");
    }
}
