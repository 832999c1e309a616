//! Policies of 10,000 rules whose dearest packet costs as much as the language allows, that packet,
//! and ordinary ones.

use crate::sets::points;
use crate::traffic::Traffic;
use anyhow::{Context as _, Result, ensure};
use firewall_common::field::Field;
use firewall_common::key::PacketKey;
use firewall_policy::classbench::{Profile, generate};
use firewall_policy::oracle;
use firewall_policy::prefixes::{prefixes, text};
use firewall_policy::rule::{AddrSet, Rule};
use firewall_tests::frames::{self, Frame, Ipv4};
use firewall_tests::policies::parse;
use std::fmt::Write as _;

/// Where the dearest packet comes from, and goes to.
const FROM: [u8; 4] = [10, 9, 9, 9];
const TO: [u8; 4] = [172, 31, 255, 1];
const SOURCE_PORT: u16 = 7;
const PORT: u16 = 7;

/// Rules that one packet can match and go on behind; and those of them that ask for more than a match.
const PASSED: usize = 64;
const ASKED: usize = 8;

/// The dearest packet of all these policies.
pub(crate) fn dearest() -> Frame {
    let ip = Ipv4::new(FROM, TO, 6);
    let segment = frames::tcp(SOURCE_PORT, PORT, 0x10, &[]);
    frames::ethernet(0x0800, &ip.packet(&segment))
}

/// Packets of a policy's rules, as ClassBench draws them.
pub(crate) fn ordinary(text: &str, count: usize) -> Result<Vec<Frame>> {
    let policy = parse(text)?;
    let traffic = Traffic::of(points(&policy, 1), count)?;
    Ok(traffic.frames().collect())
}

const HEAD: &str = "version: 1\ndefault: {in: pass, essential: false}\nrules:\n";

/// ClassBench's acl1 with `between` spread over it: what the dearest packet matches.
fn acl(size: usize, between: &[String]) -> Result<String> {
    let own = key();
    let drawn = generate(1, Profile::Acl, size + size / 10);
    let wanted = size - between.len();
    let rules = drawn.rules.iter();
    let rules: Vec<&Rule> = rules
        .filter(|rule| !oracle::matches(rule, &own))
        .take(wanted)
        .collect();
    ensure!(rules.len() == wanted, "too few rules");
    let every = (size / between.len().max(1)).max(1);
    let mut text = HEAD.to_owned();
    let mut between = between.iter();
    for (number, rule) in rules.into_iter().enumerate() {
        if number.is_multiple_of(every - 1)
            && let Some(line) = between.next()
        {
            let _ = writeln!(text, "  - {line}");
        }
        let _ = writeln!(text, "  - {}", line(rule).context(rule.name.clone())?);
    }
    for line in between {
        let _ = writeln!(text, "  - {line}");
    }
    Ok(text)
}

/// What a rule says, in the policy language.
fn line(rule: &Rule) -> Result<String> {
    let mut words = format!("name: {}", rule.name);
    for (key, set) in [("from", &rule.matches.src), ("to", &rule.matches.dst)] {
        let v4_only = AddrSet {
            v4: set.v4.clone(),
            ..AddrSet::none()
        };
        let list: Vec<String> = prefixes(&v4_only).map(|prefix| text(&prefix)).collect();
        let _ = write!(words, ", {key}: [{}]", list.join(", "));
    }
    let ranges = |field: Field| rule.matches.field(field).ranges().to_vec();
    let ports = [
        ("source_port", Field::SourcePort),
        ("port", Field::DestinationPort),
    ];
    let mut limited = false;
    for (key, field) in ports {
        // Without a port there is one above all.
        let list: Vec<String> = ranges(field)
            .iter()
            .map(|&(first, last)| (first, last.min(0xffff)))
            .filter(|&range| range != (0, 0xffff))
            .map(|(first, last)| format!("{first}-{last}"))
            .collect();
        if !list.is_empty() {
            limited = true;
            let _ = write!(words, ", {key}: [{}]", list.join(", "));
        }
    }
    let proto = match ranges(Field::Proto).as_slice() {
        &[(first, last)] if first == last => Some(first),
        _ if limited => Some(6),
        _ => None,
    };
    if let Some(proto) = proto {
        ensure!(
            !limited || [6, 17].contains(&proto),
            "ports of protocol {proto}"
        );
        let name = match proto {
            1 => "icmp".to_owned(),
            6 => "tcp".to_owned(),
            17 => "udp".to_owned(),
            other => other.to_string(),
        };
        let _ = write!(words, ", proto: {name}");
    }
    Ok(format!("{{{words}, action: drop}}"))
}

fn key() -> PacketKey {
    let mut key = PacketKey::empty(firewall_common::key::Family::V4);
    key.src_lo = u64::from(u32::from_be_bytes(FROM));
    key.dst_lo = u64::from(u32::from_be_bytes(TO));
    key.fields[Field::Proto as usize] = 6;
    key.fields[Field::SourcePort as usize] = SOURCE_PORT.into();
    key.fields[Field::DestinationPort as usize] = PORT.into();
    key
}

/// A rule that the dearest packet matches, like no other one.
fn own_rule(number: usize, rest: &str) -> String {
    format!(
        "{{name: own{number}, from: 10.9.9.9, proto: tcp, port: 1-{}, {rest}}}",
        1_000 + number
    )
}

/// As many rules that count as one packet can match, among others of acl1.
pub(crate) fn most_counting(size: usize) -> Result<String> {
    let between: Vec<String> = (0..PASSED)
        .map(|number| own_rule(number, "action: next"))
        .collect();
    acl(size, &between)
}

/// The same with as many limits as one packet can meet, all of them used up, and each logged.
pub(crate) fn most_limited(size: usize) -> Result<String> {
    let between: Vec<String> = (0..PASSED)
        .map(|number| {
            let rest = if number < ASKED {
                "limit: {rate: 1/m, burst: 1, per: source}, over: next, log: 1/h, action: pass"
            } else {
                "action: next"
            };
            own_rule(number, rest)
        })
        .collect();
    acl(size, &between)
}

/// Rules of which each matches the dearest packet in all keys but one, another one each time, by as
/// many lanes as there are: no word of the rows' AND is empty before it has been looked at.
pub(crate) fn all_but_one(size: usize) -> Result<String> {
    let mut text = HEAD.to_owned();
    for number in 0..size {
        let misses = |key: usize| number % 6 == key;
        let from = if misses(0) {
            "11.0.0.0/8"
        } else {
            "10.0.0.0/8"
        };
        let to = if misses(1) {
            "192.168.0.0/16"
        } else {
            "172.16.0.0/12"
        };
        // Each range is another one, so that no two rules are alike.
        let port = |key: usize| match misses(key) {
            true => format!("{}-45000", 32_000 + number % 10_000),
            false => format!("1-{}", 8 + number % 30_000),
        };
        let length = match misses(4) {
            true => format!("1000-{}", 1_001 + number % 500),
            false => format!("20-{}", 40 + number % 900),
        };
        let ttl = match misses(5) {
            true => format!("100-{}", 101 + number % 100),
            false => format!("1-{}", 64 + number % 30),
        };
        let (source_port, port) = (port(2), port(3));
        writeln!(
            text,
            "  - {{name: r{number}, from: {from}, to: {to}, proto: tcp, source_port: {source_port}, \
             port: {port}, length: {length}, ttl: {ttl}, action: drop}}"
        )?;
    }
    Ok(text)
}
