//! Netlink: one request, its answer, and attributes. The modules say what is asked: [`xdp`], [`clsact`],
//! [`device`], [`links`] and [`routes`] of rtnetlink, [`conntrack`] of the connection tracking, [`sockets`] of open sockets.
//!
//! Message format: rtnetlink(7), netlink(7), sock_diag(7). May not import anything else of this crate. Invariant:
//! each request has a socket of its own, so no answer can be another one's.

pub(crate) mod clsact;
pub(crate) mod conntrack;
pub(crate) mod device;
pub(crate) mod links;
pub(crate) mod routes;
pub mod sockets;
pub(crate) mod xdp;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_DUMP: u16 = 0x300;
const NLA_F_NESTED: u16 = 1 << 15;
const NLA_TYPE_MASK: u16 = !(3 << 14);

/// Bytes of `nlmsghdr`.
const HEADER: usize = 16;

/// Bytes of `ifinfomsg`, with which a message about a link begins.
const IFINFO: usize = 16;

/// How long an answer may take; the kernel gives it at once, or never.
const PATIENCE: Duration = Duration::from_secs(5);

/// More than the kernel puts into one message.
const ROOM: usize = 64 << 10;

/// No protocol number is protocol 0, and that is NETLINK_ROUTE.
const ROUTE: Option<Protocol> = None;

/// Sends one request and returns the answer, header included; an error answer as an error.
fn request(kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<u8>> {
    let socket = ask(ROUTE, kind, flags, body)?;
    let mut answer = vec![0; ROOM];
    let len = receive(&socket, &mut answer)?;
    answer.truncate(len);
    check(&answer)?;
    Ok(answer)
}

/// Sends a request for a list to rtnetlink, and returns the messages of the answer.
fn list(kind: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let mut messages = Vec::new();
    dump(ROUTE, kind, body, |message| {
        messages.push(message.to_vec());
    })?;
    Ok(messages)
}

/// Sends a request for a list, and shows each message of the answer as it comes: however long the
/// list is, one part of it is in memory at a time. Ends at the first error.
fn dump(
    protocol: Option<Protocol>,
    kind: u16,
    body: &[u8],
    mut take: impl FnMut(&[u8]),
) -> io::Result<()> {
    let socket = ask(protocol, kind, NLM_F_DUMP, body)?;
    let mut part = vec![0; ROOM];
    loop {
        let len = receive(&socket, &mut part)?;
        let mut rest = part.get(..len).unwrap_or_default();
        while rest.len() >= HEADER {
            let len = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            let Some(message) = rest.get(..len).filter(|_| len >= HEADER) else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            if kind_of(message) == NLMSG_DONE {
                return Ok(());
            }
            check(message)?;
            take(message);
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

fn ask(protocol: Option<Protocol>, kind: u16, flags: u16, body: &[u8]) -> io::Result<OwnedFd> {
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((flags | NLM_F_REQUEST).to_ne_bytes());
    message.extend([0; 8]); // sequence, port: one request on a socket of its own
    message.extend(body);
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        protocol,
    )?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    send(&socket, &message, SendFlags::empty())?;
    Ok(socket)
}

/// Bytes that came, at least a header and an error's code.
fn receive(socket: &OwnedFd, answer: &mut [u8]) -> io::Result<usize> {
    let (len, whole) = recv(socket, answer, RecvFlags::TRUNC)?;
    if len < HEADER + 4 || whole > len {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(len)
}

/// The error that an error message holds.
fn check(message: &[u8]) -> io::Result<()> {
    if kind_of(message) != NLMSG_ERROR {
        return Ok(());
    }
    let code = message[HEADER..].first_chunk::<4>();
    match code.map(|code| i32::from_ne_bytes(*code)) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(-code)),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The type of a message.
fn kind_of(message: &[u8]) -> u16 {
    u16_at(message, 4)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

/// Appends one attribute, padded to four bytes.
fn attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    to.extend(((value.len() + 4) as u16).to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

/// The attributes in `bytes`: type and value.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        if bytes.len() < 4 {
            return None;
        }
        let (len, kind) = (
            usize::from(u16_at(bytes, 0)),
            u16_at(bytes, 2) & NLA_TYPE_MASK,
        );
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_are_written() {
        let mut bytes = Vec::new();
        attribute(&mut bytes, 7, &[1, 2, 3]);
        attribute(&mut bytes, 43 | NLA_F_NESTED, &[9; 8]);
        let read: Vec<(u16, &[u8])> = attributes(&bytes).collect();
        assert_eq!(read, [(7, &[1, 2, 3][..]), (43, &[9; 8][..])]);
    }

    #[test]
    fn a_cut_attribute_ends_the_list() {
        assert_eq!(attributes(&[200, 0, 1, 0, 5, 5]).count(), 0);
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
    }
}
