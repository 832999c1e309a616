//! Which interfaces of this namespace have an address, by index: names of addresses are labels, and need
//! not be names of interfaces.
//!
//! Attributes: `linux/if_addr.h`.

use super::{HEADER, address, find, kind_of, list, number};
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
/// The other end of a point-to-point link, or the address itself.
const IFA_ADDRESS: u16 = 1;
/// The address itself, where that says the other end.
const IFA_LOCAL: u16 = 2;

/// Bytes of `ifaddrmsg`; the interface is its last word.
const IFADDRMSG: usize = 8;

/// The interfaces that have an address.
pub(crate) fn interfaces_with(wanted: IpAddr) -> io::Result<BTreeSet<u32>> {
    let messages = list(RTM_GETADDR, &[0; IFADDRMSG])?;
    let found = messages.iter().filter_map(|message| read(message));
    Ok(found.filter(|it| it.1 == wanted).map(|it| it.0).collect())
}

/// Interface and address in a message.
fn read(message: &[u8]) -> Option<(u32, IpAddr)> {
    let body = message.get(HEADER..)?;
    let (head, rest) = body.split_at_checked(IFADDRMSG)?;
    let is_one = kind_of(message) == RTM_NEWADDR;
    let own = find(rest, IFA_LOCAL).or_else(|| find(rest, IFA_ADDRESS));
    is_one.then_some((number(&head[4..])?, address(own?)?))
}

#[cfg(test)]
mod tests {
    use super::super::attribute;
    use super::*;

    #[test]
    fn an_address_is_that_of_an_interface_whatever_its_label() {
        const IFA_LABEL: u16 = 3;
        let mut message = vec![0; HEADER + IFADDRMSG];
        message[4..6].copy_from_slice(&RTM_NEWADDR.to_ne_bytes());
        message[HEADER + 4..HEADER + 8].copy_from_slice(&7u32.to_ne_bytes());
        let bare = message.clone();
        attribute(&mut message, IFA_ADDRESS, &[198, 51, 100, 1]);
        assert_eq!(read(&message), Some((7, [198, 51, 100, 1].into())));
        attribute(&mut message, IFA_LOCAL, &[192, 0, 2, 80]);
        attribute(&mut message, IFA_LABEL, b"eth0:1\0");
        assert_eq!(read(&message), Some((7, [192, 0, 2, 80].into())));
        assert_eq!(read(&bare), None);
        assert_eq!(read(&message[..HEADER + 4]), None);
        message[4] = 24;
        assert_eq!(read(&message), None);
    }

    #[test]
    fn the_loopback_interface_has_its_address() {
        let found = interfaces_with([127, 0, 0, 1].into()).unwrap();
        assert_eq!(found, BTreeSet::from([1]));
        assert!(interfaces_with([192, 0, 2, 211].into()).unwrap().is_empty());
    }
}
