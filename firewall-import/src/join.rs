//! Makes a list of steps shorter without changing what it means: what the default does is left out,
//! neighbours that differ in one thing become one, and equal steps of both families too.
//!
//! May not import a reader. Invariant: for every packet, the first step that takes it and the
//! default behind them say the same before and after.

use super::flatten::Step;
use super::packets::{Dim, Family, Packets};
use firewall_common::verdict::Action;

/// A step for one family or for both.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Joined {
    pub(super) step: Step,
    /// The same for every address of the other family, too.
    pub(super) both: bool,
}

/// A list and the verdict behind it.
#[derive(Clone, Debug)]
pub(super) struct List {
    pub(super) steps: Vec<Joined>,
    pub(super) default_passes: bool,
}

/// Joins what can be joined. `families` are those of which the rules are known; packets of the
/// others get the default.
pub(super) fn join(steps: &[Step], families: &[Family]) -> List {
    let lists = families.iter().map(|&family| {
        let mine = steps.iter().filter(|step| step.packets.family == family);
        let mut list: Vec<Step> = Vec::new();
        for step in mine {
            let whole = step.packets.is_all();
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
                .is_some_and(|step| step.packets.is_all() && step.action == Action::PASS)
        });
    for list in &mut lists {
        drop_defaults(list, default_passes);
        *list = neighbours(std::mem::take(list));
    }
    let second = if lists.len() > 1 { lists.pop() } else { None };
    let first = lists.pop().unwrap_or_default();
    List {
        steps: merge(first, second.unwrap_or_default()),
        default_passes,
    }
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
            later.action != step.action && later.packets.and(&step.packets).is_some()
        };
        let implied = step.origins.is_empty() || step.packets.is_all();
        if step.action == default && implied && !list[at + 1..].iter().any(other) {
            list.remove(at);
        }
    }
}

/// Joins neighbours of one verdict and chain that differ in one thing: parts of one rule in
/// anything, rules of one chain in their source alone (long lists of banned addresses).
fn neighbours(list: Vec<Step>) -> Vec<Step> {
    let mut joined: Vec<Step> = Vec::with_capacity(list.len());
    for step in list {
        if let Some(last) = joined.last_mut()
            && last.action == step.action
            && last.chain == step.chain
            && let Some(dim) = last.packets.differ_in(&step.packets)
        {
            let same = last.origins == step.origins;
            let bans = dim == Dim::Source && !step.chain.is_empty() && step.comment == last.comment;
            if same || bans {
                let union = last.packets.get(dim).union(step.packets.get(dim));
                last.packets = last.packets.with(dim, union);
                for origin in step.origins {
                    if !last.origins.contains(&origin) {
                        last.origins.push(origin);
                    }
                }
                continue;
            }
        }
        joined.push(step);
    }
    joined
}

/// One list of two families: any order between them will do, so equal steps are laid side by side
/// (longest common subsequence; Hunt and McIlroy, 1976).
fn merge(first: Vec<Step>, second: Vec<Step>) -> Vec<Joined> {
    let alone = |step| Joined { step, both: false };
    if first.len().saturating_mul(second.len()) > 4_000_000 {
        return first.into_iter().chain(second).map(alone).collect();
    }
    let equal = |a: &Step, b: &Step| a.action == b.action && a.packets.twin(&b.packets);
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
            step.comment = step.comment.or_else(|| second[j].comment.clone());
            merged.push(Joined { step, both: true });
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

/// What a list of steps does with one packet, given as a box of one value each: the first step that
/// holds it.
pub(super) fn verdict(steps: &[Step], packet: &Packets) -> Option<bool> {
    steps
        .iter()
        .find(|step| step.packets.holds(packet))
        .map(|step| step.action == Action::PASS)
}
