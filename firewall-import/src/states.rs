//! Connection state: from the five words of Netfilter to the two of the policy language.
//!
//! ```text
//! established, related  ─► established        (ICMP errors about a connection belong to it)
//! new, invalid, untracked ─► [invalid, new]   (Netfilter takes up connections in the middle as new)
//! ```
//!
//! May not import a reader or the writer. Invariant: a step that the two words cannot say, or say
//! for other packets too, is in the list of what was left out.

use super::flatten::Step;
use super::imported::{Effect, LeftOut};
use super::options::Language;
use super::packets::{Dim, Values, state};
use super::ruleset::Origin;
use firewall_common::verdict::Action;
use firewall_policy::range::RangeSet;

/// `state: established`.
pub(super) fn established() -> Values {
    RangeSet::of(state::ESTABLISHED, state::RELATED)
}

/// `state: [invalid, new]`.
pub(super) fn new() -> Values {
    RangeSet::from_ranges(vec![
        (state::NEW, state::NEW),
        (state::INVALID, state::UNTRACKED),
    ])
}

/// Brings every step to one of three: any state, [`established`], [`new`].
pub(super) fn map(
    steps: Vec<Step>,
    origins: &[Origin],
    language: Language,
    left_out: &mut Vec<LeftOut>,
) -> Vec<Step> {
    let mut mapped = Vec::with_capacity(steps.len());
    let mut invalid = false;
    for mut step in steps {
        if step.packets.is_any(Dim::State) {
            mapped.push(step);
            continue;
        }
        let of = step.packets.get(Dim::State).clone();
        let has = |value| of.contains(value);
        let any = Dim::State.full(step.packets.family);
        let mut note = |reason: &str, effect| note(left_out, &step, origins, reason, effect);
        let (less, more) = effects(step.action);
        let becomes = match (has(state::NEW), has(state::ESTABLISHED)) {
            (false, false) => {
                note(words(&of), less);
                continue;
            }
            (false, true) if !language.state => {
                note(
                    "this version of the policy language knows no connection state",
                    less,
                );
                continue;
            }
            (true, false) if !language.state => {
                note(
                    "carried over for every state: this version of the policy language knows none",
                    Effect::Differs,
                );
                any
            }
            (true, true) => {
                invalid |= !has(state::INVALID);
                any
            }
            (false, true) => {
                if !has(state::RELATED) {
                    note(
                        "ICMP errors about a connection count as established, too",
                        more,
                    );
                }
                established()
            }
            (true, false) => {
                if has(state::RELATED) {
                    note(
                        "related packets count as established, and this is for new ones",
                        less,
                    );
                }
                invalid |= !has(state::INVALID);
                new()
            }
        };
        step.packets = step.packets.with(Dim::State, becomes);
        mapped.push(step);
    }
    if invalid && language.state {
        left_out.push(without_invalid());
    }
    mapped
}

/// What it does to match fewer packets with this action, and to match more.
fn effects(action: Action) -> (Effect, Effect) {
    if action == Action::PASS {
        (Effect::PassesLess, Effect::PassesMore)
    } else {
        (Effect::PassesMore, Effect::PassesLess)
    }
}

/// That rules for `new` alone take what is `invalid`, too.
fn without_invalid() -> LeftOut {
    LeftOut {
        place: "connection state".into(),
        line: 0,
        text: "new without invalid".into(),
        reason:
            "packets that belong to no connection and open none count as new; the kernel drops \
                 them where nobody listens"
                .into(),
        effect: Effect::PassesMore,
        in_part: false,
    }
}

fn words(of: &Values) -> &'static str {
    match (of.contains(state::RELATED), of.contains(state::INVALID)) {
        (true, _) => "related packets are not told apart from established ones",
        (_, true) => "invalid packets are not told apart from new ones",
        _ => "connection tracking cannot be switched off for packets",
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
        if !left_out.contains(&entry) {
            left_out.push(entry);
        }
    }
}
