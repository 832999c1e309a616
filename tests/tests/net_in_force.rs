//! What is asked about the policy in force is answered as the wire would: bans, live sets and the zones
//! of interfaces included. Real connections are the judge.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INSIDE_V4, INTERFACE, OUTSIDE_V4, Pair};
use serde_json::Value;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

const POLICY: &str = "\
version: 1
interfaces: [{match: wan0}]
sets:
  partners: {type: cidr, live: true, elements: []}
  staff: {type: cidr, live: true, elements: []}
default: {in: drop}
exempt: [203.0.113.0/24]
rules:
  - {name: partners, proto: tcp, port: 8080, from: \"@partners\", action: pass}
  - {name: staff, proto: tcp, port: 8081, from: \"@staff\", action: pass}
  - {name: web, proto: tcp, port: 443, action: pass}
";

/// Whether a connection from the outside opens.
fn opens(pair: &Pair, port: u16) -> bool {
    let to = SocketAddr::from((INSIDE_V4, port));
    let wait = Duration::from_millis(300);
    pair.outside
        .run(move || TcpStream::connect_timeout(&to, wait).is_ok())
}

/// The answer of `test` about a packet from the outside, with the program in the kernel asked, too.
fn answer(ctl: &Ctl<'_>, packet: &str, more: &[&str]) -> (String, String) {
    let arguments = [&["test", packet, "-o", "json"], more].concat();
    let output = ctl.run(&arguments).unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let word = |key: &str| report[key].as_str().unwrap().to_owned();
    if more.contains(&"--live") {
        assert_eq!(report["live"]["verdict"], report["verdict"], "{report:#}");
        assert_eq!(report["live"]["reason"], report["reason"], "{report:#}");
    }
    (word("verdict"), word("reason"))
}

#[test]
#[ignore = "needs root"]
fn a_packet_is_judged_by_what_is_banned_and_in_live_sets() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    let file = policy.to_str().unwrap();
    ctl.ok(&["load", "-f", file]).unwrap();
    let listen = |port: u16| {
        pair.inside
            .run(move || TcpListener::bind((INSIDE_V4, port)).unwrap())
    };
    let _listeners = [8080, 8081, 443].map(listen);
    let client = OUTSIDE_V4;
    let agree = |wanted: &[(u16, bool)]| {
        for &(port, passes) in wanted {
            assert_eq!(opens(&pair, port), passes, "port {port}");
            let packet = format!("tcp {client} > {INSIDE_V4}:{port}");
            let word = if passes { "pass" } else { "drop" };
            assert_eq!(answer(&ctl, &packet, &[]).0, word, "{packet}");
            assert_eq!(answer(&ctl, &packet, &["--live"]).0, word, "{packet}");
        }
    };
    agree(&[(8080, false), (8081, false), (443, true)]);

    // By a prefix that holds it, too.
    ctl.ok(&["set", "add", "partners", "192.0.2.0/24"]).unwrap();
    agree(&[(8080, true), (8081, false), (443, true)]);
    ctl.ok(&["set", "add", "staff", &client.to_string()])
        .unwrap();
    agree(&[(8080, true), (8081, true)]);

    let ban = |address: &str| ctl.ok(&["ban", address, "for", "10m"]).unwrap();
    ban(&client.to_string());
    agree(&[(8080, false), (443, false)]);
    let banned = format!("tcp {client} > {INSIDE_V4}:443");
    assert_eq!(answer(&ctl, &banned, &["--live"]).1, "banned");
    // A file is tried by itself, and the packet says what is to be so.
    assert_eq!(answer(&ctl, &banned, &["-f", file]).0, "pass");
    let said = format!("{banned} from @banned");
    assert_eq!(answer(&ctl, &said, &["-f", file]).1, "banned");
    // An exempt source is not held by a ban that holds it.
    ban("203.0.112.0/23");
    let exempt = format!("tcp 203.0.113.5 > {INSIDE_V4}:443");
    assert_eq!(answer(&ctl, &exempt, &["--live"]).0, "pass");
    let other = format!("tcp 203.0.112.5 > {INSIDE_V4}:443");
    assert_eq!(answer(&ctl, &other, &["--live"]).1, "banned");

    ctl.ok(&["unban", &client.to_string()]).unwrap();
    agree(&[(8080, true), (443, true)]);
    ctl.ok(&["set", "del", "partners", "192.0.2.0/24"]).unwrap();
    agree(&[(8080, false), (8081, true)]);
}

/// An interface that is named beside the policy's own has no zone, and the user is told what that means.
#[test]
#[ignore = "needs root"]
fn rules_of_zones_on_an_interface_without_one_are_warned_about() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let load = |rules: &str, interfaces: &str| {
        let text = format!(
            "version: 1\ninterfaces: [{{match: eth7, zone: wan}}{interfaces}]\n\
             default: {{in: drop}}\nrules:\n{rules}"
        );
        let policy = ctl.policy(&text).unwrap();
        let arguments = ["load", "-i", INTERFACE, "-f", policy.to_str().unwrap()];
        let output = ctl.run(&arguments).unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let web = "  - {name: web, proto: tcp, port: 80, zone: wan, action: pass}\n";
    let dns = "  - {name: dns, proto: udp, port: 53, action: pass}\n";
    let off = "  - {name: off, proto: udp, port: 54, action: pass, enabled: false}\n";
    let advice = "`- {match: wan0, zone: wan}`";
    let none = load(&format!("{web}{off}"), "");
    assert!(
        none.contains("wan0 has no zone, so no rule can match there"),
        "{none}"
    );
    assert!(none.contains(advice), "{none}");
    let some = load(&format!("{web}{dns}"), "");
    assert!(some.contains("1 of 2 rules cannot match there"), "{some}");
    // Rules that ask for no zone, and an interface whose zone is said: nothing to say.
    assert!(!load(dns, "").contains("no zone"));
    assert!(!load(web, ", {match: wan0, zone: wan}").contains("no zone"));
    // The policy names it without a zone: some rules are for it, and that is said on purpose.
    let meant = load(&format!("{web}{dns}"), ", {match: wan0}");
    assert!(!meant.contains("no zone"), "{meant}");
}
