//! Fragmented datagrams between two hosts, cut by the sender's own stack: under `follow-first` they
//! arrive whole at a port that is let in, and not at all at another.

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INSIDE_V4, INSIDE_V6, OUTSIDE_V4, OUTSIDE_V6, Pair};
use firewall_tests::snapshot::reason;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

const POLICY: &str = "\
version: 1
interfaces: [{match: wan0}]
default: {in: drop}
packet: {fragments: follow-first}
rules:
  - {name: log, proto: udp, port: 514, action: pass}
";

/// Datagrams to each port over each family: three fragments each over an MTU of 1,500 bytes.
const DATAGRAMS: u64 = 20;

#[test]
#[ignore = "needs root"]
fn fragmented_datagrams_follow_their_first_fragment() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.start(&policy).unwrap();
    let hosts = [
        (IpAddr::from(OUTSIDE_V4), IpAddr::from(INSIDE_V4)),
        (IpAddr::from(OUTSIDE_V6), IpAddr::from(INSIDE_V6)),
    ];
    for (outside, inside) in hosts {
        let bind = |port| {
            let socket = pair.inside.run(|| UdpSocket::bind((inside, port)).unwrap());
            socket
                .set_read_timeout(Some(Duration::from_secs(5)))
                .unwrap();
            socket
        };
        let (open, closed) = (bind(514), bind(515));
        pair.outside.run(|| {
            let socket = UdpSocket::bind((outside, 0)).unwrap();
            for number in 0..DATAGRAMS {
                for port in [515, 514] {
                    let to = SocketAddr::new(inside, port);
                    socket.send_to(&[number as u8; 4_000], to).unwrap();
                }
            }
        });
        let mut datagram = [0; 8_000];
        for number in 0..DATAGRAMS {
            assert_eq!(open.recv(&mut datagram).unwrap(), 4_000, "{inside}");
            assert!(
                datagram[..4_000]
                    .iter()
                    .all(|&byte| u64::from(byte) == number)
            );
        }
        closed.set_nonblocking(true).unwrap();
        let error = closed.recv(&mut datagram).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{inside}");
    }
    let snapshot = ctl.snapshot().unwrap();
    assert_eq!(reason(&snapshot, "rule", "pass").0, 2 * DATAGRAMS);
    assert_eq!(reason(&snapshot, "fragment", "pass").0, 4 * DATAGRAMS);
    assert_eq!(reason(&snapshot, "no-match", "drop").0, 2 * DATAGRAMS);
    assert_eq!(reason(&snapshot, "frag-orphan", "drop").0, 4 * DATAGRAMS);
    assert_eq!(reason(&snapshot, "frag-clash", "drop").0, 0);
}
