//! The filter outlives its daemon: killed under traffic, adopted by the next one, and gone without
//! a trace after `unload`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INSIDE_V4, OUTSIDE_V4, Pair};
use firewall_tests::patience;
use serde_json::Value;
use std::net::UdpSocket;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const POLICY: &str = "\
version: 1
interfaces: [{match: wan0}]
default: {in: drop}
rules:
  - {name: open, proto: udp, port: 514, action: pass}
";

fn link_id(status: &Value) -> u64 {
    status["interfaces"][0]["link_id"].as_u64().unwrap()
}

/// Folders of pins that this test process has made and that are still there.
fn pin_folders() -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/sys/fs/bpf").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with(&format!("fwt-{}", std::process::id())) {
            found.push(name);
        }
    }
    found
}

/// Packets that the program on the interface has counted on a port.
fn dropped(ctl: &Ctl<'_>, port: u16) -> u64 {
    let snapshot = ctl.snapshot().unwrap();
    let ports = snapshot["ports"].as_array().unwrap();
    let view = ports.iter().find(|view| view["port"] == port);
    view.map_or(0, |view| view["drop"]["total"]["packets"].as_u64().unwrap())
}

#[test]
#[ignore = "needs root"]
fn the_filter_outlives_its_daemon() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.start(&policy).unwrap();
    let before = ctl.json(&["status"]).unwrap();

    // A blocked port with a listener: one packet there is one too many.
    let victim = pair.inside.run(|| UdpSocket::bind((INSIDE_V4, 9)).unwrap());
    victim.set_nonblocking(true).unwrap();
    let sender = pair
        .outside
        .run(|| UdpSocket::bind((OUTSIDE_V4, 0)).unwrap());
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) && sent.load(Ordering::Relaxed) < 2_000_000 {
                sender.send_to(&[0; 10], (INSIDE_V4, 9)).unwrap();
                if sent.fetch_add(1, Ordering::Relaxed) % 64 == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        });
        for round in 0..5 {
            std::thread::sleep(Duration::from_millis(100));
            ctl.kill().unwrap();
            std::thread::sleep(Duration::from_millis(200));
            let alone = ctl.json(&["status"]).unwrap();
            assert!(alone["daemon_pid"].is_null(), "round {round}");
            assert_eq!(
                link_id(&alone),
                link_id(&before),
                "round {round}: enforced by the same link"
            );
            let text = ctl.ok(&["status"]).unwrap();
            assert!(text.contains("ACTIVE"), "{text}");
            ctl.start(&policy).unwrap();
            let adopted = ctl.json(&["status"]).unwrap();
            assert_eq!(
                link_id(&adopted),
                link_id(&before),
                "round {round}: the same link adopted"
            );
        }
        stop.store(true, Ordering::Relaxed);
    });
    std::thread::sleep(Duration::from_millis(200));
    let leaked = victim.recv(&mut [0; 64]);
    assert_eq!(
        leaked.unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock,
        "a packet got through"
    );
    assert_eq!(
        dropped(&ctl, 9),
        sent.load(Ordering::Relaxed),
        "every packet was counted"
    );

    ctl.kill().unwrap();
    ctl.ok(&["unload", "--all"]).unwrap();
    assert!(!ctl.pins().exists(), "{:?}", pin_folders());
    let links = pair
        .inside
        .run(|| Command::new("ip").args(["link", "show", "wan0"]).output());
    let links = String::from_utf8(links.unwrap().stdout).unwrap();
    assert!(!links.contains("xdp"), "{links}");
    let after = ctl.run(&["-o", "json", "status"]).unwrap();
    assert_eq!(
        after.status.code(),
        Some(1),
        "nothing enforces, and the exit code says so"
    );
    let after: Value = serde_json::from_slice(&after.stdout).unwrap();
    assert!(after["generation"].is_null(), "{after}");
    // And traffic flows again.
    sender.send_to(&[0; 10], (INSIDE_V4, 9)).unwrap();
    victim.set_nonblocking(false).unwrap();
    victim
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    victim.recv(&mut [0; 64]).unwrap();
}

/// A pin that somebody removes takes the filter off that interface: the daemon puts it back, and without
/// one `status` says so until the policy is applied again.
#[test]
#[ignore = "needs root"]
fn an_interface_that_has_lost_its_filter_is_told() {
    let pair = Pair::new().unwrap();
    pair.inside
        .ip("link add wan1 type veth peer name far1")
        .unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.start_with(&policy, &["-i", "wan1"]).unwrap();
    assert_eq!(ctl.json(&["status"]).unwrap()["state"], "active");

    let degraded = |ctl: &Ctl<'_>| {
        let output = ctl.run(&["-o", "json", "status"]).unwrap();
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{status}");
        assert_eq!(status["state"], "degraded", "{status}");
        let warnings = status["warnings"].as_array().unwrap();
        let is_told = |it: &Value| it.as_str().is_some_and(|it| it.contains("wan1"));
        assert!(
            !warnings.is_empty() && warnings.iter().all(is_told),
            "{status}"
        );
    };
    let pin = ctl.pins().join("links/wan1");
    std::fs::remove_file(&pin).unwrap();
    let start = Instant::now();
    while !pin.exists() {
        assert!(
            start.elapsed() < patience(Duration::from_secs(30)),
            "the daemon puts it back: {}",
            ctl.log()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    ctl.kill().unwrap();
    std::fs::remove_file(&pin).unwrap();
    degraded(&ctl);

    ctl.start_with(&policy, &["-i", "wan1"]).unwrap();
    let status = ctl.json(&["status"]).unwrap();
    assert_eq!(status["state"], "active", "{status}");
    assert_eq!(status["interfaces"].as_array().unwrap().len(), 2);
}

#[test]
#[ignore = "needs root"]
fn apply_keeps_the_counters_of_rules_that_keep_their_names() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.start(&policy).unwrap();
    let send = |port: u16, packets: u32| {
        pair.outside.run(|| {
            let socket = UdpSocket::bind((OUTSIDE_V4, 0)).unwrap();
            for _ in 0..packets {
                socket.send_to(&[0; 10], (INSIDE_V4, port)).unwrap();
            }
        });
        std::thread::sleep(Duration::from_millis(50));
    };
    let hits = |ctl: &Ctl<'_>, name: &str| {
        let snapshot = ctl.snapshot().unwrap();
        let rules = snapshot["rules"].as_array().unwrap();
        let view = rules.iter().find(|view| view["name"] == name).unwrap();
        view["hits"]["total"]["packets"].as_u64().unwrap()
    };
    send(514, 10);
    assert_eq!(hits(&ctl, "open"), 10);

    let first = "rules:\n  - {name: first, proto: udp, port: 515, action: pass}\n";
    let changed = ctl.policy(&POLICY.replace("rules:\n", first)).unwrap();
    let path = changed.to_str().unwrap();
    ctl.ok(&["apply", "-f", path]).unwrap();
    send(514, 5);
    send(515, 3);
    assert_eq!(hits(&ctl, "open"), 15);
    assert_eq!(hits(&ctl, "first"), 3);

    // The same again is not a change.
    let again = ctl.ok(&["apply", "-f", path]).unwrap();
    assert!(again.contains("unchanged"), "{again}");
    let status = ctl.json(&["status"]).unwrap();
    assert_eq!(status["generation"]["number"], 2);
}

#[test]
#[ignore = "needs root"]
fn the_kernel_log_tells_every_outcome_when_asked_to() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.set("FIREWALL_KERNEL_LOG", "1");
    ctl.start(&policy).unwrap();
    pair.outside.run(|| {
        let socket = UdpSocket::bind((OUTSIDE_V4, 0)).unwrap();
        for port in [9, 9, 9, 514] {
            socket.send_to(&[0; 10], (INSIDE_V4, port)).unwrap();
        }
    });
    // Drop, no rule, UDP port 9, 52 bytes of frame; and pass by a rule.
    let dropped = format!("verdict 1 reason 1 rule {} port 19 bytes 52", u32::MAX);
    let passed = "verdict 0 reason 0 rule 0 port 1029 bytes 52";
    let mut log = String::new();
    for _ in 0..100 {
        log = ctl.log();
        if log.contains(passed) {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(log.matches(&dropped).count(), 3, "{log}");
    assert_eq!(log.matches(passed).count(), 1, "{log}");
}
