//! Whether others may write a file by which this host is protected: the file itself, or one of the folders
//! through which it is found.
//!
//! Others are all but root, the user of this process, and whoever has become root by sudo. In a folder with
//! the sticky bit, as `/tmp`, nobody replaces what belongs to somebody else.

use rustix::fs::Mode;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Who may write it, in a sentence; `None` if nobody else may, or it is not there.
#[must_use]
pub fn exposed(path: &Path) -> Option<String> {
    let trusted = trusted();
    let found = path.canonicalize().ok()?;
    // The folder of a link decides as much as that of what it leads to.
    let by_name = path.parent().and_then(|folder| folder.canonicalize().ok());
    let folders = found.ancestors().skip(1);
    let links = by_name.iter().flat_map(|folder| folder.ancestors());
    let file = found.metadata().ok()?;
    let whose =
        |at: &Path, what: &Metadata| Some(format!("{} {}", at.display(), open(what, &trusted)?));
    let of_folder = |folder: &Path| whose(folder, &folder.metadata().ok()?);
    whose(&found, &file).or_else(|| folders.chain(links).find_map(of_folder))
}

/// Users who may write what protects this host.
fn trusted() -> Vec<u32> {
    let own = rustix::process::geteuid().as_raw();
    let mut all = vec![0, own];
    // Root's own environment: nobody else sets it.
    if own == 0
        && let Some(caller) = std::env::var("SUDO_UID")
            .ok()
            .and_then(|id| id.parse().ok())
    {
        all.push(caller);
    }
    all
}

fn open(what: &Metadata, trusted: &[u32]) -> Option<String> {
    let mode = Mode::from_raw_mode(what.mode());
    let is_guarded = what.is_dir() && mode.contains(Mode::SVTX);
    if !trusted.contains(&what.uid()) {
        return Some(format!("belongs to user id {}", what.uid()));
    }
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
    use std::fs::{self, Permissions};
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
        fs::remove_dir_all(&root).unwrap();
    }
}
