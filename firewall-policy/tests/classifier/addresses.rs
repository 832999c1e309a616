//! Address sets of all shapes: the lookup forms for many intervals pick their layout by where the
//! addresses crowd, so here they crowd anywhere, at both ends of the address space too.

use crate::large::policy as matching;
use crate::number;
use crate::random::{Random, boundaries, halves};
use firewall_common::abi::addr_form;
use firewall_common::key::{Family, PacketKey};
use firewall_policy::compile::compile;
use firewall_policy::range::{Number, RangeSet};
use firewall_policy::rule::{AddrSet, Match, Policy};
use firewall_policy::tables::Tables;
use firewall_policy::{host, oracle};
use std::collections::BTreeSet;

/// Ranges that begin in one window of an address's bits and are the same elsewhere.
fn crowd(random: &mut Random, bits: u32, count: u64) -> Vec<(u128, u128)> {
    let max = u128::MAX >> (128 - bits);
    let any = |random: &mut Random| (u128::from(random.next()) << 64) | u128::from(random.next());
    let base = match random.below(4) {
        0 => 0,
        1 => max,
        _ => any(random) & max,
    };
    let low = random.below(u64::from(bits)) as u32;
    let spread = random.below(u64::from(bits - low)) as u32 + 1;
    let window = (max >> (bits - spread)) << low;
    // All of one length and aligned, or any.
    let length = random.below(u64::from(bits) + 1) as u32;
    let aligned = random.one_in(2);
    (0..count)
        .map(|_| {
            let at = (base & !window) | (any(random) & window);
            let free = if aligned {
                length
            } else {
                random.below(u64::from(low) + 4) as u32
            };
            let hosts = 1u128.checked_shl(free).map_or(max, |size| size - 1) & max;
            match random.below(8) {
                // A range that is no prefix.
                0 => (at, at.saturating_add(any(random) & hosts).min(max)),
                _ => (at & !hosts, at | hosts),
            }
        })
        .collect()
}

fn set(random: &mut Random, bits: u32) -> Vec<(u128, u128)> {
    let crowds = 1 + random.below(4);
    let mut ranges: Vec<(u128, u128)> = (0..crowds)
        .flat_map(|_| {
            let count = random.pick(&[1, 2, 5, 30, 200, 600, 3_000]);
            crowd(random, bits, count)
        })
        .collect();
    // Sometimes all that is between two of them.
    if random.one_in(2) {
        let (a, b) = (random.pick(&ranges).0, random.pick(&ranges).0);
        ranges.push((a.min(b), a.max(b)));
    }
    ranges
}

/// A few rules by source address alone. Later rules have larger sets, as often as not.
pub(crate) fn policy(random: &mut Random) -> Policy {
    let v6 = random.one_in(3);
    // With whole networks only, no lower half is ever looked at.
    let whole = if random.one_in(2) { u128::MAX >> 64 } else { 0 };
    let (mut short, mut long) = (Vec::new(), Vec::new());
    let rules = (0..1 + random.below(6)).map(|_| {
        if random.one_in(2) {
            short.clear();
            long.clear();
        }
        if v6 || random.one_in(2) {
            let ranges = set(random, 128).into_iter();
            long.extend(ranges.map(|(first, last)| (first & !whole, last | whole)));
        }
        if !v6 {
            let ranges = set(random, 32).into_iter();
            short.extend(ranges.map(|(first, last)| (first as u32, last as u32)));
        }
        Match {
            src: AddrSet {
                v4: RangeSet::from_ranges(short.clone()),
                v6: RangeSet::from_ranges(long.clone()),
            },
            ..Match::any()
        }
    });
    matching(rules)
}

pub(crate) fn keys(random: &mut Random, policy: &Policy) -> Vec<PacketKey> {
    let mut addresses = [(Family::V4, BTreeSet::new()), (Family::V6, BTreeSet::new())];
    for rule in &policy.rules {
        let src = &rule.matches.src;
        addresses[0]
            .1
            .extend(boundaries(src.v4.ranges(), u32::MAX.into()));
        addresses[1]
            .1
            .extend(boundaries(src.v6.ranges(), u128::MAX));
    }
    let mut keys = Vec::new();
    for (family, values) in addresses {
        // Of many, some, but those at the ends of the address space always.
        let (count, one_in) = (values.len(), values.len() as u64 / 500 + 1);
        for (i, value) in values.into_iter().enumerate() {
            if i > 40 && i + 40 < count && !random.one_in(one_in) {
                continue;
            }
            let mut key = PacketKey::empty(family);
            (key.src_hi, key.src_lo) = halves(value);
            keys.push(key);
            // As far away as can be.
            if family == Family::V6 && random.one_in(4) {
                key.src_hi ^= 1 << 63;
                keys.push(key);
                key.src_hi ^= 1 << 63;
            }
            // The same upper half with other lower ones.
            if family == Family::V6 && random.one_in(4) {
                let bit = 1 << random.below(64);
                key.src_lo = random.pick(&[0, 1, u64::MAX, key.src_lo ^ bit]);
                keys.push(key);
            }
        }
    }
    keys
}

/// The form for few intervals goes up to 512 of them.
fn check_forms(src: &AddrSet, tables: &Tables) {
    fn intervals<T: Number>(ranges: &[(T, T)]) -> usize {
        let starts = ranges
            .iter()
            .flat_map(|&(first, last)| [Some(first), last.next()]);
        starts
            .flatten()
            .chain([T::MIN])
            .collect::<BTreeSet<T>>()
            .len()
    }
    let (v4, v6) = (&tables.config.v4.src, &tables.config.v6.src);
    if v4.form != addr_form::UNUSED {
        assert_eq!(
            v4.form == addr_form::TREE,
            intervals(src.v4.ranges()) <= 512
        );
    }
    // Elsewhere, some of them stand in low blocks.
    if v6.form != addr_form::UNUSED && v6.has_low == 0 {
        assert_eq!(
            v6.form == addr_form::TREE,
            intervals(src.v6.ranges()) <= 512
        );
    }
}

#[test]
fn crowds_of_addresses() {
    // Enough for every form to occur.
    let cases = (number("FIREWALL_CASES", crate::CASES) / 4).max(50_000);
    let mut seeds = Random(number("FIREWALL_SEED", 1) as u64);
    let mut forms = BTreeSet::new();
    let mut done = 0;
    while done < cases {
        let seed = seeds.next();
        let mut random = Random(seed);
        let policy = policy(&mut random);
        let slots: Vec<u32> = (0..policy.counters().len() as u32)
            .map(|i| i * 3 + 1)
            .collect();
        let tables = compile(&policy, &slots).expect("within the limits");
        for (family, config) in [(4, &tables.config.v4), (6, &tables.config.v6)] {
            forms.insert((family, config.src.form, config.src.has_low));
        }
        if let [rule] = policy.rules.as_slice() {
            check_forms(&rule.matches.src, &tables);
        }
        let keys = keys(&mut random, &policy);
        let answers = oracle::evaluate_all(&policy, &keys);
        for (key, answer) in keys.iter().zip(&answers) {
            let found = host::lookup(&tables, key).hit.map(|hit| hit.slot);
            let expected = answer.decided.map(|rule| slots[rule]);
            assert_eq!(found, expected, "seed {seed:#x}, {key:x?}");
        }
        done += keys.len();
    }
    println!("{done} headers, {forms:?}");
    for form in [
        (4, addr_form::TREE, 0),
        (4, addr_form::ROOT, 0),
        (6, addr_form::TREE, 0),
        (6, addr_form::TREE, 1),
        (6, addr_form::BRANCH, 0),
        (6, addr_form::BRANCH, 1),
    ] {
        assert!(forms.contains(&form), "{form:?} does not occur");
    }
}
