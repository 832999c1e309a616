//! Whether others may write a file by which this host is protected: the file itself, one of the folders
//! through which it is found, or one of the links on the way.
//!
//! Others are all but root, the daemon's user and that of this process: what `load` and `apply` take, the
//! daemon takes at the next start. In a folder with the sticky bit, as `/tmp`, nobody replaces what belongs
//! to somebody else.

use rustix::fs::Mode;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

/// The user as whom the packaged daemon runs.
const DAEMON: &str = "firewall-daemon";

/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;

/// Who may write it, in a sentence; `None` if nobody else may, or it is not there.
#[must_use]
pub fn exposed(path: &Path) -> Option<String> {
    let mut trusted = daemons();
    trusted.push(rustix::process::geteuid().as_raw());
    exposed_to(path, &trusted)
}

/// As [`exposed`], of this process's user, too, if the daemon does not run as that.
#[must_use]
pub fn exposed_to_daemon(path: &Path) -> Option<String> {
    exposed_to(path, &daemons())
}

/// Users who may write what protects this host, wherever it is read.
fn daemons() -> Vec<u32> {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let number = |line: &str| {
        let mut fields = line.split(':');
        (fields.next()? == DAEMON).then(|| fields.nth(1)?.parse().ok())?
    };
    let daemon = users.lines().find_map(number);
    [0].into_iter().chain(daemon).collect()
}

/// Goes the way that the kernel goes, and says what lies nearest to the file.
fn exposed_to(path: &Path, trusted: &[u32]) -> Option<String> {
    let mut at = PathBuf::from("/");
    let mut found = whose(&at, &at.metadata().ok()?, trusted);
    let mut ahead = Vec::new();
    go_on(&mut ahead, &std::path::absolute(path).ok()?);
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = match name == "/" {
            true => PathBuf::from("/"),
            false => at.join(name),
        };
        let what = next.symlink_metadata().ok()?;
        if what.is_symlink() {
            links += 1;
            if links > MOST_LINKS {
                return None;
            }
            found = not_trusted(&next, &what, trusted).or(found);
            go_on(&mut ahead, &next.read_link().ok()?);
        } else {
            found = whose(&next, &what, trusted).or(found);
            at = next;
        }
    }
    found
}

/// Puts the parts of a path before those that are ahead.
fn go_on(ahead: &mut Vec<OsString>, path: &Path) {
    let parts = path.components().rev();
    let parts = parts.filter(|part| *part != Component::CurDir);
    ahead.extend(parts.map(|part| part.as_os_str().to_owned()));
}

fn not_trusted(at: &Path, what: &Metadata, trusted: &[u32]) -> Option<String> {
    let owner = what.uid();
    (!trusted.contains(&owner)).then(|| format!("{} belongs to user id {owner}", at.display()))
}

fn whose(at: &Path, what: &Metadata, trusted: &[u32]) -> Option<String> {
    let by_others = || Some(format!("{} {}", at.display(), open(what)?));
    not_trusted(at, what, trusted).or_else(by_others)
}

/// Who may write a file or a folder beside its owner.
fn open(what: &Metadata) -> Option<String> {
    let mode = Mode::from_raw_mode(what.mode());
    let is_guarded = what.is_dir() && mode.contains(Mode::SVTX);
    if mode.contains(Mode::WOTH) && !is_guarded {
        return Some("may be written by everybody".to_owned());
    }
    let by_group = mode.contains(Mode::WGRP) && what.gid() != 0 && !is_guarded;
    by_group.then(|| format!("may be written by group id {}", what.gid()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::privately;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn what_others_may_write_is_said_of_files_folders_and_the_way_there() {
        let root = std::env::temp_dir().join(format!("fwt-exposed-{}", std::process::id()));
        let folder = root.join("sets");
        privately(|| fs::create_dir_all(&folder)).unwrap();
        let file = folder.join("list.txt");
        privately(|| fs::write(&file, "192.0.2.1\n")).unwrap();
        let mode =
            |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        mode(&file, 0o644);
        assert_eq!(exposed(&file), None);
        assert_eq!(exposed(&folder.join("not-there")), None);
        mode(&file, 0o646);
        let said = exposed(&file).unwrap_or_default();
        assert!(
            said.contains("list.txt may be written by everybody"),
            "{said}"
        );
        mode(&file, 0o644);
        for at in [&folder, &root] {
            mode(at, 0o777);
            let said = exposed(&file).unwrap_or_default();
            assert!(said.starts_with(&at.display().to_string()), "{said}");
            mode(at, 0o1777);
            assert_eq!(exposed(&file), None, "sticky");
            mode(at, 0o755);
        }
        // A link in a folder that others may write, to a file that they may not.
        let open = root.join("open");
        fs::create_dir(&open).unwrap();
        mode(&open, 0o777);
        symlink(&file, open.join("link")).unwrap();
        assert!(exposed(&open.join("link")).is_some());
        // A link in the middle of the way.
        let opt = root.join("opt");
        fs::create_dir(&opt).unwrap();
        mode(&opt, 0o755);
        fs::rename(&file, opt.join("list.txt")).unwrap();
        symlink("../opt", open.join("current")).unwrap();
        let on_the_way = open.join("current/list.txt");
        let said = exposed(&on_the_way).unwrap_or_default();
        let open_folder = open.display();
        assert_eq!(said, format!("{open_folder} may be written by everybody"));
        mode(&open, 0o755);
        assert_eq!(exposed(&on_the_way), None);
        // Whoever owns a link decides what it leads to.
        let nobody = 65_534;
        if std::os::unix::fs::lchown(open.join("current"), Some(nobody), None).is_ok() {
            let said = exposed(&on_the_way).unwrap_or_default();
            let link = open.join("current");
            assert_eq!(
                said,
                format!("{} belongs to user id {nobody}", link.display())
            );
            // Not even if that is who has become root by sudo: the daemon refuses it.
            std::os::unix::fs::lchown(open.join("current"), Some(0), None).unwrap();
            std::os::unix::fs::chown(opt.join("list.txt"), Some(nobody), None).unwrap();
            assert!(exposed(&on_the_way).is_some() && exposed_to_daemon(&on_the_way).is_some());
        }
        symlink("loop", root.join("loop")).unwrap();
        assert_eq!(exposed(&root.join("loop")), None);
        fs::remove_dir_all(&root).unwrap();
    }
}
