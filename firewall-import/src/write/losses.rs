//! What was left out, as the list at the end of a policy: by effect and reason, and the entries that no
//! reader makes.
//!
//! May not import a reader. Invariant: every entry is counted, also where it is not written out.

use super::super::essential;
use super::super::flatten::{Flat, Step};
use super::super::imported::{Effect, LeftOut};
use super::super::join::Joined;
use super::super::packets::{Dim, Family, Packets, Values, state};
use super::super::rates::Per;
use super::super::ruleset::Origin;
use super::super::values::stations;
use super::protocols::by_protocol;
use super::{Given, comment};
use firewall_common::verdict::Action;
use firewall_policy::range::RangeSet;
use std::collections::{BTreeMap, BTreeSet};

/// Entries of one reason that are written out.
const SHOWN: usize = 3;

/// Places that a line names.
const PLACES: usize = 8;

/// The list as comments, the worst first.
pub(super) fn list(left_out: &[LeftOut]) -> String {
    let mut groups: Vec<(Effect, &str, Vec<&LeftOut>)> = Vec::new();
    for entry in left_out {
        let same = |group: &&mut (Effect, &str, Vec<&LeftOut>)| {
            (group.0, group.1) == (entry.effect, entry.reason.as_str())
        };
        match groups.iter_mut().find(same) {
            Some((.., entries)) => entries.push(entry),
            None => groups.push((entry.effect, &entry.reason, vec![entry])),
        }
    }
    groups.sort_by_key(|(effect, ..)| *effect);
    let mut out = String::new();
    for (effect, reason, entries) in groups {
        out.push_str(&comment(&format!("- {reason} ({}):", effect.words())));
        if entries.len() <= SHOWN {
            for entry in entries {
                out.push_str(&comment(&format!("    {}: {}", entry.place, entry.text)));
            }
            continue;
        }
        for (chain, entries) in by_chain(&entries) {
            out.push_str(&comment(&format!("    {}", line(&chain, &entries))));
        }
    }
    out
}

/// Entries of one chain together.
fn by_chain<'l>(entries: &[&'l LeftOut]) -> Vec<(String, Vec<&'l LeftOut>)> {
    let mut chains: Vec<(String, Vec<&LeftOut>)> = Vec::new();
    for &entry in entries {
        let chain = match entry.place.split_once(", handle ") {
            Some((chain, _)) => chain.to_owned(),
            None => {
                let mut words = entry.text.split_whitespace();
                let appended = words.next() == Some("-A");
                words
                    .next()
                    .filter(|_| appended)
                    .unwrap_or_default()
                    .to_owned()
            }
        };
        match chains.iter_mut().find(|(known, _)| *known == chain) {
            Some((_, entries)) => entries.push(entry),
            None => chains.push((chain, vec![entry])),
        }
    }
    chains
}

/// `INPUT, 12 rules (line 9, line 12, ...): -A INPUT ...`.
fn line(chain: &str, entries: &[&LeftOut]) -> String {
    let places = entries.iter().take(PLACES);
    let places: Vec<&str> = places
        .map(|entry| match entry.place.split_once(", ") {
            Some((_, handle)) => handle,
            None => entry.place.as_str(),
        })
        .collect();
    let more = if entries.len() > PLACES { ", ..." } else { "" };
    let (noun, comma) = match (entries.len(), chain) {
        (1, _) => return format!("{}: {}", entries[0].place, entries[0].text),
        (_, "") => ("rules", ""),
        _ => ("rules", ", "),
    };
    format!(
        "{chain}{comma}{} {noun} ({}{more}): {}",
        entries.len(),
        places.join(", "),
        entries[0].text
    )
}

/// Families whose rules were not given: what becomes of their packets.
pub(super) fn missing(given: &Given<'_>, default_passes: bool, left_out: &mut Vec<LeftOut>) {
    for family in Family::BOTH {
        if given.families.contains(&family) {
            continue;
        }
        let (what, effect) = if default_passes {
            ("all of it passes", Effect::PassesMore)
        } else {
            (
                "all of it but essential traffic is dropped",
                Effect::PassesLess,
            )
        };
        left_out.push(LeftOut {
            place: family.name().into(),
            line: 0,
            text: format!("no rules of {} were given", family.name()),
            reason: format!("nothing is known of it: {what}; give {}", given.missing),
            effect,
            in_part: false,
        });
    }
}

/// Without steps for all stations but some: a policy lists those that a rule is for.
pub(super) fn listed(
    steps: Vec<Step>,
    origins: &[Origin],
    left_out: &mut Vec<LeftOut>,
) -> Vec<Step> {
    let fits = |step: &Step| {
        step.packets.is_any(Dim::Mac) || stations(step.packets.get(Dim::Mac)).is_some()
    };
    let (steps, others): (Vec<Step>, Vec<Step>) = steps.into_iter().partition(fits);
    let mut noted = BTreeSet::new();
    for step in others {
        for origin in step.origins {
            if !noted.insert(origin) {
                continue;
            }
            let at = &origins[origin];
            left_out.push(LeftOut {
                place: at.place.clone(),
                line: at.line,
                text: at.text.clone(),
                reason:
                    "`mac` names the stations that a rule is for, not all others: write a rule for \
                         those that pass, and behind it one without `mac`"
                        .into(),
                effect: match step.action {
                    Action::PASS => Effect::PassesLess,
                    Action::NEXT => Effect::None,
                    _ => Effect::PassesMore,
                },
                in_part: false,
            });
        }
    }
    steps
}

/// Without steps for the other family's ICMP alone, which a policy refuses as never matching. What
/// comes from a rule that has no other step is in the list of what was left out.
pub(super) fn possible(
    steps: Vec<Step>,
    origins: &[Origin],
    left_out: &mut Vec<LeftOut>,
) -> Vec<Step> {
    let foreign = |step: &Step| {
        let icmp = match step.packets.family {
            Family::V4 => 58,
            Family::V6 => 1,
        };
        step.packets.get(Dim::Proto).ranges() == [(icmp, icmp)]
    };
    let (impossible, steps): (Vec<Step>, Vec<Step>) = steps.into_iter().partition(foreign);
    let kept: BTreeSet<usize> = steps
        .iter()
        .flat_map(|step| &step.origins)
        .copied()
        .collect();
    let mut noted = BTreeSet::new();
    for step in impossible {
        for origin in step.origins {
            if kept.contains(&origin) || !noted.insert(origin) {
                continue;
            }
            let at = &origins[origin];
            left_out.push(LeftOut {
                place: at.place.clone(),
                line: at.line,
                text: at.text.clone(),
                reason: match step.packets.family {
                    Family::V4 => "ICMPv6 does not run over IPv4",
                    Family::V6 => "ICMP for IPv4 does not run over IPv6",
                }
                .into(),
                effect: if step.action == Action::PASS {
                    Effect::PassesLess
                } else {
                    Effect::PassesMore
                },
                in_part: false,
            });
        }
    }
    steps
}

/// Rules whose one rate becomes that of several rules, each of which counts for itself.
pub(super) fn shared_rates(steps: &[Joined], origins: &[Origin], left_out: &mut Vec<LeftOut>) {
    let mut rules: BTreeMap<usize, (usize, bool)> = BTreeMap::new();
    for Joined { step, .. } in steps {
        let (Some((rate, _)), Some(&origin)) = (&step.limit, step.origins.first()) else {
            continue;
        };
        let (count, is_shared) = rules.entry(origin).or_default();
        let parts = by_protocol(&step.packets).len();
        *count += parts;
        *is_shared |= rate.per == Per::Rule || parts > 1;
    }
    let several = |(_, (count, is_shared)): &(usize, (usize, bool))| *count > 1 && *is_shared;
    for (origin, _) in rules.into_iter().filter(several) {
        let at = &origins[origin];
        left_out.push(LeftOut {
            place: at.place.clone(),
            line: at.line,
            text: at.text.clone(),
            reason: "its one rate is that of several rules here, which count each for itself"
                .into(),
            effect: Effect::PassesMore,
            in_part: true,
        });
    }
}

/// The rules that a list of unseen rules stands for, with one reason each.
pub(crate) fn unseen(
    flat: &mut Flat,
    origins: &[Origin],
    reason: impl Fn(usize) -> Option<(String, Effect)>,
) {
    for origin in std::mem::take(&mut flat.unseen) {
        if let Some((reason, effect)) = reason(origin) {
            let at = &origins[origin];
            flat.left_out.push(LeftOut {
                place: at.place.clone(),
                line: at.line,
                text: at.text.clone(),
                reason,
                effect,
                in_part: false,
            });
        }
    }
}

/// Answers of protocols that have no connections here, which steps pass as established alone.
pub(super) fn answers_without_tracking(steps: &[Step]) -> Vec<Packets> {
    let states = |step: &Step, value| step.packets.get(Dim::State).contains(value);
    let passing = steps.iter().filter(|step| {
        step.action == Action::PASS && states(step, state::ESTABLISHED) && !states(step, state::NEW)
    });
    let mut found: Vec<Packets> = Vec::new();
    for step in passing {
        let protos = step.packets.get(Dim::Proto).intersection(&others());
        if !protos.is_empty() {
            let part = step.packets.with(Dim::Proto, protos);
            found.push(part.with(Dim::State, RangeSet::of(state::NEW, state::NEW)));
        }
    }
    found
}

/// Protocols whose packets are always new here. Groups are asked by IGMP, and nobody answers it.
fn others() -> Values {
    let tracked = [1, 2, 6, 17, 58].map(|proto| (proto, proto));
    let tracked = RangeSet::from_ranges(tracked.to_vec());
    RangeSet::of(0, 255).intersection(&tracked.complement())
}

/// Says that such answers are lost, unless the policy passes them as what they are for it: new.
pub(super) fn untracked(steps: &[Step], answers: Vec<Packets>, left_out: &mut Vec<LeftOut>) {
    if answers.is_empty() || essential::pass(steps, answers) {
        return;
    }
    left_out.push(LeftOut {
        place: "connection state".into(),
        line: 0,
        text: "established, of ESP, GRE, SCTP and other protocols".into(),
        reason:
            "connections are tracked for TCP, UDP and ICMP alone, so answers of other protocols \
                 are dropped; pass them by their sender: {name: esp, proto: esp, from: ADDRESS, \
                 action: pass}"
                .into(),
        effect: Effect::PassesLess,
        in_part: false,
    });
}
