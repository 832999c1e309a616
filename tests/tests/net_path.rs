//! A protected host behind a router, on a path with an MTU of 1,280 bytes: what keeps connections
//! alive (path-MTU discovery, neighbour discovery, fragments that follow their first) gets through
//! a policy that drops by default.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{
    INSIDE_V4, INSIDE_V6, INTERFACE, Namespace, OUTSIDE_V4, OUTSIDE_V6, Pair,
};
use firewall_tests::snapshot::reason;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
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

const FAR_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const FAR_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 2);
const MTU: u32 = 1_280;

/// How long a transfer or an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Inside, a router (the pair's other host), and behind a narrow link the far host.
struct Net {
    pair: Pair,
    far: Namespace,
}

impl Net {
    fn new() -> Self {
        let pair = Pair::new().unwrap();
        let far = Namespace::new("far").unwrap();
        let router = &pair.outside;
        let (near_v4, near_v6) = (
            Ipv4Addr::new(198, 51, 100, 1),
            "2001:db8:f::1".parse::<Ipv6Addr>().unwrap(),
        );
        router
            .ip(&format!(
                "link add far0 type veth peer name far0 netns {}",
                far.name()
            ))
            .unwrap();
        for (host, v4, v6) in [(router, near_v4, near_v6), (&far, FAR_V4, FAR_V6)] {
            host.ip("link set far0 addrgenmode none").unwrap();
            host.ip(&format!("link set far0 mtu {MTU}")).unwrap();
            host.ip(&format!("addr add {v4}/24 dev far0")).unwrap();
            host.ip(&format!("addr add {v6}/64 dev far0 nodad"))
                .unwrap();
            host.ip("link set far0 up").unwrap();
        }
        router.run(|| {
            for file in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
                std::fs::write(format!("/proc/sys/net/{file}"), "1").unwrap();
            }
        });
        for (host, v4, v6) in [
            (&pair.inside, OUTSIDE_V4, OUTSIDE_V6),
            (&far, near_v4, near_v6),
        ] {
            host.ip(&format!("route add default via {v4}")).unwrap();
            host.ip(&format!("-6 route add default via {v6}")).unwrap();
        }
        // A router asks for neighbours by its link-local address.
        for interface in ["far0", INTERFACE] {
            router
                .ip(&format!("addr add fe80::9/64 dev {interface} nodad"))
                .unwrap();
        }
        // Neighbours are looked up, as on any host.
        for (host, peers) in [
            (router, [IpAddr::from(INSIDE_V4), IpAddr::from(INSIDE_V6)]),
            (&pair.inside, [OUTSIDE_V4.into(), OUTSIDE_V6.into()]),
        ] {
            for peer in peers {
                host.ip(&format!("neigh del {peer} dev {INTERFACE}"))
                    .unwrap();
            }
        }
        Self { pair, far }
    }

    fn connect(&self, to: IpAddr, port: u16) -> TcpStream {
        self.far.run(|| {
            let stream = TcpStream::connect_timeout(&SocketAddr::new(to, port), PATIENCE).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_nodelay(true).unwrap();
            stream
        })
    }
}

const INSIDE: [IpAddr; 2] = [IpAddr::V4(INSIDE_V4), IpAddr::V6(INSIDE_V6)];

#[test]
#[ignore = "needs root"]
fn a_megabyte_crosses_a_narrow_path() {
    const BYTES: usize = 1 << 20;
    let net = Net::new();
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
    net.far.ip("link set far0 mtu 1500").unwrap();
    for server in INSIDE {
        let mut page = Vec::new();
        let mut stream = net.connect(server, 80);
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
    let net = Net::new();
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
    let seconds = std::env::var("FIREWALL_SECONDS").map_or(10, |text| text.parse().unwrap());
    let net = Net::new();
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
    let mut streams = INSIDE.map(|server| net.connect(server, 7));
    let mut exchanges = 0_u32;
    let mut slowest = Duration::ZERO;
    for _ in 0..seconds {
        for host in [&net.pair.inside, &net.pair.outside, &net.far] {
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
