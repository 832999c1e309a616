//! `syn_protect` in the loaded program, asked segment by segment in a namespace of its own: the
//! cookies are the kernel's, and nothing is answered that is not for a socket of this host.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_common::reason::Reason;
use firewall_engine::kernel::program::Loaded;
use firewall_policy::compile::compile;
use firewall_tests::frames::{Frame, Ipv4, checksum, ethernet, ipv6, tagged};
use firewall_tests::netns::Namespace;
use firewall_tests::policies::parse;
use std::net::TcpListener;

const POLICY: &str = "\
version: 1
default: {in: drop}
rules:
  - {name: web, proto: tcp, port: [80, 81], syn_protect: auto, action: pass}
";

const CLIENT4: [u8; 4] = [198, 18, 0, 9];
const HOST4: [u8; 4] = [192, 0, 2, 80];
const OTHER4: [u8; 4] = [192, 0, 2, 81];
const CLIENT6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
const HOST6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80];

/// To a port of the host, or over the host.
#[derive(Clone, Copy)]
enum To {
    V4([u8; 4]),
    V6,
}

/// A segment from the client.
fn segment(to: To, port: u16, flags: u8, sequence: u32, acknowledged: u32) -> Frame {
    segment_from(CLIENT4, to, port, flags, sequence, acknowledged)
}

/// A segment from a client, over IPv4 from that address; a SYN has options, as those of real clients.
fn segment_from(
    client: [u8; 4],
    to: To,
    port: u16,
    flags: u8,
    sequence: u32,
    acknowledged: u32,
) -> Frame {
    let options: &[u8] = match flags & 2 {
        0 => &[],
        _ => &[
            2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7,
        ],
    };
    let mut segment = 40_000u16.to_be_bytes().to_vec();
    segment.extend(port.to_be_bytes());
    segment.extend(sequence.to_be_bytes());
    segment.extend(acknowledged.to_be_bytes());
    segment.extend([
        ((20 + options.len()) / 4 * 16) as u8,
        flags,
        0xff,
        0xff,
        0,
        0,
        0,
        0,
    ]);
    segment.extend(options);
    let length = segment.len() as u8;
    let pseudo = match to {
        To::V4(to) => [&client[..], &to, &[0, 6, 0, length]].concat(),
        To::V6 => [&CLIENT6[..], &HOST6, &[0, 0, 0, length, 0, 0, 0, 6]].concat(),
    };
    let sum = checksum(&[pseudo, segment.clone()].concat());
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    match to {
        To::V4(to) => ethernet(0x0800, &Ipv4::new(client, to, 6).packet(&segment)),
        To::V6 => ethernet(0x86dd, &ipv6(CLIENT6, HOST6, 6, 64, &segment)),
    }
}

/// The cookie in an answer to `segment`, of which everything else is checked.
fn cookie(answer: &[u8], syn: &[u8], to: To, tags: usize) -> u32 {
    let start = 14 + tags * 4;
    assert_eq!(answer[..6], syn[6..12]);
    assert_eq!(answer[6..12], syn[..6]);
    assert_eq!(answer[12..start], syn[12..start]);
    let (tcp, pseudo) = match to {
        To::V4(host) => {
            let ip = &answer[start..start + 20];
            assert_eq!((checksum(ip), ip[8], ip[9]), (0, 64, 6));
            assert_eq!((&ip[12..16], &ip[16..20]), (&host[..], &CLIENT4[..]));
            assert_eq!(ip[2..4], [0, 44]);
            (start + 20, [&ip[12..20], &[0, 6, 0, 24]].concat())
        }
        To::V6 => {
            let ip = &answer[start..start + 40];
            assert_eq!(ip[4..8], [0, 24, 6, 64]);
            assert_eq!((&ip[8..24], &ip[24..40]), (&HOST6[..], &CLIENT6[..]));
            (
                start + 40,
                [&ip[8..40], &[0, 0, 0, 24, 0, 0, 0, 6]].concat(),
            )
        }
    };
    let segment = &answer[tcp..tcp + 24];
    assert_eq!(
        checksum(&[pseudo, segment.to_vec()].concat()),
        0,
        "the checksum"
    );
    assert_eq!(
        segment[..4],
        [syn[tcp + 2], syn[tcp + 3], syn[tcp], syn[tcp + 1]]
    );
    let number = |at: usize| u32::from_be_bytes(segment[at..at + 4].try_into().unwrap());
    let sequence = u32::from_be_bytes(syn[tcp + 4..tcp + 8].try_into().unwrap());
    assert_eq!(number(8), sequence + 1);
    assert_eq!(segment[12..16], [0x60, 0x12, 0xff, 0xff]);
    assert_eq!(segment[20..22], [2, 4], "the largest segment");
    let largest = u16::from_be_bytes([segment[22], segment[23]]);
    assert!((500..=1_460).contains(&largest), "{largest}");
    number(4)
}

fn load() -> Loaded {
    let policy = parse(POLICY).unwrap();
    Loaded::load(&compile(&policy, &[0]).unwrap(), 1, &[]).unwrap()
}

/// A namespace with the host's addresses, and a listener on port 80 of all of them.
fn host(cookies: &str) -> (Namespace, TcpListener) {
    let host = Namespace::new("syn").unwrap();
    host.ip("addr add 192.0.2.80/32 dev lo").unwrap();
    host.ip("addr add 2001:db8:2::80/128 dev lo nodad").unwrap();
    let listener = host.run(|| {
        std::fs::write("/proc/sys/net/ipv4/tcp_syncookies", cookies).unwrap();
        TcpListener::bind("[::]:80").unwrap()
    });
    (host, listener)
}

#[test]
#[ignore = "needs root"]
fn a_syn_is_answered_with_the_kernels_cookie_and_the_cookie_lets_in() {
    // 2: the kernel gives a cookie for every SYN, not only when its queue is full.
    let (host, _listener) = host("2");
    host.run(|| {
        let loaded = load();
        let before_any = segment(To::V4(HOST4), 80, 0x10, 2, 3);
        let run = loaded.run(&before_any, 1, None).unwrap();
        assert_eq!(
            run.verdict.name(),
            "pass",
            "nothing is dropped in quiet times"
        );
        for (to, tags) in [(To::V4(HOST4), 0), (To::V6, 0), (To::V4(HOST4), 2)] {
            let tags = &[(0x88a8, 7), (0x8100, 8)][..tags];
            let syn = tagged(&segment(to, 80, 2, 1_000, 0), tags);
            let (run, answer) = loaded.run_and_read(&syn, None).unwrap();
            assert!(run.answers, "{run:?}");
            let cookie = cookie(&answer, &syn, to, tags.len());
            let answer_to = |acknowledged: u32| {
                let ack = tagged(&segment(to, 80, 0x10, 1_001, acknowledged), tags);
                loaded.run(&ack, 1, None).unwrap()
            };
            let right = answer_to(cookie + 1);
            assert_eq!((right.verdict.name(), right.answers), ("pass", false));
            // (The neighbours of a cookie can be cookies of other segment sizes.)
            for wrong in [!cookie, cookie ^ 0x10_0000, 0, cookie ^ 0x8000_0000] {
                let wrong = answer_to(wrong);
                assert_eq!((wrong.verdict.name(), wrong.answers), ("drop", false));
            }
        }
        let reasons = loaded.counters().reasons;
        let of = |reason: Reason, verdict: usize| reasons[usize::from(reason.0)][verdict].packets;
        assert_eq!(
            (of(Reason::SYN_COOKIE, 1), of(Reason::SYN_FORGED, 1)),
            (3, 12)
        );
        assert_eq!(of(Reason::RULE, 0), 4);
    });
}

#[test]
#[ignore = "needs root"]
fn cookies_of_one_listener_say_nothing_of_another_one() {
    let (host, _listener) = host("2");
    host.ip("addr add 192.0.2.81/32 dev lo").unwrap();
    host.run(|| {
        let _other = TcpListener::bind("[::]:81").unwrap();
        let loaded = load();
        let wrong = |to: To, port: u16| {
            let ack = segment(to, port, 0x10, 1_001, 0x1234_5678);
            loaded.run(&ack, 1, None).unwrap().verdict.name()
        };
        let syn = segment(To::V4(HOST4), 80, 2, 1_000, 0);
        assert!(loaded.run(&syn, 1, None).unwrap().answers);
        assert_eq!(wrong(To::V4(HOST4), 80), "drop");
        // Another port, and other addresses of the same one.
        for (to, port) in [(To::V4(HOST4), 81), (To::V4(OTHER4), 80), (To::V6, 80)] {
            assert_eq!(wrong(to, port), "pass", "port {port}");
        }
        let syn = segment(To::V6, 81, 2, 1_000, 0);
        assert!(loaded.run(&syn, 1, None).unwrap().answers);
        assert_eq!(
            (wrong(To::V6, 81), wrong(To::V4(HOST4), 81)),
            ("drop", "pass")
        );
    });
}

#[test]
#[ignore = "needs root"]
fn what_no_socket_of_this_host_listens_for_goes_on() {
    let (host, _listener) = host("2");
    host.run(|| {
        let loaded = load();
        let passes = |frame: &[u8]| {
            let (run, left) = loaded.run_and_read(frame, None).unwrap();
            run.verdict.name() == "pass" && left == frame
        };
        // Nobody listens there.
        assert!(passes(&segment(To::V4(HOST4), 81, 2, 1, 0)));
        // A router: the listener takes packets to every address, and this one is not the router's.
        for name in ["all", "lo"] {
            std::fs::write(format!("/proc/sys/net/ipv4/conf/{name}/forwarding"), "1").unwrap();
        }
        assert!(!passes(&segment(To::V4(HOST4), 80, 2, 1, 0)));
        assert!(passes(&segment(To::V4(HOST4), 81, 0x10, 1, 9)));
    });
    host.ip("route add 192.0.2.81/32 dev lo").unwrap();
    host.run(|| {
        let loaded = load();
        let syn = segment(To::V4(OTHER4), 80, 2, 1, 0);
        assert!(!loaded.run(&syn, 1, None).unwrap().answers);
    });
}

/// What the kernel would drop unseen gets no cookie.
#[test]
#[ignore = "needs root"]
fn broken_syns_and_impossible_sources_get_no_answer() {
    let (host, _listener) = host("2");
    host.run(|| {
        let loaded = load();
        let answers = |syn: &Frame| loaded.run(syn, 1, None).unwrap().answers;
        for (to, start) in [(To::V4(HOST4), 34), (To::V6, 54)] {
            let whole = segment(to, 80, 2, 1_000, 0);
            assert!(answers(&whole));
            let mut broken = whole.clone();
            broken[start + 16] ^= 1;
            assert!(!answers(&broken), "the checksum of the segment");
        }
        let mut broken = segment(To::V4(HOST4), 80, 2, 1_000, 0);
        broken[24] ^= 1;
        assert!(!answers(&broken), "the checksum of the header");
        for source in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], HOST4] {
            let syn = segment_from(source, To::V4(HOST4), 80, 2, 1_000, 0);
            assert!(!answers(&syn), "{source:?}");
        }
    });
}

#[test]
#[ignore = "needs root"]
fn while_the_queue_has_room_a_syn_goes_on() {
    let (host, _listener) = host("1");
    host.run(|| {
        let loaded = load();
        let syn = segment(To::V4(HOST4), 80, 2, 1, 0);
        let run = loaded.run(&syn, 100, None).unwrap();
        assert_eq!((run.verdict.name(), run.answers), ("pass", false));
        let counted = loaded.counters().reasons[usize::from(Reason::RULE.0)][0];
        assert_eq!(counted.packets, 100);
    });
}
