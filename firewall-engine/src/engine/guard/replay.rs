//! The packets of a session under what is in force and under what would be: policy, live sets and bans,
//! on the interfaces that the session comes in by.
//!
//! Where that is, addresses and routes of this host say. A session that comes in by an interface which is
//! not filtered is not cut by what others do. May not change anything. Invariant: what is in force counts
//! only to excuse: a packet that is dropped already cannot be cut. Where nobody can say, it passes now.

use super::{Guard, contains, prefix_of, refused, unclear};
use crate::engine::files;
use crate::engine::live::{Change, LiveView};
use crate::engine::resolve::Present;
use crate::engine::types::{EngineError, LiveRecord, Record};
use crate::kernel::host;
use crate::kernel::live::{Entry, Origin};
use firewall_common::live::{BANNED, EXEMPT, Prefix};
use firewall_policy::connection::{Connection, Judged, Way};
use firewall_policy::prefixes::prefixes;
use firewall_policy::rule::{AddrSet, Mac, Policy, SELF};
use firewall_policy::tables::Tables;
use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
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
        let ends = connections.iter().flat_map(|it| [it.from, it.to]);
        let addresses: BTreeSet<_> = ends.map(|end| end.ip().to_canonical()).collect();
        let addresses: Vec<Prefix> = addresses.into_iter().map(prefix_of).collect();
        let now = OnceCell::new();
        let new = match after {
            After::Policy(policy, zones) => Side::of_policy(scene, policy, zones, &addresses)?,
            After::Set(set, change) => {
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
        for connection in connections {
            for (interface, vlans) in ways_in(scene.present, connection, &new.zones)? {
                let now = || now.get_or_init(|| Side::in_force(scene, &addresses).ok());
                compare(connection, (interface, &vlans), &new, &now)?;
            }
        }
        Ok(())
    }
}

/// Refuses what cuts a connection that comes in by an interface.
fn compare<'s>(
    connection: &Connection,
    (interface, vlans): (u32, &[u16]),
    new: &Side<'_>,
    now: &dyn Fn() -> &'s Option<Side<'s>>,
) -> Result<(), EngineError> {
    let dropped = new.judge(connection, interface, vlans, &new.policy.macs);
    if dropped.is_none_or(|judged| judged.iter().all(|it| it.passes)) {
        return Ok(());
    }
    // What passes now, and from which MAC addresses, is asked where it matters only.
    let now = now().as_ref();
    let mut macs: Vec<Mac> = new.policy.macs.clone();
    macs.extend(now.iter().flat_map(|side| side.policy.macs.iter().copied()));
    macs.sort_unstable();
    macs.dedup();
    let judge = |side: &Side<'_>| side.judge(connection, interface, vlans, &macs);
    let after = judge(new).unwrap_or_default();
    let before = now.and_then(judge);
    let passes_now = |it: &&Judged| match &before {
        None => true,
        Some(before) => before
            .iter()
            .any(|was| (was.part, was.mac) == (it.part, it.mac) && was.passes),
    };
    let had: Vec<&Judged> = after.iter().filter(passes_now).collect();
    let Some(cut) = had.iter().find(|it| !it.passes) else {
        return Ok(());
    };
    let of_part = |it: &&&Judged| it.part == cut.part;
    if had.iter().filter(of_part).any(|it| it.passes) {
        return Err(unclear("that depends on the MAC address it comes from"));
    }
    Err(refused(
        format!(
            "this would cut your own connection: {} is dropped by {}",
            connection.packet(cut.part),
            cut.by
        ),
        "allow your address first, or add --i-know if you have other access",
    ))
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

    /// What becomes of the packets of a connection; `None`: the interface is not filtered.
    fn judge(
        &self,
        connection: &Connection,
        interface: u32,
        vlans: &[u16],
        macs: &[Mac],
    ) -> Option<Vec<Judged>> {
        let &(_, zone) = self.zones.iter().find(|it| it.0 == interface)?;
        let ends = [connection.from, connection.to].map(|end| prefix_of(end.ip()));
        let mut members = Vec::new();
        for (number, set) in self.policy.live.iter().enumerate() {
            if set.name == SELF {
                members.push((number, ends[1]));
                continue;
            }
            let in_set = |end: &&Prefix| {
                let mut own = self.held.sets.iter().filter(|it| it.0 == set.name);
                own.any(|(_, prefix)| contains(prefix, end))
            };
            members.extend(ends.iter().filter(in_set).map(|&end| (number, end)));
        }
        let way = Way {
            zone,
            vlans: vlans.to_vec(),
            members,
            is_banned: self.held.bans(&ends[0]),
        };
        Some(connection.judge(&self.policy, &self.tables, &way, macs))
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

/// The filtered interfaces by which a connection comes in, with the VLAN tags that its frames have there:
/// those that have the address it goes to, and the one by which answers leave, and what lies below them.
/// All, where nobody has that address and no route leads back.
fn ways_in(
    present: &Present,
    connection: &Connection,
    filtered: &[(u32, u32)],
) -> Result<BTreeMap<u32, Vec<u16>>, EngineError> {
    let (from, to) = (connection.from.ip(), connection.to.ip());
    let named = host::interfaces_with(to.to_canonical())?;
    let mut open: Vec<(u32, Vec<u16>)> = named
        .iter()
        .filter_map(|name| Some((present.index_of(name)?, Vec::new())))
        .collect();
    let toward = host::interface_toward(from.to_canonical())?;
    open.extend(toward.map(|index| (index, Vec::new())));
    if named.is_empty() {
        // What has the address is elsewhere: a packet may come in by any.
        return Ok(filtered
            .iter()
            .map(|&(index, _)| (index, Vec::new()))
            .collect());
    }
    let mut found = BTreeMap::new();
    while let Some((index, vlans)) = open.pop() {
        if found.contains_key(&index) {
            continue;
        }
        if let Some(link) = present.link(index) {
            let below = present.links().iter().filter(|lower| link.is_over(lower));
            let tags: Vec<u16> = link.vlan.into_iter().chain(vlans.iter().copied()).collect();
            open.extend(below.map(|lower| (lower.ifindex, tags.clone())));
        }
        found.insert(index, vlans);
    }
    found.retain(|index, _| filtered.iter().any(|it| it.0 == *index));
    Ok(found)
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
