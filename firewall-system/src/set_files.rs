//! Opens the files that a policy names, and notes what was read: from a folder of the disk, or from a
//! store by their hashes, where a request has brought the policy.
//!
//! Invariant: what comes from a request is opened by its hash, never by its path.

use crate::exposed::exposed;
use crate::file_store::{Copying, FileStore};
use crate::hash;
use firewall_api::clock::unix_time;
use firewall_api::source::{FILE_LIMIT, NamedFile};
use firewall_policy::files::Files;
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A store of files, for the policy of a request or to keep what is read.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Where they are.
    pub store: FileStore,
    /// The files that a request has named, which are read from the store. `None`: files are read from
    /// the policy's folder, and copies of them kept.
    pub named: Option<Vec<NamedFile>>,
}

/// The files of one policy.
#[derive(Debug)]
pub struct SetFiles<'a> {
    base: &'a Path,
    kept: Option<&'a Kept>,
    noted: RefCell<Noted>,
}

/// What was read.
#[derive(Default, Debug)]
struct Noted {
    /// Digest of every file, in the order of reading.
    all: Sha256,
    files: Vec<NamedFile>,
    /// Paths that could not be opened, or not to their end.
    unread: Vec<String>,
    exposed: Vec<String>,
}

/// What was read of the files of a policy.
#[derive(Debug)]
pub struct FilesRead {
    /// SHA-256 of all names and bytes.
    pub digest: Vec<u8>,
    /// The files, each once.
    pub files: Vec<NamedFile>,
    /// Those of which the bytes are not known.
    pub unread: Vec<String>,
    /// Those that others may write, a sentence each: who decides by them whom this host lets in?
    pub exposed: Vec<String>,
}

impl<'a> SetFiles<'a> {
    /// The files in the folder `base`, or those that were kept.
    #[must_use]
    pub fn new(base: &'a Path, kept: Option<&'a Kept>) -> Self {
        Self {
            base,
            kept,
            noted: RefCell::default(),
        }
    }

    /// What was read.
    #[must_use]
    pub fn finish(self) -> FilesRead {
        let noted = self.noted.into_inner();
        FilesRead {
            digest: noted.all.finalize().to_vec(),
            files: noted.files,
            unread: noted.unread,
            exposed: noted.exposed,
        }
    }

    /// Opens one in the policy's folder, and notes whether others may write it.
    fn open_here(&self, path: &str) -> io::Result<File> {
        let place = self.base.join(path);
        let file = open(&place)?;
        let mut noted = self.noted.borrow_mut();
        let said = exposed(&place).map(|why| format!("set file {path}: {why}"));
        if let Some(said) = said.filter(|said| !noted.exposed.contains(said)) {
            noted.exposed.push(said);
        }
        Ok(file)
    }

    fn find(&self, path: &str) -> io::Result<(File, Option<Copying>)> {
        match self.kept {
            None => Ok((self.open_here(path)?, None)),
            Some(Kept { store, named: None }) => {
                let file = self.open_here(path)?;
                // A copy that cannot be made is sent again when it is needed.
                Ok((file, store.copy().ok()))
            }
            Some(Kept {
                store,
                named: Some(named),
            }) => {
                let named = named.iter().find(|file| file.path == path);
                let named = named.ok_or_else(|| {
                    io::Error::other("it did not come with the request, which opens no paths")
                })?;
                Ok((store.open(&named.sha256)?, None))
            }
        }
    }
}

impl Files for SetFiles<'_> {
    fn open(&self, path: &str) -> io::Result<Box<dyn Read + '_>> {
        let (file, copy) = self.find(path).inspect_err(|_| {
            self.noted.borrow_mut().unread.push(path.to_owned());
        })?;
        Ok(Box::new(Digested {
            path: path.to_owned(),
            file,
            copy,
            bytes: 0,
            digest: Sha256::new(),
            noted: &self.noted,
        }))
    }

    fn full(&self, path: &str) -> String {
        self.base.join(path).display().to_string()
    }

    fn now(&self) -> u64 {
        unix_time().as_secs()
    }
}

/// Opens a regular file. A pipe that nobody writes to would be waited for without O_NONBLOCK.
///
/// # Errors
/// The system's answer, or what the path names instead.
pub fn open(path: &Path) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok(file)
}

/// A file whose digest is noted when it has been read.
struct Digested<'d> {
    path: String,
    file: File,
    copy: Option<Copying>,
    bytes: u64,
    digest: Sha256,
    noted: &'d RefCell<Noted>,
}

impl Read for Digested<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(to)?;
        self.bytes += count as u64;
        self.digest.update(&to[..count]);
        if let Some(copy) = &mut self.copy
            && copy.write(&to[..count]).is_err()
        {
            self.copy = None;
        }
        Ok(count)
    }
}

impl Drop for Digested<'_> {
    /// Reads the rest, which a reader that has found a mistake leaves: the hash is the whole file's.
    fn drop(&mut self) {
        let mut rest = vec![0; 64 << 10];
        let whole = loop {
            match self.read(&mut rest) {
                _ if self.bytes > FILE_LIMIT => break false,
                Ok(0) => break true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break false,
            }
        };
        let digest = std::mem::take(&mut self.digest).finalize();
        let mut noted = self.noted.borrow_mut();
        // Digests have one length, so a name and its text cannot run into each other.
        noted.all.update(Sha256::digest(&self.path));
        noted.all.update(digest);
        let path = std::mem::take(&mut self.path);
        if !whole {
            noted.unread.push(path);
            return;
        }
        let sha256 = hash::text(&digest);
        if let Some(copy) = self.copy.take() {
            copy.finish(&sha256);
        }
        if noted.files.iter().all(|file| file.path != path) {
            noted.files.push(NamedFile {
                path,
                sha256,
                bytes: self.bytes,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::privately;
    use std::fs;
    use std::path::PathBuf;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("fwt-files-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            privately(|| fs::create_dir_all(&path)).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_reader_that_stops_early_leaves_the_hash_of_the_whole_file() {
        let folder = Folder::new("early");
        let text = "192.0.2.1\n".repeat(20_000);
        fs::write(folder.0.join("list.txt"), &text).unwrap();
        let kept = Kept {
            store: FileStore::new(&folder.0.join("store")),
            named: None,
        };
        let files = SetFiles::new(&folder.0, Some(&kept));
        let mut some = [0; 5];
        for _ in 0..2 {
            let mut file = files.open("list.txt").unwrap();
            file.read_exact(&mut some).unwrap();
        }
        assert!(files.open("nothere.txt").is_err());
        assert!(files.open(".").is_err(), "a folder");
        let read = files.finish();
        assert_eq!(read.unread, ["nothere.txt", "."]);
        let whole = NamedFile {
            path: "list.txt".to_owned(),
            sha256: hash::of(&text),
            bytes: text.len() as u64,
        };
        assert_eq!(read.files, [whole]);
        // A copy is kept, by which a request is answered, whatever the path.
        fs::remove_file(folder.0.join("list.txt")).unwrap();
        let sent = Kept {
            named: Some(read.files),
            ..kept
        };
        let files = SetFiles::new(&folder.0, Some(&sent));
        let mut again = String::new();
        let mut file = files.open("list.txt").unwrap();
        file.read_to_string(&mut again).unwrap();
        drop(file);
        assert!(again == text);
        assert_eq!(files.finish().digest.len(), 32);
    }

    #[test]
    fn a_request_opens_nothing_that_it_did_not_bring() {
        let folder = Folder::new("paths");
        let secret = folder.0.join("secret");
        fs::write(&secret, "192.0.2.1\n").unwrap();
        let sent = Kept {
            store: FileStore::new(&folder.0.join("store")),
            named: Some(vec![NamedFile {
                path: "brought".to_owned(),
                sha256: "../secret".to_owned(),
                bytes: 10,
            }]),
        };
        let files = SetFiles::new(&folder.0, Some(&sent));
        let absolute = secret.display().to_string();
        for path in ["secret", "brought", &absolute] {
            assert!(files.open(path).is_err(), "{path}");
        }
        assert!(files.finish().files.is_empty());
    }
}
