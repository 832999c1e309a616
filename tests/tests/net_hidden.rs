//! Fragment headers behind other headers, into a host that tracks connections: its stack reads them
//! otherwise than RFC 8200, so that datagrams to an open port arrive at a closed one. With the filter,
//! under every knob, nothing of them arrives anywhere.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::frames::{Frame, checksum, ipv6, udp};
use firewall_tests::netns::{INSIDE_V6, OUTSIDE_V6, Pair};
use firewall_tests::patience;
use firewall_tests::snapshot::reason;
use std::net::{Ipv6Addr, UdpSocket};
use std::process::Stdio;
use std::time::{Duration, Instant};

const CLOSED: u16 = 161;

/// By the fragment header, a UDP header to port 53; by the header before it, destination options of 16
/// bytes, of which the first two say what follows and how long they are.
const TO_PORT_53: [u8; 16] = [17, 1, 0, 53, 0, 33, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Likewise, but a routing header of type 53 with no segments left, or UDP to port 13,568.
const TO_PORT_13568: [u8; 16] = [17, 1, 53, 0, 0, 33, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

const WORDS: &[u8; 9] = b"HELLO-161";

/// A datagram with [`WORDS`] to the closed port, with its checksum.
fn datagram() -> Vec<u8> {
    let mut datagram = udp(40_000, CLOSED, WORDS);
    let mut summed = [OUTSIDE_V6.octets(), INSIDE_V6.octets()].concat();
    summed.extend([0, datagram.len() as u8, 0, 17]);
    summed.extend(&datagram);
    let sum = checksum(&summed);
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    datagram
}

fn frame(next: u8, payload: &[u8]) -> Frame {
    let (from, to) = (OUTSIDE_V6.octets(), INSIDE_V6.octets());
    let mut frame = Pair::macs().to_vec();
    frame.extend([0x86, 0xdd]);
    frame.extend(ipv6(from, to, next, 64, payload));
    frame
}

/// A fragment header in front of bytes `from..to` of what it divides.
fn piece(whole: &[u8], id: u8, from: usize, to: usize) -> Vec<u8> {
    let more = u8::from(to < whole.len());
    let mut piece = vec![17, 0, 0, from as u8 | more, 0, 0, 0, id];
    piece.extend(&whole[from..to]);
    piece
}

/// What hides the fragment header: its name, the number of the first header, the headers, and the
/// two-faced bytes behind.
fn covers() -> Vec<(&'static str, u8, Vec<u8>, [u8; 16])> {
    let options = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
    let routing = [44, 0, 53, 0, 0, 0, 0, 0].to_vec();
    vec![
        ("options", 60, options(44).to_vec(), TO_PORT_53),
        (
            "options twice",
            60,
            [options(60), options(44)].concat(),
            TO_PORT_53,
        ),
        (
            "hop-by-hop and options",
            0,
            [options(60), options(44)].concat(),
            TO_PORT_53,
        ),
        ("routing", 43, routing.clone(), TO_PORT_13568),
        (
            "hop-by-hop and routing",
            0,
            [&options(43)[..], &routing].concat(),
            TO_PORT_13568,
        ),
    ]
}

/// Each cover before an atomic fragment, and before two fragments in both orders.
fn cases() -> Vec<(String, Vec<Frame>)> {
    let mut cases = Vec::new();
    for (number, (name, next, headers, faces)) in covers().into_iter().enumerate() {
        let whole = [&faces[..], &datagram()].concat();
        let id = 3 * number as u8;
        let send = |id, from, to| {
            let fragment = piece(&whole, id, from, to);
            frame(next, &[&headers[..], &fragment].concat())
        };
        let end = whole.len();
        cases.push((format!("{name}, atomic"), vec![send(id, 0, end)]));
        cases.push((
            format!("{name}, in two"),
            vec![send(id + 1, 0, 24), send(id + 1, 24, end)],
        ));
        cases.push((
            format!("{name}, in two, backwards"),
            vec![send(id + 2, 24, end), send(id + 2, 0, 24)],
        ));
    }
    cases
}

/// A rule that looks at state: the host puts fragments together before anything else sees them.
fn track_connections(pair: &Pair) {
    let rules = "table inet fwt { chain in { type filter hook input priority 0; policy accept;\n\
                 ct state established counter accept\n}\n}\n";
    let file = std::env::temp_dir().join(firewall_tests::netns::unique("nft"));
    std::fs::write(&file, rules).unwrap();
    let mut command = pair.inside.command("nft");
    let output = command.arg("-f").arg(&file).stdin(Stdio::null()).output();
    std::fs::remove_file(&file).unwrap();
    let output = output.unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// How many datagrams the closed port hears of when the frames come.
fn heard(pair: &Pair, listener: &UdpSocket, frames: &[Frame]) -> usize {
    pair.send(frames).unwrap();
    std::thread::sleep(patience(Duration::from_millis(50)));
    received(listener)
}

fn received(listener: &UdpSocket) -> usize {
    let mut bytes = [0; 100];
    let mut count = 0;
    while let Ok(length) = listener.recv(&mut bytes) {
        assert_eq!(&bytes[..length], WORDS);
        count += 1;
    }
    count
}

/// As [`heard`], of what is to arrive: waits for it.
fn heard_at_last(pair: &Pair, listener: &UdpSocket, frames: &[Frame]) -> usize {
    let until = Instant::now() + patience(Duration::from_secs(5));
    let mut count = heard(pair, listener, frames);
    while count == 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
        count = received(listener);
    }
    count
}

#[test]
#[ignore = "needs root"]
fn nothing_arrives_by_a_hidden_fragment_header() {
    let pair = Pair::new().unwrap();
    track_connections(&pair);
    let listener = pair
        .inside
        .run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, CLOSED)).unwrap());
    listener.set_nonblocking(true).unwrap();

    // Without the filter, the host reads them as the sender wants.
    let plain = [frame(17, &datagram())];
    assert_eq!(heard_at_last(&pair, &listener, &plain), 1);
    for (name, frames) in cases() {
        assert_eq!(
            heard_at_last(&pair, &listener, &frames),
            1,
            "{name}: this host is not fooled, and the rest of the test says nothing"
        );
    }

    let knobs = [
        "fragments: drop",
        "fragments: pass",
        "fragments: follow-first",
        "fragments: pass, malformed: pass",
        "fragments: pass, tunnels: inner, ipv6_ext_max: 16",
    ];
    for (default, knobs) in knobs.map(|knobs| ("drop", knobs)).into_iter().chain([
        ("pass", "fragments: pass, malformed: pass"),
        ("pass", "fragments: follow-first"),
    ]) {
        let mut ctl = Ctl::new(&pair.inside).unwrap();
        let policy = format!(
            "version: 1\ninterfaces: [{{match: wan0}}]\ndefault: {{in: {default}}}\n\
             packet: {{{knobs}}}\nrules:\n\
             - {{name: open, proto: udp, port: [53, 13568], action: pass}}\n\
             - {{name: closed, proto: udp, port: {CLOSED}, action: drop}}\n"
        );
        let path = ctl.policy(&policy).unwrap();
        ctl.start(&path).unwrap();
        let mut sent = 0;
        for (name, frames) in cases() {
            let got = heard(&pair, &listener, &frames);
            assert_eq!(got, 0, "{name}, in: {default}, {knobs}");
            sent += frames.len() as u64;
        }
        let snapshot = ctl.snapshot().unwrap();
        assert_eq!(
            reason(&snapshot, "frag-hidden", "drop").0,
            sent,
            "in: {default}, {knobs}"
        );
    }
}
