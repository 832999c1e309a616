//! Live filters over a cable: one sender's packets in a flood, readers beside each other and readers that
//! die, changes of the policy under a reader, and what users without root may.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INSIDE_V4, INTERFACE, OUTSIDE_V4, Pair};
use firewall_tests::patience;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

/// The customer among the others.
const CUSTOMER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 70);

/// A policy that logs nothing.
fn policy(rules: &str) -> String {
    format!(
        "version: 1\ninterfaces: [{{match: {INTERFACE}}}]\ndefault: {{in: drop}}\nrules:\n\
         - {{name: api, from: 192.0.2.64/26, proto: udp, port: 8080, action: pass}}\n{rules}"
    )
}

fn load(ctl: &Ctl<'_>, policy: &str) {
    let file = ctl.policy(policy).unwrap();
    ctl.ok(&["load", "-i", INTERFACE, "-f", file.to_str().unwrap()])
        .unwrap();
}

/// Datagrams from an address to a port.
fn send(pair: &Pair, from: Ipv4Addr, port: u16, count: u32) {
    pair.outside.run(|| {
        let socket = UdpSocket::bind((from, 4000)).unwrap();
        for _ in 0..count {
            socket.send_to(b"line", (INSIDE_V4, port)).unwrap();
        }
    });
}

/// `observe -f` in the background.
struct Watcher {
    child: Child,
    lines: Receiver<String>,
    notes: Receiver<String>,
}

/// The lines of a stream, as they come.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

impl Watcher {
    /// Starts one, and waits until it watches.
    fn start(ctl: &Ctl<'_>, words: &[&str]) -> Self {
        let words = [&["observe", "-f"], words].concat();
        let mut child = ctl
            .command(&words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let watcher = Self {
            lines: lines(child.stdout.take().unwrap()),
            notes: lines(child.stderr.take().unwrap()),
            child,
        };
        let begun = watcher.note();
        assert!(begun.starts_with("watching every packet ("), "{begun}");
        watcher
    }

    fn note(&self) -> String {
        let limit = patience(Duration::from_secs(10));
        self.notes.recv_timeout(limit).unwrap()
    }

    fn line(&self) -> String {
        let limit = patience(Duration::from_secs(10));
        self.lines.recv_timeout(limit).unwrap()
    }

    /// Ends it as ^C does; the rest of its lines, and its last word.
    fn end(mut self) -> (ExitStatus, Vec<String>, String) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        let status = self.child.wait().unwrap();
        (status, self.lines.iter().collect(), self.note())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends about `rate` datagrams a second from the outside until told to stop; how many.
fn flood(pair: &Pair, rate: u32, port: u16, stop: &AtomicBool) -> u64 {
    const ROUND: Duration = Duration::from_millis(10);
    pair.outside.run(|| {
        let socket = UdpSocket::bind((OUTSIDE_V4, 5000)).unwrap();
        let (begin, mut sent) = (Instant::now(), 0u64);
        while !stop.load(Ordering::Relaxed) {
            let due = begin.elapsed().as_secs_f64() * f64::from(rate);
            while (sent as f64) < due {
                let _ = socket.send_to(&[0; 92], (INSIDE_V4, port));
                sent += 1;
            }
            sleep(ROUND);
        }
        sent
    })
}

#[test]
#[ignore = "needs root"]
fn every_packet_of_one_sender_is_shown_in_a_flood() {
    const PACKETS: usize = 16;
    let pair = Pair::new().unwrap();
    pair.outside
        .ip(&format!("addr add {CUSTOMER}/24 dev {INTERFACE}"))
        .unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(&ctl, &policy(""));
    let customer = Watcher::start(&ctl, &["--from", "192.0.2.70", "-o", "jsonl"]);
    // Another one looks at the flood itself.
    let all = Watcher::start(&ctl, &["--port", "8080", "--not", "--from", "192.0.2.70"]);
    let stop = AtomicBool::new(false);
    let (flooded, seconds) = scope(|scope| {
        let begin = Instant::now();
        let flood = scope.spawn(|| flood(&pair, 30_000, 8080, &stop));
        for _ in 0..PACKETS {
            sleep(Duration::from_millis(500));
            send(&pair, CUSTOMER, 8080, 1);
        }
        stop.store(true, Ordering::Relaxed);
        (flood.join().unwrap(), begin.elapsed().as_secs_f64())
    });
    sleep(patience(Duration::from_secs(1)));
    let (status, lines, last) = customer.end();
    assert_eq!(status.code(), Some(0));
    assert_eq!(
        last,
        format!(
            "{PACKETS} packets matched: {PACKETS} shown, 0 beyond 1000 a second, 0 lost before \
             they were read"
        )
    );
    assert_eq!(lines.len(), PACKETS);
    for line in &lines {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["from"], "192.0.2.70");
        assert_eq!(
            (&event["verdict"], &event["rule"], &event["reason"]),
            (&"pass".into(), &"api".into(), &"rule".into())
        );
    }
    // Of the flood no packet is unaccounted for.
    let (status, _, last) = all.end();
    assert_eq!(status.code(), Some(0));
    let numbers: Vec<u64> = last
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect();
    let [matched, shown, beyond, 1_000, missed] = numbers[..] else {
        panic!("{last}");
    };
    println!(
        "{flooded} in {seconds:.1} s: {:.0} a second; {last}",
        flooded as f64 / seconds
    );
    // (A full ring of the virtual cable drops before the filter.)
    let reasons = ctl.json(&["get", "reasons"]).unwrap();
    let mut entries = reasons["reasons"].as_array().unwrap().iter();
    let no_match = entries.find(|entry| entry["name"] == "no-match").unwrap();
    assert_eq!(matched, no_match["drop"]["packets"]);
    assert_eq!(shown + beyond + missed, matched);
    assert!(shown >= 1_000 && flooded > 30_000);
}

#[test]
#[ignore = "needs root"]
fn four_watch_at_once_and_a_dead_one_makes_room() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(&ctl, &policy(""));
    let ports = ["9001", "9002", "9003", "9004"];
    let mut watchers: Vec<Watcher> = ports
        .iter()
        .map(|port| Watcher::start(&ctl, &["--port", port]))
        .collect();
    for port in ports {
        send(&pair, OUTSIDE_V4, port.parse().unwrap(), 1);
    }
    for (watcher, port) in watchers.iter().zip(ports) {
        let line = watcher.line();
        let expected = format!(
            "drop    default          udp 192.0.2.9:4000 > 192.0.2.80:{port} length 32 on {INTERFACE}"
        );
        assert!(line.ends_with(&expected), "{line}");
    }
    let refused = ctl.run(&["observe", "-f", "--port", "9005"]).unwrap();
    assert_eq!(refused.status.code(), Some(7));
    insta::assert_snapshot!(String::from_utf8_lossy(&refused.stderr));

    // One is killed: its slot is free when its lease has ended, and not before.
    let killed = Instant::now();
    watchers.remove(1).child.kill().unwrap();
    let deadline = patience(Duration::from_secs(20));
    let next = loop {
        let again = ctl.run(&["observe", "-f", "--port", "9005", "--verdict", "next"]);
        assert_eq!(
            again.unwrap().status.code(),
            Some(2),
            "a word that is none takes no slot"
        );
        let probe = ["--preserve-status", "-s", "INT", "3"];
        let probe = [&["timeout"], &probe[..]].concat();
        let tried = ctl
            .run_under(&probe, &["observe", "-f", "--port", "9005"])
            .unwrap();
        if tried.status.code() == Some(0) {
            break killed.elapsed();
        }
        assert_eq!(tried.status.code(), Some(7));
        assert!(
            killed.elapsed() < deadline,
            "the slot of a dead reader is never free"
        );
        sleep(Duration::from_millis(300));
    };
    println!("free after {:.1} s", next.as_secs_f64());
    assert!(next > Duration::from_secs(13));
    // The others have seen nothing of it; ^C frees at once.
    send(&pair, OUTSIDE_V4, 9001, 2);
    let first = watchers.remove(0);
    assert!(first.line().contains(":9001"));
    let (status, _, last) = first.end();
    assert_eq!(status.code(), Some(0));
    assert!(last.starts_with("3 packets matched: 3 shown"), "{last}");
    Watcher::start(&ctl, &["--reason", "banned"]);
}

#[test]
#[ignore = "needs root"]
fn watchers_follow_through_changes_of_the_policy() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let path = ctl.policy(&policy("")).unwrap();
    ctl.start(&path).unwrap();
    let late = policy("- {name: late, proto: udp, port: 9100, action: drop}\n");
    let watcher = Watcher::start(
        &ctl,
        &["--port", "9000-9200", "--protocol", "udp", "--json"],
    );
    let of = |watcher: &Watcher| -> Value { serde_json::from_str(&watcher.line()).unwrap() };
    send(&pair, OUTSIDE_V4, 9100, 1);
    assert_eq!(of(&watcher)["rule"], "default");
    // Reloads while packets come: none is missing.
    let stop = AtomicBool::new(false);
    let sent = scope(|scope| {
        let sender = scope.spawn(|| flood(&pair, 200, 9101, &stop));
        for text in [&late, &policy(""), &late] {
            fs::write(&path, text).unwrap();
            ctl.ok(&["reload"]).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        sender.join().unwrap()
    });
    for _ in 0..sent {
        assert_eq!(of(&watcher)["port"], 9101);
    }
    send(&pair, OUTSIDE_V4, 9100, 1);
    let event = of(&watcher);
    assert_eq!(
        (&event["rule"], &event["verdict"]),
        (&"late".into(), &"drop".into())
    );
    // A rule by name, which gets another slot while it is watched.
    let named = Watcher::start(&ctl, &["--rule", "late", "--json"]);
    let renamed = policy(
        "- {name: other, proto: udp, port: 9101, action: drop}\n- {name: late, proto: udp, port: 9102, action: drop}\n",
    );
    fs::write(&path, renamed).unwrap();
    ctl.ok(&["reload"]).unwrap();
    sleep(patience(Duration::from_secs(2)));
    for port in [9101, 9102] {
        send(&pair, OUTSIDE_V4, port, 1);
    }
    assert_eq!(of(&named)["port"], 9102);
    for wrong in [&["--rule", "nothere"], &["--interface", "eth9"]] {
        let refused = ctl.run(&[&["observe", "-f"], &wrong[..]].concat()).unwrap();
        assert_eq!(refused.status.code(), Some(2));
        insta::assert_snapshot!(wrong[0], String::from_utf8_lossy(&refused.stderr));
    }
    // The end of the filter ends those who watch.
    ctl.kill().unwrap();
    ctl.ok(&["unload", "--all"]).unwrap();
    let mut watcher = watcher;
    assert_ne!(watcher.child.wait().unwrap().code(), Some(0));
}

#[test]
#[ignore = "needs root"]
fn users_who_may_change_nothing_take_no_slot_that_root_needs() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let path = ctl.policy(&policy("")).unwrap();
    ctl.start(&path).unwrap();
    // As for a member of the group.
    let socket = ctl.folder().join("control.sock");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let member = |user: &'static str| {
        [
            "setpriv",
            user,
            "--regid=65534",
            "--clear-groups",
            "--bounding-set=-all",
            "--inh-caps=-all",
            "timeout",
            // Else the group is told as well, and a second interrupt ends it at once.
            "--foreground",
            "--preserve-status",
            "-s",
            "INT",
            "15",
        ]
    };
    let (answers, roots) = scope(|scope| {
        let users = [
            "--reuid=65534",
            "--reuid=65534",
            "--reuid=65533",
            "--reuid=65533",
        ];
        let (ctl, member) = (&ctl, &member);
        let members: Vec<_> = users
            .map(|user| {
                scope.spawn(move || {
                    ctl.run_under(&member(user), &["observe", "-f", "--port", "9200"])
                        .unwrap()
                })
            })
            .into_iter()
            .collect();
        sleep(patience(Duration::from_secs(2)));
        let roots = ["9201", "9202"].map(|port| Watcher::start(ctl, &["--port", port]));
        let answers: Vec<_> = members.into_iter().map(|it| it.join().unwrap()).collect();
        (answers, roots)
    });
    let mut codes: Vec<_> = answers.iter().map(|answer| answer.status.code()).collect();
    codes.sort_unstable();
    assert_eq!(codes, [Some(0), Some(0), Some(7), Some(7)], "{answers:?}");
    let refused = answers
        .iter()
        .find(|answer| answer.status.code() == Some(7));
    insta::assert_snapshot!(String::from_utf8_lossy(&refused.unwrap().stderr));
    for watcher in roots {
        assert_eq!(watcher.end().0.code(), Some(0));
    }
}
