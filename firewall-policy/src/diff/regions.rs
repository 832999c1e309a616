//! Where two lists of rules differ, as disjoint boxes; and fewer, larger boxes of the same.

use super::Decided;
use super::words::Words;
use crate::range::RangeSet;
use crate::rule::Rule;
use crate::space::{Address, Space, within};
use firewall_common::field::Field;
use firewall_common::verdict::{Action, Verdict};
use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;

/// Comparisons of a box with a rule after which a search is given up: some seconds.
const BUDGET: u64 = 20_000_000;

/// Boxes that are found before a search is given up.
const MOST: usize = 20_000;

/// Boxes of one kind that are compared pair by pair to be merged.
const MERGED: usize = 3_000;

/// A rule that passes or drops.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Content<T> {
    verdict: u8,
    space: Space<T>,
}

/// A rule that passes or drops, and its place in its policy.
pub(super) struct Deciding<T> {
    index: usize,
    content: Rc<Content<T>>,
}

impl<T: Address> Deciding<T> {
    /// The rule number `index`, whose zones are renumbered to `zones`; `None` if it decides nothing.
    pub(super) fn of(index: usize, rule: &Rule, zones: RangeSet<u32>) -> Option<Self> {
        // Packets count as without the payloads and options that rules ask for: the settings say what
        // becomes of the others.
        if rule.action == Action::NEXT || zones.is_empty() || rule.matches.content.is_some() {
            return None;
        }
        let verdict = match rule.action {
            Action::PASS => Verdict::PASS,
            _ => Verdict::DROP,
        };
        let space = Space::of(&rule.matches)?.with(Field::Zone, zones);
        Some(Self {
            index,
            content: Rc::new(Content {
                verdict: verdict.0,
                space,
            }),
        })
    }
}

/// One policy's rules of one family, and its default.
pub(super) struct Side<T> {
    pub(super) rules: Vec<Deciding<T>>,
    pub(super) default: Verdict,
}

/// A box, and who decides about it on either side.
pub(super) struct ChangedBox<T> {
    pub(super) was: Decided,
    pub(super) becomes: Decided,
    pub(super) space: Space<T>,
    /// The part that reaches the rules, as disjoint boxes.
    pub(super) parts: Vec<Space<T>>,
    pub(super) words: Words,
}

/// Equal rules have equal numbers.
struct Numbered {
    old: Vec<usize>,
    new: Vec<usize>,
}

fn number<T: Address + Hash>(old: &Side<T>, new: &Side<T>) -> Numbered {
    let mut known: HashMap<&Content<T>, usize> = HashMap::new();
    let mut numbers = Vec::with_capacity(old.rules.len() + new.rules.len());
    for rule in old.rules.iter().chain(&new.rules) {
        let next = known.len();
        numbers.push(*known.entry(&rule.content).or_insert(next));
    }
    let new = numbers.split_off(old.rules.len());
    Numbered { old: numbers, new }
}

/// Which rules of the two lists are not of one common subsequence: the common head and tail, and
/// of the rest the longest run of equal rules in equal order, each taken once.
fn uncommon(old: &[usize], new: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (&old[head..], &new[head..]);
    let tail = old_rest
        .iter()
        .rev()
        .zip(new_rest.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let (old_mid, new_mid) = (
        &old_rest[..old_rest.len() - tail],
        &new_rest[..new_rest.len() - tail],
    );
    let mut places: HashMap<usize, Vec<usize>> = HashMap::new();
    for (at, &id) in new_mid.iter().enumerate().rev() {
        places.entry(id).or_default().push(at);
    }
    // Pairs of equal rules, the first with the first; then the longest that rises in both
    // (patience sorting, Fredman 1975).
    let pairs: Vec<(usize, usize)> = old_mid
        .iter()
        .enumerate()
        .filter_map(|(at, id)| Some((at, places.get_mut(id)?.pop()?)))
        .collect();
    let mut piles: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = vec![None; pairs.len()];
    for (number, &(_, place)) in pairs.iter().enumerate() {
        let pile = piles.partition_point(|&top| pairs[top].1 < place);
        before[number] = pile.checked_sub(1).map(|below| piles[below]);
        match piles.get_mut(pile) {
            Some(top) => *top = number,
            None => piles.push(number),
        }
    }
    let (mut in_old, mut in_new) = (vec![false; old_mid.len()], vec![false; new_mid.len()]);
    let mut at = piles.last().copied();
    while let Some(number) = at {
        in_old[pairs[number].0] = true;
        in_new[pairs[number].1] = true;
        at = before[number];
    }
    let left = |kept: &[bool]| -> Vec<usize> {
        (0..kept.len())
            .filter(|&at| !kept[at])
            .map(|at| at + head)
            .collect()
    };
    (left(&in_old), left(&in_new))
}

/// A box that is still to be taken apart, with the rules of either side that may match in it.
type Open<T> = (Space<T>, Rc<[usize]>, Rc<[usize]>);

/// All boxes with two verdicts that a rule takes part in, disjoint, and whether these are all.
/// Packets that no rule decides about on either side are left to the defaults.
pub(super) fn find<T: Address + Hash>(
    old: &Side<T>,
    new: &Side<T>,
    doors: &[Space<T>],
) -> (Vec<ChangedBox<T>>, bool) {
    let ids = number(old, new);
    let (only_old, only_new) = uncommon(&ids.old, &ids.new);
    let changed: Vec<&Space<T>> = only_old
        .iter()
        .map(|&at| &old.rules[at].content.space)
        .chain(only_new.iter().map(|&at| &new.rules[at].content.space))
        .collect();
    let mut search = BoxSearch {
        old,
        new,
        ids: &ids,
        doors,
        budget: BUDGET,
        found: Vec::new(),
    };
    let all_old: Rc<[usize]> = (0..old.rules.len()).collect();
    let all_new: Rc<[usize]> = (0..new.rules.len()).collect();
    for (number, start) in changed.iter().enumerate() {
        // Each packet once: without what earlier boxes hold.
        let mut parts = vec![(*start).clone()];
        for earlier in &changed[..number] {
            if !search.spend(parts.len()) {
                return (search.found, false);
            }
            parts = parts
                .into_iter()
                .flat_map(|part| {
                    if part.meets(earlier) {
                        part.less(earlier)
                    } else {
                        vec![part]
                    }
                })
                .collect();
        }
        let open = parts
            .into_iter()
            .map(|part| (part, Rc::clone(&all_old), Rc::clone(&all_new)))
            .collect();
        if !search.take_apart(open) {
            return (search.found, false);
        }
    }
    (search.found, true)
}

struct BoxSearch<'s, T> {
    old: &'s Side<T>,
    new: &'s Side<T>,
    ids: &'s Numbered,
    doors: &'s [Space<T>],
    budget: u64,
    found: Vec<ChangedBox<T>>,
}

impl<T: Address> BoxSearch<'_, T> {
    fn spend(&mut self, steps: usize) -> bool {
        match self.budget.checked_sub(steps as u64) {
            Some(left) => {
                self.budget = left;
                true
            }
            None => false,
        }
    }

    /// False if it was given up.
    fn take_apart(&mut self, mut open: Vec<Open<T>>) -> bool {
        while let Some((space, in_old, in_new)) = open.pop() {
            if !self.spend(1 + in_old.len() + in_new.len()) || self.found.len() >= MOST {
                return false;
            }
            // What never reaches the rules makes no difference.
            if !self.doors.iter().any(|door| door.meets(&space)) {
                continue;
            }
            let near = |side: &Side<T>, list: &[usize]| -> Rc<[usize]> {
                list.iter()
                    .copied()
                    .filter(|&at| space.meets(&side.rules[at].content.space))
                    .collect()
            };
            let (in_old, in_new) = (near(self.old, &in_old), near(self.new, &in_new));
            if self.alike(&in_old, &in_new) {
                continue;
            }
            let first_old = in_old.first().map(|&at| &self.old.rules[at]);
            let first_new = in_new.first().map(|&at| &self.new.rules[at]);
            let same_first = in_old.first().map(|&at| self.ids.old[at])
                == in_new.first().map(|&at| self.ids.new[at]);
            // Whichever does not hold the whole box cuts it.
            let cut = [first_old, first_new]
                .into_iter()
                .flatten()
                .find(|rule| space.misfits(&rule.content.space) > 0);
            if let Some(rule) = cut {
                let other = &rule.content.space;
                let outside = space.less(other);
                // Where the first rule is the same, what it matches is no difference.
                let inside = if same_first { None } else { space.and(other) };
                open.extend(
                    outside
                        .into_iter()
                        .chain(inside)
                        .map(|part| (part, Rc::clone(&in_old), Rc::clone(&in_new))),
                );
                continue;
            }
            let was = decided(self.old, first_old);
            let becomes = decided(self.new, first_new);
            let by_a_rule = was.rule.is_some() || becomes.rule.is_some();
            if was.verdict != becomes.verdict && by_a_rule {
                self.found.push(ChangedBox {
                    was,
                    becomes,
                    space,
                    parts: Vec::new(),
                    words: Words::default(),
                });
            }
        }
        true
    }

    /// Whether nothing can differ: equal rules in equal order, or one verdict whatever matches.
    fn alike(&self, in_old: &[usize], in_new: &[usize]) -> bool {
        let old_ids = in_old.iter().map(|&at| self.ids.old[at]);
        let same_default = self.old.default == self.new.default;
        if same_default && old_ids.eq(in_new.iter().map(|&at| self.ids.new[at])) {
            return true;
        }
        let default = self.old.default.0;
        let all = |side: &Side<T>, list: &[usize]| {
            list.iter()
                .all(|&at| side.rules[at].content.verdict == default)
        };
        same_default && all(self.old, in_old) && all(self.new, in_new)
    }
}

fn decided<T>(side: &Side<T>, rule: Option<&Deciding<T>>) -> Decided {
    match rule {
        Some(rule) => Decided {
            verdict: Verdict(rule.content.verdict),
            rule: Some(rule.index),
        },
        None => Decided {
            verdict: side.default,
            rule: None,
        },
    }
}

/// Joins boxes of the same rules that differ in one field only, until there are none.
pub(super) fn merge<T: Address + Hash>(found: Vec<ChangedBox<T>>) -> Vec<ChangedBox<T>> {
    let mut kinds: Vec<(Decided, Decided, Vec<Space<T>>)> = Vec::new();
    let mut places: HashMap<(Option<usize>, Option<usize>), usize> = HashMap::new();
    for region in found {
        let at = *places
            .entry((region.was.rule, region.becomes.rule))
            .or_insert_with(|| {
                kinds.push((region.was.clone(), region.becomes.clone(), Vec::new()));
                kinds.len() - 1
            });
        kinds[at].2.push(region.space);
    }
    let mut merged = Vec::new();
    for (was, becomes, mut spaces) in kinds {
        while spaces.len() <= MERGED && merge_once(&mut spaces) {}
        merged.extend(spaces.into_iter().map(|space| ChangedBox {
            was: was.clone(),
            becomes: becomes.clone(),
            space,
            parts: Vec::new(),
            words: Words::default(),
        }));
    }
    merged
}

fn merge_once<T: Address>(spaces: &mut Vec<Space<T>>) -> bool {
    let mut joined = false;
    let mut at = 0;
    while at < spaces.len() {
        let mut other = at + 1;
        while other < spaces.len() {
            match join(&spaces[at], &spaces[other]) {
                Some(both) => {
                    spaces[at] = both;
                    spaces.swap_remove(other);
                    joined = true;
                }
                None => other += 1,
            }
        }
        at += 1;
    }
    joined
}

/// One box of two that differ in one field only, or of which one holds the other.
fn join<T: Address>(a: &Space<T>, b: &Space<T>) -> Option<Space<T>> {
    let fields: Vec<usize> = (0..Field::COUNT)
        .filter(|&i| a.fields[i] != b.fields[i])
        .collect();
    let addresses: Vec<usize> = (0..2)
        .filter(|&i| a.addresses[i] != b.addresses[i])
        .collect();
    let mut joined = a.clone();
    match (fields.as_slice(), addresses.as_slice()) {
        ([], []) => {}
        ([field], []) => {
            joined.fields[*field] = Rc::new(a.fields[*field].union(&b.fields[*field]));
        }
        ([], [side]) => {
            joined.addresses[*side] = Rc::new(a.addresses[*side].union(&b.addresses[*side]));
        }
        _ => {
            let holds = |a: &Space<T>, b: &Space<T>| {
                (0..Field::COUNT).all(|i| within(&b.fields[i], &a.fields[i]))
                    && (0..2).all(|i| within(&b.addresses[i], &a.addresses[i]))
            };
            return holds(a, b)
                .then(|| a.clone())
                .or_else(|| holds(b, a).then(|| b.clone()));
        }
    }
    Some(joined)
}
