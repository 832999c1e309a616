//! Random policies: compiler and walk against the oracle, on random headers and on the boundaries
//! of every range of every rule.
//!
//! A case is a seed, a number of rules and a style. Rule `i` does not depend on how many follow,
//! so that a failing case shrinks to its shortest failing policy.

use firewall_common::abi::PacketConfig;
use firewall_common::field::Field;
use firewall_common::key::{Family, PacketKey};
use firewall_common::verdict::{Action, Verdict};
use firewall_policy::compile::compile;
use firewall_policy::range::{Number, RangeSet};
use firewall_policy::rule::{AddrSet, Match, Place, Policy, Rule};
use firewall_policy::tables::Tables;
use firewall_policy::{host, oracle};
use proptest::prelude::*;

/// SplitMix64.
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
        self.next() % end
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// What a policy is like.
#[derive(Clone, Copy, Debug)]
struct Style {
    /// One address set in so many is everything.
    wildcards: u64,
    /// One small field in so many is named by a rule.
    fields: u64,
    /// One rule in so many is `next`; 0: none.
    next: u64,
    /// How many different address neighbourhoods there are: few make ranges nest and touch.
    places: u64,
    /// How many small fields rules name at all. Many rules that name many fields need more lanes
    /// than there are.
    kinds: usize,
    /// Whether port sets are drawn from all ports, which keeps the ports in lanes of their own.
    many_ports: bool,
}

impl Style {
    /// The small fields that rules of the policy with this seed name.
    fn fields(self, seed: u64) -> Vec<Field> {
        let mut random = Random(seed);
        let mut fields = Field::ALL.to_vec();
        while fields.len() > self.kinds {
            fields.swap_remove(random.below(fields.len() as u64) as usize);
        }
        fields
    }
}

fn style(kinds: usize) -> impl Strategy<Value = Style> {
    (
        1u64..6,
        1u64..12,
        0u64..4,
        1u64..2_000,
        1..=kinds,
        any::<bool>(),
    )
        .prop_map(
            |(wildcards, fields, next, places, kinds, many_ports)| Style {
                wildcards,
                fields,
                next,
                places,
                kinds,
                many_ports,
            },
        )
}

/// An address near one of the style's places: bits differ at one random position, high or low.
fn address(random: &mut Random, style: Style, bits: u32) -> u128 {
    let place = Random(random.below(style.places)).next();
    let base = match place % 4 {
        0 => 0,
        1 => u128::MAX >> (128 - bits),
        _ => ((u128::from(Random(place).next()) << 64) | u128::from(place)) >> (128 - bits),
    };
    let shift = random.below(u64::from(bits)) as u32;
    let change = u128::from(random.below(16)) << shift;
    (base ^ change) & (u128::MAX >> (128 - bits))
}

fn ranges(random: &mut Random, style: Style, bits: u32) -> Vec<(u128, u128)> {
    let max = u128::MAX >> (128 - bits);
    (0..1 + random.below(3))
        .flat_map(|_| {
            let at = address(random, style, bits);
            match random.below(4) {
                // A single address, or two that touch.
                0 => vec![(at, at.saturating_add(random.below(2).into()).min(max))],
                // Any range.
                1 => {
                    let other = address(random, style, bits);
                    vec![(at.min(other), at.max(other))]
                }
                // A prefix, alone or with its neighbour's first half.
                _ => {
                    let host = if random.one_in(30) {
                        max
                    } else {
                        (1u128 << random.below(u64::from(bits))) - 1
                    };
                    let (first, last) = (at & !host, at | host);
                    let neighbour = last.checked_add(1).filter(|&first| first <= max);
                    let neighbour = neighbour.filter(|_| random.one_in(4));
                    [Some((first, last)), neighbour.map(|n| (n, n | (host / 2)))]
                        .into_iter()
                        .flatten()
                        .collect()
                }
            }
        })
        .collect()
}

/// Everything, nothing, some ranges, or all but some ranges.
fn set<T: Number>(
    random: &mut Random,
    style: Style,
    bits: u32,
    number: impl Fn(u128) -> T,
) -> RangeSet<T> {
    if random.one_in(style.wildcards) {
        return RangeSet::full();
    }
    if random.one_in(20) {
        return RangeSet::empty();
    }
    let ranges = ranges(random, style, bits)
        .into_iter()
        .map(|(a, b)| (number(a), number(b)));
    let set = RangeSet::from_ranges(ranges.collect());
    if random.one_in(6) {
        set.complement()
    } else {
        set
    }
}

fn field_set(random: &mut Random, style: Style, field: Field) -> RangeSet<u32> {
    let none = u64::from(field.none());
    let domain = if style.many_ports { none } else { none.min(40) };
    let ranges = (0..1 + random.below(3)).map(|_| {
        let first = random.below(domain) as u32;
        match random.below(4) {
            0 => (
                first,
                (u64::from(first) + random.below(domain)).min(none - 1) as u32,
            ),
            1 => (first, field.none() - 1),
            _ => (first, first),
        }
    });
    let set = RangeSet::from_ranges(ranges.collect());
    match random.below(40) {
        0 => RangeSet::empty(),
        1 => RangeSet::of(0, field.none() - 1),
        2 => RangeSet::of(field.none(), field.none()),
        3..8 => set
            .complement()
            .intersection(&RangeSet::of(0, field.none())),
        _ => set,
    }
}

fn policy(seed: u64, rules: usize, style: Style) -> Policy {
    let mut random = Random(seed);
    let rules = (0..rules)
        .map(|index| {
            let mut matches = Match::any();
            let v4 = |v: u128| v as u32;
            let v6 = |v: u128| v;
            matches.src = AddrSet {
                v4: set(&mut random, style, 32, v4),
                v6: set(&mut random, style, 128, v6),
            };
            matches.dst = AddrSet {
                v4: set(&mut random, style, 32, v4),
                v6: set(&mut random, style, 128, v6),
            };
            for field in style.fields(seed) {
                if random.one_in(style.fields) {
                    matches.fields[field as usize] = field_set(&mut random, style, field);
                }
            }
            let next = style.next != 0 && random.one_in(style.next);
            Rule {
                name: format!("r{index}"),
                place: Place::default(),
                enabled: !random.one_in(15),
                comment: None,
                summary: String::new(),
                matches,
                action: if next {
                    Action::NEXT
                } else {
                    random.pick(&[Action::PASS, Action::DROP])
                },
            }
        })
        .collect();
    Policy {
        interfaces: Vec::new(),
        zones: Vec::new(),
        default_verdict: Verdict::DROP,
        essential: 0,
        packet: PacketConfig::default(),
        rules,
    }
}

/// A header inside `rule` wherever that is possible.
fn inside(random: &mut Random, rule: &Match, family: Family) -> PacketKey {
    let mut key = PacketKey::empty(family);
    let src = pair(random, &rule.src, family);
    let dst = pair(random, &rule.dst, family);
    (key.src_hi, key.src_lo) = halves(src);
    (key.dst_hi, key.dst_lo) = halves(dst);
    for field in Field::ALL {
        key.fields[field as usize] =
            point(random, rule.field(field).ranges(), field.none().into()) as u32;
    }
    key
}

fn pair(random: &mut Random, set: &AddrSet, family: Family) -> u128 {
    match family {
        Family::V4 => point(random, set.v4.ranges(), u32::MAX.into()),
        Family::V6 => point(random, set.v6.ranges(), u128::MAX),
    }
}

fn halves(address: u128) -> (u64, u64) {
    ((address >> 64) as u64, address as u64)
}

/// A corner or a random point of one of the ranges, or anything if there are none.
fn point<T: Copy + Into<u128>>(random: &mut Random, ranges: &[(T, T)], max: u128) -> u128 {
    let any = (u128::from(random.next()) << 64) | u128::from(random.next());
    if ranges.is_empty() {
        return if max == u128::MAX {
            any
        } else {
            any % (max + 1)
        };
    }
    let (first, last) = random.pick(ranges);
    let (first, last): (u128, u128) = (first.into(), last.into());
    match random.below(4) {
        0 => first,
        1 => last,
        _ if last - first == u128::MAX => any,
        _ => first + any % (last - first + 1),
    }
}

/// The values at and beside both ends of every range, and the ends of the domain.
fn boundaries<T: Copy + Into<u128>>(ranges: &[(T, T)], max: u128) -> Vec<u128> {
    let mut values = vec![0, max];
    for &(first, last) in ranges {
        for end in [first.into(), last.into()] {
            values.extend([end.saturating_sub(1), end, end.saturating_add(1).min(max)]);
        }
    }
    values.sort_unstable();
    values.dedup();
    values
}

fn check(policy: &Policy, slots: &[u32], tables: &Tables, key: &PacketKey) {
    let found = host::lookup(tables, key);
    let expected = oracle::evaluate(policy, key);
    assert_eq!(
        found.hit.map(|hit| (hit.slot, hit.action)),
        expected.decided.map(|i| (slots[i], policy.rules[i].action)),
        "deciding rule of {key:?}"
    );
    let counted: Vec<u32> = expected.counted.iter().map(|&i| slots[i]).collect();
    assert_eq!(found.counted, counted, "next rules of {key:?}");
}

/// Whether there are more small fields to combine than four lanes can take one by one.
fn many_fields(policy: &Policy) -> bool {
    let named = |field| policy.rules.iter().any(|rule| !rule.matches.is_any(field));
    Field::ALL.into_iter().filter(|&field| named(field)).count() > 4
}

/// Compares on `headers` random headers, and on all boundaries of `rules` rules.
fn agrees(policy: &Policy, seed: u64, headers: usize, rules: usize) {
    let slots: Vec<u32> = (0..policy.rules.len() as u32).map(|i| i * 5 + 2).collect();
    let tables = match compile(policy, &slots) {
        Ok(tables) => tables,
        // The one limit that a policy of this size can meet.
        Err(limit) if many_fields(policy) && limit.what.contains("match fields") => return,
        Err(limit) => panic!("{limit}"),
    };
    assert_eq!(tables.config.tables_size as usize, tables.bytes.len());
    let mut random = Random(seed ^ 0x5eed);
    let random_rule = |random: &mut Random| random.below(policy.rules.len() as u64) as usize;
    let family = |random: &mut Random| random.pick(&[Family::V4, Family::V6]);
    for _ in 0..headers {
        let family = family(&mut random);
        // From one rule, with the source of another as often as not.
        let rule = random_rule(&mut random);
        let mut key = inside(&mut random, &policy.rules[rule].matches, family);
        if random.one_in(2) {
            let other = random_rule(&mut random);
            let src = pair(&mut random, &policy.rules[other].matches.src, family);
            (key.src_hi, key.src_lo) = halves(src);
        }
        check(policy, &slots, &tables, &key);
    }
    for i in 0..rules {
        let all = rules == policy.rules.len();
        let rule = if all { i } else { random_rule(&mut random) };
        let rule = &policy.rules[rule].matches;
        let family = family(&mut random);
        let key = inside(&mut random, rule, family);
        let max = if family == Family::V6 {
            u128::MAX
        } else {
            u32::MAX.into()
        };
        let ends = |set: &AddrSet| match family {
            Family::V4 => boundaries(set.v4.ranges(), max),
            Family::V6 => boundaries(set.v6.ranges(), max),
        };
        for value in ends(&rule.src) {
            let (src_hi, src_lo) = halves(value);
            check(
                policy,
                &slots,
                &tables,
                &PacketKey {
                    src_hi,
                    src_lo,
                    ..key
                },
            );
        }
        for value in ends(&rule.dst) {
            let (dst_hi, dst_lo) = halves(value);
            check(
                policy,
                &slots,
                &tables,
                &PacketKey {
                    dst_hi,
                    dst_lo,
                    ..key
                },
            );
        }
        for field in Field::ALL {
            for value in boundaries(rule.field(field).ranges(), field.none().into()) {
                let mut key = key;
                key.fields[field as usize] = value as u32;
                check(policy, &slots, &tables, &key);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn up_to_64_rules(seed: u64, rules in 1usize..=64, style in style(Field::COUNT)) {
        agrees(&policy(seed, rules, style), seed, 500, rules);
    }

    #[test]
    fn up_to_300_rules(seed: u64, rules in 65usize..=300, style in style(Field::COUNT)) {
        agrees(&policy(seed, rules, style), seed, 500, rules);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn three_levels(seed: u64, rules in 4_090usize..=6_000, style in style(Field::COUNT)) {
        agrees(&policy(seed, rules, style), seed, 300, 20);
    }
}
