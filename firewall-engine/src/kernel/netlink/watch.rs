//! What rtnetlink tells of changes: of interfaces, and of the routes and rules by which default routes go.
//!
//! A change is told as that, not as what it is: whoever is told looks at the whole again, so that nothing
//! depends on messages that were lost.

#![expect(unsafe_code, reason = "setsockopt(2), of a filter")]

use super::links::Link;
use super::routes::{self, is_default};
use super::{HEADER, ROOM, ROUTE, kind_of};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Groups of messages, as bits (`linux/rtnetlink.h`): links, routes and rules of both families, next hops.
const GROUPS: u32 = 1 | 1 << 6 | 1 << 10 | 1 << 7 | 1 << 18 | 1 << 31;

const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;

/// How many datagrams are taken together at most: whoever makes changes without end waits for nobody.
const TOGETHER: u32 = 256;

/// An ear for changes in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Watch {
    socket: OwnedFd,
    room: Vec<u8>,
}

impl Watch {
    /// Listens from now on.
    ///
    /// # Errors
    /// What the system says.
    pub fn open() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            ROUTE,
        )?;
        // A router that learns many routes at once leaves no room for what matters.
        leave_out_networks(&socket)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        Ok(Self {
            socket,
            room: vec![0; ROOM],
        })
    }

    /// Waits for a change, `patience` at most, and says whether there was one. What has changed in one go
    /// is told once.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait(&mut self, patience: Duration) -> io::Result<bool> {
        set_socket_timeout(&self.socket, Timeout::Recv, Some(patience))?;
        let mut changed = match self.take(RecvFlags::empty()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
            answer => answer?,
        };
        for _ in 0..TOGETHER {
            match self.take(RecvFlags::DONTWAIT) {
                Ok(more) => changed |= more,
                Err(_) => break,
            }
        }
        Ok(changed)
    }

    /// Whether something has changed since the last time that this was asked.
    ///
    /// # Errors
    /// What the system says.
    fn has_changed(&mut self) -> io::Result<bool> {
        let mut changed = false;
        for _ in 0..TOGETHER {
            match self.take(RecvFlags::DONTWAIT) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(changed),
                answer => changed |= answer?,
            }
        }
        // There is more, and nobody has looked at it.
        Ok(true)
    }

    /// Takes a datagram, and says whether anything in it matters.
    fn take(&mut self, flags: RecvFlags) -> io::Result<bool> {
        match recv(&self.socket, &mut self.room[..], flags) {
            Ok((length, _)) => Ok(matters(&self.room[..length])),
            // More has changed than there was room for.
            Err(error) if error.raw_os_error() == libc::ENOBUFS => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

/// Has the kernel leave out what [`matters`] to nobody, before it takes room in the socket.
fn leave_out_networks(socket: &OwnedFd) -> io::Result<()> {
    let op = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let kind = |kind: u16| u32::from(u16::from_be_bytes(kind.to_ne_bytes()));
    let load = libc::BPF_LD | libc::BPF_ABS;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let end = libc::BPF_RET | libc::BPF_K;
    let mut filter = [
        op(load | libc::BPF_H, 0, 0, 4),
        op(equal, 1, 0, kind(RTM_NEWROUTE)),
        op(equal, 0, 2, kind(RTM_DELROUTE)),
        // The length of the destination, as `is_default` reads it.
        op(load | libc::BPF_B, 0, 0, HEADER as u32 + 1),
        op(equal, 0, 1, 0),
        op(end, 0, 0, u32::MAX),
        op(end, 0, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the program and its instructions live until the call has copied them, and their lengths are
    // theirs.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of_val(&program) as libc::socklen_t,
        )
    };
    match answer {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How old what is known of default routes may be without news. Nothing is known to be missed; this finds
/// what is.
const SLOW: Duration = Duration::from_secs(60);

/// After news, reading the routes may take this share of the time: one in ten.
const SHARE: u32 = 10;

/// The interfaces of default routes, for those who ask again and again: a full routing table takes seconds
/// to read, and is read again only after news. For one network namespace.
#[derive(Debug, Default)]
pub struct DefaultRoutes {
    known: Mutex<Option<Known>>,
}

#[derive(Debug)]
struct Known {
    watch: Watch,
    found: BTreeSet<u32>,
    read: Instant,
    cost: Duration,
    is_old: bool,
}

impl DefaultRoutes {
    /// As [`routes::default_routes`].
    pub(crate) fn now(&self, links: &[Link]) -> io::Result<BTreeSet<u32>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let watch = match known.take() {
            // Before it is read: what changes meanwhile is news.
            None => Watch::open()?,
            Some(mut before) => {
                before.is_old |= before.watch.has_changed()?;
                let wait = match before.is_old {
                    true => before.cost * SHARE,
                    false => SLOW,
                };
                if before.read.elapsed() < wait {
                    let found = before.found.clone();
                    *known = Some(before);
                    return Ok(found);
                }
                before.watch
            }
        };
        let begin = Instant::now();
        let found = routes::default_routes(links)?;
        *known = Some(Known {
            watch,
            found: found.clone(),
            read: Instant::now(),
            cost: begin.elapsed(),
            is_old: false,
        });
        Ok(found)
    }
}

/// Whether a datagram tells of more than of routes to networks, of which a router has many.
fn matters(mut rest: &[u8]) -> bool {
    while rest.len() >= HEADER {
        let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        let Some(message) = rest.get(..length).filter(|_| length >= HEADER) else {
            return true;
        };
        let is_route = matches!(kind_of(message), RTM_NEWROUTE | RTM_DELROUTE);
        if !is_route || is_default(&message[HEADER..]) {
            return true;
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend([0; 10]);
        message.extend(body);
        message
    }

    #[test]
    fn routes_to_networks_are_nobodys_news() {
        let network = message(RTM_NEWROUTE, &[2, 24, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0]);
        let default = message(RTM_DELROUTE, &[2, 0, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0]);
        let link = message(16, &[0; 16]);
        assert!(!matters(&network));
        assert!(!matters(&[network.clone(), network.clone()].concat()));
        assert!(matters(&default));
        assert!(matters(&link));
        assert!(matters(&[network.clone(), default].concat()));
        assert!(matters(&[network, link].concat()));
        // What cannot be read may be anything.
        assert!(matters(&[
            200, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
        ]));
        assert!(!matters(&[]));
    }

    #[test]
    fn waiting_comes_to_an_end() {
        let mut watch = Watch::open().expect("anybody may listen");
        // Something may change on this host meanwhile.
        watch.wait(Duration::from_millis(1)).expect("an answer");
    }
}
