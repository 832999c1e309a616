//! The wall clock is set while the filter works. Bans, and rules that expire, go by the monotonic
//! clock, so that a step moves nothing in the kernel; the daemon notices it, and gives rules that
//! expire the new time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_policy::time;
use firewall_tests::clock::WallClock;
use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INSIDE_V4, OUTSIDE_V4, Pair};
use firewall_tests::patience;
use serde_json::Value;
use std::net::UdpSocket;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const HOUR: u64 = 3_600;
const DAY: i64 = 86_400;

/// A rule that lets datagrams through for one more hour.
fn policy() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!(
        "version: 1\ninterfaces: [{{match: wan0, mode: native}}]\ndefault: {{in: drop}}\nrules:\n\
         - {{name: party, proto: udp, port: 514, expires: {}, action: pass}}\n",
        time::print(now.as_secs() + HOUR)
    )
}

/// Whether a datagram comes through.
fn passes(pair: &Pair, inside: &UdpSocket) -> bool {
    pair.outside.run(|| {
        let socket = UdpSocket::bind((OUTSIDE_V4, 0)).unwrap();
        socket.send_to(b"knock", (INSIDE_V4, 514)).unwrap();
    });
    inside.recv_from(&mut [0; 16]).is_ok()
}

fn listener(pair: &Pair) -> UdpSocket {
    let inside = pair.inside.run(|| UdpSocket::bind("0.0.0.0:514").unwrap());
    let wait = patience(Duration::from_millis(100));
    inside.set_read_timeout(Some(wait)).unwrap();
    inside
}

/// What `get rules` says that the rule does, and the warnings of `status`, which tells of them by its
/// exit code too.
fn shown(ctl: &Ctl<'_>) -> (String, Vec<String>) {
    let rules = ctl.ok(&["get", "rules"]).unwrap();
    let output = ctl.run(&["-o", "json", "status"]).unwrap();
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let warnings = status["warnings"].as_array().unwrap();
    let degraded = !warnings.is_empty();
    assert_eq!(output.status.code(), Some(i32::from(degraded)), "{status}");
    let row = rules.lines().nth(1).unwrap();
    (
        row.split_whitespace().nth(2).unwrap().to_owned(),
        warnings.iter().map(ToString::to_string).collect(),
    )
}

#[test]
#[ignore = "needs root"]
fn without_the_daemon_a_step_moves_nothing() {
    let pair = Pair::new().unwrap();
    let inside = listener(&pair);
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let clock = WallClock::of(&mut ctl).unwrap();
    let file = ctl.policy(&policy()).unwrap();
    let load = ["load", "-i", "wan0", "-f", file.to_str().unwrap()];
    ctl.ok(&load).unwrap();
    assert_eq!(shown(&ctl), ("pass".to_owned(), Vec::new()));

    for step in [DAY, -DAY] {
        clock.set(step).unwrap();
        assert!(passes(&pair, &inside), "the program has its own clock");
        let (action, warnings) = shown(&ctl);
        assert_eq!(action, "pass", "listed is what the program does");
        assert!(
            warnings.len() == 1 && warnings[0].contains("the clock was set"),
            "{warnings:?}"
        );
    }

    // A ban begins before one step and ends after another, at its time.
    clock.set(0).unwrap();
    ctl.ok(&["ban", "192.0.2.9", "for", "2s"]).unwrap();
    let begin = Instant::now();
    for step in [DAY, -DAY] {
        clock.set(step).unwrap();
        let banned = !passes(&pair, &inside);
        assert!(banned || begin.elapsed() > Duration::from_millis(1_500));
    }
    std::thread::sleep(Duration::from_millis(2_050).saturating_sub(begin.elapsed()));
    assert!(passes(&pair, &inside), "two seconds are over");

    // The same policy is not the same after a step; that is what the warning asks for.
    clock.set(DAY).unwrap();
    let said = ctl.run(&["check", file.to_str().unwrap()]).unwrap();
    let said = [said.stdout, said.stderr].concat();
    assert!(String::from_utf8_lossy(&said).contains("FW0206"));
    ctl.ok(&load).unwrap();
    assert!(!passes(&pair, &inside));
    assert_eq!(shown(&ctl), ("expired".to_owned(), Vec::new()));
}

#[test]
#[ignore = "needs root"]
fn the_daemon_follows_a_step() {
    let pair = Pair::new().unwrap();
    let inside = listener(&pair);
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let clock = WallClock::of(&mut ctl).unwrap();
    let file = ctl.policy(&policy()).unwrap();
    // In another mode than the policy's, which holds for the daemon's own requests, too.
    ctl.start_with(&file, &["--mode", "generic"]).unwrap();
    assert!(passes(&pair, &inside));
    // What is in force is renewed, and not what the file says meanwhile.
    std::fs::write(&file, "version: 1\ndefault: {in: pass}\n").unwrap();
    for (step, action) in [(DAY, "expired"), (0, "pass"), (DAY, "expired")] {
        clock.set(step).unwrap();
        let begin = Instant::now();
        while passes(&pair, &inside) != (action == "pass") {
            assert!(
                begin.elapsed() < patience(Duration::from_secs(5)),
                "{}",
                ctl.log()
            );
        }
        while shown(&ctl) != (action.to_owned(), Vec::new()) {
            assert!(
                begin.elapsed() < patience(Duration::from_secs(5)),
                "{:?}",
                shown(&ctl)
            );
        }
    }
    let status = ctl.json(&["status"]).unwrap();
    assert_eq!(status["generation"]["number"], 4, "once for each step");
    assert_eq!(status["interfaces"][0]["mode"], "generic");
    assert_eq!(ctl.log().matches("the clock was set").count(), 3);
}
