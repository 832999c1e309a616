//! The generations that have been in force, a file for each in a folder of the state, and the one that
//! waits to be confirmed.
//!
//! ```text
//! gen/41.yaml          a line about it, then the policy's text as it was
//! gen/42.tried.yaml    the same, not confirmed
//! pending              42 waits to be confirmed, and what comes back if it is not
//! ```
//!
//! Invariants: every file is whole at any time, whatever happens while it is written (`whole_file`); to
//! confirm one takes no room on the disk; what is damaged is said, and hides nothing else. Whoever writes
//! holds the lock on the pins.

use crate::file_store::STORE_LIMIT;
use crate::hash;
use crate::whole_file;
use firewall_api::failure::{Exit, Failure};
use firewall_api::history::{HistoryEntry, KEPT};
use firewall_api::session::Asker;
use firewall_api::source::NamedFile;
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::path::{Path, PathBuf};

/// Name of the folder.
const FOLDER: &str = "gen";
/// Name of the file of what waits to be confirmed.
const PENDING: &str = "pending";
/// What the first line of a generation's file begins with.
const HEAD: &str = "# firewall generation: ";
/// Endings of the names: of what is confirmed, and of what is not.
const CONFIRMED: &str = ".yaml";
const TRIED: &str = ".tried.yaml";
/// Bytes of the first line, and of the file of what waits.
const HEAD_LIMIT: u64 = 4 << 20;
/// Bytes of a file: the longest policy, with its runtime rules.
const LIMIT: u64 = (32 << 20) + HEAD_LIMIT;
/// Bytes of all texts together.
const TEXTS_LIMIT: u64 = 256 << 20;
/// Bytes of all files together that the policies name: half of the room there is.
const FILES_LIMIT: u64 = STORE_LIMIT / 2;

/// The history in a folder of the state. Made with the first generation.
#[derive(Clone, Debug)]
pub struct History {
    state: PathBuf,
}

/// A generation that goes by itself unless it is confirmed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Waiting {
    /// Its number when it was put in force.
    pub generation: u64,
    /// The confirmed one whose policy comes back.
    pub back: u64,
    /// Seconds that there were to confirm it.
    pub seconds: u64,
    /// The machine's start to which `ends` belongs.
    pub boot: String,
    /// When it goes: nanoseconds since then, the time in which the machine slept included.
    pub ends: u64,
    /// The policy as it was named.
    pub policy: String,
    /// Who has put it in force.
    #[serde(flatten)]
    pub asker: Asker,
}

/// What is kept, newest first, and what cannot be read of it, a sentence each.
pub type Kept = (Vec<HistoryEntry>, Vec<String>);

impl History {
    /// The history in the folder `state`. Touches nothing yet.
    #[must_use]
    pub fn in_folder(state: &Path) -> Self {
        Self {
            state: state.to_owned(),
        }
    }

    fn folder(&self) -> PathBuf {
        self.state.join(FOLDER)
    }

    fn path(&self, generation: u64, is_confirmed: bool) -> PathBuf {
        let ending = if is_confirmed { CONFIRMED } else { TRIED };
        self.folder().join(format!("{generation}{ending}"))
    }

    /// Keeps a generation, and lets go of the oldest where there are too many.
    ///
    /// # Errors
    /// What the system says. What was kept before is as it was.
    pub fn keep(&self, entry: &HistoryEntry, text: &str, used: &[u64]) -> io::Result<()> {
        make(&self.state)?;
        make(&self.folder())?;
        let mut contents = format!("{HEAD}{}\n", serde_json::to_string(entry)?);
        contents.push_str(text);
        let path = self.path(entry.generation, entry.confirmed);
        whole_file::replace(&path, contents.as_bytes(), 0o600)?;
        let _ = fs::remove_file(self.path(entry.generation, !entry.confirmed));
        self.prune(used);
        Ok(())
    }

    /// Marks what was put in force with a number, or renewed since, as confirmed.
    ///
    /// # Errors
    /// What the system says.
    pub fn confirm(&self, from: u64) -> io::Result<()> {
        let tried = self.numbers()?.into_iter();
        for (number, _) in tried.filter(|it| it.0 >= from && !it.1) {
            fs::rename(self.path(number, false), self.path(number, true))?;
        }
        sync(&self.folder())
    }

    /// Lets go of one that was to be tried, and has not come into force.
    ///
    /// # Errors
    /// What the system says.
    pub fn forget_tried(&self, generation: u64) -> io::Result<()> {
        fs::remove_file(self.path(generation, false))?;
        sync(&self.folder())
    }

    /// Whether a generation was confirmed; `None` if it is not kept.
    #[must_use]
    pub fn is_confirmed(&self, generation: u64) -> Option<bool> {
        let is_there = |is_confirmed| self.path(generation, is_confirmed).exists();
        match (is_there(true), is_there(false)) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            _ => None,
        }
    }

    /// What is kept. One that cannot be read is said, and left out.
    #[must_use]
    pub fn list(&self) -> Kept {
        let numbers = match self.numbers() {
            Ok(numbers) => numbers,
            Err(error) => {
                let folder = self.folder();
                let what = format!("the history {} cannot be read: {error}", folder.display());
                return (Vec::new(), vec![what]);
            }
        };
        let (mut entries, mut warnings) = (Vec::new(), Vec::new());
        for (number, is_confirmed) in numbers {
            match self.head(number, is_confirmed) {
                Ok(entry) => entries.push(entry),
                Err(error) => warnings.push(format!(
                    "generation {number} is lost from the history: {}: {error}",
                    self.path(number, is_confirmed).display()
                )),
            }
        }
        entries.dedup_by_key(|entry| entry.generation);
        (entries, warnings)
    }

    /// The first line of a file.
    fn head(&self, number: u64, is_confirmed: bool) -> io::Result<HistoryEntry> {
        let file = whole_file::open(&self.path(number, is_confirmed))?;
        let mut line = String::new();
        BufReader::new(file.take(HEAD_LIMIT)).read_line(&mut line)?;
        let entry = parse(&line).filter(|entry| entry.generation == number);
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "damaged");
        let entry = entry.ok_or_else(damaged)?;
        Ok(HistoryEntry {
            confirmed: is_confirmed,
            ..entry
        })
    }

    /// A generation and its policy's text.
    ///
    /// # Errors
    /// Exit code 3: it is not kept, or damaged.
    pub fn read(&self, generation: u64) -> Result<(HistoryEntry, String), Failure> {
        let list = "list them: firewall-ctl history";
        let Some(is_confirmed) = self.is_confirmed(generation) else {
            let what = format!("generation {generation} is not in the history");
            return Err(Failure::new(Exit::Config, what).help(list));
        };
        let path = self.path(generation, is_confirmed);
        let damaged = |why: &dyn std::fmt::Display| {
            let what = format!(
                "generation {generation} cannot be read: {}: {why}",
                path.display()
            );
            Failure::new(Exit::Config, what).help(list)
        };
        let bytes = whole_file::read(&path, LIMIT).map_err(|error| damaged(&error))?;
        let contents = String::from_utf8(bytes).map_err(|_| damaged(&"damaged"))?;
        let (head, text) = contents.split_once('\n').unwrap_or((&contents, ""));
        let entry = parse(head).filter(|it| it.sha256 == hash::of(text));
        let entry = entry.filter(|it| it.generation == generation);
        let entry = entry.ok_or_else(|| damaged(&"damaged"))?;
        let confirmed = is_confirmed;
        Ok((HistoryEntry { confirmed, ..entry }, text.to_owned()))
    }

    /// Every file that a policy of the history names.
    ///
    /// # Errors
    /// Nobody can say which ones.
    pub fn files(&self) -> io::Result<Vec<NamedFile>> {
        let mut files = Vec::new();
        for (number, is_confirmed) in self.numbers()? {
            match self.head(number, is_confirmed) {
                Ok(entry) => files.extend(entry.files),
                // It names none that anybody could find by it.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }

    /// Numbers of what is kept, and whether it is confirmed, newest first.
    fn numbers(&self) -> io::Result<Vec<(u64, bool)>> {
        let mut numbers: Vec<(u64, bool)> = match fs::read_dir(self.folder()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            entries => entries?
                .flatten()
                .filter_map(|entry| number_of(entry.file_name().to_str()?))
                .collect(),
        };
        // Of one that a crash has left twice, the confirmed one counts.
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        Ok(numbers)
    }

    /// Lets go of what there is no room for, and of what a crash has left. Not of what is `used`, nor of
    /// the newest generation, the newest confirmed one and the newest one that was not: the policy file may
    /// say it yet.
    fn prune(&self, used: &[u64]) {
        let mut left = self.list().0;
        while let Some(place) = superfluous(&left, used) {
            let gone = left.remove(place);
            // Tried again with the next generation.
            let _ = fs::remove_file(self.path(gone.generation, gone.confirmed));
        }
        for entry in fs::read_dir(self.folder()).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with('.') && name.ends_with(".new") {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// What waits to be confirmed.
    ///
    /// # Errors
    /// What the system says; a file that is damaged.
    pub fn waiting(&self) -> io::Result<Option<Waiting>> {
        let path = self.state.join(PENDING);
        match whole_file::read(&path, HEAD_LIMIT) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            bytes => Ok(Some(serde_json::from_slice(&bytes?)?)),
        }
    }

    /// Notes what waits to be confirmed.
    ///
    /// # Errors
    /// What the system says. What waited before does so yet.
    pub fn wait_for(&self, waiting: &Waiting) -> io::Result<()> {
        make(&self.state)?;
        let json = serde_json::to_vec(waiting)?;
        whole_file::replace(&self.state.join(PENDING), &json, 0o600)
    }

    /// Nothing waits any more.
    ///
    /// # Errors
    /// What the system says.
    pub fn end_waiting(&self) -> io::Result<()> {
        match fs::remove_file(self.state.join(PENDING)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| sync(&self.state)),
        }
    }
}

/// The number in a file's name, and whether it is confirmed.
fn number_of(name: &str) -> Option<(u64, bool)> {
    let tried = name.strip_suffix(TRIED).map(|number| (number, false));
    let (number, is_confirmed) = tried.or_else(|| Some((name.strip_suffix(CONFIRMED)?, true)))?;
    let parsed: u64 = number.parse().ok()?;
    (parsed.to_string() == number).then_some((parsed, is_confirmed))
}

fn parse(line: &str) -> Option<HistoryEntry> {
    serde_json::from_str(line.strip_prefix(HEAD)?.trim_end()).ok()
}

/// The place of one that there is no room for, in a list with the newest first. Those that say the same as
/// the one before them go first: nobody has asked for them.
fn superfluous(entries: &[HistoryEntry], used: &[u64]) -> Option<usize> {
    let mut seen = HashSet::new();
    let files = entries.iter().flat_map(|entry| &entry.files);
    let files = files.filter(|file| seen.insert(file.sha256.as_str()));
    let bytes: u64 = files.map(|file| file.bytes).sum();
    let texts: u64 = entries.iter().map(|entry| entry.bytes).sum();
    if entries.len() <= KEPT && texts <= TEXTS_LIMIT && bytes <= FILES_LIMIT {
        return None;
    }
    let confirmed = entries.iter().position(|entry| entry.confirmed);
    let tried = entries.iter().position(|entry| !entry.confirmed);
    let may_go = |&place: &usize| {
        place > 0
            && ![confirmed, tried].contains(&Some(place))
            && !used.contains(&entries[place].generation)
    };
    let says_the_same = |&place: &usize| {
        let older = entries.get(place + 1);
        older.is_some_and(|older| {
            let own = &entries[place];
            (&older.content_sha256, older.confirmed) == (&own.content_sha256, own.confirmed)
        })
    };
    let places = || (0..entries.len()).rev().filter(may_go);
    places().find(says_the_same).or_else(|| places().next())
}

/// Makes a folder, which belongs to whom the one above belongs.
fn make(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let Some(above) = folder.parent() else {
        return Ok(());
    };
    if geteuid().is_root() {
        let owner = fs::metadata(above)?;
        chown(folder, Some(owner.uid()), Some(owner.gid()))?;
    }
    sync(above)
}

/// Brings the names in a folder to the disk.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
