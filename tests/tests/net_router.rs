//! `state: established` on a router that filters both of its sides: what goes through is known in
//! both directions, by the side where it leaves, also behind a translation of addresses.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::echo;
use firewall_tests::netns::{INSIDE_V4, INSIDE_V6, INTERFACE, Namespace};
use firewall_tests::routed::{FAR_INTERFACE, FAR_V4, FAR_V6, Routed};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// The far host is what the router stands in front of; it answers on port 80 and asks for nothing
/// but names and web pages. Neither side gets in what the other one has not asked for.
const POLICY: &str = "\
version: 1
interfaces: [{match: wan0, zone: wan}, {match: far0, zone: lan}]
default: {in: drop}
rules:
  - {name: replies, state: established, action: pass}
  - {name: wan-web, zone: wan, proto: tcp, port: 80, state: new, action: pass}
  - {name: lan-dns, zone: lan, proto: udp, port: 53, state: new, action: pass}
  - {name: lan-web, zone: lan, proto: tcp, port: 80, state: new, action: pass}
";

const SOON: Duration = Duration::from_millis(400);
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers every line with itself by TCP, and every datagram, as long as the process lives.
fn listen(host: &Namespace, port: u16) {
    let any = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    let (listener, socket) = host.run(|| {
        let listener = TcpListener::bind((any, port)).unwrap();
        (listener, UdpSocket::bind((any, port)).unwrap())
    });
    echo::serve(listener, socket);
}

/// A connection from `host`, over which a line has gone there and back.
fn connect(host: &Namespace, to: (IpAddr, u16)) -> std::io::Result<TcpStream> {
    host.run(|| {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from(to), SOON)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        says(&mut stream);
        Ok(stream)
    })
}

fn says(stream: &mut TcpStream) {
    stream.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
}

fn asks(host: &Namespace, to: (IpAddr, u16)) -> std::io::Result<()> {
    host.run(|| {
        let any: IpAddr = match to.0 {
            IpAddr::V4(_) => [0, 0, 0, 0].into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0))?;
        socket.set_read_timeout(Some(SOON))?;
        socket.send_to(b"question", to)?;
        socket.recv(&mut [0; 16]).map(drop)
    })
}

fn is_silence<T: std::fmt::Debug>(answer: std::io::Result<T>) {
    let error = answer.unwrap_err();
    let silent = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
    assert!(silent, "{error}");
}

fn load(ctl: &Ctl<'_>) {
    let file = ctl.policy(POLICY).unwrap();
    let file = file.to_str().unwrap();
    ctl.ok(&["load", "-i", INTERFACE, "-i", FAR_INTERFACE, "-f", file])
        .unwrap();
}

/// What each side gets from the other one, over and over, until a connection of each has seen all.
fn both_sides_get_what_they_ask_for(net: &Routed, peers: &[(IpAddr, IpAddr)]) {
    let (wan, lan) = (&net.pair.inside, &net.far);
    for &(on_wan, on_lan) in peers {
        let mut streams = [
            connect(wan, (on_lan, 80)).unwrap(),
            connect(lan, (on_wan, 80)).unwrap(),
        ];
        asks(lan, (on_wan, 53)).unwrap();
        is_silence(asks(wan, (on_lan, 53)));
        is_silence(connect(wan, (on_lan, 8080)));
        is_silence(connect(lan, (on_wan, 8080)));
        streams.iter_mut().for_each(says);
    }
}

#[test]
#[ignore = "needs root"]
fn what_is_forwarded_is_known_in_both_directions() {
    let net = Routed::new(1_500).unwrap();
    for port in [53, 80, 8080] {
        listen(&net.pair.inside, port);
        listen(&net.far, port);
    }
    let ctl = Ctl::new(net.router()).unwrap();
    load(&ctl);
    let peers = [
        (INSIDE_V4.into(), FAR_V4.into()),
        (INSIDE_V6.into(), FAR_V6.into()),
    ];
    both_sides_get_what_they_ask_for(&net, &peers);

    // Forgotten, a connection that is forwarded is none: its segments open nothing. The next one is.
    let mut stream = connect(&net.pair.inside, (FAR_V4.into(), 80)).unwrap();
    ctl.ok(&["flows", "delete", "--all"]).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(b"hello").unwrap();
    is_silence(stream.read(&mut [0; 5]));
    connect(&net.pair.inside, (FAR_V4.into(), 80)).unwrap();
}

#[test]
#[ignore = "needs root"]
fn answers_find_back_through_a_translation_of_addresses() {
    let net = Routed::new(1_500).unwrap();
    for port in [53, 80, 8080] {
        listen(&net.pair.inside, port);
    }
    // The side of the internet knows of no network behind the router.
    net.pair.inside.ip("route del default").unwrap();
    let rules = "table ip fwt { chain out { type nat hook postrouting priority 100; oifname wan0 \
                 masquerade; }; }";
    let nft = net.router().command("nft").arg(rules).output().unwrap();
    assert!(nft.status.success(), "{nft:?}");

    let ctl = Ctl::new(net.router()).unwrap();
    load(&ctl);
    let server = IpAddr::from(INSIDE_V4);
    let mut stream = connect(&net.far, (server, 80)).unwrap();
    asks(&net.far, (server, 53)).unwrap();
    is_silence(connect(&net.far, (server, 8080)));
    says(&mut stream);
    // The router itself is as closed as what is behind it.
    let router = IpAddr::from(firewall_tests::netns::OUTSIDE_V4);
    is_silence(connect(&net.pair.inside, (router, 8080)));
}
