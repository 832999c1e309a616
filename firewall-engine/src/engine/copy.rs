//! The copy of bans and live sets on disk, for the machine's next start.
//!
//! The kernel's table is the truth, and outlives every process. The copy is read where a table begins
//! that nothing is handed on to, and it belongs to the table that it was taken from: whoever takes the
//! whole filter off removes it.
//!
//! Invariant: what a copy says and nobody can place now (a line that cannot be read, a set that the
//! policy does not have) stays in it, behind a `?`, until it can be placed or has ended.

use super::guard::{Guard, Session};
use super::ledger;
use super::live::{BANNED_NAME, Change, LiveView};
use super::types::LiveRecord;
use crate::kernel::host;
use crate::kernel::live::Origin;
use firewall_api::clock::unix_time;
use firewall_common::live::{BANNED, Prefix};
use firewall_policy::entry::parse;
use firewall_policy::prefixes::text;
use firewall_system::whole_file;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the copy.
const NAME: &str = "live";
/// First line of a copy.
const HEADING: &str = "# firewall-ctl: bans and live sets, version 2";
/// Before the machine's start and the time at which a copy was taken.
const TAKEN: &str = "# taken: ";
/// Before what could not be placed.
const UNPLACED: &str = "? ";
/// Bytes that a copy has at most: more than all entries that there is room for.
const LIMIT: u64 = 1 << 30;
/// No clock that is right has ever shown less to this program.
const FLOOR: Duration = Duration::from_secs(1_704_067_200);
/// A clock that is ahead of the copy by more than this is not believed.
const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);

/// What became of a copy.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Placed {
    /// Bans and entries that are in force now and were not.
    pub added: u64,
    /// What waits in the copy and why, one sentence each.
    pub waiting: Vec<String>,
}

/// A line: `SET PREFIX -`, or `SET PREFIX END LEFT`, both in milliseconds: the end since the Unix epoch,
/// and the time that was left when the copy was taken. Copies of version 1 have no `LEFT`.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    set: &'a str,
    prefix: Prefix,
    end: Option<(Duration, Option<Duration>)>,
}

impl<'a> Line<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let millis = |word: &str| word.parse().ok().map(Duration::from_millis);
        let (set, prefix, end) = match words[..] {
            [set, prefix, "-"] => (set, prefix, None),
            [set, prefix, end] => (set, prefix, Some((millis(end)?, None))),
            [set, prefix, end, left] => (set, prefix, Some((millis(end)?, Some(millis(left)?)))),
            _ => return None,
        };
        let prefixes = parse(prefix).ok()?;
        let [prefix] = prefixes[..] else {
            return None;
        };
        Some(Self { set, prefix, end })
    }

    fn write(set: &str, prefix: &Prefix, left: Option<Duration>, now: Duration) -> String {
        let prefix = text(prefix);
        match left {
            None => format!("{set} {prefix} -"),
            Some(left) => {
                let end = (now + left).as_millis();
                format!("{set} {prefix} {end} {}", left.as_millis())
            }
        }
    }

    /// For how long the entry stays; `Some(0)`: it has ended. `taken` is when the copy was taken, by
    /// the clock of that time: where one of the clocks cannot be right, time that was left is left.
    fn time(&self, taken: Option<Duration>, now: Duration) -> Option<Duration> {
        let (end, left) = self.end?;
        let by_clock = end.saturating_sub(now);
        let (Some(left), Some(taken)) = (left, taken) else {
            return Some(by_clock);
        };
        let is_right = taken >= FLOOR && now >= taken && now - taken < YEAR;
        Some(if is_right { by_clock.min(left) } else { left })
    }
}

/// A copy that was read.
#[derive(Debug, Default)]
struct Copy {
    path: PathBuf,
    /// The start of the machine in which it was taken; empty if it does not say.
    boot: String,
    /// When, since the Unix epoch.
    taken: Option<Duration>,
    /// Its entries.
    lines: Vec<String>,
    /// What could not be placed before.
    unplaced: Vec<String>,
}

impl Copy {
    /// Reads the one in a folder; `None` if there is none.
    fn read(folder: &Path) -> io::Result<Option<Self>> {
        let path = folder.join(NAME);
        let bytes = match whole_file::read(&path, LIMIT) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            answer => answer?,
        };
        let mut copy = Self {
            path,
            ..Self::default()
        };
        for line in String::from_utf8_lossy(&bytes).lines() {
            if let Some(taken) = line.strip_prefix(TAKEN) {
                let (boot, time) = taken.split_once(' ').unwrap_or((taken, ""));
                boot.clone_into(&mut copy.boot);
                copy.taken = time.parse().ok().map(Duration::from_millis);
            } else if let Some(unplaced) = line.strip_prefix(UNPLACED) {
                copy.unplaced.push(unplaced.to_owned());
            } else if !line.is_empty() && !line.starts_with('#') {
                copy.lines.push(line.to_owned());
            }
        }
        Ok(Some(copy))
    }

    /// Whether it was taken before the machine has started.
    fn is_of_another_start(&self) -> bool {
        self.boot != host::boot()
    }

    /// Whether a line waits yet.
    fn waits(&self, line: &str) -> bool {
        Line::read(line).is_none_or(|read| {
            let time = read.time(self.taken, unix_time());
            time.is_none_or(|time| !time.is_zero())
        })
    }

    /// What waits, in sentences.
    fn waiting(&self, lines: &[String]) -> Vec<String> {
        let mut sets: BTreeMap<Option<&str>, usize> = BTreeMap::new();
        for line in lines {
            *sets.entry(Line::read(line).map(|it| it.set)).or_default() += 1;
        }
        let path = self.path.display();
        let says = |(set, count): (Option<&str>, usize)| match set {
            None => format!("{count} lines of {path} cannot be read; they are kept there"),
            Some(BANNED_NAME) => format!(
                "{count} bans cannot be put back in force; they are kept in {path}, where their lines \
                 can be removed"
            ),
            Some(set) => format!(
                "{count} entries of the live set `{set}` cannot be put back in force; they are kept in \
                 {path}, where their lines can be removed"
            ),
        };
        sets.into_iter().map(says).collect()
    }
}

/// Fills bans and live sets with what a copy says. Needs the lock on the store. With `only_former`, if
/// it was taken before the machine has started. What happened, and what to tell.
pub(super) fn restore(
    view: &LiveView,
    folder: &Path,
    only_former: bool,
    guard: &Guard,
) -> io::Result<(Placed, Vec<String>)> {
    let (mut placed, mut refusals) = (Placed::default(), Vec::new());
    let Some(mut copy) = Copy::read(folder)? else {
        return Ok((placed, refusals));
    };
    if only_former && !copy.is_of_another_start() {
        return Ok((placed, refusals));
    }
    let mut lines = std::mem::take(&mut copy.lines);
    lines.append(&mut copy.unplaced);
    placed.added = place(view, &mut lines, &copy, (&guard.of_copies(), &mut refusals));
    placed.waiting = copy.waiting(&lines);
    write(view, folder, &lines)?;
    Ok((placed, refusals))
}

/// Puts those lines in force that can be; the others stay in the list, but for what has ended. How
/// many entries are new.
fn place(
    view: &LiveView,
    lines: &mut Vec<String>,
    copy: &Copy,
    (guard, refusals): (&Guard, &mut Vec<String>),
) -> u64 {
    let now = unix_time();
    // What is in force stays at least as long as it would: the copy is older.
    let entries = match lines.is_empty() {
        true => Vec::new(),
        false => view.all_entries(),
    };
    let known: HashMap<(u32, Prefix), Option<Duration>> = entries
        .into_iter()
        .map(|entry| ((entry.id, entry.prefix), entry.left))
        .collect();
    let mut stay = Vec::new();
    let mut sets: HashMap<String, (LiveRecord, Vec<Change>, Vec<String>)> = HashMap::new();
    for line in lines.drain(..) {
        let Some(read) = Line::read(&line) else {
            stay.push(line);
            continue;
        };
        let time = read.time(copy.taken, now);
        if time.is_some_and(|time| time.is_zero()) {
            continue;
        }
        let Some(set) = view.set(read.set) else {
            stay.push(line);
            continue;
        };
        // One entry that would do harm keeps the others out of nothing.
        let refusal = guard.refusal(&read.prefix).filter(|_| set.id == BANNED);
        if let Some(refusal) = refusal {
            refusals.push(format!("{}: not put back: {refusal}", read.set));
            stay.push(line);
            continue;
        }
        let is_longer = |left: &Option<Duration>| match (left, time) {
            (None, _) => true,
            (Some(left), Some(time)) => *left >= time,
            (Some(_), None) => false,
        };
        if known.get(&(set.id, read.prefix)).is_some_and(is_longer) {
            continue;
        }
        let all = sets.entry(read.set.to_owned());
        let (_, changes, taken) = all.or_insert_with(|| (set, Vec::new(), Vec::new()));
        changes.push(Change::Add(read.prefix, time));
        taken.push(line);
    }
    let mut added = 0;
    for (name, (set, changes, mut taken)) in sets {
        match view.change(&set, &changes, guard) {
            Ok(changed) => added += changed.added,
            Err(error) => {
                refusals.push(format!("{name}: {error}"));
                stay.append(&mut taken);
            }
        }
    }
    *lines = stay;
    added
}

/// Writes the copy of a table, with what waits in the copy before it. Puts in force what waits no
/// longer, if that can be: `may_place` says that the caller has the lock on the store.
pub(super) fn keep(view: &LiveView, folder: &Path, may_place: bool) -> io::Result<Placed> {
    let copy = Copy::read(folder)?.unwrap_or_default();
    let mut lines = copy.unplaced.clone();
    let mut placed = Placed::default();
    if may_place {
        let guard = Guard::of(Session::None);
        placed.added = place(view, &mut lines, &copy, (&guard, &mut Vec::new()));
    } else {
        lines.retain(|line| copy.waits(line));
    }
    placed.waiting = copy.waiting(&lines);
    write(view, folder, &lines)?;
    Ok(placed)
}

/// Whether the copy in a folder has lines of a set that waited, and that there is now.
pub(super) fn has_placeable(view: &LiveView, folder: &Path) -> bool {
    let copy = Copy::read(folder).ok().flatten().unwrap_or_default();
    let mut lines = copy.unplaced.iter().filter_map(|line| Line::read(line));
    lines.any(|line| line.set != BANNED_NAME && view.set(line.set).is_some())
}

/// Writes what a table has, and what waits.
fn write(view: &LiveView, folder: &Path, unplaced: &[String]) -> io::Result<()> {
    let names: HashMap<u32, &str> = view
        .sets()
        .iter()
        .map(|set| (set.id, set.name.as_str()))
        .chain([(BANNED, BANNED_NAME)])
        .collect();
    let now = unix_time();
    let taken = format!("{TAKEN}{} {}", host::boot(), now.as_millis());
    let mut lines = vec![HEADING.to_owned(), taken];
    let entries = view.all_entries();
    let own = entries.iter().filter(|it| it.origin != Origin::Policy);
    lines.extend(own.filter_map(|entry| {
        let name = names.get(&entry.id)?;
        Some(Line::write(name, &entry.prefix, entry.left, now))
    }));
    lines.extend(unplaced.iter().map(|line| format!("{UNPLACED}{line}")));
    let path = folder.join(NAME);
    // Nothing was ever in them: no folder for nothing.
    if lines.len() == 2 && !path.exists() {
        return Ok(());
    }
    lines.push(String::new());
    ledger::make(folder)?;
    whole_file::replace(&path, lines.join("\n").as_bytes(), 0o600)
}

/// Removes the copy in a folder: what it was taken from was taken off.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_file(folder.join(NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A day on which the clock is right.
    const DAY: Duration = Duration::from_secs(1_800_000_000);

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_line_says_what_it_was_written_from() {
        for entry in ["192.0.2.1", "192.0.2.0/24", "2001:db8::/32", "2001:db8::1"] {
            let prefix = parse(entry).expect("a prefix")[0];
            let line = Line::write("banned", &prefix, None, DAY);
            assert_eq!(line, format!("banned {entry} -"));
            let read = Line::read(&line).expect("a line");
            assert_eq!((read.prefix, read.end), (prefix, None));
            let line = Line::write("banned", &prefix, Some(secs(60)), DAY);
            let read = Line::read(&line).expect("a line");
            assert_eq!(read.time(Some(DAY), DAY + secs(20)), Some(secs(40)));
            assert_eq!(read.time(Some(DAY), DAY + secs(60)), Some(secs(0)));
        }
        for wrong in [
            "",
            "banned",
            "banned 192.0.2.1",
            "banned x -",
            "a 192.0.2.1 x",
            "a 192.0.2.1 1 x",
            "a b c d",
        ] {
            assert_eq!(Line::read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_clock_that_is_wrong_makes_a_ban_neither_longer_nor_void() {
        let prefix = parse("192.0.2.1").expect("a prefix")[0];
        let hour = Some(secs(3600));
        let line = Line::write("banned", &prefix, hour, DAY);
        let read = Line::read(&line).expect("a line");
        // The machine starts in 1970, or years ahead; the copy was taken by a right clock.
        assert_eq!(read.time(Some(DAY), secs(30)), hour);
        assert_eq!(read.time(Some(DAY), DAY + 30 * YEAR), hour);
        // A little behind: never more than what was left.
        assert_eq!(read.time(Some(DAY), DAY.saturating_sub(secs(60))), hour);
        // The copy was taken in 1970, and the clock is right now.
        let line = Line::write("banned", &prefix, hour, secs(30));
        let read = Line::read(&line).expect("a line");
        assert_eq!(read.time(Some(secs(30)), DAY), hour);
        // Copies of before say no time that was left.
        let end = DAY.as_millis() + 5000;
        let line = format!("banned 192.0.2.1 {end}");
        let read = Line::read(&line).expect("a line");
        assert_eq!(read.time(None, DAY), Some(secs(5)));
    }

    #[test]
    fn what_waits_is_said_by_set() {
        let copy = Copy {
            path: "/x/live".into(),
            ..Copy::default()
        };
        let lines = [
            "odd",
            "foes 192.0.2.1 -",
            "foes 192.0.2.2 -",
            "banned 0.0.0.0/0 -",
        ];
        let said = copy.waiting(&lines.map(str::to_owned));
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].starts_with("1 lines of /x/live"), "{said:?}");
        assert!(
            said.iter()
                .any(|it| it.starts_with("2 entries of the live set `foes`"))
        );
        let ended = "foes 192.0.2.1 1000";
        assert!(!copy.waits(ended) && copy.waits("odd"));
    }
}
