//! Every evasion frame over a real cable, into a host that listens on TCP ports 22 and 80: nothing
//! reaches port 22, whatever its stack makes of a frame, and each frame is counted once, in the
//! reason that the table names.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::evasion::{End, POLICY_A, POLICY_B, Row, base4, base6, rows};
use firewall_tests::frames::checksum;
use firewall_tests::fuzz::Case;
use firewall_tests::netns::{INTERFACE, Namespace, Pair};
use firewall_tests::policies::parse;
use firewall_tests::raw;
use firewall_tests::tun::RawPair;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{IpAddr, TcpListener};
use std::time::Duration;

/// Packets by reason and verdict.
type Ledger = BTreeMap<(String, String), u64>;

fn counted(snapshot: &Value) -> Ledger {
    snapshot["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|view| {
            let packets = view["hits"]["total"]["packets"].as_u64()?;
            let word = |key: &str| view[key].as_str().unwrap().to_owned();
            (packets > 0).then(|| ((word("name"), word("verdict")), packets))
        })
        .collect()
}

/// A number of the host's TCP statistics, in both families of sockets.
fn statistic(host: &Namespace, name: &str) -> u64 {
    let text = host.run(|| std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap());
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let index = names.split(' ').position(|other| other == name).unwrap();
    values.split(' ').nth(index).unwrap().parse().unwrap()
}

/// Connections that the host knows on a local port, in any state but listening, and what waits
/// in its accept queue. From `/proc/net/tcp` and `tcp6`.
fn connections(host: &Namespace, port: u16) -> usize {
    let suffix = format!(":{port:04X}");
    host.run(|| {
        ["tcp", "tcp6"]
            .iter()
            .map(|name| std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap())
            .collect::<Vec<String>>()
    })
    .iter()
    .flat_map(|text| text.lines().skip(1))
    .filter(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words[1].ends_with(&suffix) && words[3] != "0A"
    })
    .count()
}

/// The frame with the addresses of the cable and a TCP checksum that the host's stack accepts,
/// where the frame is so sane that it has a place for one.
fn addressed(mut frame: Vec<u8>) -> Vec<u8> {
    // What is for the other end of the link stays so, and 802.1X that is for another group.
    let to_link =
        frame[..5] == [1, 0x80, 0xc2, 0, 0] || frame[0] & 1 == 1 && frame[12..14] == [0x88, 0x8e];
    let kept = if to_link { 6 } else { 0 };
    frame[kept..12].copy_from_slice(&Pair::macs()[kept..]);
    let mut at = 12;
    while at + 6 <= frame.len() && matches!(frame[at..at + 2], [0x81, 0] | [0x88, 0xa8] | [0x91, 0])
    {
        at += 4;
    }
    let ip = at + 2;
    let (l4, addresses) = match frame.get(at..ip + 1) {
        Some([8, 0, 0x45]) if frame.get(ip + 9) == Some(&6) => (ip + 20, ip + 12..ip + 20),
        Some([0x86, 0xdd, 0x60]) if frame.get(ip + 6) == Some(&6) => (ip + 40, ip + 8..ip + 40),
        _ => return frame,
    };
    if frame.len() < l4 + 20 {
        return frame;
    }
    frame[l4 + 16..l4 + 18].fill(0);
    let mut pseudo = frame[addresses].to_vec();
    pseudo.extend([0, 6]);
    pseudo.extend(((frame.len() - l4) as u16).to_be_bytes());
    pseudo.extend(&frame[l4..]);
    let sum = checksum(&pseudo);
    frame[l4 + 16..l4 + 18].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// A host that has the addresses to which the frames go, and listens there.
fn protect(pair: &Pair, neighbours: bool) -> [TcpListener; 2] {
    for words in [
        "addr add 198.51.100.80/32 dev lo",
        "addr add 2001:db8::2/128 dev lo",
        "route add 192.0.2.1/32 dev wan0",
        "route add 2001:db8::1/128 dev wan0",
    ] {
        pair.inside.ip(words).unwrap();
    }
    let them = ["192.0.2.1", "2001:db8::1"];
    for them in them.iter().filter(|_| neighbours) {
        let words = "lladdr 02:00:00:00:00:09 dev wan0 nud permanent";
        let words = format!("neigh replace {them} {words}");
        pair.inside.ip(&words).unwrap();
    }
    // No word of its own on the cable, so that the counts are the frames' alone.
    pair.inside.run(|| {
        [22, 80].map(|port| TcpListener::bind(("::".parse::<IpAddr>().unwrap(), port)).unwrap())
    })
}

/// Sends every frame over a cable, and looks for what came of them.
fn deliver(policy: &str, end: impl Fn(&Row) -> End) {
    let pair = Pair::new().unwrap();
    let _listeners = protect(&pair, true);
    let frames = rows().into_iter().map(|row| {
        let (verdict, reason) = end(&row);
        let end = (reason.name().to_owned(), verdict.name().to_owned());
        (end, addressed(row.frame))
    });
    deliver_over(&pair, policy, frames.collect(), |frame| frame);
}

/// The same over a cable without link headers: what is no IP does not go over it.
fn deliver_raw(policy: &str) {
    let pair = RawPair::new().unwrap();
    let _listeners = protect(&pair, false);
    let case = Case::new("raw", parse(policy).unwrap()).unwrap();
    let packets = rows().into_iter().filter_map(|row| {
        let packet = raw::bare(&addressed(row.frame))?;
        let version = packet.first().map(|first| first >> 4);
        version.filter(|version| [4, 6].contains(version))?;
        let want = raw::oracle(&case, &packet);
        let verdict = if want.passes { "pass" } else { "drop" };
        Some(((want.reason.to_owned(), verdict.to_owned()), packet))
    });
    let packets: Vec<_> = packets.collect();
    assert!(packets.len() > 100);
    deliver_over(&pair, policy, packets, |frame| raw::bare(&frame).unwrap());
}

/// Sends frames of which the ends are known. `carried` makes of an Ethernet frame what goes over the cable.
fn deliver_over(
    pair: &Pair,
    policy: &str,
    sent: Vec<((String, String), Vec<u8>)>,
    carried: impl Fn(Vec<u8>) -> Vec<u8>,
) {
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let text = format!("interfaces: [{{match: {INTERFACE}}}]\n{policy}");
    let path = ctl.policy(&text).unwrap();
    ctl.start(&path).unwrap();

    let mut want = counted(&ctl.snapshot().unwrap());
    let opened = statistic(&pair.inside, "PassiveOpens");
    let mut frames = Vec::new();
    for (end, frame) in sent {
        *want.entry(end).or_default() += 1;
        frames.push(frame);
    }
    pair.send(&frames).unwrap();
    std::thread::sleep(firewall_tests::patience(Duration::from_millis(300)));

    assert_eq!(connections(&pair.inside, 22), 0, "a frame reached port 22");
    assert_eq!(statistic(&pair.inside, "PassiveOpens"), opened);
    let got = counted(&ctl.snapshot().unwrap());
    assert_eq!(got, want);
    // What is allowed does arrive, so the listeners would have seen the others too.
    assert!(connections(&pair.inside, 80) > 0, "nothing reached port 80");

    // Without the filter, port 22 answers: the frames are good enough to reach it.
    ctl.kill().unwrap();
    ctl.ok(&["unload", "--all"]).unwrap();
    let sane = [base4(22), base6(22)].map(|frame| carried(addressed(frame)));
    pair.send(&sane).unwrap();
    std::thread::sleep(firewall_tests::patience(Duration::from_millis(200)));
    assert!(connections(&pair.inside, 22) > 0, "the listener is deaf");
}

#[test]
#[ignore = "needs root"]
fn nothing_reaches_port_22_of_a_host_that_drops_by_default() {
    deliver(POLICY_A, |row| row.under_a);
}

#[test]
#[ignore = "needs root"]
fn nothing_reaches_port_22_of_a_host_that_passes_by_default() {
    deliver(POLICY_B, |row| row.under_b);
}

#[test]
#[ignore = "needs root"]
fn nothing_reaches_port_22_over_a_tunnel_of_a_host_that_drops_by_default() {
    deliver_raw(POLICY_A);
}

#[test]
#[ignore = "needs root"]
fn nothing_reaches_port_22_over_a_tunnel_of_a_host_that_passes_by_default() {
    deliver_raw(POLICY_B);
}
