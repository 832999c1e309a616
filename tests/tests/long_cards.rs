//! Network cards with drivers of their own. Run in a guest of qemu by `cargo xtask vm --cards`, which plugs
//! the cards in.
//!
//! Cable N has a card at both ends, with the MAC addresses 52:54:00:00:0N:01 outside and :02 inside.
//! `FIREWALL_FRAMES=N` says how many frames a card is sent (10,000). Each test prints a row of
//! docs/cards.md.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::fuzz::{Case, Generator};
use firewall_tests::netns::{INTERFACE, Namespace, put};
use firewall_tests::policies::parse;
use firewall_tests::{number, patience, seed};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Of all kinds of frames, some pass. Nothing depends on what came before.
const POLICY: &str = "\
version: 1
default: {in: drop, essential: false}
rules:
  - {name: web, proto: tcp, port: [80, 443], action: pass}
  - {name: six, proto: udp, from: \"2001:db8::/32\", action: drop}
  - {name: dns, proto: udp, port: 53, action: pass}
  - {name: lab, from: 192.0.2.0/24, action: pass}
  - {name: tagged, vlan: 10, action: pass}
";

/// How many frames are on their way together: less than the shortest ring.
const TOGETHER: usize = 16;

/// Packets by reason and verdict.
type Ledger = BTreeMap<(String, String), u64>;

/// The name that an interface of the guest's own has at a cable's end.
fn card(cable: u8, end: u8) -> String {
    let wanted = format!("52:54:00:00:{cable:02}:{end:02}");
    let all = fs::read_dir("/sys/class/net").unwrap();
    let mut all = all.map(|entry| entry.unwrap().path());
    let found = all.find(|path| {
        let address = fs::read_to_string(path.join("address")).unwrap_or_default();
        address.trim() == wanted
    });
    let found = found.unwrap_or_else(|| panic!("no card {wanted}: cargo xtask vm --cards"));
    found.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Two hosts at a cable.
struct Hosts {
    outside: Namespace,
    inside: Namespace,
    /// The inner card, where it can be unplugged.
    slot: PathBuf,
    driver: String,
}

/// Puts a card into a namespace, under a name.
fn give(card: &str, to: &Namespace, name: &str) {
    let words = [
        "link",
        "set",
        card,
        "down",
        "netns",
        to.name(),
        "name",
        name,
    ];
    let output = Command::new("ip").args(words).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    to.ip(&format!("link set {name} addrgenmode none")).unwrap();
}

impl Hosts {
    fn at(cable: u8) -> Self {
        let (outside, inside) = (
            Namespace::new("out").unwrap(),
            Namespace::new("in").unwrap(),
        );
        let (far, near) = (card(cable, 1), card(cable, 2));
        let device = Path::new("/sys/class/net").join(&near).join("device");
        let slot = fs::canonicalize(&device).unwrap();
        let slot = slot.ancestors().find(|it| it.join("remove").exists());
        let slot = slot.unwrap().to_owned();
        let driver = fs::read_link(device.join("driver")).unwrap();
        let driver = driver.file_name().unwrap().to_str().unwrap().to_owned();
        give(&far, &outside, INTERFACE);
        give(&near, &inside, INTERFACE);
        for host in [&outside, &inside] {
            host.ip(&format!("link set {INTERFACE} promisc on up"))
                .unwrap();
        }
        sleep(Duration::from_secs(3));
        Self {
            outside,
            inside,
            slot,
            driver,
        }
    }
}

/// What is counted by now.
fn ledger(ctl: &Ctl<'_>) -> Ledger {
    let snapshot = ctl.snapshot().unwrap();
    let reasons = snapshot["reasons"].as_array().unwrap().iter();
    let count = |view: &Value| {
        let word = |key: &str| view[key].as_str().unwrap().to_owned();
        let packets = view["hits"]["total"]["packets"].as_u64().unwrap();
        ((word("name"), word("verdict")), packets)
    };
    reasons.map(count).filter(|it| it.1 > 0).collect()
}

/// Sends random frames, and compares what is counted of them with what the oracle says.
fn judges_exactly(hosts: &Hosts, ctl: &Ctl<'_>, generator: &mut Generator, count: usize) {
    let case = Case::new("cards", parse(POLICY).unwrap()).unwrap();
    let mut wanted = ledger(ctl);
    let mut frames = Vec::with_capacity(count);
    while frames.len() < count {
        let mut frame = generator.frame();
        // Cards fill shorter frames up, and take no longer ones.
        frame.resize(frame.len().max(60), 0);
        if frame.len() > 1_300 {
            continue;
        }
        // For this host, as far as a card cares.
        frame[..6].copy_from_slice(&[0xff; 6]);
        let judgement = case.oracle(&frame);
        let verdict = if judgement.passes { "pass" } else { "drop" };
        *wanted
            .entry((judgement.reason.to_owned(), verdict.to_owned()))
            .or_default() += 1;
        frames.push(frame);
    }
    hosts.outside.run(|| {
        for some in frames.chunks(TOGETHER) {
            put(INTERFACE, some).unwrap();
            sleep(Duration::from_millis(10));
        }
    });
    let deadline = Instant::now() + patience(Duration::from_secs(2));
    loop {
        let found = ledger(ctl);
        if found == wanted {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{} frames to {}:\n{found:?}, not\n{wanted:?}",
            count,
            hosts.driver
        );
    }
}

/// The mode in which the card is filtered.
fn mode(ctl: &Ctl<'_>) -> String {
    let status = ctl.json(&["status"]).unwrap();
    let mode = &status["interfaces"][0]["mode"];
    mode.as_str().unwrap().to_owned()
}

/// Load, filter, count, other MTUs, unplug.
fn is_filtered(cable: u8, wanted: &str) {
    let hosts = Hosts::at(cable);
    let ctl = Ctl::new(&hosts.inside).unwrap();
    // The frame as it came, and each by itself: what the filter says of drivers that take tags off.
    let words = ["ethtool", "-K", INTERFACE, "rxvlan", "off", "gro", "off"];
    let set = hosts.inside.say(&words);
    let file = ctl.policy(POLICY).unwrap();
    let load = ["load", "-i", INTERFACE, "-f", file.to_str().unwrap()];
    let said = ctl.ok(&["doctor", "-i", INTERFACE]).unwrap();
    assert!(said.contains(&hosts.driver), "{said}");
    ctl.ok(&load).unwrap();
    assert_eq!(mode(&ctl), wanted, "{} {set:?}", hosts.driver);
    let count = number("FIREWALL_FRAMES", 10_000).unwrap() as usize;
    let mut generator = Generator::new(seed(1).unwrap());
    judges_exactly(&hosts, &ctl, &mut generator, count);
    let mut taken = Vec::new();
    for mtu in [1_400, 2_500, 3_400, 9_000] {
        let set = hosts.inside.ip(&format!("link set {INTERFACE} mtu {mtu}"));
        let word = if set.is_ok() { "yes" } else { "refused" };
        // Some drivers take the card down and up again for that.
        sleep(Duration::from_secs(3));
        taken.push(format!("{mtu} {word}"));
        // Whatever became of it, every frame is judged, and nothing has lost the filter.
        judges_exactly(&hosts, &ctl, &mut generator, 100);
        let status = ctl.run(&["status"]).unwrap();
        assert_eq!(status.status.code(), Some(0), "{status:?}");
    }
    // Off, large, and on again.
    ctl.ok(&["unload", "--all"]).unwrap();
    hosts
        .inside
        .ip(&format!("link set {INTERFACE} mtu 9000"))
        .unwrap();
    let output = ctl.run(&load).unwrap();
    let large = match output.status.success() {
        true => mode(&ctl),
        false => "refused".to_owned(),
    };
    if output.status.success() {
        judges_exactly(&hosts, &ctl, &mut generator, 100);
    } else {
        hosts
            .inside
            .ip(&format!("link set {INTERFACE} mtu 1500"))
            .unwrap();
        ctl.ok(&load).unwrap();
    }
    fs::write(hosts.slot.join("remove"), "1").unwrap();
    let status = ctl.run(&["status"]).unwrap();
    assert_eq!(status.status.code(), Some(1), "{status:?}");
    let text = String::from_utf8(status.stdout).unwrap();
    assert!(text.contains("is gone"), "{text}");
    ctl.ok(&["unload", "--all"]).unwrap();
    assert!(!ctl.pins().exists());
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    println!(
        "| {} | {} | {wanted} | {count} of {count} | {} | {large} at 9000 when loaded anew | gone, said, nothing left |",
        hosts.driver,
        release.trim(),
        taken.join(", ")
    );
}

#[test]
#[ignore = "needs root"]
fn virtio_net_is_filtered_in_its_driver() {
    is_filtered(1, "native");
}

#[test]
#[ignore = "needs root"]
fn e1000e_is_filtered_in_the_stack() {
    is_filtered(2, "generic");
}
