//! Makes a list of steps shorter without changing what it means: what the default does is left out,
//! neighbours that differ in one thing become one, and equal steps of both families too.
//!
//! May not import a reader. Invariant: for every packet, the first step that takes it and the
//! default behind them say the same before and after.

use super::flatten::Step;
use super::packets::{Dim, Family, Packets, folded, less_all};
use super::rates::Per;
use firewall_common::verdict::Action;
use firewall_policy::range::RangeSet;

/// A step for one family or for both.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Joined {
    pub(super) step: Step,
    /// The same for IPv6, too: for every address, to all that forwarded packets go to, or of rules that the
    /// original brings with itself for addresses of its own.
    pub(super) other: Option<Packets>,
}

/// A list and the verdict behind it.
#[derive(Clone, Debug)]
pub(super) struct List {
    pub(super) steps: Vec<Joined>,
    pub(super) default_passes: bool,
}

/// Joins what can be joined. `families` are those of which the rules are known; packets of the
/// others get the default.
pub(super) fn join(steps: &[Step], families: &[Family], essential: &[Packets]) -> List {
    let lists = families.iter().map(|&family| {
        let mine = steps.iter().filter(|step| step.packets.family == family);
        let mut list: Vec<Step> = Vec::new();
        for step in mine {
            let whole = is_last(step);
            list.push(step.clone());
            if whole {
                break;
            }
        }
        list
    });
    let mut lists: Vec<Vec<Step>> = lists.collect();
    // Only what all of them end with can be the default; everything else ends with a drop.
    let default_passes = !lists.is_empty()
        && lists.iter().all(|list| {
            list.last()
                .is_some_and(|step| is_last(step) && step.action == Action::PASS)
        });
    for list in &mut lists {
        drop_defaults(list, default_passes);
        *list = neighbours(std::mem::take(list));
        *list = reached(std::mem::take(list), essential);
        *list = limits(neighbours(std::mem::take(list)));
        *list = own(std::mem::take(list), essential);
    }
    let second = if lists.len() > 1 { lists.pop() } else { None };
    let first = lists.pop().unwrap_or_default();
    List {
        steps: merge(first, second.unwrap_or_default()),
        default_passes,
    }
}

/// Whether a step decides about everything.
fn is_last(step: &Step) -> bool {
    step.packets.is_all() && step.is_plain()
}

/// Takes out what the default does anyway: steps behind which nothing says otherwise about their
/// packets. Rules stay, because people look for them; policies of chains go.
fn drop_defaults(list: &mut Vec<Step>, default_passes: bool) {
    let default = if default_passes {
        Action::PASS
    } else {
        Action::DROP
    };
    let mut at = list.len();
    while at > 0 {
        at -= 1;
        let step = &list[at];
        let other = |later: &Step| {
            (later.action != step.action || !later.is_plain()) && later.packets.meets(&step.packets)
        };
        let implied = step.origins.is_empty() || step.packets.is_all();
        if step.action == default && step.is_plain() && implied && !list[at + 1..].iter().any(other)
        {
            list.remove(at);
        }
    }
}

/// Longer lists are not searched for steps that no packet comes to.
const SEARCHED: usize = 1_500;

/// Without steps about all of whose packets earlier ones decide, or essential traffic does.
fn reached(list: Vec<Step>, essential: &[Packets]) -> Vec<Step> {
    if list.len() > SEARCHED {
        return list;
    }
    let mut kept: Vec<Step> = Vec::with_capacity(list.len());
    for step in list {
        let mut left = less_all(vec![step.packets.clone()], essential);
        for before in kept.iter().filter(|before| before.is_plain()) {
            if left.is_empty() || left.len() > 128 {
                break;
            }
            left = less_all(left, std::slice::from_ref(&before.packets));
        }
        if !left.is_empty() {
            kept.push(step);
        }
    }
    kept
}

/// A limit whose packets the next step passes is the limit of that step.
fn limits(list: Vec<Step>) -> Vec<Step> {
    let mut joined: Vec<Step> = Vec::with_capacity(list.len());
    for mut step in list {
        if let Some(last) = joined.last()
            && last.action == Action::NEXT
            && step.action == Action::PASS
            && step.is_plain()
            && last.content.is_none()
            && last.packets == step.packets
        {
            step.limit = last.limit.clone();
            step.origins = last.origins.iter().chain(&step.origins).copied().collect();
            joined.pop();
        }
        joined.push(step);
    }
    joined
}

/// Joins neighbours of one verdict and chain that differ in one thing: parts of one rule in
/// anything, rules of one chain in their source alone (long lists of banned addresses), and rules
/// that the original brings with itself in anything.
fn neighbours(list: Vec<Step>) -> Vec<Step> {
    let mut joined: Vec<Step> = Vec::with_capacity(list.len());
    // The last of them, in which it grows, and the ranges that it has there so far.
    let mut grows: Option<(Dim, Vec<(u128, u128)>)> = None;
    let close = |joined: &mut Vec<Step>, grows: &mut Option<(Dim, Vec<(u128, u128)>)>| {
        if let (Some((dim, ranges)), Some(last)) = (grows.take(), joined.last_mut()) {
            last.packets = last.packets.with(dim, RangeSet::from_ranges(ranges));
        }
    };
    for step in list {
        let dim = joined.last().and_then(|last| {
            let alike = last.action == step.action
                && last.chain == step.chain
                && last.limit.is_none()
                && step.limit.is_none()
                && last.content == step.content;
            let dim = match &grows {
                // The last one still holds what it began with.
                Some((dim, _)) => {
                    let with = last.packets.with(*dim, step.packets.get(*dim).clone());
                    (with == step.packets).then_some(*dim)
                }
                None => last.packets.differ_in(&step.packets),
            };
            dim.filter(|&dim| alike && joins(last, &step, dim))
        });
        match (dim, joined.last_mut()) {
            (Some(dim), Some(last)) => {
                let (_, ranges) =
                    grows.get_or_insert_with(|| (dim, last.packets.get(dim).ranges().to_vec()));
                ranges.extend(step.packets.get(dim).ranges());
                if last.origins.last() != step.origins.last() {
                    last.origins.extend(step.origins);
                }
            }
            _ => {
                close(&mut joined, &mut grows);
                joined.push(step);
            }
        }
    }
    close(&mut joined, &mut grows);
    joined
}

/// Whether two neighbours may be one rule.
fn joins(last: &Step, step: &Step, dim: Dim) -> bool {
    let rules = !last.origins.is_empty() && !step.origins.is_empty();
    let bans = dim == Dim::Source && !step.chain.is_empty() && rules;
    last.origins == step.origins
        || step.chain == OWN && last.chain == OWN
        || bans && step.comment == last.comment
}

/// As few rules as will do of those that the original brings with itself: between steps of one verdict no
/// order counts, and what is essential need not be said.
fn own(list: Vec<Step>, essential: &[Packets]) -> Vec<Step> {
    // What never comes by its addresses or its state needs no rule without them.
    let anywhere = |part: &&Packets| {
        let dims = [Dim::Source, Dim::Destination, Dim::State];
        dims.into_iter().all(|dim| part.is_any(dim))
    };
    let essential: Vec<Packets> = essential.iter().filter(anywhere).cloned().collect();
    let belongs = |step: &Step| step.chain == OWN && step.limit.is_none();
    let mut kept: Vec<Step> = Vec::with_capacity(list.len());
    let mut rest = list.into_iter().peekable();
    while let Some(first) = rest.next() {
        if !belongs(&first) {
            kept.push(first);
            continue;
        }
        let action = first.action;
        let mut run = vec![first];
        while let Some(step) = rest.next_if(|step| belongs(step) && step.action == action) {
            run.push(step);
        }
        let whole = |step: &Step| {
            let left = less_all(vec![step.packets.clone()], &essential);
            match <[Packets; 1]>::try_from(left) {
                Ok([one]) if action == Action::PASS => one,
                _ => step.packets.clone(),
            }
        };
        for packets in folded(run.iter().map(whole).collect()) {
            let of: Vec<&Step> = run
                .iter()
                .filter(|step| step.packets.meets(&packets))
                .collect();
            let Some(&first) = of.first() else { continue };
            let origins = of.iter().flat_map(|step| step.origins.iter().copied());
            kept.push(Step {
                origins: origins.collect(),
                packets,
                ..first.clone()
            });
        }
    }
    kept
}

/// The chain of the rules that the original brings with itself.
pub(super) const OWN: &str = " ufw";

/// One list of two families: any order between them will do, so equal steps are laid side by side
/// (longest common subsequence; Hunt and McIlroy, 1976).
fn merge(first: Vec<Step>, second: Vec<Step>) -> Vec<Joined> {
    let alone = |step| Joined { step, other: None };
    if first.len().saturating_mul(second.len()) > 4_000_000 {
        return first.into_iter().chain(second).map(alone).collect();
    }
    let equal = |a: &Step, b: &Step| {
        let own = a.chain == OWN && b.chain == OWN;
        a.action == b.action
            && a.content == b.content
            && twin_limits(a, b)
            && (a.packets.twin(&b.packets) || own && a.packets.twin_by_sides(&b.packets))
    };
    let columns = second.len() + 1;
    let mut longest = vec![0u32; (first.len() + 1) * columns];
    for i in (0..first.len()).rev() {
        for j in (0..second.len()).rev() {
            longest[i * columns + j] = if equal(&first[i], &second[j]) {
                longest[(i + 1) * columns + j + 1] + 1
            } else {
                longest[(i + 1) * columns + j].max(longest[i * columns + j + 1])
            };
        }
    }
    let (mut i, mut j, mut merged) = (0, 0, Vec::new());
    while i < first.len() || j < second.len() {
        if i < first.len() && j < second.len() && equal(&first[i], &second[j]) {
            let mut step = first[i].clone();
            for &origin in &second[j].origins {
                if !step.origins.contains(&origin) {
                    step.origins.push(origin);
                }
            }
            // The lengths of IPv6 say those of IPv4, too.
            step.limit = second[j].limit.clone();
            step.comment = step.comment.or_else(|| second[j].comment.clone());
            let other = Some(second[j].packets.clone());
            merged.push(Joined { step, other });
            (i, j) = (i + 1, j + 1);
        } else if j == second.len()
            || i < first.len() && longest[(i + 1) * columns + j] >= longest[i * columns + j + 1]
        {
            merged.push(alone(first[i].clone()));
            i += 1;
        } else {
            merged.push(alone(second[j].clone()));
            j += 1;
        }
    }
    merged
}

/// Whether the limits of both families are one: by rule, or by single address.
fn twin_limits(first: &Step, second: &Step) -> bool {
    match (&first.limit, &second.limit) {
        (None, None) => true,
        (Some((a, over)), Some((b, other))) => {
            let one_rule = first.origins.iter().any(|one| second.origins.contains(one));
            let host = |a: Per, b: Per| match (a, b) {
                // Two rules have two rates.
                (Per::Rule, Per::Rule) => one_rule,
                _ => matches!(
                    (a, b),
                    (Per::Source(32), Per::Source(64 | 128))
                        | (Per::Destination(32), Per::Destination(64 | 128))
                ),
            };
            let same =
                (a.packets, a.window, a.burst, a.bytes) == (b.packets, b.window, b.burst, b.bytes);
            same && over == other && host(a.per, b.per)
        }
        _ => false,
    }
}
