//! Netlink: one request, its answer, and attributes. The modules say what is asked: [`xdp`], [`clsact`],
//! [`links`], [`tunnels`], [`addresses`], [`neighbours`], [`routes`] and [`watch`] of rtnetlink, [`conntrack`] of the
//! connection tracking, [`sockets`] of open sockets, [`xfrm`] of IPsec, [`wireguard`] of WireGuard.
//!
//! Message format: rtnetlink(7), netlink(7), sock_diag(7). May not import anything else of this crate. Invariant:
//! each request has a socket of its own, so no answer can be another one's.

pub(crate) mod addresses;
pub(crate) mod clsact;
pub(crate) mod conntrack;
pub(crate) mod links;
pub(crate) mod neighbours;
pub(crate) mod routes;
pub mod sockets;
pub(crate) mod tunnels;
pub mod watch;
pub(crate) mod wireguard;
pub(crate) mod xdp;
pub(crate) mod xfrm;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_DUMP: u16 = 0x300;
const NLA_F_NESTED: u16 = 1 << 15;
const NLA_TYPE_MASK: u16 = !(3 << 14);

/// Bytes of `nlmsghdr`.
const HEADER: usize = 16;

/// How long an answer may take; the kernel gives it at once, or never.
const PATIENCE: Duration = Duration::from_secs(5);

/// More than the kernel puts into one message.
const ROOM: usize = 64 << 10;

/// No protocol number is protocol 0, and that is NETLINK_ROUTE.
const ROUTE: Option<Protocol> = None;

/// Sends one request to rtnetlink and returns the answer, header included; an error answer as an error.
fn request(kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<u8>> {
    request_of(ROUTE, kind, flags, body)
}

/// As [`request`], of another protocol.
fn request_of(
    protocol: Option<Protocol>,
    kind: u16,
    flags: u16,
    body: &[u8],
) -> io::Result<Vec<u8>> {
    let socket = ask(protocol, kind, flags, body)?;
    let mut answer = vec![0; ROOM];
    let len = receive(&socket, &mut answer)?;
    answer.truncate(len);
    check(&answer)?;
    Ok(answer)
}

/// Sends a request for a list to rtnetlink, and returns the messages of the answer.
fn list(kind: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let mut messages = Vec::new();
    dump(ROUTE, kind, body, |told| match told {
        Told::Message(message) => messages.push(message.to_vec()),
        Told::Again => messages.clear(),
    })?;
    Ok(messages)
}

/// What is shown of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told<'a> {
    /// The next message.
    Message(&'a [u8]),
    /// What was shown so far is not the whole: the list begins again.
    Again,
}

/// How often a list is asked for that changes while the kernel gives it.
const ATTEMPTS: u32 = 16;

/// Sends a request for a list, and shows each message of the answer as it comes: however long the
/// list is, one part of it is in memory at a time. Ends at the first error. A list that was changed
/// while it was given may lack what was there all the time: it is asked for once more, and at last an
/// error ([`io::ErrorKind::ResourceBusy`]).
fn dump(
    protocol: Option<Protocol>,
    kind: u16,
    body: &[u8],
    mut take: impl FnMut(Told<'_>),
) -> io::Result<()> {
    until_whole(|| {
        let socket = ask(protocol, kind, NLM_F_DUMP, body)?;
        let mut part = vec![0; ROOM];
        let mut answer = Answer::default();
        while !answer.is_done {
            let len = receive(&socket, &mut part)?;
            answer.read(part.get(..len).unwrap_or_default(), |message| {
                take(Told::Message(message));
            })?;
        }
        if answer.is_interrupted {
            take(Told::Again);
        }
        Ok(!answer.is_interrupted)
    })
}

/// Asks until a list comes as a whole, [`ATTEMPTS`] times at most.
fn until_whole(mut asked: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    for _ in 0..ATTEMPTS {
        if asked()? {
            return Ok(());
        }
    }
    Err(io::Error::new(
        io::ErrorKind::ResourceBusy,
        format!("it changed during each of {ATTEMPTS} attempts to read it"),
    ))
}

/// How far an answer has come that is a list.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Answer {
    /// It has come to its end.
    is_done: bool,
    /// The kernel has said that the list changed meanwhile.
    is_interrupted: bool,
}

impl Answer {
    /// Reads the messages of one datagram, up to the end of the list or an error.
    fn read(&mut self, mut rest: &[u8], mut take: impl FnMut(&[u8])) -> io::Result<()> {
        while rest.len() >= HEADER && !self.is_done {
            let len = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            let Some(message) = rest.get(..len).filter(|_| len >= HEADER) else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            self.is_interrupted |= u16_at(message, 6) & NLM_F_DUMP_INTR != 0;
            if kind_of(message) == NLMSG_DONE {
                code(message)?;
                self.is_done = true;
            } else {
                check(message)?;
                take(message);
            }
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(())
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
    if kind_of(message) == NLMSG_ERROR {
        code(message)
    } else {
        Ok(())
    }
}

/// The error that stands behind the header of an error message, and of the end of a list.
fn code(message: &[u8]) -> io::Result<()> {
    match message.get(HEADER..).and_then(number) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error((code as i32).wrapping_neg())),
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

/// The first four bytes, as a number in the byte order of this machine.
fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// An address of IPv4 or IPv6, by the number of bytes.
fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// Text up to its terminating zero.
fn word(bytes: &[u8]) -> String {
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
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

/// The value of an attribute, or the attributes in it.
fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(found, value)| (found == kind).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of this type and with these flags.
    fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    /// What became of an answer in one datagram, and how many messages were shown.
    fn read(datagram: &[u8]) -> (io::Result<Answer>, usize) {
        let (mut answer, mut shown) = (Answer::default(), 0);
        let read = answer.read(datagram, |_| shown += 1);
        (read.map(|()| answer), shown)
    }

    fn errno(datagram: &[u8]) -> Option<i32> {
        read(datagram).0.expect_err("an error").raw_os_error()
    }

    #[test]
    fn a_list_that_ends_with_an_error_is_no_list() {
        let end = |code: i32| message(NLMSG_DONE, 2, &code.to_ne_bytes());
        let one = message(16, 2, &[0; 16]);
        let (whole, shown) = read(&[one.clone(), end(0)].concat());
        assert_eq!((whole.expect("a list").is_done, shown), (true, 1));
        for code in [libc::ENOMEM, libc::EMSGSIZE, libc::EINVAL] {
            assert_eq!(errno(&[one.clone(), end(-code)].concat()), Some(code));
            assert_eq!(errno(&end(-code)), Some(code));
            let refused = message(NLMSG_ERROR, 0, &(-code).to_ne_bytes());
            assert_eq!(errno(&[one.clone(), refused].concat()), Some(code));
        }
        // An end that does not say how it came about.
        let silent = read(&message(NLMSG_DONE, 2, &[])).0;
        let silent = silent.expect_err("an error").kind();
        assert_eq!(silent, io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_list_that_has_changed_meanwhile_is_not_whole() {
        let end = message(NLMSG_DONE, 2, &[0; 4]);
        let one = message(16, 2, &[0; 16]);
        let changed = message(16, 2 | NLM_F_DUMP_INTR, &[0; 16]);
        let changed_at_last = message(NLMSG_DONE, 2 | NLM_F_DUMP_INTR, &[0; 4]);
        let is_interrupted = |datagram: &[u8]| read(datagram).0.expect("an answer").is_interrupted;
        assert!(!is_interrupted(&[one.clone(), end.clone()].concat()));
        assert!(is_interrupted(&[changed, one.clone(), end].concat()));
        assert!(is_interrupted(&[one, changed_at_last].concat()));
    }

    #[test]
    fn a_list_is_asked_for_until_it_is_whole_but_not_for_ever() {
        let asked_for = |whole_at: u32| {
            let mut asked = 0;
            let answer = until_whole(|| {
                asked += 1;
                Ok(asked == whole_at)
            });
            (answer.map_err(|error| error.kind()), asked)
        };
        assert_eq!(asked_for(1), (Ok(()), 1));
        assert_eq!(asked_for(3), (Ok(()), 3));
        let busy = Err(io::ErrorKind::ResourceBusy);
        assert_eq!(asked_for(ATTEMPTS + 1), (busy, ATTEMPTS));
        let refused = until_whole(|| Err(io::ErrorKind::PermissionDenied.into()));
        let refused = refused.map_err(|error| error.kind());
        assert_eq!(refused, Err(io::ErrorKind::PermissionDenied));
    }

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
