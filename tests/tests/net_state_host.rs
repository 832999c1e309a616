//! `state: established` on a host, with real sockets and a forger on the cable: what the host's own
//! TCP would take passes, and what a stranger sends moves nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INSIDE_V4, INSIDE_V6, INTERFACE, OUTSIDE_V4, OUTSIDE_V6, Pair};
use firewall_tests::segments::{ACK, FIN, PSH, RST, SYN, Segment, Sum, Tap};
use firewall_tests::snapshot::{reason, rule};
use firewall_tests::talk;
use rustix::net::{AddressFamily, SendFlags, SocketType, sockopt};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

const PORT: u16 = 80;

/// The inside host's address, then that of the outside one.
const BOTH: [(IpAddr, IpAddr); 2] = [
    (IpAddr::V4(INSIDE_V4), IpAddr::V4(OUTSIDE_V4)),
    (IpAddr::V6(INSIDE_V6), IpAddr::V6(OUTSIDE_V6)),
];

/// Longer than a flow lives that somebody has reset.
const FORGOTTEN: Duration = Duration::from_secs(12);

fn policy(rules: &str) -> String {
    format!("version: 1\ninterfaces: [{{match: wan0}}]\ndefault: {{in: drop}}\nrules:\n{rules}")
}

const SYNS: &str = "  - {name: opens, proto: tcp, port: 80, flags: {set: [syn], clear: [ack]}, \
                    action: pass}\n";
const NEW: &str = "  - {name: opens, proto: tcp, port: 80, state: new, action: pass}\n";
const REPLIES: &str = "  - {name: replies, state: established, action: pass}\n";

fn load(ctl: &Ctl<'_>, rules: &str) {
    let file = ctl.policy(&policy(rules)).unwrap();
    ctl.ok(&["load", "-i", INTERFACE, "-f", file.to_str().unwrap()])
        .unwrap();
}

/// A connection and what a forger has to know of it.
struct Known {
    /// The end on the inside host.
    inside: TcpStream,
    /// The end on the outside host.
    outside: TcpStream,
    /// An ACK that the outside host could send now.
    next: Segment,
}

/// Opens a connection, uses it in both directions, and reads its numbers off the cable.
fn known(pair: &Pair, addresses: (IpAddr, IpAddr), from_inside: bool, port: u16) -> Known {
    let (inside, outside) = addresses;
    let mut tap = Tap::on(&pair.outside, INTERFACE).unwrap();
    let (mut inside, mut outside) = if from_inside {
        let listener = talk::listener(&pair.outside, port).unwrap();
        talk::ends(&pair.inside, (outside, port), &listener).unwrap()
    } else {
        let listener = talk::listener(&pair.inside, port).unwrap();
        let (client, server) = talk::ends(&pair.outside, (inside, port), &listener).unwrap();
        (server, client)
    };
    talk::tells(&mut inside, &mut outside, b"hello").unwrap();
    talk::tells(&mut outside, &mut inside, b"hello").unwrap();
    let [here, there] = [&inside, &outside].map(|end| plain(end.local_addr().unwrap()));
    let said = tap.segments(Duration::from_millis(100));
    let last = |from, to| {
        let of = said.iter().filter(|it| it.goes(from, to));
        of.map(Segment::end).next_back().unwrap()
    };
    let next = Segment::new(there, here, ACK, last(there, here), last(here, there));
    Known {
        inside,
        outside,
        next,
    }
}

/// An IPv4 address of a socket for both families, as it is on the cable.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl Known {
    /// The next segment with other flags, `ahead` of its number.
    fn forged(&self, flags: u8, ahead: u32, sum: Sum) -> Vec<u8> {
        let segment = self.next.before(ahead.wrapping_neg(), flags);
        segment.frame(Pair::macs(), sum)
    }

    /// What the outside host says without being asked arrives.
    fn is_pushed(&mut self) -> std::io::Result<()> {
        talk::tells(&mut self.outside, &mut self.inside, b"pushed")
    }
}

#[test]
#[ignore = "needs root"]
fn a_rule_for_syns_and_one_for_established_accept_connections() {
    // As rulesets of other firewalls have it, and as `import` writes them.
    let no_others = "  - {name: no-syn, proto: tcp, flags: {clear: [syn]}, state: new, \
                     action: drop}\n  - {name: ssh, proto: tcp, port: 80, state: new, \
                     action: pass}\n";
    let forms = [
        format!("{SYNS}{REPLIES}"),
        format!("{REPLIES}{SYNS}"),
        format!("{REPLIES}{no_others}"),
        format!("{REPLIES}{SYNS}  - {{name: rest, action: reject}}\n"),
    ];
    for form in forms {
        let pair = Pair::new().unwrap();
        talk::listen(&pair.inside, PORT).unwrap();
        let ctl = Ctl::new(&pair.inside).unwrap();
        load(&ctl, &form);
        for (inside, _) in BOTH {
            let mut stream = talk::connect(&pair.outside, (inside, PORT)).unwrap();
            let said = talk::says(&mut stream);
            assert!(said.is_ok(), "{inside}: {said:?} under\n{form}");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_server_that_speaks_first_is_heard_under_a_rule_for_syns() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(&ctl, &format!("{SYNS}{REPLIES}"));
    for (inside, _) in BOTH {
        let listener = talk::listener(&pair.inside, PORT).unwrap();
        let (mut client, mut server) =
            talk::ends(&pair.outside, (inside, PORT), &listener).unwrap();
        talk::tells(&mut server, &mut client, b"220 ready").unwrap();
        talk::tells(&mut client, &mut server, b"EHLO").unwrap();
    }
}

#[test]
#[ignore = "needs root"]
fn new_connections_work_however_many_are_settled() {
    const OLD: u32 = 114_688;
    const NEW: usize = 200;
    let pair = Pair::new().unwrap();
    talk::listen(&pair.outside, PORT).unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(&ctl, REPLIES);
    // What a host sends that has many connections.
    let macs = Pair::macs();
    let macs: [u8; 12] = [&macs[6..], &macs[..6]].concat().try_into().unwrap();
    let from = SocketAddr::new(INSIDE_V4.into(), 2_000);
    let frames: Vec<_> = (0..OLD)
        .map(|number| {
            let [_, a, b, c] = number.to_be_bytes();
            let to = SocketAddr::new([198, 18 + a, b, c].into(), 443);
            Segment::new(from, to, ACK, 1, 1).frame(macs, Sum::Right)
        })
        .collect();
    pair.send_from_inside(&frames).unwrap();
    let mut streams = Vec::new();
    let mut failed = 0;
    // What finds no room finds none when it is sent again: a segment that is late is no failure.
    let patience = Duration::from_secs(5);
    for (_, outside) in BOTH {
        for _ in 0..NEW / 2 {
            let stream = talk::connect_within(&pair.inside, (outside, PORT), patience);
            match stream {
                Ok(stream) => streams.push(stream),
                Err(_) => failed += 1,
            }
        }
    }
    failed += streams
        .iter_mut()
        .map(|stream| {
            stream.set_read_timeout(Some(patience)).unwrap();
            talk::says(stream)
        })
        .filter(Result::is_err)
        .count();
    assert_eq!(failed, 0, "of {NEW} new connections");
}

/// Frames that a forger makes of what they know of a connection.
type Forge = fn(&Known) -> Vec<Vec<u8>>;

/// What a forger sends, by name.
const FORGERIES: [(&str, Forge); 5] = [
    ("not exact", |known| {
        [1, 100, 60_000]
            .map(|ahead| known.forged(RST, ahead, Sum::Right))
            .into()
    }),
    ("wrong sums", |known| {
        [
            (RST, Sum::Wrong),
            (RST | ACK, Sum::Wrong),
            (RST, Sum::Partial),
            (FIN | ACK, Sum::Wrong),
        ]
        .map(|(flags, sum)| known.forged(flags, 0, sum))
        .into()
    }),
    // One in each window of 60,000 bytes all around the circle.
    ("blind", |known| {
        (0..=u32::MAX / 60_000)
            .map(|number| known.forged(RST, number * 60_000 + 1, Sum::Right))
            .collect()
    }),
    // Beyond what a window without a scale can hold, and within 128 times as much.
    ("no scale", |known| {
        [70_000, 1 << 20, 4 << 20]
            .map(|ahead| known.forged(RST, ahead, Sum::Right))
            .into()
    }),
    ("no offload", |known| {
        [(1, Sum::Right), (0, Sum::Wrong), (0, Sum::Partial)]
            .map(|(ahead, sum)| known.forged(RST, ahead, sum))
            .into()
    }),
];

/// Connections in every way on which a forger has been; of each the forgery, what the connection
/// is, and what came of it when the outside host spoke first, later than a flow lives that has been
/// reset. All of them wait together.
static FORGED: LazyLock<Vec<(&str, String, std::io::Result<()>)>> = LazyLock::new(|| {
    let pairs = FORGERIES.map(|_| Pair::new().unwrap());
    let ctls: Vec<_> = pairs
        .iter()
        .map(|pair| Ctl::new(&pair.inside).unwrap())
        .collect();
    let mut connections = Vec::new();
    for (((name, forge), pair), ctl) in FORGERIES.iter().zip(&pairs).zip(&ctls) {
        match *name {
            "no scale" => pair.outside.set("ipv4/tcp_window_scaling", "0").unwrap(),
            "no offload" => [&pair.outside, &pair.inside]
                .iter()
                .for_each(|host| host.offload(INTERFACE, false).unwrap()),
            _ => {}
        }
        load(ctl, &format!("{REPLIES}{NEW}"));
        for addresses in BOTH {
            for from_inside in [true, false] {
                let port = if from_inside { 7_000 } else { PORT };
                let known = known(pair, addresses, from_inside, port);
                pair.send(&forge(&known)).unwrap();
                let what = if from_inside { "opened" } else { "accepted" };
                connections.push((*name, format!("{what}, {addresses:?}"), known));
            }
        }
        // A rule that lets new ones in has no part in this.
        load(ctl, REPLIES);
    }
    std::thread::sleep(FORGOTTEN);
    for (.., known) in &connections {
        // Of those that are gone nobody waits for the one after the other.
        known.inside.set_read_timeout(Some(talk::LONG / 5)).unwrap();
    }
    connections
        .into_iter()
        .map(|(name, what, mut known)| (name, what, known.is_pushed()))
        .collect()
});

/// All connections live on which this forgery was tried.
fn survive(name: &str) {
    let tried: Vec<_> = FORGED.iter().filter(|it| it.0 == name).collect();
    assert_eq!(tried.len(), 4);
    let dead: Vec<_> = tried.iter().filter(|it| it.2.is_err()).collect();
    assert!(dead.is_empty(), "{dead:?}");
}

#[test]
#[ignore = "needs root"]
fn a_reset_in_the_window_that_is_not_exact_ends_nothing() {
    survive("not exact");
}

#[test]
#[ignore = "needs root"]
fn a_reset_or_fin_with_a_wrong_checksum_ends_nothing() {
    survive("wrong sums");
}

#[test]
#[ignore = "needs root"]
fn blind_resets_end_nothing() {
    survive("blind");
}

#[test]
#[ignore = "needs root"]
fn a_peer_without_window_scaling_has_no_wider_window() {
    survive("no scale");
}

#[test]
#[ignore = "needs root"]
fn connections_without_offload_survive_forged_resets_too() {
    survive("no offload");
}

#[test]
#[ignore = "needs root"]
fn data_that_is_sent_again_with_a_fin_is_heard() {
    for from_inside in [true, false] {
        for addresses in BOTH {
            let pair = Pair::new().unwrap();
            let ctl = Ctl::new(&pair.inside).unwrap();
            load(&ctl, &format!("{SYNS}{REPLIES}"));
            let mut known = if from_inside {
                known(&pair, addresses, true, 7_000)
            } else {
                // Today's code accepts nothing under a rule for SYNs.
                load(&ctl, &format!("{NEW}{REPLIES}"));
                let known = known(&pair, addresses, false, PORT);
                load(&ctl, REPLIES);
                talk::tells(
                    &mut known.inside.try_clone().unwrap(),
                    &mut known.outside.try_clone().unwrap(),
                    b"known",
                )
                .unwrap();
                known
            };
            // The last five bytes once more, as if their acknowledgement had been lost.
            let mut segment = known.next.before(5, FIN | PSH | ACK);
            segment.data = b"hello".to_vec();
            pair.send(&[segment.frame(Pair::macs(), Sum::Right)])
                .unwrap();
            let end = known.inside.read(&mut [0; 8]);
            assert!(
                matches!(end, Ok(0)),
                "{addresses:?}, opened inside: {from_inside}: {end:?}"
            );
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_fast_open_to_a_server_that_ignores_the_data_loses_no_packet() {
    /// `MSG_FASTOPEN`, which connects by sending.
    const FAST_OPEN: u32 = 0x2000_0000;
    for (_, outside) in BOTH {
        let pair = Pair::new().unwrap();
        // Data in the SYN without a cookie, to one who does not know of such.
        pair.inside.set("ipv4/tcp_fastopen", "5").unwrap();
        pair.outside.set("ipv4/tcp_fastopen", "0").unwrap();
        talk::listen(&pair.outside, PORT).unwrap();
        let ctl = Ctl::new(&pair.inside).unwrap();
        load(&ctl, REPLIES);
        let mut tap = Tap::on(&pair.outside, INTERFACE).unwrap();
        let to = SocketAddr::new(outside, PORT);
        let family = if outside.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let mut stream = pair.inside.run(|| {
            let socket = rustix::net::socket(family, SocketType::STREAM, None).unwrap();
            sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(talk::LONG)).unwrap();
            let flags = SendFlags::from_bits_retain(FAST_OPEN);
            rustix::net::sendto(&socket, b"hello", flags, &to).unwrap();
            TcpStream::from(socket)
        });
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).unwrap();
        let syns = tap.segments(Duration::from_millis(50));
        let syns: Vec<_> = syns.iter().filter(|it| it.flags & SYN != 0).collect();
        assert!(!syns[0].data.is_empty(), "no data in the SYN: {syns:?}");
        let drops = reason(&ctl.snapshot().unwrap(), "no-match", "drop").0;
        assert_eq!((syns.len(), drops), (2, 0), "{syns:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn the_resets_of_a_closing_connection_are_no_strangers() {
    for addresses in BOTH {
        let pair = Pair::new().unwrap();
        let ctl = Ctl::new(&pair.inside).unwrap();
        load(&ctl, REPLIES);
        let known = known(&pair, addresses, true, 7_000);
        let before = rule(&ctl.snapshot().unwrap(), "replies").0;
        let (mut inside, outside) = (known.inside, known.outside);
        let mut tap = Tap::on(&pair.outside, INTERFACE).unwrap();
        // The outside host closes with bytes unread: it sends a RST, and one more for each segment
        // that was on the way.
        inside.write_all(&[0; 4_000]).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        drop(outside);
        let resets = tap.segments(Duration::from_millis(100));
        let resets: Vec<_> = resets.iter().filter(|it| it.flags & RST != 0).collect();
        assert!(!resets.is_empty());
        drop(inside);
        let mut frames: Vec<_> = resets
            .iter()
            .map(|it| it.frame(Pair::macs(), Sum::Right))
            .collect();
        // And the answer to a segment that left before the last data was acknowledged.
        frames.push(known.next.before(5, RST).frame(Pair::macs(), Sum::Right));
        pair.send(&frames).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let snapshot = ctl.snapshot().unwrap();
        assert!(rule(&snapshot, "replies").0 > before);
        assert_eq!(
            reason(&snapshot, "no-match", "drop").0,
            0,
            "{addresses:?}: late resets counted as a stranger's"
        );
    }
}
