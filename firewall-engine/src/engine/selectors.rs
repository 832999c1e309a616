//! The words by which interfaces are chosen, and what they mean at any time.

use super::resolve::{Present, Target, is_glob};
use super::types::{Request, Scope, Selectors};
use firewall_common::field::Field;
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

/// What is said of interfaces without a zone on which rules match nothing because they ask for one:
/// of those that the policy does not name, and of all where no rule is left.
pub(super) fn without_zone(
    policy: &Policy,
    selectors: &Selectors,
    targets: &[Target],
    present: &Present,
) -> Option<String> {
    let zone = policy.zones.get(1)?;
    let rules = || policy.rules.iter().filter(|rule| rule.enabled);
    let all = rules().count();
    let zoned = rules()
        .filter(|rule| !rule.matches.fields[Field::Zone as usize].contains(0))
        .count();
    if zoned == 0 {
        return None;
    }
    let names: Vec<&str> = targets
        .iter()
        .filter(|it| it.zone == 0)
        .filter(|it| zoned == all || present.entry(selectors, &it.name).is_none())
        .map(|it| it.name.as_str())
        .collect();
    let first = names.first()?;
    let (have, interfaces) = match names.len() {
        1 => ("has", (*first).to_owned()),
        _ => ("have", names.join(", ")),
    };
    let rules = match zoned {
        _ if zoned == all => "no rule can match".to_owned(),
        1 => format!("1 of {all} rules cannot match"),
        _ => format!("{zoned} of {all} rules cannot match"),
    };
    Some(format!(
        "{interfaces} {have} no zone, so {rules} there; name the zone in `interfaces:`, as in \
         `- {{match: {first}, zone: {zone}}}`"
    ))
}
