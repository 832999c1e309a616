//! What /proc says of a process that asks for something: its login, its name, the SSH connection of its
//! session.
//!
//! Invariant: what cannot be read is unknown, and not made up.

use firewall_api::audit::Asker;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};

/// What the kernel calls a login uid that was never set.
const NO_LOGIN: u32 = u32::MAX;

/// How far up the SSH session is looked for.
const MOST_PARENTS: usize = 32;

/// What SSH tells its sessions.
pub const SSH_CONNECTION: &str = "SSH_CONNECTION";

/// Who this process works for.
#[must_use]
pub fn own() -> Asker {
    of(std::process::id(), Some(crate::host::user()))
}

/// Who a peer is, by the process id and user id that it had when it connected. `held`: a descriptor of that
/// process; without one the number may be another process's by now.
#[must_use]
pub fn of_peer(pid: Option<u32>, uid: Option<u32>, held: Option<BorrowedFd<'_>>) -> Asker {
    let Some(pid) = pid else {
        return Asker {
            uid,
            ..Asker::default()
        };
    };
    let asker = of(pid, uid);
    match held.is_none_or(is_there) {
        true => asker,
        // Somebody else may have its number.
        false => Asker {
            uid,
            pid: Some(pid),
            ..Asker::default()
        },
    }
}

fn of(pid: u32, uid: Option<u32>) -> Asker {
    let read = |what: &str| fs::read_to_string(format!("/proc/{pid}/{what}")).ok();
    let login = read("loginuid").and_then(|text| text.trim().parse().ok());
    Asker {
        uid,
        login_uid: login.filter(|&login| login != NO_LOGIN),
        pid: Some(pid),
        command: read("comm").map(|name| name.trim_end().to_owned()),
        ssh: ssh_peer(pid),
    }
}

/// Whether the process of a descriptor lives. Its descriptor can be read once it has ended.
fn is_there(process: BorrowedFd<'_>) -> bool {
    let mut wanted = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
    let at_once = Timespec::default();
    matches!(poll(&mut wanted, Some(&at_once)), Ok(0))
}

/// Address and port from which the session of a process comes.
fn ssh_peer(pid: u32) -> Option<String> {
    let mut process = pid;
    for _ in 0..MOST_PARENTS {
        if let Some(text) = ssh_variable(process) {
            let text = String::from_utf8_lossy(&text).into_owned();
            let mut words = text.split_ascii_whitespace();
            let (address, port) = (words.next()?, words.next()?);
            return Some(format!("{address} {port}"));
        }
        process = parent(process).filter(|&parent| parent > 1)?;
    }
    None
}

/// What SSH has told a process.
#[must_use]
pub fn ssh_variable(process: u32) -> Option<Vec<u8>> {
    let environment = fs::read(format!("/proc/{process}/environ")).ok()?;
    let name = [SSH_CONNECTION.as_bytes(), b"="].concat();
    let mut pairs = environment.split(|&byte| byte == 0);
    let found = pairs.find_map(|pair| pair.strip_prefix(&name[..]))?;
    Some(found.to_owned())
}

/// The process that another one was started from.
#[must_use]
pub fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in brackets may hold anything; state and parent follow it.
    let (_, behind) = stat.rsplit_once(')')?;
    behind.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use std::process::Command;

    #[test]
    fn a_peer_that_has_ended_is_not_taken_for_another_process() {
        let mut child = Command::new("sleep")
            .arg("30")
            .env(SSH_CONNECTION, "203.0.113.9 50000 198.51.100.1 22")
            .spawn()
            .expect("a process");
        let pid = child.id();
        let number = Pid::from_raw(pid.cast_signed()).expect("a number");
        let held = pidfd_open(number, PidfdFlags::empty()).expect("a descriptor");
        // The environment is that of the program once that has begun.
        let mut asker = Asker::default();
        for _ in 0..500 {
            asker = of_peer(Some(pid), Some(7), Some(held.as_fd()));
            if asker.command.as_deref() == Some("sleep") && asker.ssh.is_some() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert_eq!((asker.uid, asker.pid), (Some(7), Some(pid)));
        assert_eq!(asker.ssh.as_deref(), Some("203.0.113.9 50000"));
        child.kill().expect("ended");
        child.wait().expect("ended");
        // As if its number were this process's.
        let asker = of_peer(Some(std::process::id()), Some(7), Some(held.as_fd()));
        assert_eq!((asker.command, asker.ssh), (None, None));
        assert!(own().command.is_some());
    }
}
