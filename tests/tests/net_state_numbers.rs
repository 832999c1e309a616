//! What the endpoints' own checks say of a segment is theirs to say: old timestamps (PAWS, RFC 7323),
//! and sums that a virtual cable leaves to the card.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_engine::engine::Engine;
use firewall_engine::kernel::flows::FlowState;
use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{
    INSIDE_V4, INSIDE_V6, INTERFACE, Namespace, OUTSIDE_V4, OUTSIDE_V6, Pair, put,
};
use firewall_tests::patience;
use firewall_tests::routed::{FAR_INTERFACE, FAR_V4, FAR_V6, Routed};
use firewall_tests::segments::{ACK, FIN, PSH, Segment, Sum, Tap};
use firewall_tests::talk;
use rustix::net::sockopt;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

const PORT: u16 = 80;

const POLICY: &str = "\
version: 1
default: {in: drop}
rules:
  - {name: replies, state: established, action: pass}
  - {name: opens, proto: tcp, port: 80, state: new, action: pass}
";

fn load(ctl: &Ctl<'_>, interfaces: &[&str]) {
    let file = ctl.policy(POLICY).unwrap();
    let mut words = vec!["load", "-f", file.to_str().unwrap()];
    words.extend(interfaces.iter().flat_map(|it| ["-i", it]));
    ctl.ok(&words).unwrap();
}

/// A counter of `/proc/net/netstat`.
fn counter(host: &Namespace, name: &str) -> u64 {
    let text = host.run(|| std::fs::read_to_string("/proc/thread-self/net/netstat").unwrap());
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut both = names.split_whitespace().zip(values.split_whitespace());
    let (_, value) = both.find(|(it, _)| *it == name).unwrap();
    value.parse().unwrap()
}

/// The same with a timestamp of a minute and more ago.
fn old(segment: &Segment) -> Segment {
    let mut segment = segment.clone();
    let option = segment.options.windows(2).position(|it| it == [8, 10]);
    let at = option.expect("TCP has timestamps") + 2;
    let value = u32::from_be_bytes(segment.options[at..at + 4].try_into().unwrap());
    let value = value.wrapping_sub(100_000);
    segment.options[at..at + 4].copy_from_slice(&value.to_be_bytes());
    segment
}

/// Old segments of `from` to a connection, put on the cable of a host; the one that is meant gets and
/// counts them, and the connection goes on.
fn old_segments(
    (cable, macs): (&Namespace, [u8; 12]),
    (mut from, mut to): (TcpStream, TcpStream),
    receiver: &Namespace,
) {
    let mut tap = Tap::on(cable, INTERFACE).unwrap();
    talk::tells(&mut to, &mut from, b"hello").unwrap();
    talk::tells(&mut from, &mut to, b"hello").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let [own, other] = [&from, &to].map(|end| {
        let address = end.local_addr().unwrap();
        SocketAddr::new(address.ip().to_canonical(), address.port())
    });
    let said = tap.segments(Duration::from_millis(100));
    let of = |from, to| said.iter().rev().find(|it| it.goes(from, to)).unwrap();
    let (last, answer) = (of(own, other), of(other, own));
    // Data, and an end, that the receiver would take but for their time.
    let mut next = old(last);
    (next.seq, next.ack, next.flags) = (last.end(), answer.end(), ACK | PSH);
    next.data = vec![7; 100];
    let mut end = next.clone();
    end.flags = ACK | FIN;
    let before = counter(receiver, "PAWSEstab");
    let frames = [&next, &end, &next].map(|it| it.frame(macs, Sum::Right));
    cable.run(|| put(INTERFACE, &frames)).unwrap();
    std::thread::sleep(patience(Duration::from_millis(200)));
    let counted = counter(receiver, "PAWSEstab") - before;
    assert_eq!(counted, frames.len() as u64, "{own} to {other}");
    talk::tells(&mut to, &mut from, b"still").unwrap();
    talk::tells(&mut from, &mut to, b"still").unwrap();
}

#[test]
#[ignore = "needs root"]
fn a_host_is_asked_about_old_timestamps() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(&ctl, &[INTERFACE]);
    let cable = (&pair.outside, Pair::macs());
    for (inside, outside) in [
        (IpAddr::from(INSIDE_V4), IpAddr::from(OUTSIDE_V4)),
        (INSIDE_V6.into(), OUTSIDE_V6.into()),
    ] {
        let listener = talk::listener(&pair.inside, PORT).unwrap();
        let ends = talk::ends(&pair.outside, (inside, PORT), &listener).unwrap();
        old_segments(cable, ends, &pair.inside);
        let listener = talk::listener(&pair.outside, PORT).unwrap();
        let (client, server) = talk::ends(&pair.inside, (outside, PORT), &listener).unwrap();
        old_segments(cable, (server, client), &pair.inside);
    }
}

#[test]
#[ignore = "needs root"]
fn a_host_behind_a_router_is_asked_about_old_timestamps() {
    let net = Routed::new(1_500).unwrap();
    let ctl = Ctl::new(net.router()).unwrap();
    load(&ctl, &[INTERFACE, FAR_INTERFACE]);
    let macs = Pair::macs();
    let macs: [u8; 12] = [&macs[6..], &macs[..6]].concat().try_into().unwrap();
    let cable = (&net.pair.inside, macs);
    for (wan, lan) in [
        (IpAddr::from(INSIDE_V4), IpAddr::from(FAR_V4)),
        (INSIDE_V6.into(), FAR_V6.into()),
    ] {
        let listener = talk::listener(&net.far, PORT).unwrap();
        let ends = talk::ends(&net.pair.inside, (lan, PORT), &listener).unwrap();
        old_segments(cable, ends, &net.far);
        let listener = talk::listener(&net.pair.inside, PORT).unwrap();
        let (client, server) = talk::ends(&net.far, (wan, PORT), &listener).unwrap();
        old_segments(cable, (server, client), &net.far);
    }
}

/// A real RST that is forwarded ends its flow, whether its sum is whole or for the card to complete.
#[test]
#[ignore = "needs root"]
fn a_real_reset_ends_a_forwarded_flow_with_whole_and_partial_sums() {
    for offload in [true, false] {
        let net = Routed::new(1_500).unwrap();
        for (host, interface) in [(&net.pair.inside, INTERFACE), (&net.far, FAR_INTERFACE)] {
            host.offload(interface, offload).unwrap();
            net.router().offload(interface, offload).unwrap();
        }
        let ctl = Ctl::new(net.router()).unwrap();
        load(&ctl, &[INTERFACE, FAR_INTERFACE]);
        for (lan, by_wan) in [
            (IpAddr::from(FAR_V4), true),
            (FAR_V4.into(), false),
            (FAR_V6.into(), true),
            (FAR_V6.into(), false),
        ] {
            let listener = talk::listener(&net.far, PORT).unwrap();
            let (mut wan, mut far) = talk::ends(&net.pair.inside, (lan, PORT), &listener).unwrap();
            talk::tells(&mut wan, &mut far, b"hello").unwrap();
            talk::tells(&mut far, &mut wan, b"hello").unwrap();
            let port = wan.local_addr().unwrap().port();
            let resets = if by_wan { wan } else { far };
            sockopt::set_socket_linger(&resets, Some(Duration::ZERO)).unwrap();
            drop(resets);
            std::thread::sleep(patience(Duration::from_millis(100)));
            let table = Engine::new(ctl.pins()).flows().unwrap().unwrap();
            let flows = table.list();
            let of: Vec<FlowState> = flows
                .iter()
                .filter(|it| it.local_port == port || it.remote_port == port)
                .map(|it| it.state)
                .collect();
            // As it goes to the one side, and to the other.
            let what = format!("{lan}, offload {offload}, by the internet {by_wan}");
            assert_eq!(of, [FlowState::Reset; 2], "{what}");
        }
    }
}
