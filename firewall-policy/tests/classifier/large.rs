//! Large sets and the limits: what random small policies do not reach.

use firewall_common::abi::Entry;
use firewall_common::field::Field;
use firewall_common::key::{Family, PacketKey};
use firewall_common::verdict::Action;
use firewall_policy::compile::{MAX_RULES, compile};
use firewall_policy::host;
use firewall_policy::range::RangeSet;
use firewall_policy::rule::{AddrSet, Match, Policy, Rule};
use firewall_policy::tables::Tables;

fn rule(index: usize, matches: Match) -> Rule {
    Rule::plain(format!("r{index}"), matches, Action::DROP)
}

/// A policy that drops what one of these matches, and passes everything else.
pub(crate) fn policy(matches: impl Iterator<Item = Match>) -> Policy {
    let rules = matches.enumerate();
    Policy::of_rules(rules.map(|(index, matches)| rule(index, matches)).collect())
}

pub(crate) fn compiled(policy: &Policy) -> Tables {
    let slots: Vec<u32> = (0..policy.counters().len() as u32).collect();
    compile(policy, &slots).expect("within the limits")
}

pub(crate) fn decided(tables: &Tables, key: &PacketKey) -> Option<u32> {
    host::lookup(tables, key).hit.map(|hit| hit.slot)
}

/// Numbers that look random (Weyl sequence through an odd multiplication).
pub(crate) fn scattered(i: u64) -> u64 {
    (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (i.wrapping_mul(0xd129_0c5b_a3e1_94d5) >> 17)
}

fn from_v4(set: RangeSet<u32>) -> Match {
    Match {
        src: AddrSet {
            v4: set,
            v6: RangeSet::empty(),
        },
        ..Match::any()
    }
}

pub(crate) fn from_v6(set: RangeSet<u128>) -> Match {
    Match {
        src: AddrSet {
            v4: RangeSet::empty(),
            v6: set,
        },
        ..Match::any()
    }
}

/// Whether `tables` drop packets from an IPv6 source.
fn drops(tables: &Tables, address: u128) -> bool {
    let mut key = PacketKey::empty(Family::V6);
    (key.src_hi, key.src_lo) = ((address >> 64) as u64, address as u64);
    decided(tables, &key).is_some()
}

/// Whether `tables` drop exactly the IPv6 sources in `set`, at the boundaries of every `step`th
/// range.
fn drops_v6(tables: &Tables, set: &RangeSet<u128>, step: usize) {
    for &(first, last) in set.ranges().iter().step_by(step) {
        for address in [first.wrapping_sub(1), first, last, last.wrapping_add(1)] {
            assert_eq!(
                drops(tables, address),
                set.contains(address),
                "{address:032x}"
            );
        }
    }
}

#[test]
fn every_port_its_own_rule() {
    // One class more than 16 bits can number, and row references wider than that.
    let policy = policy((0..=u32::from(u16::MAX)).map(|port| {
        let mut matches = Match::any();
        matches.fields[Field::DestinationPort as usize] = RangeSet::of(port, port);
        matches
    }));
    let tables = compiled(&policy);
    for family in [Family::V4, Family::V6] {
        let mut key = PacketKey::empty(family);
        assert_eq!(decided(&tables, &key), None);
        for port in 0..=u32::from(u16::MAX) {
            key.fields[Field::DestinationPort as usize] = port;
            assert_eq!(decided(&tables, &key), Some(port));
        }
    }
}

#[test]
fn two_hundred_thousand_v4_prefixes() {
    let set = RangeSet::from_ranges(
        (0..200_000)
            .map(|i| {
                let hosts = (1u32 << (8 - i % 9)) - 1;
                let at = scattered(i) as u32;
                (at & !hosts, at | hosts)
            })
            .collect(),
    );
    let policy = policy([from_v4(set.clone())].into_iter());
    let tables = compiled(&policy);
    let mut key = PacketKey::empty(Family::V4);
    for &(first, last) in set.ranges() {
        for address in [first.wrapping_sub(1), first, last, last.wrapping_add(1)] {
            key.src_lo = address.into();
            assert_eq!(
                decided(&tables, &key).is_some(),
                set.contains(address),
                "{address:08x}"
            );
        }
    }
}

#[test]
fn two_hundred_thousand_v6_prefixes() {
    let set = RangeSet::from_ranges(
        (0..200_000)
            .map(|i| {
                let at = (0x2000 << 112)
                    | (u128::from(scattered(i)) << 61)
                    | u128::from(scattered(i + 7));
                let length = if i % 5 == 0 { 128 } else { 32 + i as u32 % 33 };
                let hosts = u128::MAX.checked_shr(length).unwrap_or(0);
                (at & !hosts, at | hosts)
            })
            .collect(),
    );
    let policy = policy([from_v6(set.clone())].into_iter());
    drops_v6(&compiled(&policy), &set, 1);
}

#[test]
fn a_crowded_v6_network() {
    // All in one /64: one low block with several hundred thousand starts.
    let network = 0x2001_0db8_0000_0001_u128 << 64;
    let set = RangeSet::from_ranges(
        (0..150_000)
            .map(|i| network | u128::from(scattered(i)))
            .map(|address| (address, address))
            .collect(),
    );
    let policy = policy([from_v6(set.clone())].into_iter());
    drops_v6(&compiled(&policy), &set, 3);
}

#[test]
fn the_edges_of_the_v6_space() {
    let ends = [
        0,
        1,
        1 << 64,
        1 << 127,
        (1 << 127) - 1,
        u128::MAX - 1,
        u128::MAX,
        u128::MAX << 64,
    ];
    for first in ends {
        for last in ends {
            let set = RangeSet::of(first, last);
            if !set.is_empty() {
                let policy = policy([from_v6(set.clone())].into_iter());
                drops_v6(&compiled(&policy), &set, 1);
            }
        }
    }
}

/// The same edges among so many prefixes that the lookup takes its form for large sets, wherever
/// the prefixes crowd.
#[test]
fn the_edges_of_the_v6_space_in_large_sets() {
    let crowds: [fn(u64) -> u128; 4] = [
        |i| u128::from(scattered(i)) << 64,
        |i| u128::from(scattered(i) >> 40) << 64,
        |i| !(u128::from(scattered(i) >> 50) << 64),
        |i| u128::from(0x2001_0db8_0000_0000 | scattered(i) >> 34) << 64 | 0xffff << (i % 5 * 24),
    ];
    let ends = [
        0,
        1 << 64,
        1 << 127,
        (1 << 127) - 1,
        u128::MAX - 1,
        u128::MAX,
    ];
    for crowd in crowds {
        let prefixes: Vec<(u128, u128)> = (0..3_000)
            .map(|i| (crowd(i), [128, 64, 120, 49][i as usize % 4]))
            .map(|(at, length)| {
                let hosts = u128::MAX.checked_shr(length).unwrap_or(0);
                (at & !hosts, at | hosts)
            })
            .collect();
        for first in ends {
            for last in ends {
                let mut all = prefixes.clone();
                // Not the whole space: there would be nothing left to search.
                if last.wrapping_sub(first) < 1 << 120 {
                    all.push((first, last));
                }
                let set = RangeSet::from_ranges(all);
                let policy = policy([from_v6(set.clone())].into_iter());
                let tables = compiled(&policy);
                drops_v6(&tables, &set, 7);
                let outside = set.complement();
                for &(first, last) in outside.ranges().iter().step_by(5) {
                    for address in [first, last, first + (last - first) / 2] {
                        assert!(!drops(&tables, address), "{address:032x}");
                    }
                }
                for address in ends {
                    assert_eq!(
                        drops(&tables, address),
                        set.contains(address),
                        "{address:032x}"
                    );
                }
            }
        }
    }
}

#[test]
fn long_ranges_between_many_short_ones() {
    // Stretches of the address space without a start inside, all in or all out.
    let network = |i: u128| {
        (
            0x2001 << 112 | i << 96,
            0x2001 << 112 | i << 96 | u128::from(u64::MAX),
        )
    };
    let mut ranges: Vec<(u128, u128)> = (0..2_000).map(|i| network(i * 3)).collect();
    for i in [7_000, 9_000, 20_000] {
        ranges.push((network(i).0, network(i + 1_500).1));
    }
    let set = RangeSet::from_ranges(ranges);
    let tables = compiled(&policy([from_v6(set.clone())].into_iter()));
    for i in 0..65_536 {
        let mut key = PacketKey::empty(Family::V6);
        for address in [network(i).0, network(i).1, network(i).1 + 1] {
            (key.src_hi, key.src_lo) = ((address >> 64) as u64, address as u64);
            let expected = set.contains(address).then_some(0);
            assert_eq!(decided(&tables, &key), expected, "{address:032x}");
        }
    }
}

#[test]
fn half_the_v6_space_away() {
    // The distance to the last network's start is the one number that is its own negative. With
    // about 2^11 / 7 networks, the root's last entry has the last network in it, behind a gap.
    for count in 260..=300 {
        let networks = (1..=count).map(|i| ((7 * i) << 64, (7 * i) << 64 | u128::from(u64::MAX)));
        let set = RangeSet::from_ranges(networks.collect());
        let tables = compiled(&policy([from_v6(set.clone())].into_iter()));
        for (first, _) in set.ranges() {
            let mut key = PacketKey::empty(Family::V6);
            key.src_hi = (first >> 64) as u64;
            assert_eq!(decided(&tables, &key), Some(0), "{key:x?}");
            key.src_hi ^= 1 << 63;
            assert_eq!(decided(&tables, &key), None, "{key:x?}");
        }
    }
}

#[test]
fn the_report_says_where_the_bytes_go() {
    // Three networks with an address each inside.
    let set = (1..=3).map(|i| (i << 64 | 5, i << 64 | 5)).collect();
    let policy = policy([from_v6(RangeSet::from_ranges(set)), Match::any()].into_iter());
    let tables = compiled(&policy);
    let entries = |what: &str| {
        let line = tables.report.iter().find(|line| line.what == what);
        line.map(|line| line.entries)
    };
    assert_eq!(entries("ipv4 rules"), Some(1));
    assert_eq!(entries("ipv6 rules"), Some(2));
    assert_eq!(entries("ipv6 source address: low blocks"), Some(3));
    let rules = tables.report.iter().find(|line| line.what == "ipv6 rules");
    assert_eq!(rules.map(|line| line.bytes), Some(2 * size_of::<Entry>()));
    // Together nearly all of the tables, which are padded to a power of two.
    let bytes: usize = tables.report.iter().map(|line| line.bytes).sum();
    let all = tables.bytes.len();
    assert!(bytes < all && bytes * 4 > all, "{bytes} of {all}");
}

#[test]
fn limits_are_errors_that_name_them() {
    let mut policy = policy((0..=MAX_RULES).map(|_| Match::any()));
    let slots = vec![0; policy.rules.len()];
    let error = compile(&policy, &slots).expect_err("one rule too many");
    assert_eq!(
        error.to_string(),
        "the policy's list of ipv4 rules has 262145, the limit is 262144"
    );
    // A disabled rule does not count.
    policy.rules[7].enabled = false;
    assert!(compile(&policy, &slots).is_ok());

    let error = compile(&policy, &slots[1..]).expect_err("a slot is missing");
    assert_eq!(
        error.to_string(),
        "the list of rules, for the given counter slots, has 262145, the limit is 262144"
    );
}
