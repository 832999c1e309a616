//! Imported policies against the firewalls that they were made from: the original rules are really
//! loaded, in a namespace, and get the same frames.
//!
//! What may differ is what the import says it left out, and nothing else: a frame that the two
//! judge in different ways must be judged in the policy's way by the original without the rules
//! that were left out, or belong to a connection that the original takes for broken, where the
//! import says so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_common::verdict::Verdict;
use firewall_policy::evasion::frames::{Ipv4, checksum, ipv6, tcp, udp};
use firewall_policy::host;
use firewall_policy::import::{self, Effect, Imported, LeftOut, Options};
use firewall_policy::rule::Policy;
use firewall_policy::source::{NoFiles, read_policy};
use firewall_policy::tables::Tables;
use firewall_tests::original::{INSIDE_MAC, Original};
use firewall_tests::random::Random;
use firewall_tests::trial::Trial;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Frames for each set of rules, unless `FIREWALL_CASES` says more (at most 60,000).
const FRAMES: usize = 1_500;

/// An interface that no rule names.
const OTHER: &str = "other0";

fn folder(kind: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../firewall-policy/tests/data/import")
        .join(kind)
}

fn text(kind: &str, name: &str) -> Option<String> {
    std::fs::read_to_string(folder(kind).join(name)).ok()
}

fn names(kind: &str) -> BTreeSet<String> {
    std::fs::read_dir(folder(kind))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| name.split('.').next().unwrap().to_owned())
        .collect()
}

fn options(kind: &str, name: &str) -> Options {
    let mut options = Options {
        ipset: text(kind, &format!("{name}.ipset")),
        ..Options::default()
    };
    let words = text(kind, &format!("{name}.options")).unwrap_or_default();
    for pair in words.split_whitespace().collect::<Vec<_>>().chunks(2) {
        match pair {
            ["--local", address] => options.local.push((*address).to_owned()),
            other => panic!("{name}: {other:?}"),
        }
    }
    options
}

/// One frame on its way.
struct Sent {
    interface: String,
    bytes: Vec<u8>,
    v6: bool,
    number: u32,
    /// Netfilter does not take it for the first packet of a connection.
    odd: bool,
    words: String,
}

impl Sent {
    /// What tells its connection from others, in whatever direction: the two ends and the protocol.
    fn connection(&self) -> [Vec<u8>; 3] {
        let ip = &self.bytes[14..];
        let (proto, addresses, width, payload) = if self.v6 {
            (ip[6], 8, 16, 40)
        } else {
            (ip[9], 12, 4, 20)
        };
        let end = |side: usize| {
            let address = addresses + side * width;
            let mut end = ip[address..address + width].to_vec();
            // The identifier of echo messages is the frame's number.
            if matches!(proto, 1 | 58) {
                end.extend(&ip[payload + 4..payload + 6]);
            } else if matches!(proto, 6 | 17 | 132) {
                end.extend(&ip[payload + 2 * side..payload + 2 * side + 2]);
            }
            end
        };
        let (from, to) = (end(0), end(1));
        [from.clone().min(to.clone()), from.max(to), vec![proto]]
    }

    /// The IPv4 source address.
    fn source4(&self) -> u32 {
        u32::from_be_bytes(self.bytes[26..30].try_into().unwrap())
    }
}

/// The last address of a network.
fn broadcast(text: &str) -> Option<u32> {
    let (address, length) = text.split_once('/')?;
    let address: std::net::Ipv4Addr = address.parse().ok()?;
    let host = u32::MAX.checked_shr(length.parse().ok()?).unwrap_or(0);
    Some(u32::from(address) | host)
}

/// Values that frames are aimed at: what stands in the rules, and its neighbours.
struct Aims {
    v4: Vec<u32>,
    v6: Vec<u128>,
    numbers: Vec<u16>,
}

impl Aims {
    /// Everything in a text that looks like an address, a prefix or a number.
    fn of(texts: &[&str]) -> Self {
        let mut aims = Self {
            v4: vec![0xcb00_7109],
            v6: vec![0x2001_0db8 << 96 | 0x99],
            numbers: vec![22, 80, 443, 40_000],
        };
        for text in texts {
            let words = text.split(|c: char| !c.is_ascii_hexdigit() && !".:/".contains(c));
            for word in words.filter(|word| !word.is_empty()) {
                let (address, length) = word.split_once('/').unwrap_or((word, ""));
                if let Ok(v4) = address.parse::<std::net::Ipv4Addr>() {
                    let host = u32::MAX
                        .checked_shr(length.parse().unwrap_or(32))
                        .unwrap_or(0);
                    let (first, last) = (u32::from(v4) & !host, u32::from(v4) | host);
                    aims.v4
                        .extend([first, last, first.wrapping_sub(1), last.wrapping_add(1)]);
                    aims.v4.push(first.wrapping_add((last - first) / 2));
                } else if let Ok(v6) = address.parse::<std::net::Ipv6Addr>() {
                    let host = u128::MAX
                        .checked_shr(length.parse().unwrap_or(128))
                        .unwrap_or(0);
                    let (first, last) = (u128::from(v6) & !host, u128::from(v6) | host);
                    aims.v6
                        .extend([first, last, first.wrapping_sub(1), last.wrapping_add(1)]);
                }
                for number in word.split([':', '/']).filter_map(|n| n.parse::<u16>().ok()) {
                    aims.numbers.extend([
                        number,
                        number.saturating_sub(1),
                        number.saturating_add(1),
                    ]);
                }
            }
        }
        aims.v4.retain(|&address| usable_v4(address));
        aims.v6.retain(|&address| usable_v6(address));
        aims.numbers.retain(|&number| number > 0);
        aims
    }
}

/// Addresses that packets between hosts have.
fn usable_v4(address: u32) -> bool {
    !matches!(address >> 24, 0 | 127 | 224..) && address >> 16 != 0xa9fe
}

fn usable_v6(address: u128) -> bool {
    // Global unicast alone.
    address >> 125 == 1
}

/// The checksum of a transport header with its pseudo header put into place.
fn sum(v6: bool, src: &[u8], dst: &[u8], proto: u8, at: usize, payload: &mut [u8]) {
    let mut pseudo = [src, dst].concat();
    if v6 || proto != 1 {
        pseudo.extend((payload.len() as u32).to_be_bytes());
        pseudo.extend([0, 0, 0, proto]);
    } else {
        pseudo.clear();
    }
    if pseudo.len() % 2 == 1 {
        pseudo.push(0);
    }
    pseudo.extend_from_slice(payload);
    let sum = checksum(&pseudo);
    payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// A frame aimed at the rules.
fn frame(random: &mut Random, aims: &Aims, interface: &str, number: u32, v6: bool) -> Sent {
    let port = |random: &mut Random| {
        if random.one_in(5) {
            (random.below(65_535) + 1) as u16
        } else {
            random.pick(&aims.numbers)
        }
    };
    let (source, target) = (port(random), port(random));
    let mut odd = false;
    // A packet of its own for each frame: connections are told apart by their ports.
    let (proto, mut payload, at, words) = match random.below(20) {
        0..=8 => {
            let flags = random.pick(&[2u8, 2, 2, 2, 2, 0x10, 0x18, 0x12, 0x04, 0x11]);
            odd = !matches!(flags, 0x02 | 0x10 | 0x18);
            (
                6,
                tcp(source, target, flags, b""),
                16,
                format!("tcp {source} > {target} {flags:#x}"),
            )
        }
        9..=14 => (
            17,
            udp(source, target, b""),
            6,
            format!("udp {source} > {target}"),
        ),
        15..=17 => {
            let numbers = random.pick(&aims.numbers);
            let kind = match (random.below(4), v6) {
                (0, _) if numbers < 256 => numbers as u8,
                (1, false) => 0,
                (1, true) => 129,
                (_, false) => 8,
                (_, true) => 128,
            };
            let hops = matches!((kind, v6), (130..=137 | 143, true));
            let kind = if hops { 128 } else { kind };
            odd = !matches!((kind, v6), (8 | 13, false) | (128, true));
            let code = if odd && random.one_in(2) {
                random.below(6) as u8
            } else {
                0
            };
            let message = vec![kind, code, 0, 0, number as u8, (number >> 8) as u8, 0, 1];
            (
                if v6 { 58 } else { 1 },
                message,
                2,
                format!("icmp {kind}/{code}"),
            )
        }
        _ => {
            let proto = random.pick(&[47u8, 50, 132, 103]);
            let mut payload = source.to_be_bytes().to_vec();
            payload.extend(target.to_be_bytes());
            payload.extend([0; 12]);
            odd = matches!(proto, 47 | 132);
            (
                proto,
                payload,
                usize::MAX,
                format!("proto {proto} {source} > {target}"),
            )
        }
    };
    if random.one_in(4) && matches!(proto, 1 | 17 | 58) {
        let length = payload.len() + random.below(1_300) as usize;
        payload.resize(length, 0);
        if proto == 17 {
            payload[4..6].copy_from_slice(&(length as u16).to_be_bytes());
        }
    }
    let hops = if random.one_in(3) {
        random.pick(&aims.numbers).clamp(2, 255) as u8
    } else {
        64
    };
    let class = if random.one_in(4) {
        random.pick(&aims.numbers).min(63) as u8
    } else {
        0
    };
    let (ethertype, packet, words) = if v6 {
        let (src, dst) = pair(|| address6(random, aims));
        if at != usize::MAX {
            sum(
                true,
                &src.to_be_bytes(),
                &dst.to_be_bytes(),
                proto,
                at,
                &mut payload,
            );
        }
        let mut packet = ipv6(src.to_be_bytes(), dst.to_be_bytes(), proto, hops, &payload);
        packet[0] = 0x60 | class >> 2;
        packet[1] = class << 6 | (number >> 16) as u8;
        packet[2..4].copy_from_slice(&(number as u16).to_be_bytes());
        let (src, dst) = (std::net::Ipv6Addr::from(src), std::net::Ipv6Addr::from(dst));
        (0x86dd, packet, format!("{src} > {dst} {words}"))
    } else {
        let (src, dst) = pair(|| address4(random, aims));
        if at != usize::MAX {
            sum(
                false,
                &src.to_be_bytes(),
                &dst.to_be_bytes(),
                proto,
                at,
                &mut payload,
            );
        }
        let mut header = Ipv4::new(src.to_be_bytes(), dst.to_be_bytes(), proto);
        (header.ttl, header.id) = (hops, number as u16);
        let mut packet = header.packet(&payload);
        packet[1] = class << 2;
        packet[10..12].fill(0);
        let sum = checksum(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        let (src, dst) = (std::net::Ipv4Addr::from(src), std::net::Ipv4Addr::from(dst));
        (0x0800u16, packet, format!("{src} > {dst} {words}"))
    };
    let mut bytes = INSIDE_MAC.to_vec();
    bytes.extend([2, 0, 0, 0, 0, 9]);
    bytes.extend(ethertype.to_be_bytes());
    let length = packet.len();
    bytes.extend(packet);
    Sent {
        interface: interface.to_owned(),
        bytes,
        v6,
        number,
        odd,
        words: format!("{interface}: {words} hops {hops} class {class} length {length}"),
    }
}

/// Two addresses that differ: a packet from its own destination is malformed under every policy.
fn pair<T: PartialEq>(mut address: impl FnMut() -> T) -> (T, T) {
    let first = address();
    loop {
        let second = address();
        if second != first {
            return (first, second);
        }
    }
}

fn address4(random: &mut Random, aims: &Aims) -> u32 {
    if !random.one_in(4) {
        return random.pick(&aims.v4);
    }
    loop {
        let address = random.bits() as u32;
        if usable_v4(address) {
            return address;
        }
    }
}

fn address6(random: &mut Random, aims: &Aims) -> u128 {
    if !random.one_in(4) {
        return random.pick(&aims.v6);
    }
    1 << 125 | (u128::from(random.bits()) << 64 | u128::from(random.bits())) >> 3
}

/// How the original's rules get into the kernel.
trait Load {
    /// Loads them, without the rules that `out` names.
    fn load(&self, host: &Original, out: &[&LeftOut]);
    /// Every text with values to aim at.
    fn texts(&self) -> Vec<&str>;
    fn families(&self) -> Vec<bool>;
}

/// iptables-save and ip6tables-save.
struct Saved {
    v4: Option<String>,
    v6: Option<String>,
    ipset: Option<String>,
}

impl Load for Saved {
    fn load(&self, host: &Original, out: &[&LeftOut]) {
        if let Some(ipset) = &self.ipset {
            host.feed("ipset", &["restore"], ipset).unwrap();
        }
        for (program, text, v6) in [
            ("iptables-restore", &self.v4, false),
            ("ip6tables-restore", &self.v6, true),
        ] {
            let Some(text) = text else { continue };
            let both = self.v4.is_some() && self.v6.is_some();
            let here = |entry: &&&LeftOut| !both || entry.place.starts_with("ip6") == v6;
            let gone: BTreeSet<u32> = out.iter().filter(here).map(|entry| entry.line).collect();
            let lines = text.lines().zip(1u32..);
            let kept = lines.filter(|(_, number)| !gone.contains(number));
            let kept: Vec<&str> = kept.map(|(line, _)| line).collect();
            host.feed(program, &[], &format!("{}\n", kept.join("\n")))
                .unwrap();
        }
    }

    fn texts(&self) -> Vec<&str> {
        [&self.v4, &self.v6, &self.ipset]
            .into_iter()
            .filter_map(|text| text.as_deref())
            .collect()
    }

    fn families(&self) -> Vec<bool> {
        let mut families = Vec::new();
        families.extend(self.v4.is_some().then_some(false));
        families.extend(self.v6.is_some().then_some(true));
        families
    }
}

/// user.rules and user6.rules, behind what ufw loads before them.
struct Ufw {
    rules: [String; 2],
}

/// ufw's own rules for incoming packets, as they are shipped, without multicast.
const BEFORE: [&str; 2] = [
    "-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -m conntrack --ctstate INVALID -j DROP
-A INPUT -p icmp --icmp-type 3 -j ACCEPT
-A INPUT -p icmp --icmp-type 11 -j ACCEPT
-A INPUT -p icmp --icmp-type 12 -j ACCEPT
-A INPUT -p icmp --icmp-type 8 -j ACCEPT
-A INPUT -p udp --sport 67 --dport 68 -j ACCEPT
-A INPUT -j ufw-user-input
COMMIT
",
    "-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type 129 -j ACCEPT
-A INPUT -m conntrack --ctstate INVALID -j DROP
-A INPUT -p icmpv6 --icmpv6-type 1 -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type 2 -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type 3 -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type 4 -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type 128 -j ACCEPT
-A INPUT -j ufw6-user-input
COMMIT
",
];

impl Load for Ufw {
    fn load(&self, host: &Original, out: &[&LeftOut]) {
        for (number, text) in self.rules.iter().enumerate() {
            let v6 = number == 1;
            let here = |entry: &&&LeftOut| entry.line > 0 && entry.place.starts_with("ip6") == v6;
            let gone: BTreeMap<u32, bool> = out
                .iter()
                .filter(here)
                .map(|entry| (entry.line, entry.in_part))
                .collect();
            // The rules of a tuple stand behind it, up to an empty line. Of a limit that is carried
            // in part, the one that counts is left out.
            let (mut kept, mut skips) = (String::new(), None);
            for (line, number) in text.lines().zip(1u32..) {
                skips = match gone.get(&number) {
                    Some(&in_part) => Some(in_part),
                    None => skips.filter(|_| !line.is_empty()),
                };
                let skips = skips.is_some_and(|in_part| !in_part || line.contains("--update"));
                if line == "*filter" {
                    kept.push_str("*filter\n:INPUT DROP [0:0]\n");
                } else if line == "COMMIT" {
                    kept.push_str(BEFORE[usize::from(v6)]);
                } else if !skips {
                    kept.push_str(line);
                    kept.push('\n');
                }
            }
            let program = ["iptables-restore", "ip6tables-restore"][number];
            host.feed(program, &[], &kept).unwrap();
        }
    }

    fn texts(&self) -> Vec<&str> {
        self.rules.iter().map(String::as_str).collect()
    }

    fn families(&self) -> Vec<bool> {
        vec![false, true]
    }
}

/// A ruleset of nft as JSON, which `nft` takes as it gives it.
struct Listed {
    json: String,
}

impl Load for Listed {
    fn load(&self, host: &Original, out: &[&LeftOut]) {
        let gone: BTreeSet<&str> = out.iter().map(|entry| entry.place.as_str()).collect();
        let mut document: serde_json::Value = serde_json::from_str(&self.json).unwrap();
        let objects = document["nftables"].as_array_mut().unwrap();
        objects.retain(|object| {
            let rule = &object["rule"];
            let text = |key: &str| rule[key].as_str().unwrap_or_default();
            let place = format!(
                "{} {} {}, handle {}",
                text("family"),
                text("table"),
                text("chain"),
                rule["handle"].as_u64().unwrap_or_default()
            );
            !gone.contains(place.as_str())
        });
        // Maps go to chains, so chains come first.
        let kinds = ["metainfo", "table", "chain", "set", "map", "rule"];
        objects.sort_by_key(|object| kinds.iter().position(|kind| object.get(kind).is_some()));
        host.feed("nft", &["-j", "-f", "-"], &document.to_string())
            .unwrap();
    }

    fn texts(&self) -> Vec<&str> {
        vec![&self.json]
    }

    fn families(&self) -> Vec<bool> {
        vec![false, true]
    }
}

/// The interfaces to send on: those that the policy names, and another one. With their zones.
fn interfaces(policy: &Policy) -> Vec<(String, u32)> {
    let mut list: Vec<(String, u32)> = policy
        .interfaces
        .iter()
        .flat_map(|entry| entry.matches.iter().map(move |name| (name, entry.zone)))
        .map(|(name, zone)| (name.replace('*', "7"), zone))
        .collect();
    list.push((OTHER.to_owned(), 0));
    list
}

/// What a comparison came to.
struct Outcome {
    passed: usize,
    differ: usize,
}

fn compare(name: &str, imported: &Imported, rules: &dyn Load, local: &[String]) -> Outcome {
    let policy = read_policy(name, &imported.yaml, &NoFiles).unwrap().policy;
    let tables: Tables = Trial::compile(&policy).unwrap();
    let interfaces = interfaces(&policy);
    let aims = Aims::of(&rules.texts());
    let mut random = Random::new(0x1e57);
    let families = rules.families();
    let count = std::env::var("FIREWALL_CASES").ok();
    let count = count
        .and_then(|n| n.parse().ok())
        .unwrap_or(FRAMES)
        .min(60_000);
    // Each is the first packet of its connection: none answers another.
    let mut known = BTreeSet::new();
    let broadcasts: Vec<u32> = local.iter().filter_map(|text| broadcast(text)).collect();
    let frames: Vec<Sent> = (1..=count as u32)
        .map(|number| {
            let (interface, _) = &interfaces[random.below(interfaces.len() as u64) as usize];
            let v6 = random.pick(&families);
            frame(&mut random, &aims, interface, number, v6)
        })
        // No host sends from such an address, and the kernel drops what does before any rule.
        .filter(|frame| known.insert(frame.connection()))
        .filter(|frame| frame.v6 || !broadcasts.contains(&frame.source4()))
        .collect();
    let ours: Vec<bool> = frames
        .iter()
        .map(|frame| {
            let zone = interfaces
                .iter()
                .find(|(name, _)| *name == frame.interface)
                .unwrap()
                .1;
            host::decide(&tables, &frame.bytes, zone).outcome.verdict == Verdict::PASS
        })
        .collect();
    let names: Vec<String> = interfaces.iter().map(|(name, _)| name.clone()).collect();
    let run = |out: &[&LeftOut]| -> Vec<bool> {
        let host = Original::new(&names, local).unwrap();
        rules.load(&host, out);
        let wire: Vec<(String, Vec<u8>)> = frames
            .iter()
            .map(|frame| (frame.interface.clone(), frame.bytes.clone()))
            .collect();
        let seen = host.send(&wire).unwrap();
        frames
            .iter()
            .map(|frame| seen[usize::from(frame.v6)].contains(&frame.number))
            .collect()
    };
    let original = run(&[]);
    let lost: Vec<&LeftOut> = imported
        .left_out
        .iter()
        .filter(|entry| entry.effect != Effect::None)
        .collect();
    // A rule that is carried in part is still there for the rest.
    let whole_rules: Vec<&LeftOut> = lost
        .iter()
        .copied()
        .filter(|entry| !entry.in_part)
        .collect();
    let variants: Vec<Vec<bool>> = if ours == original {
        Vec::new()
    } else if whole_rules.len() < lost.len() {
        vec![run(&lost), run(&whole_rules)]
    } else {
        vec![run(&lost)]
    };
    let states = lost
        .iter()
        .any(|entry| entry.text.contains("state") || entry.text.contains("new "));
    let mut outcome = Outcome {
        passed: 0,
        differ: 0,
    };
    let mut faults = Vec::new();
    for (number, frame) in frames.iter().enumerate() {
        let (ours, whole) = (ours[number], original[number]);
        outcome.passed += usize::from(ours && whole);
        if ours == whole {
            continue;
        }
        outcome.differ += 1;
        let explained =
            variants.iter().any(|variant| variant[number] == ours) || frame.odd && states;
        if !explained {
            faults.push(format!(
                "{}: the policy {}, the original {}",
                frame.words,
                if ours { "passes" } else { "drops" },
                if whole { "passes" } else { "drops" }
            ));
        }
    }
    assert!(
        faults.is_empty(),
        "{name}: {} of {count} frames differ unexplained:\n{}\n{}",
        faults.len(),
        faults[..faults.len().min(12)].join("\n"),
        imported.yaml
    );
    println!(
        "{name}: {} frames, {} passed by both, {} differ, all by what was left out ({})",
        frames.len(),
        outcome.passed,
        outcome.differ,
        lost.len()
    );
    outcome
}

#[test]
#[ignore = "needs root"]
fn policies_from_iptables_do_what_the_rules_do() {
    let mut passed = 0;
    for name in names("iptables") {
        let rules = Saved {
            v4: text("iptables", &format!("{name}.v4")),
            v6: text("iptables", &format!("{name}.v6")),
            ipset: text("iptables", &format!("{name}.ipset")),
        };
        let options = options("iptables", &name);
        let imported =
            import::iptables(rules.v4.as_deref(), rules.v6.as_deref(), &options).unwrap();
        let outcome = compare(&name, &imported, &rules, &options.local);
        passed += outcome.passed;
    }
    assert!(
        passed > 1_000,
        "too few frames pass to say anything: {passed}"
    );
}

#[test]
#[ignore = "needs root"]
fn policies_from_nft_do_what_the_rules_do() {
    let mut passed = 0;
    for name in names("nft") {
        let json = text("nft", &format!("{name}.json")).unwrap();
        let options = options("nft", &name);
        let imported = import::nft(&json, &options).unwrap();
        let outcome = compare(&name, &imported, &Listed { json }, &options.local);
        passed += outcome.passed;
    }
    assert!(
        passed > 1_000,
        "too few frames pass to say anything: {passed}"
    );
}

#[test]
#[ignore = "needs root"]
fn policies_from_ufw_do_what_the_rules_do() {
    let mut passed = 0;
    for name in names("ufw") {
        let rules = ["rules", "rules6"].map(|end| text("ufw", &format!("{name}.{end}")).unwrap());
        let options = options("ufw", &name);
        let imported = import::ufw(&rules[0], Some(&rules[1]), &options).unwrap();
        let outcome = compare(&name, &imported, &Ufw { rules }, &options.local);
        passed += outcome.passed;
    }
    assert!(
        passed > 1_000,
        "too few frames pass to say anything: {passed}"
    );
}
