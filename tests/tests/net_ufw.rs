//! A session typed as a user of ufw would type it, on a real filter: every line works or says what to
//! type, and what it says is kept.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by panicking"
)]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INSIDE_V4, OUTSIDE_V4, Pair};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

const POLICY: &str = "\
version: 1
interfaces: [{match: wan0, zone: wan}]
default: {in: drop}
rules:
  - {name: syslog, comment: of the neighbours, proto: udp, port: 514, action: pass}
";

/// Whether a connection to a port is made.
fn connects(pair: &Pair, port: u16) -> bool {
    let _listener = pair
        .inside
        .run(|| TcpListener::bind((INSIDE_V4, port)).unwrap());
    pair.outside.run(|| {
        let address = (INSIDE_V4, port).into();
        TcpStream::connect_timeout(&address, Duration::from_millis(300)).is_ok()
    })
}

#[test]
#[ignore = "needs root"]
fn a_session_of_a_ufw_user() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.start(&policy).unwrap();
    let folder = ctl.folder().to_str().unwrap().to_owned();
    let mut screens = String::new();
    let mut show = |ctl: &Ctl<'_>, line: &str| {
        let words: Vec<String> = line.split(' ').map(|word| word.replace('_', " ")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = ctl.run(&words).unwrap();
        let text = [&output.stdout[..], &output.stderr[..]].concat();
        let mut text = String::from_utf8_lossy(&text).replace(&folder, "FOLDER");
        if line.starts_with("status") {
            // Counters and times differ from run to run.
            let head = |line: &str| {
                line.split_whitespace()
                    .take(4)
                    .collect::<Vec<_>>()
                    .join(" ")
                    + "\n"
            };
            text = text.lines().map(head).collect();
        }
        screens.push_str(&format!("$ ufw {line}\n{text}"));
        screens.push_str(&format!("--- exit {}\n", output.status.code().unwrap()));
    };
    assert!(!connects(&pair, 8080));
    show(&ctl, "allow 8080/tcp");
    assert!(connects(&pair, 8080), "at once");
    show(&ctl, "allow OpenSSH");
    show(&ctl, "allow 8090:8099/tcp");
    assert!(connects(&pair, 8095));
    show(
        &ctl,
        "allow from 203.0.113.0/24 to any port 5432 proto tcp comment office_db",
    );
    show(&ctl, "allow proto tcp from any to any port 80,443");
    show(&ctl, "allow in on wan0 to any port 53");
    show(&ctl, "limit ssh/tcp");
    show(
        &ctl,
        &format!("insert 1 reject from {OUTSIDE_V4} to any port 8080 proto tcp"),
    );
    show(&ctl, "insert 2 allow from 198.51.100.7");
    assert!(!connects(&pair, 8080));
    show(&ctl, "route allow to 10.0.0.5 port 80 proto tcp");
    show(&ctl, "limit 443/tcp new 200/s all");
    show(&ctl, "deny out 25/tcp");
    show(&ctl, "--dry-run allow 25/tcp");
    show(&ctl, "allow 25/tcp --dry-run");
    show(&ctl, "allow webb");
    show(&ctl, "status numbered");
    show(&ctl, "delete allow 8090:8099/tcp");
    assert!(!connects(&pair, 8095));
    show(&ctl, "delete allow 8090:8099/tcp");
    show(&ctl, "delete limit 443/tcp new 200/s all");
    show(&ctl, "delete 2");
    assert!(connects(&pair, 8080));
    show(&ctl, "deny from 198.51.100.99");
    show(&ctl, "app list");
    show(&ctl, "insert 99 allow 81/tcp");
    show(&ctl, "delete syslog");
    show(&ctl, "default deny incoming");
    show(&ctl, "disable");
    insta::assert_snapshot!(screens);

    // What has matched is dated by the daemon's samples, what has not is unused.
    std::thread::sleep(Duration::from_millis(2500));
    let rules = ctl.json(&["get", "rules"]).unwrap();
    let rules = rules["rules"].as_array().unwrap();
    let of = |name: &str| rules.iter().find(|rule| rule["name"] == name).unwrap();
    assert!(of("allow-8080-tcp")["last_hit"].as_f64().unwrap() > 1.0e9);
    assert!(of("syslog")["last_hit"].is_null());
    assert_eq!(of("syslog")["comment"], "of the neighbours");
    let unused = ctl
        .ok(&["get", "rules", "--unused", "--sort", "name"])
        .unwrap();
    assert!(
        unused.contains("syslog") && !unused.contains("allow-8080-tcp"),
        "{unused}"
    );
    let described = ctl.ok(&["describe", "rule", "allow-8080-tcp"]).unwrap();
    assert!(
        described.contains("last hit:") && described.contains("ago"),
        "{described}"
    );
    let explained = ctl.ok(&["explain", "syslog"]).unwrap();
    assert!(explained.contains("of the neighbours"), "{explained}");
}

/// Players who have a connection lose nothing while strangers use up a rate that all share.
#[test]
#[ignore = "needs root"]
fn known_senders_go_before_a_total_limit() {
    use std::net::UdpSocket;
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.start(&policy).unwrap();
    ctl.ok(&["limit", "27015/udp", "new", "5/s", "all"])
        .unwrap();
    let server = pair
        .inside
        .run(|| UdpSocket::bind((INSIDE_V4, 27_015)).unwrap());
    server
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let player = pair.outside.run(|| {
        let socket = UdpSocket::bind((OUTSIDE_V4, 0)).unwrap();
        socket.connect((INSIDE_V4, 27_015)).unwrap();
        socket.send(b"hello").unwrap();
        socket
    });
    let mut buffer = [0; 16];
    let (_, from) = server.recv_from(&mut buffer).unwrap();
    pair.inside
        .run(|| server.send_to(b"welcome", from).unwrap());
    // The flood: each datagram from a port of its own.
    pair.outside.run(|| {
        for _ in 0..200 {
            let stranger = UdpSocket::bind((OUTSIDE_V4, 0)).unwrap();
            stranger.send_to(b"flood", (INSIDE_V4, 27_015)).unwrap();
        }
    });
    let mut strangers = 0;
    while server.recv_from(&mut buffer).is_ok() {
        strangers += 1;
    }
    assert!(
        (1..=30).contains(&strangers),
        "{strangers} of 200 strangers"
    );
    pair.outside.run(|| {
        for _ in 0..50 {
            player.send(b"move").unwrap();
        }
    });
    let mut moves = 0;
    while server
        .recv_from(&mut buffer)
        .is_ok_and(|(_, peer)| peer == from)
    {
        moves += 1;
    }
    assert_eq!(moves, 50, "a player loses nothing");
}
