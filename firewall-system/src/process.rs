//! What /proc says of a process that asks for something: its login, its name, the SSH connection of its
//! session.
//!
//! Invariant: what cannot be read is unknown, and not made up.

use firewall_api::audit::Asker;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

/// What the kernel calls a login uid that was never set.
const NO_LOGIN: u32 = u32::MAX;

/// How far up the SSH session is looked for.
const MOST_PARENTS: usize = 32;

/// Bytes of an interface's name.
const LONGEST_NAME: usize = 15;

/// What SSH tells its sessions.
pub const SSH_CONNECTION: &str = "SSH_CONNECTION";

/// Who this process works for.
#[must_use]
pub fn own() -> Asker {
    of(std::process::id(), Some(crate::host::user()))
}

/// What is known of the process at the other end of a socket.
#[derive(Clone, Copy, Debug)]
pub enum Held<'fd> {
    /// A descriptor of it.
    By(BorrowedFd<'fd>),
    /// The kernel gives none: the number is all that there is.
    Never,
    /// It has ended: somebody else may have its number.
    Ended,
}

/// Who a peer is, by the process id and user id that it had when it connected. Of a process that has ended
/// only those are known.
#[must_use]
pub fn of_peer(pid: Option<u32>, uid: Option<u32>, held: Held<'_>) -> Asker {
    let numbers = Asker {
        uid,
        pid,
        ..Asker::default()
    };
    let Some(pid) = pid else {
        return numbers;
    };
    match held {
        Held::Ended => numbers,
        Held::Never => of(pid, uid),
        Held::By(process) => {
            let asker = of(pid, uid);
            if is_there(process) { asker } else { numbers }
        }
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
            return client_of(&String::from_utf8_lossy(&text));
        }
        process = parent(process).filter(|&parent| parent > 1)?;
    }
    None
}

/// Address and port of an SSH client. Whoever starts a program chooses what its environment says: what is
/// no address and port is nothing.
fn client_of(connection: &str) -> Option<String> {
    let mut words = connection.split_ascii_whitespace();
    let (address, port) = (words.next()?, words.next()?);
    let (number, zone) = address.split_once('%').unwrap_or((address, ""));
    number.parse::<IpAddr>().ok()?;
    port.parse::<u16>().ok()?;
    (zone.len() <= LONGEST_NAME).then(|| format!("{address} {port}"))
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
            asker = of_peer(Some(pid), Some(7), Held::By(held.as_fd()));
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
        for held in [Held::By(held.as_fd()), Held::Ended] {
            let asker = of_peer(Some(std::process::id()), Some(7), held);
            assert_eq!((asker.command, asker.ssh), (None, None), "{held:?}");
            assert_eq!((asker.uid, asker.pid), (Some(7), Some(std::process::id())));
        }
        let asker = of_peer(Some(std::process::id()), Some(7), Held::Never);
        assert!(asker.command.is_some());
        assert!(own().command.is_some());
    }

    #[test]
    fn only_an_address_and_a_port_are_believed_to_be_an_ssh_client() {
        let long = "x".repeat(100_000);
        for (text, client) in [
            (
                "203.0.113.9 50000 198.51.100.1 22",
                Some("203.0.113.9 50000"),
            ),
            (
                "fe80::1%eth0 50000 fe80::2%eth0 22",
                Some("fe80::1%eth0 50000"),
            ),
            ("root 50000 198.51.100.1 22", None),
            ("203.0.113.9 70000 198.51.100.1 22", None),
            (&*long, None),
            (&*format!("{long} 1"), None),
            (&*format!("fe80::1%{long} 1"), None),
            ("203.0.113.9", None),
        ] {
            assert_eq!(client_of(text).as_deref(), client, "{text:.40}");
        }
    }
}
