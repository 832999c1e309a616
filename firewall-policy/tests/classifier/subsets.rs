//! Every subset of a few rules at telling positions matches once: the first and last rules of leaf
//! words and nodes, so that what is left to do in one level looks like what is left in another.

use crate::large::policy as matching;
use firewall_common::field::Field;
use firewall_common::key::{Family, PacketKey};
use firewall_common::verdict::Action;
use firewall_policy::compile::compile;
use firewall_policy::range::RangeSet;
use firewall_policy::rule::Match;
use firewall_policy::{host, oracle};

/// The numbers below `1 << bits` that have bit `bit`.
fn with_bit(bit: usize, bits: usize) -> RangeSet<u32> {
    let numbers = (0..1u32 << bits).filter(|number| number >> bit & 1 != 0);
    RangeSet::from_ranges(numbers.map(|number| (number, number)).collect())
}

/// Of `rules` rules, those at `positions` match: number `i` of them ports that have bit `i`. All
/// are `next`, but the last one at the positions if `decides`.
fn all_subsets(rules: usize, positions: &[usize], decides: bool) {
    let mut policy = matching((0..rules).map(|rule| {
        let mut matches = Match::any();
        match positions.iter().position(|&position| position == rule) {
            Some(bit) => {
                matches.fields[Field::DestinationPort as usize] = with_bit(bit, positions.len());
            }
            None => matches.fields[Field::Proto as usize] = RangeSet::of(200, 200),
        }
        matches
    }));
    for rule in &mut policy.rules {
        rule.action = Action::NEXT;
    }
    if decides && let Some(&last) = positions.last() {
        policy.rules[last].action = Action::DROP;
    }
    let slots: Vec<u32> = (0..rules as u32).map(|i| i * 2 + 5).collect();
    let tables = compile(&policy, &slots).expect("within the limits");
    for family in [Family::V4, Family::V6] {
        for port in 0..1u32 << positions.len() {
            let mut key = PacketKey::empty(family);
            key.fields[Field::DestinationPort as usize] = port;
            key.fields[Field::Proto as usize] = 6;
            let found = host::lookup(&tables, &key);
            let expected = oracle::evaluate(&policy, &key);
            let counted: Vec<u32> = expected.counted.iter().map(|&i| slots[i]).collect();
            assert_eq!(found.counted, counted, "{rules} rules, port {port:#b}");
            let decided = expected.decided.map(|i| slots[i]);
            assert_eq!(found.hit.map(|hit| hit.slot), decided, "port {port:#b}");
        }
    }
}

#[test]
fn in_one_leaf_word() {
    all_subsets(64, &[0, 1, 2, 31, 62, 63], true);
    all_subsets(5, &[0, 1, 2, 4], false);
}

#[test]
fn in_one_node() {
    all_subsets(4_096, &[0, 1, 2, 63, 64, 65, 128, 4_095], false);
    all_subsets(200, &[0, 1, 64, 65, 128, 192], true);
}

#[test]
fn in_several_nodes() {
    all_subsets(8_200, &[0, 1, 64, 65, 4_096, 4_097, 4_160, 8_192], false);
    all_subsets(
        12_290,
        &[1, 2, 128, 4_095, 4_096, 8_191, 8_192, 12_289],
        true,
    );
}
