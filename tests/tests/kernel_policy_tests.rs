//! Candidates in the kernel: `test --live`, and the tests of a policy that run before it is
//! attached. Nothing that is in force notices.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::Pair;
use serde_json::Value;

const POLICY: &str = "\
version: 1
interfaces: [{match: wan0, zone: wan}, {match: \"lan*\", zone: lan}]
default: {in: drop}
rules:
  - {name: count, proto: tcp, action: next}
  - {name: ssh, zone: wan, proto: tcp, port: ssh, from: 203.0.113.0/24, action: pass}
  - {name: lan, zone: lan, action: pass}
tests:
  - {name: admin, packet: \"tcp 203.0.113.9 > 198.51.100.80:22 on wan0\", expect: pass, by: ssh}
  - {name: inside, packet: \"udp 10.0.0.9 > 198.51.100.80:53 in zone lan\", expect: pass, by: lan}
  - {name: outside, packet: \"udp 10.0.0.9 > 198.51.100.80:53 in zone wan\", expect: drop, by: no-match}
";

fn answer(ctl: &Ctl<'_>, arguments: &[&str]) -> (i32, String) {
    let output = ctl.run(arguments).unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    (output.status.code().unwrap(), text)
}

/// Packets that the program in force has counted, in all.
fn counted(ctl: &Ctl<'_>) -> u64 {
    let report = ctl.json(&["get", "reasons"]).unwrap();
    let total = |reason: &Value| {
        reason["pass"]["packets"].as_u64().unwrap() + reason["drop"]["packets"].as_u64().unwrap()
    };
    report["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .map(total)
        .sum()
}

#[test]
#[ignore = "needs root"]
fn a_policy_that_fails_its_tests_is_never_attached() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let good = ctl.policy(POLICY).unwrap();
    let (code, text) = answer(&ctl, &["load", "-i", "wan0", "-f", good.to_str().unwrap()]);
    assert_eq!(code, 0, "{text}");
    let generation = ctl.json(&["status"]).unwrap()["generation"].clone();
    assert!(!generation.is_null());

    let wrong = POLICY.replace("port: ssh, from", "port: 2222, from");
    let wrong = ctl.policy(&wrong).unwrap();
    let (code, text) = answer(&ctl, &["load", "-i", "wan0", "-f", wrong.to_str().unwrap()]);
    assert_eq!(code, 3, "{text}");
    assert!(
        text.contains("the test `admin` fails: the packet is dropped as no-match, not passed"),
        "{text}"
    );
    assert!(text.contains("stays active"), "{text}");
    assert_eq!(ctl.json(&["status"]).unwrap()["generation"], generation);
}

#[test]
#[ignore = "needs root"]
fn check_has_the_verifier_take_a_policy_and_attaches_nothing() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let path = ctl.policy(POLICY).unwrap();
    let report = ctl
        .json(&["check", "--kernel", path.to_str().unwrap()])
        .unwrap();
    let verified = report["files"][0]["verified_instructions"]
        .as_u64()
        .unwrap();
    assert!(verified > 1_000, "{verified}");
    let (_, text) = answer(&ctl, &["status"]);
    assert!(text.contains("No policy is loaded"), "{text}");
    assert!(!ctl.pins().exists());
}

#[test]
#[ignore = "needs root"]
fn live_answers_are_those_of_the_host_and_count_nothing() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let path = ctl.policy(POLICY).unwrap();
    let (code, text) = answer(&ctl, &["load", "-i", "wan0", "-f", path.to_str().unwrap()]);
    assert_eq!(code, 0, "{text}");
    let before = counted(&ctl);
    for (packet, verdict, rule, tally) in [
        (
            "tcp 203.0.113.9 > 198.51.100.80:22 in zone wan",
            "pass",
            Some("ssh"),
            1,
        ),
        (
            "tcp 192.0.2.9 > 198.51.100.80:22 in zone wan",
            "drop",
            None,
            1,
        ),
        (
            "udp [2001:db8::9]:53 > [2001:db8::1]:4000 on lan7",
            "pass",
            Some("lan"),
            0,
        ),
        ("arp 192.0.2.9 > 192.0.2.1", "pass", None, 0),
        ("tcp 192.0.2.9 > 198.51.100.80:22 fin", "drop", None, 0),
    ] {
        // Without a file: the policy in force.
        let report = ctl.json(&["test", "--live", packet]).unwrap();
        assert_eq!(report["live"]["verdict"], verdict, "{packet}");
        assert_eq!(report["live"]["reason"], report["reason"], "{packet}");
        assert_eq!(report["live"]["rule"].as_str(), rule, "{packet}");
        assert_eq!(report["rule"]["name"].as_str(), rule, "{packet}");
        assert_eq!(
            report["counted"].as_array().unwrap().len(),
            tally,
            "{packet}"
        );
    }
    // Nothing came in meanwhile but what the cable's ends say by themselves; the five test runs
    // would be on the loopback interface, which is not filtered.
    let rules = ctl.json(&["get", "rules"]).unwrap();
    for rule in rules["rules"].as_array().unwrap() {
        assert_eq!(rule["hits"]["total"]["packets"], 0, "{rule}");
    }
    assert!(counted(&ctl) - before < 5);
}
