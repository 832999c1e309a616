//! What the daemon and `top` ask of the operating system about users, terminals and this process, as
//! safe functions.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode, flock};
use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process, umask};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a process waits for its turn.
const PATIENCE: Duration = Duration::from_secs(30);

/// The one of several processes that may write to a folder, for as long as this lives. Who does not ask is
/// not held up.
#[derive(Debug)]
pub struct Turn {
    _folder: File,
}

impl Turn {
    /// Waits for the turn.
    ///
    /// # Errors
    /// The folder cannot be opened; others take longer than 30 s.
    pub fn in_folder(folder: &Path) -> io::Result<Self> {
        let open = File::open(folder)?;
        let start = Instant::now();
        loop {
            match flock(&open, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _folder: open }),
                Err(Errno::WOULDBLOCK | Errno::INTR) if start.elapsed() < PATIENCE => {
                    sleep(Duration::from_millis(10));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The effective user id of this process.
#[must_use]
pub fn user() -> u32 {
    rustix::process::geteuid().as_raw()
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
