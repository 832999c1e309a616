//! What would cut off the person who changes something is refused, whichever way the change goes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::{Ctl, said};
use firewall_tests::netns::Pair;
use std::fs;

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
    refused(&ctl, &["set", "add", "friends", "203.0.113.5"]);
    // Other sets let in: adding to them cuts nobody off.
    ctl.set("SSH_CONNECTION", "203.0.113.5 50000 192.0.2.80 22");
    ctl.ok(&["set", "add", "friends", "203.0.113.5"]).unwrap();
    // Who knows, may.
    fs::write(file, "203.0.113.5\n").unwrap();
    ctl.ok(&["set", "load", "banned", file, "--i-know"])
        .unwrap();
    ctl.ok(&["set", "add", "banned", "203.0.113.5", "--i-know"])
        .unwrap();
    assert_eq!(bans(&ctl), 1);
    // To take a ban back is never refused.
    ctl.set("SSH_CONNECTION", "nonsense");
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
    // A list that is gone is judged as it was read.
    ctl.set("SSH_CONNECTION", "198.51.100.7 50000 192.0.2.80 22");
    fs::remove_file(ctl.folder().join("hosts.txt")).unwrap();
    refused(&ctl, &["deny", "ssh"]);
}

/// A policy whose way in by SSH is a live set; others are kept out by another one.
const SETS: &str = "\
version: 1
interfaces: [{match: wan0}]
default: {in: drop}
sets:
  friends: {type: cidr, live: true, max: 1000}
  foes: {type: cidr, live: true, max: 1000}
  hosts: {type: cidr, file: hosts.txt, max: 100}
rules:
  - {name: foes, from: \"@foes\", action: drop}
  - {name: friends, proto: tcp, port: 22, from: \"@friends\", action: pass}
  - {name: hosts, proto: tcp, port: 22, from: \"@hosts\", action: pass}
";

const SESSION: &str = "203.0.113.5 50000 192.0.2.80 22";

fn every_set_meets_the_guard(ctl: &mut Ctl<'_>) {
    let file = ctl.folder().join("list.txt");
    let file = file.to_str().unwrap().to_owned();
    ctl.set("SSH_CONNECTION", SESSION);
    ctl.ok(&["set", "add", "friends", "203.0.113.0/24"])
        .unwrap();
    // Of what lets the session in, nothing goes, whatever verb takes it.
    refused(ctl, &["set", "del", "friends", "203.0.113.0/24"]);
    refused(ctl, &["set", "del", "friends", "203.0.113.4-203.0.113.6"]);
    refused(ctl, &["set", "clear", "friends"]);
    fs::write(&file, "198.51.100.1\n").unwrap();
    refused(ctl, &["set", "load", "friends", &file, "--atomic"]);
    fs::write(&file, "add 198.51.100.1\ndel 203.0.113.0/24\n").unwrap();
    refused(ctl, &["set", "feed", "friends", &file]);
    // What keeps out does not come to hold it.
    refused(ctl, &["set", "add", "foes", "203.0.113.5"]);
    refused(ctl, &["set", "add", "foes", "203.0.0.0/16"]);
    fs::write(&file, "203.0.113.5\n").unwrap();
    refused(ctl, &["set", "load", "foes", &file]);
    let list = ctl.json(&["set", "list", "friends"]).unwrap();
    assert_eq!(list["count"], 1, "{list}");
    let list = ctl.json(&["set", "list", "foes"]).unwrap();
    assert_eq!(list["count"], 0, "{list}");
    // All else may be, and one of two ways in may go.
    ctl.ok(&["set", "add", "foes", "198.51.100.0/24", "2001:db8::/32"])
        .unwrap();
    ctl.ok(&["set", "add", "friends", "203.0.113.5"]).unwrap();
    ctl.ok(&["set", "del", "friends", "203.0.113.0/24"])
        .unwrap();
    refused(ctl, &["set", "del", "friends", "203.0.113.5"]);
    // So it is for a file that the policy names by a relative path, from wherever one asks.
    ctl.set("SSH_CONNECTION", "198.51.99.7 50000 192.0.2.80 22");
    refused(ctl, &["set", "add", "foes", "198.51.99.0/24"]);
    // Without a way in there is none to lose; no session is nobody's.
    ctl.set("SSH_CONNECTION", "192.0.2.7 50000 192.0.2.80 22");
    ctl.ok(&["set", "add", "foes", "192.0.2.7"]).unwrap();
    ctl.set("SSH_CONNECTION", SESSION);
    ctl.ok(&["set", "del", "friends", "203.0.113.5", "--i-know"])
        .unwrap();
    ctl.ok(&["set", "clear", "foes"]).unwrap();
}

#[test]
#[ignore = "needs root"]
fn every_change_of_a_set_meets_the_guard_with_and_without_a_daemon() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    fs::write(ctl.folder().join("hosts.txt"), "198.51.99.7\n").unwrap();
    let policy = ctl.policy(SETS).unwrap();
    ctl.ok(&["load", "-f", policy.to_str().unwrap()]).unwrap();
    every_set_meets_the_guard(&mut ctl);
    ctl.ok(&["unload", "--all"]).unwrap();
    ctl.start(&policy).unwrap();
    every_set_meets_the_guard(&mut ctl);
}

#[test]
#[ignore = "needs root"]
fn a_policy_that_cuts_the_session_is_refused_by_load_apply_and_reload() {
    const SHUT: &str = "version: 1\ninterfaces: [{match: wan0}]\ndefault: {in: drop}\n\
                        rules: [{name: replies, state: established, action: pass}]\n";
    const OPEN: &str = "version: 1\ninterfaces: [{match: wan0}]\ndefault: {in: drop}\n\
                        rules: [{name: ssh, proto: tcp, port: 22, from: 203.0.113.0/24, action: pass}]\n";
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let (shut, open) = (
        ctl.folder().join("shut.yaml"),
        ctl.folder().join("open.yaml"),
    );
    fs::write(&shut, SHUT).unwrap();
    fs::write(&open, OPEN).unwrap();
    let (shut, open) = (shut.to_str().unwrap(), open.to_str().unwrap());
    ctl.set("SSH_CONNECTION", SESSION);
    // Nothing was in force: all passed.
    refused(&ctl, &["load", "-f", shut]);
    let status = ctl.run(&["status", "-o", "json"]).unwrap();
    assert!(said(&status).contains("\"state\": \"off\""), "{status:?}");
    ctl.ok(&["load", "-f", open]).unwrap();
    refused(&ctl, &["load", "-f", shut]);
    let output = ctl.run(&["load", "-f", shut]).unwrap();
    let text = said(&output);
    let packet = "tcp 203.0.113.5:50000 > 192.0.2.80:22 syn is dropped by no rule (no-match)";
    assert!(text.contains(packet), "{text}");
    assert!(text.contains("generation"), "says what stays: {text}");
    // A session by an interface that is not filtered is not cut.
    pair.inside
        .ip("link add mgmt0 type veth peer name mgmt1")
        .unwrap();
    pair.inside.ip("addr add 10.9.9.1/24 dev mgmt0").unwrap();
    pair.inside.ip("link set mgmt0 up").unwrap();
    ctl.set("SSH_CONNECTION", "10.9.9.7 50000 10.9.9.1 22");
    ctl.ok(&["load", "-f", shut]).unwrap();
    // What is shut already cannot be shut again; nor does anybody lose what nobody has.
    ctl.set("SSH_CONNECTION", SESSION);
    fs::write(shut, SHUT.replace("replies", "answers")).unwrap();
    ctl.ok(&["load", "-f", shut]).unwrap();
    ctl.ok(&["load", "-f", open]).unwrap();
    ctl.ok(&["load", "-f", shut, "--i-know"]).unwrap();
    ctl.ok(&["unload", "--all"]).unwrap();

    // With a daemon, whose own start no session asks for.
    let file = ctl.policy(OPEN).unwrap();
    ctl.start(&file).unwrap();
    let generation = |ctl: &Ctl<'_>| ctl.json(&["get", "policy"]).unwrap()["generation"].clone();
    let before = generation(&ctl);
    refused(&ctl, &["apply", "-f", shut]);
    fs::write(&file, SHUT).unwrap();
    refused(&ctl, &["reload"]);
    assert_eq!(generation(&ctl), before);
    ctl.set("SSH_CONNECTION", "nonsense");
    refused(&ctl, &["reload"]);
    refused(&ctl, &["apply", "-f", shut]);
    ctl.set("SSH_CONNECTION", SESSION);
    ctl.ok(&["reload", "--i-know"]).unwrap();
    // From where nobody is connected all passes.
    fs::write(&file, OPEN).unwrap();
    ctl.ok(&["reload"]).unwrap();
}
