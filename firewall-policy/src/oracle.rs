//! The reference evaluator: slow, obvious, and with code of its own. Says what a policy means.
//!
//! May not import `compile`, `host` or `firewall_common::classify`.

use crate::limit::{Lengths, Limit, Per};
use crate::rule::{FrameKey, Policy, Rule};
use firewall_common::field::Field;
use firewall_common::key::{Family, PacketKey};
use firewall_common::verdict::Action;
use std::collections::HashMap;

/// What a policy says about a packet. Rules are indices into [`Policy::rules`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OracleResult {
    /// The matching `next` rules before the deciding one (all of them if none decides), in order.
    pub counted: Vec<usize>,
    /// The first matching rule that passes or drops.
    pub decided: Option<usize>,
}

/// Goes through the rules one by one.
#[must_use]
pub fn evaluate(policy: &Policy, key: &PacketKey) -> OracleResult {
    first_match(policy, |rule| matches(rule, key))
}

/// As [`evaluate`], for a frame that is not IP.
#[must_use]
pub fn evaluate_frame(policy: &Policy, frame: &FrameKey) -> OracleResult {
    first_match(policy, |rule| matches_frame(rule, frame))
}

fn first_match(policy: &Policy, matches: impl Fn(&Rule) -> bool) -> OracleResult {
    let mut result = OracleResult::default();
    for (index, rule) in policy.rules.iter().enumerate() {
        if !matches(rule) {
            continue;
        }
        if rule.action != Action::NEXT {
            result.decided = Some(index);
            break;
        }
        result.counted.push(index);
    }
    result
}

/// Whether a rule is enabled, about frames that are not IP, and accepts this one.
#[must_use]
pub fn matches_frame(rule: &Rule, frame: &FrameKey) -> bool {
    let matches = &rule.matches;
    let Some(ethertypes) = &matches.ethertypes else {
        return false;
    };
    rule.enabled
        && ethertypes.contains(frame.ethertype)
        && matches.field(Field::Vlan).contains(frame.vlan)
        && matches.field(Field::Zone).contains(frame.zone)
        && matches.field(Field::Mac).contains(frame.mac)
}

/// What rate limits have left. [`evaluate`] sees every packet as within them; [`evaluate_at`] counts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Allowances {
    /// By rule, and by what its limit keeps apart: a prefix and its family, or the interface.
    left: HashMap<(usize, (u128, bool)), Allowance>,
}

/// A token bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Allowance {
    /// Tokens times [`Limit::window`], so that they come in whole numbers: a packet, or a byte of one,
    /// costs as many as the window has nanoseconds, and each nanosecond brings [`Limit::packets`].
    credit: u128,
    /// When that was.
    time: u64,
}

impl Allowances {
    /// Takes one packet from what the rule has left for packets like this one, if there is one.
    fn take(&mut self, number: usize, limit: &Limit, key: &PacketKey, now: u64) -> bool {
        const SYN: u32 = 2;
        const ACK: u32 = 16;
        if limit.new_only && key.field(Field::Proto) == 6 {
            let flags = key.field(Field::TcpFlags);
            if flags & SYN == 0 || flags & ACK != 0 {
                return true;
            }
        }
        let one = u128::from(limit.window);
        let full = u128::from(limit.burst) * one;
        let cost = match limit.bytes {
            true => one * u128::from(key.field(Field::Length)),
            false => one,
        };
        let left = self
            .left
            .entry((number, apart(limit.per, key)))
            .or_insert(Allowance {
                credit: full,
                time: now,
            });
        let come = u128::from(now - left.time) * u128::from(limit.packets);
        left.credit = full.min(left.credit + come);
        left.time = now;
        let within = left.credit >= cost;
        if within {
            left.credit -= cost;
        }
        within
    }
}

/// What a limit keeps apart, of one packet.
fn apart(per: Per, key: &PacketKey) -> (u128, bool) {
    let prefix = |address: u128, lengths: Lengths| match key.family() {
        Family::V4 => (address >> (32 - lengths.v4), false),
        Family::V6 => (address >> (128 - lengths.v6), true),
    };
    match per {
        Per::Rule => (0, false),
        Per::Interface => (key.interface.into(), false),
        Per::Source(lengths) => prefix(key.src(), lengths),
        Per::Destination(lengths) => prefix(key.dst(), lengths),
    }
}

/// What a policy says about a packet that came at `now` (nanoseconds), after those that left their
/// traces in `allowances`; and whether the deciding rule drops it because it is over its limit.
/// Rules that match and are over a limit with `over: next` are not in the result. `now` counts from
/// the Unix epoch where rules expire. No rule of the
/// policy looks at state.
#[must_use]
pub fn evaluate_at(
    policy: &Policy,
    key: &PacketKey,
    now: u64,
    allowances: &mut Allowances,
) -> (OracleResult, bool) {
    let mut result = OracleResult::default();
    for (index, rule) in policy.rules.iter().enumerate() {
        // A rule that has expired is as if it were not there.
        let over = |at: u64| u128::from(now) >= u128::from(at) * 1_000_000_000;
        if !matches(rule, key) || rule.expires.is_some_and(|expiry| over(expiry.at)) {
            continue;
        }
        if let Some(limit) = &rule.limit
            && !allowances.take(index, limit, key, now)
        {
            if limit.over_goes_on() {
                continue;
            }
            result.decided = Some(index);
            return (result, true);
        }
        if rule.action != Action::NEXT {
            result.decided = Some(index);
            break;
        }
        result.counted.push(index);
    }
    (result, false)
}

/// Whether a rule is enabled and accepts the packet in every field.
#[must_use]
pub fn matches(rule: &Rule, key: &PacketKey) -> bool {
    rule.enabled
        && rule.matches.addresses_match(key)
        && rule.matches.content_matches(key)
        && Field::ALL
            .iter()
            .all(|&field| rule.matches.field(field).contains(key.field(field)))
}

/// [`evaluate`] for many packets at once, for sets of rules so large that going through all of them
/// for every packet takes too long. Still goes through the rules one by one, but asks a rule only
/// about the packets whose source (or destination, if that leaves fewer) is in the rule's set:
/// those stand side by side in a list sorted by address.
#[must_use]
pub fn evaluate_all(policy: &Policy, keys: &[PacketKey]) -> Vec<OracleResult> {
    let mut results = vec![OracleResult::default(); keys.len()];
    for family in [Family::V4, Family::V6] {
        let sorted = |address: fn(&PacketKey) -> u128| {
            let numbered = keys.iter().enumerate();
            let mut list: Vec<(u128, usize)> = numbered
                .filter(|(_, key)| key.family() == family)
                .map(|(number, key)| (address(key), number))
                .collect();
            list.sort_unstable();
            list
        };
        let (mut by_src, mut by_dst) = (sorted(PacketKey::src), sorted(PacketKey::dst));
        let mut undecided = by_src.len();
        for (index, rule) in policy.rules.iter().enumerate() {
            let [from_src, from_dst] = [(&rule.matches.src, &by_src), (&rule.matches.dst, &by_dst)]
                .map(|(set, list)| match family {
                    Family::V4 => in_set(set.v4.ranges(), list),
                    Family::V6 => in_set(set.v6.ranges(), list),
                });
            let count = |parts: &[&[(u128, usize)]]| parts.iter().map(|part| part.len()).sum();
            let (src, dst): (usize, usize) = (count(&from_src), count(&from_dst));
            let fewer = if src < dst { from_src } else { from_dst };
            for &(_, number) in fewer.into_iter().flatten() {
                let result = &mut results[number];
                if result.decided.is_some() || !matches(rule, &keys[number]) {
                    continue;
                }
                if rule.action == Action::NEXT {
                    result.counted.push(index);
                } else {
                    result.decided = Some(index);
                    undecided -= 1;
                }
            }
            if undecided < by_src.len() / 2 {
                let open = |&(_, number): &(u128, usize)| results[number].decided.is_none();
                by_src.retain(open);
                by_dst.retain(open);
            }
        }
    }
    results
}

/// The parts of a sorted list whose addresses are in one of the ranges.
fn in_set<'a, T: Copy + Into<u128>>(
    ranges: &[(T, T)],
    list: &'a [(u128, usize)],
) -> Vec<&'a [(u128, usize)]> {
    ranges
        .iter()
        .map(|&(first, last)| {
            let start = list.partition_point(|&(address, _)| address < first.into());
            let end = list.partition_point(|&(address, _)| address <= last.into());
            &list[start..end]
        })
        .collect()
}
