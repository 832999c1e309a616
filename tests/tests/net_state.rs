//! `state: established` with real sockets on two hosts: what the protected host asks for comes back,
//! what nobody asked for does not; through changes of the policy, without the daemon, and gone
//! without a trace after `unload`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::echo;
use firewall_tests::frames;
use firewall_tests::netns::{INSIDE_V4, INSIDE_V6, INTERFACE, OUTSIDE_V4, OUTSIDE_V6, Pair};
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

const POLICY: &str = "\
version: 1
interfaces: [{match: wan0}]
default: {in: drop, essential: {icmp_error: false}}
rules:
  - {name: errors-v4, proto: icmp, icmp: [{type: destination-unreachable}, {type: time-exceeded}], state: established, action: pass}
  - {name: errors-v6, proto: icmpv6, icmp: {type: 1-4}, state: established, action: pass}
  - {name: replies, state: established, action: pass}
  - {name: web, proto: tcp, port: 80, state: new, action: pass}
";

const SOON: Duration = Duration::from_millis(400);
const BOTH: [(IpAddr, IpAddr); 2] = [
    (IpAddr::V4(INSIDE_V4), IpAddr::V4(OUTSIDE_V4)),
    (IpAddr::V6(INSIDE_V6), IpAddr::V6(OUTSIDE_V6)),
];

/// Answers every line with itself, on TCP and UDP, as long as the process lives.
fn listen(port: u16) {
    let any = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    let listener = TcpListener::bind((any, port)).unwrap();
    let socket = UdpSocket::bind((any, port)).unwrap();
    echo::serve(listener, socket);
}

fn says(stream: &mut TcpStream, text: &[u8]) {
    stream.write_all(text).unwrap();
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, text);
}

fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, SOON)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

/// A question by UDP from `from`, and whether its answer comes.
fn asks(from: IpAddr, to: SocketAddr) -> std::io::Result<()> {
    let socket = UdpSocket::bind((from, 0))?;
    socket.set_read_timeout(Some(SOON))?;
    socket.connect(to)?;
    socket.send(b"question")?;
    let mut answer = [0; 16];
    let length = socket.recv(&mut answer)?;
    assert_eq!(&answer[..length], b"question");
    Ok(())
}

fn is_silence(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Packets that a rule has counted.
fn hits(ctl: &Ctl<'_>, rule: &str) -> u64 {
    let rules = ctl.json(&["stats", "rules"]).unwrap();
    let rules = rules["rules"].as_array().unwrap();
    let view = rules.iter().find(|view| view["name"] == rule).unwrap();
    view["hits"]["total"]["packets"].as_u64().unwrap()
}

fn load(ctl: &Ctl<'_>, policy: &str) {
    let file = ctl.policy(policy).unwrap();
    ctl.ok(&["load", "-i", INTERFACE, "-f", file.to_str().unwrap()])
        .unwrap();
}

#[test]
#[ignore = "needs root"]
fn what_was_asked_for_comes_back_and_nothing_else() {
    let pair = Pair::new().unwrap();
    pair.outside.run(|| [53, 8080].map(listen));
    pair.inside.run(|| [80, 53, 8080].map(listen));
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(&ctl, POLICY);

    for (inside, outside) in BOTH {
        pair.inside.run(|| {
            says(&mut connect((outside, 8080).into()).unwrap(), b"hello");
            asks(inside, (outside, 53).into()).unwrap();
        });
        pair.outside.run(|| {
            // A connection that a rule lets in, and goes on by what this host has answered.
            says(&mut connect((inside, 80).into()).unwrap(), b"hello");
            let error = connect((inside, 8080).into()).unwrap_err();
            assert!(is_silence(&error), "{inside}: {error}");
            let error = asks(outside, (inside, 53).into()).unwrap_err();
            assert!(is_silence(&error), "{inside}: {error}");
        });
        // Nobody listens there, and says so. The same from outside gets no answer.
        pair.inside.run(|| {
            let refused = connect((outside, 9).into()).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{outside}");
            let refused = asks(inside, (outside, 9).into()).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{outside}");
        });
    }
    assert_eq!((hits(&ctl, "errors-v4"), hits(&ctl, "errors-v6")), (1, 1));
}

#[test]
#[ignore = "needs root"]
fn ping_and_traceroute_work_from_inside_alone() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(&ctl, POLICY);
    // Echo requests: from inside they are answered, and the answers come in.
    let ping = |from: Ipv4Addr, to: Ipv4Addr, kind: u8| {
        let message = [kind, 0, 0, 0, 0, 7, 0, 1];
        let mut message = message.to_vec();
        let sum = frames::checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut packet = frames::Ipv4::new(from.octets(), to.octets(), 1).packet(&message);
        packet[10..12].fill(0);
        let sum = frames::checksum(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        frames::ethernet(0x0800, &packet)
    };
    let before = hits(&ctl, "replies");
    pair.send(&[with_macs(ping(OUTSIDE_V4, INSIDE_V4, 0), false)])
        .unwrap();
    pair.send(&[with_macs(ping(OUTSIDE_V4, INSIDE_V4, 8), false)])
        .unwrap();
    assert_eq!(hits(&ctl, "replies"), before);
    pair.send_from_inside(&[with_macs(ping(INSIDE_V4, OUTSIDE_V4, 8), true)])
        .unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(hits(&ctl, "replies"), before + 1);

    // A router on the way that takes the last hop off.
    pair.inside
        .ip("route add 203.0.113.0/24 via 192.0.2.9")
        .unwrap();
    pair.outside
        .run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1"))
        .unwrap();
    let before = hits(&ctl, "errors-v4");
    pair.inside.run(|| {
        let socket = UdpSocket::bind((INSIDE_V4, 0)).unwrap();
        socket.set_ttl(1).unwrap();
        socket.send_to(b"probe", "203.0.113.7:33434").unwrap();
    });
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(hits(&ctl, "errors-v4"), before + 1);
}

/// The addresses of the cable's ends in front of a frame.
fn with_macs(mut frame: Vec<u8>, out: bool) -> Vec<u8> {
    let macs = Pair::macs();
    let (inside, outside) = macs.split_at(6);
    let (to, from) = if out {
        (outside, inside)
    } else {
        (inside, outside)
    };
    frame[..6].copy_from_slice(to);
    frame[6..12].copy_from_slice(from);
    frame
}

/// How many connections of this host are open.
fn open_count(ctl: &Ctl<'_>) -> u64 {
    let report: Value = ctl.json(&["flows", "count"]).unwrap();
    report["summary"]["state"]["established"]
        .as_u64()
        .unwrap_or(0)
}

#[test]
#[ignore = "needs root"]
fn connections_outlive_policy_and_daemon_and_unload_leaves_nothing() {
    let pair = Pair::new().unwrap();
    pair.outside.run(|| listen(8080));
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.start(&policy).unwrap();
    let mut streams =
        BOTH.map(|(_, outside)| pair.inside.run(|| connect((outside, 8080).into()).unwrap()));
    let mut all_say = |text: &[u8]| {
        for stream in &mut streams {
            says(stream, text);
        }
    };
    all_say(b"one");
    assert_eq!(open_count(&ctl), 2);

    // Another generation, with other rules.
    let more = format!("{POLICY}  - {{name: ssh, proto: tcp, port: 22, action: pass}}\n");
    let policy = ctl.policy(&more).unwrap();
    ctl.ok(&["apply", "-f", policy.to_str().unwrap()]).unwrap();
    assert_eq!(open_count(&ctl), 2);
    std::thread::sleep(Duration::from_secs(2));
    all_say(b"two");
    // No daemon.
    ctl.kill().unwrap();
    all_say(b"three");
    pair.inside
        .run(|| says(&mut connect((OUTSIDE_V4, 8080).into()).unwrap(), b"new"));
    let status = ctl.ok(&["status"]).unwrap();
    // They have sockets, and need no flows.
    assert!(status.contains("Flows tcp 0 of "), "{status}");

    // Without a rule that looks at state, nor what must be asked for, nothing takes note of what leaves.
    let plain = POLICY
        .replace(
            "essential: {icmp_error: false}",
            "essential: {dhcp: false, icmp_error: false}",
        )
        .replace("state: established, ", "")
        .replace("state: new, ", "");
    let plain = plain.replace("{name: replies, action: pass}", "{name: all, action: pass}");
    load(&ctl, &plain);
    assert!(!ctl.pins().join("egress/wan0").exists());
    assert!(!ctl.run(&["flows"]).unwrap().status.success());
    // Back again, the connections are known at once, and nobody can forget them.
    load(&ctl, &more);
    assert!(ctl.pins().join("egress/wan0").exists());
    assert_eq!(open_count(&ctl), 2);
    all_say(b"four");
    ctl.ok(&["flows", "delete", "--port", "8080"]).unwrap();
    assert_eq!(open_count(&ctl), 2);
    all_say(b"five");

    ctl.ok(&["unload", "--all"]).unwrap();
    assert!(!ctl.pins().exists());
    pair.outside.run(|| ());
    let attached = pair.inside.command("tc");
    let attached = { attached }
        .args(["qdisc", "show", "dev", INTERFACE])
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&attached.stdout).contains("clsact"));
    all_say(b"six");
}

#[test]
#[ignore = "needs root"]
fn connections_of_this_host_are_known_by_their_sockets() {
    let pair = Pair::new().unwrap();
    pair.outside.run(|| listen(8080));
    let ctl = Ctl::new(&pair.inside).unwrap();
    // Open before the policy is loaded, and silent since.
    let mut streams = BOTH.map(|(_, outside)| {
        pair.inside.run(|| {
            let mut stream = connect((outside, 8080).into()).unwrap();
            says(&mut stream, b"hello");
            stream
        })
    });
    let asked = pair.inside.run(|| {
        let socket = UdpSocket::bind((OUTSIDE_V4, 0));
        assert!(socket.is_err(), "an address of the other host");
        let socket = UdpSocket::bind((INSIDE_V4, 0)).unwrap();
        socket.connect((OUTSIDE_V4, 5353)).unwrap();
        // Neither this one nor a connection to an own address leaves the host.
        let near = TcpListener::bind((INSIDE_V4, 9090)).unwrap();
        let far = [TcpStream::connect(near.local_addr().unwrap()).unwrap()];
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 9090)).unwrap();
        let end = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (socket, near, far, listener, end)
    });
    load(&ctl, POLICY);

    let list = |words: &[&str]| -> Vec<Value> {
        let report = ctl.json(&[&["flows"], words].concat()).unwrap();
        report["flows"].as_array().unwrap().clone()
    };
    let flows = list(&["--port", "8080", "--sort", "remote"]);
    assert_eq!(flows.len(), 2, "{flows:?}");
    for (flow, (inside, outside)) in flows.iter().zip(BOTH) {
        assert_eq!(flow["remote"], outside.to_string(), "{flow}");
        assert_eq!(flow["local"], inside.to_string(), "{flow}");
        assert_eq!(flow["state"], "established");
        assert_eq!(flow["from"], "socket");
        let bytes = ["received", "sent"].map(|way| flow[way].as_u64().unwrap());
        // To the kernel a SYN that is acknowledged is a byte.
        assert!(bytes == [5, 5] || bytes == [5, 6], "{flow}");
        assert!(flow["idle"].as_f64().unwrap() < 60.0, "{flow}");
    }
    let connected = list(&["--proto", "udp"]);
    assert_eq!(connected.len(), 1, "{connected:?}");
    assert_eq!(connected[0]["remote_port"], 5353);
    assert_eq!(connected[0]["received"], Value::Null);
    assert!(list(&["--port", "9090"]).is_empty());
    // What is not known comes last, and what is left out is counted.
    assert_eq!(
        list(&["--sort", "bytes", "--limit", "2"])[1]["proto"],
        "tcp"
    );

    let deleted = ctl.json(&["flows", "delete", "--port", "8080"]).unwrap();
    assert_eq!(deleted["sockets"], 2, "{deleted}");
    assert_eq!(list(&["--port", "8080"]).len(), 2);
    for stream in &mut streams {
        says(stream, b"again");
    }
    drop(asked);
}
