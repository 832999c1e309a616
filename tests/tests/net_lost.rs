//! A filter that somebody takes off by other means than `unload`: it comes back on every interface that it
//! was on, whatever is in the way at first, and with every ban that was accepted.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::{Ctl, said, until};
use firewall_tests::netns::{INSIDE_V4, OUTSIDE_V4, Pair};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::Value;
use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

const POLICY: &str = "\
version: 1
interfaces: [{match: wan*}]
default: {in: drop}
sets:
  friends: {type: cidr, live: true, elements: [192.0.2.77]}
rules:
  - {name: open, proto: udp, port: 514, action: pass}
";

/// Whether a datagram to a closed port arrives.
fn is_open(pair: &Pair) -> bool {
    let victim = pair.inside.run(|| UdpSocket::bind((INSIDE_V4, 9)).unwrap());
    let wait = Some(Duration::from_millis(200));
    victim.set_read_timeout(wait).unwrap();
    let sender = pair
        .outside
        .run(|| UdpSocket::bind((OUTSIDE_V4, 0)).unwrap());
    sender.send_to(b"knock", (INSIDE_V4, 9)).unwrap();
    victim.recv(&mut [0; 16]).is_ok()
}

fn status(ctl: &Ctl<'_>) -> (Option<i32>, Value) {
    let output = ctl.run(&["-o", "json", "status"]).unwrap();
    let status = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code(), status)
}

fn entries(ctl: &Ctl<'_>, set: &str) -> Vec<String> {
    let report = ctl.json(&["set", "list", set]).unwrap();
    let entries = report["entries"].as_array().unwrap();
    let prefix = |entry: &Value| entry["prefix"].as_str().unwrap().to_owned();
    entries.iter().map(prefix).collect()
}

fn is_back(ctl: &Ctl<'_>, times: usize) -> bool {
    ctl.log().matches("put back the filter").count() == times && status(ctl).0 == Some(0)
}

/// An attempt that fails is not the last one: while no BPF file system is there nothing can be put back.
#[test]
#[ignore = "needs root"]
fn a_lost_filter_is_tried_until_it_is_back() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.start(&policy).unwrap();
    ctl.ok(&["ban", "203.0.113.1"]).unwrap();
    ctl.forget_pins().unwrap();
    let bpffs = Path::new("/sys/fs/bpf");
    unmount(bpffs, UnmountFlags::DETACH).unwrap();
    until("status says that it cannot be put back", &ctl, || {
        let output = ctl.run(&["status"]).unwrap();
        let said = said(&output);
        output.status.code() == Some(1)
            && said.contains("other means than `unload`")
            && said.contains("tries again")
    });
    assert!(is_open(&pair), "and it says what is so");
    std::thread::sleep(Duration::from_secs(2));
    mount("bpf", bpffs, "bpf", MountFlags::empty(), None).unwrap();
    until("it is put back", &ctl, || is_back(&ctl, 1));
    assert!(!is_open(&pair));
    assert_eq!(entries(&ctl, "banned"), ["203.0.113.1"]);
    // The folder that was made anew is held, too.
    fs::remove_file(ctl.folder().join("control.sock")).unwrap();
    let mut second = ctl.command(&["daemon", "-i", "wan0", "-f", policy.to_str().unwrap()]);
    second.arg("--state").arg(ctl.folder().join("other"));
    let output = second.output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", said(&output));
}

/// What is accepted is kept: the copy on disk is up to five seconds old, and the table outlives its pins in
/// the daemon.
#[test]
#[ignore = "needs root"]
fn a_lost_filter_comes_back_with_the_bans_of_the_last_moment() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.start(&policy).unwrap();
    for (round, all) in [(1, true), (2, false), (3, true)] {
        let (new, old) = (format!("203.0.113.{round}"), format!("198.51.100.{round}"));
        ctl.ok(&["ban", &old]).unwrap();
        let copy = ctl.state().join("live");
        until("the copy", &ctl, || {
            fs::read_to_string(&copy).is_ok_and(|text| text.contains(&old))
        });
        ctl.ok(&["unban", &old]).unwrap();
        ctl.ok(&["ban", &new, "for", "1h"]).unwrap();
        ctl.ok(&["set", "add", "friends", &new]).unwrap();
        match all {
            true => ctl.forget_pins().unwrap(),
            false => fs::remove_dir_all(ctl.pins().join("links")).unwrap(),
        }
        until("it is put back", &ctl, || is_back(&ctl, round));
        assert!(!is_open(&pair));
        let mut bans = entries(&ctl, "banned");
        assert_eq!(bans.len(), round, "{bans:?}");
        assert_eq!(bans.pop(), Some(new.clone()));
        let friends = entries(&ctl, "friends");
        assert_eq!(friends.len(), round + 1, "{friends:?}");
        assert!(friends.contains(&new) && friends.contains(&"192.0.2.77".to_owned()));
    }
}

/// An interface that is filtered stays so, whatever the words mean by now: also when its filter is lost, and
/// when at first a foreign program is in the way.
#[test]
#[ignore = "needs root"]
fn a_lost_filter_comes_back_on_interfaces_that_no_word_means() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    for name in ["wan1", "wan2"] {
        let words = format!("link add {name} type veth peer name far-{name}");
        pair.inside.ip(&words).unwrap();
        pair.inside.ip(&format!("link set far-{name} up")).unwrap();
        pair.inside.ip(&format!("link set {name} up")).unwrap();
    }
    ctl.start_with(&policy, &["-i", "wan1", "-i", "wan2"])
        .unwrap();
    for (from, to) in [("wan1", "odd1"), ("wan2", "odd2")] {
        pair.inside.ip(&format!("link set {from} down")).unwrap();
        pair.inside
            .ip(&format!("link set {from} name {to}"))
            .unwrap();
        pair.inside.ip(&format!("link set {to} up")).unwrap();
    }
    let filtered = |ctl: &Ctl<'_>| {
        let interfaces = status(ctl).1["interfaces"].as_array().cloned();
        let name = |it: &Value| it["name"].as_str().unwrap().to_owned();
        let mut names: Vec<String> = interfaces.iter().flatten().map(name).collect();
        names.sort_unstable();
        names
    };
    let all = ["odd1", "odd2", "wan0"];
    until("all three are filtered", &ctl, || filtered(&ctl) == all);
    ctl.forget_pins().unwrap();
    let is_said = |times| ctl.log().matches("put back the filter").count() == times;
    until("all are back", &ctl, || is_said(1) && filtered(&ctl) == all);
    fs::remove_dir_all(ctl.pins().join("links")).unwrap();
    until("once more", &ctl, || is_said(2) && filtered(&ctl) == all);
    assert!(!is_open(&pair));
}

/// What goes while the pins are hidden was let go of by nobody, and missed for ever.
#[test]
#[ignore = "needs root"]
fn an_interface_that_goes_while_pins_are_hidden_is_let_go_of_afterwards() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    let words = "link add wan1 type veth peer name far-wan1";
    pair.inside.ip(words).unwrap();
    ctl.start_with(&policy, &["-i", "wan*"]).unwrap();
    let names = |ctl: &Ctl<'_>| status(ctl).1["interfaces"].as_array().map(Vec::len);
    until("both are filtered", &ctl, || names(&ctl) == Some(2));
    let bpffs = Path::new("/sys/fs/bpf");
    mount("tmpfs", bpffs, "tmpfs", MountFlags::empty(), None).unwrap();
    until("that is said", &ctl, || {
        ctl.log().contains("cannot be seen")
    });
    pair.inside.ip("link del wan1").unwrap();
    std::thread::sleep(Duration::from_secs(2));
    unmount(bpffs, UnmountFlags::DETACH).unwrap();
    until("all is well", &ctl, || {
        names(&ctl) == Some(1) && status(&ctl).0 == Some(0)
    });
}

/// Whoever asks for something before the daemon has missed the filter has it missed.
#[test]
#[ignore = "needs root"]
fn a_lost_filter_comes_back_whatever_is_asked_for_meanwhile() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.start(&policy).unwrap();
    ctl.ok(&["ban", "203.0.113.1"]).unwrap();
    fs::write(&policy, "version: 9\n").unwrap();
    for (round, words) in [
        &["reload"][..],
        &["allow", "80/tcp"],
        &["reload"],
        &["allow", "81/tcp"],
    ]
    .iter()
    .enumerate()
    {
        ctl.forget_pins().unwrap();
        let output = ctl.run(words).unwrap();
        assert_ne!(output.status.code(), Some(0), "{}", said(&output));
        until("it is put back", &ctl, || {
            ctl.log().matches("put back the filter").count() == round + 1
        });
        assert!(!is_open(&pair));
        assert_eq!(entries(&ctl, "banned"), ["203.0.113.1"]);
    }
    // What `unload` takes off stays off, and nobody else is blamed for it.
    ctl.ok(&["unload", "--all"]).unwrap();
    let output = ctl.run(&["allow", "80/tcp"]).unwrap();
    assert_ne!(output.status.code(), Some(0), "{}", said(&output));
    for _ in 0..30 {
        let output = ctl.run(&["status"]).unwrap();
        assert!(!said(&output).contains("other means"), "{}", said(&output));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(is_open(&pair));
}
