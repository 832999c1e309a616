//! Restrictions by source that a new rule in front of a policy takes away: a port that was open to some
//! is open to everybody, or those whom a rule kept out come in.
//!
//! Pure.

use super::{Difference, Region};
use crate::rule::{AddrSet, Match, Policy, Rule};
use crate::space::reach::Carried;
use crate::space::{Address, Space};
use firewall_common::field::Field;
use firewall_common::verdict::{Action, Verdict};

/// A restriction that falls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fallen {
    /// What newly passes, by its index among [`Difference::regions`].
    pub region: usize,
    /// The rule that restricts it, by its index in the old policy.
    pub by: usize,
}

/// The restrictions by source that fall where packets newly pass by a rule that `is_new` and that is for
/// every source. `difference` is that of `old` and `new`.
#[must_use]
pub fn fallen(
    old: &Policy,
    new: &Policy,
    difference: &Difference,
    is_new: impl Fn(&Rule) -> bool,
) -> Vec<Fallen> {
    let opens = |region: &Region| {
        let rule = region.becomes.rule.map(|rule| &new.rules[rule]);
        region.becomes.verdict == Verdict::PASS
            && rule.is_some_and(|rule| is_new(rule) && !is_restricted(&rule.matches))
    };
    let regions = difference.regions.iter().enumerate();
    let mut found = Vec::new();
    for (number, region) in regions.filter(|(_, region)| opens(region)) {
        let keeps_out = region.was.rule;
        let keeps_out = keeps_out.filter(|&rule| is_restricted(&old.rules[rule].matches));
        let lets_some_in = || {
            let rules = old.rules.iter();
            rules
                .into_iter()
                .position(|rule| lets_some_in(rule, region))
        };
        if let Some(by) = keeps_out.or_else(lets_some_in) {
            found.push(Fallen { region: number, by });
        }
    }
    found
}

/// Whether a rule is for some sources.
#[must_use]
pub fn is_restricted(matches: &Match) -> bool {
    matches.src != AddrSet::any()
        || !matches.is_any(Field::SourceSets)
        || !matches.is_any(Field::Mac)
}

/// Whether a rule passes packets like those of a region, to ports that it names, from some sources.
fn lets_some_in(rule: &Rule, region: &Region) -> bool {
    if !rule.enabled
        || rule.action != Action::PASS
        || rule.matches.is_any(Field::DestinationPort)
        || !is_restricted(&rule.matches)
    {
        return false;
    }
    let mut opened = rule.matches.clone();
    opened.src = AddrSet::any();
    for field in [Field::SourceSets, Field::Mac] {
        opened.fields[field as usize] = Match::any().fields[field as usize].clone();
    }
    meets(&opened, &region.v4) || meets(&opened, &region.v6)
}

fn meets<T: Carried + Address>(matches: &Match, parts: &[Space<T>]) -> bool {
    let space = Space::<T>::of(matches);
    space.is_some_and(|space| parts.iter().any(|part| part.meets(&space)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::diff;
    use crate::files::NoFiles;
    use crate::source::read_policy;

    const OLD: &str = "\
default: {in: drop}
sets: {customers: {type: cidr, elements: [203.0.113.0/24]}, bad: {type: cidr, live: true, max: 10}}
rules:
- {name: bad, from: \"@bad\", action: drop}
- {name: app, proto: tcp, port: 8080, from: \"@customers\", action: pass}
- {name: web, proto: tcp, port: 80, action: pass}
- {name: lan, from: 10.0.0.0/8, action: pass}
";

    /// Names of the rules whose restrictions fall if a rule stands first.
    fn by(rule: &str) -> Vec<String> {
        let read = |text: &str| {
            let text = format!("version: 1\n{text}");
            let read = read_policy("p.yaml", &text, &NoFiles);
            read.unwrap_or_else(|error| panic!("{}", error.render(false)))
                .policy
        };
        let new = OLD.replace("rules:\n", &format!("rules:\n- {{name: new, {rule}}}\n"));
        let (old, new) = (read(OLD), read(&new));
        let difference = diff(&old, &new);
        assert!(difference.complete);
        let found = fallen(&old, &new, &difference, |rule| rule.name == "new");
        let mut names: Vec<String> = found
            .iter()
            .map(|fallen| old.rules[fallen.by].name.clone())
            .collect();
        names.sort();
        names.dedup();
        names
    }

    #[test]
    fn a_port_for_some_and_those_who_are_kept_out_are_named() {
        assert_eq!(by("proto: tcp, port: 8080, action: pass"), ["app", "bad"]);
        let limited = "proto: tcp, port: 8000-9000, limit: {new: 6/30s, per: source}, action: pass";
        assert_eq!(by(limited), ["app", "bad"]);
        assert_eq!(by("proto: tcp, port: 80, action: pass"), ["bad"]);
        // Whoever says from where knows.
        let none: [&str; 0] = [];
        assert_eq!(
            by("proto: tcp, port: 8080, from: 198.51.100.7, action: pass"),
            none
        );
        assert_eq!(by("proto: udp, port: 8080, action: drop"), none);
        assert_eq!(
            by("proto: tcp, port: 8080, from: \"!@bad\", action: pass"),
            none
        );
    }

    #[test]
    fn a_port_that_no_rule_names_may_be_opened() {
        // Whoever is in the set `bad` is let in, too.
        assert_eq!(by("proto: udp, port: 53, action: pass"), ["bad"]);
    }
}
