//! Live sets and bans.

use super::take::exactly;
use super::{Local, entries, failure};
use crate::engine::{
    BANNED_NAME, Change, Changed, Guard, Live, LiveRecord, LiveView, SetAfter, contains, prefix_of,
};
use crate::kernel::live::Entry;
use firewall_api::failure::{Exit, Failure};
use firewall_api::sets::{
    EntryView, HeldEntry, NewEntry, SetChange, SetChanged, SetEdit, SetReport, SetRequest, SetStep,
    SetView, SetsReport,
};
use firewall_api::view::SCHEMA;
use firewall_common::live::{BANNED, EXEMPT, Prefix};
use firewall_policy::entry::parse;
use firewall_policy::prefixes::text;
use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};

/// The set with a name.
fn find(view: &LiveView, name: &str) -> Result<LiveRecord, Failure> {
    let name = name.strip_prefix('@').unwrap_or(name);
    view.set(name).ok_or_else(|| {
        let mut known: Vec<&str> = view.sets().iter().map(|set| set.name.as_str()).collect();
        known.push(BANNED_NAME);
        Failure::new(
            Exit::Failed,
            format!("the active policy has no live set `{name}`"),
        )
        .help(format!(
            "live sets: {}; others are changed in the policy, or made live with `live: true`",
            known.join(", ")
        ))
    })
}

fn entry_view(entry: &Entry) -> EntryView {
    EntryView {
        prefix: text(&entry.prefix),
        by: entry.origin.name().to_owned(),
        left: entry.left.map(|left| left.as_secs_f64()),
    }
}

/// The prefixes that a text stands for.
fn prefixes(of: &str) -> Result<Vec<Prefix>, Failure> {
    parse(of).map_err(|(message, help)| Failure::new(Exit::Usage, message).help(help))
}

/// The one prefix that a text stands for.
fn prefix(of: &str) -> Result<Prefix, Failure> {
    match prefixes(of)?[..] {
        [prefix] => Ok(prefix),
        _ => Err(
            Failure::new(Exit::Usage, format!("`{of}` is more than one prefix"))
                .help("name the prefixes of a range each"),
        ),
    }
}

/// An entry to add, with the time that it stays.
fn new_entry(entry: &NewEntry, set: &LiveRecord) -> Result<(Prefix, Option<Duration>), Failure> {
    let seconds = entry.seconds.or(set.timeout);
    Ok((prefix(&entry.prefix)?, seconds.map(Duration::from_secs)))
}

/// The changes of some steps. One that removes a range takes it out of what the set holds now.
fn changes_of(
    steps: &[SetStep],
    set: &LiveRecord,
    entries: &[Entry],
    guard: &Guard,
) -> Result<Vec<Change>, Failure> {
    let mut changes = Vec::with_capacity(steps.len());
    for step in steps {
        match step {
            SetStep::Add(entry) => {
                let (prefix, time) = new_entry(entry, set)?;
                let refusal = guard.refusal(&prefix).filter(|_| set.id == BANNED);
                if let Some(refusal) = refusal {
                    return Err(failure(&refusal));
                }
                changes.push(Change::Add(prefix, time));
            }
            SetStep::Remove(removed) => match prefixes(removed)?[..] {
                [prefix] => changes.push(Change::Remove(prefix)),
                ref range => changes.extend(exactly(entries, range).map_err(|why| {
                    Failure::new(
                        Exit::Refused,
                        format!("{removed} cannot be taken out: {why}"),
                    )
                    .help("take it out of the policy, and apply that")
                    .outcome("nothing was changed")
                })?),
            },
        }
    }
    Ok(changes)
}

/// Whether a step is about more than one prefix.
fn is_range(step: &SetStep) -> bool {
    matches!(step, SetStep::Remove(removed) if removed.contains('-'))
}

/// Prefixes by their length, to find the widest one that holds another.
struct Holders {
    prefixes: HashSet<Prefix>,
    /// The lengths that there are, of IPv4 and of IPv6, the shortest first.
    lengths: BTreeSet<(bool, u64)>,
}

impl Holders {
    /// The entries of a set.
    fn of(entries: &[Entry], id: u32) -> Self {
        let entries = entries.iter().filter(|entry| entry.id == id);
        let prefixes: HashSet<Prefix> = entries.map(|entry| entry.prefix).collect();
        let lengths = prefixes
            .iter()
            .map(|prefix| (is_v6(prefix), prefix.length))
            .collect();
        Self { prefixes, lengths }
    }

    fn widest(&self, held: &Prefix) -> Option<Prefix> {
        let lengths = self
            .lengths
            .range((is_v6(held), 0)..=(is_v6(held), held.length));
        lengths
            .map(|&(_, length)| Prefix::of(held.hi, held.lo, length, held.is_v6))
            .find(|prefix| self.prefixes.contains(prefix))
    }
}

const fn is_v6(prefix: &Prefix) -> bool {
    prefix.is_v6 != 0
}

/// What whoever has changed the bans should know of them.
fn say_of_bans(view: &LiveView, changes: &[Change], report: &mut SetChanged) {
    let all = view.all_entries();
    let (banned, exempt) = (Holders::of(&all, BANNED), Holders::of(&all, EXEMPT));
    for change in changes {
        match change {
            Change::Add(prefix, _)
                if report.exempt.len() < SetChanged::NAMED && exempt.widest(prefix).is_some() =>
            {
                report.exempt.push(text(prefix));
            }
            Change::Remove(prefix) if report.held.len() < SetChanged::NAMED => {
                if let Some(by) = banned.widest(prefix) {
                    let (prefix, by) = (text(prefix), text(&by));
                    report.held.push(HeldEntry { prefix, by });
                }
            }
            _ => {}
        }
    }
}

impl Local {
    fn view(&self) -> Result<LiveView, Failure> {
        self.engine().live_view().map_err(|error| failure(&error))
    }

    pub(super) fn list_sets(&self) -> Result<SetsReport, Failure> {
        let view = self.view()?;
        let banned = view.set(BANNED_NAME);
        let one = |set: &LiveRecord| SetView {
            name: set.name.clone(),
            entries: view.count(set),
            max: set.max,
            timeout: set.timeout,
            live: true,
        };
        let mut report = SetsReport {
            schema: SCHEMA.to_owned(),
            sets: banned.iter().chain(view.sets()).map(one).collect(),
            warnings: Vec::new(),
        };
        match self.engine().static_sets() {
            Ok(sets) => report.sets.extend(sets.iter().map(|(name, elements)| {
                let entries = entries::count(elements);
                SetView {
                    name: name.clone(),
                    entries,
                    max: entries,
                    timeout: None,
                    live: false,
                }
            })),
            Err(error) => report.warnings.push(error.to_string()),
        }
        Ok(report)
    }

    pub(super) fn list_entries(
        &self,
        name: &str,
        request: &SetRequest,
    ) -> Result<SetReport, Failure> {
        let view = self.view()?;
        let set = match find(&view, name) {
            Ok(set) => set,
            Err(none) => return self.list_elements(name, request, none),
        };
        let mut entries = view.entries(&set);
        let prefixes = |entries: &[Entry]| -> Vec<Prefix> {
            entries.iter().map(|entry| entry.prefix).collect()
        };
        let all = prefixes(&entries);
        if let Some(address) = request.holding {
            let held = prefix_of(address);
            entries.retain(|entry| contains(&entry.prefix, &held));
        } else if request.port.is_some() {
            entries.clear();
        }
        let nearest = entries::nearest(&all, &prefixes(&entries), request);
        let refused = if set.id == BANNED { view.refused() } else { 0 };
        Ok(SetReport {
            schema: SCHEMA.to_owned(),
            set: set.name,
            count: entries.len(),
            max: set.max,
            entries: entries.iter().map(entry_view).collect(),
            refused,
            live: true,
            nearest,
        })
    }

    /// As [`Local::list_entries`], of a set that is not live. `none` says that there is no live one.
    fn list_elements(
        &self,
        name: &str,
        request: &SetRequest,
        none: Failure,
    ) -> Result<SetReport, Failure> {
        let name = name.strip_prefix('@').unwrap_or(name);
        let sets = self.engine().static_sets();
        let sets = sets.map_err(|error| failure(&error))?;
        let Some((name, elements)) = sets.iter().find(|(own, _)| own == name) else {
            let others: Vec<&str> = sets.iter().map(|(own, _)| own.as_str()).collect();
            return Err(match others[..] {
                [] => none,
                _ => Failure::new(
                    Exit::Failed,
                    format!("the active policy has no set `{name}`"),
                )
                .help(format!(
                    "list them: firewall-ctl set list ({})",
                    others.join(", ")
                )),
            });
        };
        let (entries, nearest) = entries::of(elements, request);
        Ok(SetReport {
            schema: SCHEMA.to_owned(),
            set: name.clone(),
            count: entries.len(),
            max: entries::count(elements),
            entries,
            refused: 0,
            live: false,
            nearest,
        })
    }

    pub(super) fn edit_set(&self, change: &SetChange) -> Result<SetChanged, Failure> {
        let start = Instant::now();
        let live = self.engine().live().map_err(|error| failure(&error))?;
        let set = find(live.view(), &change.set)?;
        let guard = live.guard_of(change.session.clone(), change.i_know);
        let mut report = SetChanged::nothing(&set.name);
        report.warnings.extend(live.place_waiting().err());
        let changed = edit(&live, &set, &change.what, &guard, &mut report)?;
        report.added = changed.added;
        report.renewed = changed.renewed;
        report.removed = changed.removed;
        report.missing = changed.missing;
        if changed.fixed > 0 {
            report.warnings.push(format!(
                "{} of these entries are named by the policy: they have no end, and stay",
                changed.fixed
            ));
        }
        if let Err(why) = live.keep() {
            report.warnings.push(format!(
                "{why}: what has changed is in force, and ends with the machine's next start"
            ));
        }
        report.seconds = start.elapsed().as_secs_f64();
        Ok(report)
    }
}

fn edit(
    live: &Live,
    set: &LiveRecord,
    what: &SetEdit,
    guard: &Guard,
    report: &mut SetChanged,
) -> Result<Changed, Failure> {
    let failed = |error| failure(&error);
    match what {
        SetEdit::Steps(steps) => {
            let entries = match steps.iter().any(is_range) {
                true => live.view().entries(set),
                false => Vec::new(),
            };
            let changes = changes_of(steps, set, &entries, guard)?;
            live.spare(set, &SetAfter::Changed(&changes), guard)
                .map_err(failed)?;
            // What was asked for has been checked; the rest of a ban that is cut is no new ban.
            let changed = live.change(set, &changes, &Guard::off()).map_err(failed)?;
            if set.id == BANNED {
                say_of_bans(live.view(), &changes, report);
            }
            Ok(changed)
        }
        SetEdit::Replace(entries) => {
            let entries = entries.iter().map(|entry| new_entry(entry, set));
            let entries: Vec<_> = entries.collect::<Result<_, _>>()?;
            live.spare(set, &SetAfter::Replaced(&entries), guard)
                .map_err(failed)?;
            live.replace(set, &entries, guard).map_err(failed)
        }
        SetEdit::Clear => {
            live.spare(set, &SetAfter::Replaced(&[]), guard)
                .map_err(failed)?;
            Ok(Changed {
                removed: live.clear(set).map_err(failed)?,
                ..Changed::default()
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Session;
    use crate::kernel::live::Origin;

    fn one(of: &str) -> Prefix {
        prefix(of).unwrap_or_else(|failure| panic!("{failure}"))
    }

    #[test]
    fn the_widest_entry_of_the_set_that_holds_a_prefix_is_found() {
        let entry = |id, of: &str| Entry {
            id,
            prefix: one(of),
            left: None,
            origin: Origin::Command,
        };
        let entries = [
            entry(BANNED, "192.0.2.0/24"),
            entry(BANNED, "192.0.0.0/16"),
            entry(BANNED, "192.0.2.7"),
            entry(BANNED, "2001:db8::/32"),
            entry(EXEMPT, "192.0.0.0/8"),
        ];
        let banned = Holders::of(&entries, BANNED);
        for (held, by) in [
            ("192.0.2.7", Some("192.0.0.0/16")),
            ("192.0.2.0/24", Some("192.0.0.0/16")),
            ("192.0.0.0/16", Some("192.0.0.0/16")),
            ("192.0.0.0/15", None),
            ("198.51.100.1", None),
            ("2001:db8::1", Some("2001:db8::/32")),
            ("2001:db9::1", None),
            ("::c000:0207", None),
        ] {
            let found = banned.widest(&one(held)).map(|prefix| text(&prefix));
            assert_eq!(found.as_deref(), by, "{held}");
        }
        assert!(
            Holders::of(&entries, EXEMPT)
                .widest(&one("192.0.2.7"))
                .is_some()
        );
    }

    #[test]
    fn a_request_names_one_prefix_and_says_what_is_wrong_otherwise() {
        for wrong in [
            "",
            "192.0.2.1-192.0.2.4",
            "192.0.2.1/33",
            "192.0.2.1/24",
            "host.example",
        ] {
            let failure = prefix(wrong).expect_err(wrong);
            assert_eq!(failure.exit_code, Exit::Usage, "{wrong}");
            assert!(failure.help.is_some(), "{wrong}");
        }
    }

    #[test]
    fn an_entry_without_a_time_stays_as_long_as_its_set_says() {
        let set = |timeout| LiveRecord {
            name: "s".to_owned(),
            id: 3,
            max: 10,
            timeout,
        };
        let stays = |seconds, timeout| {
            let prefix = "192.0.2.1".to_owned();
            let added = SetStep::Add(NewEntry { prefix, seconds });
            let guard = Guard::of(Session::None);
            let changes = changes_of(&[added], &set(timeout), &[], &guard);
            match changes.as_deref() {
                Ok([Change::Add(_, time)]) => time.map(|time| time.as_secs()),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(stays(Some(5), Some(60)), Some(5));
        assert_eq!(stays(None, Some(60)), Some(60));
        assert_eq!(stays(None, None), None);
    }
}
