//! Interfaces on which the filter would misread frames, or would not run at all: refused, and said,
//! by every verb that resolves interfaces.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::Namespace;
use std::process::Output;

const POLICY: &str = "\
version: 1
default: {in: drop}
";

/// The exit code for what the interface does not support.
const UNSUPPORTED: i32 = 6;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Makes the devices without Ethernet header that this kernel has; their names.
fn raw_devices(host: &Namespace) -> Vec<&'static str> {
    host.ip("tuntap add dev eth7 mode tun").unwrap();
    let others = [
        ("eth8", "link add eth8 type ipip local 192.0.2.1"),
        ("eth9", "link add eth9 type sit local 192.0.2.1"),
        ("eth10", "link add eth10 type gre local 192.0.2.1"),
        ("eth11", "link add eth11 type wireguard"),
    ];
    let there = others.iter().filter(|(_, make)| host.ip(make).is_ok());
    let mut names: Vec<&str> = there.map(|(name, _)| *name).collect();
    names.push("eth7");
    names
}

#[test]
#[ignore = "needs root"]
fn interfaces_without_ethernet_header_are_refused() {
    let host = Namespace::new("raw").unwrap();
    let mut ctl = Ctl::new(&host).unwrap();
    for name in raw_devices(&host) {
        let policy = ctl.policy(POLICY).unwrap();
        let policy = policy.to_str().unwrap();
        for mode in ["auto", "native", "generic"] {
            let output = ctl
                .run(&["load", "-i", name, "-f", policy, "--mode", mode])
                .unwrap();
            assert_eq!(output.status.code(), Some(UNSUPPORTED), "{name} {mode}");
            assert!(
                said(&output).contains("no Ethernet header"),
                "{}",
                said(&output)
            );
        }
        // By a pattern of the policy, too, and nothing stays behind.
        let named = format!("{POLICY}interfaces: [{{match: \"{name}*\"}}]\n");
        let named = ctl.policy(&named).unwrap();
        let output = ctl.run(&["load", "-f", named.to_str().unwrap()]).unwrap();
        assert_eq!(output.status.code(), Some(UNSUPPORTED), "{name}");
        assert!(!ctl.pins().exists(), "{name}: nothing was loaded");
        let output = ctl.run(&["doctor", "-i", name]).unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("no Ethernet header"));
    }
    // The daemon, too, which the harness starts on an interface of this name.
    host.ip("tuntap add dev wan0 mode tun").unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    let error = ctl.start(&policy).unwrap_err().to_string();
    assert!(error.contains("no Ethernet header"), "{error}");
}

#[test]
#[ignore = "needs root"]
fn what_has_an_ethernet_header_is_filtered_as_before() {
    let host = Namespace::new("eth").unwrap();
    let ctl = Ctl::new(&host).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    let policy = policy.to_str().unwrap();
    // A device of the same driver as the one that is refused, under the name of one of those.
    host.ip("tuntap add dev tun0 mode tap").unwrap();
    host.ip("link add wg0 type veth peer name peer0").unwrap();
    host.ip("link add br0 type bridge").unwrap();
    host.ip("link set peer0 master br0").unwrap();
    let _ = host.ip("link add ppp0 link wg0 type macvlan");
    for name in ["tun0", "wg0", "peer0", "br0", "lo"] {
        ctl.ok(&["load", "-i", name, "-f", policy]).unwrap();
    }
    ctl.ok(&["status"]).unwrap();
    // A device that is not wanted, and could not be filtered, is nobody's fault.
    host.ip("tuntap add dev eth7 mode tun").unwrap();
    ctl.ok(&["doctor"]).unwrap();
    ctl.ok(&["unload", "--all"]).unwrap();
}

#[test]
#[ignore = "needs root"]
fn a_reload_onto_such_an_interface_keeps_what_is_in_force() {
    let host = Namespace::new("raw").unwrap();
    let mut ctl = Ctl::new(&host).unwrap();
    host.ip("link add wan0 type veth peer name peer0").unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.start_with(&policy, &["-i", "eth*"]).unwrap();
    host.ip("tuntap add dev eth7 mode tun").unwrap();
    for verb in [&["reload"][..], &["apply", "-f", policy.to_str().unwrap()]] {
        let output = ctl.run(verb).unwrap();
        assert_eq!(output.status.code(), Some(UNSUPPORTED), "{verb:?}");
        assert!(said(&output).contains("eth7"), "{}", said(&output));
    }
    let status = ctl.run(&["status"]).unwrap();
    let screen = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(screen.contains("no Ethernet header"), "{screen}");
    assert_eq!(status.status.code(), Some(1), "{screen}");
}
