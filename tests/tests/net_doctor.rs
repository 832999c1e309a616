//! `doctor` on a host of its own: the evasion table meets its end in the program in the kernel, and
//! neither traffic nor a counter of what is in force notices.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::Pair;
use serde_json::Value;

const POLICY: &str = "\
version: 1
interfaces: [{match: wan0, zone: wan}]
default: {in: drop}
rules:
  - {name: web, proto: tcp, port: 80, zone: wan, action: pass}
  - {name: tagged, vlan: 100, action: drop}
";

fn totals(snapshot: &Value) -> Vec<Value> {
    ["rules", "reasons", "ports"]
        .map(|part| {
            let views = snapshot[part].as_array().unwrap().iter();
            let totals = views.map(|view| {
                let total = |key: &str| view[key]["total"].clone();
                Value::Array(["hits", "pass", "drop"].map(total).to_vec())
            });
            Value::Array(totals.collect())
        })
        .to_vec()
}

#[test]
#[ignore = "needs root"]
fn the_selftest_passes_and_touches_no_counter() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.ok(&["load", "-f", policy.to_str().unwrap()]).unwrap();
    pair.outside.ip("link set wan0 down").unwrap();

    let before = totals(&ctl.snapshot().unwrap());
    let output = ctl.run(&["doctor", "--selftest", "-o", "json"]).unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = report["selftest"]["rows"].as_array().unwrap();
    let failing: Vec<&Value> = rows.iter().filter(|row| row["ok"] != true).collect();
    assert!(failing.is_empty(), "{failing:#?}");
    assert!(rows.len() > 150 && rows.iter().all(|row| row["zone"] == "wan"));
    let passed = rows.iter().filter(|row| row["got"] == "pass").count();
    assert!(passed > 20, "web and essential packets pass: {passed}");
    let time = report["selftest"]["milliseconds"].as_f64().unwrap();
    assert!(time < 2000.0, "{time} ms");
    assert!(output.status.success(), "{report:#}");
    assert_eq!(totals(&ctl.snapshot().unwrap()), before);

    let checks = report["checks"].as_array().unwrap();
    let wan = checks
        .iter()
        .find(|check| check["what"] == "interface wan0");
    let found = wan.unwrap()["found"].as_str().unwrap();
    assert!(
        found.starts_with("filtered in native mode; driver veth; MTU 1500; VLAN tags "),
        "{found}"
    );
}

/// What a virtual cable does with tags is up to its other end: a warning that goes away when the
/// user says that it is settled.
#[test]
#[ignore = "needs root"]
fn vlan_rules_on_a_virtual_cable_are_warned_about() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    let load = || {
        let output = ctl.run(&["load", "-f", policy.to_str().unwrap()]).unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let wanted = "ethtool -K wan0 rxvlan off";
    assert!(load().contains(wanted));
    let status = pair
        .inside
        .command("ethtool")
        .args(["-K", "wan0", "rxvlan", "off"])
        .status()
        .unwrap();
    assert!(status.success());
    assert!(!load().contains(wanted));
}

/// Who may not look does not know whose program runs there, and is not told to take it off.
#[test]
#[ignore = "needs root"]
fn without_rights_the_filter_is_no_stranger() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    for (mode, word) in [("native", "native"), ("generic", "generic")] {
        ctl.ok(&["load", "--mode", mode, "-f", policy.to_str().unwrap()])
            .unwrap();
        for more in [&[][..], &["-i", "wan0"]] {
            let arguments = [&["doctor", "-o", "json"], more].concat();
            let output = ctl.run_unprivileged(&arguments).unwrap();
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            let checks = report["checks"].as_array().unwrap();
            let mut wan = checks.iter().filter(|it| it["what"] == "interface wan0");
            let wan = wan.next().unwrap();
            let found = wan["found"].as_str().unwrap();
            assert!(found.contains("only root can see"), "{found}");
            assert!(found.contains(&format!("{word} mode")), "{found}");
            assert_eq!(wan["advice"], "sudo firewall-ctl doctor");
        }
        ctl.ok(&["unload", "--all"]).unwrap();
    }
}
