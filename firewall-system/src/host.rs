//! What the daemon and `top` ask of the operating system about users, terminals and this process, as
//! safe functions.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process, umask};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a process waits for its turn.
const PATIENCE: Duration = Duration::from_secs(30);

/// The file whose lock is the turn. Only its owner opens it: a lock on what everybody may open, everybody
/// may hold.
const LOCK: &str = ".firewall-save.lock";

/// The one of several processes that may write to a folder, for as long as this lives. Who does not ask is
/// not held up, and who may not write to the folder holds nobody up.
#[derive(Debug)]
pub struct Turn {
    path: PathBuf,
    _lock: File,
}

impl Turn {
    /// Waits for the turn.
    ///
    /// # Errors
    /// No file can be made in the folder; others take longer than 30 s.
    pub fn in_folder(folder: &Path) -> io::Result<Self> {
        let path = folder.join(LOCK);
        let start = Instant::now();
        loop {
            let lock = File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
                .open(&path)?;
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                // Whoever had the turn before takes the file away.
                Ok(()) if !is_at(&lock, &path)? => {}
                Ok(()) => return Ok(Self { path, _lock: lock }),
                Err(Errno::WOULDBLOCK | Errno::INTR) if start.elapsed() < PATIENCE => {
                    sleep(Duration::from_millis(10));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether an open file is the one at `path`.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match path.symlink_metadata() {
        Ok(there) => Ok((open.dev(), open.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The effective user id of this process.
#[must_use]
pub fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// What a user is called, by /etc/passwd.
#[must_use]
pub fn user_name(uid: u32) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let is_it = |line: &&str| line.split(':').nth(2) == Some(uid.to_string().as_str());
    let line = users.lines().find(is_it)?;
    line.split(':').next().map(str::to_owned)
}

/// Runs `make` so that the files which it makes are readable and writable by their owner only. The
/// mask that does this is the whole process's: no other thread may make files meanwhile.
pub fn privately<T>(make: impl FnOnce() -> T) -> T {
    let mask = umask(Mode::RWXG | Mode::RWXO);
    let made = make();
    umask(mask);
    made
}

/// Whether a socket has received something that nobody has read yet.
#[must_use]
pub fn has_unread(socket: BorrowedFd<'_>) -> bool {
    rustix::io::ioctl_fionread(socket).is_ok_and(|bytes| bytes > 0)
}

/// Stops this process as Ctrl-Z in a shell does. Where no shell could continue it, the kernel ignores
/// that.
///
/// # Errors
/// The system's answer.
pub fn stop_process() -> io::Result<()> {
    Ok(kill_process(getpid(), Signal::TSTP)?)
}

/// Waits until `input` can be read, at most `patience`, or until a signal comes; false if the other
/// end of it is gone.
///
/// # Errors
/// The system's answer.
pub fn wait_readable(input: impl AsFd, patience: Duration) -> io::Result<bool> {
    let mut wanted = [PollFd::from_borrowed_fd(input.as_fd(), PollFlags::IN)];
    let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
    match poll(&mut wanted, Some(&patience)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let lost = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    Ok(!wanted[0].revents().intersects(lost))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_turn_is_one_process_s_and_no_reader_of_the_folder_holds_it_up() {
        let folder = std::env::temp_dir().join(format!("fwt-turn-{}", std::process::id()));
        fs::create_dir(&folder).expect("a folder");
        // As anybody may who may read it.
        let anybody = File::open(&folder).expect("a folder");
        flock(&anybody, FlockOperation::LockExclusive).expect("a lock");
        let start = Instant::now();
        let turn = Turn::in_folder(&folder).expect("a turn");
        assert!(start.elapsed() < Duration::from_secs(5));
        let mode = folder.join(LOCK).metadata().expect("a file").mode();
        assert_eq!(mode & 0o077, 0, "others cannot open it");
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let turn = Turn::in_folder(&folder).expect("a turn");
                    assert!(is_over.load(Ordering::SeqCst), "two have it");
                    drop(turn);
                });
            }
            sleep(Duration::from_millis(50));
            is_over.store(true, Ordering::SeqCst);
            drop(turn);
        });
        assert_eq!(fs::read_dir(&folder).expect("a folder").count(), 0);
        fs::remove_dir_all(&folder).expect("removed");
    }
}
