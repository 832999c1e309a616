//! A policy that is a directory, in force: the daemon reads all of its files, at its start and at
//! `reload`, and what it keeps reads as the same policy again.

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INSIDE_V4, OUTSIDE_V4, Pair};
use std::net::UdpSocket;
use std::time::Duration;

const MAIN: &str = "\
version: 1
interfaces: [{match: wan0}]
default: {in: drop}
";

const SYSLOG: &str = "\
version: 1
sets: {outside: {type: cidr, file: lists/outside.txt}}
rules:
  - {name: syslog, proto: udp, port: 514, from: \"@outside\", action: pass}
";

#[test]
#[ignore = "needs root"]
fn a_directory_is_enforced_reloaded_and_adopted() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let directory = ctl.folder().join("policy");
    std::fs::create_dir_all(directory.join("rules.d/lists")).unwrap();
    std::fs::write(directory.join("firewall.yaml"), MAIN).unwrap();
    std::fs::write(directory.join("rules.d/10-syslog.yaml"), SYSLOG).unwrap();
    std::fs::write(
        directory.join("rules.d/lists/outside.txt"),
        format!("{OUTSIDE_V4}\n"),
    )
    .unwrap();
    ctl.start(&directory).unwrap();

    let arrives = |port: u16| {
        let receiver = pair
            .inside
            .run(|| UdpSocket::bind((INSIDE_V4, port)).unwrap());
        receiver
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        pair.outside.run(|| {
            let socket = UdpSocket::bind((OUTSIDE_V4, 0)).unwrap();
            socket.send_to(&[0; 10], (INSIDE_V4, port)).unwrap();
        });
        receiver.recv(&mut [0; 64]).is_ok()
    };
    assert!(arrives(514), "the rule of the second file is in force");
    assert!(!arrives(515));

    // A broken file changes nothing, and is named.
    let second = directory.join("rules.d/20-more.yaml");
    std::fs::write(
        &second,
        "version: 1\nrules: [{name: syslog, action: pass}]\n",
    )
    .unwrap();
    let refused = ctl.run(&["reload"]).unwrap();
    assert_eq!(refused.status.code(), Some(3));
    let errors = String::from_utf8(refused.stderr).unwrap();
    for place in ["rules.d/20-more.yaml:2:", "rules.d/10-syslog.yaml:4:"] {
        assert!(errors.contains(place), "{errors}");
    }
    assert!(arrives(514) && !arrives(515));

    std::fs::write(
        &second,
        "version: 1\nrules: [{name: more, proto: udp, port: 515, action: pass}]\n",
    )
    .unwrap();
    ctl.ok(&["reload"]).unwrap();
    assert!(arrives(514) && arrives(515));
    let rules = ctl.json(&["get", "rules"]).unwrap();
    let place = rules["rules"][1]["place"].as_str().unwrap();
    assert!(place.ends_with("policy/rules.d/20-more.yaml:2"), "{place}");

    // What is in force reads as the directory does.
    let name = directory.to_str().unwrap();
    let text = ctl.ok(&["get", "policy"]).unwrap();
    let kept = directory.join("running.yaml");
    std::fs::write(&kept, text).unwrap();
    let diff = ctl.run(&["diff", kept.to_str().unwrap(), name]).unwrap();
    assert_eq!(diff.status.code(), Some(0), "{diff:?}");
    let in_force = ctl.run(&["diff", name]).unwrap();
    assert_eq!(in_force.status.code(), Some(0), "{in_force:?}");
    let packet = format!("udp {OUTSIDE_V4} > {INSIDE_V4}:515 on wan0");
    let judged = ctl.ok(&["test", &packet]).unwrap();
    assert!(judged.contains("rules.d/20-more.yaml:2"), "{judged}");
    let again = ctl.ok(&["apply", "-f", name]).unwrap();
    assert!(again.contains("unchanged"), "{again}");

    // The next daemon adopts it as it is.
    let before = ctl.json(&["status"]).unwrap();
    ctl.kill().unwrap();
    ctl.start(&directory).unwrap();
    let after = ctl.json(&["status"]).unwrap();
    for what in ["number", "applied"] {
        assert_eq!(before["generation"][what], after["generation"][what]);
    }
    assert!(arrives(515));
}
