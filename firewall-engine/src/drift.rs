//! Whether the files of a policy still say what is in force: which of them do not, since when, and what
//! the daemon's restart would do.
//!
//! Looks at the files' times first, and reads them only if these have changed.

use crate::engine::{Engine, Observed, Record, Request};
use firewall_api::failure::Failure;
use firewall_api::view::Drift;
use firewall_policy::bundle::{self, FOLDER, MAIN};
use firewall_system::policy_file::PolicyFile;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// How `PolicyFile` calls the standard input.
const NO_FILE: &str = "<stdin>";

/// What tells one state of a file from another: inode, size, and the nanoseconds of its last changes;
/// `None` if it is not there.
type Stamp = Option<(u64, u64, i128, i128)>;

/// Compares files with what is in force, again and again.
#[derive(Debug)]
pub struct DriftWatch {
    engine: Engine,
    /// The daemon's own policy file. `None`: nobody would go back to it.
    own: Option<String>,
    /// What it was at the last look, and what came of it.
    known: Option<Look>,
}

/// A look at the files.
#[derive(Debug)]
struct Look {
    stamps: Vec<(PathBuf, Stamp)>,
    /// State of the record that they were compared with.
    version: u64,
    drift: Vec<Drift>,
}

impl DriftWatch {
    /// A watch for what `engine` has in force; `own` is the file to which a daemon would go back.
    #[must_use]
    pub fn new(engine: Engine, own: Option<String>) -> Self {
        Self {
            engine,
            own,
            known: None,
        }
    }

    /// What differs now.
    pub fn look(&mut self, observed: &Observed) -> Vec<Drift> {
        let record = &observed.record;
        let Some(name) = self.own.clone().or_else(|| file_of(record)) else {
            return Vec::new();
        };
        let version = observed.identity.record;
        if let Some(known) = &self.known
            && known.version == version
            && known.stamps.iter().all(|(path, was)| stamp(path) == *was)
        {
            return known.drift.clone();
        }
        let mut paths = paths_of(Path::new(&name));
        // Before anything is read: what changes meanwhile is looked at again.
        let mut stamps: Vec<_> = paths.drain(..).map(|path| stamped(&path)).collect();
        let (drift, files) = self.compare(&name, record);
        stamps.extend(files.iter().map(|path| stamped(path)));
        self.known = Some(Look {
            stamps,
            version,
            drift: drift.clone(),
        });
        drift
    }

    fn compare(&self, name: &str, record: &Record) -> (Vec<Drift>, Vec<PathBuf>) {
        let file = match PolicyFile::read_in_time(name) {
            Ok(file) => file,
            Err(failure) => return (vec![self.unreadable(&failure)], Vec::new()),
        };
        let in_force = bundle::runtime(&record.policy_text).1;
        let is_same = file.text == in_force;
        let request = Request {
            policy_path: file.name.clone(),
            policy_text: file.text,
            base: file.base.clone(),
            ..Request::default()
        };
        let files = match self.engine.files_of(&request) {
            Ok(files) => files,
            Err(error) => {
                let failure = error.failure();
                let since = newest(&paths_of(Path::new(name)));
                let what = format!("{name} is not valid: {}", failure.line());
                return (vec![self.drift(what, since, false)], Vec::new());
            }
        };
        let paths = files.iter().map(|(path, _)| file.base.join(path));
        let mut paths: Vec<PathBuf> = paths.collect();
        paths.sort_unstable();
        let mut drift = Vec::new();
        if !is_same {
            drift.push(self.other_text(name, record));
        }
        for (path, sha256) in &files {
            let known = record.files.iter().find(|known| known.path == *path);
            if is_same && known.is_none_or(|known| known.sha256 != *sha256) {
                let path = file.base.join(path);
                let what = format!("{} differs from what is in force", path.display());
                drift.push(self.drift(what, newest(&[path]), true));
            }
        }
        (drift, paths)
    }

    /// The text of the file is another one.
    fn other_text(&self, name: &str, record: &Record) -> Drift {
        let in_force = file_of(record);
        let real = |path: &str| fs::canonicalize(path).ok();
        // Of a text that was sent, its label is all that is known.
        let in_force = in_force.unwrap_or_else(|| record.policy_path.clone());
        let is_other = in_force != name && real(&in_force) != real(name);
        if self.own.is_some() && is_other {
            let what = format!(
                "{} is in force, and not the daemon's own file {name}",
                record.policy_path
            );
            return self.drift(what, Some(record.applied), true);
        }
        let what = format!("{name} differs from what is in force");
        self.drift(what, newest(&paths_of(Path::new(name))), true)
    }

    fn unreadable(&self, failure: &Failure) -> Drift {
        self.drift(failure.line(), None, false)
    }

    /// A difference; `is_valid` says whether a restart could apply the file.
    fn drift(&self, what: String, since: Option<f64>, is_valid: bool) -> Drift {
        let restart = match (&self.own, is_valid) {
            (Some(own), true) => format!("a reload or restart of the daemon applies {own}"),
            (Some(_), false) => {
                "a reload fails, and a restart of the daemon keeps what is in force".to_owned()
            }
            (None, _) => "nothing reads it again but the next `load`".to_owned(),
        };
        Drift {
            what,
            since,
            restart,
        }
    }
}

/// The file or directory that a generation was read from, as far as its record says.
fn file_of(record: &Record) -> Option<String> {
    if record.policy_path == NO_FILE || record.base.as_os_str().is_empty() || record.sent {
        return None;
    }
    let path = match bundle::is_bundle(bundle::runtime(&record.policy_text).1) {
        true => record.base.clone(),
        false => record
            .base
            .join(Path::new(&record.policy_path).file_name()?),
    };
    Some(path.to_str()?.to_owned())
}

/// The files that a policy's text is read from, and the folders in which they are looked for.
fn paths_of(policy: &Path) -> Vec<PathBuf> {
    let folder = policy.join(FOLDER);
    let mut paths = vec![policy.to_owned(), policy.join(MAIN), folder.clone()];
    let inside = fs::read_dir(folder).into_iter().flatten();
    paths.extend(inside.filter_map(|entry| Some(entry.ok()?.path())));
    paths
}

fn stamped(path: &Path) -> (PathBuf, Stamp) {
    (path.to_owned(), stamp(path))
}

fn stamp(path: &Path) -> Stamp {
    let found = fs::metadata(path).ok()?;
    let nanos = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    let modified = nanos(found.mtime(), found.mtime_nsec());
    let changed = nanos(found.ctime(), found.ctime_nsec());
    Some((found.ino(), found.size(), modified, changed))
}

/// When the newest of some files was changed, in seconds of the Unix epoch.
fn newest(paths: &[PathBuf]) -> Option<f64> {
    let times = paths.iter().filter_map(|path| {
        let (_, _, modified, _) = stamp(path)?;
        Some(modified as f64 / 1e9)
    });
    times.reduce(f64::max)
}
