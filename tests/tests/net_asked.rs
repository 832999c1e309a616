//! Essential traffic that strangers send as easily as those who have been asked: DHCP answers come in
//! after a request alone, ICMP errors about what has been sent; and within limits of their own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::frames::{self, Frame, Ipv4, Sum, seal, tagged, udp};
use firewall_tests::netns::{
    INSIDE_V4, INSIDE_V6, INTERFACE, Namespace, OUTSIDE_V4, OUTSIDE_V6, Pair, put,
};
use firewall_tests::routed::{FAR_INTERFACE, FAR_V4, FAR_V6, Routed};
use firewall_tests::snapshot::reason;
use firewall_tests::talk;
use rustix::net::{AddressFamily, SocketType, ipproto, sendto, socket};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Nothing looks at state.
const PLAIN: &str = "version: 1\ndefault: {in: drop}\nrules:\n  \
    - {name: all-tcp, proto: tcp, action: pass}\n";

/// Connections are kept track of, and no rule lets ICMP errors in.
const TRACKS: &str = "version: 1\ndefault: {in: drop}\nrules:\n  \
    - {name: replies, state: established, proto: [tcp, udp], action: pass}\n";

/// The same, and an open service, whose answers make no flow.
const SERVES: &str = "version: 1\ndefault: {in: drop}\nrules:\n  \
    - {name: replies, state: established, proto: [tcp, udp], action: pass}\n  \
    - {name: dns, proto: udp, port: 53, action: pass}\n";

fn load(ctl: &Ctl<'_>, interfaces: &[&str], text: &str) {
    let file = ctl.policy(text).unwrap();
    let mut words = vec!["load", "-f", file.to_str().unwrap()];
    words.extend(interfaces.iter().flat_map(|name| ["-i", name]));
    ctl.ok(&words).unwrap();
    // The cable is plugged in.
    std::thread::sleep(Duration::from_millis(700));
}

/// What `send` makes pass and drop for these reasons.
fn counts<const N: usize>(
    ctl: &Ctl<'_>,
    reasons: [(&str, &str); N],
    send: impl FnOnce(),
) -> [u64; N] {
    let now = || {
        let snapshot = ctl.snapshot().unwrap();
        reasons.map(|(name, verdict)| reason(&snapshot, name, verdict).0)
    };
    let before = now();
    send();
    std::thread::sleep(Duration::from_millis(100));
    let after = now();
    std::array::from_fn(|i| after[i] - before[i])
}

fn enclose(ethertype: u16, packet: &[u8]) -> Frame {
    let mut frame = frames::ethernet(ethertype, packet);
    frame[..12].copy_from_slice(&Pair::macs());
    frame
}

/// From this host, to everybody.
fn broadcast(ethertype: u16, packet: &[u8]) -> Frame {
    let mut frame = frames::ethernet(ethertype, packet);
    frame[..6].copy_from_slice(&[0xff; 6]);
    frame[6..12].copy_from_slice(&Pair::macs()[..6]);
    frame
}

const ALL_SERVERS: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2];
const LINK_LOCAL: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80];

/// As clients ask that have no address so far.
fn request_v4() -> Frame {
    broadcast(
        0x0800,
        &Ipv4::new([0; 4], [255; 4], 17).packet(&udp(68, 67, &[0; 240])),
    )
}

fn request_v6() -> Frame {
    let ask = udp(546, 547, &[0; 40]);
    broadcast(0x86dd, &frames::ipv6(LINK_LOCAL, ALL_SERVERS, 17, 1, &ask))
}

fn offer() -> Frame {
    let offer = udp(67, 68, &[0; 240]);
    enclose(
        0x0800,
        &Ipv4::new(OUTSIDE_V4.octets(), [255; 4], 17).packet(&offer),
    )
}

/// Of a server with an address of any network, from any port.
fn advertise(from: Ipv6Addr, port: u16) -> Frame {
    let answer = udp(port, 546, &[0; 40]);
    let packet = frames::ipv6(from.octets(), LINK_LOCAL, 17, 64, &answer);
    enclose(0x86dd, &packet)
}

fn advertises() -> Vec<Frame> {
    let near = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
    [(near, 547), (near, 40_000), (OUTSIDE_V6, 547)]
        .map(|(from, port)| advertise(from, port))
        .into()
}

const DHCP: [(&str, &str); 2] = [("dhcp", "pass"), ("no-match", "drop")];

#[test]
#[ignore = "needs root"]
fn a_dhcp_answer_comes_in_after_a_request_alone() {
    for policy in [PLAIN, TRACKS] {
        let pair = Pair::new().unwrap();
        let ctl = Ctl::new(&pair.inside).unwrap();
        load(&ctl, &[INTERFACE], policy);
        let sends = |frames: &[Frame]| counts(&ctl, DHCP, || pair.send(frames).unwrap());
        assert_eq!(sends(&[offer()]), [0, 1], "{policy}");
        assert_eq!(sends(&advertises()), [0, 3]);

        // By a raw socket, as dhclient and others ask. Each family has asked for its own.
        pair.send_from_inside(&[request_v4()]).unwrap();
        assert_eq!(sends(&[offer(), offer()]), [2, 0]);
        assert_eq!(sends(&advertises()), [0, 3]);
        pair.send_from_inside(&[request_v6()]).unwrap();
        assert_eq!(sends(&advertises()), [3, 0]);
        // To an address of this host that other networks reach.
        let answer = udp(547, 546, &[0; 40]);
        let global = frames::ipv6(OUTSIDE_V6.octets(), INSIDE_V6.octets(), 17, 64, &answer);
        assert_eq!(sends(&[enclose(0x86dd, &global)]), [0, 1]);
        // No answer ends it, nor does the time in which an answered question is forgotten; and it is
        // there under the next policy.
        std::thread::sleep(Duration::from_secs(5));
        for next in [policy, PLAIN, TRACKS, PLAIN] {
            load(&ctl, &[INTERFACE], &format!("{next}# again\n"));
            assert_eq!(sends(&[offer()]), [1, 0], "{next}");
            assert_eq!(sends(&advertises()), [3, 0], "{next}");
        }
    }
}

/// A request by a socket of the kernel, as renewals go; and what is no request.
#[test]
#[ignore = "needs root"]
fn only_a_clients_request_is_one() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(&ctl, &[INTERFACE], PLAIN);
    let sends = |frame: Frame| counts(&ctl, DHCP, || pair.send(&[frame]).unwrap());
    let ask = |from: (IpAddr, u16), to: (IpAddr, u16)| {
        pair.inside.run(|| {
            let socket = UdpSocket::bind(from).unwrap();
            socket.send_to(&[0; 240], to).unwrap();
        });
    };
    let (here, there) = (IpAddr::from(INSIDE_V4), IpAddr::from(OUTSIDE_V4));
    for (from, to) in [(67, 68), (67, 67), (68, 68), (69, 67), (546, 547)] {
        ask((here, from), (there, to));
    }
    let (here6, there6) = (IpAddr::from(INSIDE_V6), IpAddr::from(OUTSIDE_V6));
    ask((here6, 68), (there6, 67));
    assert_eq!(sends(offer()), [0, 1]);
    ask((here, 68), (there, 67));
    assert_eq!(sends(offer()), [1, 0]);
    assert_eq!(sends(advertise(OUTSIDE_V6, 547)), [0, 1]);
    ask((here6, 546), (there6, 547));
    assert_eq!(sends(advertise(OUTSIDE_V6, 547)), [1, 0]);
}

#[test]
#[ignore = "needs root"]
fn vlans_and_bridges_ask_by_the_interface_that_they_leave_by() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(&ctl, &[INTERFACE], PLAIN);
    let sends = |frame: Frame| counts(&ctl, DHCP, || pair.send(&[frame]).unwrap());
    let answer = || tagged(&offer(), &[(0x8100, 7)]);
    assert_eq!(sends(answer()), [0, 1]);
    // (Of a VLAN device the kernel keeps the tag beside the packet, until it is behind the program.)
    let request = tagged(&request_v4(), &[(0x8100, 7)]);
    pair.send_from_inside(&[request]).unwrap();
    assert_eq!(sends(answer()), [1, 0]);

    // A bridge asks, and a machine behind it.
    for by in ["br0", "guest"] {
        let pair = Pair::new().unwrap();
        let guest = Namespace::new("guest").unwrap();
        let inside = &pair.inside;
        inside.ip("link add br0 type bridge").unwrap();
        inside
            .ip(&format!(
                "link add tap0 type veth peer name guest netns {}",
                guest.name()
            ))
            .unwrap();
        for port in [INTERFACE, "tap0"] {
            inside.ip(&format!("link set {port} master br0")).unwrap();
            inside.ip(&format!("link set {port} up")).unwrap();
        }
        inside.ip("link set br0 up").unwrap();
        guest.ip("link set guest up").unwrap();
        let ctl = Ctl::new(inside).unwrap();
        load(&ctl, &[INTERFACE], PLAIN);
        let sends = |frame: Frame| counts(&ctl, DHCP, || pair.send(&[frame]).unwrap());
        assert_eq!(sends(offer()), [0, 1], "{by}");
        let asks = if by == "br0" { inside } else { &guest };
        asks.run(|| put(by, &[request_v4()])).unwrap();
        assert_eq!(sends(offer()), [1, 0], "{by}");
    }

    // By the other interface nobody has asked.
    let net = Routed::new(1_500).unwrap();
    let ctl = Ctl::new(net.router()).unwrap();
    load(&ctl, &[INTERFACE, FAR_INTERFACE], PLAIN);
    net.router()
        .run(|| put(FAR_INTERFACE, &[request_v4()]))
        .unwrap();
    let sends = |host: &Namespace, interface: &str| {
        counts(&ctl, DHCP, || {
            host.run(|| put(interface, &[offer()])).unwrap();
        })
    };
    assert_eq!(sends(&net.pair.inside, INTERFACE), [0, 1]);
    assert_eq!(sends(&net.far, FAR_INTERFACE), [1, 0]);
}

const ERROR: [(&str, &str); 2] = [("icmp-error", "pass"), ("no-match", "drop")];

/// What was sent, as an error quotes it: protocol, and the first bytes behind the IP header.
type Sent = (u8, Vec<u8>);

fn ports(proto: u8, local: u16, remote: u16, sequence: u32) -> Sent {
    let [local, remote] = [local, remote].map(u16::to_be_bytes);
    (
        proto,
        [&local[..], &remote, &sequence.to_be_bytes()].concat(),
    )
}

fn echo(is_v6: bool, identifier: u16) -> Sent {
    let [high, low] = identifier.to_be_bytes();
    let kind = if is_v6 { 128 } else { 8 };
    let proto = if is_v6 { 58 } else { 1 };
    (proto, vec![kind, 0, 0, 0, high, low, 0, 1])
}

/// A packet too big, from `there` to `here`, which is said to have sent this.
fn too_big(here: IpAddr, there: IpAddr, (proto, sent): &Sent) -> Vec<u8> {
    match (here, there) {
        (IpAddr::V4(here), IpAddr::V4(there)) => {
            let about = Ipv4::new(here.octets(), there.octets(), *proto).packet(sent);
            let mut error = [&[3, 4, 0, 0, 0, 0, 2, 0x58][..], &about].concat();
            let header = Ipv4::new(there.octets(), here.octets(), 1);
            seal(&mut error, 1, &header.src, &header.dst, Sum::Right);
            enclose(0x0800, &header.packet(&error))
        }
        (IpAddr::V6(here), IpAddr::V6(there)) => {
            let about = frames::ipv6(here.octets(), there.octets(), *proto, 64, sent);
            let mut error = [&[2, 0, 0, 0, 0, 0, 5, 0x14][..], &about].concat();
            let from = there.octets();
            seal(&mut error, 58, &from, &here.octets(), Sum::Right);
            enclose(0x86dd, &frames::ipv6(from, here.octets(), 58, 64, &error))
        }
        _ => panic!("two families"),
    }
}

const ENDS: [(IpAddr, IpAddr); 2] = [
    (IpAddr::V4(INSIDE_V4), IpAddr::V4(OUTSIDE_V4)),
    (IpAddr::V6(INSIDE_V6), IpAddr::V6(OUTSIDE_V6)),
];

/// A host that answers no ping: what has been answered is soon forgotten.
fn is_silent(host: &Namespace) {
    for file in ["ipv4/icmp_echo_ignore_all", "ipv6/icmp/echo_ignore_all"] {
        host.set(file, "1").unwrap();
    }
}

/// Sends an echo request by a raw socket.
fn ping(host: &Namespace, to: IpAddr, identifier: u16) {
    let (_, message) = echo(to.is_ipv6(), identifier);
    let mut message = [&message[..], &[0; 8]].concat();
    host.run(|| {
        let (family, protocol) = match to {
            IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
            IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
        };
        if to.is_ipv4() {
            seal(&mut message, 1, &[], &[], Sum::Right);
        }
        let raw = socket(family, SocketType::RAW, Some(protocol)).unwrap();
        let flags = rustix::net::SendFlags::empty();
        sendto(&raw, &message, flags, &SocketAddr::from((to, 0))).unwrap();
    });
}

#[test]
#[ignore = "needs root"]
fn an_error_comes_in_about_what_this_host_has_sent() {
    for policy in [PLAIN, TRACKS, SERVES] {
        for (here, there) in ENDS {
            let pair = Pair::new().unwrap();
            is_silent(&pair.outside);
            talk::listen(&pair.outside, 7).unwrap();
            let ctl = Ctl::new(&pair.inside).unwrap();
            load(&ctl, &[INTERFACE], policy);
            let sends = |sent: Sent| {
                let frame = too_big(here, there, &sent);
                counts(&ctl, ERROR, || pair.send(&[frame]).unwrap())
            };
            let is_v6 = here.is_ipv6();
            let (passes, drops) = ([1, 0], [0, 1]);
            let tracks = policy != PLAIN;
            let unless_tracked = if tracks { drops } else { passes };

            // Echo requests alone set the path's MTU without a socket.
            assert_eq!(sends(echo(is_v6, 4_711)), drops, "{policy}");
            ping(&pair.inside, there, 4_711);
            assert_eq!(sends(echo(is_v6, 4_711)), passes, "{policy} {here}");
            assert_eq!(sends(echo(is_v6, 4_712)), drops);

            // A connection; who listens, and says no more than a SYN-ACK; nobody.
            let stream = talk::connect(&pair.inside, (there, 7)).unwrap();
            let port = stream.local_addr().unwrap().port();
            assert_eq!(sends(ports(6, port, 7, 0)), passes, "{policy} {here}");
            assert_eq!(
                sends(ports(6, port, 8, 0)),
                unless_tracked,
                "{policy} {here}"
            );
            let _listener = talk::listener(&pair.inside, 80).unwrap();
            assert_eq!(sends(ports(6, 80, 50_000, 0)), passes);

            // UDP: of this peer; of anybody; nobody's.
            let any: IpAddr = if is_v6 {
                Ipv6Addr::UNSPECIFIED.into()
            } else {
                Ipv4Addr::UNSPECIFIED.into()
            };
            let [connected, open] =
                [here, any].map(|own| pair.inside.run(|| UdpSocket::bind((own, 0)).unwrap()));
            pair.inside.run(|| connected.connect((there, 9)).unwrap());
            let [mine, anyones] =
                [&connected, &open].map(|socket| socket.local_addr().unwrap().port());
            assert_eq!(sends(ports(17, mine, 9, 0)), passes);
            assert_eq!(sends(ports(17, anyones, 9, 0)), passes);
            drop((connected, open));
            let udp = if policy == TRACKS { drops } else { passes };
            assert_eq!(sends(ports(17, mine, 9, 0)), udp, "{policy} {here}");

            // Of what has neither ports nor flows the kernel behind is the judge.
            for proto in [47, 50, 132] {
                assert_eq!(sends((proto, vec![1; 8])), passes);
            }
            // The endpoint judges the numbers.
            assert_eq!(sends(ports(6, port, 7, 0x4000_0000)), passes);
        }
    }
}

/// A connection that is being opened, and one that is done.
#[test]
#[ignore = "needs root"]
fn an_error_comes_in_at_both_ends_of_a_connection() {
    for policy in [PLAIN, TRACKS] {
        let pair = Pair::new().unwrap();
        let ctl = Ctl::new(&pair.inside).unwrap();
        load(&ctl, &[INTERFACE], policy);
        // Nobody is there, and a router says so.
        let nowhere = Ipv4Addr::new(192, 0, 2, 77);
        let neighbour = "neigh replace 192.0.2.77 lladdr 02:00:00:00:00:09 dev wan0 nud permanent";
        pair.inside.ip(neighbour).unwrap();
        let opening = pair.inside.run(|| {
            let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
            rustix::io::ioctl_fionbio(&socket, true).unwrap();
            let _ = rustix::net::connect(&socket, &SocketAddr::from((nowhere, 7)));
            socket
        });
        let own = rustix::net::getsockname(&opening).unwrap();
        let port = SocketAddr::try_from(own).unwrap().port();
        let frame = too_big(INSIDE_V4.into(), nowhere.into(), &ports(6, port, 7, 0));
        let counted = counts(&ctl, ERROR, || pair.send(&[frame]).unwrap());
        assert_eq!(counted, [1, 0], "{policy}");

        let listener = talk::listener(&pair.outside, 7).unwrap();
        let mut streams = talk::ends(&pair.inside, (OUTSIDE_V4, 7), &listener).unwrap();
        let port = streams.0.local_addr().unwrap().port();
        talk::tells(&mut streams.0, &mut streams.1, b"hello").unwrap();
        // This side closes first, and waits.
        let (first, second) = streams;
        drop(first);
        std::thread::sleep(Duration::from_millis(50));
        drop(second);
        let late = too_big(INSIDE_V4.into(), OUTSIDE_V4.into(), &ports(6, port, 7, 0));
        let counted = counts(&ctl, ERROR, || pair.send(&[late]).unwrap());
        assert_eq!(counted, [1, 0], "{policy}");
    }
}

/// Whether a host has a path MTU of its own to another one.
fn has_path_mtu(host: &Namespace, to: IpAddr) -> bool {
    let text = host.say(&["ip", "route", "get", &to.to_string()]).unwrap();
    assert!(text.contains(" dev "), "{text}");
    text.contains(" mtu ")
}

#[test]
#[ignore = "needs root"]
fn a_forged_error_sets_no_path_mtu() {
    let far = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 7);
    let error = |sent: &Sent| too_big(INSIDE_V6.into(), far.into(), sent);
    for (policy, sets) in [(None, true), (Some(PLAIN), false), (Some(TRACKS), false)] {
        let pair = Pair::new().unwrap();
        pair.inside
            .ip(&format!("-6 route add 2001:db8:f::/64 via {OUTSIDE_V6}"))
            .unwrap();
        let ctl = Ctl::new(&pair.inside).unwrap();
        if let Some(policy) = policy {
            load(&ctl, &[INTERFACE], policy);
        } else {
            std::thread::sleep(Duration::from_millis(700));
        }
        // TCP the kernel judges itself; an echo request it believes.
        pair.send(&[error(&ports(6, 50_000, 7, 0))]).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        assert!(!has_path_mtu(&pair.inside, far.into()));
        pair.send(&[error(&echo(true, 7))]).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(has_path_mtu(&pair.inside, far.into()), sets, "{policy:?}");
        // True of a ping that has been sent, so it does.
        ping(&pair.inside, far.into(), 8);
        pair.send(&[error(&echo(true, 8))]).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        assert!(has_path_mtu(&pair.inside, far.into()), "{policy:?}");
    }
}

/// A router: what it forwards for others, translated or not.
#[test]
#[ignore = "needs root"]
fn an_error_comes_in_about_what_a_router_forwards() {
    for (policy, tracks) in [(PLAIN, false), (TRACKS, true), (SERVES, true)] {
        for masquerade in [false, true] {
            let net = Routed::new(1_500).unwrap();
            if masquerade {
                net.router()
                    .nft(
                        "table ip fwt { chain out { type nat hook postrouting priority 100; \
                         oifname wan0 masquerade; }; }",
                    )
                    .unwrap();
            }
            let ctl = Ctl::new(net.router()).unwrap();
            load(&ctl, &[INTERFACE], policy);
            let server = IpAddr::from(INSIDE_V4);
            is_silent(&net.pair.inside);
            let seen = if masquerade { OUTSIDE_V4 } else { FAR_V4 };
            // The frame goes to the router, by its MAC.
            let sends = |sent: Sent| {
                let mut frame = too_big(seen.into(), server, &sent);
                frame[..12].rotate_left(6);
                counts(&ctl, ERROR, || {
                    net.pair.inside.run(|| put(INTERFACE, &[frame])).unwrap();
                })
            };
            let client = net.far.run(|| {
                let socket = UdpSocket::bind((FAR_V4, 5_000)).unwrap();
                socket.send_to(b"question", (server, 53)).unwrap();
                socket
            });
            let what = format!("{policy}, masquerade: {masquerade}");
            assert_eq!(sends(ports(17, 5_000, 53, 0)), [1, 0], "{what}");
            talk::listen(&net.pair.inside, 7).ok();
            let stream = talk::connect(&net.far, (server, 7)).unwrap();
            let port = stream.local_addr().unwrap().port();
            assert_eq!(sends(ports(6, port, 7, 0)).iter().sum::<u64>(), 1);
            ping(&net.far, server, 99);
            if !masquerade {
                assert_eq!(sends(echo(false, 99)), [1, 0], "{what}");
            }
            assert_eq!(sends(echo(false, 98)), [0, 1], "{what}");
            // Of a host behind, which has never sent that: it judges itself. The router's own has no
            // socket, and no flow.
            let nobodys = if masquerade && policy == TRACKS {
                [0, 1]
            } else {
                [1, 0]
            };
            assert_eq!(sends(ports(17, 5_001, 53, 0)), nobodys, "{what}");
            let tcp = if masquerade && tracks { [0, 1] } else { [1, 0] };
            assert_eq!(sends(ports(6, 50_001, 7, 0)), tcp, "{what}");
            drop(client);
        }
    }
    // By IPv6 it is looked up likewise.
    let net = Routed::new(1_500).unwrap();
    let ctl = Ctl::new(net.router()).unwrap();
    load(&ctl, &[INTERFACE], TRACKS);
    let mut frame = too_big(FAR_V6.into(), INSIDE_V6.into(), &ports(17, 5_001, 53, 0));
    frame[..12].rotate_left(6);
    let counted = counts(&ctl, ERROR, || {
        net.pair.inside.run(|| put(INTERFACE, &[frame])).unwrap();
    });
    assert_eq!(counted, [1, 0]);
}

#[test]
#[ignore = "needs root"]
fn each_has_a_limit_and_a_guess_takes_nothing_from_it() {
    let pair = Pair::new().unwrap();
    talk::listen(&pair.outside, 7).unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(&ctl, &[INTERFACE], TRACKS);
    // Guesses by the thousand, and then the one.
    let stream = talk::connect(&pair.inside, (OUTSIDE_V4, 7)).unwrap();
    let port = stream.local_addr().unwrap().port();
    let error = |sent: Sent| too_big(INSIDE_V4.into(), OUTSIDE_V4.into(), &sent);
    let known = || error(ports(6, port, 7, 0));
    let guess = error(ports(6, port, 8, 0));
    let mut guesses = vec![guess; 20_000];
    guesses.extend(vec![error((50, vec![1; 8])); 20_000]);
    guesses.push(known());
    // At most so many, in the time that it takes.
    let sends = |reasons, frames: &[Frame], burst: f64, rate: f64| {
        let start = Instant::now();
        let [passed, dropped] = counts(&ctl, reasons, || pair.send(frames).unwrap());
        assert_eq!(passed + dropped, frames.len() as u64);
        let most = burst + rate * start.elapsed().as_secs_f64() + 1.0;
        assert!((passed as f64) < most, "{passed} of {most}");
        [passed, dropped]
    };
    let [passed, _] = sends(ERROR, &guesses, 200.0, 1_000.0);
    assert!(passed >= 200, "{passed}");
    // What is known has a limit of its own, of which one has been used.
    assert_eq!(sends(ERROR, &vec![known(); 150], 200.0, 1_000.0), [150, 0]);
    sends(ERROR, &vec![known(); 20_000], 200.0, 1_000.0);

    assert_eq!(sends(DHCP, &vec![offer(); 1_000], 0.0, 0.0), [0, 1_000]);
    pair.send_from_inside(&[request_v4()]).unwrap();
    assert_eq!(sends(DHCP, &vec![offer(); 50], 100.0, 100.0), [50, 0]);
    let [passed, _] = sends(DHCP, &vec![offer(); 2_000], 100.0, 100.0);
    assert!(passed >= 50, "{passed}");
}

#[test]
#[ignore = "needs root"]
fn who_is_banned_gets_in_by_none_of_them() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(&ctl, &[INTERFACE], PLAIN);
    pair.send_from_inside(&[request_v4(), request_v6()])
        .unwrap();
    ping(&pair.inside, OUTSIDE_V4.into(), 1);
    ping(&pair.inside, OUTSIDE_V6.into(), 1);
    let query = {
        let mut header = Ipv4::new(OUTSIDE_V4.octets(), [224, 0, 0, 1], 2);
        (header.ttl, header.options) = (1, vec![148, 4, 0, 0]);
        enclose(0x0800, &header.packet(&[0x11, 100, 0xee, 0x9b, 0, 0, 0, 0]))
    };
    let error = |(here, there): (IpAddr, IpAddr)| too_big(here, there, &echo(here.is_ipv6(), 1));
    let frames = [
        offer(),
        advertise(OUTSIDE_V6, 547),
        error(ENDS[0]),
        error(ENDS[1]),
        query,
    ];
    const ALL: [(&str, &str); 4] = [
        ("dhcp", "pass"),
        ("icmp-error", "pass"),
        ("igmp", "pass"),
        ("banned", "drop"),
    ];
    let sends = || counts(&ctl, ALL, || pair.send(&frames).unwrap());
    assert_eq!(sends(), [2, 2, 1, 0]);
    for address in [OUTSIDE_V4.to_string(), OUTSIDE_V6.to_string()] {
        ctl.ok(&["ban", "--for", "1h", &address]).unwrap();
    }
    assert_eq!(sends(), [0, 0, 0, 5]);
}
