//! Changes that go by themselves unless they are confirmed: with the client killed, the daemon killed, the
//! machine started anew, the disk full; and the history that they go back by.
//!
//! `FIREWALL_CASES=N` says how many rounds (3; `--long`: 20).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::{Ctl, said, until};
use firewall_tests::netns::{INSIDE_V4, Pair};
use firewall_tests::number;
use firewall_tests::random::Random;
use firewall_tests::talk::{connect_within, listen};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const SESSION: &str = "203.0.113.5 50000 198.51.100.1 22";

/// Lets SSH in; `more` tells one from another.
fn open(more: &str) -> String {
    format!(
        "version: 1\ninterfaces: [{{match: wan0}}]\ndefault: {{in: drop}}\nrules:\n  \
         - {{name: ssh, proto: tcp, port: 22, action: pass}}\n{more}"
    )
}

/// Lets nobody in.
const SHUT: &str = "version: 1\ninterfaces: [{match: wan0}]\ndefault: {in: drop}\n\
                    rules: [{name: replies, state: established, action: pass}]\n";

fn write(ctl: &Ctl<'_>, name: &str, text: &str) -> String {
    let path = ctl.folder().join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn code(ctl: &Ctl<'_>, words: &[&str]) -> (i32, String) {
    let output: Output = ctl.run(words).unwrap();
    (output.status.code().unwrap(), said(&output))
}

fn status(ctl: &Ctl<'_>) -> Value {
    let output = ctl.run(&["-o", "json", "status"]).unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

fn pending(ctl: &Ctl<'_>) -> Option<u64> {
    status(ctl)["pending"]["generation"].as_u64()
}

fn in_force(ctl: &Ctl<'_>) -> (u64, String) {
    let policy = ctl.json(&["get", "policy"]).unwrap();
    let text = policy["text"].as_str().unwrap().to_owned();
    (policy["generation"].as_u64().unwrap(), text)
}

/// Generation, verb, whether it is confirmed, and what it restores, newest first.
fn history(ctl: &Ctl<'_>) -> Vec<(u64, String, bool, Option<u64>)> {
    let history = ctl.json(&["history"]).unwrap();
    assert_eq!(history.get("warnings"), None, "{history:#}");
    let all = history["generations"].as_array().unwrap().iter();
    all.map(|it| {
        (
            it["generation"].as_u64().unwrap(),
            it["verb"].as_str().unwrap().to_owned(),
            it["confirmed"].as_bool().unwrap(),
            it["restores"].as_u64(),
        )
    })
    .collect()
}

fn waiting_file(ctl: &Ctl<'_>) -> PathBuf {
    ctl.state().join("pending")
}

/// Whether somebody outside gets in.
fn gets_in(pair: &Pair) -> bool {
    let to = SocketAddr::from((INSIDE_V4, 22));
    connect_within(&pair.outside, to, Duration::from_millis(150)).is_ok()
}

#[test]
#[ignore = "needs root; alone: it measures when access is back"]
fn what_cuts_the_session_is_gone_in_time_though_its_client_is_killed() {
    const LATE: Duration = Duration::from_secs(1);
    let rounds = number("FIREWALL_CASES", 3).unwrap();
    let pair = Pair::new().unwrap();
    listen(&pair.inside, 22).unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(&open("")).unwrap();
    ctl.start(&policy).unwrap();
    let shut = write(&ctl, "shut.yaml", SHUT);
    ctl.set("SSH_CONNECTION", SESSION);
    let (exit, text) = code(&ctl, &["apply", "-f", &shut]);
    assert_eq!(exit, 7, "{text}");
    assert!(text.contains("--confirm=60s"), "{text}");
    let mut latest = Duration::ZERO;
    let mut takes = Duration::ZERO;
    for round in 0..rounds {
        // To go back is to apply a policy: so long as that takes here, now.
        for text in [open("# another\n"), open("")] {
            let other = write(&ctl, "other.yaml", &text);
            let applied = ctl.json(&["apply", "-f", &other]).unwrap();
            let seconds = applied["seconds"].as_f64().unwrap();
            takes = takes.max(Duration::from_secs_f64(seconds));
        }
        assert!(gets_in(&pair), "round {round}");
        let mut client = ctl
            .command(&["apply", "-f", &shut, "--confirm=3s"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("it is in force", &ctl, || pending(&ctl).is_some());
        let _ = client.kill();
        client.wait().unwrap();
        // From a moment before the answer: the end is not later than this says.
        let asked = Instant::now();
        let left = status(&ctl)["pending"]["left"].as_f64().unwrap();
        let end = asked + Duration::from_secs_f64(left);
        assert!(!gets_in(&pair), "round {round}: nothing was cut");
        while !gets_in(&pair) {
            let late = end.elapsed() > Duration::from_secs(30);
            assert!(!late, "round {round}\n{}", ctl.log());
        }
        latest = latest.max(end.elapsed());
        // The kernel knows it before the daemon has tidied up.
        until("nothing waits", &ctl, || pending(&ctl).is_none());
        assert_eq!(in_force(&ctl).1, open(""), "round {round}");
    }
    println!(
        "access was back {latest:?} after the end of the time, at the latest; an apply takes {takes:?}"
    );
    assert!(latest <= LATE.max(3 * takes), "{latest:?}, {takes:?}");
    // What is in force is not what was asked for.
    let (exit, text) = code(&ctl, &["status"]);
    assert_eq!(exit, 1, "{text}");
    assert!(text.contains("not confirmed"), "{text}");
}

#[test]
#[ignore = "needs root"]
fn a_change_is_tried_confirmed_cancelled_and_rolled_back() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(&open("")).unwrap();
    ctl.start(&policy).unwrap();
    let [one, two] = ["one", "two"].map(|name| {
        let rule = format!("  - {{name: {name}, proto: tcp, port: 80, action: pass}}\n");
        write(&ctl, &format!("{name}.yaml"), &open(&rule))
    });
    let (first, _) = in_force(&ctl);
    let nothing = [&["confirm"][..], &["cancel"]];
    for words in nothing {
        let (exit, text) = code(&ctl, words);
        assert_eq!(exit, 1, "{text}");
        assert!(text.contains("nothing waits"), "{text}");
    }
    let text = ctl
        .ok(&["apply", "-f", &one, "--confirm", "--why", "ticket 17"])
        .unwrap();
    assert!(text.contains("within 1m: firewall-ctl confirm"), "{text}");
    let second = pending(&ctl).unwrap();
    let (exit, screen) = code(&ctl, &["status"]);
    assert_eq!(exit, 0, "what was asked for is in force: {screen}");
    assert!(screen.contains("(pending, "), "{screen}");
    assert!(
        screen.contains("PENDING: firewall-ctl confirm within"),
        "{screen}"
    );
    // Nothing else is put in its place meanwhile, and bans are made.
    for words in [
        &["apply", "-f", &two][..],
        &["apply", "-f", &two, "--confirm"],
        &["apply", "-f", &two, "--i-know"],
        &["reload"],
        &["allow", "81/tcp"],
        &["rollback"],
    ] {
        let (exit, text) = code(&ctl, words);
        assert_eq!(exit, 7, "{words:?}: {text}");
        for way in ["firewall-ctl confirm", "firewall-ctl cancel"] {
            assert!(text.contains(way), "{words:?}: {text}");
        }
    }
    ctl.ok(&["ban", "192.0.2.9"]).unwrap();
    assert_eq!(pending(&ctl), Some(second));
    let text = ctl.ok(&["confirm", "--why", "works"]).unwrap();
    assert!(text.contains("stays"), "{text}");
    assert_eq!(pending(&ctl), None);
    assert!(!waiting_file(&ctl).exists());
    // Taken back before its time is over.
    ctl.ok(&["apply", "-f", &two, "--confirm=1h"]).unwrap();
    let third = pending(&ctl).unwrap();
    ctl.ok(&["cancel"]).unwrap();
    let (fourth, text) = in_force(&ctl);
    assert!(text.contains("name: one"), "{text}");
    assert_eq!(code(&ctl, &["status"]).0, 0, "somebody has asked for it");
    let wanted = [
        (fourth, "cancel", true, Some(second)),
        (third, "apply", false, None),
        (second, "apply", true, None),
        (first, "start", true, None),
    ];
    let wanted = wanted.map(|it| (it.0, it.1.to_owned(), it.2, it.3));
    assert_eq!(history(&ctl), wanted);
    let screen = ctl.ok(&["history"]).unwrap();
    for part in ["in force", "not confirmed", "ticket 17", "root"] {
        assert!(screen.contains(part), "{part}: {screen}");
    }
    back_and_forth(&ctl, (first, third), &policy);
    let audit = fs::read_to_string(ctl.state().join("audit.jsonl")).unwrap();
    for part in [
        "\"verb\":\"confirm\"",
        "\"why\":\"works\"",
        "\"why\":\"ticket 17\"",
        "\"verb\":\"rollback\"",
        "\"verb\":\"cancel\"",
    ] {
        assert!(audit.contains(part), "{part}: {audit}");
    }
}

/// Goes back from the policy of `one.yaml` to the first one, to one that was not confirmed, and compares.
fn back_and_forth(ctl: &Ctl<'_>, (first, third): (u64, u64), policy: &Path) {
    let text = ctl.ok(&["rollback"]).unwrap();
    assert!(text.contains(&format!("generation {first}")), "{text}");
    assert_eq!(in_force(ctl).1, open(""));
    let number = third.to_string();
    ctl.ok(&["rollback", &number]).unwrap();
    assert!(in_force(ctl).1.contains("name: two"));
    let (exit, text) = code(ctl, &["diff", &first.to_string(), &number]);
    assert_eq!(exit, 8, "{text}");
    assert!(text.contains("+ newly passes  tcp port 80"), "{text}");
    let (exit, text) = code(ctl, &["diff", policy.to_str().unwrap(), &first.to_string()]);
    assert_eq!(exit, 0, "{text}");
    assert_eq!(ctl.ok(&["history", &number]).unwrap(), in_force(ctl).1);
    // A rule that is added is lost by going back, and that is said.
    ctl.ok(&["allow", "8080/tcp"]).unwrap();
    let output = ctl.run(&["rollback"]).unwrap();
    assert!(said(&output).contains("allow-8080-tcp"), "{output:?}");
    assert!(!in_force(ctl).1.contains("8080"));
    for (words, wanted) in [
        (&["rollback", "9999"][..], 3),
        (&["history", "9999"], 3),
        (&["diff", "9999"], 3),
        (&["apply", "-f", "x", "--confirm=0s"], 2),
        (&["rollback", "--confirm=soon"], 2),
    ] {
        let (exit, text) = code(ctl, words);
        assert_eq!(exit, wanted, "{words:?}: {text}");
    }
}

#[test]
#[ignore = "needs root"]
fn set_files_come_back_as_they_were() {
    const LISTED: &str = "version: 1\ninterfaces: [{match: wan0}]\ndefault: {in: drop}\n\
                          sets: {friends: {type: cidr, file: friends.txt}}\n\
                          rules: [{name: ssh, proto: tcp, port: 22, from: '@friends', action: pass}]\n";
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(LISTED).unwrap();
    let file = policy.to_str().unwrap().to_owned();
    write(&ctl, "friends.txt", "192.0.2.1\n");
    ctl.start(&policy).unwrap();
    let (first, _) = in_force(&ctl);
    write(&ctl, "friends.txt", "192.0.2.2\n");
    ctl.ok(&["apply", "-f", &file]).unwrap();
    let (second, _) = in_force(&ctl);
    fs::remove_file(ctl.folder().join("friends.txt")).unwrap();
    let (exit, text) = code(&ctl, &["diff", &first.to_string(), &second.to_string()]);
    assert_eq!(exit, 8, "{text}");
    assert!(
        text.contains("192.0.2.1") && text.contains("192.0.2.2"),
        "{text}"
    );
    let holds =
        |ctl: &Ctl<'_>, address: &str| code(ctl, &["set", "get", "friends", address]).0 == 0;
    assert!(holds(&ctl, "192.0.2.2") && !holds(&ctl, "192.0.2.1"));
    ctl.ok(&["rollback"]).unwrap();
    assert!(holds(&ctl, "192.0.2.1") && !holds(&ctl, "192.0.2.2"));
}

#[test]
#[ignore = "needs root"]
fn a_daemon_that_is_killed_knows_the_rest_of_the_time() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(&open("")).unwrap();
    ctl.start(&policy).unwrap();
    let shut = write(&ctl, "shut.yaml", SHUT);
    ctl.ok(&["apply", "-f", &shut, "--confirm=8s"]).unwrap();
    let begin = Instant::now();
    ctl.kill().unwrap();
    // Without a daemon, the verbs that need one say so, and the screen tells what waits.
    for words in [&["confirm"][..], &["cancel"], &["rollback"]] {
        assert_eq!(code(&ctl, words).0, 5, "{words:?}");
    }
    assert!(pending(&ctl).is_some());
    let (exit, text) = code(&ctl, &["status"]);
    assert_eq!(exit, 1, "{text}");
    assert!(text.contains("does not come back by itself"), "{text}");
    assert_eq!(history(&ctl).len(), 2);
    sleep(Duration::from_secs(2));
    ctl.start(&policy).unwrap();
    assert_eq!(
        in_force(&ctl).1,
        SHUT,
        "its own file is not put in its place"
    );
    let left = status(&ctl)["pending"]["left"].as_f64().unwrap();
    assert!(left < 6.5, "{left}");
    until("it goes", &ctl, || in_force(&ctl).1 == open(""));
    let took = begin.elapsed();
    assert!(
        took > Duration::from_secs(7) && took < Duration::from_secs(10),
        "{took:?}"
    );
    // Its time is over while no daemon is there.
    ctl.ok(&["apply", "-f", &shut, "--confirm=2s"]).unwrap();
    ctl.kill().unwrap();
    sleep(Duration::from_secs(3));
    ctl.start(&policy).unwrap();
    assert_eq!(in_force(&ctl).1, open(""));
    assert!(!waiting_file(&ctl).exists());
    // What was not confirmed is not put in force by a restart, though the file says it.
    fs::write(&policy, SHUT).unwrap();
    ctl.kill().unwrap();
    ctl.start(&policy).unwrap();
    assert_eq!(in_force(&ctl).1, open(""));
    let (exit, text) = code(&ctl, &["status"]);
    assert_eq!(exit, 1, "{text}");
    assert!(text.contains("was not confirmed"), "{text}");
    // Who asks for it has it.
    ctl.ok(&["reload"]).unwrap();
    assert_eq!(in_force(&ctl).1, SHUT);
    ctl.kill().unwrap();
    ctl.start(&policy).unwrap();
    assert_eq!(in_force(&ctl).1, SHUT, "it is confirmed now");
}

/// A rule that was added breaks a test of the policy, which is told: so it comes back, too.
#[test]
#[ignore = "needs root"]
fn a_policy_comes_back_though_its_tests_fail() {
    let tested = open(
        "tests:\n  - {name: web-is-shut, packet: 'tcp 192.0.2.1:40000 > 198.51.100.1:80', expect: drop}\n",
    );
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(&tested).unwrap();
    ctl.start(&policy).unwrap();
    let shut = write(&ctl, "shut.yaml", SHUT);
    let (exit, text) = code(&ctl, &["allow", "80/tcp"]);
    assert_eq!(exit, 0, "{text}");
    assert!(text.contains("web-is-shut"), "{text}");
    let (number, before) = in_force(&ctl);
    let discarded = ["apply", "-f", &shut, "--discard-runtime"];
    for end in [None, Some("cancel")] {
        let time = if end.is_some() {
            "--confirm=1h"
        } else {
            "--confirm=1s"
        };
        let words: Vec<&str> = discarded.iter().copied().chain([time]).collect();
        ctl.ok(&words).unwrap();
        if let Some(verb) = end {
            ctl.ok(&[verb]).unwrap();
        }
        until("it comes back", &ctl, || in_force(&ctl).1 == before);
        until("nothing waits", &ctl, || pending(&ctl).is_none());
    }
    ctl.ok(&discarded).unwrap();
    let (exit, text) = code(&ctl, &["rollback", &number.to_string()]);
    assert_eq!(exit, 0, "{text}");
    assert!(text.contains("web-is-shut"), "{text}");
    assert_eq!(in_force(&ctl).1, before);
}

/// Where nothing is in force, nothing can come back: no policy of before is put in force in its place.
#[test]
#[ignore = "needs root"]
fn nothing_is_tried_where_nothing_is_in_force() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(&open("")).unwrap();
    ctl.start(&policy).unwrap();
    ctl.ok(&["unload", "--all"]).unwrap();
    until("it is off", &ctl, || status(&ctl)["state"] == "off");
    let shut = write(&ctl, "shut.yaml", SHUT);
    let (exit, text) = code(&ctl, &["apply", "-f", &shut, "--confirm"]);
    assert_eq!(exit, 7, "{text}");
    assert!(text.contains("nothing is in force"), "{text}");
    assert_eq!(status(&ctl)["state"], "off");
    ctl.ok(&["apply", "-f", &shut]).unwrap();
}

/// What the daemon cannot read at one moment it knows nevertheless.
#[test]
#[ignore = "needs root"]
fn the_time_goes_on_though_the_file_is_damaged_or_the_pins_are_gone() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(&open("")).unwrap();
    ctl.start(&policy).unwrap();
    let shut = write(&ctl, "shut.yaml", SHUT);
    let other = write(&ctl, "other.yaml", &open("# other\n"));
    for what in ["damaged", "removed", "pins"] {
        ctl.ok(&["apply", "-f", &shut, "--confirm=6s"]).unwrap();
        match what {
            "damaged" => fs::write(waiting_file(&ctl), "torn").unwrap(),
            "removed" => fs::remove_file(waiting_file(&ctl)).unwrap(),
            _ => ctl.forget_pins().unwrap(),
        }
        // A request that ends in a failure is no end of the time.
        let words = ["rollback", "9999"];
        assert_ne!(code(&ctl, &words).0, 0, "{what}");
        until(what, &ctl, || {
            let policy = ctl.json(&["get", "policy"]).unwrap_or(Value::Null);
            policy["text"] == open("")
        });
        until("nothing waits", &ctl, || pending(&ctl).is_none());
        assert!(!waiting_file(&ctl).exists(), "{what}");
        ctl.ok(&["apply", "-f", &other]).unwrap();
        ctl.ok(&["reload"]).unwrap();
    }
}

/// As the machine's next start finds it: no pins, and a time of another start.
fn reboot(ctl: &mut Ctl<'_>) {
    ctl.kill().unwrap();
    ctl.forget_pins().unwrap();
    let file = waiting_file(ctl);
    if let Ok(text) = fs::read_to_string(&file) {
        let mut waiting: Value = serde_json::from_str(&text).unwrap();
        waiting["boot"] = "of-another-day".into();
        waiting["ends"] = u64::MAX.into();
        fs::write(file, waiting.to_string()).unwrap();
    }
}

#[test]
#[ignore = "needs root"]
fn the_machines_next_start_begins_with_the_last_confirmed_policy() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(&open("")).unwrap();
    let file = policy.to_str().unwrap().to_owned();
    ctl.start(&policy).unwrap();
    fs::write(&policy, SHUT).unwrap();
    ctl.ok(&["apply", "-f", &file, "--confirm=1h"]).unwrap();
    reboot(&mut ctl);
    ctl.start(&policy).unwrap();
    assert_eq!(in_force(&ctl).1, open(""));
    assert!(!waiting_file(&ctl).exists());
    assert_eq!(code(&ctl, &["status"]).0, 1);
    // And the start after that, when nothing waits any more.
    reboot(&mut ctl);
    ctl.start(&policy).unwrap();
    assert_eq!(in_force(&ctl).1, open(""));
    // A policy that is broken is no reason to filter nothing.
    fs::write(&policy, "version: 1\nodd: 1\n").unwrap();
    reboot(&mut ctl);
    ctl.start(&policy).unwrap();
    assert_eq!(in_force(&ctl).1, open(""));
    let (exit, text) = code(&ctl, &["status"]);
    assert_eq!(exit, 1, "{text}");
    assert!(text.contains("newest confirmed policy"), "{text}");
}

/// What runs before the daemon, as the package has it.
#[test]
#[ignore = "needs root"]
fn a_load_at_boot_begins_with_the_last_confirmed_policy() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(&open("")).unwrap();
    let file = policy.to_str().unwrap().to_owned();
    let boot = ["load", "-f", &file, "--or-confirmed"];
    ctl.ok(&boot).unwrap();
    fs::write(&policy, "version: 1\nodd: 1\n").unwrap();
    let (exit, text) = code(&ctl, &boot);
    assert_eq!(exit, 3, "what is in force stays: {text}");
    ctl.forget_pins().unwrap();
    let (exit, text) = code(&ctl, &boot);
    assert_eq!(exit, 0, "{text}");
    assert!(text.contains("is not loaded"), "{text}");
    assert_eq!(in_force(&ctl).1, open(""));
    ctl.forget_pins().unwrap();
    assert_eq!(
        code(&ctl, &["load", "-f", &file]).0,
        3,
        "who names it hears of it"
    );
    // An interface that is still to come is waited for: no older policy takes the place of the new one.
    fs::write(&policy, open("").replace("wan0", "later0")).unwrap();
    let (exit, text) = code(&ctl, &boot);
    assert_eq!(exit, 3, "{text}");
    assert!(text.contains("later0"), "{text}");
    assert_eq!(status(&ctl)["state"], "off");
}

/// A broken history, or none, keeps no policy from being enforced.
#[test]
#[ignore = "needs root"]
fn a_broken_history_is_said_and_stops_nothing() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(&open("")).unwrap();
    ctl.start(&policy).unwrap();
    let (first, _) = in_force(&ctl);
    ctl.kill().unwrap();
    let kept = ctl.state().join(format!("gen/{first}.yaml"));
    fs::write(&kept, "# firewall generation: {\"gen").unwrap();
    fs::write(waiting_file(&ctl), "torn").unwrap();
    ctl.start(&policy).unwrap();
    until("it is said", &ctl, || {
        let text = code(&ctl, &["status"]).1;
        text.contains("is lost from the history") && text.contains("waits to be confirmed in")
    });
    assert_eq!(code(&ctl, &["status"]).0, 1);
    // No history at all.
    fs::remove_dir_all(ctl.state().join("gen")).unwrap();
    fs::write(ctl.state().join("gen"), "no folder").unwrap();
    let shut = write(&ctl, "shut.yaml", SHUT);
    let (exit, text) = code(&ctl, &["apply", "-f", &shut]);
    assert_eq!(exit, 0, "{text}");
    assert!(text.contains("is not in the history"), "{text}");
    assert_eq!(in_force(&ctl).1, SHUT);
    // No way back, no trial.
    let other = write(&ctl, "other.yaml", &open(""));
    let (exit, text) = code(&ctl, &["apply", "-f", &other, "--confirm"]);
    assert_eq!(exit, 7, "{text}");
    assert!(text.contains("no way back"), "{text}");
    assert_eq!(in_force(&ctl).1, SHUT);
    // It is mended with the next look, and what is in force is in it again.
    fs::remove_file(ctl.state().join("gen")).unwrap();
    fs::remove_file(waiting_file(&ctl)).ok();
    until("it is whole again", &ctl, || {
        code(&ctl, &["status"])
            .1
            .lines()
            .all(|line| !line.contains("history"))
    });
    assert_eq!(history(&ctl).len(), 1);
    ctl.ok(&["apply", "-f", &other, "--confirm"]).unwrap();
    ctl.ok(&["cancel"]).unwrap();
    assert_eq!(in_force(&ctl).1, SHUT);
}

/// A file system that becomes read-only keeps no policy from coming back, and holds up no change after that.
#[test]
#[ignore = "needs root"]
fn what_has_gone_waits_no_more_though_the_disk_takes_nothing() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(&open("")).unwrap();
    fs::create_dir(ctl.state()).unwrap();
    let size = Some(c"size=8m");
    mount("none", ctl.state(), "tmpfs", MountFlags::empty(), size).unwrap();
    ctl.start(&policy).unwrap();
    let shut = write(&ctl, "shut.yaml", SHUT);
    ctl.ok(&["apply", "-f", &shut, "--confirm=2s"]).unwrap();
    mount_remount(ctl.state(), MountFlags::RDONLY, "").unwrap();
    until("it goes", &ctl, || in_force(&ctl).1 == open(""));
    until("nothing waits", &ctl, || pending(&ctl).is_none());
    assert!(waiting_file(&ctl).exists(), "the disk takes nothing");
    let (exit, text) = code(&ctl, &["apply", "-f", &shut]);
    assert_eq!(exit, 0, "{text}");
    assert_eq!(in_force(&ctl).1, SHUT);
    ctl.kill().unwrap();
    unmount(ctl.state(), UnmountFlags::DETACH).unwrap();
}

/// At each fill of the disk a trial is refused, or goes by itself; no file is torn, and what comes back is
/// the last confirmed policy.
#[test]
#[ignore = "needs root"]
fn a_full_disk_tears_nothing_and_leaves_a_way_back() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(&open("")).unwrap();
    fs::create_dir(ctl.state()).unwrap();
    let size = Some(c"size=128k");
    mount("none", ctl.state(), "tmpfs", MountFlags::empty(), size).unwrap();
    ctl.start(&policy).unwrap();
    let long = write(
        &ctl,
        "long.yaml",
        &open(&"# a comment that takes room\n".repeat(300)),
    );
    let (mut refused, mut tried) = (0, 0);
    for free in 0..8_usize {
        let filler = ctl.state().join("filler");
        let _ = fs::remove_file(&filler);
        let _ = fs::write(&filler, vec![0; 1 << 20]);
        let room = fs::metadata(&filler).unwrap().len() as usize;
        let left = room.saturating_sub(free * 4096);
        fs::OpenOptions::new()
            .write(true)
            .open(&filler)
            .unwrap()
            .set_len(left as u64)
            .unwrap();
        let (exit, text) = code(&ctl, &["apply", "-f", &long, "--confirm=1s"]);
        match exit {
            7 => {
                assert!(text.contains("no way back"), "{free}: {text}");
                refused += 1;
            }
            0 => {
                tried += 1;
                until("it goes", &ctl, || pending(&ctl).is_none());
                // No start takes it for confirmed.
                let history = history(&ctl).into_iter();
                assert_eq!(history.filter(|it| !it.2).count(), tried, "{free}");
            }
            other => panic!("{free}: {other}: {text}"),
        }
        assert_eq!(in_force(&ctl).1, open(""), "{free}");
        let torn = ctl.json(&["history"]).unwrap();
        assert_eq!(torn.get("warnings"), None, "{free}: {torn:#}");
        assert!(!waiting_file(&ctl).exists(), "{free}");
    }
    assert!(refused > 0 && tried > 0, "{refused} {tried}");
    ctl.kill().unwrap();
    unmount(ctl.state(), UnmountFlags::DETACH).unwrap();
}

/// The daemon is killed at any moment of a trial, of its end and of confirming: at its next start the last
/// confirmed policy is in force, or comes back.
#[test]
#[ignore = "needs root"]
fn a_daemon_that_is_killed_at_any_moment_loses_no_way_back() {
    let rounds = 2 * number("FIREWALL_CASES", 3).unwrap();
    let mut random = Random::new(11);
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(&open("")).unwrap();
    ctl.start(&policy).unwrap();
    let file = policy.to_str().unwrap().to_owned();
    let base = open("");
    for round in 0..rounds {
        let before = in_force(&ctl).0;
        // The daemon's own file, which its start reads.
        let text = open(&format!("# round {round}\n"));
        fs::write(&policy, &text).unwrap();
        let confirms = random.one_in(2);
        let begin = |words: &[&str]| {
            let mut command = ctl.command(words);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().unwrap()
        };
        let mut client = begin(&["apply", "-f", &file, "--confirm=2s"]);
        if confirms {
            assert!(client.wait().unwrap().success(), "round {round}");
            client = begin(&["confirm"]);
        }
        sleep(Duration::from_micros(random.below(60_000)));
        ctl.kill().unwrap();
        let done = client.wait().unwrap().success();
        ctl.start(&policy).unwrap();
        until("nothing waits", &ctl, || pending(&ctl).is_none());
        let (_, now) = in_force(&ctl);
        let of_round = history(&ctl).into_iter().filter(|it| it.0 > before);
        let was_tried = of_round.clone().any(|it| !it.2);
        match (confirms, done) {
            (true, true) => assert_eq!(now, text, "round {round}: it was confirmed"),
            (false, _) if was_tried => assert_eq!(now, base, "round {round}: it was tried"),
            _ => assert!(now == text || now == base, "round {round}: {now}"),
        }
        fs::write(&policy, &base).unwrap();
        ctl.ok(&["apply", "-f", &file]).unwrap();
    }
}
