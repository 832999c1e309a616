//! The worst packet of a policy: how many rules that do not end the walk it can match.
//!
//! Each of them costs every packet that it matches: a round of the walk, a counter, perhaps a bucket
//! or an event. So their number for one packet has a bound ([`MOST_PASSED`]), and the walk does no
//! more rounds than that makes. How many there are in all is no matter.

mod depth;

pub use depth::Bound;

use crate::range::{Number, RangeSet};
use crate::rule::{AddrSet, Match, Rule};
use depth::{Dimension, bound};
use firewall_common::abi::LIMITS_PASSED;
use firewall_common::field::Field;
use firewall_common::key::Family;
use std::hash::Hash;

/// How many rules that let it go on one packet can match.
pub const MOST_PASSED: usize = 64;

/// Two kinds of rules that let a packet go on, and how many of them one packet can match.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// All of them: those that count, and those of [`Kind::Asked`].
    Passed,
    /// Those that the walk stops at, because the program asks more than their match: a limit, a time,
    /// a log. One with a limit and a log counts twice.
    Asked,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Passed, Self::Asked];

    /// Whether a rule is of this kind.
    #[must_use]
    pub fn has(self, rule: &Rule) -> bool {
        rule.enabled && !rule.always_decides() && (self == Self::Passed || rule.is_gated())
    }

    /// For how many a rule of this kind counts.
    fn weight(self, rule: &Rule) -> usize {
        match self {
            Self::Asked if rule.limit.is_some() && rule.log.is_some() => 2,
            _ => 1,
        }
    }

    /// How many one packet can match.
    #[must_use]
    pub const fn most(self) -> usize {
        match self {
            Self::Passed => MOST_PASSED,
            Self::Asked => LIMITS_PASSED,
        }
    }
}

/// How many rules of a kind one packet of a family can match: never below the truth, and above it
/// only where finding it out would take too long.
///
/// With `more_than`, the question is whether there can be more than that, which is answered sooner:
/// [`Bound::most`] is that number then if there cannot.
#[must_use]
pub fn passed(rules: &[Rule], family: Family, kind: Kind, more_than: usize) -> Bound {
    match family {
        Family::V4 => of_family(rules, kind, more_than, |set| &set.v4),
        Family::V6 => of_family(rules, kind, more_than, |set| &set.v6),
    }
}

fn of_family<T: Number + Hash>(
    rules: &[Rule],
    kind: Kind,
    more_than: usize,
    half: fn(&AddrSet) -> &RangeSet<T>,
) -> Bound {
    let can_match = |matches: &Match| {
        !half(&matches.src).is_empty()
            && !half(&matches.dst).is_empty()
            && !matches.fields.iter().any(RangeSet::is_empty)
    };
    let numbers: Vec<usize> = (0..rules.len())
        .filter(|&number| kind.has(&rules[number]) && can_match(&rules[number].matches))
        .flat_map(|number| std::iter::repeat_n(number, kind.weight(&rules[number])))
        .collect();
    if numbers.len() <= more_than {
        return Bound {
            most: more_than,
            rules: Vec::new(),
            exact: true,
        };
    }
    let matches = || numbers.iter().map(|&number| &rules[number].matches);
    let addresses = [
        Dimension::of(matches().map(|matches| half(&matches.src))),
        Dimension::of(matches().map(|matches| half(&matches.dst))),
    ];
    let fields = Field::ALL
        .iter()
        .map(|&field| Dimension::of(matches().map(move |matches| matches.field(field))));
    let dimensions: Vec<Dimension> = addresses.into_iter().chain(fields).flatten().collect();
    let mut found = bound(numbers.len(), &dimensions, more_than);
    for rule in &mut found.rules {
        *rule = numbers[*rule];
    }
    found.rules.dedup();
    found
}

/// Of rules, the two that are nearest alike, and the keys in which they differ.
#[must_use]
pub fn nearest(rules: &[&Rule]) -> Option<(usize, usize, Vec<&'static str>)> {
    /// So many are compared with each other.
    const COMPARED: usize = 200;
    let rules = &rules[..rules.len().min(COMPARED)];
    let pairs = (0..rules.len()).flat_map(|a| (a + 1..rules.len()).map(move |b| (a, b)));
    let (_, a, b) = pairs
        .map(|(a, b)| (differences(rules[a], rules[b]).len(), a, b))
        .min()?;
    Some((a, b, differences(rules[a], rules[b])))
}

/// The keys in which the matches of two rules differ.
fn differences(a: &Rule, b: &Rule) -> Vec<&'static str> {
    let (a, b) = (&a.matches, &b.matches);
    let addresses = [("from", a.src != b.src), ("to", a.dst != b.dst)];
    let fields = Field::ALL.map(|field| (field.name(), a.field(field) != b.field(field)));
    let mut keys: Vec<&str> = Vec::new();
    let content = [("payload", a.content != b.content)];
    for (key, differs) in addresses.into_iter().chain(fields).chain(content) {
        if differs && !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}
