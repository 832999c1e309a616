//! Files by the SHA-256 of their bytes: those of the policy in force, and those that were sent for one
//! that is to be.
//!
//! Invariants: a file under a hash has the bytes of that hash, at any time: it is written beside and
//! renamed when whole. No name but a hash is ever opened.

use crate::hash;
use firewall_api::failure::{Exit, Failure};
use firewall_api::source::{FILE_LIMIT, FileKept, NamedFile, files_missing, is_hash};
use firewall_api::view::SCHEMA;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Most bytes of all files together.
pub const STORE_LIMIT: u64 = 2 << 30;

/// How long a file stays that no policy in force names.
const UNUSED: Duration = Duration::from_secs(600);

/// What names of files that are being written begin with.
const NEW: &str = "new-";

/// A folder of files by their hashes. Made when the first one is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileStore {
    folder: PathBuf,
}

impl FileStore {
    /// The store in `folder`. Touches nothing yet.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// Refuses what names files that are not there. Those that are there stay for a while.
    ///
    /// # Errors
    /// [`files_missing`]; a hash that is none; a file beyond [`FILE_LIMIT`].
    pub fn require(&self, files: &[NamedFile]) -> Result<(), Failure> {
        let mut missing = Vec::new();
        for file in files {
            check_name(&file.sha256)?;
            check_size(file.bytes)?;
            let is_there = File::open(self.folder.join(&file.sha256))
                .and_then(|kept| kept.set_modified(SystemTime::now()));
            if is_there.is_err() {
                missing.push(file);
            }
        }
        match missing.as_slice() {
            [] => Ok(()),
            missing => Err(files_missing(missing)),
        }
    }

    /// Opens the file of a hash.
    ///
    /// # Errors
    /// It is not there, or the name is no hash.
    pub fn open(&self, sha256: &str) -> io::Result<File> {
        if !is_hash(sha256) {
            return Err(io::Error::other("not a SHA-256"));
        }
        File::open(self.folder.join(sha256))
    }

    /// Keeps `bytes` bytes of `from` as the file of a hash, if that is their hash.
    ///
    /// # Errors
    /// Exit code 3: other bytes, more or less of them, or more than there is room for; what the system
    /// says.
    pub fn put(&self, sha256: &str, bytes: u64, from: &mut dyn Read) -> Result<FileKept, Failure> {
        check_name(sha256)?;
        check_size(bytes)?;
        if self.size().saturating_add(bytes) > STORE_LIMIT {
            let what = format!("the files that are kept exceed {} MiB", STORE_LIMIT >> 20);
            return Err(Failure::new(Exit::Config, what).help(
                "shorten the lists, or wait: files of no policy in force go after 10 minutes",
            ));
        }
        let failed = |error: io::Error| {
            let folder = self.folder.display();
            Failure::new(
                Exit::Failed,
                format!("cannot keep a file in {folder}: {error}"),
            )
            .help("make room there, or name another folder: firewall-ctl daemon --state FOLDER")
        };
        let mut copy = self.copy().map_err(failed)?;
        let mut piece = vec![0; 64 << 10];
        loop {
            let count = from.read(&mut piece).map_err(|error| {
                Failure::new(
                    Exit::Failed,
                    format!("the file did not come whole: {error}"),
                )
            })?;
            if count == 0 {
                break;
            }
            if copy.bytes + count as u64 > bytes {
                return Err(other_bytes(sha256, bytes));
            }
            copy.write(&piece[..count]).map_err(failed)?;
        }
        if copy.bytes != bytes || copy.hash() != sha256 {
            return Err(other_bytes(sha256, bytes));
        }
        copy.rename(sha256).map_err(failed)?;
        Ok(FileKept {
            schema: SCHEMA.to_owned(),
            sha256: sha256.to_owned(),
            bytes,
        })
    }

    /// Begins a file whose hash is not known yet.
    ///
    /// # Errors
    /// What the system says.
    pub fn copy(&self) -> io::Result<Copying> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&self.folder)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = self
            .folder
            .join(format!("{NEW}{}-{number}", std::process::id()));
        let mut options = File::options();
        let file = options.write(true).create_new(true).mode(0o600);
        Ok(Copying {
            file: file.open(&path)?,
            folder: self.folder.clone(),
            path,
            bytes: 0,
            digest: Sha256::new(),
        })
    }

    /// Removes what no policy in force names, unless it has come lately.
    pub fn prune(&self, in_force: &[NamedFile]) {
        let used: HashSet<&str> = in_force.iter().map(|file| file.sha256.as_str()).collect();
        for (path, metadata) in self.list() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let age = metadata.modified().ok().and_then(|at| at.elapsed().ok());
            let is_old = age.is_some_and(|age| age > UNUSED);
            if is_old && !used.contains(&*name) && (is_hash(&name) || name.starts_with(NEW)) {
                // Tried again the next time.
                let _ = fs::remove_file(path);
            }
        }
    }

    /// Bytes of all files.
    fn size(&self) -> u64 {
        self.list().map(|(_, metadata)| metadata.len()).sum()
    }

    fn list(&self) -> impl Iterator<Item = (PathBuf, fs::Metadata)> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
    }
}

/// A file that is being written. Removed when dropped.
#[derive(Debug)]
pub struct Copying {
    file: File,
    folder: PathBuf,
    path: PathBuf,
    bytes: u64,
    digest: Sha256,
}

impl Copying {
    /// Adds bytes.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        self.digest.update(bytes);
        Ok(())
    }

    /// Keeps it under its hash, if it has that one.
    pub(crate) fn finish(self, sha256: &str) {
        let is_kept = File::open(self.folder.join(sha256))
            .and_then(|kept| kept.set_modified(SystemTime::now()))
            .is_ok();
        if !is_kept && self.hash() == sha256 {
            // What is not kept is sent when it is needed.
            let _ = self.rename(sha256);
        }
    }

    fn hash(&self) -> String {
        hash::text(&self.digest.clone().finalize())
    }

    fn rename(self, sha256: &str) -> io::Result<()> {
        // Whole after a power failure too, or not there.
        self.file.sync_all()?;
        fs::rename(&self.path, self.folder.join(sha256))
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        // Renamed by now, if it was whole.
        let _ = fs::remove_file(&self.path);
    }
}

fn check_name(sha256: &str) -> Result<(), Failure> {
    if is_hash(sha256) {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Usage,
        "a file is named by its SHA-256: 64 lower-case hexadecimal digits",
    ))
}

fn check_size(bytes: u64) -> Result<(), Failure> {
    if bytes <= FILE_LIMIT {
        return Ok(());
    }
    let limit = FILE_LIMIT >> 20;
    Err(Failure::new(
        Exit::Config,
        format!("a file is larger than {limit} MiB, the limit"),
    )
    .help("split the list over several sets"))
}

fn other_bytes(sha256: &str, bytes: u64) -> Failure {
    Failure::new(
        Exit::Config,
        format!("what came is not the file of {bytes} bytes with the SHA-256 {sha256}"),
    )
    .help("the file has changed while it was sent: repeat the command")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("fwt-store-{}-{name}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
            entries
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn named(bytes: &[u8]) -> NamedFile {
        NamedFile {
            path: "list.txt".to_owned(),
            sha256: hash::of(bytes),
            bytes: bytes.len() as u64,
        }
    }

    #[test]
    fn what_was_put_is_there_and_nothing_else() {
        let folder = Folder::new("put");
        let store = FileStore::new(&folder.0);
        let file = named(b"192.0.2.1\n");
        let missing = store.require(std::slice::from_ref(&file)).unwrap_err();
        assert_eq!(&*missing.code, "files-missing");
        let kept = store.put(&file.sha256, 10, &mut &b"192.0.2.1\n"[..]);
        assert_eq!(kept.unwrap().bytes, 10);
        assert_eq!(store.require(std::slice::from_ref(&file)), Ok(()));
        let mut text = String::new();
        let mut opened = store.open(&file.sha256).unwrap();
        opened.read_to_string(&mut text).unwrap();
        assert_eq!(text, "192.0.2.1\n");
        assert_eq!(folder.names(), [file.sha256]);
    }

    #[test]
    fn wrong_bytes_sizes_and_names_leave_nothing() {
        let folder = Folder::new("wrong");
        let store = FileStore::new(&folder.0);
        let file = named(b"192.0.2.1\n");
        for (bytes, said) in [
            (&b"192.0.2.2\n"[..], 10),
            (b"192.0.2.1", 10),
            (b"192.0.2.1\n\n", 10),
            (b"192.0.2.1\n", FILE_LIMIT + 1),
        ] {
            let failure = store.put(&file.sha256, said, &mut &*bytes).unwrap_err();
            assert_eq!(failure.exit_code, Exit::Config, "{failure}");
        }
        let failure = store.put("../shadow", 1, &mut &b"x"[..]).unwrap_err();
        assert_eq!(failure.exit_code, Exit::Usage);
        assert!(store.open("../../etc/passwd").is_err());
        assert_eq!(folder.names(), Vec::<String>::new());
    }

    #[test]
    fn what_is_in_force_or_new_stays() {
        let folder = Folder::new("prune");
        let store = FileStore::new(&folder.0);
        let files = [named(b"a"), named(b"b"), named(b"c")];
        for (file, text) in files.iter().zip(["a", "b", "c"]) {
            let put = store.put(&file.sha256, 1, &mut text.as_bytes());
            assert!(put.is_ok(), "{put:?}");
        }
        let long_ago = SystemTime::now() - 2 * UNUSED;
        for file in &files[..2] {
            let kept = store.open(&file.sha256).unwrap();
            kept.set_modified(long_ago).unwrap();
        }
        store.prune(&files[..1]);
        let mut left = folder.names();
        left.sort();
        let mut wanted = [files[0].sha256.clone(), files[2].sha256.clone()];
        wanted.sort();
        assert_eq!(left, wanted);
    }
}
