//! The rtnetlink requests for an egress BPF filter: how egress programs were attached before Linux 6.6
//! had TCX links.
//!
//! A filter hangs in the egress half of the interface's `clsact` qdisc, and stays when the process
//! that made it ends. It has no descriptor and no pin; it is found by its place and its name.
//! Formats: `linux/pkt_sched.h`, `linux/pkt_cls.h`, `net/sched/cls_bpf.c`.
//!
//! Invariant: filters and `clsact` qdiscs of others are never changed or removed.

use super::{
    HEADER, NLA_F_NESTED, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, attribute, attributes, find,
    kind_of, list, number, request,
};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
const RTM_GETTFILTER: u16 = 46;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_ID: u16 = 11;
/// What the program returns is what becomes of the packet.
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;

/// Bytes of `tcmsg`.
const TCMSG: usize = 20;

/// `clsact` itself: handle and parent.
const CLSACT: u32 = 0xffff_0000;
const TC_H_CLSACT: u32 = 0xffff_fff1;
/// Its halves.
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;

/// First among all filters: one that decides about a packet would hide it from those behind.
const PREFERENCE: u32 = 1;
/// ETH_P_ALL, in network byte order.
const PROTOCOL: u32 = 3u16.to_be() as u32;
/// Number among the filters of this preference.
const HANDLE: u32 = 0x0f11;
/// Name of the filter, which says whose it is.
const NAME: &[u8] = b"fw_egress\0";

/// What stands in front of the attributes of a request: `struct tcmsg`.
fn tcmsg(ifindex: u32, handle: u32, parent: u32, info: u32) -> Vec<u8> {
    let mut body = vec![0; 4]; // family and padding
    for word in [ifindex, handle, parent, info] {
        body.extend(word.to_ne_bytes());
    }
    body
}

/// The place of our filter.
fn place(ifindex: u32) -> Vec<u8> {
    let mut body = tcmsg(ifindex, HANDLE, EGRESS, PREFERENCE << 16 | PROTOCOL);
    attribute(&mut body, TCA_KIND, b"bpf\0");
    body
}

/// Makes `clsact` if the interface has none, and says whether it had none. An older `ingress` qdisc
/// in its place, which would run what is meant for packets that leave on those that come in, is
/// [`io::ErrorKind::AddrInUse`].
pub(crate) fn make(ifindex: u32) -> io::Result<bool> {
    let mut body = tcmsg(ifindex, CLSACT, TC_H_CLSACT, 0);
    attribute(&mut body, TCA_KIND, b"clsact\0");
    match request(RTM_NEWQDISC, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &body) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => match is_clsact(ifindex)? {
            true => Ok(false),
            false => Err(io::ErrorKind::AddrInUse.into()),
        },
        Err(error) => Err(error),
    }
}

/// Whether what is in the place of `clsact` is that. Asked by a list of all queues: a question about
/// one is answered to those who listen to the news of the interface, and not to who asked.
fn is_clsact(ifindex: u32) -> io::Result<bool> {
    let place = tcmsg(ifindex, CLSACT, TC_H_CLSACT, 0);
    let queues = list(RTM_GETQDISC, &tcmsg(0, 0, 0, 0))?;
    let found = queues.iter().find_map(|message| {
        let (head, attributes) = message.get(HEADER..)?.split_at_checked(TCMSG)?;
        (head[4..16] == place[4..16]).then(|| find(attributes, TCA_KIND))
    });
    Ok(found.flatten() == Some(b"clsact\0"))
}

/// Takes `clsact` off, if no filter is left in it.
pub(crate) fn remove_if_empty(ifindex: u32) -> io::Result<()> {
    for half in [INGRESS, EGRESS] {
        if !list(RTM_GETTFILTER, &tcmsg(ifindex, 0, half, 0))?.is_empty() {
            return Ok(());
        }
    }
    let body = tcmsg(ifindex, CLSACT, TC_H_CLSACT, 0);
    request(RTM_DELQDISC, NLM_F_ACK, &body).map(drop)
}

/// Hangs a program in; fails if something is in its place.
pub(crate) fn add(ifindex: u32, program: BorrowedFd<'_>) -> io::Result<()> {
    set(ifindex, program, NLM_F_CREATE | NLM_F_EXCL)
}

/// Puts another program in the place of the one that is there, between two packets.
pub(crate) fn replace(ifindex: u32, program: BorrowedFd<'_>) -> io::Result<()> {
    set(ifindex, program, 0)
}

fn set(ifindex: u32, program: BorrowedFd<'_>, flags: u16) -> io::Result<()> {
    let mut options = Vec::new();
    attribute(&mut options, TCA_BPF_FD, &program.as_raw_fd().to_ne_bytes());
    attribute(&mut options, TCA_BPF_NAME, NAME);
    attribute(
        &mut options,
        TCA_BPF_FLAGS,
        &TCA_BPF_FLAG_ACT_DIRECT.to_ne_bytes(),
    );
    let mut body = place(ifindex);
    attribute(&mut body, TCA_OPTIONS | NLA_F_NESTED, &options);
    request(RTM_NEWTFILTER, NLM_F_ACK | flags, &body).map(drop)
}

/// Takes our filter off. Good, too, if it or its interface is gone.
pub(crate) fn remove(ifindex: u32) -> io::Result<()> {
    if program(ifindex)?.is_none() {
        return Ok(());
    }
    match request(RTM_DELTFILTER, NLM_F_ACK, &place(ifindex)) {
        Err(error) if !is_gone(&error) => Err(error),
        _ => Ok(()),
    }
}

/// The id of the program in our filter; `None` where there is no filter of ours.
pub(crate) fn program(ifindex: u32) -> io::Result<Option<u32>> {
    let answer = match request(RTM_GETTFILTER, 0, &place(ifindex)) {
        Err(error) if is_gone(&error) => return Ok(None),
        answer => answer?,
    };
    if kind_of(&answer) != RTM_NEWTFILTER || answer.len() < HEADER + TCMSG {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let (mut id, mut is_ours) = (None, false);
    let options = find(&answer[HEADER + TCMSG..], TCA_OPTIONS).unwrap_or_default();
    for (kind, value) in attributes(options) {
        match kind {
            TCA_BPF_NAME => is_ours = value == NAME,
            TCA_BPF_ID => id = number(value),
            _ => {}
        }
    }
    Ok(id.filter(|_| is_ours))
}

/// No such filter, no `clsact`, no such interface.
fn is_gone(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    matches!(errno, Some(libc::ENOENT | libc::EINVAL | libc::ENODEV))
}
