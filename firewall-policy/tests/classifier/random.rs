//! Random policies, and headers for them: inside rules, and at and beside the ends of every range.
//! Everything follows from a seed. Rule `i` does not depend on how many follow, so that a failing
//! case shrinks to its shortest failing policy. Shared with the kernel tests.

use firewall_common::abi::{PacketConfig, fragments};
use firewall_common::field::Field;
use firewall_common::key::{Family, PacketKey};
use firewall_common::verdict::{Action, Verdict};
use firewall_policy::range::{Number, RangeSet};
use firewall_policy::rule::{AddrSet, Match, Place, Policy, Rule};

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// What a policy is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// One address set in so many is everything.
    pub(crate) wildcards: u64,
    /// One small field in so many is named by a rule.
    pub(crate) fields: u64,
    /// One rule in so many is `next`; 0: none; 1: all, and no packet is decided.
    pub(crate) next: u64,
    /// How many different address neighbourhoods there are: few make ranges nest and touch.
    pub(crate) places: u64,
    /// How many small fields rules name at all. Many rules that name many fields need more lanes
    /// than there are.
    pub(crate) kinds: usize,
    /// Whether port sets are drawn from all ports, which keeps the ports in lanes of their own.
    pub(crate) many_ports: bool,
    /// Whether every rule is enabled and can match packets of both families, so that the tables
    /// have as many rules as the policy.
    pub(crate) exact: bool,
}

impl Style {
    /// A style at random for a policy of `rules` rules.
    pub(crate) fn random(random: &mut Random, rules: usize) -> Self {
        // Of large policies with many fields, most would be refused.
        let kinds = match rules {
            0..65 => Field::COUNT,
            65..1_000 => Field::COUNT - 5,
            _ if random.one_in(8) => Field::COUNT,
            _ => 4,
        };
        Self {
            wildcards: 1 + random.below(5),
            fields: 1 + random.below(11),
            next: random.below(4),
            places: 1 + random.below(2_000),
            kinds: 1 + random.below(kinds as u64) as usize,
            many_ports: random.one_in(2),
            exact: random.one_in(2),
        }
    }

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
    if random.one_in(20) && !style.exact {
        return RangeSet::empty();
    }
    let max = u128::MAX >> (128 - bits);
    let mut ranges = ranges(random, style, bits);
    if random.one_in(40) {
        // Everything, from two halves that touch.
        let at = address(random, style, bits);
        ranges = vec![(at, max), (0, at.saturating_sub(1))];
    }
    let numbers = ranges.into_iter().map(|(a, b)| (number(a), number(b)));
    let set = RangeSet::from_ranges(numbers.collect());
    if random.one_in(6) && !set.is_full() {
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
        0 if !style.exact => RangeSet::empty(),
        1 => RangeSet::of(0, field.none() - 1),
        2 => RangeSet::of(field.none(), field.none()),
        3..8 => set
            .complement()
            .intersection(&RangeSet::of(0, field.none())),
        // All but "not there", from two halves that touch.
        8 => RangeSet::from_ranges(vec![
            (0, domain as u32),
            (domain as u32 + 1, field.none() - 1),
        ]),
        _ => set,
    }
}

/// The policy with this seed.
pub(crate) fn policy(seed: u64, rules: usize, style: Style) -> Policy {
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
                enabled: !random.one_in(15) || style.exact,
                comment: None,
                owner: None,
                reason: None,
                audit: None,
                expires: None,
                summary: String::new(),
                matches,
                action: if next {
                    Action::NEXT
                } else {
                    random.pick(&[Action::PASS, Action::DROP])
                },
                limit: None,
                log: None,
                syn_protect: false,
            }
        })
        .collect();
    Policy {
        interfaces: Vec::new(),
        zones: Vec::new(),
        audit: false,
        default_log: None,
        default_verdict: random.pick(&[Verdict::PASS, Verdict::DROP]),
        essential: random.below(32) as u32,
        packet: PacketConfig {
            malformed: random.below(3) as u32,
            fragments: fragments::PASS,
            drop_ip_options: random.below(2) as u32,
            vlan_depth: 2,
            ipv6_ext_max: 4,
            ..PacketConfig::default()
        },
        flows: None,
        rules,
        live: Vec::new(),
        sets: Vec::new(),
        exempt: AddrSet::none(),
        macs: Vec::new(),
        contents: Vec::new(),
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

pub(crate) fn halves(address: u128) -> (u64, u64) {
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
pub(crate) fn boundaries<T: Copy + Into<u128>>(ranges: &[(T, T)], max: u128) -> Vec<u128> {
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

/// Headers for a policy: `random` of them inside rules, and those at and beside the ends of every
/// range in every field of `rules` rules (all of them if there are no more).
pub(crate) fn headers(policy: &Policy, seed: u64, count: usize, rules: usize) -> Vec<PacketKey> {
    let mut random = Random(seed ^ 0x5eed);
    let mut keys = Vec::new();
    let any_rule = |random: &mut Random| random.below(policy.rules.len() as u64) as usize;
    let family = |random: &mut Random| random.pick(&[Family::V4, Family::V6]);
    for _ in 0..count {
        let family = family(&mut random);
        // From one rule, with the source of another as often as not.
        let rule = any_rule(&mut random);
        let mut key = inside(&mut random, &policy.rules[rule].matches, family);
        if random.one_in(2) {
            let other = any_rule(&mut random);
            let src = pair(&mut random, &policy.rules[other].matches.src, family);
            (key.src_hi, key.src_lo) = halves(src);
        }
        keys.push(key);
    }
    for i in 0..rules.min(policy.rules.len()) {
        let all = rules >= policy.rules.len();
        let rule = if all { i } else { any_rule(&mut random) };
        let family = family(&mut random);
        beside(&mut random, &policy.rules[rule].matches, family, &mut keys);
    }
    keys
}

/// A header inside the rule in every field but one, which stands at or beside an end of a range.
fn beside(random: &mut Random, rule: &Match, family: Family, keys: &mut Vec<PacketKey>) {
    let key = inside(random, rule, family);
    let ends = |set: &AddrSet| match family {
        Family::V4 => boundaries(set.v4.ranges(), u32::MAX.into()),
        Family::V6 => boundaries(set.v6.ranges(), u128::MAX),
    };
    for value in ends(&rule.src) {
        let (src_hi, src_lo) = halves(value);
        keys.push(PacketKey {
            src_hi,
            src_lo,
            ..key
        });
    }
    for value in ends(&rule.dst) {
        let (dst_hi, dst_lo) = halves(value);
        keys.push(PacketKey {
            dst_hi,
            dst_lo,
            ..key
        });
    }
    for field in Field::ALL {
        for value in boundaries(rule.field(field).ranges(), field.none().into()) {
            let mut key = key;
            key.fields[field as usize] = value as u32;
            keys.push(key);
        }
    }
}
