//! Live sets of two policies: one numbering for both, by name, and what differs in what the policies
//! say of them. What is in them while they are in force is in neither policy.

use crate::prefixes::prefixes;
use crate::range::RangeSet;
use crate::rule::{LiveSet, Policy};
use firewall_common::field::Field;
use firewall_common::live::SETS;
use std::borrow::Cow;

/// Both policies with the same live sets in the same order, or `None` if those are too many.
pub(super) fn aligned<'a>(
    old: &'a Policy,
    new: &'a Policy,
) -> Option<(Cow<'a, Policy>, Cow<'a, Policy>)> {
    let names = |policy: &Policy| -> Vec<String> {
        policy.live.iter().map(|set| set.name.clone()).collect()
    };
    let mut all = names(old);
    for name in names(new) {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    (all.len() <= SETS).then(|| (numbered(old, new, &all), numbered(new, old, &all)))
}

/// The policy with its live sets in the order of `names`; those that only the other one has are
/// empty.
fn numbered<'a>(policy: &'a Policy, other: &Policy, names: &[String]) -> Cow<'a, Policy> {
    let same = policy.live.iter().map(|set| &set.name).eq(names);
    if same {
        return Cow::Borrowed(policy);
    }
    let mut new = policy.clone();
    new.live = names
        .iter()
        .filter_map(|name| {
            let find = |policy: &Policy| policy.live_set(name).map(|at| policy.live[at].clone());
            find(policy).or_else(|| find(other))
        })
        .collect();
    // Where each bit of the common numbers stands among the policy's own.
    let places: Vec<Option<usize>> = names.iter().map(|name| policy.live_set(name)).collect();
    let own = |mask: u32| {
        let bit = |at: usize| mask >> at & 1;
        let bits = places.iter().enumerate();
        bits.filter_map(|(at, place)| place.map(|place| bit(at) << place))
            .fold(0, |sum, bit| sum | bit)
    };
    for rule in &mut new.rules {
        for field in [Field::SourceSets, Field::DestinationSets] {
            if rule.matches.is_any(field) {
                continue;
            }
            let accepted = rule.matches.field(field);
            let masks = (0..1 << SETS).filter(|&mask| accepted.contains(own(mask)));
            rule.matches.fields[field as usize] =
                RangeSet::from_ranges(masks.map(|mask| (mask, mask)).collect());
        }
    }
    Cow::Owned(new)
}

/// What the policies say differently of their live sets, a line for each.
pub(super) fn settings(old: &Policy, new: &Policy) -> Vec<String> {
    let words = |set: Option<&LiveSet>| match set {
        None => "(none)".to_owned(),
        Some(set) => {
            let timeout = set
                .timeout
                .map_or(String::new(), |seconds| format!(", timeout {seconds}s"));
            format!(
                "max {}{timeout}, {} prefixes in the policy",
                set.max,
                prefixes(&set.content).count()
            )
        }
    };
    let gone = old.live.iter();
    let fresh = new
        .live
        .iter()
        .filter(|set| old.live_set(&set.name).is_none());
    gone.chain(fresh)
        .filter_map(|set| {
            let find = |policy: &'_ Policy| policy.live_set(&set.name);
            let (a, b) = (
                find(old).map(|at| &old.live[at]),
                find(new).map(|at| &new.live[at]),
            );
            if a == b {
                return None;
            }
            let (was, is) = (words(a), words(b));
            let is = if was == is {
                format!("{is}, other ones")
            } else {
                is
            };
            Some(format!("live set `{}`: {was} -> {is}", set.name))
        })
        .collect()
}

/// A box's live sets in words: those that the address is in, and those that it is not in.
pub(super) fn words(accepted: &RangeSet<u32>, names: &[String]) -> String {
    let count = names.len().min(SETS);
    let masks: Vec<u32> = (0..1 << count)
        .filter(|&mask| accepted.contains(mask))
        .collect();
    let always = masks.iter().fold(u32::MAX, |all, mask| all & mask);
    let never = !masks.iter().fold(0, |any, mask| any | mask);
    let bits = |mask: u32| (0..count).filter(move |bit| mask >> bit & 1 != 0);
    let mut parts: Vec<String> = bits(always).map(|bit| format!("@{}", names[bit])).collect();
    parts.extend(bits(never).map(|bit| format!("!@{}", names[bit])));
    let free = count - parts.len();
    if masks.len() < 1 << free {
        let open: Vec<&str> = bits(!(always | never))
            .map(|bit| names[bit].as_str())
            .collect();
        parts.push(format!("some of {}", open.join(", ")));
    }
    parts.join(",")
}
