//! What would cut off the person who changes something is refused, whichever way the change goes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::Pair;
use std::fs;
use std::process::Output;

const POLICY: &str = "\
version: 1
interfaces: [{match: wan0}]
default: {in: drop}
sets:
  friends: {type: cidr, live: true, max: 1000}
  hosts: {type: cidr, file: hosts.txt, max: 100}
rules:
  - {name: friends, proto: tcp, port: 22, from: \"@friends\", action: pass}
  - {name: hosts, proto: tcp, port: 22, from: \"@hosts\", action: pass}
";

const REFUSED: i32 = 7;

fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

fn refused(ctl: &Ctl<'_>, words: &[&str]) {
    let output = ctl.run(words).unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(REFUSED), "{words:?}: {text}");
    assert!(text.contains("--i-know"), "{words:?}: {text}");
}

fn bans(ctl: &Ctl<'_>) -> u64 {
    ctl.json(&["bans"]).unwrap()["count"].as_u64().unwrap()
}

#[test]
#[ignore = "needs root"]
fn every_way_into_the_bans_meets_the_guard() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    fs::write(ctl.folder().join("hosts.txt"), "198.51.100.0/24\n").unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    let path = policy.to_str().unwrap().to_owned();
    ctl.ok(&["load", "-i", "wan0", "-f", &path]).unwrap();
    ctl.set("SSH_CONNECTION", "203.0.113.5 50000 192.0.2.80 22");
    let file = ctl.folder().join("list.txt");
    let file = file.to_str().unwrap();
    for entry in [
        "0.0.0.0/0",
        "::/0",
        "203.0.113.5",
        "203.0.113.0/24",
        "128.0.0.0/1",
    ] {
        refused(&ctl, &["ban", entry]);
        refused(&ctl, &["set", "add", "banned", entry]);
        refused(
            &ctl,
            &["set", "add", "@banned", "192.0.2.200", entry, "for", "1h"],
        );
        fs::write(file, format!("192.0.2.200\n{entry}\n")).unwrap();
        refused(&ctl, &["ban", "-f", file]);
        refused(&ctl, &["set", "load", "banned", file]);
        refused(&ctl, &["set", "load", "banned", file, "--atomic"]);
        fs::write(file, format!("add 192.0.2.200\nadd {entry} 1h\n")).unwrap();
        refused(&ctl, &["set", "feed", "banned", file]);
    }
    assert_eq!(bans(&ctl), 0, "all of a change or nothing");
    // A session that cannot be read is no reason to go on.
    ctl.set("SSH_CONNECTION", "nonsense");
    refused(&ctl, &["set", "add", "banned", "192.0.2.200"]);
    refused(&ctl, &["ban", "192.0.2.200"]);
    // Other sets let in: adding to them cuts nobody off.
    ctl.ok(&["set", "add", "friends", "203.0.113.5"]).unwrap();
    // Who knows, may.
    fs::write(file, "203.0.113.5\n").unwrap();
    ctl.ok(&["set", "load", "banned", file, "--i-know"])
        .unwrap();
    ctl.ok(&["set", "add", "banned", "203.0.113.5", "--i-know"])
        .unwrap();
    assert_eq!(bans(&ctl), 1);
    // To take a ban back is never refused.
    ctl.ok(&["set", "del", "banned", "203.0.113.5"]).unwrap();
    ctl.ok(&["set", "clear", "banned"]).unwrap();
}

#[test]
#[ignore = "needs root"]
fn unban_names_the_ban_that_still_holds() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    fs::write(ctl.folder().join("hosts.txt"), "").unwrap();
    let policy = ctl.policy("version: 1\ndefault: {in: pass}\n").unwrap();
    ctl.ok(&["load", "-i", "wan0", "-f", policy.to_str().unwrap()])
        .unwrap();
    ctl.ok(&["ban", "203.0.113.0/24", "203.0.113.9"]).unwrap();
    for _ in 0..2 {
        let output = ctl.run(&["unban", "203.0.113.9"]).unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(
            said(&output).contains("203.0.113.9 is still banned by 203.0.113.0/24"),
            "{}",
            said(&output)
        );
    }
    ctl.ok(&["unban", "203.0.113.0/24"]).unwrap();
    ctl.ok(&["unban", "203.0.113.9"]).unwrap();
}

#[test]
#[ignore = "needs root"]
fn the_daemon_brings_no_ban_of_the_internet_back() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let state = ctl.folder().join("state");
    fs::create_dir_all(&state).unwrap();
    fs::write(
        state.join("live"),
        "# firewall-ctl: bans and live sets, version 1\nbanned 0.0.0.0/0 -\nbanned ::/0 -\n\
         banned 203.0.113.9 -\n",
    )
    .unwrap();
    let policy = ctl.policy("version: 1\ndefault: {in: pass}\n").unwrap();
    ctl.start(&policy).unwrap();
    let list = ctl.json(&["bans"]).unwrap();
    assert_eq!(list["count"], 1, "{list}");
    assert_eq!(list["entries"][0]["prefix"], "203.0.113.9");
    assert!(ctl.log().contains("large part of the internet"));
}

#[test]
#[ignore = "needs root"]
fn deny_counts_live_sets_and_finds_files_by_relative_paths() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    fs::write(ctl.folder().join("hosts.txt"), "198.51.100.7\n").unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    let name = policy.file_name().unwrap().to_str().unwrap().to_owned();
    // The daemon was started where the policy lies; the commands are not.
    let folder = ctl.folder().to_owned();
    let run = ["env", "-C", folder.to_str().unwrap()];
    ctl.start(&policy).unwrap();
    let output = ctl.run_under(&run, &["apply", "-f", &name]).unwrap();
    assert!(output.status.success(), "{}", said(&output));
    ctl.ok(&["set", "add", "friends", "203.0.113.0/24"])
        .unwrap();
    for peer in ["203.0.113.5", "198.51.100.7"] {
        ctl.set("SSH_CONNECTION", format!("{peer} 50000 192.0.2.80 22"));
        refused(&ctl, &["deny", "ssh"]);
        refused(&ctl, &["deny", "from", peer]);
    }
    // Who has no way in loses none.
    ctl.set("SSH_CONNECTION", "198.51.100.8 50000 192.0.2.80 22");
    ctl.ok(&["deny", "8080/tcp"]).unwrap();
    ctl.set("SSH_CONNECTION", "nonsense");
    refused(&ctl, &["deny", "ssh"]);
    // A list that is gone: nobody can say what the policy in force lets in.
    ctl.set("SSH_CONNECTION", "203.0.113.5 50000 192.0.2.80 22");
    fs::remove_file(ctl.folder().join("hosts.txt")).unwrap();
    refused(&ctl, &["deny", "ssh"]);
}
