//! The connections of this host: open TCP sockets that do not listen, and UDP sockets that are
//! connected, in this network namespace.
//!
//! Formats: sock_diag(7), `linux/inet_diag.h`, `linux/tcp.h`. May not import anything else of this
//! crate. Invariant: a message of a strange length is left out.

use super::{HEADER, Told, dump, find};
use rustix::net::netlink;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// SOCK_DIAG_BY_FAMILY.
const BY_FAMILY: u16 = 20;

/// INET_DIAG_INFO: `tcp_info`.
const INFO: u16 = 2;

/// Bytes of `inet_diag_req_v2` and `inet_diag_msg`.
const REQUEST: usize = 56;
const MESSAGE: usize = 72;

/// IP protocols that are asked for.
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Byte offsets of `tcp_info`: milliseconds since data was sent, since data came, since an
/// acknowledgement came; bytes that the other side has acknowledged, and bytes that came.
const LAST_DATA_SENT: usize = 44;
const LAST_DATA_CAME: usize = 52;
const LAST_ACK_CAME: usize = 56;
const BYTES_ACKED: usize = 120;
const BYTES_CAME: usize = 128;

/// States of sockets, `linux/tcp_states.h`.
mod tcp {
    pub(super) const ESTABLISHED: u8 = 1;
    pub(super) const SYN_SENT: u8 = 2;
    pub(super) const SYN_RECV: u8 = 3;
    pub(super) const CLOSE: u8 = 7;
    pub(super) const LISTEN: u8 = 10;
    pub(super) const NEW_SYN_RECV: u8 = 12;
    /// All of them, a bit each.
    pub(super) const ALL: u32 = 0x1ffe;
}

/// What a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SocketState {
    /// A handshake that is not over.
    Opening,
    /// Open.
    Open,
    /// One side has closed it, or both have.
    Closing,
}

/// A connection of this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Socket {
    /// IP protocol number: TCP or UDP.
    pub proto: u8,
    /// Address and port of this host.
    pub local: (IpAddr, u16),
    /// Address and port of the other side.
    pub remote: (IpAddr, u16),
    /// What it is.
    pub state: SocketState,
    /// What the kernel counts of an open TCP connection.
    pub counts: Option<Counts>,
}

/// What the kernel counts of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Milliseconds since something was sent or came.
    pub idle: u32,
    /// Bytes that have come.
    pub received: u64,
    /// Bytes that were sent and have arrived.
    pub sent: u64,
}

/// The connections of this host that are `wanted`, but for those over the loopback interface by its
/// addresses.
///
/// # Errors
/// The system's answer.
pub fn connections(wanted: impl Fn(&Socket) -> bool) -> io::Result<Vec<Socket>> {
    let mut found = Vec::new();
    for proto in [TCP, UDP] {
        let states = match proto {
            TCP => tcp::ALL & !(1 << tcp::LISTEN | 1 << tcp::CLOSE),
            _ => 1 << tcp::ESTABLISHED,
        };
        for family in [libc::AF_INET, libc::AF_INET6] {
            let mut body = vec![family as u8, proto, 1 << (INFO - 1), 0];
            body.extend(states.to_ne_bytes());
            body.resize(REQUEST, 0);
            let before = found.len();
            let answer = dump(
                Some(netlink::SOCK_DIAG),
                BY_FAMILY,
                &body,
                |told| match told {
                    Told::Again => found.truncate(before),
                    Told::Message(message) => {
                        let socket = message.get(HEADER..).and_then(|body| read(body, proto));
                        found.extend(socket.filter(&wanted));
                    }
                },
            );
            match answer {
                // A kernel without IPv6, or without this way of asking.
                Err(error)
                    if matches!(
                        error.raw_os_error(),
                        Some(libc::ENOENT | libc::EINVAL | libc::EPROTONOSUPPORT)
                    ) => {}
                answer => answer?,
            }
        }
    }
    Ok(found)
}

/// The connection in a message, if it is one.
fn read(body: &[u8], proto: u8) -> Option<Socket> {
    let (head, rest) = body.split_at_checked(MESSAGE)?;
    let (family, state) = (i32::from(head[0]), head[1]);
    let port = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let address = |at: usize| -> Option<IpAddr> {
        let bytes = head.get(at..at + 16)?;
        match family {
            libc::AF_INET => Some(Ipv4Addr::from(*bytes.first_chunk::<4>()?).into()),
            libc::AF_INET6 => {
                let address = Ipv6Addr::from(*bytes.first_chunk::<16>()?);
                // An IPv4 connection of a socket for both.
                Some(IpAddr::from(address).to_canonical())
            }
            _ => None,
        }
    };
    let local = (address(8)?, port(4));
    let remote = (address(24)?, port(6));
    let is_open_to = |ip: IpAddr| !ip.is_loopback() && !ip.is_unspecified();
    if !is_open_to(local.0) || !is_open_to(remote.0) {
        return None;
    }
    Some(Socket {
        proto,
        local,
        remote,
        state: match state {
            tcp::ESTABLISHED => SocketState::Open,
            tcp::SYN_SENT | tcp::SYN_RECV | tcp::NEW_SYN_RECV => SocketState::Opening,
            tcp::LISTEN | tcp::CLOSE => return None,
            _ => SocketState::Closing,
        },
        counts: find(rest, INFO).and_then(counts),
    })
}

fn counts(info: &[u8]) -> Option<Counts> {
    let word = |at: usize| {
        let bytes = info.get(at..)?.first_chunk::<4>()?;
        Some(u32::from_ne_bytes(*bytes))
    };
    let long = |at: usize| {
        let bytes = info.get(at..)?.first_chunk::<8>()?;
        Some(u64::from_ne_bytes(*bytes))
    };
    Some(Counts {
        idle: word(LAST_DATA_SENT)?
            .min(word(LAST_DATA_CAME)?)
            .min(word(LAST_ACK_CAME)?),
        received: long(BYTES_CAME)?,
        sent: long(BYTES_ACKED)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::attribute;
    use super::*;

    fn message(state: u8, local: [u8; 4], remote: [u8; 4]) -> Vec<u8> {
        let mut body = vec![libc::AF_INET as u8, state, 0, 0];
        body.extend([0, 80, 0x9c, 0x40]);
        body.extend(local);
        body.extend([0; 12]);
        body.extend(remote);
        body.resize(MESSAGE, 0);
        body
    }

    #[test]
    fn a_connection_and_what_it_has_carried() {
        let mut body = message(1, [192, 0, 2, 80], [192, 0, 2, 9]);
        let mut info = vec![0; 136];
        info[LAST_DATA_SENT..][..4].copy_from_slice(&9_000u32.to_ne_bytes());
        info[LAST_DATA_CAME..][..4].copy_from_slice(&3_000u32.to_ne_bytes());
        info[LAST_ACK_CAME..][..4].copy_from_slice(&8_000u32.to_ne_bytes());
        info[BYTES_ACKED..][..8].copy_from_slice(&70_000u64.to_ne_bytes());
        info[BYTES_CAME..][..8].copy_from_slice(&500u64.to_ne_bytes());
        attribute(&mut body, INFO, &info);
        let found = read(&body, TCP).unwrap();
        assert_eq!(found.local, ([192, 0, 2, 80].into(), 80));
        assert_eq!(found.remote, ([192, 0, 2, 9].into(), 40_000));
        assert_eq!(found.state, SocketState::Open);
        let counts = found.counts.unwrap();
        assert_eq!(
            (counts.idle, counts.received, counts.sent),
            (3_000, 500, 70_000)
        );
    }

    #[test]
    fn what_is_no_connection_to_another_host_is_left_out() {
        for state in [tcp::LISTEN, tcp::CLOSE] {
            let body = message(state, [192, 0, 2, 80], [192, 0, 2, 9]);
            assert_eq!(read(&body, TCP), None);
        }
        assert_eq!(read(&message(1, [127, 0, 0, 1], [127, 0, 0, 1]), TCP), None);
        assert_eq!(read(&message(1, [192, 0, 2, 80], [0; 4]), UDP), None);
        let whole = message(1, [192, 0, 2, 80], [192, 0, 2, 9]);
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end], TCP), None, "{end}");
        }
        assert_eq!(read(&whole, TCP).unwrap().counts, None);
    }
}
