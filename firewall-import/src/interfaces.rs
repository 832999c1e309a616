//! Interfaces that the rules of another firewall name, as numbers that boxes can hold.
//!
//! May not import a reader. Invariant: number 0 stands for every interface that no rule names.

use super::packets::{Dim, Family, Values};
use firewall_policy::range::RangeSet;
use firewall_policy::rule::glob;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Beginnings of names of bridges.
const BRIDGES: [&str; 9] = [
    "br", "docker", "virbr", "lxdbr", "lxcbr", "cni", "podman", "vmbr", "ovs",
];

/// The interfaces of one import.
#[derive(Clone, Debug, Default)]
pub(super) struct Interfaces {
    /// The policy is for this interface alone.
    only: Option<String>,
    /// Patterns in the order in which they are tried: names first, then from long to short.
    known: Vec<String>,
    /// What the first round finds.
    seen: RefCell<BTreeSet<String>>,
}

/// What an interface in a rule comes to.
pub(super) struct Meaning {
    pub(super) values: Values,
    /// Why it is an interface that the policy is not attached to.
    pub(super) detached: Option<&'static str>,
}

impl Interfaces {
    pub(super) fn new(only: Option<&str>) -> Self {
        Self {
            only: only.map(str::to_owned),
            ..Self::default()
        }
    }

    /// Takes up what the rules named so far: the next round calculates with it.
    pub(super) fn settle(&mut self) {
        let mut known: Vec<String> = self.seen.take().into_iter().collect();
        known.sort_by_key(|name| (is_pattern(name), usize::MAX - name.len(), name.clone()));
        self.known = known;
    }

    /// The packets that came in on what `pattern` names (`*` at the end for any rest).
    pub(super) fn named(&self, pattern: &str, negated: bool) -> Meaning {
        let full = || Dim::Interface.full(Family::V4);
        let positive = |values: Values, detached: Option<&'static str>| Meaning {
            values: if negated { values.complement() } else { values },
            detached,
        };
        if pattern == "*" {
            return positive(full(), None);
        }
        if let Some(only) = &self.only {
            let hit = glob(pattern, only);
            return positive(if hit { full() } else { RangeSet::empty() }, None);
        }
        if pattern == "lo" {
            return positive(RangeSet::empty(), None);
        }
        if !is_name(pattern) {
            return positive(
                RangeSet::empty(),
                Some("which is no name that a policy takes"),
            );
        }
        self.seen.borrow_mut().insert(pattern.to_owned());
        let numbers = self.known.iter().enumerate().filter_map(|(at, name)| {
            let number = at as u128 + 1;
            within(name, pattern).then_some((number, number))
        });
        let values = RangeSet::from_ranges(numbers.collect());
        // The first round knows nothing yet, and its result is thrown away.
        positive(values, None)
    }

    /// The patterns that the policy is attached to, with their numbers in order from 1.
    pub(super) fn known(&self) -> &[String] {
        &self.known
    }

    /// The interface that the policy is for.
    pub(super) fn only(&self) -> Option<&str> {
        self.only.as_deref()
    }
}

/// Whether a policy takes the name: one of Linux, with `*` at its end at most.
fn is_name(pattern: &str) -> bool {
    let name = pattern.strip_suffix('*').unwrap_or(pattern);
    let fits = |c: char| {
        c.is_ascii_graphic() && !matches!(c, '/' | ':' | '[' | ']' | '!' | ',' | '*' | '?')
    };
    let special = matches!(name, "" | "." | ".." | "default-route");
    pattern.len() <= 15 && !special && name.chars().all(fits)
}

fn is_pattern(name: &str) -> bool {
    name.ends_with('*')
}

/// Whether the name begins as those of bridges do.
pub(super) fn is_bridge(name: &str) -> bool {
    BRIDGES.iter().any(|start| name.starts_with(start))
}

/// Whether every name that fits `inner` fits `outer`.
fn within(inner: &str, outer: &str) -> bool {
    match (inner.strip_suffix('*'), outer.strip_suffix('*')) {
        (Some(inner), Some(outer)) => inner.starts_with(outer),
        (None, Some(outer)) => inner.starts_with(outer),
        _ => inner == outer,
    }
}

#[cfg(test)]
mod tests {
    use super::Interfaces;
    use crate::packets::{Dim, Family};

    #[test]
    fn patterns_hold_the_names_inside_of_them() {
        let mut interfaces = Interfaces::new(None);
        for pattern in ["eth*", "eth0", "lan1"] {
            interfaces.named(pattern, false);
        }
        interfaces.settle();
        assert_eq!(interfaces.known(), ["eth0", "lan1", "eth*"]);
        let ranges = |pattern, negated| interfaces.named(pattern, negated).values;
        assert_eq!(ranges("eth*", false).ranges(), [(1, 1), (3, 3)]);
        assert_eq!(ranges("eth0", false).ranges(), [(1, 1)]);
        assert!(ranges("eth0", true).contains(0));
        assert!(ranges("lo", false).is_empty());
        assert!(interfaces.named("docker0", false).detached.is_none());
        assert!(interfaces.named("a,b", false).detached.is_some());
    }

    #[test]
    fn for_one_interface_a_name_fits_or_not() {
        let interfaces = Interfaces::new(Some("eth0"));
        let full = Dim::Interface.full(Family::V4);
        assert_eq!(interfaces.named("eth*", false).values, full);
        assert!(interfaces.named("lan1", false).values.is_empty());
    }
}
