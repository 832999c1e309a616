//! Replaces a file as a whole: whoever reads it, and whatever happens meanwhile, finds the former
//! contents or the new ones. And reads one that may be anything.
//!
//! Invariant: what is written is on the disk before it takes the file's name, under a name that nobody
//! else can have made, with the mode and the owner that the file has. A failure leaves nothing behind.

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, linkat, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// Puts `contents` in the place of the file at `path`. A file that is there keeps its mode, owner and group;
/// a new one gets `mode`. Neither the file nor its folder may be a symbolic link, because the folder may
/// belong to a user with fewer rights; what root makes there is that user's.
///
/// # Errors
/// What the system says. The file is as it was then.
pub fn replace(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = path.file_name().ok_or_else(not_a_file)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = openat(CWD, folder, flags, Mode::empty())?;
    let former = match statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(former) if !FileType::from_raw_mode(former.st_mode).is_file() => {
            return Err(not_a_file());
        }
        Ok(former) => Some(former),
        Err(Errno::NOENT) => None,
        Err(error) => return Err(error.into()),
    };
    let beside = beside(name);
    let writable = OFlags::WRONLY | OFlags::CLOEXEC;
    let owner_only = Mode::RUSR | Mode::WUSR;
    let (mut file, is_named) = match openat(&folder, ".", OFlags::TMPFILE | writable, owner_only) {
        Ok(file) => (File::from(file), false),
        // Not every file system has files without names.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {
            let fresh = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | writable;
            (
                File::from(openat(&folder, beside.as_str(), fresh, owner_only)?),
                true,
            )
        }
        Err(error) => return Err(error.into()),
    };
    let mut put = || {
        file.write_all(contents)?;
        adopt(&file, former.as_ref(), mode, &folder)?;
        file.sync_all()?;
        if !is_named {
            let open = format!("/proc/self/fd/{}", file.as_raw_fd());
            linkat(CWD, open, &folder, beside.as_str(), AtFlags::SYMLINK_FOLLOW)?;
        }
        renameat(&folder, beside.as_str(), &folder, name)?;
        io::Result::Ok(())
    };
    let written = put();
    if written.is_err() {
        let _ = unlinkat(&folder, beside.as_str(), AtFlags::empty());
    }
    written?;
    File::from(folder).sync_all()
}

/// Gives a new file the owner and the mode of the former one; without one the owner of the folder, if root
/// makes it.
fn adopt(file: &File, former: Option<&Stat>, mode: u32, folder: &OwnedFd) -> io::Result<()> {
    let mine = file.metadata()?;
    let owner = match former {
        Some(former) => (former.st_uid, former.st_gid),
        None if geteuid().is_root() => {
            let of_folder = fstat(folder)?;
            (of_folder.st_uid, of_folder.st_gid)
        }
        None => (mine.uid(), mine.gid()),
    };
    if owner != (mine.uid(), mine.gid()) {
        fchown(file, Some(owner.0), Some(owner.1))?;
    }
    let mode = former.map_or(mode, |former| former.st_mode & 0o7777);
    file.set_permissions(fs::Permissions::from_mode(mode))
}

/// A name beside a file that no other writer has.
fn beside(name: &OsStr) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = name.to_string_lossy();
    format!(".{name}.{}-{number}.new", std::process::id())
}

fn not_a_file() -> io::Error {
    io::Error::other("not a regular file")
}

/// Opens a regular file to be read: what is none is refused, and nobody is waited for.
///
/// # Errors
/// What the system says.
pub fn open(path: &Path) -> io::Result<File> {
    open_with(path, OFlags::empty())
}

fn open_with(path: &Path, more: OFlags) -> io::Result<File> {
    // Without O_NONBLOCK, opening a pipe that nobody writes to would wait for ever.
    let file = File::options()
        .read(true)
        .custom_flags((OFlags::NONBLOCK | more).bits().cast_signed())
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(not_a_file()),
    }
}

/// What a regular file of at most `limit` bytes holds, which no symbolic link names.
///
/// # Errors
/// What the system says; a file that is larger.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_with(path, OFlags::NOFOLLOW)?
        .take(limit + 1)
        .read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(io::Error::other(format!("larger than {limit} bytes"))),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    fn folder(name: &str) -> PathBuf {
        let name = format!("fwt-{}-whole-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).expect("a folder");
        folder
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = names.map(|it| it.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_keeps_its_mode_and_nothing_is_left_beside_it() {
        let folder = folder("mode");
        let (file, link) = (folder.join("a"), folder.join("b"));
        replace(&file, b"one", 0o640).expect("written");
        assert_eq!(fs::metadata(&file).expect("a file").mode() & 0o7777, 0o640);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).expect("a mode");
        symlink(&file, &link).expect("a link");
        assert!(replace(&link, b"no", 0o600).is_err() && read(&link, 9).is_err());
        replace(&file, b"two", 0o600).expect("written");
        assert_eq!(fs::read(&file).expect("a file"), b"two");
        assert_eq!(fs::metadata(&file).expect("a file").mode() & 0o7777, 0o604);
        assert!(fs::symlink_metadata(&link).expect("a link").is_symlink());
        assert_eq!(names(&folder), ["a", "b"]);
        let _ = fs::remove_dir_all(&folder);
    }

    #[test]
    fn a_folder_that_a_link_names_is_not_written_to() {
        let folder = folder("linked");
        let (real, link) = (folder.join("real"), folder.join("link"));
        fs::create_dir(&real).expect("a folder");
        symlink(&real, &link).expect("a link");
        assert!(replace(&link.join("a"), b"one", 0o600).is_err());
        assert!(names(&real).is_empty());
        let _ = fs::remove_dir_all(&folder);
    }

    #[test]
    fn what_is_no_file_is_neither_replaced_nor_read() {
        let folder = folder("odd");
        let pipe = folder.join("pipe");
        rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .expect("a pipe");
        for odd in [pipe.as_path(), &folder, Path::new("/dev/null")] {
            assert!(replace(odd, b"x", 0o600).is_err(), "{}", odd.display());
            let error = read(odd, 10).expect_err("no file").to_string();
            assert!(error.contains("regular file"), "{error}");
        }
        let file = folder.join("long");
        fs::write(&file, "01234567890").expect("a file");
        assert!(read(&file, 10).is_err());
        assert_eq!(read(&file, 11).expect("a file"), b"01234567890");
        assert_eq!(names(&folder), ["long", "pipe"]);
        let _ = fs::remove_dir_all(&folder);
    }
}
