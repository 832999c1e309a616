//! `allow`, `deny`, `limit`, `delete` and `save` on a real filter: in force at once, kept over the
//! daemon's restart, never lost without a word, and saved as what they are.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by panicking"
)]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INSIDE_V4, OUTSIDE_V4, Pair};
use std::net::UdpSocket;
use std::process::Output;
use std::time::Duration;

const POLICY: &str = "\
# Kept.
version: 1
interfaces: [{match: wan0}]
default: {in: drop}
rules:
  # And this.
  - {name: syslog, proto: udp, port: 514, action: pass}
";

/// Whether a datagram to a port gets in.
fn arrives(pair: &Pair, port: u16) -> bool {
    let receiver = pair
        .inside
        .run(|| UdpSocket::bind((INSIDE_V4, port)).unwrap());
    receiver
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    pair.outside.run(|| {
        let socket = UdpSocket::bind((OUTSIDE_V4, 0)).unwrap();
        socket.send_to(&[0; 10], (INSIDE_V4, port)).unwrap();
    });
    receiver.recv(&mut [0; 64]).is_ok()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A transcript without what differs from run to run.
fn clean(ctl: &Ctl<'_>, text: &str) -> String {
    text.replace(ctl.folder().to_str().unwrap(), "FOLDER")
}

#[test]
#[ignore = "needs root"]
fn quick_rules_come_and_go_and_are_saved() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.folder().join("quick.yaml");
    std::fs::write(&policy, POLICY).unwrap();
    ctl.start(&policy).unwrap();
    let mut screens = String::new();
    let mut show = |ctl: &Ctl<'_>, args: &[&str]| {
        let output = ctl.run(args).unwrap();
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned() + &errors(&output);
        if args == ["get", "rules"] {
            // Behind the hits stands how long ago the last one was.
            let head = |line: &str| {
                line.split_whitespace()
                    .take(5)
                    .collect::<Vec<_>>()
                    .join(" ")
                    + "\n"
            };
            text = text.lines().map(head).collect();
        }
        screens.push_str(&format!("$ firewall-ctl {}\n", args.join(" ")));
        screens.push_str(&clean(ctl, &text));
        screens.push_str(&format!("--- exit {}\n", output.status.code().unwrap()));
    };
    assert!(arrives(&pair, 514) && !arrives(&pair, 515));

    show(&ctl, &["allow", "515/udp"]);
    assert!(arrives(&pair, 515), "at once");
    show(&ctl, &["deny", "sislog"]);
    show(
        &ctl,
        &["deny", "514/udp", "name", "quiet", "comment", "too: much"],
    );
    assert!(!arrives(&pair, 514), "before the policy's rules");
    show(&ctl, &["allow", "516/udp", "from", "192.0.2.0/33"]);
    show(&ctl, &["allow", "515/udp", "name", "syslog"]);
    // The daemon reads counters once a second.
    std::thread::sleep(Duration::from_secs(2));
    show(&ctl, &["get", "rules"]);

    // The daemon's end and start change nothing.
    let status = ctl.ok(&["status"]).unwrap();
    assert!(status.contains("2 runtime rules not saved"), "{status}");
    ctl.kill().unwrap();
    ctl.start(&policy).unwrap();
    assert!(arrives(&pair, 515) && !arrives(&pair, 514));

    // Neither does what would lose them.
    let file = policy.to_str().unwrap();
    for args in [&["reload"][..], &["apply", "-f", file]] {
        let output = ctl.run(args).unwrap();
        assert_eq!(output.status.code(), Some(7), "{args:?}: {output:?}");
        let errors = errors(&output);
        assert!(
            errors.contains("2 runtime rules would be lost: quiet, allow-515-udp")
                && errors.contains("save")
                && errors.contains("--discard-runtime"),
            "{errors}"
        );
    }
    show(&ctl, &["delete", "syslog"]);
    show(&ctl, &["delete", "1"]);
    assert!(arrives(&pair, 514) && arrives(&pair, 515));

    // What is saved stays without them.
    show(&ctl, &["save"]);
    show(&ctl, &["save"]);
    let status = ctl.ok(&["status"]).unwrap();
    assert!(!status.contains("runtime"), "{status}");
    ctl.ok(&["reload"]).unwrap();
    assert!(arrives(&pair, 514) && arrives(&pair, 515));
    let saved = std::fs::read_to_string(&policy).unwrap();
    assert_eq!(ctl.ok(&["get", "policy"]).unwrap(), saved);
    screens.push_str(&saved);
    insta::assert_snapshot!(screens);

    // And on demand they go.
    ctl.ok(&["allow", "517/udp", "for", "1h"]).unwrap();
    let rules = ctl.json(&["get", "rules"]).unwrap();
    assert!(rules["rules"][0]["expires"].is_u64(), "{rules}");
    assert_eq!(rules["rules"][0]["runtime"], true);
    assert!(arrives(&pair, 517));
    ctl.ok(&["reload", "--discard-runtime"]).unwrap();
    assert!(!arrives(&pair, 517));

    // A file that has changed is not written over.
    ctl.ok(&["limit", "518/udp"]).unwrap();
    std::fs::write(&policy, saved.replace("port: 514", "port: 513")).unwrap();
    let output = ctl.run(&["save"]).unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let arrived = (0..8).filter(|_| arrives(&pair, 518)).count();
    assert_eq!(arrived, 6, "six of a source in 30 s");
}

#[test]
#[ignore = "needs root"]
fn the_connection_that_one_works_over_is_not_cut() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    ctl.set("SSH_CONNECTION", "203.0.113.5 50000 198.51.100.1 22");
    let policy = ctl.folder().join("guard.yaml");
    std::fs::write(
        &policy,
        "version: 1\ninterfaces: [{match: wan0}]\ndefault: {in: pass}\n",
    )
    .unwrap();
    ctl.start(&policy).unwrap();
    let refused = ctl.run(&["deny", "ssh"]).unwrap();
    assert_eq!(refused.status.code(), Some(7), "{refused:?}");
    assert!(
        errors(&refused).contains("tcp 203.0.113.5:50000 > 198.51.100.1:22 syn"),
        "{refused:?}"
    );
    assert!(!ctl.ok(&["get", "rules"]).unwrap().contains("deny-ssh"));
    // Behind sudo, which takes the variable away.
    let behind = ctl
        .run_under(
            &["sh", "-c", "env -u SSH_CONNECTION \"$@\"; exit $?", "sh"],
            &["deny", "ssh"],
        )
        .unwrap();
    assert_eq!(behind.status.code(), Some(7), "{behind:?}");
    ctl.ok(&["deny", "ssh", "from", "192.0.2.0/24"]).unwrap();
    ctl.ok(&["allow", "ssh", "from", "203.0.113.5", "name", "me"])
        .unwrap();
    // The newest rule is the first.
    let again = ctl.run(&["deny", "ssh"]).unwrap();
    assert_eq!(again.status.code(), Some(7));
    ctl.ok(&["deny", "ssh", "--i-know"]).unwrap();
}

#[test]
#[ignore = "needs root"]
fn rules_of_a_directory_are_saved_in_its_main_file() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let directory = ctl.folder().join("policy");
    std::fs::create_dir_all(directory.join("rules.d")).unwrap();
    let main = directory.join("firewall.yaml");
    std::fs::write(
        &main,
        "version: 1\ninterfaces: [{match: wan0}]\ndefault: {in: drop}\n",
    )
    .unwrap();
    let second = directory.join("rules.d/10-syslog.yaml");
    let syslog = "version: 1\nrules: [{name: syslog, proto: udp, port: 514, action: pass}]\n";
    std::fs::write(&second, syslog).unwrap();
    ctl.start(&directory).unwrap();
    ctl.ok(&["deny", "514/udp", "on", "wan0"]).unwrap();
    assert!(!arrives(&pair, 514));
    let said = ctl.ok(&["save"]).unwrap();
    assert!(said.contains("policy/firewall.yaml"), "{said}");
    ctl.ok(&["reload"]).unwrap();
    assert!(!arrives(&pair, 514));
    assert_eq!(std::fs::read_to_string(&second).unwrap(), syslog);
    let written = std::fs::read_to_string(&main).unwrap();
    assert!(written.contains("name: deny-514-udp-on-wan0"), "{written}");
}

#[test]
#[ignore = "needs root"]
fn a_limit_on_the_shipped_web_server_opens_nothing_and_tells_which_tests_fail() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../rules/web-server.yaml");
    let shipped = std::fs::read_to_string(shipped).unwrap();
    let policy = ctl
        .policy(&shipped.replace("match: default-route", "match: wan0"))
        .unwrap();
    ctl.start(&policy).unwrap();
    let limited = ctl.run(&["limit", "ssh"]).unwrap();
    assert!(limited.status.success(), "{limited:?}");
    let said = String::from_utf8_lossy(&limited.stdout);
    assert!(said.contains("from: \"@admins\""), "{said}");
    assert!(said.contains("no packet newly passes"), "{said}");
    let warned = errors(&limited);
    assert!(warned.contains("test `admin` fails now"), "{warned}");
    assert!(
        warned.contains("passed by the rule `limit-ssh`"),
        "{warned}"
    );
    let of = |packet: &str| ctl.json(&["test", "--live", packet]).unwrap()["verdict"].clone();
    assert_eq!(of("tcp 198.18.0.9 > 198.51.100.80:22 syn"), "drop");
    assert_eq!(of("tcp 203.0.113.9 > 198.51.100.80:22 syn"), "pass");
    // It goes on so: what is in force is put in force once more, and saved when its tests hold.
    let saved = ctl.run(&["save"]).unwrap();
    assert_eq!(saved.status.code(), Some(3), "{saved:?}");
    assert!(errors(&saved).contains("admin"), "{saved:?}");
    ctl.ok(&["delete", "limit-ssh"]).unwrap();
    // What goes on in the same manner.
    let said = ctl.ok(&["limit", "https", "rate", "1k/s"]).unwrap();
    assert!(said.contains("syn_protect: auto"), "{said}");
    ctl.ok(&["delete", "limit-https"]).unwrap();
}

#[test]
#[ignore = "needs root"]
fn what_the_policy_opens_to_some_no_verb_opens_to_all_without_being_told() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    std::fs::write(ctl.folder().join("customers.txt"), "203.0.113.0/24\n").unwrap();
    let policy = ctl
        .policy(
            "version: 1\ninterfaces: [{match: wan0}]\ndefault: {in: drop}\nsets:\n  customers: \
             {type: cidr, file: customers.txt}\n  partners: {type: cidr, elements: [198.51.100.0/24]}\n\
             rules:\n  - {name: app, proto: tcp, port: 8080, from: \"@customers\", action: pass}\n  \
             - {name: partners, proto: tcp, port: 9090, from: \"@partners\", action: pass}\n  \
             - {name: customers, proto: tcp, port: 9090, from: \"@customers\", action: pass}\n",
        )
        .unwrap();
    ctl.start(&policy).unwrap();
    let of = |ctl: &Ctl<'_>, packet: &str| {
        ctl.json(&["test", "--live", packet]).unwrap()["verdict"].clone()
    };
    let stranger = "tcp 192.0.2.9 > 192.0.2.80:8080 syn";
    // To limit is to limit what passes.
    let said = ctl.ok(&["limit", "8080/tcp"]).unwrap();
    assert!(said.contains("from: \"@customers\""), "{said}");
    assert_eq!(of(&ctl, stranger), "drop");
    ctl.ok(&["delete", "limit-8080-tcp"]).unwrap();
    // What several rules pass in different ways, no limit says in one.
    let output = ctl.run(&["limit", "9090/tcp"]).unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let text = errors(&output);
    for word in [
        "`partners`",
        "`customers`",
        "for different packets",
        "--i-know",
    ] {
        assert!(text.contains(word), "{text}");
    }
    for words in [
        &["allow", "8080/tcp"][..],
        &["allow", "8000-9000/tcp", "name", "many"],
        &["allow", "any"],
    ] {
        let output = ctl.run(words).unwrap();
        assert_eq!(output.status.code(), Some(7), "{words:?} {output:?}");
        let text = errors(&output);
        assert!(
            text.contains("opens to everybody what the rule `"),
            "{text}"
        );
        assert!(text.contains("--i-know"), "{text}");
        assert_eq!(of(&ctl, stranger), "drop");
    }
    // Who says from where, or that they know, opens it, and is told what.
    let said = ctl
        .ok(&["allow", "8080/tcp", "from", "198.51.100.7"])
        .unwrap();
    let opened = "+ newly passes   tcp port 8080 from 198.51.100.7  (was dropped by the default)";
    assert!(said.contains(opened), "{said}");
    let said = ctl.ok(&["allow", "8080/tcp", "--i-know"]).unwrap();
    assert!(said.contains("+ newly passes   tcp port 8080"), "{said}");
    assert_eq!(of(&ctl, stranger), "pass");
    let said = ctl.ok(&["delete", "allow-8080-tcp"]).unwrap();
    assert!(said.contains("- newly dropped  tcp port 8080"), "{said}");
    assert_eq!(of(&ctl, stranger), "drop");
    let said = ctl.ok(&["deny", "8080/tcp"]).unwrap();
    assert!(said.contains("was passed by the rule `app`"), "{said}");
    let report = ctl.json(&["allow", "53/udp"]).unwrap();
    assert_eq!(
        report["effect"]["packets"][0]["change"], "newly-passes",
        "{report}"
    );
}

#[test]
#[ignore = "needs root"]
fn what_the_policy_opens_in_a_zone_or_at_an_address_no_verb_opens_everywhere_without_being_told() {
    let pair = Pair::new().unwrap();
    pair.inside
        .ip("link add lan0 type veth peer name lan1")
        .unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl
        .policy(
            "version: 1\ninterfaces: [{match: wan0, zone: wan}, {match: lan0, zone: lan}]\n\
             default: {in: drop}\nrules:\n\
             - {name: admin, proto: tcp, port: 9443, zone: lan, action: pass}\n\
             - {name: own, proto: tcp, port: 8443, to: 192.0.2.80, action: pass}\n",
        )
        .unwrap();
    ctl.start(&policy).unwrap();
    for (port, all, say) in [
        ("9443/tcp", "opens on every interface what", "on INTERFACE"),
        ("8443/tcp", "opens at every address what", "to ADDRESS"),
    ] {
        let output = ctl.run(&["allow", port]).unwrap();
        assert_eq!(output.status.code(), Some(7), "{port} {output:?}");
        let text = errors(&output);
        assert!(text.contains(all) && text.contains(say), "{text}");
        // Whoever says for whom means that.
        let said = ctl.ok(&["allow", port, "from", "198.51.100.7"]).unwrap();
        assert!(said.contains("newly passes"), "{said}");
        ctl.ok(&["allow", port, "--i-know"]).unwrap();
    }
}
