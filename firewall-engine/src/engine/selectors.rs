//! The words by which interfaces are chosen, and what they mean at any time.

use super::resolve::{Present, Target, is_glob};
use super::types::{Request, Scope, Selectors};
use firewall_policy::rule::{DEFAULT_ROUTE, Policy};

impl Selectors {
    /// The words of a request: what a caller names adds to what was named before, as far as that is still
    /// there.
    pub(super) fn of(
        request: &Request,
        policy: &Policy,
        known: Option<&Self>,
        present: &Present,
    ) -> Self {
        let before = known.map(|known| &known.named);
        let by_policy = !policy.interfaces.is_empty() && request.interfaces.is_empty();
        let mut named = Vec::new();
        if request.scope == Scope::Again {
            named.extend(before.into_iter().flatten().cloned());
        } else if !by_policy {
            let is_there = |word: &&String| {
                is_glob(word) || *word == DEFAULT_ROUTE || present.index_of(word).is_some()
            };
            named.extend(before.into_iter().flatten().filter(is_there).cloned());
            for word in &request.interfaces {
                if !named.contains(word) {
                    named.push(word.clone());
                }
            }
        }
        let again = known.filter(|_| request.scope == Scope::Again);
        Self {
            named,
            entries: policy.interfaces.clone(),
            zones: policy.zones.clone(),
            mode: request.mode,
            taken_off: again.map_or_else(Vec::new, |known| known.taken_off.clone()),
        }
    }

    /// The patterns by which interfaces are chosen.
    pub(super) fn patterns(&self) -> Vec<&str> {
        if !self.named.is_empty() {
            return self.named.iter().map(String::as_str).collect();
        }
        let patterns = self.entries.iter().flat_map(|entry| &entry.matches);
        patterns.map(String::as_str).collect()
    }

    /// All interfaces that they mean, but for those that were taken off; each with the first pattern.
    pub(super) fn meant(&self, present: &Present) -> Vec<(Target, String)> {
        let patterns = self.patterns();
        let interfaces = present.interfaces.iter();
        let meant = interfaces.filter_map(|(name, ifindex)| {
            let pattern = patterns
                .iter()
                .find(|pattern| present.means(pattern, name))?;
            let is_off = self.taken_off.contains(name);
            let target = present.describe(self, name, *ifindex);
            (!is_off).then(|| (target, (*pattern).to_owned()))
        });
        meant.collect()
    }

    /// Words that mean one interface, or that of the default route, and mean none now.
    pub(super) fn missing(&self, present: &Present) -> Vec<&str> {
        let mut patterns = self.patterns();
        let interfaces = &present.interfaces;
        patterns.retain(|pattern| {
            let is_one = !is_glob(pattern) && !self.taken_off.iter().any(|off| off == pattern);
            is_one
                && !interfaces
                    .iter()
                    .any(|(name, _)| present.means(pattern, name))
        });
        patterns
    }
}
