//! What `plan` says before a policy is applied: rules with what they have counted, packets, the session that
//! asks, what listens; and that nothing changes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::{Ctl, said, until};
use firewall_tests::netns::{INSIDE_V4, Pair};
use firewall_tests::talk::{connect, listen};
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;

const NOW: &str = "version: 1\ninterfaces: [{match: wan0}]\ndefault: {in: pass}\nrules:\n  \
                   - {name: ssh, proto: tcp, port: 22, action: pass}\n  \
                   - {name: web, proto: tcp, port: 80, action: pass}\n  \
                   - {name: never, proto: tcp, port: 9999, action: drop}\n";
const NEXT: &str = "version: 1\ninterfaces: [{match: wan0}]\ndefault: {in: drop}\nrules:\n  \
                    - {name: ssh, proto: tcp, port: 22, from: 192.0.2.0/24, action: pass}\n  \
                    - {name: dns, proto: udp, port: 53, action: pass}\n";

fn rule<'p>(plan: &'p Value, name: &str) -> &'p Value {
    let mut rules = plan["rules"].as_array().unwrap().iter();
    rules.find(|rule| rule["name"] == name).unwrap()
}

fn service(plan: &Value, proto: &str, port: u16) -> (String, String) {
    let mut all = plan["services"].as_array().unwrap().iter();
    let it = all.find(|it| it["proto"] == proto && it["port"] == port);
    let it = it.unwrap_or_else(|| panic!("{proto}/{port}: {plan:#}"));
    let word = |key: &str| it[key].as_str().unwrap().to_owned();
    (word("was"), word("becomes"))
}

#[test]
#[ignore = "needs root"]
fn a_plan_tells_what_an_apply_would_do_and_changes_nothing() {
    let pair = Pair::new().unwrap();
    for port in [22, 53, 80] {
        listen(&pair.inside, port).unwrap();
    }
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(NOW).unwrap();
    let next = ctl.folder().join("next.yaml");
    fs::write(&next, NEXT).unwrap();
    let next = next.to_str().unwrap();
    // Where nothing is in force all comes.
    let plan = ctl.json(&["plan", "-f", next]).unwrap();
    assert_eq!((&plan["in_force"], &plan["add"]), (&Value::Null, &2.into()));
    ctl.start(&policy).unwrap();
    let generation = |ctl: &Ctl<'_>| ctl.json(&["get", "policy"]).unwrap()["generation"].clone();
    let before = generation(&ctl);
    connect(&pair.outside, SocketAddr::from((INSIDE_V4, 80))).unwrap();
    let counted = |plan: &Value| rule(plan, "web")["hits"]["packets"].as_u64().unwrap();
    until("the hit is counted", &ctl, || {
        let plan = ctl.json(&["plan", "-f", next]).unwrap();
        counted(&plan) > 0 && !rule(&plan, "web")["last_hit"].is_null()
    });
    ctl.set("SSH_CONNECTION", "203.0.113.5 50000 198.51.100.1 22");
    let plan = ctl.json(&["plan", "-f", next]).unwrap();
    assert_eq!(plan["default"]["becomes"], "drop");
    for (name, fate) in [
        ("ssh", "change"),
        ("dns", "add"),
        ("web", "remove"),
        ("never", "remove"),
    ] {
        assert_eq!(rule(&plan, name)["fate"], fate, "{plan:#}");
    }
    let counts = ["add", "change", "remove"].map(|key| plan[key].as_u64().unwrap());
    assert_eq!(counts, [1, 2, 2], "{plan:#}");
    let cut = plan["session"]["cut"].as_str().unwrap();
    assert!(cut.contains("cut your own connection"), "{cut}");
    let some = |was: &str, becomes: &str| (was.to_owned(), becomes.to_owned());
    assert_eq!(service(&plan, "tcp", 22), some("all", "some"));
    assert_eq!(service(&plan, "tcp", 80), some("all", "none"));
    assert_eq!(service(&plan, "udp", 53), some("all", "all"));
    let output = ctl.run(&["plan", "-f", next, "--exit-code"]).unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(8), "{text}");
    for part in [
        "~ default  pass -> drop",
        "! your session 203.0.113.5:50000 > 198.51.100.1:22: this would cut",
        "! 80/tcp (http) listens: open to all -> refused",
        "  53/udp (dns) listens: stays open to all",
        "- rule web",
        "last hit",
        "Plan: 1 to add, 2 to change, 2 to remove.",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert_eq!(
        ctl.run(&["plan", "-f", next]).unwrap().status.code(),
        Some(0)
    );
    // Without a file: what a reload would do.
    let output = ctl.run(&["plan", "--exit-code"]).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("No changes"), "{}", said(&output));
    ctl.ok(&["allow", "8080/tcp"]).unwrap();
    let output = ctl.run(&["plan", "--exit-code"]).unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(8), "{text}");
    assert!(text.contains("- runtime rule allow-8080-tcp"), "{text}");
    assert!(text.contains("would be lost"), "{text}");
    let wrong = ctl.folder().join("wrong.yaml");
    fs::write(&wrong, "version: 1\nodd: 1\n").unwrap();
    let output = ctl.run(&["plan", "-f", wrong.to_str().unwrap()]).unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert_eq!(
        generation(&ctl).as_u64(),
        before.as_u64().map(|it| it + 1),
        "by `allow`"
    );
    // Without a daemon, too.
    ctl.kill().unwrap();
    let plan = ctl.json(&["plan", "-f", next]).unwrap();
    assert!(counted(&plan) > 0);
}
