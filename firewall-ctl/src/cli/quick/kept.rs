//! What a quick rule keeps of the rule that has decided about its packets so far: `limit ssh` limits what
//! passes, and opens nothing else.
//!
//! The policy's text says it; the files that it names are not needed for that. May not ask the firewall.

use super::rules::{self, Made};
use super::words::{Does, Said, Wish};
use firewall_api::failure::{Exit, Failure};
use firewall_common::field::Field;
use firewall_common::verdict::Action;
use firewall_policy::bundle;
use firewall_policy::files::Files;
use firewall_policy::range::RangeSet;
use firewall_policy::rule::Rule;
use firewall_policy::source::read_policy;
use serde_json::{Map, Value};
use std::io;

/// What is not about packets, or what the quick rule says itself.
const OWN: [&str; 12] = [
    "name",
    "comment",
    "owner",
    "reason",
    "enabled",
    "expires",
    "action",
    "proto",
    "port",
    "limit",
    "log",
    "syn_protect",
];

/// What goes on when somebody else decides.
const MANNERS: [&str; 2] = ["syn_protect", "log"];

/// Keys whose values a quick rule can say.
const SAID: [&str; 3] = ["from", "to", "zone"];

/// Whether a verb passes packets.
fn passes_at_all(does: Does) -> bool {
    matches!(does, Does::Allow | Does::Limit)
}

/// Rules that pass what a limit is about, each for other packets: one rule cannot say what they say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Differ {
    /// Names, and by what each is for some packets only: `from: 10.0.0.0/8`.
    rules: Vec<(String, String)>,
    /// Whether a quick rule can say in what they differ.
    can_be_said: bool,
}

impl Differ {
    /// The refusal of what would open more than they pass.
    pub(super) fn refusal(&self, rule: &Made) -> Failure {
        let one = |(name, what): &(String, String)| format!("`{name}` ({what})");
        let rules: Vec<String> = self.rules.iter().map(one).collect();
        Failure::new(
            Exit::Refused,
            format!(
                "`{}` would open more than passes so far: {} pass it for different packets",
                rule.name,
                rules.join(" and ")
            ),
        )
        .help(match self.can_be_said {
            true => "limit each of them: add its `from`, `to` or `on`; if you mean to open all, add --i-know",
            false => {
                "no quick rule can say in what they differ: write `limit` into each of them in the \
                 policy; if you mean to open all, add --i-know"
            }
        })
        .outcome("nothing was changed")
    }
}

/// A rule with what it keeps; and where it can keep nothing that narrows it, why.
pub(super) fn with_kept(
    rule: Made,
    policy: &str,
    does: Does,
    wish: &Wish,
) -> (Made, Option<Differ>) {
    let (mut keys, differ) = kept(policy, does, &wish.said(&rule.ports));
    if rule.is_for_known {
        keys.retain(|(key, _)| !MANNERS.contains(&key.as_str()));
    }
    let yaml = with(&rule.yaml, &keys);
    (Made { yaml, ..rule }, differ)
}

/// The keys that a quick rule keeps, with their values in one line of YAML.
pub(super) fn kept(
    text: &str,
    does: Does,
    said: &Said<'_>,
) -> (Vec<(String, String)>, Option<Differ>) {
    let nothing = (Vec::new(), None);
    let Some((protocols, ports)) = said.what.as_ref().filter(|_| passes_at_all(does)) else {
        return nothing;
    };
    let Ok(read) = read_policy("policy", text, &NoLists) else {
        return nothing;
    };
    let Some(ports) = numbers(ports) else {
        return nothing;
    };
    let passing: Vec<&Rule> = read
        .policy
        .rules
        .iter()
        .filter(|rule| passes(rule, protocols, &ports))
        .collect();
    if passing.is_empty() {
        return nothing;
    }
    let written = |rule: &Rule| of_rule(text, &rule.name).unwrap_or_default();
    let narrows = |key: &String| {
        let says_it = match key.as_str() {
            "from" => said.from,
            "to" => said.to,
            "zone" => said.on,
            key => OWN.contains(&key),
        };
        !says_it
    };
    let narrowing = |rule: &Rule| -> Map<String, Value> {
        let keys = written(rule).into_iter();
        keys.filter(|(key, _)| narrows(key)).collect()
    };
    let mut keys = Map::new();
    let mut differ = None;
    if does == Does::Limit {
        let narrowed: Vec<_> = passing.iter().map(|rule| narrowing(rule)).collect();
        // What one of them passes whole is open already.
        if narrowed.windows(2).all(|pair| pair[0] == pair[1]) {
            keys = narrowed.into_iter().next().unwrap_or_default();
        } else if !narrowed.iter().any(Map::is_empty) {
            let names = passing.iter().map(|rule| rule.name.clone());
            let rules = names.zip(narrowed.iter().map(in_words)).collect();
            let can_be_said = differing(&narrowed).all(|key| SAID.contains(&key));
            differ = Some(Differ { rules, can_be_said });
        }
    }
    for rule in &passing {
        for (key, value) in written(rule) {
            let goes_on = MANNERS.contains(&key.as_str())
                || key == "limit" && does == Does::Allow && !said.rate;
            let is_said = key == "log" && said.log;
            if goes_on && !is_said && !keys.contains_key(&key) {
                keys.insert(key, value);
            }
        }
    }
    let keys = keys.into_iter();
    let keys = keys.map(|(key, value)| (key, in_line(&value)));
    (keys.collect(), differ)
}

/// The keys that some rules have with different values, or not all of them.
fn differing(rules: &[Map<String, Value>]) -> impl Iterator<Item = &str> {
    let keys = rules.iter().flat_map(Map::keys).map(String::as_str);
    let differs = |key: &&str| {
        rules
            .windows(2)
            .any(|pair| pair[0].get(*key) != pair[1].get(*key))
    };
    keys.filter(differs)
}

/// Keys and values of a rule in a line.
fn in_words(keys: &Map<String, Value>) -> String {
    let pairs = keys.iter();
    let pairs = pairs.map(|(key, value)| format!("{key}: {}", in_line(value)));
    pairs.collect::<Vec<_>>().join(", ")
}

/// Whether a rule passes packets of these protocols to some of these ports, and names both: what passes
/// all ports alike is not about these.
fn passes(rule: &Rule, protocols: &[u32], ports: &RangeSet<u32>) -> bool {
    let names = |field: Field| !rule.matches.is_any(field);
    let of_protocol = |&number: &u32| rule.matches.field(Field::Proto).contains(number);
    let own = rule.matches.field(Field::DestinationPort);
    rule.enabled
        && rule.action == Action::PASS
        && names(Field::Proto)
        && names(Field::DestinationPort)
        && protocols.iter().any(of_protocol)
        && !own.intersection(ports).is_empty()
}

/// `80,5000-5010`, or the name of a service.
fn numbers(ports: &str) -> Option<RangeSet<u32>> {
    let one = |part: &str| {
        if let Some((port, _)) = firewall_policy::well_known_ports::find(part) {
            return Some((u32::from(port), u32::from(port)));
        }
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
        (first <= last).then_some((first.into(), last.into()))
    };
    let ranges: Option<Vec<_>> = ports.split(',').map(one).collect();
    Some(RangeSet::from_ranges(ranges?))
}

/// The keys of a rule as they are written.
fn of_rule(text: &str, name: &str) -> Option<Map<String, Value>> {
    bundle::parts(text).iter().find_map(|part| {
        let tree: Value = serde_saphyr::from_str(part.text).ok()?;
        let rules = tree.get("rules")?.as_array()?;
        let mut own = rules.iter().filter_map(Value::as_object);
        own.find(|it| it.get("name").and_then(Value::as_str) == Some(name))
            .cloned()
    })
}

/// A rule in one line of YAML with more keys.
pub(super) fn with(rule: &str, kept: &[(String, String)]) -> String {
    let Some((front, action)) = rule.rsplit_once(", action:") else {
        return rule.to_owned();
    };
    let kept = kept.iter().map(|(key, value)| format!(", {key}: {value}"));
    let whole = format!("{front}{}, action:{action}", kept.collect::<String>());
    rules::readable(&whole).unwrap_or(whole)
}

/// A value in one line of YAML.
fn in_line(value: &Value) -> String {
    match value {
        Value::String(text) => rules::quoted(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(in_line).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(pairs) => {
            let pairs = pairs
                .iter()
                .map(|(key, value)| format!("{key}: {}", in_line(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// Lists of which nobody needs to know what is in them: each has one address.
struct NoLists;

impl Files for NoLists {
    fn open(&self, _path: &str) -> io::Result<Box<dyn io::Read + '_>> {
        Ok(Box::new(&b"192.0.2.1\n"[..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "\
version: 1
default: {in: drop}
sets: {customers: {type: cidr, file: customers.txt}}
rules:
  - {name: app, proto: tcp, port: 8080, from: \"@customers\", log: 10/s, action: pass, syn_protect: auto}
  - name: ssh
    proto: tcp
    port: ssh
    from: [203.0.113.0/24, \"2001:db8::/32\"]
    limit: {new: 6/30s, per: source}
    action: pass
  - {name: web, proto: tcp, port: [80, 443], syn_protect: auto, action: pass}
  - {name: dns-lan, proto: udp, port: 53, from: 10.0.0.0/8, action: pass}
  - {name: dns-wan, proto: udp, port: 53, from: 203.0.113.0/24, action: pass}
  - {name: replies, state: established, action: pass}
";

    fn keeps(does: Does, protocols: &[u32], ports: &str, from: bool) -> String {
        let said = Said {
            what: Some((protocols.to_vec(), ports)),
            from,
            ..Said::default()
        };
        with("{name: new, action: pass}", &kept(POLICY, does, &said).0)
    }

    #[test]
    fn a_limit_keeps_what_narrows_and_what_goes_on() {
        assert_eq!(
            keeps(Does::Limit, &[6], "8080", false),
            "{name: new, from: \"@customers\", log: 10/s, action: pass, syn_protect: auto}"
        );
        assert_eq!(
            keeps(Does::Limit, &[6], "ssh", false),
            "{name: new, from: [203.0.113.0/24, \"2001:db8::/32\"], action: pass}"
        );
        assert_eq!(
            keeps(Does::Limit, &[6], "22", true),
            "{name: new, action: pass}"
        );
        assert_eq!(
            keeps(Does::Limit, &[6, 17], "80", false),
            "{name: new, action: pass, syn_protect: auto}"
        );
    }

    #[test]
    fn what_several_rules_say_differently_is_refused_to_a_limit() {
        let differ = |does, from, port| {
            let said = Said {
                what: Some((vec![17], port)),
                from,
                ..Said::default()
            };
            kept(POLICY, does, &said).1
        };
        let rules = differ(Does::Limit, false, "53").unwrap().rules;
        assert_eq!(
            rules,
            [
                ("dns-lan".to_owned(), "from: 10.0.0.0/8".to_owned()),
                ("dns-wan".to_owned(), "from: 203.0.113.0/24".to_owned()),
            ]
        );
        // Who says from where opens what they say; and to allow is to open.
        assert_eq!(differ(Does::Limit, true, "53"), None);
        assert_eq!(differ(Does::Allow, false, "53"), None);
        // What is open to all stays so.
        let open = POLICY.replace(
            "rules:\n",
            "rules:\n  - {name: dns, proto: udp, port: 53, action: pass}\n",
        );
        let said = Said {
            what: Some((vec![17], "53")),
            ..Said::default()
        };
        assert_eq!(kept(&open, Does::Limit, &said), (Vec::new(), None));
    }

    #[test]
    fn the_way_out_of_a_refusal_is_one() {
        let can_be_said = |a: &str, b: &str| {
            let rule = |name: &str, keys: &str| {
                format!("  - {{name: {name}, proto: tcp, port: 22, {keys}, action: pass}}\n")
            };
            let policy = format!(
                "version: 1\ndefault: {{in: drop}}\nrules:\n{}{}",
                rule("a", a),
                rule("b", b)
            );
            let said = Said {
                what: Some((vec![6], "22")),
                ..Said::default()
            };
            kept(&policy, Does::Limit, &said).1.unwrap().can_be_said
        };
        assert!(can_be_said("from: 10.0.0.0/8", "from: 192.0.2.0/24"));
        assert!(can_be_said(
            "vlan: 10, from: 10.0.0.0/8",
            "vlan: 10, to: 192.0.2.80"
        ));
        for (a, b) in [
            ("vlan: 10", "vlan: 20"),
            ("vlan: 10", "from: 10.0.0.0/8"),
            ("state: new", "source_port: 1024-65535"),
        ] {
            assert!(!can_be_said(a, b), "{a} / {b}");
        }
    }

    #[test]
    fn to_allow_is_to_open_and_goes_on_in_the_same_manner() {
        assert_eq!(
            keeps(Does::Allow, &[6], "8080", false),
            "{name: new, log: 10/s, action: pass, syn_protect: auto}"
        );
        assert_eq!(
            keeps(Does::Allow, &[6], "ssh", false),
            "{name: new, limit: {new: 6/30s, per: source}, action: pass}"
        );
        assert_eq!(
            keeps(Does::Deny, &[6], "80", false),
            "{name: new, action: pass}"
        );
        assert_eq!(
            keeps(Does::Limit, &[6], "25", false),
            "{name: new, action: pass}"
        );
    }
}
