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

/// The restrictions by source that fall where packets newly pass by a rule that names no sources, and that
/// `is_new` or has overtaken the rule that decided so far. `difference` is that of `old` and `new`.
#[must_use]
pub fn fallen(
    old: &Policy,
    new: &Policy,
    difference: &Difference,
    is_new: impl Fn(&Rule) -> bool,
) -> Vec<Fallen> {
    let opens = |region: &Region| {
        let rule = region.becomes.rule.map(|rule| &new.rules[rule]);
        let was = region.was.rule.map(|rule| &old.rules[rule]);
        let stays = |was: &Rule| new.rules.iter().any(|it| it.name == was.name && it.enabled);
        region.becomes.verdict == Verdict::PASS
            && rule.is_some_and(|rule| !names_sources(&rule.matches))
            && (rule.is_some_and(&is_new) || was.is_some_and(stays))
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
fn is_restricted(matches: &Match) -> bool {
    matches.src != AddrSet::any()
        || !matches.is_any(Field::SourceSets)
        || !matches.is_any(Field::Mac)
}

/// The most addresses that are some and not everybody, of IPv4 and IPv6: a prefix of 8 bits, and one of 16.
const SOME: (u128, u128) = (1 << 24, 1 << 112);

/// Whether a rule says from where: by sets, by MAC addresses, or by addresses that are not nearly all
/// of a family.
#[must_use]
pub fn names_sources(matches: &Match) -> bool {
    let (v4, v6) = (matches.src.v4.ranges(), matches.src.v6.ranges());
    let v4: u128 = v4.iter().map(|&(a, z)| u128::from(z - a) + 1).sum();
    let v6 = v6.iter().fold(0_u128, |all, &(a, z)| {
        all.saturating_add((z - a).saturating_add(1))
    });
    let few = matches.src != AddrSet::any() && v4 <= SOME.0 && v6 <= SOME.1;
    few || !matches.is_any(Field::SourceSets) || !matches.is_any(Field::Mac)
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
        // Nearly everybody is everybody.
        for all in [
            "0.0.0.0/0",
            "\"::/0\"",
            "[0.0.0.0/1, 128.0.0.0/1]",
            "\"!192.0.2.1\"",
        ] {
            let rule = format!("proto: tcp, port: 8080, from: {all}, action: pass");
            assert!(by(&rule).contains(&"app".to_owned()), "{all}");
        }
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

    /// A rule that was there overtakes one that keeps some out; or that one goes.
    #[test]
    fn who_overtakes_a_restriction_takes_it_away_and_whoever_deletes_it_means_it() {
        let web = "- {name: web, proto: tcp, port: 80, action: pass}\n";
        let deny = "- {name: deny, from: 198.51.100.9, action: drop}\n";
        let read = |rules: &str| {
            let text = format!("version: 1\ndefault: {{in: drop}}\nrules:\n{rules}");
            read_policy("p.yaml", &text, &NoFiles).unwrap().policy
        };
        let old = read(&format!("{deny}{web}"));
        let falls = |rules: &str| {
            let new = read(rules);
            fallen(&old, &new, &diff(&old, &new), |_| false).len()
        };
        assert_eq!(falls(&format!("{web}{deny}")), 1);
        assert_eq!(falls(web), 0);
        assert_eq!(falls(&format!("{deny}{web}")), 0);
    }

    #[test]
    fn a_port_that_no_rule_names_may_be_opened() {
        // Whoever is in the set `bad` is let in, too.
        assert_eq!(by("proto: udp, port: 53, action: pass"), ["bad"]);
    }
}
