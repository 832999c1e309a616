//! The rtnetlink requests about XDP: which programs an interface carries, how large its frames can
//! be, and taking a program off (or putting it back) that was attached by netlink, not by a link.
//!
//! Message format: rtnetlink(7), netlink(7); attributes of `IFLA_XDP`: `linux/if_link.h`.

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLA_F_NESTED: u16 = 1 << 15;
const NLA_TYPE_MASK: u16 = !(3 << 14);
const IFLA_MTU: u16 = 4;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_FD: u16 = 1;
const IFLA_XDP_FLAGS: u16 = 3;
const IFLA_XDP_PROG_ID: u16 = 4;
const IFLA_XDP_DRV_PROG_ID: u16 = 5;
const IFLA_XDP_SKB_PROG_ID: u16 = 6;
const IFLA_XDP_HW_PROG_ID: u16 = 7;
const IFLA_XDP_EXPECTED_FD: u16 = 8;
const XDP_FLAGS_REPLACE: u32 = 1 << 4;
/// Attach in the network stack.
pub(crate) const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
/// Attach in the driver.
pub(crate) const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
/// Attach in the NIC.
const XDP_FLAGS_HW_MODE: u32 = 1 << 3;

/// Bytes of `nlmsghdr` and `ifinfomsg`.
const HEADER: usize = 16;
const IFINFO: usize = 16;

/// A program on an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Attached {
    /// Program id.
    pub(crate) program_id: u32,
    /// `XDP_FLAGS_*_MODE`.
    pub(crate) mode: u32,
}

impl Attached {
    /// Whether it runs in the network stack, not in the driver.
    pub(crate) fn is_generic(self) -> bool {
        self.mode == XDP_FLAGS_SKB_MODE
    }
}

/// What the kernel says about an interface of this namespace: a message about a link.
fn link(ifindex: u32) -> io::Result<Vec<u8>> {
    let answer = request(RTM_GETLINK, 0, ifindex, &[])?;
    if answer.len() < HEADER + IFINFO || u16_at(&answer, 4) != RTM_NEWLINK {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(answer)
}

/// The longest IP packet, in bytes, that an interface of this namespace takes.
pub(crate) fn mtu(ifindex: u32) -> io::Result<u32> {
    attributes(&link(ifindex)?[HEADER + IFINFO..])
        .find(|(kind, _)| *kind == IFLA_MTU)
        .and_then(|(_, value)| value.first_chunk::<4>())
        .map(|mtu| u32::from_ne_bytes(*mtu))
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The XDP programs that an interface of this namespace carries.
pub(crate) fn attached(ifindex: u32) -> io::Result<Vec<Attached>> {
    let answer = link(ifindex)?;
    let mut found: Vec<Attached> = Vec::new();
    for (kind, value) in attributes(&answer[HEADER + IFINFO..]) {
        if kind != IFLA_XDP {
            continue;
        }
        for (kind, value) in attributes(value) {
            let mode = match kind {
                IFLA_XDP_DRV_PROG_ID => XDP_FLAGS_DRV_MODE,
                IFLA_XDP_SKB_PROG_ID => XDP_FLAGS_SKB_MODE,
                IFLA_XDP_HW_PROG_ID => XDP_FLAGS_HW_MODE,
                // The same as one of the above, for programs of old kernels.
                IFLA_XDP_PROG_ID => 0,
                _ => continue,
            };
            let Some(id) = value.first_chunk::<4>().map(|id| u32::from_ne_bytes(*id)) else {
                continue;
            };
            if id != 0 {
                found.push(Attached {
                    program_id: id,
                    mode,
                });
            }
        }
    }
    // `IFLA_XDP_PROG_ID` only where the kernel gave no id with a mode.
    if found.iter().any(|program| program.mode != 0) {
        found.retain(|program| program.mode != 0);
    }
    Ok(found)
}

/// Takes off the program `expected`, if it is still the one there.
pub(crate) fn detach(ifindex: u32, expected: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    set(ifindex, -1, mode, Some(expected))
}

/// Puts a program on an interface that carries none.
pub(crate) fn attach(ifindex: u32, program: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    /// Fail if there is one already.
    const XDP_FLAGS_UPDATE_IF_NOEXIST: u32 = 1;
    set(
        ifindex,
        program.as_raw_fd(),
        mode | XDP_FLAGS_UPDATE_IF_NOEXIST,
        None,
    )
}

fn set(ifindex: u32, fd: i32, flags: u32, expected: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let replace = if expected.is_some() {
        XDP_FLAGS_REPLACE
    } else {
        0
    };
    let mut nest = Vec::new();
    attribute(&mut nest, IFLA_XDP_FD, &fd.to_ne_bytes());
    attribute(&mut nest, IFLA_XDP_FLAGS, &(flags | replace).to_ne_bytes());
    if let Some(expected) = expected {
        attribute(
            &mut nest,
            IFLA_XDP_EXPECTED_FD,
            &expected.as_raw_fd().to_ne_bytes(),
        );
    }
    let mut attributes = Vec::new();
    attribute(&mut attributes, IFLA_XDP | NLA_F_NESTED, &nest);
    request(RTM_SETLINK, NLM_F_ACK, ifindex, &attributes).map(drop)
}

/// Sends one request about a link and returns the answer; an error answer as an error.
fn request(kind: u16, flags: u16, ifindex: u32, attributes: &[u8]) -> io::Result<Vec<u8>> {
    let mut message = Vec::with_capacity(HEADER + IFINFO + attributes.len());
    let len = (HEADER + IFINFO + attributes.len()) as u32;
    message.extend(len.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((flags | NLM_F_REQUEST).to_ne_bytes());
    message.extend([0; 8]); // sequence, port: one request on a socket of its own
    message.extend([0; 4]); // family, padding, device type
    message.extend(ifindex.to_ne_bytes());
    message.extend([0; 8]); // device flags, change mask
    message.extend(attributes);

    // No protocol number is protocol 0, and that is NETLINK_ROUTE.
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )?;
    send(&socket, &message, SendFlags::empty())?;
    let mut answer = vec![0; 64 << 10];
    let (len, _) = recv(&socket, answer.as_mut_slice(), RecvFlags::empty())?;
    answer.truncate(len);
    if answer.len() < HEADER + 4 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    if u16_at(&answer, 4) == NLMSG_ERROR {
        let code = i32::from_ne_bytes([
            answer[HEADER],
            answer[HEADER + 1],
            answer[HEADER + 2],
            answer[HEADER + 3],
        ]);
        if code != 0 {
            return Err(io::Error::from_raw_os_error(-code));
        }
    }
    Ok(answer)
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
        attribute(&mut bytes, IFLA_XDP | NLA_F_NESTED, &[9; 8]);
        let read: Vec<(u16, &[u8])> = attributes(&bytes).collect();
        assert_eq!(read, [(7, &[1, 2, 3][..]), (IFLA_XDP, &[9; 8][..])]);
    }

    #[test]
    fn a_cut_attribute_ends_the_list() {
        assert_eq!(attributes(&[200, 0, 1, 0, 5, 5]).count(), 0);
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
    }
}
