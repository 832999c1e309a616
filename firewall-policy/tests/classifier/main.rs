//! Random policies: compiler and walk against the oracle, on random headers and on the boundaries
//! of every range of every rule.
//!
//! A case is one header. `FIREWALL_CASES=N` says how many there are in all, `FIREWALL_SEED=N` picks
//! other ones; without them, every run is the same.
//!
//! This target must find any change to the compiler or the walk that matters. `cargo mutants` runs it
//! first, and then the few others that look at the compiler alone: see `.cargo/mutants.toml`.

mod addresses;
mod cost;
mod lanes;
mod large;
mod layout;
mod limits;
mod lists;
mod logs;
mod random;
mod ranges;
mod subsets;
mod worst;

use firewall_common::abi::ABI_VERSION;
use firewall_common::field::Field;
use firewall_common::key::PacketKey;
use firewall_common::verdict::Action;
use firewall_policy::compile::compile;
use firewall_policy::range::RangeSet;
use firewall_policy::rule::{Match, Policy, Rule};
use firewall_policy::tables::Tables;
use firewall_policy::{host, oracle};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use random::{Random, Style, headers, policy};
use std::cell::Cell;
use std::ops::Range;

/// How many headers all tests here look up together, if `FIREWALL_CASES` does not say.
const CASES: usize = 600_000;

/// Headers in a thousand of which the oracle is asked without short cuts too.
const WITHOUT_SHORT_CUTS: usize = 10;

/// A number from the environment.
fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text}: expected a number"))
    })
}

/// Whether there are more small fields to combine than four lanes can take one by one.
fn many_fields(policy: &Policy) -> bool {
    let named = |field| policy.rules.iter().any(|rule| !rule.matches.is_any(field));
    Field::ALL.into_iter().filter(|&field| named(field)).count() > 4
}

/// What the program's constants say about the policy: rules that match nothing cost nothing, and
/// the code for `next` rules is there only if one is.
fn check_constants(policy: &Policy, tables: &Tables) {
    let can_match = |rule: &Rule, empty: bool| {
        rule.enabled && !empty && !rule.matches.fields.iter().any(RangeSet::is_empty)
    };
    let count = |empty: fn(&Match) -> bool| {
        let rules = policy.rules.iter();
        rules
            .filter(|rule| can_match(rule, empty(&rule.matches)))
            .count() as u32
    };
    let v4 = count(|matches| matches.src.v4.is_empty() || matches.dst.v4.is_empty());
    let v6 = count(|matches| matches.src.v6.is_empty() || matches.dst.v6.is_empty());
    let config = &tables.config;
    assert_eq!([config.v4.rules, config.v6.rules], [v4, v6]);
    for (family, rules) in [(&config.v4, v4), (&config.v6, v6)] {
        let levels = match rules {
            0 => 0,
            1..=64 => 1,
            65..=4_096 => 2,
            _ => 3,
        };
        assert!(family.levels == levels || family.listed != 0);
    }
    let next = |rule: &Rule| rule.enabled && rule.action == Action::NEXT;
    assert_eq!(config.has_next, u32::from(policy.rules.iter().any(next)));
    assert_eq!(config.abi_version, ABI_VERSION);
    assert_eq!(config.default_verdict, u32::from(policy.default_verdict.0));
    assert_eq!(config.essential, policy.essential);
    assert_eq!(config.packet, policy.packet);
}

/// Compares on `count` random headers, and on all boundaries of `rules` rules. Returns how many
/// headers that were.
fn agrees(seed: u64, size: usize, style: Style, count: usize, rules: usize) -> usize {
    let policy = policy(seed, size, style);
    // Slots in another order than the rules, so that the two cannot be taken for each other.
    let slots: Vec<u32> = (0..size as u32).rev().map(|i| i * 5).collect();
    let tables = match compile(&policy, &slots) {
        Ok(tables) => tables,
        // The one limit that a policy of this size can meet.
        Err(limit) if many_fields(&policy) && limit.what.contains("match fields") => return 0,
        Err(limit) => panic!("{limit}"),
    };
    assert_eq!(tables.config.tables_size as usize, tables.bytes.len());
    check_constants(&policy, &tables);
    let keys = headers(&policy, seed, count, rules);
    agree(&policy, &slots, &tables, &keys, &format!("{style:?}"));
    keys.len()
}

/// Compares the tables' answers with the oracle's.
fn agree(policy: &Policy, slots: &[u32], tables: &Tables, keys: &[PacketKey], what: &str) {
    let expected = oracle::evaluate_all(policy, keys);
    for (key, expected) in keys.iter().zip(&expected) {
        let found = host::lookup(tables, key);
        assert_eq!(
            found.hit.map(|hit| (hit.slot, hit.action)),
            expected.decided.map(|i| (slots[i], policy.rules[i].action)),
            "deciding rule of {key:?}, {what}"
        );
        let counted: Vec<u32> = expected.counted.iter().map(|&i| slots[i]).collect();
        assert_eq!(found.counted, counted, "next rules of {key:?}, {what}");
    }
    for (key, expected) in keys
        .iter()
        .zip(&expected)
        .step_by(1000 / WITHOUT_SHORT_CUTS)
    {
        assert_eq!(&oracle::evaluate(policy, key), expected, "{key:?}");
    }
}

/// Runs random policies with `sizes` rules until `share` percent of all headers are looked up.
fn explore(share: usize, sizes: Range<usize>, count: usize, rules: usize) {
    let wanted = number("FIREWALL_CASES", CASES) * share / 100;
    let seed = number("FIREWALL_SEED", 1) as u64;
    let config = Config {
        cases: 1,
        failure_persistence: None,
        ..Config::default()
    };
    let (done, policies, refused) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let mut bytes = [0; 32];
    while done.get() < wanted {
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&(policies.get() as u64).to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let cases = (any::<u64>(), sizes.clone());
        TestRunner::new_with_rng(config.clone(), rng)
            .run(&cases, |(seed, size)| {
                let style = Style::random(&mut Random(!seed), sizes.start);
                let headers = agrees(seed, size, style, count, rules);
                done.set(done.get() + headers);
                refused.set(refused.get() + usize::from(headers == 0));
                Ok(())
            })
            .unwrap_or_else(|error| panic!("{error}"));
        policies.set(policies.get() + 1);
    }
    let (done, policies, refused) = (done.get(), policies.get(), refused.get());
    println!("{policies} policies, {done} headers; {refused} policies needed too many lanes");
    assert!(refused * 4 <= policies, "too many policies were refused");
}

#[test]
fn one_level() {
    explore(45, 1..65, 500, 64);
}

#[test]
fn two_levels() {
    explore(25, 65..400, 500, 400);
}

#[test]
fn three_levels() {
    explore(10, 4_097..7_000, 1_000, 60);
}

/// The numbers of rules between which the form of the tables changes.
#[test]
fn the_edges_of_the_levels() {
    for size in [1, 2, 63, 64, 65, 127, 128, 129] {
        explore(2, size..size + 1, 500, 200);
    }
    explore(1, 4_095..4_096, 500, 40);
    explore(1, 4_096..4_097, 500, 40);
    explore(1, 4_097..4_098, 500, 40);
    explore(1, 8_192..8_193, 500, 40);
}
