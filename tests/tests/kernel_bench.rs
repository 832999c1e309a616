//! The benchmark runs from end to end: a small part of it, in seconds. What it measures here means
//! little; that oracle, host and kernel agree on every header is checked on the way.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::Command;

/// What a quick run of these cases writes down.
fn quick_run(cases: &str, rounds: &str) -> serde_json::Value {
    let json = std::env::temp_dir().join(firewall_tests::netns::unique("bench.json"));
    let output = Command::new(env!("CARGO_BIN_EXE_firewall-bench"))
        .args(["--quick", "--rounds", rounds, "--only", cases, "--json"])
        .arg(&json)
        .output()
        .unwrap();
    let results = std::fs::read_to_string(&json);
    let _ = std::fs::remove_file(&json);
    let (text, errors) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{errors}\n{text}");
    assert!(text.contains("bars not judged"), "{text}");
    serde_json::from_str(&results.unwrap()).unwrap()
}

#[test]
#[ignore = "needs root"]
fn a_quick_run_measures_ours_and_says_what_it_did_not_judge() {
    let report = quick_run("P1,P2", "1");
    let rows = report["rows"].as_array().unwrap();
    for what in ["ours, one rule", "acl1 100 rules", "ipc1 1000 rules"] {
        let row = rows.iter().find(|row| row["what"] == what).unwrap();
        assert!(row["median"].as_f64().unwrap() > 0.0, "{row}");
    }
}

/// How many times as much as a drop without state a packet may cost here, by what its name begins
/// with; the first that fits counts. Half as much again as it is on a quiet machine, at least. (64 rules
/// that go on, 16 of them with limit and log: 28 times the median packet of 1,000 rules.)
const MOST: &[(&str, f64)] = &[
    ("1000 rules", 45.0),
    ("SYN, answered", 20.0),
    ("ACK, answered", 12.0),
    ("datagram, answered", 12.0),
    ("stranger's ICMP error", 9.0),
    ("", 6.0),
];

#[test]
#[ignore = "needs root"]
fn what_strangers_send_costs_little() {
    let report = quick_run("P13", "3");
    let packets = report["packets"].as_array().unwrap();
    assert!(packets.len() > 25, "{packets:?}");
    // An emulated processor has other costs.
    if std::env::var_os("FIREWALL_EMULATED").is_some() {
        return;
    }
    for packet in packets {
        let what = packet["what"].as_str().unwrap();
        let (_, most) = MOST
            .iter()
            .find(|(name, _)| what.starts_with(name))
            .unwrap();
        let times = packet["times"]["times"].as_f64().unwrap();
        assert!(times > 0.0 && times <= *most, "{packet}");
    }
}
