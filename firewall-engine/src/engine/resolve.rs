//! From interface patterns to interfaces of the calling thread's network namespace.

use super::EngineError;
use crate::kernel::host;
use crate::kernel::links::Link;
use crate::kernel::program::Framing;
use firewall_policy::diag::nearest;
use firewall_policy::rule::{DEFAULT_ROUTE, Mode, Policy, glob as matches};
use std::collections::BTreeSet;

/// An interface to filter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) ifindex: u32,
    pub(super) mode: Mode,
    /// Why it can be filtered in that mode alone, if that is so.
    pub(super) fallback: Option<String>,
    /// What its frames begin with.
    pub(super) framing: Framing,
    pub(super) zone: u32,
    pub(super) zone_name: String,
}

/// The interfaces there are.
#[derive(Debug)]
pub(super) struct Present {
    interfaces: Vec<(String, u32)>,
    links: Vec<Link>,
    default_route: BTreeSet<String>,
}

impl Present {
    /// Asks the kernel.
    pub(super) fn now() -> Result<Self, EngineError> {
        let mut links = host::links()?;
        links.sort_by_key(|link| link.ifindex);
        let by_route = host::default_routes(&links)?;
        let interfaces = links.iter().map(|link| (link.name.clone(), link.ifindex));
        let interfaces: Vec<_> = interfaces.collect();
        let has_route = interfaces.iter().filter(|it| by_route.contains(&it.1));
        Ok(Self {
            default_route: has_route.map(|(name, _)| name.clone()).collect(),
            interfaces,
            links,
        })
    }

    /// All of them, as the kernel describes them.
    pub(super) fn links(&self) -> &[Link] {
        &self.links
    }

    /// The interface with an index.
    pub(super) fn link(&self, ifindex: u32) -> Option<&Link> {
        self.links.iter().find(|link| link.ifindex == ifindex)
    }

    /// The name that an interface index has now.
    pub(super) fn name_of(&self, ifindex: u32) -> Option<&str> {
        self.interfaces
            .iter()
            .find(|(_, index)| *index == ifindex)
            .map(|(name, _)| name.as_str())
    }

    /// The interfaces of a pattern. A pattern without wildcards must match.
    pub(super) fn matching(&self, pattern: &str) -> Result<Vec<&(String, u32)>, EngineError> {
        if pattern == DEFAULT_ROUTE {
            let found: Vec<_> = self
                .interfaces
                .iter()
                .filter(|(name, _)| self.default_route.contains(name))
                .collect();
            if found.is_empty() {
                return Err(EngineError::Interface(format!(
                    "`default-route` matches no interface: there is no default route. Name the \
                     interface; there are: {}",
                    self.listing()
                )));
            }
            return Ok(found);
        }
        let is_glob = pattern.contains(['*', '?']);
        let found: Vec<_> = self
            .interfaces
            .iter()
            // Nobody means the loopback interface by `*`.
            .filter(|(name, _)| matches(pattern, name) && !(is_glob && name == "lo"))
            .collect();
        if found.is_empty() && !is_glob {
            let names = self.interfaces.iter().map(|(name, _)| name.as_str());
            let guess = nearest(pattern, names)
                .map_or(String::new(), |name| format!(" Did you mean {name}?"));
            return Err(EngineError::Interface(format!(
                "there is no interface {pattern}.{guess} There are: {}",
                self.listing()
            )));
        }
        Ok(found)
    }

    fn listing(&self) -> String {
        let names: Vec<&str> = self
            .interfaces
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        names.join(", ")
    }

    /// What the policy's first entry that matches an interface says about it.
    fn describe(&self, policy: &Policy, name: &str, ifindex: u32) -> Target {
        let entry = policy.interfaces.iter().find(|entry| {
            entry.matches.iter().any(|pattern| {
                if pattern == DEFAULT_ROUTE {
                    self.default_route.contains(name)
                } else {
                    matches(pattern, name)
                }
            })
        });
        let zone = entry.map_or(0, |entry| entry.zone);
        Target {
            name: name.into(),
            ifindex,
            mode: entry.map_or(Mode::Auto, |entry| entry.mode),
            fallback: None,
            framing: Framing::Ethernet,
            zone,
            zone_name: policy.zones.get(zone as usize).cloned().unwrap_or_default(),
        }
    }
}

/// The interfaces to filter, by index, and what to warn about.
///
/// `named` are the caller's patterns; `filtered` are the interfaces that are filtered already.
pub(super) fn resolve(
    policy: &Policy,
    named: &[String],
    filtered: &[u32],
    present: &Present,
) -> Result<(Vec<Target>, Vec<String>), EngineError> {
    let mut warnings = Vec::new();
    let patterns: Vec<&str> = if named.is_empty() {
        policy
            .interfaces
            .iter()
            .flat_map(|entry| &entry.matches)
            .map(String::as_str)
            .collect()
    } else {
        named.iter().map(String::as_str).collect()
    };
    let mut chosen = BTreeSet::new();
    for pattern in &patterns {
        let found = present.matching(pattern)?;
        if found.is_empty() {
            warnings.push(format!("the pattern `{pattern}` matches no interface now"));
        }
        chosen.extend(found.into_iter().map(|(_, index)| *index));
    }
    if !named.is_empty() || patterns.is_empty() {
        // One policy is in force at a time: interfaces that are filtered stay so, with this one.
        for &index in filtered {
            if chosen.insert(index)
                && !patterns.is_empty()
                && let Some(name) = present.name_of(index)
            {
                warnings.push(format!(
                    "{name} was filtered before and gets this policy as well; `unload -i {name}` \
                     takes it off"
                ));
            }
        }
    } else {
        for index in filtered.iter().filter(|index| !chosen.contains(index)) {
            if let Some(name) = present.name_of(*index) {
                warnings.push(format!(
                    "{name} is no longer filtered: the policy does not name it"
                ));
            }
        }
    }
    if chosen.is_empty() {
        let reason = match patterns.as_slice() {
            [] => "no interface is named: add `-i IF`, or `interfaces:` to the policy".to_owned(),
            patterns => format!("no interface matches {}", patterns.join(", ")),
        };
        return Err(EngineError::Interface(format!(
            "{reason}. There are: {}",
            present.listing()
        )));
    }
    let targets = chosen
        .into_iter()
        .filter_map(|index| Some(present.describe(policy, present.name_of(index)?, index)))
        .collect();
    Ok((targets, warnings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewall_common::verdict::Verdict;
    use firewall_policy::rule::Interface;

    fn present() -> Present {
        let names = [("lo", 1), ("eth0", 2), ("eth1", 3), ("wg0", 7)];
        Present {
            interfaces: names.map(|(name, index)| (name.to_owned(), index)).to_vec(),
            links: Vec::new(),
            default_route: BTreeSet::from(["eth0".to_owned()]),
        }
    }

    fn policy(entries: &[(&[&str], Mode, u32)]) -> Policy {
        Policy {
            interfaces: entries
                .iter()
                .map(|(patterns, mode, zone)| Interface {
                    matches: patterns.iter().map(|&p| p.to_owned()).collect(),
                    mode: *mode,
                    zone: *zone,
                })
                .collect(),
            zones: vec![String::new(), "wan".into()],
            audit: false,
            default_log: None,
            default_verdict: Verdict::DROP,
            essential: 0,
            packet: Default::default(),
            flows: None,
            rules: Vec::new(),
            live: Vec::new(),
            exempt: firewall_policy::rule::AddrSet::none(),
        }
    }

    fn names(targets: &[Target]) -> Vec<&str> {
        targets.iter().map(|target| target.name.as_str()).collect()
    }

    fn resolve_names(policy: &Policy, named: &[&str], filtered: &[u32]) -> Vec<String> {
        let named: Vec<String> = named.iter().map(|&n| n.to_owned()).collect();
        let (targets, _) = resolve(policy, &named, filtered, &present()).unwrap();
        targets.into_iter().map(|target| target.name).collect()
    }

    #[test]
    fn the_policy_names_exactly_what_is_filtered() {
        let policy = policy(&[
            (&["default-route"], Mode::Native, 1),
            (&["w*"], Mode::Auto, 0),
        ]);
        let (targets, warnings) = resolve(&policy, &[], &[3], &present()).unwrap();
        assert_eq!(names(&targets), ["eth0", "wg0"]);
        assert_eq!(
            (targets[0].mode, targets[0].zone_name.as_str()),
            (Mode::Native, "wan")
        );
        assert_eq!((targets[1].mode, targets[1].zone), (Mode::Auto, 0));
        assert_eq!(
            warnings,
            ["eth1 is no longer filtered: the policy does not name it"]
        );
    }

    #[test]
    fn the_caller_adds_to_what_is_filtered() {
        let nothing = policy(&[]);
        assert_eq!(resolve_names(&nothing, &["eth1"], &[]), ["eth1"]);
        assert_eq!(resolve_names(&nothing, &["eth1"], &[2]), ["eth0", "eth1"]);
        assert_eq!(resolve_names(&nothing, &[], &[2]), ["eth0"]);
        assert_eq!(
            resolve_names(&nothing, &["*"], &[]),
            ["eth0", "eth1", "wg0"]
        );
        assert_eq!(resolve_names(&nothing, &["lo"], &[]), ["lo"]);
    }

    #[test]
    fn a_name_that_is_not_there_is_an_error_that_helps() {
        let error = |policy: &Policy, named: &[String]| {
            resolve(policy, named, &[], &present())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            error(&policy(&[]), &["ehT0".to_lowercase().replace("eh", "he")]),
            "there is no interface het0. Did you mean eth0? There are: lo, eth0, eth1, wg0"
        );
        assert_eq!(
            error(&policy(&[]), &["enp1s0".into()]),
            "there is no interface enp1s0. There are: lo, eth0, eth1, wg0"
        );
        assert_eq!(
            error(&policy(&[(&["ens*"], Mode::Auto, 0)]), &[]),
            "no interface matches ens*. There are: lo, eth0, eth1, wg0"
        );
        assert!(error(&policy(&[]), &[]).starts_with("no interface is named: add `-i IF`"));
    }

    #[test]
    fn globs() {
        for (pattern, name, expected) in [
            ("eth0", "eth0", true),
            ("eth0", "eth01", false),
            ("eth*", "eth", true),
            ("e*0", "eth10", true),
            ("e*0*1", "e00x01", true),
            ("e?h0", "eth0", true),
            ("?", "", false),
            ("*", "", true),
            ("*a*b", "xaxbxc", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
