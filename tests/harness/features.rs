//! Policies that between them use every feature of the kernel program, alone and together: what
//! the table in docs/verifier.md has rows for.

use crate::policies;
use crate::random::Random;
use anyhow::{Context, Result};
use firewall_policy::compile::compile;
use firewall_policy::range::RangeSet;
use firewall_policy::rule::{AddrSet, Policy};
use firewall_policy::tables::Tables;

/// One row: what the policy uses, and the policy.
pub type Case = (String, Policy);

/// Match fields alone: the key and a value.
const FIELDS: &[(&str, &str)] = &[
    ("from, IPv4", "from: 198.51.100.0/24"),
    ("to, IPv4", "to: 198.51.100.0/24"),
    ("from, IPv6", "from: \"2001:db8::/32\""),
    ("from, IPv6 below /64", "from: \"2001:db8::1\""),
    ("to, IPv6", "to: \"2001:db8::/32\""),
    ("proto", "proto: udp"),
    ("port", "proto: tcp, port: 8000-8010"),
    ("source_port", "proto: udp, source_port: 123"),
    ("icmp", "proto: icmp, icmp: {type: 8}"),
    ("flags", "proto: tcp, flags: {set: [syn], clear: [ack]}"),
    ("zone", "zone: lan"),
    ("vlan", "vlan: 10"),
    ("mac", "mac: 02:00:00:00:00:01"),
    ("fragment", "fragment: [first, later]"),
    ("ethertype", "ethertype: lldp"),
    (
        "ethertype, limit and log",
        "ethertype: 0x8800-0x88ff, vlan: 10, over: next, limit: {rate: 10/s, per: interface}, log: 5/s",
    ),
    ("dscp", "dscp: ef"),
    ("ttl", "ttl: 0-4"),
    ("length", "length: 1400-65535"),
    ("state", "state: established"),
    ("state: related", "state: [established, related]"),
    (
        "limit",
        "proto: udp, over: next, limit: {rate: 10/s, per: source}",
    ),
    ("expires", "proto: udp, expires: 2999-01-01"),
    ("log", "proto: udp, log: 10/s"),
    (
        "limit per interface",
        "proto: udp, over: next, limit: {rate: 10/s, per: interface}",
    ),
    (
        "over: reject",
        "proto: udp, over: reject, limit: {rate: 10/s, per: rule}",
    ),
    ("live set, to", "to: \"@self\""),
];

/// The same, of which [`everything`] has all in one rule: each is one more rule that the walk stops at.
const GATED: &[(&str, &str)] = &[
    (
        "limit of bytes",
        "proto: udp, over: next, limit: {rate: 10Mbit/s, per: source}",
    ),
    ("options", "options: [router-alert, hop-by-hop]"),
    (
        "payload",
        "proto: udp, payload: {offset: 4, bytes: \"ff ff ?? 54\"}",
    ),
];

/// Every match field in one rule, so that no lane can be left out.
const ALL: &str =
    "mac: 02:00:00:00:00:05, vlan: 10, dscp: ef, ttl: 1-64, length: 60-1500, zone: lan";

/// The row that uses all there is.
pub const EVERYTHING: &str = "everything at once";

/// That row with many rules: the largest program.
pub const EVERYTHING_LARGE: &str = "everything at once, 10000 rules";

const HEAD: &str = "version: 1\n\
                    interfaces: [{match: eth0, zone: lan}, {match: eth1, zone: wan}]\n";

/// All rows, in the order of the table.
///
/// # Errors
/// A policy of this list that does not read.
pub fn all() -> Result<Vec<Case>> {
    let mut cases = vec![
        case("no rule", "pass", &[])?,
        case("no rule, default drop", "drop", &[])?,
    ];
    for (name, field) in FIELDS.iter().chain(GATED) {
        cases.push(case(name, "pass", &[format!("{field}, action: drop")])?);
    }
    let ban = "proto: tcp, limit: {rate: 10/s, per: source}, ban: 1h, action: pass";
    cases.push(case("ban", "drop", &[ban.into()])?);
    cases.push(case("reject", "pass", &["action: reject".into()])?);
    let protected = "proto: tcp, port: https, syn_protect: auto, action: pass";
    cases.push(case("syn_protect", "drop", &[protected.into()])?);
    let follows =
        format!("{HEAD}default: {{in: drop}}\npacket: {{fragments: follow-first}}\nrules: []\n");
    cases.push(("fragments: follow-first".into(), policies::parse(&follows)?));
    let inner = format!("{HEAD}default: {{in: drop}}\npacket: {{tunnels: inner}}\nrules: []\n");
    cases.push(("tunnels: inner".into(), policies::parse(&inner)?));
    let judged = format!("{HEAD}default: {{in: drop}}\npacket: {{malformed: rules}}\nrules: []\n");
    cases.push(("malformed: rules".into(), policies::parse(&judged)?));
    let audit = format!("{HEAD}mode: audit\ndefault: {{in: drop}}\nrules: []\n");
    cases.push(("mode: audit".into(), policies::parse(&audit)?));
    let sizes = [64, 4_096, 10_000];
    for size in sizes {
        let rules = five_fields(size, Addresses::V4, "drop");
        cases.push(case(&format!("{size} rules, IPv4"), "drop", &rules)?);
    }
    for size in sizes {
        let rules = five_fields(size, Addresses::V6, "drop");
        cases.push(case(&format!("{size} rules, IPv6"), "drop", &rules)?);
    }
    for size in sizes {
        let rules = five_fields(size, Addresses::Both, "next");
        cases.push(case(
            &format!("{size} rules, `action: next`"),
            "drop",
            &rules,
        )?);
    }
    for (name, count) in [(EVERYTHING, 1), (EVERYTHING_LARGE, 10_000)] {
        cases.push((name.into(), everything(count).context(name)?));
    }
    cases.push(case("10000 rules in lists", "drop", &listed(10_000))?);
    cases.push(large_set("set of 100000 prefixes, IPv4", true)?);
    cases.push(large_set("set of 100000 prefixes, IPv6", false)?);
    for (name, policy) in policies::shipped()? {
        cases.push((format!("rules/{name}"), policy));
    }
    Ok(cases)
}

/// The tables of a row's policy.
///
/// # Errors
/// A limit that it exceeds.
pub fn tables(policy: &Policy) -> Result<Tables> {
    let slots: Vec<u32> = (0..policy.counters().len() as u32).collect();
    Ok(compile(policy, &slots)?)
}

fn case(name: &str, default: &str, rules: &[String]) -> Result<Case> {
    let text = format!("{HEAD}default: {{in: {default}}}\n{}", listing(rules));
    let policy = policies::parse(&text).with_context(|| name.to_owned())?;
    Ok((name.to_owned(), policy))
}

/// The section `rules`.
fn listing(rules: &[String]) -> String {
    let mut text = String::from(if rules.is_empty() {
        "rules: []\n"
    } else {
        "rules:\n"
    });
    for (number, rule) in rules.iter().enumerate() {
        text.push_str(&format!("  - {{name: r{number}, {rule}}}\n"));
    }
    text
}

/// One rule on the source and the destination, each a set that needs the lookup form for many.
fn large_set(name: &str, v4: bool) -> Result<Case> {
    let (name, mut policy) = case(name, "pass", &["action: drop".into()])?;
    let mut random = Random::new(7);
    let mut set = || {
        let (mut set, count) = (AddrSet::none(), 100_000);
        if v4 {
            let ranges = (0..count).map(|_| random.bits() as u32 & !0xff);
            set.v4 = RangeSet::from_ranges(ranges.map(|at| (at, at | 0xff)).collect());
        } else {
            let ranges = (0..count).map(|n| (u128::from(random.bits() >> 3) << 64, n % 2));
            // Networks of /64, and hosts.
            let ranges = ranges.map(|(at, odd)| (at, at | (u128::from(u64::MAX) * odd)));
            set.v6 = RangeSet::from_ranges(ranges.collect());
        }
        set
    };
    for rule in &mut policy.rules {
        (rule.matches.src, rule.matches.dst) = (set(), set());
    }
    Ok((name, policy))
}

#[derive(Clone, Copy)]
enum Addresses {
    V4,
    V6,
    Both,
}

/// Rules on addresses, protocol and ports; the last one decides.
fn five_fields(count: usize, addresses: Addresses, action: &str) -> Vec<String> {
    let mut random = Random::new(count as u64);
    let rule = |number: usize| {
        let v4 = match addresses {
            Addresses::V4 => true,
            Addresses::V6 => false,
            Addresses::Both => number.is_multiple_of(2),
        };
        let from = if v4 {
            network_v4(&mut random)
        } else {
            network_v6(&mut random)
        };
        let to = if v4 {
            network_v4(&mut random)
        } else {
            network_v6(&mut random)
        };
        let port = random.below(60_000) + 1;
        let source = random.below(1_000) + 1;
        let action = if number + 1 == count { "drop" } else { action };
        format!(
            "from: {from}, to: {to}, proto: {}, port: {port}-{}, source_port: {source}-65535, \
             action: {action}",
            if number.is_multiple_of(3) {
                "udp"
            } else {
                "tcp"
            },
            port + random.below(5_000),
        )
    };
    (0..count).map(rule).collect()
}

/// Rules that are about one source or destination each, and so go into lists; and among them, for the
/// rows, `next` rules that are about all.
fn listed(count: usize) -> Vec<String> {
    let mut random = Random::new(count as u64);
    let rule = |number: usize| {
        let address = if number.is_multiple_of(3) {
            network_v6(&mut random)
        } else {
            network_v4(&mut random)
        };
        let (side, port) = (["from", "to"][number % 2], number % 90 + 1);
        match number % 8 {
            0 => format!("proto: udp, source_port: {port}, action: next"),
            _ => format!("{side}: {address}, proto: tcp, port: {port}-900, action: drop"),
        }
    };
    (0..count).map(rule).collect()
}

/// Every match field, both families, hosts below a /64, every action and option of a rule, and every
/// part of the parser that a policy can ask for.
///
/// # Errors
/// A policy that does not read.
pub fn everything(count: usize) -> Result<Policy> {
    let mut rules = five_fields(count, Addresses::Both, "next");
    for (number, rule) in rules.iter_mut().enumerate() {
        let more = if number.is_multiple_of(5) {
            ALL
        } else {
            "zone: wan"
        };
        *rule = format!("{more}, {rule}");
    }
    let alone = FIELDS
        .iter()
        .map(|(_, field)| format!("{field}, action: next"));
    rules.extend(alone);
    rules.extend([
        "proto: tcp, port: 7, limit: {rate: 10/s, per: source}, ban: 1h, action: pass".into(),
        "proto: tcp, port: 9, syn_protect: auto, action: pass".into(),
        "proto: udp, options: any, payload: {offset: 9, bytes: \"ff ?? 54\"}, limit: {rate: 10Mbit/s}, \
         over: next, action: next"
            .into(),
        "proto: icmpv6, icmp: {type: 128}, action: drop".into(),
        "proto: tcp, port: 10, action: reject".into(),
    ]);
    let packet = "{malformed: rules, fragments: follow-first, tunnels: inner, ip_options: pass, \
                  ipv6_ext_max: 16, vlan_depth: 8}";
    policies::parse(&format!(
        "{HEAD}default: {{in: drop}}\npacket: {packet}\n{}",
        listing(&rules)
    ))
}

fn network_v4(random: &mut Random) -> String {
    let [_, b, c, _] = (random.below(1 << 31) as u32).to_be_bytes();
    format!("10.{b}.{c}.0/24")
}

fn network_v6(random: &mut Random) -> String {
    let (a, b) = (random.below(1 << 16), random.below(1 << 16));
    match random.below(3) {
        0 => format!("\"2001:db8:{a:x}:{b:x}::{:x}\"", b + 1),
        1 => format!("\"2001:db8:{a:x}:{b:x}::/64\""),
        _ => format!("\"2001:db8:{a:x}::/48\""),
    }
}
