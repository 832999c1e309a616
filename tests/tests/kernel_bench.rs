//! The benchmark runs from end to end: a small part of it, in seconds. What it measures here means
//! nothing; that oracle, host and kernel agree on every header is checked on the way.

use std::process::Command;

#[test]
#[ignore = "needs root"]
fn a_quick_run_measures_ours_and_says_what_it_did_not_judge() {
    let json = std::env::temp_dir().join(firewall_tests::netns::unique("bench.json"));
    let output = Command::new(env!("CARGO_BIN_EXE_firewall-bench"))
        .args(["--quick", "--rounds", "1", "--only", "P1,P2", "--json"])
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
    let report: serde_json::Value = serde_json::from_str(&results.unwrap()).unwrap();
    let rows = report["rows"].as_array().unwrap();
    for what in ["ours, one rule", "acl1 100 rules", "ipc1 1000 rules"] {
        let row = rows.iter().find(|row| row["what"] == what).unwrap();
        assert!(row["median"].as_f64().unwrap() > 0.0, "{row}");
    }
}
