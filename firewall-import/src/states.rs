//! Connection state: from the five words of Netfilter to the three of the policy language.
//!
//! ```text
//! established, related ─► established        (ICMP errors about a connection belong to it)
//! new, untracked       ─► new                (and invalid, where nothing was done about it before:
//!                                             Netfilter takes up connections in the middle as new)
//! invalid              ─► invalid
//! ```
//!
//! May not import a reader or the writer. Invariant: a step that the words cannot say, or say for
//! other packets too, is in the list of what was left out.

use super::flatten::Step;
use super::imported::{Effect, LeftOut};
use super::options::Language;
use super::packets::{Dim, Family, Packets, Values, less_all, state};
use super::ruleset::Origin;
use firewall_common::verdict::Action;
use firewall_policy::range::RangeSet;

/// The words of the policy language, and what they stand for here.
pub(super) fn words() -> [(&'static str, Values); 3] {
    [
        ("established", established()),
        ("invalid", invalid()),
        (
            "new",
            RangeSet::from_ranges(vec![
                (state::NEW, state::NEW),
                (state::UNTRACKED, state::UNTRACKED),
            ]),
        ),
    ]
}

/// `state: established`.
pub(super) fn established() -> Values {
    RangeSet::of(state::ESTABLISHED, state::RELATED)
}

fn invalid() -> Values {
    RangeSet::of(state::INVALID, state::INVALID)
}

/// Earlier steps that are searched for one that decides about a packet's other states.
const SEARCHED: usize = 200;

/// Brings every step to words of the language.
pub(super) fn map(
    steps: Vec<Step>,
    origins: &[Origin],
    language: Language,
    left_out: &mut Vec<LeftOut>,
) -> Vec<Step> {
    let mut mapped: Vec<Step> = Vec::with_capacity(steps.len());
    let mut general: Vec<LeftOut> = Vec::new();
    for mut step in steps {
        if step.packets.is_any(Dim::State) {
            mapped.push(step);
            continue;
        }
        let of = step.packets.get(Dim::State).clone();
        let Some(becomes) = becomes(&step, &mapped, language, &mut |reason, effect| {
            note(left_out, &step, origins, reason, effect);
        }) else {
            continue;
        };
        let (_, more) = effects(step.action);
        let taken = |value| becomes.contains(value);
        let without = taken(state::INVALID) && !of.contains(state::INVALID);
        let apart = taken(state::INVALID) != taken(state::NEW);
        step.packets = widened(step.packets.with(Dim::State, becomes), &mapped);
        if language.state && without {
            general.push(beside(
                "new without invalid",
                "packets that belong to no connection and open none count as new; the kernel \
                 drops them where nobody listens",
                more,
            ));
        } else if language.state && apart && !step.packets.is_any(Dim::State) {
            general.push(beside(
                "invalid",
                "acknowledgements that belong to no connection count as invalid, for Netfilter as \
                 new; broken packets and ICMP of unknown types the other way round",
                Effect::Differs,
            ));
        }
        mapped.push(step);
    }
    general.dedup();
    for entry in general {
        if !left_out.contains(&entry) {
            left_out.push(entry);
        }
    }
    mapped
}

/// Steps that follow each other in a family and differ in their states alone are one: so what is said
/// in two rules is not lost twice.
pub(super) fn joined(steps: Vec<Step>) -> Vec<Step> {
    let mut joined: Vec<Step> = Vec::with_capacity(steps.len());
    let mut last: [Option<usize>; 2] = [None; 2];
    for step in steps {
        let place = &mut last[step.packets.family as usize];
        if let Some(before) = place.and_then(|at| joined.get_mut(at))
            && before.action == step.action
            && before.limit.is_none()
            && step.limit.is_none()
            && before.content == step.content
            && before.chain == step.chain
            && !before.origins.is_empty()
            && !step.origins.is_empty()
            && before.packets.differ_in(&step.packets) == Some(Dim::State)
        {
            let states = before
                .packets
                .get(Dim::State)
                .union(step.packets.get(Dim::State));
            before.packets = before.packets.with(Dim::State, states);
            before.origins.extend(step.origins);
            continue;
        }
        *place = Some(joined.len());
        joined.push(step);
    }
    joined
}

/// Packets that never come to a rule: addresses and flags that the parser refuses, and states that
/// such packets do not have in the language.
pub(super) fn impossible() -> Vec<Packets> {
    let flags = |wanted: &dyn Fn(u128) -> bool| {
        let flags = (0..256u128).filter(|&flags| wanted(flags));
        RangeSet::from_ranges(flags.map(|flags| (flags, flags)).collect())
    };
    let (fin, syn, rst, ack) = (1, 2, 4, 16);
    let refused = flags(&|flags| {
        flags & (fin | syn | rst | ack) == 0
            || flags & syn != 0 && flags & (fin | rst) != 0
            || flags & (fin | ack) == fin
    });
    // Every segment has flags.
    let refused = refused.union(&RangeSet::of(256, 256));
    let opens = flags(&|flags| flags & (syn | ack) == syn);
    let goes_on = RangeSet::of(0, 255).intersection(&opens.complement());
    let [(_, established), (_, invalid), (_, new)] = words();
    let belongs = established.union(&invalid);
    let protos = |known: &[u128]| {
        let known = known.iter().map(|&proto| (proto, proto)).collect();
        RangeSet::of(0, 255).intersection(&RangeSet::from_ranges(known).complement())
    };
    let tcp = RangeSet::of(6, 6);
    let mut boxes = Vec::new();
    for (family, icmp, answers) in [
        (Family::V4, 1, &[(0, 0), (3, 3), (11, 12)][..]),
        (Family::V6, 58, &[(1, 4), (129, 129)]),
    ] {
        let of = |state: &Values, protos: &Values| {
            Packets::all(family)
                .with(Dim::State, state.clone())
                .with(Dim::Proto, protos.clone())
        };
        let answers = answers
            .iter()
            .map(|(first, last)| (first << 8, last << 8 | 255));
        let answers = RangeSet::from_ranges(answers.collect());
        let others = answers.complement().intersection(&RangeSet::of(0, 65_535));
        let icmps = RangeSet::of(icmp, icmp);
        let (sources, targets) = refused_addresses(family);
        boxes.extend([
            Packets::all(family).with(Dim::Source, sources),
            Packets::all(family).with(Dim::Destination, targets),
            Packets::all(family)
                .with(Dim::Proto, tcp.clone())
                .with(Dim::Flags, refused.clone()),
            of(&new, &tcp).with(Dim::Flags, goes_on.clone()),
            of(&invalid, &tcp).with(Dim::Flags, opens.clone()),
            of(&invalid, &protos(&[6, icmp])),
            of(&established, &protos(&[6, 17, icmp])),
            of(&new, &icmps).with(Dim::Icmp, answers),
            of(&belongs, &icmps).with(Dim::Icmp, others),
        ]);
    }
    boxes
}

/// Sources and destinations that no packet from a network carries.
fn refused_addresses(family: Family) -> (Values, Values) {
    let (loopback, others) = match family {
        Family::V4 => (
            vec![(0x7f00_0000, 0x7fff_ffff)],
            vec![(1, 0x00ff_ffff), (0xe000_0000, 0xffff_ffff)],
        ),
        Family::V6 => (
            vec![(1, 1), (0xffff_0000_0000, 0xffff_ffff_ffff)],
            vec![(0xff << 120, u128::MAX)],
        ),
    };
    let sources = [loopback.clone(), others].concat();
    (
        RangeSet::from_ranges(sources),
        RangeSet::from_ranges(loopback),
    )
}

/// The states that a step takes in the policy; `None` if it is not carried over.
fn becomes(
    step: &Step,
    before: &[Step],
    language: Language,
    note: &mut dyn FnMut(&str, Effect),
) -> Option<Values> {
    let of = step.packets.get(Dim::State);
    let has = |value| of.contains(value);
    let (less, more) = effects(step.action);
    if !language.state {
        if has(state::NEW) {
            note(
                "carried over for every state: this version of the policy language knows none",
                Effect::Differs,
            );
            return Some(Dim::State.full(step.packets.family));
        }
        note(
            "this version of the policy language knows no connection state",
            less,
        );
        return None;
    }
    let mut taken = Vec::new();
    if has(state::ESTABLISHED) {
        if !has(state::RELATED) {
            note(
                "ICMP errors about a connection count as established, too",
                more,
            );
        }
        taken.push(established());
    } else if has(state::RELATED) {
        note(
            "related packets are not told apart from established ones",
            less,
        );
    }
    let [_, (_, invalid), (_, new)] = words();
    if has(state::NEW) {
        taken.push(new);
        let other = step.packets.with(Dim::State, invalid.clone());
        if !has(state::INVALID) && !is_decided(&other, before) {
            taken.push(invalid.clone());
        }
    } else if has(state::UNTRACKED) && taken.is_empty() && !has(state::INVALID) {
        note(
            "connection tracking cannot be switched off for packets",
            less,
        );
    }
    if has(state::INVALID) {
        taken.push(invalid);
    }
    let all = taken
        .iter()
        .fold(RangeSet::empty(), |all, one| all.union(one));
    (!all.is_empty()).then_some(all)
}

/// Whether steps before decide about all of these packets.
fn is_decided(packets: &Packets, before: &[Step]) -> bool {
    let mut left = vec![packets.clone()];
    let searched = before.iter().rev().take(SEARCHED);
    for step in searched.chain(before.iter().take(8)) {
        let decides = step.is_plain() && step.action != Action::NEXT;
        if decides && left.iter().any(|part| part.meets(&step.packets)) {
            left = less_all(left, std::slice::from_ref(&step.packets));
        }
        if left.is_empty() || left.len() > 64 {
            break;
        }
    }
    left.is_empty()
}

/// The same packets, with the states about which steps before have decided: the rule need not name
/// any.
fn widened(packets: Packets, before: &[Step]) -> Packets {
    let full = Dim::State.full(packets.family);
    let others = packets.get(Dim::State).complement().intersection(&full);
    if others.is_empty() || !is_decided(&packets.with(Dim::State, others), before) {
        return packets;
    }
    packets.with(Dim::State, full)
}

/// What it does to match fewer packets with this action, and to match more.
fn effects(action: Action) -> (Effect, Effect) {
    if action == Action::PASS {
        (Effect::PassesLess, Effect::PassesMore)
    } else {
        (Effect::PassesMore, Effect::PassesLess)
    }
}

/// Something that is so for several rules.
fn beside(text: &str, reason: &str, effect: Effect) -> LeftOut {
    LeftOut {
        place: "connection state".into(),
        line: 0,
        text: text.into(),
        reason: reason.into(),
        effect,
        in_part: false,
    }
}

fn note(left_out: &mut Vec<LeftOut>, step: &Step, origins: &[Origin], why: &str, effect: Effect) {
    for origin in step.origins.iter().map(|&origin| &origins[origin]) {
        let entry = LeftOut {
            place: origin.place.clone(),
            line: origin.line,
            text: origin.text.clone(),
            reason: why.to_owned(),
            effect,
            in_part: false,
        };
        if left_out.last() != Some(&entry) && !left_out.contains(&entry) {
            left_out.push(entry);
        }
    }
}
