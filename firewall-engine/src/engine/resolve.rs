//! From interface patterns to interfaces of the calling thread's network namespace.

use super::types::{EngineError, Scope, Selectors};
use crate::kernel::links::Link;
use crate::kernel::program::Framing;
use crate::kernel::watch::DefaultRoutes;
use crate::kernel::{KernelError, host};
use firewall_common::abi::INTERFACES;
use firewall_policy::diag::nearest;
use firewall_policy::rule::{DEFAULT_ROUTE, Interface, Mode, glob as matches};
use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How many interfaces may lie one over the other in Linux (`MAX_NEST_DEV`).
const HEIGHT: usize = 8;

/// An interface to filter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) ifindex: u32,
    pub(super) mode: Mode,
    /// Why it can be filtered in that mode alone, if that is so.
    pub(super) only: Option<String>,
    /// What its frames begin with.
    pub(super) framing: Framing,
    /// Whether its frames may come in several buffers.
    pub(super) in_buffers: bool,
    pub(super) zone: u32,
    pub(super) zone_name: String,
}

impl Target {
    /// Why it can be filtered in generic mode alone, if that is so.
    pub(super) fn why_generic(&self) -> Option<String> {
        self.only.clone().filter(|_| self.mode == Mode::Generic)
    }

    /// What a refusal to attach comes to where no other mode is left.
    pub(super) fn explain(&self, error: KernelError) -> KernelError {
        match (error, &self.only) {
            (
                KernelError::Attach {
                    interface,
                    mode,
                    reason,
                },
                Some(only),
            ) => KernelError::Attach {
                interface,
                mode,
                reason: format!("{reason}. No other mode is possible: {only}"),
            },
            (error, _) => error,
        }
    }
}

/// The interfaces there are.
#[derive(Debug)]
pub(super) struct Present {
    pub(super) interfaces: Vec<(String, u32)>,
    links: Vec<Link>,
    /// Asked for when it is needed: a router has many routes.
    default_route: OnceCell<BTreeSet<String>>,
    /// Who knows the default routes already.
    routes: Option<Arc<DefaultRoutes>>,
    /// Asked for when it is needed, too.
    decrypts: OnceCell<bool>,
}

impl Present {
    /// Asks the kernel.
    pub(super) fn now() -> Result<Self, EngineError> {
        Self::by(None)
    }

    /// Asks the kernel, and of default routes whoever knows them.
    pub(super) fn by(routes: Option<Arc<DefaultRoutes>>) -> Result<Self, EngineError> {
        let mut links = host::links()?;
        links.sort_by_key(|link| link.ifindex);
        let interfaces = links.iter().map(|link| (link.name.clone(), link.ifindex));
        Ok(Self {
            interfaces: interfaces.collect(),
            links,
            default_route: OnceCell::new(),
            routes,
            decrypts: OnceCell::new(),
        })
    }

    /// Names of the interfaces of default routes.
    fn default_route(&self) -> Result<&BTreeSet<String>, KernelError> {
        if let Some(known) = self.default_route.get() {
            return Ok(known);
        }
        let by_route = host::default_routes(&self.links, self.routes.as_deref())?;
        let has_route = self.interfaces.iter().filter(|it| by_route.contains(&it.1));
        let names = has_route.map(|(name, _)| name.clone()).collect();
        Ok(self.default_route.get_or_init(|| names))
    }

    /// Whether a pattern means an interface. By default routes nothing does if they cannot be read.
    pub(super) fn means(&self, pattern: &str, name: &str) -> bool {
        if pattern == DEFAULT_ROUTE {
            return self.default_route().is_ok_and(|it| it.contains(name));
        }
        // Nobody means the loopback interface by `*`.
        matches(pattern, name) && !(is_glob(pattern) && name == "lo")
    }

    /// Whether IPsec decrypts packets here by policies, so that they come in twice.
    pub(super) fn decrypts(&self) -> bool {
        *self.decrypts.get_or_init(host::decrypts)
    }

    /// All of them, as the kernel describes them.
    pub(super) fn links(&self) -> &[Link] {
        &self.links
    }

    /// The interface with an index.
    pub(super) fn link(&self, ifindex: u32) -> Option<&Link> {
        self.links.iter().find(|link| link.ifindex == ifindex)
    }

    /// Puts interfaces before those that lie over them: the kernel puts no program on one while one over it
    /// carries one. The order stays otherwise.
    pub(super) fn lower_first(&self, targets: &mut [Target]) {
        targets.sort_by_cached_key(|target| self.height(target.ifindex, HEIGHT));
    }

    /// How many interfaces lie below one, one over the other.
    fn height(&self, ifindex: u32, most: usize) -> usize {
        let Some(link) = self.link(ifindex).filter(|_| most > 0) else {
            return 0;
        };
        let below = self.links.iter().filter(|lower| link.is_over(lower));
        let heights = below.map(|lower| 1 + self.height(lower.ifindex, most - 1));
        heights.max().unwrap_or(0)
    }

    /// The name that an interface index has now.
    pub(super) fn name_of(&self, ifindex: u32) -> Option<&str> {
        self.interfaces
            .iter()
            .find(|(_, index)| *index == ifindex)
            .map(|(name, _)| name.as_str())
    }

    /// The index that an interface of a name has now.
    pub(super) fn index_of(&self, name: &str) -> Option<u32> {
        let mut interfaces = self.interfaces.iter();
        interfaces
            .find(|(it, _)| it == name)
            .map(|(_, index)| *index)
    }

    /// The interfaces of a pattern. A pattern without wildcards must match.
    pub(super) fn matching(&self, pattern: &str) -> Result<Vec<&(String, u32)>, EngineError> {
        if pattern == DEFAULT_ROUTE {
            let by_route = self.default_route()?;
            let found: Vec<_> = self
                .interfaces
                .iter()
                .filter(|(name, _)| by_route.contains(name))
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
        let interfaces = self.interfaces.iter();
        let found: Vec<_> = interfaces
            .filter(|(name, _)| self.means(pattern, name))
            .collect();
        if found.is_empty() && !is_glob(pattern) {
            let mut names: Vec<&str> = self.interfaces.iter().map(|it| it.0.as_str()).collect();
            names.sort_unstable();
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

    /// The first entry of the policy that matches an interface.
    pub(super) fn entry<'a>(&self, selectors: &'a Selectors, name: &str) -> Option<&'a Interface> {
        selectors.entries.iter().find(|entry| {
            let mut patterns = entry.matches.iter();
            patterns.any(|pattern| match pattern.as_str() {
                DEFAULT_ROUTE => self.means(pattern, name),
                pattern => matches(pattern, name),
            })
        })
    }

    /// What that entry says about it.
    pub(super) fn describe(&self, selectors: &Selectors, name: &str, ifindex: u32) -> Target {
        let entry = self.entry(selectors, name);
        let zone = entry.map_or(0, |entry| entry.zone);
        let zone_name = selectors.zones.get(zone as usize);
        let mode = entry.map_or(Mode::Auto, |entry| entry.mode);
        Target {
            name: name.into(),
            ifindex,
            mode: selectors.mode.unwrap_or(mode),
            only: None,
            framing: Framing::Ethernet,
            in_buffers: false,
            zone,
            zone_name: zone_name.cloned().unwrap_or_default(),
        }
    }
}

pub(super) fn is_glob(pattern: &str) -> bool {
    pattern.contains(['*', '?'])
}

/// The interfaces to filter, by index, and what to warn about.
///
/// `filtered` are the interfaces that are filtered already; `stays` says whether all of them stay so, and
/// `named` which ones the caller has named this time.
pub(super) fn resolve(
    selectors: &Selectors,
    (scope, stays): (Scope, bool),
    named: &[String],
    filtered: &[u32],
    present: &Present,
) -> Result<(Vec<Target>, Vec<String>), EngineError> {
    let patterns = selectors.patterns();
    let (mut chosen, mut warnings) = (BTreeSet::new(), Vec::new());
    let mut missing = None;
    for pattern in &patterns {
        match present.matching(pattern) {
            Ok(found) => {
                if found.is_empty() {
                    warnings.push(format!("the pattern `{pattern}` matches no interface now"));
                }
                let found = found.into_iter();
                let stay_off = |name: &String| selectors.taken_off.contains(name);
                chosen.extend(found.filter(|it| !stay_off(&it.0)).map(|it| it.1));
            }
            Err(error @ EngineError::Interface(_)) if scope != Scope::Present => {
                warnings.push(format!("{error}. It is filtered as soon as it comes"));
                missing.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    let names = |index: &u32| present.name_of(*index);
    if stays || patterns.is_empty() {
        // One policy is in force at a time: interfaces that are filtered stay so, with this one.
        for &index in filtered {
            let is_more = chosen.insert(index) || !named.is_empty();
            if is_more
                && scope != Scope::Again
                && !patterns.is_empty()
                && let Some(name) = present.name_of(index)
                && !named.iter().any(|word| present.means(word, name))
            {
                warnings.push(format!(
                    "{name} was filtered before and gets this policy as well; `unload -i {name}` \
                     takes it off"
                ));
            }
        }
    } else {
        let dropped = filtered.iter().filter(|index| !chosen.contains(index));
        warnings.extend(
            dropped
                .filter_map(names)
                .map(|name| format!("{name} is no longer filtered: the policy does not name it")),
        );
    }
    if chosen.is_empty() {
        return Err(missing.unwrap_or_else(|| nothing_chosen(&patterns, present)));
    }
    if chosen.len() >= INTERFACES {
        return Err(too_many(chosen.len(), &patterns));
    }
    let targets = chosen.into_iter().filter_map(|index| {
        let name = present.name_of(index)?;
        Some(present.describe(selectors, name, index))
    });
    let mut targets: Vec<Target> = targets.collect();
    present.lower_first(&mut targets);
    Ok((targets, warnings))
}

fn nothing_chosen(patterns: &[&str], present: &Present) -> EngineError {
    let reason = match patterns {
        [] => "no interface is named: add `-i IF`, or `interfaces:` to the policy".to_owned(),
        patterns => format!("no interface matches {}", patterns.join(", ")),
    };
    EngineError::Interface(format!("{reason}. There are: {}", present.listing()))
}

/// Why one interface more is not filtered.
pub(super) fn no_room() -> String {
    format!(
        "one host can filter {} interfaces, and that many are; `unload -i` one of them, or name fewer",
        INTERFACES - 1
    )
}

fn too_many(count: usize, patterns: &[&str]) -> EngineError {
    EngineError::Interface(format!(
        "{count} interfaces match {}, and one host can filter {}: name fewer",
        patterns.join(", "),
        INTERFACES - 1
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::types::Request;
    use firewall_common::verdict::Verdict;
    use firewall_policy::rule::{Interface, Policy};

    fn present() -> Present {
        let names = [("lo", 1), ("eth0", 2), ("eth1", 3), ("wg0", 7)];
        Present {
            interfaces: names.map(|(name, index)| (name.to_owned(), index)).to_vec(),
            links: Vec::new(),
            default_route: BTreeSet::from(["eth0".to_owned()]).into(),
            routes: None,
            decrypts: false.into(),
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
            macs: Vec::new(),
            contents: Vec::new(),
            sets: Vec::new(),
            exempt: firewall_policy::rule::AddrSet::none(),
        }
    }

    fn names(targets: &[Target]) -> Vec<&str> {
        targets.iter().map(|target| target.name.as_str()).collect()
    }

    /// What a request of this scope by these words comes to.
    fn asked(
        policy: &Policy,
        named: &[&str],
        scope: Scope,
        filtered: &[u32],
    ) -> Result<(Vec<Target>, Vec<String>), EngineError> {
        let request = Request {
            interfaces: named.iter().map(|&n| n.to_owned()).collect(),
            scope,
            ..Request::default()
        };
        let selectors = Selectors::of(&request, policy, None, &present());
        let stays = !named.is_empty() || scope == Scope::Again;
        resolve(&selectors, (scope, stays), &[], filtered, &present())
    }

    fn resolve_names(policy: &Policy, named: &[&str], filtered: &[u32]) -> Vec<String> {
        let (targets, _) = asked(policy, named, Scope::Present, filtered).unwrap();
        targets.into_iter().map(|target| target.name).collect()
    }

    #[test]
    fn what_is_not_there_is_waited_for_where_something_is() {
        let nothing = policy(&[]);
        let (targets, warnings) = asked(&nothing, &["eth0", "eth7"], Scope::Waiting, &[]).unwrap();
        assert_eq!(names(&targets), ["eth0"]);
        assert_eq!(warnings.len(), 1);
        assert!(
            warnings[0].contains("there is no interface eth7"),
            "{warnings:?}"
        );
        assert!(warnings[0].contains("as soon as it comes"), "{warnings:?}");
        assert!(asked(&nothing, &["eth0", "eth7"], Scope::Present, &[]).is_err());
        let alone = asked(&nothing, &["eth7"], Scope::Waiting, &[]).unwrap_err();
        assert!(alone.to_string().starts_with("there is no interface eth7"));
        // Of the policy's names, too.
        let policy = policy(&[(&["eth1", "ppp0"], Mode::Auto, 0)]);
        let (targets, _) = asked(&policy, &[], Scope::Waiting, &[]).unwrap();
        assert_eq!(names(&targets), ["eth1"]);
    }

    #[test]
    fn words_mean_what_comes_later() {
        let policy = policy(&[
            (&["default-route"], Mode::Native, 1),
            (&["w*", "tun0"], Mode::Auto, 0),
        ]);
        let mut selectors = Selectors::of(&Request::default(), &policy, None, &present());
        let meant = |selectors: &Selectors| -> Vec<(String, String)> {
            let meant = selectors.meant(&present()).into_iter();
            meant.map(|(target, by)| (target.name, by)).collect()
        };
        let pair = |name: &str, by: &str| (name.to_owned(), by.to_owned());
        assert_eq!(
            meant(&selectors),
            [pair("eth0", "default-route"), pair("wg0", "w*")]
        );
        assert_eq!(selectors.missing(&present()), ["tun0"]);
        selectors.taken_off = vec!["wg0".into(), "tun0".into()];
        assert_eq!(meant(&selectors), [pair("eth0", "default-route")]);
        assert!(selectors.missing(&present()).is_empty());
        // What a caller names stands in place of the policy's words, with the policy's modes and zones.
        let request = Request {
            interfaces: vec!["eth*".into()],
            ..Request::default()
        };
        let named = Selectors::of(&request, &policy, Some(&selectors), &present());
        assert_eq!(meant(&named), [pair("eth0", "eth*"), pair("eth1", "eth*")]);
        assert_eq!(named.meant(&present())[0].0.zone_name, "wan");
        // Words of the command line add up, as far as they still mean something.
        let more = Request {
            interfaces: vec!["wg0".into()],
            ..Request::default()
        };
        let known = Selectors {
            named: vec!["eth*".into(), "gone0".into()],
            ..Selectors::default()
        };
        let both = Selectors::of(&more, &policy, Some(&known), &present());
        assert_eq!(both.named, ["eth*", "wg0"]);
    }

    #[test]
    fn three_hundred_interfaces_are_too_many_and_their_pattern_is_named() {
        let many = Present {
            interfaces: (1..=300).map(|n| (format!("v{n}"), n)).collect(),
            links: Vec::new(),
            default_route: OnceCell::new(),
            routes: None,
            decrypts: OnceCell::new(),
        };
        let request = Request {
            interfaces: vec!["v*".into()],
            ..Request::default()
        };
        let selectors = Selectors::of(&request, &policy(&[]), None, &many);
        let error = resolve(&selectors, (Scope::Present, true), &[], &[], &many).unwrap_err();
        assert_eq!(
            error.to_string(),
            "300 interfaces match v*, and one host can filter 63: name fewer"
        );
    }

    #[test]
    fn the_policy_names_exactly_what_is_filtered() {
        let policy = policy(&[
            (&["default-route"], Mode::Native, 1),
            (&["w*"], Mode::Auto, 0),
        ]);
        let (targets, warnings) = asked(&policy, &[], Scope::Present, &[3]).unwrap();
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
            let named: Vec<&str> = named.iter().map(String::as_str).collect();
            let error = asked(policy, &named, Scope::Present, &[]).unwrap_err();
            error.to_string()
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
    fn what_lies_below_comes_first() {
        let link = |ifindex: u32, master: Option<u32>, lower: Option<u32>, kind: &str| Link {
            ifindex,
            master,
            lower,
            kind: kind.into(),
            name: format!("i{ifindex}"),
            ..Link::default()
        };
        let links = vec![
            link(2, None, None, "bridge"),
            link(3, None, Some(2), "vlan"),
            link(5, Some(2), Some(6), "veth"),
            link(6, None, Some(5), "veth"),
            link(7, None, Some(3), "macvlan"),
        ];
        let present = Present {
            interfaces: links
                .iter()
                .map(|it| (it.name.clone(), it.ifindex))
                .collect(),
            links,
            default_route: OnceCell::new(),
            routes: None,
            decrypts: OnceCell::new(),
        };
        let selectors = Selectors::default();
        let all = present.interfaces.iter();
        let mut targets: Vec<Target> = all
            .map(|(name, index)| present.describe(&selectors, name, *index))
            .collect();
        present.lower_first(&mut targets);
        assert_eq!(names(&targets), ["i5", "i6", "i2", "i3", "i7"]);
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
