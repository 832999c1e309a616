//! Bans by rules cannot be forged, and never hold what this host needs or what the policy exempts: real
//! sockets, and frames in other hosts' names.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::frames::{Frame, Ipv4, ipv6, tcp};
use firewall_tests::netns::{INSIDE_V4, INTERFACE, OUTSIDE_V4, Pair};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// The gateway of the protected host, for which nobody answers.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

const SSH: &str = "  - {name: ssh, proto: tcp, port: 22, limit: {new: 6/30s, per: source}, ban: 10m, \
                   action: pass}\n";

fn load(ctl: &Ctl<'_>, head: &str, rules: &str) {
    let text = format!(
        "version: 1\ninterfaces: [{{match: wan0}}]\ndefault: {{in: drop}}\n{head}rules:\n{rules}"
    );
    let file = ctl.policy(&text).unwrap();
    ctl.ok(&["load", "-i", INTERFACE, "-f", file.to_str().unwrap()])
        .unwrap();
}

fn hosts() -> Pair {
    let pair = Pair::new().unwrap();
    pair.inside
        .ip(&format!("route add default via {GATEWAY}"))
        .unwrap();
    pair
}

/// What is banned.
fn bans(ctl: &Ctl<'_>) -> Vec<String> {
    let list = ctl.json(&["bans"]).unwrap();
    let entries = list["entries"].as_array().unwrap().clone();
    let text = |entry: &serde_json::Value| entry["prefix"].as_str().unwrap().to_owned();
    entries.iter().map(text).collect()
}

/// A frame between the two hosts.
fn frame(ethertype: u16, packet: &[u8]) -> Frame {
    let mut frame = Pair::macs().to_vec();
    frame.extend(ethertype.to_be_bytes());
    frame.extend(packet);
    frame
}

/// A segment to port 22 in somebody's name.
fn forged(source: Ipv4Addr, port: u16, flags: u8) -> Frame {
    let packet = Ipv4::new(source.octets(), INSIDE_V4.octets(), 6);
    frame(0x0800, &packet.packet(&tcp(port, 22, flags, &[])))
}

fn forged_v6(source: Ipv6Addr, port: u16, flags: u8) -> Frame {
    let to = firewall_tests::netns::INSIDE_V6.octets();
    frame(
        0x86dd,
        &ipv6(source.octets(), to, 6, 64, &tcp(port, 22, flags, &[])),
    )
}

/// Serves one byte to whoever connects, until the host is gone.
fn serve(pair: &Pair) {
    let listener = pair
        .inside
        .run(|| TcpListener::bind((INSIDE_V4, 22)).unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut byte = [0];
            if stream.read(&mut byte).is_ok() {
                let _ = stream.write(&byte);
            }
        }
    });
}

/// Opens a connection, and says something and hears it back; whether that worked.
fn connects(pair: &Pair) -> bool {
    pair.outside.run(|| {
        let to = SocketAddr::from((INSIDE_V4, 22));
        let Ok(mut stream) = TcpStream::connect_timeout(&to, Duration::from_millis(400)) else {
            return false;
        };
        stream
            .set_read_timeout(Some(Duration::from_millis(400)))
            .unwrap();
        let mut byte = [7];
        stream.write_all(&byte).is_ok() && stream.read_exact(&mut byte).is_ok()
    })
}

/// Connects until it does not work any more, at most so often; how often it worked.
fn connect_often(pair: &Pair, most: u32) -> u32 {
    (0..most).take_while(|_| connects(pair)).count() as u32
}

#[test]
#[ignore = "needs root"]
fn forged_segments_ban_nobody() {
    let pair = hosts();
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(&ctl, "", SSH);
    serve(&pair);
    let victims = [
        GATEWAY,
        INSIDE_V4,
        OUTSIDE_V4,
        Ipv4Addr::new(192, 0, 2, 53),
        Ipv4Addr::new(198, 51, 100, 7),
    ];
    let six: [Ipv6Addr; 3] = [
        "2001:db8::80".parse().unwrap(),
        "2001:db8::1234".parse().unwrap(),
        "fe80::1".parse().unwrap(),
    ];
    let mut frames = Vec::new();
    // SYN, ACK, RST, and everything at once.
    for flags in [0x02, 0x10, 0x04, 0x3f] {
        for port in 0..20 {
            frames.extend(victims.map(|victim| forged(victim, 40_000 + port, flags)));
            frames.extend(six.map(|victim| forged_v6(victim, 40_000 + port, flags)));
        }
    }
    pair.send(&frames).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(bans(&ctl), [""; 0]);
}

#[test]
#[ignore = "needs root"]
fn a_client_that_connects_too_often_is_banned() {
    let pair = hosts();
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(&ctl, "", SSH);
    serve(&pair);
    let worked = connect_often(&pair, 20);
    assert!((1..=7).contains(&worked), "{worked}");
    assert_eq!(bans(&ctl), [OUTSIDE_V4.to_string()]);
    assert!(!connects(&pair));
    // With a new generation, too: what has proven itself is handed on.
    ctl.ok(&["unban", "--all"]).unwrap();
    assert!(!connects(&pair), "over its limit still");
    assert_eq!(bans(&ctl), [OUTSIDE_V4.to_string()]);
}

#[test]
#[ignore = "needs root"]
fn audit_bans_nobody() {
    let pair = hosts();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let audited = SSH.replace("action: pass", "mode: audit, action: pass");
    let rest = "  - {name: rest, proto: tcp, action: pass}\n";
    for (head, rule) in [("mode: audit\n", SSH), ("", &audited)] {
        load(&ctl, head, &format!("{rule}{rest}"));
        if head.is_empty() {
            assert_eq!(connect_often(&pair, 10), 10);
        } else {
            serve(&pair);
            assert_eq!(connect_often(&pair, 10), 10);
        }
        assert_eq!(bans(&ctl), [""; 0], "{head}{rule}");
    }
}

#[test]
#[ignore = "needs root"]
fn what_is_exempt_is_never_held() {
    let pair = hosts();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let head = "sets: {admins: {type: cidr, elements: [192.0.2.8/29]}}\nexempt: [\"@admins\"]\n";
    let open = "  - {name: ssh, proto: tcp, port: 22, action: pass}\n";
    load(&ctl, head, open);
    serve(&pair);
    // By a command, for an address and for all around it, and by a feed.
    let said = ctl.ok(&["ban", "192.0.2.9"]).unwrap();
    assert!(said.contains("192.0.2.9 is exempt"), "{said}");
    let said = ctl.ok(&["ban", "192.0.2.0/24"]).unwrap();
    assert!(!said.contains("exempt"), "{said}");
    assert!(connects(&pair), "held by a command");
    // It passes nothing by itself.
    load(
        &ctl,
        head,
        "  - {name: other, proto: tcp, port: 23, action: pass}\n",
    );
    assert!(!connects(&pair));
    // Without it the bans count from the next packet on, and with it no more.
    load(&ctl, "", open);
    assert!(!connects(&pair));
    load(&ctl, head, open);
    let begin = Instant::now();
    assert!(connects(&pair), "after {:?}", begin.elapsed());
    // Its neighbours stay banned, and so does it once it is exempt no more.
    let head = head.replace("192.0.2.8/29", "192.0.2.16/28");
    load(&ctl, &head, open);
    assert!(!connects(&pair));
    ctl.ok(&["unban", "--all"]).unwrap();
    assert!(connects(&pair));
    // A rule makes no such ban at all.
    let head = head.replace("192.0.2.16/28", "192.0.2.9");
    load(&ctl, &head, SSH);
    let worked = connect_often(&pair, 20);
    assert!((1..=7).contains(&worked), "the limit holds: {worked}");
    assert_eq!(bans(&ctl), [""; 0]);
}
