//! Interfaces on which the filter would misread frames, or would not run at all: refused, and said,
//! by every verb that resolves interfaces.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::Namespace;
use firewall_tests::tun::Cable;
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

/// Makes the devices without link header that this kernel has; their names.
fn raw_devices(host: &Namespace) -> Vec<&'static str> {
    host.ip("tuntap add dev eth7 mode tun").unwrap();
    let others = [
        ("eth8", "link add eth8 type ipip local 192.0.2.1"),
        ("eth9", "link add eth9 type sit local 192.0.2.1"),
        (
            "eth10",
            "link add eth10 type gre local 192.0.2.1 remote 192.0.2.2",
        ),
        ("eth11", "link add eth11 type wireguard"),
    ];
    let there = others.iter().filter(|(_, make)| host.ip(make).is_ok());
    let mut names: Vec<&str> = there.map(|(name, _)| *name).collect();
    names.push("eth7");
    names
}

#[test]
#[ignore = "needs root"]
fn interfaces_without_link_header_are_filtered_in_generic_mode() {
    let host = Namespace::new("raw").unwrap();
    let ctl = Ctl::new(&host).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    let policy = policy.to_str().unwrap();
    for name in raw_devices(&host) {
        let load = |mode: &str| {
            let words = ["load", "-i", name, "-f", policy, "--mode", mode];
            ctl.run(&words).unwrap()
        };
        let output = load("native");
        assert_eq!(output.status.code(), Some(UNSUPPORTED), "{name}");
        assert!(
            said(&output).contains("no link header"),
            "{}",
            said(&output)
        );
        assert!(!ctl.pins().exists(), "{name}: nothing was loaded");
        for mode in ["auto", "generic"] {
            let output = load(mode);
            assert!(output.status.success(), "{name} {mode}: {}", said(&output));
            ctl.ok(&["status"]).unwrap();
            let found = ctl.ok(&["doctor", "-i", name]).unwrap();
            assert!(found.contains("generic mode") && found.contains("no link header"));
            ctl.ok(&["unload", "--all"]).unwrap();
        }
    }
}

/// Makes what this kernel has of devices that cannot be carried: their names.
fn strange_devices(host: &Namespace) -> Vec<&'static str> {
    let all = [
        ("any0", "link add any0 type gre local 192.0.2.1"),
        ("xfrm0", "link add xfrm0 type xfrm dev lo if_id 7"),
        ("vti0", "link add vti0 type vti local 192.0.2.1 key 7"),
        ("can0", "link add can0 type vcan"),
        ("mon0", "link add mon0 type nlmon"),
    ];
    let there = all.iter().filter(|(_, make)| host.ip(make).is_ok());
    there.map(|(name, _)| *name).collect()
}

#[test]
#[ignore = "needs root"]
fn interfaces_whose_frames_begin_otherwise_are_refused() {
    let host = Namespace::new("raw").unwrap();
    let mut ctl = Ctl::new(&host).unwrap();
    let there = Namespace::new("far").unwrap();
    // Devices of tun whose owners say that they are something else: InfiniBand, Ethernet.
    let _cables = [("tun32", 32), ("tun1", 1)].map(|(name, of)| {
        let cable = Cable::of_type(&host, &there, name, of);
        cable.unwrap()
    });
    for name in ["tun32", "tun1"].into_iter().chain(strange_devices(&host)) {
        let policy = ctl.policy(POLICY).unwrap();
        let policy = policy.to_str().unwrap();
        for mode in ["auto", "native", "generic"] {
            let output = ctl
                .run(&["load", "-i", name, "-f", policy, "--mode", mode])
                .unwrap();
            assert_eq!(output.status.code(), Some(UNSUPPORTED), "{name} {mode}");
            assert!(said(&output).contains("cannot carry"), "{}", said(&output));
        }
        // By a pattern of the policy, too, and nothing stays behind.
        let named = format!("{POLICY}interfaces: [{{match: \"{name}*\"}}]\n");
        let named = ctl.policy(&named).unwrap();
        let output = ctl.run(&["load", "-f", named.to_str().unwrap()]).unwrap();
        assert_eq!(output.status.code(), Some(UNSUPPORTED), "{name}");
        assert!(!ctl.pins().exists(), "{name}: nothing was loaded");
        let output = ctl.run(&["doctor", "-i", name]).unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}");
        // The daemon, too, which the harness starts on an interface of this name.
        host.ip(&format!("link set {name} name wan0")).unwrap();
        let policy = ctl.policy(POLICY).unwrap();
        let error = ctl.start(&policy).unwrap_err().to_string();
        assert!(error.contains("cannot carry"), "{error}");
        host.ip("link del wan0").unwrap();
    }
}

#[test]
#[ignore = "needs root"]
fn packets_without_length_are_for_native_mode() {
    let host = Namespace::new("big").unwrap();
    let ctl = Ctl::new(&host).unwrap();
    host.ip("link add eth0 type veth peer name peer0").unwrap();
    host.ip("link set eth0 gro_max_size 200000").unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    let policy = policy.to_str().unwrap();
    let load = |mode: &str| {
        let words = ["load", "-i", "eth0", "-f", policy, "--mode", mode];
        ctl.run(&words).unwrap()
    };
    let output = load("generic");
    assert_eq!(output.status.code(), Some(UNSUPPORTED));
    assert!(
        said(&output).contains("gro_max_size 65536"),
        "{}",
        said(&output)
    );
    assert!(load("auto").status.success());
    ctl.ok(&["status"]).unwrap();
    ctl.ok(&["unload", "--all"]).unwrap();
    // It may become so later.
    host.ip("link set eth0 gro_max_size 65536").unwrap();
    assert!(load("generic").status.success());
    ctl.ok(&["status"]).unwrap();
    host.ip("link set eth0 gro_max_size 200000").unwrap();
    let status = ctl.run(&["status"]).unwrap();
    assert_eq!(status.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&status.stdout).contains("BIG TCP"));
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
    let _ = host.ip("link add any0 type gre local 192.0.2.1");
    ctl.ok(&["doctor"]).unwrap();
    ctl.ok(&["unload", "--all"]).unwrap();
}

/// The limits of an interface, as `status` says them.
fn limits(ctl: &Ctl<'_>, interface: &str) -> Vec<String> {
    let status = ctl.ok(&["-o", "json", "status"]).unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let mut all = status["interfaces"].as_array().unwrap().iter();
    let found = all.find(|it| it["name"] == interface).unwrap();
    let limits = found["limits"].as_array().into_iter().flatten();
    limits.map(|it| it.as_str().unwrap().to_owned()).collect()
}

/// What the filter does not see although it reads every frame rightly is said, and no reason to call the
/// firewall degraded.
#[test]
#[ignore = "needs root"]
fn limits_are_said_by_load_status_and_doctor() {
    let host = Namespace::new("limits").unwrap();
    let ctl = Ctl::new(&host).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    let policy = policy.to_str().unwrap();
    host.ip("link add br0 type bridge").unwrap();
    host.ip("link add eth0 type veth peer name peer0").unwrap();
    host.ip("link set eth0 master br0").unwrap();
    let words = ["load", "-i", "br0", "-i", "eth0", "-f", policy];
    let output = ctl.run(&words).unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let wanted = "what br0, a bridge, forwards between its ports";
    assert!(said(&output).contains(wanted), "{}", said(&output));
    let text = ctl.ok(&["status"]).unwrap();
    assert!(text.contains(wanted) && text.contains("ACTIVE\n"), "{text}");
    assert!(text.contains("Drift none"), "{text}");
    assert_eq!(limits(&ctl, "br0").len(), 1);
    assert!(limits(&ctl, "eth0").is_empty());
    assert!(ctl.ok(&["doctor"]).unwrap().contains(wanted));
}

/// The kernel takes no program below one: what lies below is attached first, also if it has come later, and
/// where it is too late for that, one says so before anything is done.
#[test]
#[ignore = "needs root"]
fn what_lies_below_is_attached_first() {
    let host = Namespace::new("below").unwrap();
    let ctl = Ctl::new(&host).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    let policy = policy.to_str().unwrap();
    host.ip("link add br0 type bridge").unwrap();
    host.ip("link add eth0 type veth peer name peer0").unwrap();
    host.ip("link add mac0 link eth0 type macvlan").unwrap();
    host.ip("link set peer0 master br0").unwrap();
    ctl.ok(&["load", "-i", "br0", "-i", "mac0", "-f", policy])
        .unwrap();
    for (below, above) in [("peer0", "br0"), ("eth0", "mac0")] {
        let output = ctl.run(&["load", "-i", below, "-f", policy]).unwrap();
        assert_eq!(output.status.code(), Some(UNSUPPORTED));
        let advice = format!("unload -i {above}");
        assert!(said(&output).contains(&advice), "{}", said(&output));
        let output = ctl.run(&["doctor", "-i", below]).unwrap();
        assert_eq!(output.status.code(), Some(1));
        ctl.ok(&["unload", "-i", above]).unwrap();
    }
    let words = "load -i br0 -i mac0 -i eth0 -i peer0 -f";
    let mut words: Vec<&str> = words.split(' ').collect();
    words.push(policy);
    ctl.ok(&words).unwrap();
    ctl.ok(&words).unwrap();
    ctl.ok(&["status"]).unwrap();
}

/// M8: what IPsec decrypts by a policy comes in by the interface of its ESP packet once more, which native
/// mode does not see.
#[test]
#[ignore = "needs root"]
fn generic_mode_says_that_it_sees_decrypted_packets() {
    const SAID: &str = "IPsec decrypts packets here";
    let host = Namespace::new("ipsec").unwrap();
    let ctl = Ctl::new(&host).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    let policy = policy.to_str().unwrap();
    host.ip("link add eth0 type veth peer name peer0").unwrap();
    let load = |mode: &str| {
        let words = ["load", "-i", "eth0", "-f", policy, "--mode", mode];
        said(&ctl.run(&words).unwrap())
    };
    let template = "tmpl src 192.0.2.1 dst 192.0.2.2 proto esp mode tunnel";
    let ends = "src 10.1.0.0/24 dst 10.2.0.0/24";
    let change = |verb: &str, direction: &str, rest: &str| {
        let words = format!("xfrm policy {verb} dir {direction} {ends} {rest}");
        host.ip(&words).unwrap();
    };
    // What leaves is encrypted, what comes in passes as it is.
    change("add", "out", template);
    change("add", "in", "");
    assert!(!load("generic").contains(SAID));
    assert!(limits(&ctl, "eth0").is_empty());
    change("delete", "in", "");
    change("add", "in", template);
    assert!(limits(&ctl, "eth0")[0].contains(SAID));
    assert!(ctl.ok(&["doctor"]).unwrap().contains(SAID));
    ctl.ok(&["unload", "--all"]).unwrap();
    assert!(!load("native").contains(SAID));
    assert!(limits(&ctl, "eth0").is_empty());
    ctl.ok(&["unload", "--all"]).unwrap();
    assert!(load("generic").contains(SAID));
}
