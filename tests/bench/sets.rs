//! Policies that are measured: ClassBench sets from a folder, generated ones otherwise; one rule
//! with a large set of prefixes.

use anyhow::{Context, Result, ensure};
use firewall_common::field::Field;
use firewall_common::key::{self, PacketKey};
use firewall_common::verdict::Action;
use firewall_policy::classbench::{self, Profile};
use firewall_policy::range::RangeSet;
use firewall_policy::rule::{AddrSet, Match, Policy, Rule};
use firewall_tests::random::Random;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Where rule sets come from.
#[derive(Clone, Debug)]
pub(crate) struct Sets {
    /// A folder with `acl1_10000.rules` or `acl1_10000.rules.gz` and so on.
    pub(crate) classbench: Option<PathBuf>,
}

impl Sets {
    /// What the numbers are measured on, in words.
    pub(crate) fn origin(&self) -> &'static str {
        if self.classbench.is_some() {
            "ClassBench"
        } else {
            "generated"
        }
    }

    /// A rule set of about `count` rules.
    pub(crate) fn rules(&self, profile: Profile, count: usize) -> Result<Policy> {
        let Some(folder) = &self.classbench else {
            return Ok(classbench::generate(1, profile, count));
        };
        let path = folder.join(format!("{}_{count}.rules", profile.name()));
        let packed = path.with_extension("rules.gz");
        let text = if packed.exists() {
            let output = Command::new("gzip")
                .args(["--decompress", "--stdout"])
                .arg(&packed)
                .stderr(Stdio::inherit())
                .output()
                .context("gzip is needed")?;
            ensure!(output.status.success(), "gzip of {}", packed.display());
            String::from_utf8(output.stdout)?
        } else {
            fs::read_to_string(&path).with_context(|| path.display().to_string())?
        };
        classbench::parse(&text).with_context(|| path.display().to_string())
    }
}

/// A policy of `rules` that passes what no rule decides.
pub(crate) fn policy(rules: Vec<Rule>) -> Policy {
    Policy::of_rules(rules)
}

/// A rule that drops.
pub(crate) fn drops(index: usize, matches: Match) -> Rule {
    Rule::plain(format!("r{index}"), matches, Action::DROP)
}

/// One rule: drop what comes from these prefixes.
pub(crate) fn blocklist_v4(prefixes: &[(u32, u8)]) -> Policy {
    let ranges = prefixes
        .iter()
        .map(|&(address, length)| (address, address | hosts_v4(length)));
    let mut matches = Match::any();
    matches.src = AddrSet {
        v4: RangeSet::from_ranges(ranges.collect()),
        v6: RangeSet::empty(),
    };
    policy(vec![drops(0, matches)])
}

/// One rule: drop what comes from these prefixes.
pub(crate) fn blocklist_v6(prefixes: &[(u128, u8)]) -> Policy {
    let ranges = prefixes
        .iter()
        .map(|&(address, length)| (address, address | hosts_v6(length)));
    let mut matches = Match::any();
    matches.src = AddrSet {
        v4: RangeSet::empty(),
        v6: RangeSet::from_ranges(ranges.collect()),
    };
    policy(vec![drops(0, matches)])
}

fn hosts_v4(length: u8) -> u32 {
    u32::MAX.checked_shr(length.into()).unwrap_or(0)
}

fn hosts_v6(length: u8) -> u128 {
    u128::MAX.checked_shr(length.into()).unwrap_or(0)
}

/// Endless TCP packets from random addresses inside random prefixes.
pub(crate) fn hits_v4(prefixes: &[(u32, u8)], seed: u64) -> impl Iterator<Item = PacketKey> + '_ {
    let mut random = Random::new(seed);
    std::iter::repeat_with(move || {
        let (address, length) = random.pick(prefixes);
        let mut key = PacketKey::empty(key::Family::V4);
        key.src_lo = u64::from(address | (random.bits() as u32 & hosts_v4(length)));
        key.dst_lo = u64::from(u32::from_be_bytes([192, 0, 2, 80]));
        tcp(key, &mut random)
    })
}

/// Endless TCP packets from random addresses inside random prefixes.
pub(crate) fn hits_v6(prefixes: &[(u128, u8)], seed: u64) -> impl Iterator<Item = PacketKey> + '_ {
    let mut random = Random::new(seed);
    std::iter::repeat_with(move || {
        let (address, length) = random.pick(prefixes);
        let bits = u128::from(random.bits()) << 64 | u128::from(random.bits());
        let source = address | (bits & hosts_v6(length));
        let mut key = PacketKey::empty(key::Family::V6);
        (key.src_hi, key.src_lo) = ((source >> 64) as u64, source as u64);
        (key.dst_hi, key.dst_lo) = (0x2001_0db8 << 32, 0x80);
        tcp(key, &mut random)
    })
}

fn tcp(mut key: PacketKey, random: &mut Random) -> PacketKey {
    key.fields[Field::Proto as usize] = 6;
    key.fields[Field::SourcePort as usize] = 1024 + random.below(60_000) as u32;
    key.fields[Field::DestinationPort as usize] = 80;
    key
}

/// Endless headers as ClassBench's trace generator makes them: a rule at random, a point in it.
pub(crate) fn points(policy: &Policy, seed: u64) -> impl Iterator<Item = PacketKey> + '_ {
    const BATCH: usize = 4096;
    (seed..).flat_map(|seed| classbench::headers(policy, BATCH, seed))
}
