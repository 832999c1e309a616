//! `syn_protect` on a router that listens itself on a port which it translates to another host (nft
//! dnat): a flood of SYNs to one port cuts nothing on another one, and nothing that goes through.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::echo;
use firewall_tests::frames::{self, Ipv4, Sum, seal};
use firewall_tests::netns::{INSIDE_V4, INTERFACE, Namespace, OUTSIDE_V4};
use firewall_tests::routed::{FAR_V4, Routed};
use firewall_tests::snapshot::reason;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

const WITHOUT_STATE: &str = "\
version: 1
interfaces: [{match: wan0, mode: generic}]
default: {in: drop}
rules:
  - {name: web, proto: tcp, port: [80, 443], syn_protect: auto, action: pass}
";

const WITH_STATE: &str = "\
version: 1
interfaces: [{match: wan0, mode: generic}]
default: {in: drop}
rules:
  - {name: web, proto: tcp, port: [80, 443], syn_protect: auto, action: pass}
  - {name: replies, state: established, action: pass}
";

/// What a listening socket of the router takes before its queue is full.
const QUEUE: &str = "8";

/// How long a connection and its answers may take: none of their packets is lost.
const SOON: Duration = Duration::from_millis(800);

/// Answers on a TCP port, as long as the process lives.
fn listen(host: &Namespace, port: u16) {
    let (listener, socket) = host.run(|| {
        let any = Ipv4Addr::UNSPECIFIED;
        (
            TcpListener::bind((any, port)).unwrap(),
            UdpSocket::bind((any, port)).unwrap(),
        )
    });
    echo::serve(listener, socket);
}

fn connect(host: &Namespace, port: u16) -> std::io::Result<TcpStream> {
    host.run(|| TcpStream::connect_timeout(&(OUTSIDE_V4, port).into(), SOON))
}

/// Whether a line comes back.
fn echoes(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut back = [0; 5];
    stream.write_all(b"hello").is_ok() && stream.read_exact(&mut back).is_ok() && &back == b"hello"
}

/// Segments from made-up sources to the router; those that acknowledge come from others than SYNs.
fn forged(port: u16, flags: u8, count: u8) -> Vec<Vec<u8>> {
    let segment = |number| {
        let from = [198, if flags == 2 { 18 } else { 19 }, 0, number];
        let mut segment = frames::tcp(40_000 + u16::from(number), port, flags, &[]);
        segment[8..12].fill(number * u8::from(flags != 2));
        seal(&mut segment, 6, &from, &OUTSIDE_V4.octets(), Sum::Right);
        let packet = Ipv4::new(from, OUTSIDE_V4.octets(), 6).packet(&segment);
        let mut frame = frames::ethernet(0x0800, &packet);
        frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 0x80]);
        frame
    };
    (1..=count).map(segment).collect()
}

#[test]
#[ignore = "needs root"]
fn a_flood_of_one_port_cuts_nothing_on_another_one() {
    for policy in [WITHOUT_STATE, WITH_STATE] {
        let net = Routed::new(1_500).unwrap();
        let (router, client) = (net.router(), &net.pair.inside);
        router
            .ip(&format!("route add 198.18.0.0/15 via {INSIDE_V4}"))
            .unwrap();
        for (name, value) in [("core/somaxconn", QUEUE), ("ipv4/tcp_syncookies", "1")] {
            router
                .run(|| std::fs::write(format!("/proc/sys/net/{name}"), value))
                .unwrap();
        }
        let mut nft = router.command("nft");
        let nat = format!(
            "add table ip nat; add chain ip nat pre {{ type nat hook prerouting priority -100; }}; \
             add rule ip nat pre iifname {INTERFACE} tcp dport 80 dnat to {FAR_V4}"
        );
        assert!(nft.arg(nat).status().unwrap().success());
        // The far host answers on port 80; the router listens there too, and on 443.
        listen(&net.far, 80);
        listen(router, 443);
        let own = router.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)).unwrap());
        own.set_nonblocking(true).unwrap();
        let ctl = Ctl::new(router).unwrap();
        let file = ctl.policy(policy).unwrap();
        ctl.ok(&["load", "-i", INTERFACE, "-f", file.to_str().unwrap()])
            .unwrap();

        let mut translated = connect(client, 80).unwrap();
        let mut direct = connect(client, 443).unwrap();
        assert!(
            echoes(&mut translated) && echoes(&mut direct),
            "before the flood"
        );
        net.pair.send_from_inside(&forged(443, 2, 12)).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        let cookies = reason(&ctl.snapshot().unwrap(), "syn-cookie", "drop").0;
        assert!(cookies > 0, "the queue of port 443 is full");

        assert!(echoes(&mut translated), "an open connection to port 80");
        assert!(echoes(&mut direct), "an open connection to port 443");
        assert!(
            echoes(&mut connect(client, 80).unwrap()),
            "a new one to port 80"
        );
        // By a cookie.
        assert!(
            echoes(&mut connect(client, 443).unwrap()),
            "a new one to port 443"
        );
        let forgeries = || reason(&ctl.snapshot().unwrap(), "syn-forged", "drop").0;
        assert_eq!(forgeries(), 0);
        net.pair.send_from_inside(&forged(443, 0x10, 9)).unwrap();
        net.pair.send_from_inside(&forged(80, 0x10, 9)).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(forgeries(), 9, "those to port 443");
        assert!(
            own.accept().is_err(),
            "nothing was for the router's own port 80"
        );
    }
}
