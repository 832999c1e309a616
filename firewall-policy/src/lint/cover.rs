//! Which rules can decide about a packet at all.
//!
//! Two steps for each rule. First a witness is looked for: packets drawn from the rule are looked
//! up in the compiled tables, and one that the rule decides settles the matter. If there is none,
//! the rule's box is taken apart by the boxes of the deciding rules before it until nothing is
//! left, or a part that none of them touches. Both answers are exact; a search that takes more
//! than its budget of steps is given up and said so.

use crate::host;
use crate::range::RangeSet;
use crate::rule::Policy;
use crate::space::reach::Carried;
use crate::space::{Space, random};
use crate::tables::Tables;
use firewall_common::field::Field;
use firewall_common::key::{Family, PacketKey};
use firewall_common::verdict::Action;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::rc::Rc;

/// Packets that are drawn from a rule before it is taken apart.
const DRAWN: u32 = 48;

/// Whether a rule can decide about a packet, or count one if its action is `next`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It is disabled.
    Disabled,
    /// It decides about this packet.
    Reached(PacketKey),
    /// No packet that reaches the rules has what it matches.
    Never,
    /// These rules before it, by index, take every packet that it matches.
    Covered(BTreeSet<usize>),
    /// The search was given up.
    Undecided,
}

impl Standing {
    /// Of both families together.
    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Disabled, _) => Self::Disabled,
            (Self::Reached(key), _) | (_, Self::Reached(key)) => Self::Reached(key),
            (Self::Undecided, _) | (_, Self::Undecided) => Self::Undecided,
            (Self::Never, other) | (other, Self::Never) => other,
            (Self::Covered(a), Self::Covered(b)) => Self::Covered(a.union(&b).copied().collect()),
            (standing, Self::Disabled) => standing,
        }
    }
}

/// What a search came to.
pub(super) enum Coverage {
    /// Every packet is taken.
    Covered,
    /// A packet that none of the rules takes.
    Free(PacketKey),
    /// Given up.
    GivenUp,
}

/// One family's rules as boxes.
pub(super) struct Boxes<'a, T> {
    policy: &'a Policy,
    tables: &'a Tables,
    /// What each rule matches; `None` for nothing, and for disabled rules.
    rules: Vec<Option<Space<T>>>,
    /// To tell quickly what cannot meet.
    hulls: Vec<Hull>,
    /// The packets that reach the rules.
    doors: Vec<Space<T>>,
    /// Boxes that are compared with the rules of one search at most.
    budget: u32,
}

/// The first and last value of a few fields: addresses (of IPv6 the upper half), protocol,
/// destination port. One cache line.
type Hull = [(u64, u64); 4];

/// Gives equal sets one place.
struct Shared<T>(HashMap<RangeSet<T>, Rc<RangeSet<T>>>);

impl<T: Clone + Eq + Hash> Shared<T> {
    fn of(&mut self, set: &Rc<RangeSet<T>>) -> Rc<RangeSet<T>> {
        match self.0.get(&**set) {
            Some(known) => Rc::clone(known),
            None => {
                self.0.insert((**set).clone(), Rc::clone(set));
                Rc::clone(set)
            }
        }
    }
}

impl<'a, T: Carried + Hash + Into<u128>> Boxes<'a, T> {
    pub(super) fn new(
        policy: &'a Policy,
        tables: &'a Tables,
        doors: Vec<Space<T>>,
        budget: u32,
    ) -> Self {
        let mut addresses = Shared(HashMap::new());
        let mut fields = Shared(HashMap::new());
        let mut rules = Vec::with_capacity(policy.rules.len());
        let mut hulls = Vec::with_capacity(policy.rules.len());
        for rule in &policy.rules {
            let mut space = if rule.enabled {
                Space::<T>::of(&rule.matches)
            } else {
                None
            };
            if let Some(space) = &mut space {
                for set in &mut space.addresses {
                    *set = addresses.of(set);
                }
                for set in &mut space.fields {
                    *set = fields.of(set);
                }
            }
            hulls.push(space.as_ref().map_or([(1, 0); 4], hull));
            rules.push(space);
        }
        Self {
            policy,
            tables,
            rules,
            hulls,
            doors,
            budget,
        }
    }

    /// The parts of a box that reach the rules.
    fn within_doors(&self, space: &Space<T>) -> Vec<Space<T>> {
        self.doors
            .iter()
            .filter_map(|door| space.and(door))
            .collect()
    }

    /// How one rule stands.
    pub(super) fn standing(&self, index: usize) -> Standing {
        if !self.policy.rules[index].enabled {
            return Standing::Disabled;
        }
        let Some(space) = &self.rules[index] else {
            return Standing::Never;
        };
        let parts = self.within_doors(space);
        if parts.is_empty() {
            return Standing::Never;
        }
        if let Some(key) = self.witness(index, &parts) {
            return Standing::Reached(key);
        }
        // One rule that holds it all is what the reader wants to know.
        let own = &self.hulls[index];
        let holds = |&other: &usize| {
            self.policy.rules[other].always_decides()
                && hull_within(own, &self.hulls[other])
                && self.box_of(other).is_some_and(|o| space.misfits(o) == 0)
        };
        if let Some(holder) = (0..index).find(holds) {
            return Standing::Covered(BTreeSet::from([holder]));
        }
        let before = self.deciding(index, space, |_| true);
        let mut by = BTreeSet::new();
        match self.search(parts.clone(), &before, &mut by) {
            Coverage::Covered => Standing::Covered(self.needed(&parts, by)),
            Coverage::Free(key) => Standing::Reached(key),
            Coverage::GivenUp => Standing::Undecided,
        }
    }

    /// Those of a few rules that are needed to take every packet of `parts`.
    fn needed(&self, parts: &[Space<T>], mut by: BTreeSet<usize>) -> BTreeSet<usize> {
        /// Of more rules a message names a few only.
        const FEW: usize = 8;
        if by.len() > FEW {
            return by;
        }
        for rule in by.clone() {
            let rest: Vec<usize> = by.iter().copied().filter(|&other| other != rule).collect();
            let search = self.search(parts.to_vec(), &rest, &mut BTreeSet::new());
            if matches!(search, Coverage::Covered) {
                by.remove(&rule);
            }
        }
        by
    }

    /// Whether there are packets of this state that the rule would match if it named that.
    pub(super) fn is_met(&self, rule: usize, state: u32) -> bool {
        self.box_of(rule).is_some_and(|space| {
            let space = space.clone().with(Field::State, RangeSet::of(state, state));
            let found = self.search(self.within_doors(&space), &[], &mut BTreeSet::new());
            matches!(found, Coverage::Free(_))
        })
    }

    pub(super) fn box_of(&self, index: usize) -> Option<&Space<T>> {
        self.rules[index].as_ref()
    }

    /// The deciding rules before `end` that a packet of `space` can match, of those `wanted`.
    fn deciding(
        &self,
        end: usize,
        space: &Space<T>,
        wanted: impl Fn(Action) -> bool,
    ) -> Vec<usize> {
        let own = hull(space);
        (0..end)
            .filter(|&other| {
                let rule = &self.policy.rules[other];
                rule.always_decides()
                    && wanted(rule.action)
                    && hulls_meet(&own, &self.hulls[other])
                    && self.box_of(other).is_some_and(|o| space.meets(o))
            })
            .collect()
    }

    /// A packet among a few that the rule decides, or counts.
    fn witness(&self, index: usize, parts: &[Space<T>]) -> Option<PacketKey> {
        let mut random = random(index as u64);
        (0..DRAWN)
            .map(|draw| parts[draw as usize % parts.len()].sample(&mut random))
            .find(|key| {
                let found = host::lookup(self.tables, key);
                found.hit.is_some_and(|hit| hit.slot as usize == index)
                    || found.counted.contains(&(index as u32))
            })
    }

    /// Whether the rules `by` take every packet of `parts`; those that are needed go into `used`.
    fn search(&self, parts: Vec<Space<T>>, by: &[usize], used: &mut BTreeSet<usize>) -> Coverage {
        let mut budget = self.budget;
        // Depth first, so that a free part is found early and few boxes are kept.
        let mut open: Vec<(Space<T>, Rc<[usize]>)> = Vec::new();
        let all: Rc<[usize]> = by.into();
        open.extend(parts.into_iter().map(|part| (part, Rc::clone(&all))));
        while let Some((part, by)) = open.pop() {
            budget = match budget.checked_sub(1 + (by.len() / 64) as u32) {
                Some(left) => left,
                None => return Coverage::GivenUp,
            };
            let near: Vec<(usize, usize)> = by
                .iter()
                .filter_map(|&rule| {
                    let other = self.box_of(rule)?;
                    part.meets(other).then(|| (part.misfits(other), rule))
                })
                .collect();
            let Some(&(misfits, best)) = near.iter().min() else {
                return Coverage::Free(part.sample(&mut random(0)));
            };
            used.insert(best);
            let Some(other) = self.box_of(best).filter(|_| misfits > 0) else {
                continue;
            };
            let rest: Rc<[usize]> = near
                .iter()
                .map(|&(_, rule)| rule)
                .filter(|&rule| rule != best)
                .collect();
            open.extend(part.less(other).into_iter().map(|p| (p, Rc::clone(&rest))));
        }
        Coverage::Covered
    }

    /// Whether a packet of `space` can pass, by a rule or by the default.
    pub(super) fn can_pass(&self, space: &Space<T>) -> Coverage {
        let is_drop = |action| action == Action::DROP || action == Action::REJECT;
        let mut given_up = false;
        let passes = (0..self.rules.len())
            .filter(|&rule| {
                let rule = &self.policy.rules[rule];
                rule.action == Action::PASS && rule.matches.content.is_none()
            })
            .filter_map(|rule| Some((rule, self.box_of(rule)?.and(space)?)));
        let rest = (self.policy.default_verdict == firewall_common::verdict::Verdict::PASS)
            .then(|| (self.rules.len(), space.clone()));
        for (end, part) in passes.chain(rest) {
            let drops = self.deciding(end, &part, is_drop);
            match self.search(self.within_doors(&part), &drops, &mut BTreeSet::new()) {
                Coverage::Covered => {}
                Coverage::Free(key) => return Coverage::Free(key),
                Coverage::GivenUp => given_up = true,
            }
        }
        if given_up {
            Coverage::GivenUp
        } else {
            Coverage::Covered
        }
    }
}

fn hull<T: Carried + Into<u128>>(space: &Space<T>) -> Hull {
    let upper = |value: T| match T::FAMILY {
        Family::V4 => value.into() as u64,
        Family::V6 => (value.into() >> 64) as u64,
    };
    let side = |set: &RangeSet<T>| ends(set).map_or((1, 0), |(a, b)| (upper(a), upper(b)));
    let small = |field: Field| {
        ends(space.field(field)).map_or((1, 0), |(a, b)| (u64::from(a), u64::from(b)))
    };
    [
        side(&space.addresses[0]),
        side(&space.addresses[1]),
        small(Field::Proto),
        small(Field::DestinationPort),
    ]
}

fn ends<T: crate::range::Number>(set: &RangeSet<T>) -> Option<(T, T)> {
    let ranges = set.ranges();
    Some((ranges.first()?.0, ranges.last()?.1))
}

fn hulls_meet(a: &Hull, b: &Hull) -> bool {
    a.iter().zip(b).all(|(a, b)| a.0 <= b.1 && b.0 <= a.1)
}

/// Whether `b` holds `a` in every field.
fn hull_within(a: &Hull, b: &Hull) -> bool {
    a.iter().zip(b).all(|(a, b)| b.0 <= a.0 && a.1 <= b.1)
}
