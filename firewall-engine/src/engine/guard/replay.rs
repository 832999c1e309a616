//! The packets that a session needs under what is in force and under what would be: policy, live sets and
//! bans, on the interfaces that they come in by ([`super::ways`]).
//!
//! A session none of whose packets comes in by an interface that is filtered is not cut by what others do.
//! May not change anything. Invariant: what is in force counts only to excuse: a packet that is dropped
//! already cannot be cut. Where nobody can say, it passes now.

use super::ways::{Arrival, Role, Ways};
use super::{Guard, contains, prefix_of, refused, unclear};
use crate::engine::files;
use crate::engine::live::{Change, LiveView};
use crate::engine::resolve::Present;
use crate::engine::types::{EngineError, LiveRecord, Record};
use crate::kernel::live::{Entry, Origin};
use firewall_common::live::{BANNED, EXEMPT, Prefix};
use firewall_common::verdict::Verdict;
use firewall_policy::connection::{Holds, Judge, Judged, Sample, Way};
use firewall_policy::diff::diff;
use firewall_policy::prefixes::prefixes;
use firewall_policy::rule::{AddrSet, Mac, Policy, SELF};
use firewall_policy::tables::Tables;
use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

/// What is in force, as far as it matters for a session.
#[derive(Debug)]
pub(in crate::engine) struct Scene<'a> {
    /// On record about it; `None`: nothing is, or nobody can say what.
    pub(in crate::engine) record: Option<&'a Record>,
    /// Its bans and live sets.
    pub(in crate::engine) live: Option<&'a LiveView>,
    /// Where files of policies are kept.
    pub(in crate::engine) state: &'a Path,
    pub(in crate::engine) present: &'a Present,
}

/// What would be in force.
pub(in crate::engine) enum After<'a> {
    /// This policy, on interfaces that are named by index and zone.
    Policy(&'a Policy, Vec<(u32, u32)>),
    /// What is, but for one live set, which would hold these prefixes of those that hold an address of
    /// the session.
    Set(&'a LiveRecord, &'a dyn Fn(&[Prefix]) -> Vec<Prefix>),
}

/// A policy that judges the session's packets.
struct Side<'a> {
    policy: Cow<'a, Policy>,
    /// Without what the policy puts into its live sets: that is among what they hold.
    tables: Tables,
    /// Filtered interfaces and their zones.
    zones: Vec<(u32, u32)>,
    held: Held,
}

/// The same, ready to judge.
struct Bench<'s> {
    judge: Judge<'s>,
    zones: &'s [(u32, u32)],
    macs: &'s [Mac],
}

/// The entries of live sets and bans that hold an address of the session.
#[derive(Clone, Default)]
struct Held {
    sets: Vec<(String, Prefix)>,
    banned: Vec<Prefix>,
    exempt: Vec<Prefix>,
}

impl Guard {
    /// Refuses a change that takes a way in from the session.
    ///
    /// # Errors
    /// What would be cut, or why nobody can say.
    pub(in crate::engine) fn check_change(
        &self,
        scene: &Scene<'_>,
        after: &After<'_>,
    ) -> Result<(), EngineError> {
        let connections = self.connections()?;
        if connections.is_empty() {
            return Ok(());
        }
        let filtered: Vec<u32> = match after {
            After::Policy(_, zones) => zones.iter().map(|it| it.0).collect(),
            After::Set(..) => scene.filtered(),
        };
        let ways = Ways::of(scene.present, connections, &filtered)?;
        let addresses: Vec<Prefix> = ways.addresses().into_iter().map(prefix_of).collect();
        let now = OnceCell::new();
        let new = match after {
            After::Policy(policy, zones) => {
                let now = || now.get_or_init(|| Side::in_force(scene, &addresses).ok());
                if !ways.doubts.is_empty() && narrows(now().as_ref(), policy, zones) {
                    return Err(unclear(&ways.doubts.join("; ")));
                }
                if ways.arrivals.is_empty() {
                    return Ok(());
                }
                Side::of_policy(scene, policy, zones, &addresses)?
            }
            After::Set(set, change) => {
                if !ways.doubts.is_empty() {
                    return Err(unclear(&ways.doubts.join("; ")));
                }
                let held = Held::of(scene.live, &addresses, |_| true);
                let changed = held.with(set, *change);
                if changed.is_same(&held) {
                    return Ok(());
                }
                let side = Side::in_force(scene, &addresses).map_err(|why| unclear(&why))?;
                let new = Side {
                    policy: side.policy.clone(),
                    tables: side.tables.clone(),
                    zones: side.zones.clone(),
                    held: changed,
                };
                let _ = now.set(Some(side));
                new
            }
        };
        let new = new.bench(&ways);
        let now = || now.get_or_init(|| Side::in_force(scene, &addresses).ok());
        let bench = OnceCell::new();
        let now = || {
            let made = bench.get_or_init(|| now().as_ref().map(|side| side.bench(&ways)));
            made.as_ref()
        };
        let mut arrivals = ways.arrivals.iter();
        arrivals.try_for_each(|arrival| compare(scene.present, arrival, &new, &now))
    }
}

impl Scene<'_> {
    /// The interfaces that are filtered.
    fn filtered(&self) -> Vec<u32> {
        let interfaces = self.record.iter().flat_map(|record| &record.interfaces);
        interfaces.map(|it| it.ifindex).collect()
    }
}

/// Whether a policy drops anything that passes now.
fn narrows(now: Option<&Side<'_>>, policy: &Policy, zones: &[(u32, u32)]) -> bool {
    let Some(now) = now else {
        return true;
    };
    let difference = diff(&now.policy, policy);
    let drops = |verdict: Verdict| verdict != Verdict::PASS;
    !difference.complete
        || !difference.settings.is_empty()
        || difference
            .regions
            .iter()
            .any(|it| drops(it.becomes.verdict))
        || zones.iter().any(|zone| !now.zones.contains(zone))
}

/// Refuses what cuts a packet of the session.
fn compare<'s>(
    present: &Present,
    arrival: &Arrival,
    new: &Bench<'_>,
    now: &dyn Fn() -> Option<&'s Bench<'s>>,
) -> Result<(), EngineError> {
    let dropped = new.judge(arrival, new.macs);
    if dropped.is_none_or(|judged| judged.iter().all(|it| it.passes)) {
        return Ok(());
    }
    // What passes now, and from which MAC addresses, is asked where it matters only.
    let now = now();
    let mut macs: Vec<Mac> = new.macs.to_vec();
    macs.extend(now.iter().flat_map(|side| side.macs.iter().copied()));
    macs.sort_unstable();
    macs.dedup();
    let after = new.judge(arrival, &macs).unwrap_or_default();
    let before = now.and_then(|side| side.judge(arrival, &macs));
    let passes_now = |it: &&Judged| match &before {
        None => true,
        Some(before) => before.iter().any(|was| was.mac == it.mac && was.passes),
    };
    let had: Vec<&Judged> = after.iter().filter(passes_now).collect();
    let Some(cut) = had.iter().find(|it| !it.passes) else {
        return Ok(());
    };
    if had.iter().any(|it| it.passes) {
        return Err(unclear("that depends on the MAC address it comes from"));
    }
    let place = match arrival.is_certain {
        true => String::new(),
        false => format!(
            " where it comes in by {}",
            present.name_of(arrival.interface).unwrap_or("an interface")
        ),
    };
    let (what, help) = match arrival.role {
        Role::Own => ("", "allow your address first"),
        Role::Carries => (", which carries it,", "allow that packet first"),
        Role::Finds => (
            ", by which the next host finds this one,",
            "let it pass (`essential`)",
        ),
    };
    Err(refused(
        format!(
            "this would cut your own connection{place}: {}{what} is dropped by {}",
            arrival.sample, cut.by
        ),
        format!("{help}, or add --i-know if you have other access"),
    ))
}

impl Bench<'_> {
    /// What becomes of a packet; `None`: the interface is not filtered.
    fn judge(&self, arrival: &Arrival, macs: &[Mac]) -> Option<Vec<Judged>> {
        let &(_, zone) = self.zones.iter().find(|it| it.0 == arrival.interface)?;
        let way = Way {
            zone,
            vlans: arrival.vlans.clone(),
        };
        Some(self.judge.judge(&arrival.sample, &way, macs))
    }
}

impl<'a> Side<'a> {
    /// A policy that is to be put in force. What commands and rules have put into sets stays there.
    fn of_policy(
        scene: &Scene<'_>,
        policy: &'a Policy,
        zones: &[(u32, u32)],
        addresses: &[Prefix],
    ) -> Result<Self, EngineError> {
        let mut held = Held::of(scene.live, addresses, |entry| {
            entry.origin != Origin::Policy
        });
        held.exempt.clear();
        let within = |set: &AddrSet| -> Vec<Prefix> {
            let all = addresses.iter().copied();
            all.filter(|it| prefixes(set).any(|prefix| contains(&prefix, it)))
                .collect()
        };
        for set in policy.live.iter().filter(|set| set.name != SELF) {
            let content = within(&set.content).into_iter();
            held.sets.extend(content.map(|it| (set.name.clone(), it)));
        }
        held.exempt = within(&policy.exempt);
        Ok(Self {
            tables: emptied(policy)?,
            policy: Cow::Borrowed(policy),
            zones: zones.to_vec(),
            held,
        })
    }

    /// What is in force.
    fn in_force(scene: &Scene<'_>, addresses: &[Prefix]) -> Result<Self, String> {
        let record = scene.record.ok_or("nothing is known of what is in force")?;
        let source = files::in_force(record, scene.state)?;
        let interfaces = record.interfaces.iter();
        Ok(Self {
            tables: emptied(&source.policy).map_err(|error| error.to_string())?,
            policy: Cow::Owned(source.policy),
            zones: interfaces.map(|it| (it.ifindex, it.zone)).collect(),
            held: Held::of(scene.live, addresses, |_| true),
        })
    }

    /// Makes ready to judge the packets of a session.
    fn bench(&self, ways: &Ways) -> Bench<'_> {
        let samples = ways.arrivals.iter().map(|it| &it.sample);
        let ends = samples.clone().flat_map(Sample::ends);
        let mut own = HashSet::new();
        let mut all = HashSet::new();
        for [from, to] in ends {
            own.insert(prefix_of(to));
            all.extend([from, to].map(prefix_of));
        }
        let mut holds = Holds::default();
        for (number, set) in self.policy.live.iter().enumerate() {
            let is_in = |address: &&Prefix| {
                let mut entries = self.held.sets.iter().filter(|it| it.0 == set.name);
                entries.any(|(_, prefix)| contains(prefix, address))
            };
            match &*set.name {
                SELF => holds.members.extend(own.iter().map(|&it| (number, it))),
                _ => {
                    let members = all.iter().filter(is_in);
                    holds.members.extend(members.map(|&it| (number, it)));
                }
            }
        }
        holds.banned = all.into_iter().filter(|it| self.held.bans(it)).collect();
        Bench {
            judge: Judge::new(&self.policy, &self.tables, samples, &holds),
            zones: &self.zones,
            macs: &self.policy.macs,
        }
    }
}

/// The tables of a policy, without what it puts into live sets, and without what is exempt from bans, which
/// [`Held`] decides about.
fn emptied(policy: &Policy) -> Result<Tables, EngineError> {
    let slots: Vec<u32> = (0..policy.counters().len() as u32).collect();
    let mut tables = files::compile(policy, &slots)?;
    tables.live.fill(AddrSet::none());
    tables.exempt = AddrSet::none();
    Ok(tables)
}

impl Held {
    fn of(live: Option<&LiveView>, addresses: &[Prefix], wanted: impl Fn(&Entry) -> bool) -> Self {
        let mut held = Self::default();
        let Some(live) = live else {
            return held;
        };
        let entries = live.all_entries().into_iter().filter(|entry| {
            wanted(entry) && addresses.iter().any(|it| contains(&entry.prefix, it))
        });
        for Entry { id, prefix, .. } in entries {
            match id {
                BANNED => held.banned.push(prefix),
                EXEMPT => held.exempt.push(prefix),
                id => {
                    let set = live.sets().iter().find(|set| set.id == id);
                    held.sets.extend(set.map(|set| (set.name.clone(), prefix)));
                }
            }
        }
        held
    }

    /// With one set changed.
    fn with(&self, set: &LiveRecord, change: &dyn Fn(&[Prefix]) -> Vec<Prefix>) -> Self {
        let mut held = self.clone();
        if set.id == BANNED {
            held.banned = change(&held.banned);
            return held;
        }
        let (own, mut others): (Vec<_>, Vec<_>) =
            held.sets.into_iter().partition(|it| it.0 == set.name);
        let own: Vec<Prefix> = own.into_iter().map(|it| it.1).collect();
        others.extend(change(&own).into_iter().map(|it| (set.name.clone(), it)));
        held.sets = others;
        held
    }

    /// Whether the same prefixes are in the same sets.
    fn is_same(&self, other: &Self) -> bool {
        let keys = |held: &Self| {
            let mut sets: Vec<_> = held
                .sets
                .iter()
                .map(|(name, prefix)| (name.clone(), key(prefix)))
                .collect();
            let mut banned: Vec<_> = held.banned.iter().map(key).collect();
            sets.sort_unstable();
            banned.sort_unstable();
            sets.dedup();
            banned.dedup();
            (sets, banned)
        };
        keys(self) == keys(other)
    }

    fn bans(&self, address: &Prefix) -> bool {
        let holds = |prefixes: &[Prefix]| prefixes.iter().any(|it| contains(it, address));
        holds(&self.banned) && !holds(&self.exempt)
    }
}

const fn key(prefix: &Prefix) -> (u64, u64, u64, u64) {
    (prefix.is_v6, prefix.hi, prefix.lo, prefix.length)
}

/// A set behind a change.
#[derive(Clone, Copy, Debug)]
pub enum SetAfter<'a> {
    /// What it holds, changed.
    Changed(&'a [Change]),
    /// What the policy puts there, and these.
    Replaced(&'a [(Prefix, Option<Duration>)]),
}

impl SetAfter<'_> {
    /// What is left of some prefixes of the set, and what is new.
    pub(in crate::engine) fn of(
        &self,
        before: &[Prefix],
        by_policy: &dyn Fn() -> HashSet<Prefix>,
    ) -> Vec<Prefix> {
        match self {
            Self::Changed(changes) => {
                let mut after: HashSet<Prefix> = before.iter().copied().collect();
                for change in *changes {
                    match change {
                        Change::Add(prefix, _) => after.insert(*prefix),
                        Change::Remove(prefix) => after.remove(prefix),
                    };
                }
                after.into_iter().collect()
            }
            Self::Replaced(entries) => {
                let stays = by_policy();
                let before = before.iter().filter(|prefix| stays.contains(prefix));
                let new = entries.iter().map(|(prefix, _)| prefix);
                before.chain(new).copied().collect()
            }
        }
    }
}
