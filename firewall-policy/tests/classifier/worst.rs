//! The worst packet: no packet matches more rules that let it go on than the bound says, needs more
//! rounds, or reads more; and the bound is not far from the truth.

use super::cost::Counting;
use super::limits::{about_port, limit};
use super::random::{Random, Style, headers, policy};
use super::{addresses, large, lists, number};
use firewall_common::abi::LIMITS_PASSED;
use firewall_common::classify::classify;
use firewall_common::field::Field;
use firewall_common::key::{Family, PacketKey};
use firewall_common::verdict::Action;
use firewall_policy::classbench::{Profile, generate};
use firewall_policy::compile::compile;
use firewall_policy::limit::Per;
use firewall_policy::oracle;
use firewall_policy::range::RangeSet;
use firewall_policy::rule::{AddrSet, Expiry, Match, Policy};
use firewall_policy::worst::{Kind, MOST_PASSED, passed};
use std::cell::Cell;
use std::time::Instant;

/// Of all kinds of rules that do not always decide, some.
fn mixed(random: &mut Random, policy: &mut Policy) {
    for rule in &mut policy.rules {
        match random.below(6) {
            0 => rule.action = Action::NEXT,
            1 => {
                rule.limit = Some(limit(9, 9, Per::Rule));
                rule.action = [Action::NEXT, Action::PASS][random.below(2) as usize];
            }
            2 => rule.enabled = false,
            _ => {}
        }
    }
}

fn matching(policy: &Policy, kind: Kind, key: &PacketKey) -> usize {
    let rules = policy.rules.iter().filter(|rule| kind.has(rule));
    rules.filter(|rule| oracle::matches(rule, key)).count()
}

#[test]
fn no_packet_matches_more_than_the_bound() {
    let cases = number("FIREWALL_CASES", super::CASES) / 6_000;
    let seed = number("FIREWALL_SEED", 1) as u64;
    let (mut tight, mut exact, mut all) = (0, 0, 0);
    for case in 0..cases as u64 {
        let mut random = Random(seed << 32 | case);
        let size = 1 + random.below(if case % 10 == 0 { 900 } else { 120 }) as usize;
        let style = Style::random(&mut random, size);
        let mut policy = policy(case, size, style);
        mixed(&mut random, &mut policy);
        for kind in Kind::ALL {
            let ask = |more_than| {
                [Family::V4, Family::V6]
                    .map(|family| passed(&policy.rules, family, kind, more_than))
            };
            let (found, above) = (ask(0), ask(kind.most()));
            let bounds = [found[0].most, found[1].most];
            let mut most = [0; 2];
            for key in headers(&policy, case, 100, 40) {
                let family = usize::from(key.is_v6 != 0);
                most[family] = matching(&policy, kind, &key).max(most[family]);
            }
            for family in 0..2 {
                assert!(
                    most[family] <= bounds[family],
                    "case {case}: {most:?} {bounds:?}"
                );
                // The quick question has the same answer, if both have one.
                let is_above = above[family].most > kind.most();
                if found[family].exact && above[family].exact {
                    assert_eq!(is_above, bounds[family] > kind.most(), "case {case}");
                }
                exact += usize::from(found[family].exact);
                all += 1;
                tight += usize::from(most[family] == bounds[family]);
            }
        }
    }
    // Headers at random find the worst packet of many policies, and not of all.
    println!("of {all} bounds {exact} are exact, and {tight} are met");
    assert!(exact * 10 > all * 9, "{exact} of {all} bounds are exact");
    assert!(tight * 4 > all, "{tight} of {all} bounds are met");
}

/// Three dimensions, each value of which is tried.
#[test]
fn the_bound_is_exact() {
    const VALUES: u32 = 6;
    for seed in 0..number("FIREWALL_CASES", super::CASES) as u64 / 300 {
        let mut random = Random(seed);
        let some = |random: &mut Random| {
            let value = |random: &mut Random| random.below(u64::from(VALUES)) as u32;
            let ranges = (0..1 + random.below(2)).map(|_| {
                let (a, b) = (value(random), value(random));
                (a.min(b), a.max(b))
            });
            RangeSet::from_ranges(ranges.collect())
        };
        let rules = 1 + random.below(12);
        let mut policy = large::policy((0..rules).map(|_| {
            let mut matches = Match::any();
            matches.src = AddrSet {
                v4: some(&mut random),
                v6: RangeSet::empty(),
            };
            for field in [Field::DestinationPort, Field::Proto] {
                matches.fields[field as usize] = some(&mut random);
            }
            matches
        }));
        for rule in &mut policy.rules {
            rule.action = Action::NEXT;
        }
        let mut most = 0;
        for value in 0..VALUES.pow(3) {
            let mut key = PacketKey::empty(Family::V4);
            key.src_lo = u64::from(value % VALUES);
            key.fields[Field::DestinationPort as usize] = value / VALUES % VALUES;
            key.fields[Field::Proto as usize] = value / VALUES / VALUES;
            most = most.max(matching(&policy, Kind::Passed, &key));
        }
        let found = passed(&policy.rules, Family::V4, Kind::Passed, 0);
        assert!(found.exact);
        assert_eq!((found.most, found.rules.len()), (most, most), "seed {seed}");
        let none = passed(&policy.rules, Family::V6, Kind::Passed, 0);
        assert_eq!((none.most, none.exact), (0, true));
        let more = passed(&policy.rules, Family::V4, Kind::Passed, 3);
        assert_eq!(more.most > 3, most > 3, "seed {seed}");
    }
}

/// Rounds and reads of real lookups are within what the compiler says: [`Counting`] fails where
/// the rounds do not suffice.
#[test]
fn no_packet_needs_more_than_the_compiler_says() {
    let seed = number("FIREWALL_SEED", 1) as u64;
    let mut policies: Vec<Policy> = Vec::new();
    for (case, rules) in [1, 30, 64, 65, 300, 1_000, 4_096, 4_200, 7_000]
        .into_iter()
        .enumerate()
    {
        for round in 0..2 {
            let seed = seed << 8 | (case * 2 + round) as u64;
            let mut style = Style::random(&mut Random(seed), rules);
            style.kinds = style.kinds.min(4);
            policies.push(policy(seed, rules, style));
        }
    }
    policies.extend(lists::STYLES.map(|(_, style)| lists::policy(seed, style)));
    policies.extend((0..12).map(|case| addresses::policy(&mut Random(seed << 8 | case))));
    for (case, policy) in policies.iter().enumerate() {
        let slots: Vec<u32> = (0..policy.rules.len() as u32).collect();
        let tables = compile(policy, &slots).unwrap_or_else(|limit| panic!("{case}: {limit}"));
        let mut most = [0; 2];
        for key in headers(policy, seed, 1_000, 60) {
            let reads = Cell::new(0);
            let machine = Counting {
                tables: &tables,
                reads: &reads,
            };
            classify(&machine, &key);
            let family = usize::from(key.is_v6 != 0);
            most[family] = most[family].max(reads.get());
        }
        for (most, worst) in most.iter().zip(&tables.worst) {
            let said = u64::from(worst.reads);
            assert!(*most <= said, "policy {case}: {most} reads, {worst:?}");
        }
        for (family, worst) in [(&tables.config.v4, 0), (&tables.config.v6, 1)] {
            assert_eq!(family.rounds, tables.worst[worst].rounds);
        }
    }
}

fn prefix(number: u32) -> Match {
    Match {
        src: AddrSet {
            v4: RangeSet::of(number << 12, number << 12 | 0xfff),
            v6: RangeSet::empty(),
        },
        ..Match::any()
    }
}

fn counting(matches: impl Iterator<Item = Match>) -> Policy {
    let mut policy = large::policy(matches);
    for rule in &mut policy.rules {
        rule.action = Action::NEXT;
    }
    policy
}

fn most(policy: &Policy) -> usize {
    passed(&policy.rules, Family::V4, Kind::Passed, MOST_PASSED).most
}

#[test]
fn rules_that_are_apart_are_never_too_many() {
    assert_eq!(most(&counting((0..1_000).map(prefix))), MOST_PASSED);
    let mixed = (0..2_000).map(|i| if i % 2 == 0 { prefix(i) } else { about_port(i) });
    assert_eq!(most(&counting(mixed.clone())), MOST_PASSED);
    let exactly = |policy: &Policy| passed(&policy.rules, Family::V4, Kind::Passed, 0).most;
    assert_eq!(exactly(&counting((0..1_000).map(prefix))), 1);
    // One by each: nowhere three.
    assert_eq!(exactly(&counting(mixed)), 2);
    // Beside one that counts everything.
    let all = (0..1_000).map(prefix).chain([Match::any()]);
    assert_eq!(exactly(&counting(all)), 2);
    // Ports nest as deep as they may, and one deeper.
    let nested = |count: u32| {
        counting((0..count).map(|i| {
            let mut matches = Match::any();
            matches.fields[Field::DestinationPort as usize] = RangeSet::of(i, 60_000 - i);
            matches
        }))
    };
    assert_eq!(most(&nested(64)), 64);
    assert_eq!(most(&nested(65)), 65);
    assert_eq!(exactly(&nested(300)), 300);
}

/// As many as the walk can stop at, for one packet and in all.
#[test]
fn what_the_walk_stops_at_has_a_bound_of_its_own() {
    let asked = |count: u32, apart: bool| {
        let rules = (0..count).map(|i| if apart { about_port(i) } else { Match::any() });
        let mut policy = counting(rules);
        for rule in &mut policy.rules {
            rule.limit = Some(limit(1, 1, Per::Rule));
        }
        let slots: Vec<u32> = (0..2 * count).collect();
        compile(&policy, &slots).map(|tables| tables.config.limits_passed)
    };
    let most = LIMITS_PASSED as u32;
    assert_eq!(asked(most, false), Ok(most));
    assert_eq!(asked(1_000, true), Ok(1));
    let error = asked(most + 1, false).expect_err("one too many");
    assert_eq!((error.needed, error.limit), (17, 16));
}

/// What `check -v` shows, by kinds.
#[test]
fn the_worst_packet_is_told_by_kinds() {
    let mut policy = counting((0..6).map(|_| Match::any()).chain([about_port(7)]));
    policy.rules[0].limit = Some(limit(1, 1, Per::Rule));
    policy.rules[1].audit = Some(Action::DROP);
    policy.rules[2].action = Action::DROP;
    policy.rules[3].action = Action::DROP;
    policy.rules[3].expires = Some(Expiry {
        at: 9,
        passed: false,
    });
    policy.rules[4].enabled = false;
    let slots: Vec<u32> = (0..8).collect();
    let tables = compile(&policy, &slots).expect("within the limits");
    for worst in &tables.worst {
        let passed = &worst.passed;
        assert_eq!((passed.most, passed.exact), (5, true));
        let kinds = (passed.limited, passed.logged, passed.expiring);
        assert_eq!(kinds, (1, 0, 1));
        assert_eq!((passed.audited, passed.counting), (1, 2));
        assert_eq!(worst.rounds, 1 + 5);
    }
    assert_eq!(tables.config.limits_passed, 2);
}

/// Sets of ClassBench's kind have no such rules; if all of their rules counted, the question would
/// still be answered soon.
#[test]
fn large_policies_are_answered_soon() {
    let mut policy = generate(1, Profile::Fw, 20_000);
    let (mut slowest, mut most) = (0.0f64, Vec::new());
    for kind in [Action::DROP, Action::NEXT] {
        for rule in &mut policy.rules {
            rule.action = kind;
        }
        let start = Instant::now();
        most.push(self::most(&policy));
        slowest = slowest.max(start.elapsed().as_secs_f64());
    }
    assert_eq!(most[0], MOST_PASSED);
    assert!(slowest < 5.0, "{slowest} s");
    // What all rules that count match is counted.
    let key = headers(&policy, 1, 3_000, 60);
    let counted = oracle::evaluate_all(&policy, &key);
    let found = counted.iter().map(|found| found.counted.len()).max();
    assert!(
        found.is_some_and(|found| found <= most[1]),
        "{found:?} {most:?}"
    );
}
