//! The daemon's end of the control socket: created, protected, and removed.
//!
//! Invariant: a socket that some process listens on is never removed or replaced.

use firewall_api::failure::{Exit, Failure};
use firewall_system::host::privately;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;
use tracing::warn;

/// Group whose members may open the socket, if it exists.
const GROUP: &str = "firewall";

/// A listening socket, removed from the file system when dropped.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    identity: Identity,
}

/// Inode and time of making: inode numbers are used again.
type Identity = (u64, i64, i64);

impl Socket {
    /// Listens on `path` (mode 0660, owner root, group `firewall` if there is one). A file that a
    /// dead daemon left behind is replaced.
    ///
    /// # Errors
    /// Exit code 7 when another daemon listens there or the path is something else than a socket;
    /// 4 or 1 when it cannot be made.
    pub(super) fn listen(path: &Path) -> Result<(Self, UnixListener), Failure> {
        let failed = |what: &str, error: &io::Error| {
            let exit = match error.kind() {
                io::ErrorKind::PermissionDenied => Exit::Privilege,
                _ => Exit::Failed,
            };
            let help = match exit {
                Exit::Privilege => "run with sudo: the daemon also needs it for the kernel",
                _ => "name another place with --socket PATH",
            };
            Failure::new(exit, format!("cannot {what} {}: {error}", path.display())).help(help)
        };
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            std::fs::create_dir_all(folder)
                .map_err(|error| failed("make the folder of", &error))?;
        }
        clear_stale(path)?;
        // Nobody else gets in between bind and chmod: the mask makes it 0600 from the start. The
        // process has one thread that makes files at this point.
        let listener = privately(|| UnixListener::bind(path));
        let listener = listener.map_err(|error| failed("listen on", &error))?;
        let identity = identity(path).map_err(|error| failed("look at", &error))?;
        let socket = Self {
            path: path.to_owned(),
            identity,
        };
        if let Some(group) = group_id(GROUP)
            && let Err(error) = chown(path, None, Some(group))
        {
            warn!("cannot give {} to group {GROUP}: {error}", path.display());
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
            .map_err(|error| failed("set the permissions of", &error))?;
        Ok((socket, listener))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Only our own: somebody may have removed it and started a daemon of their own.
        if identity(&self.path).is_ok_and(|identity| identity == self.identity)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
}

/// Removes a socket file that nobody listens on.
fn clear_stale(path: &Path) -> Result<(), Failure> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(Failure::new(
            Exit::Refused,
            format!("{} exists and is not a socket", path.display()),
        )
        .help("remove it, or name another place with --socket PATH"));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| {
                Failure::new(
                    Exit::Failed,
                    format!("cannot remove the old socket {}: {error}", path.display()),
                )
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Connected, or its queue is full: somebody is there.
        _ => Err(Failure::new(
            Exit::Refused,
            format!("another daemon listens on {}", path.display()),
        )
        .help("change its policy with: firewall-ctl apply -f FILE")),
    }
}

/// The id of a group in /etc/group.
fn group_id(name: &str) -> Option<u32> {
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name))
            .then(|| fields.nth(1)?.parse().ok())
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("fwt-socket-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[tokio::test]
    async fn replaces_a_dead_socket_refuses_a_live_one_and_cleans_up() {
        let folder = place("life");
        let path = folder.join("control.sock");
        // A dead daemon's file: bound, closed, not removed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());

        let (socket, listener) = Socket::listen(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        let failure = Socket::listen(&path).unwrap_err();
        assert_eq!(failure.exit_code, Exit::Refused);
        assert!(path.exists(), "a refused daemon leaves the other's socket");
        drop((socket, listener));
        assert!(!path.exists());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn never_removes_what_is_not_its_own() {
        let folder = place("foreign");
        let path = folder.join("control.sock");
        std::fs::write(&path, "notes").unwrap();
        assert_eq!(Socket::listen(&path).unwrap_err().exit_code, Exit::Refused);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "notes");
        std::fs::remove_file(&path).unwrap();

        let (socket, _listener) = Socket::listen(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(socket);
        assert!(path.exists());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
