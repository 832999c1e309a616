//! Policies so large that most rules go into short lists: random ones whose rules are mostly narrow,
//! and the limits of what a list takes.

use super::random::{Random, halves, headers};
use super::{agree, large, number};
use firewall_common::field::Field;
use firewall_common::key::{Family, PacketKey};
use firewall_common::verdict::Action;
use firewall_policy::compile::compile;
use firewall_policy::range::RangeSet;
use firewall_policy::rule::{AddrSet, Match, Policy};
use firewall_policy::tables::Tables;

/// An address of both families from a seed. Crowded: neighbours differ in few bits.
fn place(number: u64) -> (u32, u128) {
    let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let v4 = (scattered >> 40) as u32 * 64 + (scattered as u32 & 63);
    let v6 = 0x2001_0db8 << 96 | u128::from(scattered >> 20) << 32 | u128::from(scattered & 0xffff);
    (v4, v6)
}

/// A prefix around a place that leaves `free4` and `free6` bits free.
fn prefix((v4, v6): (u32, u128), free4: u32, free6: u32) -> AddrSet {
    let ones4 = ((1u64 << free4) - 1) as u32;
    let ones6 = (1u128 << free6) - 1;
    AddrSet {
        v4: RangeSet::of(v4 & !ones4, v4 | ones4),
        v6: RangeSet::of(v6 & !ones6, v6 | ones6),
    }
}

/// What a policy is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    rules: usize,
    /// How many addresses rules are about, on each side.
    places: u64,
    /// How many sets of small fields there are.
    profiles: u64,
    /// One rule in so many is wide on both sides.
    wide: u64,
    /// One rule in so many is `next`.
    next: u64,
}

fn address(random: &mut Random, style: Style, narrow: bool) -> AddrSet {
    let at = place(random.below(style.places));
    if narrow {
        let (free4, free6) = (random.pick(&[0, 0, 4, 8]), random.pick(&[0, 40, 64, 80]));
        let mut set = prefix(at, free4, free6);
        if random.one_in(6) {
            let other = prefix(place(random.below(style.places)), 0, 0);
            set.v4 = set.v4.union(&other.v4);
            set.v6 = set.v6.union(&other.v6);
        }
        return set;
    }
    match random.below(6) {
        0 => prefix(at, 24, 100),
        1 => prefix(at, 3, 12),
        // Some prefixes, or more than an entry takes.
        2 => {
            let last = (at.0.saturating_add(random.below(40) as u32), at.1 + 9);
            AddrSet {
                v4: RangeSet::of(at.0, last.0),
                v6: RangeSet::of(at.1, last.1),
            }
        }
        3 => prefix(at, 8, 64).complement(),
        _ => AddrSet::any(),
    }
}

pub(crate) fn policy(seed: u64, style: Style) -> Policy {
    let mut random = Random(seed);
    let one = |field: Field, matches: &mut Match, value: u64, width: u64| {
        let last = (value + width).min(u64::from(field.none()) - 1);
        matches.fields[field as usize] = RangeSet::of(value as u32, last as u32);
    };
    let rules: Vec<Match> = (0..style.rules)
        .map(|_| {
            let wide = random.one_in(style.wide);
            let by_source = random.one_in(2);
            let mut matches = Match {
                src: address(&mut random, style, by_source && !wide),
                dst: address(&mut random, style, !by_source && !wide),
                ..Match::any()
            };
            let profile = random.below(style.profiles);
            if profile != 0 {
                one(Field::Proto, &mut matches, 6 + profile % 3, 0);
                one(
                    Field::DestinationPort,
                    &mut matches,
                    profile * 7,
                    profile % 5,
                );
            }
            if profile % 4 == 1 {
                one(Field::Zone, &mut matches, profile % 9, 2);
            }
            matches
        })
        .collect();
    let mut policy = large::policy(rules.into_iter());
    for rule in &mut policy.rules {
        rule.enabled = !random.one_in(200);
        rule.action = match random.below(style.next) {
            0 => Action::NEXT,
            n if n % 2 == 0 => Action::PASS,
            _ => Action::DROP,
        };
    }
    policy
}

/// How many rules of both families are in rows, if there are lists.
fn in_rows(tables: &Tables) -> Vec<usize> {
    let lines = tables.report.iter();
    lines
        .filter(|line| line.what.ends_with("rules in rows"))
        .map(|line| line.entries)
        .collect()
}

/// Compares on `count` random headers and the boundaries of some rules.
fn check(seed: u64, style: Style, count: usize, rules: usize) -> Tables {
    let policy = policy(seed, style);
    let slots: Vec<u32> = (0..style.rules as u32).rev().map(|i| i * 3).collect();
    let tables = compile(&policy, &slots).unwrap_or_else(|limit| panic!("{style:?}: {limit}"));
    let keys = headers(&policy, seed, count, rules);
    agree(&policy, &slots, &tables, &keys, &format!("{style:?}"));
    tables
}

const STYLE: Style = Style {
    rules: 3_000,
    places: 2_000,
    profiles: 40,
    wide: 20,
    next: 30,
};

/// Lists, crowded lists, and many sets of small fields.
pub(crate) const STYLES: [(&str, Style); 3] = [
    ("lists", STYLE),
    (
        "crowded lists",
        Style {
            places: 250,
            ..STYLE
        },
    ),
    (
        "many profiles",
        Style {
            rules: 6_000,
            places: 9_000,
            profiles: 1_500,
            ..STYLE
        },
    ),
];

#[test]
fn narrow_rules_are_in_lists() {
    let seed = number("FIREWALL_SEED", 1) as u64;
    let rounds = number("FIREWALL_CASES", super::CASES).div_ceil(200_000) as u64;
    for round in 0..rounds {
        let tables = check(seed ^ round << 32, STYLE, 4_000, 60);
        let rest = in_rows(&tables);
        assert_eq!(rest.len(), 2, "both families have lists");
        assert!(rest.iter().all(|&rest| rest < 1_200), "{rest:?}");
    }
}

#[test]
fn crowded_lists_overflow_into_the_rows() {
    let style = Style {
        places: 250,
        ..STYLE
    };
    let rest = in_rows(&check(2, style, 4_000, 60));
    assert!(rest.iter().all(|&rest| rest > 300), "{rest:?}");
}

#[test]
fn many_rules_in_rows_have_three_levels_beside_the_lists() {
    let style = Style {
        rules: 11_000,
        places: 6_000,
        wide: 2,
        ..STYLE
    };
    let tables = check(3, Style { wide: 3, ..style }, 3_000, 20);
    assert!(in_rows(&tables).iter().any(|&rest| rest > 4_096));
    assert!([tables.config.v4.levels, tables.config.v6.levels].contains(&3));
    // More rules in rows than in lists: there are no lists.
    let none = check(4, Style { wide: 1, ..style }, 500, 5);
    assert!(in_rows(&none).is_empty());
}

#[test]
fn more_profiles_than_a_row_names_stay_in_the_rows() {
    let style = Style {
        rules: 6_000,
        places: 9_000,
        profiles: 1_500,
        ..STYLE
    };
    let rest = in_rows(&check(5, style, 3_000, 20));
    assert!(rest.iter().all(|&rest| rest > 500), "{rest:?}");
}

/// Lists on one side only, no rule in rows, and rules that differ in nothing but the list's address.
#[test]
fn lists_of_one_side() {
    let hosts = |side: fn(&mut Match) -> &mut AddrSet| {
        large::policy((0..5_000).map(move |number| {
            let mut matches = Match::any();
            *side(&mut matches) = prefix(place(number), 0, 0);
            matches
        }))
    };
    for policy in [hosts(|m| &mut m.src), hosts(|m| &mut m.dst)] {
        let tables = large::compiled(&policy);
        assert_eq!(in_rows(&tables), [0, 0]);
        for family in [&tables.config.v4, &tables.config.v6] {
            assert_eq!(family.src.lists + family.dst.lists, 1);
        }
        let slots: Vec<u32> = (0..5_000).collect();
        let keys = headers(&policy, 9, 6_000, 40);
        agree(&policy, &slots, &tables, &keys, "hosts");
    }
}

/// The longest lists: a ninth rule about an address, and a rule about one interval too many.
#[test]
fn a_list_has_an_end() {
    // 2,100 rules about pairs: each source has seven rules, each destination one.
    let pair = |number: u64| Match {
        src: prefix(place(number / 7), 0, 0),
        dst: prefix(place(1 << 30 | number), 0, 0),
        ..Match::any()
    };
    let same = Match {
        src: prefix(place(0), 0, 0),
        ..Match::any()
    };
    let rules = |more: usize| {
        let pairs = (0..2_100).map(pair);
        large::policy(pairs.chain(std::iter::repeat_n(same.clone(), more)))
    };
    let rest = |policy: &Policy| in_rows(&large::compiled(policy));
    // The first rule about a pair is in its source's list, the others in their destinations'.
    assert_eq!((rest(&rules(7)), rest(&rules(8))), (vec![0, 0], vec![1, 1]));
    let (fits, over) = (rest(&rules(8)), rest(&rules(20)));
    assert!(fits[0] < over[0], "{fits:?} {over:?}");
    for more in [1, 8, 20] {
        let policy = rules(more);
        let slots: Vec<u32> = (0..policy.rules.len() as u32).collect();
        let tables = large::compiled(&policy);
        let keys = headers(&policy, 11, 3_000, 30);
        agree(&policy, &slots, &tables, &keys, "pairs");
    }
}

/// A listed rule stands in 64 intervals at most.
#[test]
fn a_rule_about_too_many_intervals_stays_in_the_rows() {
    let hosts = |first, last| {
        let mut matches = Match::any();
        matches.src = AddrSet {
            v4: RangeSet::of(first, last),
            v6: RangeSet::empty(),
        };
        matches
    };
    for (intervals, rest) in [(64, 0), (65, 1)] {
        let single = (0..2_100).map(|host| hosts(host, host));
        let policy = large::policy(single.chain([hosts(0, intervals - 1)]));
        assert_eq!(in_rows(&large::compiled(&policy)), [rest], "{intervals}");
    }
}

/// Below 2,048 rules the rows are as fast.
#[test]
fn lists_begin_at_2048_rules() {
    for (rules, listed) in [(2_047, 0), (2_048, 1)] {
        let hosts = (0..rules).map(|host| Match {
            src: prefix(place(host), 0, 0),
            ..Match::any()
        });
        let tables = large::compiled(&large::policy(hosts));
        assert_eq!(tables.config.v4.src.lists, listed, "{rules}");
    }
}

/// More lists than a short reference reaches, behind other tables.
#[test]
fn lists_that_take_megabytes() {
    let hosts = (0..40_000).map(|host| Match {
        src: prefix(place(host), 0, 0),
        ..Match::any()
    });
    let tables = large::compiled(&large::policy(hosts));
    assert_eq!(tables.config.v4.src.wide, 1);
    for host in [0, 1, 19_999, 39_999] {
        let mut key = PacketKey::empty(Family::V4);
        key.src_lo = place(host).0.into();
        assert_eq!(large::decided(&tables, &key), Some(host as u32));
    }
}

/// The first rule of all is in the rows, whose only leaf has room for it, and the others are not.
#[test]
fn a_rule_in_the_rows_can_come_before_those_in_the_lists() {
    let mut tcp = Match::any();
    tcp.fields[Field::Proto as usize] = RangeSet::of(6, 6);
    let pair = |number: u64| Match {
        src: prefix(place(number), 0, 0),
        dst: prefix(place(1 << 30 | number), 0, 0),
        ..Match::any()
    };
    let policy = large::policy([tcp.clone()].into_iter().chain((0..2_100).map(pair)));
    let tables = large::compiled(&policy);
    assert_eq!(in_rows(&tables), [1, 1]);
    for number in [0, 7, 2_099] {
        let ((_, src), (_, dst)) = (place(number), place(1 << 30 | number));
        let mut key = PacketKey::empty(Family::V6);
        (key.src_hi, key.src_lo) = halves(src);
        (key.dst_hi, key.dst_lo) = halves(dst);
        let listed = number as u32 + 1;
        assert_eq!(large::decided(&tables, &key), Some(listed));
        key.fields[Field::Proto as usize] = 6;
        assert_eq!(large::decided(&tables, &key), Some(0));
        // Wrong in the same bit of both halves.
        key.fields[Field::Proto as usize] = 17;
        key.dst_hi ^= 1 << 9;
        key.dst_lo ^= 1 << 9;
        assert_eq!(large::decided(&tables, &key), None);
    }
}
