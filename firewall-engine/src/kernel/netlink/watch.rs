//! What rtnetlink tells of changes: of interfaces, and of the routes and rules by which default routes go.
//!
//! A change is told as that, not as what it is: whoever is told looks at the whole again, so that nothing
//! depends on messages that were lost.

use super::routes::is_default;
use super::{HEADER, ROOM, ROUTE, kind_of};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

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
