//! Restrictions that a new rule in front of a policy takes away: a port that was open to some, or in one zone
//! alone, is open to everybody, or those whom a rule kept out come in.
//!
//! Pure.

use super::{Difference, Region};
use crate::rule::{AddrSet, Match, Policy, Rule};
use crate::space::reach::Carried;
use crate::space::{Address, Space};
use firewall_common::field::Field;
use firewall_common::verdict::{Action, Verdict};

/// By what a rule can be for some packets of a port, and not for all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Where they come from.
    Source,
    /// The address that they go to.
    Destination,
    /// Where they come in.
    Zone,
    /// Their VLAN.
    Vlan,
}

/// A restriction that falls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fallen {
    /// What newly passes, by its index among [`Difference::regions`].
    pub region: usize,
    /// The rule that restricts it, by its index in the old policy.
    pub by: usize,
    /// By what it does, and the new rule does not.
    pub side: Side,
}

/// The restrictions that fall where packets newly pass by a rule that names no sources, and that `is_new` or
/// has overtaken the rule that decided so far. Whoever says from where means that; of the other sides, each
/// falls that the rule does not name either. `difference` is that of `old` and `new`.
#[must_use]
pub fn fallen(
    old: &Policy,
    new: &Policy,
    difference: &Difference,
    is_new: impl Fn(&Rule) -> bool,
) -> Vec<Fallen> {
    let opener = |region: &Region| {
        let rule = region.becomes.rule.map(|rule| &new.rules[rule]);
        let was = region.was.rule.map(|rule| &old.rules[rule]);
        let stays = |was: &Rule| new.rules.iter().any(|it| it.name == was.name && it.enabled);
        let passes = region.becomes.verdict == Verdict::PASS;
        let opens = rule.filter(|rule| passes && !names_sources(&rule.matches))?;
        (is_new(opens) || was.is_some_and(stays)).then_some(opens)
    };
    let regions = difference.regions.iter().enumerate();
    let mut found = Vec::new();
    for (number, region) in regions {
        let Some(opener) = opener(region) else {
            continue;
        };
        let unnamed: Vec<Side> = Side::ALL
            .into_iter()
            .filter(|side| !side.is_named(&opener.matches))
            .collect();
        let falls = |rule: usize| {
            let restricts = |side: &&Side| side.restricts(&old.rules[rule].matches);
            unnamed.iter().find(restricts).copied()
        };
        let keeps_out = region.was.rule.and_then(|rule| Some((rule, falls(rule)?)));
        let lets_some_in = || {
            let mut rules = old.rules.iter().enumerate();
            rules.find_map(|(number, rule)| {
                let side = falls(number)?;
                lets_some_in(rule, region, &unnamed).then_some((number, side))
            })
        };
        if let Some((by, side)) = keeps_out.or_else(lets_some_in) {
            let region = number;
            found.push(Fallen { region, by, side });
        }
    }
    found
}

/// The most addresses that are some and not everybody, of IPv4 and IPv6: a prefix of 8 bits, and one of 16.
const SOME: (u128, u128) = (1 << 24, 1 << 112);

impl Side {
    const ALL: [Self; 4] = [Self::Source, Self::Destination, Self::Zone, Self::Vlan];

    /// The fields that say it, beside addresses.
    const fn fields(self) -> &'static [Field] {
        match self {
            Self::Source => &[Field::SourceSets, Field::Mac],
            Self::Destination => &[Field::DestinationSets],
            Self::Zone => &[Field::Zone],
            Self::Vlan => &[Field::Vlan],
        }
    }

    const fn addresses(self, matches: &Match) -> Option<&AddrSet> {
        match self {
            Self::Source => Some(&matches.src),
            Self::Destination => Some(&matches.dst),
            Self::Zone | Self::Vlan => None,
        }
    }

    /// Whether a rule is for some packets by it.
    fn restricts(self, matches: &Match) -> bool {
        let addresses = self.addresses(matches);
        addresses.is_some_and(|it| *it != AddrSet::any()) || self.is_in_fields(matches)
    }

    /// Whether a rule says it: by sets, by numbers, or by addresses that are not nearly all of a family.
    fn is_named(self, matches: &Match) -> bool {
        self.addresses(matches).is_some_and(are_few) || self.is_in_fields(matches)
    }

    fn is_in_fields(self, matches: &Match) -> bool {
        self.fields().iter().any(|&field| !matches.is_any(field))
    }

    /// A match without it.
    fn opened(self, mut matches: Match) -> Match {
        match self {
            Self::Source => matches.src = AddrSet::any(),
            Self::Destination => matches.dst = AddrSet::any(),
            Self::Zone | Self::Vlan => {}
        }
        for &field in self.fields() {
            matches.fields[field as usize] = Match::any().fields[field as usize].clone();
        }
        matches
    }
}

/// Whether addresses are some, and not nearly all of a family.
fn are_few(addresses: &AddrSet) -> bool {
    let (v4, v6) = (addresses.v4.ranges(), addresses.v6.ranges());
    let v4: u128 = v4.iter().map(|&(a, z)| u128::from(z - a) + 1).sum();
    let v6 = v6.iter().fold(0_u128, |all, &(a, z)| {
        all.saturating_add((z - a).saturating_add(1))
    });
    *addresses != AddrSet::any() && v4 <= SOME.0 && v6 <= SOME.1
}

/// Whether a rule says from where: by sets, by MAC addresses, or by addresses that are not nearly all
/// of a family.
#[must_use]
pub fn names_sources(matches: &Match) -> bool {
    Side::Source.is_named(matches)
}

/// Whether a rule passes packets like those of a region, to ports that it names, but for these sides.
fn lets_some_in(rule: &Rule, region: &Region, sides: &[Side]) -> bool {
    if !rule.enabled || rule.action != Action::PASS || rule.matches.is_any(Field::DestinationPort) {
        return false;
    }
    let opened = sides
        .iter()
        .fold(rule.matches.clone(), |it, side| side.opened(it));
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

    /// What a rule opens in a zone, to an address, or in a VLAN, stays there, unless the new one says where.
    #[test]
    fn zones_destinations_and_vlans_restrict_as_sources_do() {
        let read = |rules: &str| {
            let text = format!(
                "version: 1\ninterfaces: [{{match: lan0, zone: lan}}, {{match: wan0, zone: wan}}]\n\
                 default: {{in: drop}}\nsets: {{own: {{type: cidr, live: true, max: 10}}}}\nrules:\n{rules}"
            );
            let read = read_policy("p.yaml", &text, &NoFiles);
            read.unwrap_or_else(|error| panic!("{}", error.render(false)))
                .policy
        };
        let falls = |old: &str, new: &str| {
            let old = format!("- {{name: old, {old}}}\n");
            let new = format!("- {{name: new, proto: tcp, {new}, action: pass}}\n{old}");
            let (old, new) = (read(&old), read(&new));
            let found = fallen(&old, &new, &diff(&old, &new), |rule| rule.name == "new");
            found.first().map(|it| it.side)
        };
        let app = |more: &str| format!("proto: tcp, port: 8080, {more}, action: pass");
        for (restricted, said, side) in [
            ("zone: lan", "zone: wan", Side::Zone),
            ("vlan: 10", "vlan: 20", Side::Vlan),
            ("to: 192.0.2.80", "to: 192.0.2.81", Side::Destination),
            ("to: \"@own\"", "to: 192.0.2.81", Side::Destination),
        ] {
            assert_eq!(
                falls(&app(restricted), "port: 8080"),
                Some(side),
                "{restricted}"
            );
            assert_eq!(
                falls(&app(restricted), "port: 8000-9000"),
                Some(side),
                "{restricted}"
            );
            assert_eq!(falls(&app(restricted), "port: 81"), None, "{restricted}");
            assert_eq!(
                falls(&app(restricted), &format!("port: 8080, {said}")),
                None,
                "{said}"
            );
            let from = "port: 8080, from: 198.51.100.7";
            assert_eq!(falls(&app(restricted), from), None, "{restricted}");
            let keeps_out = format!("{restricted}, action: drop");
            assert_eq!(falls(&keeps_out, "port: 8080"), Some(side), "{restricted}");
        }
        // One side that is said says nothing of another one.
        let both = app("zone: lan, from: 203.0.113.0/24");
        assert_eq!(falls(&both, "port: 8080, zone: lan"), Some(Side::Source));
        let everywhere = "port: 8080, to: 0.0.0.0/0";
        assert_eq!(
            falls(&app("to: 192.0.2.80"), everywhere),
            Some(Side::Destination)
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
