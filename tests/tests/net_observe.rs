//! `observe` over a cable: what it shows of real packets, what it follows through changes of the
//! policy, and that any number of readers may look.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INSIDE_V4, INTERFACE, OUTSIDE_V4, Pair};
use firewall_tests::patience;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// The policy of docs/observe.md, for the interface of these tests.
fn page(block: &str) -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/observe.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, page) = page.split_once("## Logging what rules match").unwrap();
    let (_, rest) = page.split_once(&format!("```{block}\n")).unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

fn load(ctl: &Ctl<'_>, policy: &str) {
    let file = ctl.policy(policy).unwrap();
    ctl.ok(&["load", "-i", INTERFACE, "-f", file.to_str().unwrap()])
        .unwrap();
}

/// Datagrams of four bytes, always from the same port.
fn send(pair: &Pair, port: u16, count: u32) {
    pair.outside.run(|| {
        let socket = UdpSocket::bind((OUTSIDE_V4, 4000)).unwrap();
        for _ in 0..count {
            socket.send_to(b"line", (INSIDE_V4, port)).unwrap();
        }
    });
}

/// Lines without the time.
fn untimed(text: &str) -> String {
    let line = |line: &str| match line.split_once("Z ") {
        Some((time, rest)) if time.len() == "12:00:00.000".len() => format!("TIME {rest}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
#[ignore = "needs root"]
fn packets_that_rules_log_are_shown() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    // Rates by which nothing comes back while a busy machine does not run the sender.
    let policy = page("yaml").replace("eth0", INTERFACE);
    load(&ctl, &policy.replace("5/s", "10/d").replace("10/s", "20/d"));
    assert_eq!(ctl.ok(&["observe"]).unwrap(), "");
    send(&pair, 69, 30);
    let telnet = SocketAddr::from((INSIDE_V4, 23));
    let soon = Duration::from_millis(200);
    let refused = pair
        .outside
        .run(|| TcpStream::connect_timeout(&telnet, soon));
    refused.unwrap_err();

    let mut story = String::new();
    for line in page("sh").lines() {
        let line = line.strip_prefix("sudo firewall-ctl ").unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        if !words.contains(&"-f") {
            story += &format!("$ {line}\n{}\n", untimed(&ctl.ok(&words).unwrap()));
        }
    }
    // The port that the system took for the connection.
    let mut shown = String::new();
    for (i, part) in story.split("tcp 192.0.2.9:").enumerate() {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit() && i > 0);
        shown += if i > 0 { "tcp 192.0.2.9:PORT" } else { "" };
        shown += rest;
    }
    insta::assert_snapshot!(shown);

    // Each filter leaves what it says.
    let count = |filter: &[&str]| {
        let words = [&["observe", "--last", "100"], filter].concat();
        ctl.ok(&words)
            .unwrap()
            .lines()
            .filter(|it| !it.starts_with('('))
            .count()
    };
    assert_eq!(count(&[]), 11);
    assert_eq!(count(&["--rule", "telnet"]), 1);
    assert_eq!(count(&["--rule", "default", "--port", "69"]), 10);
    assert_eq!(count(&["--port", "4000"]), 10);
    assert_eq!(count(&["--from", "192.0.2.0/24"]), 11);
    assert_eq!(count(&["--from", "198.51.100.0/24"]), 0);
    assert_eq!(count(&["--to", "192.0.2.80", "--verdict", "drop"]), 11);
    assert_eq!(count(&["--verdict", "pass"]), 0);
    assert_eq!(count(&["--interface", INTERFACE]), 11);
    let json = ctl
        .ok(&["observe", "--rule", "telnet", "-o", "json"])
        .unwrap();
    let event: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&event["verdict"], &event["port"]),
        (&"drop".into(), &23.into())
    );
    // What is shown is what `test` reads.
    let packet = event["packet"].as_str().unwrap();
    let policy = ctl.folder().join("policy.yaml");
    let said = ctl
        .run(&["test", packet, "-f", policy.to_str().unwrap()])
        .unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("telnet"), "{said}");
}

/// `observe -f` in the background, and its lines.
struct Follower {
    child: Child,
    lines: Receiver<String>,
}

impl Follower {
    fn start(ctl: &Ctl<'_>, more: &[&str]) -> Self {
        let words = [&["observe", "-f", "--last", "0"], more].concat();
        let mut command = ctl.command(&words);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// The next `count` lines.
    fn next(&self, count: usize) -> String {
        let line = |_| {
            self.lines
                .recv_timeout(patience(Duration::from_secs(10)))
                .unwrap()
                + "\n"
        };
        untimed(&(0..count).map(line).collect::<String>())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "needs root"]
fn readers_follow_through_changes_of_the_policy() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let policy = |rules: &str| {
        format!(
            "version: 1\ninterfaces: [{{match: {INTERFACE}}}]\ndefault: {{in: drop}}\nrules:\n{rules}"
        )
    };
    let quiet = policy("- {name: tftp, proto: udp, port: 69, action: drop}\n");
    load(&ctl, &quiet);
    let refused = ctl.run(&["observe"]).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    insta::assert_snapshot!(String::from_utf8_lossy(&refused.stderr));

    load(
        &ctl,
        &policy("- {name: tftp, proto: udp, port: 69, log: 99/s, action: drop}\n"),
    );
    let all = Follower::start(&ctl, &[]);
    let other = Follower::start(&ctl, &["--logged", "--rule", "snmp", "-o", "json"]);
    // Both are at work when they have seen something.
    let line =
        "TIME drop    tftp             udp 192.0.2.9:4000 > 192.0.2.80:69 length 32 on wan0 (tftp";
    std::thread::sleep(patience(Duration::from_secs(1)));
    send(&pair, 69, 2);
    assert_eq!(all.next(2), format!("{line})\n{line}) again x1\n"));

    // The same ring under the next policy, another name.
    load(
        &ctl,
        &policy("- {name: snmp, proto: udp, port: 161, log: 99/s, mode: audit, action: reject}\n"),
    );
    std::thread::sleep(patience(Duration::from_secs(2)));
    send(&pair, 161, 1);
    let line = "TIME audit reject snmp             udp 192.0.2.9:4000 > 192.0.2.80:161 length 32 on wan0 (snmp)\n";
    assert_eq!(all.next(1), line);
    let event: Value = serde_json::from_str(&other.next(1)).unwrap();
    assert_eq!(
        (&event["rule"], &event["audit"]),
        (&"snmp".into(), &true.into())
    );
    assert_eq!(event["number"], 2);

    // A policy without a log, and one with: a ring of its own.
    load(&ctl, &quiet);
    load(
        &ctl,
        &policy("- {name: snmp, proto: udp, port: 161, log: 99/s, action: drop}\n"),
    );
    std::thread::sleep(patience(Duration::from_secs(2)));
    send(&pair, 161, 1);
    let event: Value = serde_json::from_str(&other.next(1)).unwrap();
    assert_eq!(
        (&event["number"], &event["verdict"]),
        (&0.into(), &"drop".into())
    );

    // And the end.
    ctl.ok(&["unload", "--all"]).unwrap();
    let mut all = all;
    let status = all.child.wait().unwrap();
    assert_eq!(status.code(), Some(1), "nothing is loaded");
}

/// Of what there is not nothing is ever shown, and that is said.
#[test]
#[ignore = "needs root"]
fn rules_and_interfaces_that_are_not_there_are_suggested() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let policy = format!(
        "version: 1\ninterfaces: [{{match: {INTERFACE}}}]\ndefault: {{in: drop}}\nrules:\n\
         - {{name: telnet, proto: tcp, port: 23, log: 5/s, action: drop}}\n"
    );
    load(&ctl, &policy);
    let near = format!("did you mean `{INTERFACE}`?");
    for (words, help) in [
        (["--rule", "telent"], "did you mean `telnet`?"),
        (["--rule", "nosuch"], "list them: firewall-ctl get rules"),
        (["--interface", "wan1"], near.as_str()),
        (
            ["--interface", "lo"],
            "list them: firewall-ctl get interfaces",
        ),
    ] {
        let output = ctl.run(&[&["observe"][..], &words].concat()).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        assert!(
            said.contains("there is no") && said.contains(help),
            "{words:?}: {said}"
        );
    }
    for rule in ["telnet", "default"] {
        ctl.ok(&["observe", "--rule", rule]).unwrap();
    }
}
