//! What people type who know other firewalls, without root: rules tried dry, services, differences,
//! rules described, and hints at commands of others.

use super::{Folder, program, transcript};

const WEB: &str = include_str!("../../../rules/web-server.yaml");

/// The commands one after another, each with its end.
fn session(folder: &Folder, lines: &[&[&str]]) -> String {
    lines
        .iter()
        .map(|words| transcript(&folder.0, words))
        .collect()
}

/// The grammar of ufw's manual: each line is a rule, or says what to write.
#[test]
fn rules_in_the_words_of_ufw_are_tried_dry() {
    let folder = Folder::new("dry");
    let screens = session(
        &folder,
        &[
            &["allow", "80/tcp", "--dry-run"],
            &["allow", "80:90/tcp", "--dry-run"],
            &["allow", "in", "22/tcp", "--dry-run"],
            &["allow", "OpenSSH", "--dry-run"],
            &["allow", "Nginx Full", "--dry-run"],
            &["allow", "Samba", "--dry-run"],
            &["deny", "from", "203.0.113.9", "--dry-run"],
            &[
                "allow",
                "proto",
                "tcp",
                "from",
                "any",
                "to",
                "any",
                "port",
                "80,443",
                "--dry-run",
            ],
            &[
                "allow",
                "from",
                "203.0.113.0/24",
                "to",
                "any",
                "port",
                "5432",
                "proto",
                "tcp",
                "comment",
                "office db",
                "--dry-run",
            ],
            &["reject", "25/tcp", "--dry-run"],
            &["limit", "ssh", "--dry-run", "-o", "json"],
            &["limit", "443/tcp", "new", "200/s", "all", "--dry-run"],
            &["insert", "1", "deny", "from", "10.0.0.0/8", "--dry-run"],
            &[
                "route",
                "allow",
                "to",
                "10.0.0.5",
                "port",
                "80",
                "proto",
                "tcp",
                "--dry-run",
            ],
            &["route", "allow", "from", "10.9.0.0/16", "--dry-run"],
            &["deny", "out", "25/tcp", "--dry-run"],
            &["insert", "1", "80/tcp", "--dry-run"],
            &["allow", "80/tcp"],
        ],
    );
    insta::assert_snapshot!(screens);
}

/// What is a command elsewhere is answered with the one here.
#[test]
fn commands_of_other_firewalls_are_answered() {
    let folder = Folder::new("hints");
    let screens = session(
        &folder,
        &[
            &["enable"],
            &["default", "deny", "incoming"],
            &["show", "listening"],
            &["app", "list"],
            &["--dry-run", "allow", "80"],
            &["-A", "INPUT", "-j", "ACCEPT"],
        ],
    );
    insta::assert_snapshot!(screens);
}

/// Usage lines name what has to be there, and no global option, whatever was typed or set.
#[test]
fn usage_lines_name_no_global_option() {
    let folder = Folder::new("usagelines");
    for words in [
        &["apply"][..],
        &["--socket", "x.sock", "apply"],
        &["apply", "-o", "json", "--root", "pins"],
        &["load", "--nope"],
        &["get"],
        &["status", "--nope"],
        &["explain", "--nope"],
        &["delete"],
        &["--root", "pins", "nope"],
    ] {
        let output = program(&folder.0).args(words).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        let usage = errors.lines().find(|line| line.starts_with("Usage: "));
        let usage = usage.unwrap_or_else(|| panic!("{words:?}: {errors}"));
        for global in ["--socket", "--root", "--output", "--services", "--color"] {
            assert!(!usage.contains(global), "{words:?}: {usage}");
        }
    }
}

#[test]
fn services_are_listed_and_added() {
    let folder = Folder::new("services");
    std::fs::create_dir(folder.0.join("services.d")).unwrap();
    folder.write(
        "services.d/10-game.yaml",
        "version: 1\nservices:\n  game: {ports: [27015/udp, 27015-27030/tcp], comment: Steam}\n",
    );
    folder.write("services.d/README", "not read");
    let own = &["--services", "services.d"][..];
    let mut screens = String::new();
    for words in [
        &["services", "game"][..],
        &["services", "nginx"],
        &["services", "game", "-o", "json"],
        &["services", "gmae"],
        &["allow", "game", "--dry-run"],
    ] {
        screens.push_str(&transcript(&folder.0, &[words, own].concat()));
    }
    screens.push_str(&transcript(&folder.0, &["services", "wireguard"]));
    folder.write(
        "services.d/20-bad.yaml",
        "version: 1\nservices: {x: {ports: 80}}\n",
    );
    let bad = transcript(&folder.0, &[&["services"][..], own].concat());
    assert!(bad.ends_with("--- exit 3\n"), "{bad}");
    screens.push_str(&bad);
    insta::assert_snapshot!(screens);
}

/// What matters most comes first, both families in one line, an end that counts; and nothing is said to
/// change that reads the same before and after.
#[test]
fn differences_are_told_by_weight() {
    let folder = Folder::new("weight");
    folder.write("old.yaml", WEB);
    let edits: &[(&str, &[(&str, &str)])] = &[
        ("default", &[("default: {in: drop}", "default: {in: pass}")]),
        (
            "burst",
            &[(
                "{new: 6/30s, per: source}",
                "{new: 6/30s, burst: 9, per: source}",
            )],
        ),
        (
            "fragments",
            &[(
                "default: {in: drop}",
                "default: {in: drop}\npacket: {fragments: follow-first}",
            )],
        ),
        (
            "members",
            &[
                ("203.0.113.0/24", "198.19.7.0/24"),
                ("2001:db8:1::/48", "2001:db8:7::/48"),
            ],
        ),
        (
            "ports",
            &[
                ("port: ssh\n", "port: 2222\n"),
                (":22 syn", ":2222 syn"),
                ("[http, https]", "[https]"),
                (":80 ", ":443 "),
            ],
        ),
        (
            "added",
            &[(
                "rules:\n",
                "rules:\n  - {name: dns, proto: udp, port: 53, action: pass}\n  - {name: rdp, proto: tcp, port: 3389, action: pass}\n",
            )],
        ),
        (
            "comment",
            &[("comment: HTTP/3 runs over UDP", "comment: as before")],
        ),
    ];
    let mut screens = String::new();
    for (name, changes) in edits {
        let mut text = WEB.to_owned();
        for (from, to) in *changes {
            assert!(text.contains(from), "{name}: {from}");
            text = text.replace(from, to);
        }
        // Tests of the policy are not what is compared.
        let text = text.split("\ntests:").next().unwrap().to_owned() + "\n";
        let file = format!("{name}.yaml");
        folder.write(&file, &text);
        let screen = transcript(&folder.0, &["diff", "old.yaml", &file]);
        for line in screen.lines().filter(|line| line.starts_with('~')) {
            let (was, becomes) = line.split_once(" -> ").unwrap_or((line, ""));
            assert!(
                !was.ends_with(&format!(" {becomes}")),
                "equal sides: {line}"
            );
        }
        screens.push_str(&screen);
    }
    insta::assert_snapshot!(screens);
}

#[test]
fn rules_are_described_and_explained() {
    let folder = Folder::new("describe");
    folder.write("web.yaml", WEB);
    let mut screens = session(
        &folder,
        &[
            &["describe", "rule", "ssh-admins", "-f", "web.yaml"],
            &["describe", "rule", "ssh-admin", "-f", "web.yaml"],
            &["explain", "ping", "-f", "web.yaml"],
            &["explain", "frag", "tiny"],
            &["explain", "banned", "FW0101"],
            &["explain", "why", "dropped"],
            &["test", "-f", "web.yaml", "ping 203.0.113.9 > 198.51.100.80"],
            &["test", "-f", "web.yaml", "ping 2001:db8::9 > 2001:db8::80"],
            &["describe", "rule", "web", "-f", "web.yaml", "-o", "json"],
        ],
    );
    let list = transcript(&folder.0, &["explain"]);
    assert!(
        list.contains("\nfrag-tiny ") && list.contains("\nFW0182 "),
        "{list}"
    );
    let head: Vec<&str> = list.lines().take(4).collect();
    screens.push_str(&head.join("\n"));
    insta::assert_snapshot!(screens);
}
