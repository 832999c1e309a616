//! The trail of changes: an append-only file in the folder of the state, a line of JSON for each, and the
//! journal.
//!
//! Invariant: a line is written whole or not at all, also by several processes at once and on a full disk;
//! what cannot be written is said by [`Trail::trouble`], and holds up nothing.

use firewall_api::audit::Entry;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Name of the file.
pub const NAME: &str = "audit.jsonl";
/// Bytes after which another file is begun.
const LIMIT: u64 = 4 << 20;
/// How many former files are kept: `audit.jsonl.1` is the newest.
const KEPT: u32 = 4;
/// Group members may read it.
const MODE: u32 = 0o640;
/// How long others may hold the lock.
const PATIENCE: Duration = Duration::from_secs(2);
/// Where the journal listens.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// The trail in a folder.
#[derive(Debug)]
pub struct Trail {
    path: PathBuf,
    limit: u64,
    trouble: Mutex<Option<String>>,
}

impl Trail {
    /// The trail in `folder`, which is made with the first entry.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            path: folder.join(NAME),
            limit: LIMIT,
            trouble: Mutex::default(),
        }
    }

    /// Writes an entry to the file and to the journal. False if the journal has not taken it.
    pub fn note(&self, entry: &Entry) -> bool {
        let written = self.append(entry);
        let trouble = written.err().map(|error| {
            let path = self.path.display();
            format!("changes are not on record: {path} cannot be written: {error}")
        });
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
        to_journal(entry).is_ok()
    }

    /// Why the last entry is not in the file.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.clone()
    }

    fn append(&self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let mut file = self.locked()?;
        let mut length = file.metadata()?.len();
        if length > 0 && length + line.len() as u64 > self.limit {
            self.turn_over()?;
            file = self.locked()?;
            length = file.metadata()?.len();
        }
        // Whoever was killed while writing has left a line without an end.
        if length > 0 {
            let mut last = [0];
            file.seek(SeekFrom::Start(length - 1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                line.insert(0, b'\n');
            }
        }
        let written = file.write_all(&line).and_then(|()| file.sync_data());
        if written.is_err() {
            // What did not fit is not there at all.
            let _ = file.set_len(length);
        }
        written
    }

    /// The file, under its lock: the one that has the name now.
    fn locked(&self) -> io::Result<File> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        loop {
            let file = File::options()
                .read(true)
                .append(true)
                .create(true)
                .mode(MODE)
                .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
                .open(&self.path)?;
            let found = file.metadata()?;
            if !found.is_file() {
                return Err(io::Error::other("not a regular file"));
            }
            lock(&file)?;
            let named = fs::symlink_metadata(&self.path);
            if named.is_ok_and(|named| (named.dev(), named.ino()) == (found.dev(), found.ino())) {
                if found.len() == 0 {
                    adopt(&file, folder)?;
                }
                return Ok(file);
            }
        }
    }

    /// Begins another file. Needs the lock on the present one.
    fn turn_over(&self) -> io::Result<()> {
        let numbered = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..KEPT).rev() {
            match fs::rename(numbered(number), numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, numbered(1))
    }
}

/// Locks the file. A process that was stopped while it held the lock is not waited for.
fn lock(file: &File) -> io::Result<()> {
    let start = Instant::now();
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK | Errno::INTR) if start.elapsed() < PATIENCE => {
                sleep(Duration::from_millis(1));
            }
            answer => return Ok(answer?),
        }
    }
}

/// Gives a new file its mode, and what root makes to the owner of the folder.
fn adopt(file: &File, folder: &Path) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(MODE))?;
    if rustix::process::geteuid().is_root() {
        let owner = fs::metadata(folder)?;
        fchown(file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

/// Sends an entry to the journal, with a field for each of its parts (systemd.journal-fields).
fn to_journal(entry: &Entry) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    let asker = &entry.asker;
    let number = |number: Option<u64>| number.map(|it| it.to_string());
    let fields = [
        ("MESSAGE", Some(entry.line())),
        ("PRIORITY", Some("5".to_owned())),
        ("SYSLOG_IDENTIFIER", Some("firewall".to_owned())),
        ("FIREWALL_VERB", Some(entry.verb.clone())),
        ("FIREWALL_SUBJECT", Some(entry.subject.clone())),
        ("FIREWALL_RESULT", Some(entry.result.clone())),
        ("FIREWALL_DETAIL", Some(entry.detail.clone())),
        ("FIREWALL_UID", number(asker.uid.map(u64::from))),
        ("FIREWALL_LOGIN_UID", number(asker.login_uid.map(u64::from))),
        ("FIREWALL_PID", number(asker.pid.map(u64::from))),
        ("FIREWALL_COMMAND", asker.command.clone()),
        ("FIREWALL_SSH", asker.ssh.clone()),
        ("FIREWALL_BEFORE", number(entry.before)),
        ("FIREWALL_AFTER", number(entry.after)),
    ];
    let fields = fields.into_iter();
    let lines: String = fields
        .filter_map(|(name, value)| value.map(|value| format!("{name}={value}\n")))
        .collect();
    socket.send_to(lines.as_bytes(), JOURNAL).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewall_api::audit::{Asked, Asker, Came};
    use std::thread;

    fn folder(name: &str) -> PathBuf {
        let name = format!("fwt-{}-trail-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    fn entry(subject: &str) -> Entry {
        let asked = Asked {
            verb: "apply",
            subject: subject.to_owned(),
            why: None,
        };
        Entry::new(&asked, Asker::default(), Ok(&Came::default()))
    }

    fn entries(path: &Path) -> Vec<Entry> {
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("an entry"))
            .collect()
    }

    #[test]
    fn many_writers_leave_whole_lines_and_a_bounded_number_of_files() {
        let folder = folder("many");
        thread::scope(|scope| {
            for writer in 0..4 {
                let folder = &folder;
                scope.spawn(move || {
                    let trail = Trail {
                        limit: 10_000,
                        ..Trail::in_folder(folder)
                    };
                    for number in 0..200 {
                        trail.note(&entry(&format!("{writer}-{number}")));
                        assert_eq!(trail.trouble(), None);
                    }
                });
            }
        });
        let mut names: Vec<String> = fs::read_dir(&folder)
            .expect("a folder")
            .map(|it| {
                it.expect("a file")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        let numbered = (1..=KEPT).map(|number| format!("{NAME}.{number}"));
        let wanted: Vec<String> = std::iter::once(NAME.to_owned()).chain(numbered).collect();
        assert_eq!(names, wanted);
        for name in &names {
            let path = folder.join(name);
            let found = fs::metadata(&path).expect("a file");
            assert_eq!(found.mode() & 0o777, MODE, "{name}");
            assert!(
                found.len() <= 10_000 && !entries(&path).is_empty(),
                "{name}"
            );
        }
        // The newest entries are in the newest file.
        let newest = entries(&folder.join(NAME));
        assert!(newest.iter().any(|entry| entry.subject.ends_with("-199")));
        let _ = fs::remove_dir_all(&folder);
    }

    #[test]
    fn a_line_that_was_cut_off_spoils_no_other() {
        let folder = folder("cut");
        let trail = Trail::in_folder(&folder);
        trail.note(&entry("one"));
        let path = folder.join(NAME);
        let text = fs::read_to_string(&path).expect("a file");
        fs::write(&path, format!("{text}{}", &text[..20])).expect("written");
        trail.note(&entry("two"));
        let text = fs::read_to_string(&path).expect("a file");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(
            lines[2].contains("\"two\"") && text.ends_with('\n'),
            "{text}"
        );
        let _ = fs::remove_dir_all(&folder);
    }

    #[test]
    fn what_cannot_be_written_is_said() {
        let folder = folder("none");
        fs::create_dir_all(folder.join(NAME)).expect("a folder");
        let trail = Trail::in_folder(&folder);
        trail.note(&entry("one"));
        let trouble = trail.trouble().expect("trouble");
        assert!(
            trouble.contains("audit.jsonl cannot be written"),
            "{trouble}"
        );
        fs::remove_dir(folder.join(NAME)).expect("removed");
        trail.note(&entry("two"));
        assert_eq!(trail.trouble(), None);
        // A link leads nowhere.
        let other = folder.join("other");
        fs::write(&other, "").expect("a file");
        fs::remove_file(folder.join(NAME)).expect("removed");
        std::os::unix::fs::symlink(&other, folder.join(NAME)).expect("a link");
        trail.note(&entry("three"));
        assert!(trail.trouble().is_some() && fs::read(&other).expect("a file").is_empty());
        let _ = fs::remove_dir_all(&folder);
    }
}
