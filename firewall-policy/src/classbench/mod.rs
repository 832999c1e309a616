//! ClassBench filter sets (Taylor and Turner, "ClassBench: a packet classification benchmark",
//! IEEE/ACM ToN 2007) as policies, and headers to look up in them. For tests and benchmarks.
//!
//! One rule a line, first match wins, fields separated by tabs:
//!
//! ```text
//! @SRC/LEN  DST/LEN  SPORT_LO : SPORT_HI  DPORT_LO : DPORT_HI  PROTO/MASK  FLAGS/MASK
//! ```
//!
//! The last column is left out of the match, as in the published benchmarks. The sets are IPv4
//! only; [`in_v6`] makes IPv6 sets of them.

mod generate;

pub use generate::{Profile, generate};

use crate::range::RangeSet;
use crate::rule::{AddrSet, Match, Place, Policy, Rule};
use firewall_common::field::Field;
use firewall_common::key::{Family, PacketKey};
use firewall_common::verdict::Action;

/// A line that is not a ClassBench rule.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: expected {expected}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// What should stand there.
    pub expected: &'static str,
}

/// Reads a filter set. Rule `i` is named `r<i>` from 0; even ones drop and odd ones pass, and what
/// no rule matches passes.
///
/// # Errors
/// The first line that is not a rule.
pub fn parse(text: &str) -> Result<Policy, ParseError> {
    let mut rules = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let matches = parse_line(line).map_err(|expected| ParseError {
            line: number + 1,
            expected,
        })?;
        let index = rules.len();
        rules.push(rule(
            index,
            number as u32 + 1,
            line.trim().to_owned(),
            matches,
        ));
    }
    Ok(Policy::of_rules(rules))
}

fn rule(index: usize, line: u32, summary: String, matches: Match) -> Rule {
    let action = if index.is_multiple_of(2) {
        Action::DROP
    } else {
        Action::PASS
    };
    Rule {
        place: Place {
            file: String::new(),
            line,
            column: 1,
        },
        summary,
        ..Rule::plain(format!("r{index}"), matches, action)
    }
}

fn parse_line(line: &str) -> Result<Match, &'static str> {
    let line = line.strip_prefix('@').ok_or("@ before the source prefix")?;
    let mut columns = line.split('\t').map(str::trim);
    let mut column = |expected| columns.next().ok_or(expected);
    let mut matches = Match::any();
    // IPv4 only: without IPv6 addresses the rule is not an IPv6 rule.
    let addresses = |v4| AddrSet {
        v4,
        v6: RangeSet::empty(),
    };
    matches.src = addresses(parse_prefix(column("a source prefix")?)?);
    matches.dst = addresses(parse_prefix(column("a destination prefix")?)?);
    for field in [Field::SourcePort, Field::DestinationPort] {
        let (first, last) = column("a port range")?
            .split_once(':')
            .ok_or("LOW : HIGH")?;
        let port = |text: &str| text.trim().parse::<u16>().map_err(|_| "a port number");
        let (first, last) = (port(first)?, port(last)?);
        if (first, last) != (0, u16::MAX) {
            matches.fields[field as usize] = RangeSet::of(first.into(), last.into());
        }
    }
    let (proto, mask) = column("PROTO/MASK")?.split_once('/').ok_or("PROTO/MASK")?;
    let hex = |text: &str| {
        text.strip_prefix("0x")
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
    };
    match (hex(proto), hex(mask)) {
        (Some(proto), Some(0xff)) => {
            matches.fields[Field::Proto as usize] = RangeSet::of(proto.into(), proto.into());
        }
        (Some(_), Some(0)) => {}
        _ => return Err("a protocol number in hexadecimal with mask 0x00 or 0xFF"),
    }
    Ok(matches)
}

fn parse_prefix(text: &str) -> Result<RangeSet<u32>, &'static str> {
    const EXPECTED: &str = "an IPv4 prefix";
    let net: ipnet::Ipv4Net = text.parse().map_err(|_| EXPECTED)?;
    Ok(RangeSet::of(
        net.network().to_bits(),
        net.broadcast().to_bits(),
    ))
}

/// The same set for IPv6: a prefix of IPv4 becomes one of 2001:db8::/32 that leaves `below` bits
/// (0 to 64) free under the IPv4 address. With 0 all addresses differ in their lower halves only,
/// with 48 in both halves, with 64 in the upper. Every address stays every address.
#[must_use]
pub fn in_v6(policy: &Policy, below: u32) -> Policy {
    let below = below.min(64);
    let network = 0x2001_0db8_u128 << 96;
    let lifted = |set: &RangeSet<u32>| AddrSet {
        v4: RangeSet::empty(),
        v6: if set.is_full() {
            RangeSet::full()
        } else {
            let at = |address: u32| network | u128::from(address) << below;
            let ranges = set.ranges().iter();
            RangeSet::from_ranges(
                ranges
                    .map(|&(first, last)| (at(first), at(last) | ((1 << below) - 1)))
                    .collect(),
            )
        },
    };
    let mut policy = policy.clone();
    for rule in &mut policy.rules {
        rule.matches.src = lifted(&rule.matches.src.v4);
        rule.matches.dst = lifted(&rule.matches.dst.v4);
    }
    policy
}

/// Headers as the published trace generator makes them: a rule at random, then a point inside it,
/// in every field a corner or a random value. IPv6 headers for rules without IPv4 addresses.
/// `seed` decides all. No rules, no headers.
#[must_use]
pub fn headers(policy: &Policy, count: usize, seed: u64) -> Vec<PacketKey> {
    if policy.rules.is_empty() {
        return Vec::new();
    }
    let mut random = Random(seed);
    (0..count)
        .map(|_| {
            let rule = &policy.rules[random.below(policy.rules.len() as u64) as usize].matches;
            let mut key = if rule.src.v4.is_empty() {
                let mut key = PacketKey::empty(Family::V6);
                (key.src_hi, key.src_lo) = random.in_long_set(&rule.src.v6);
                (key.dst_hi, key.dst_lo) = random.in_long_set(&rule.dst.v6);
                key
            } else {
                let mut key = PacketKey::empty(Family::V4);
                key.src_lo = random.in_set(&rule.src.v4, u32::MAX).into();
                key.dst_lo = random.in_set(&rule.dst.v4, u32::MAX).into();
                key
            };
            for (field, max) in [
                (Field::SourcePort, 65_535),
                (Field::DestinationPort, 65_535),
                (Field::Proto, 255),
            ] {
                key.fields[field as usize] = random.in_set(rule.field(field), max);
            }
            key
        })
        .collect()
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): small, and good enough for test data.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// A number from `first` to `last`.
    fn between(&mut self, first: u32, last: u32) -> u32 {
        first + self.below(u64::from(last - first) + 1) as u32
    }

    /// One of `choices`, which are not empty, by their weights.
    fn weighted<T: Copy>(&mut self, choices: &[(u64, T)]) -> T {
        let mut left = self.below(choices.iter().map(|choice| choice.0).sum());
        let mut chosen = choices[0].1;
        for &(weight, choice) in choices {
            chosen = choice;
            if left < weight {
                break;
            }
            left -= weight;
        }
        chosen
    }

    /// A value of one of the set's ranges, at most `max`.
    fn in_set(&mut self, set: &RangeSet<u32>, max: u32) -> u32 {
        let Some(&(first, last)) = set
            .ranges()
            .get(self.below(set.ranges().len() as u64) as usize)
        else {
            return 0;
        };
        let last = last.min(max);
        match self.below(4) {
            0 => first,
            1 => last,
            _ => self.between(first, last),
        }
    }

    /// Both halves of an address of one of the set's ranges.
    fn in_long_set(&mut self, set: &RangeSet<u128>) -> (u64, u64) {
        let Some(&(first, last)) = set
            .ranges()
            .get(self.below(set.ranges().len() as u64) as usize)
        else {
            return (0, 0);
        };
        let any = u128::from(self.next()) << 64 | u128::from(self.next());
        let address = match (self.below(4), (last - first).checked_add(1)) {
            (0, _) => first,
            (1, _) => last,
            (_, Some(width)) => first + any % width,
            (_, None) => any,
        };
        ((address >> 64) as u64, address as u64)
    }
}
