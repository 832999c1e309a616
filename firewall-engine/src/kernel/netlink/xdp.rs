//! The rtnetlink requests about XDP: which programs an interface carries, and taking a program off (or putting it back) that was attached by netlink, not by a link.
//!
//! Attributes of `IFLA_XDP`: `linux/if_link.h`.

use super::{NLA_F_NESTED, NLM_F_ACK, attribute, attributes, links, number, request};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

const RTM_SETLINK: u16 = 19;
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

/// The XDP programs that an interface of this namespace carries.
pub(crate) fn attached(ifindex: u32) -> io::Result<Vec<Attached>> {
    links::ask(ifindex, |_, attributes| programs(attributes))
}

/// The XDP programs of all interfaces of this namespace, by the interface's index, in one question: each
/// question waits for whoever changes interfaces at that moment.
pub(crate) fn attached_to_all() -> io::Result<HashMap<u32, Vec<Attached>>> {
    let all = links::all(|head, attributes| (links::index_of(head), programs(attributes)))?;
    Ok(all.into_iter().collect())
}

/// The programs that the attributes of a link name.
fn programs(bytes: &[u8]) -> Vec<Attached> {
    let mut found: Vec<Attached> = Vec::new();
    for (kind, value) in attributes(bytes) {
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
            if let Some(program_id) = number(value).filter(|&id| id != 0) {
                found.push(Attached { program_id, mode });
            }
        }
    }
    // `IFLA_XDP_PROG_ID` only where the kernel gave no id with a mode.
    if found.iter().any(|program| program.mode != 0) {
        found.retain(|program| program.mode != 0);
    }
    found
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
    request(RTM_SETLINK, NLM_F_ACK, &links::about(ifindex, &attributes)).map(drop)
}
