//! Whether this network namespace decrypts packets: whether a policy of IPsec asks for that, of packets that
//! come in to this host or are forwarded by it.
//!
//! Structures: `linux/xfrm.h`.

use super::{HEADER, Told, address, attributes, dump, kind_of, number, u16_at};
use rustix::net::{Protocol, netlink};
use std::io;
use std::net::IpAddr;

const XFRM_MSG_NEWPOLICY: u16 = 0x13;
const XFRM_MSG_GETPOLICY: u16 = 0x15;
const XFRMA_TMPL: u16 = 5;
const XFRMA_IF_ID: u16 = 31;
/// Bytes of `xfrm_userpolicy_id`.
const QUESTION: usize = 64;
/// Bytes of `xfrm_userpolicy_info`, with which an answer begins, and where in it the direction stands.
const POLICY: usize = 168;
const DIRECTION: usize = 160;
/// `XFRM_POLICY_OUT`.
const OUT: u8 = 1;

/// Whether a policy has packets decrypted that belong to no xfrm interface: they come in by the interface
/// of their ESP packet once more.
pub(crate) fn decrypts() -> io::Result<bool> {
    any(asks_for_decryption)
}

/// Whether a policy has packets decrypted that come from one address to another.
pub(crate) fn decrypts_between(from: IpAddr, to: IpAddr) -> io::Result<bool> {
    any(|message| asks_for_decryption(message) && selects(message, from, to))
}

/// Whether there is such a policy. False where the kernel has no IPsec.
fn any(is_one: impl Fn(&[u8]) -> bool) -> io::Result<bool> {
    let protocol: Option<Protocol> = Some(netlink::XFRM);
    let mut found = false;
    let asked = dump(
        protocol,
        XFRM_MSG_GETPOLICY,
        &[0; QUESTION],
        |told| match told {
            Told::Message(message) => found |= is_one(message),
            Told::Again => found = false,
        },
    );
    match asked {
        Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => Ok(false),
        answer => answer.map(|()| found),
    }
}

/// Whether a message is a policy for packets that come in, with a template of a transformation, and for no
/// xfrm interface.
fn asks_for_decryption(message: &[u8]) -> bool {
    let Some(body) = message.get(HEADER..) else {
        return false;
    };
    if kind_of(message) != XFRM_MSG_NEWPOLICY || body.len() < POLICY || body[DIRECTION] == OUT {
        return false;
    }
    let (mut transforms, mut has_interface) = (false, false);
    for (kind, value) in attributes(&body[POLICY..]) {
        match kind {
            XFRMA_TMPL => transforms = !value.is_empty(),
            XFRMA_IF_ID => has_interface = number(value).is_some_and(|id| id != 0),
            _ => {}
        }
    }
    transforms && !has_interface
}

/// Whether the selector of a policy holds packets between two addresses. (`xfrm_selector`: destination,
/// source, ports and masks, family, lengths of both prefixes.)
fn selects(message: &[u8], from: IpAddr, to: IpAddr) -> bool {
    const FAMILY: usize = 40;
    let Some(selector) = message.get(HEADER..).filter(|it| it.len() >= POLICY) else {
        return false;
    };
    let (family, bytes) = match to {
        IpAddr::V4(_) => (libc::AF_INET, 4),
        IpAddr::V6(_) => (libc::AF_INET6, 16),
    };
    let said = i32::from(u16_at(selector, FAMILY));
    let holds = |at: usize, length: u8, wanted: IpAddr| {
        let prefix = address(&selector[at..at + bytes]);
        prefix.is_some_and(|prefix| begins_alike(prefix, wanted, length.into()))
    };
    // A policy of no family is for all.
    said == libc::AF_UNSPEC
        || said == family
            && holds(0, selector[FAMILY + 2], to)
            && holds(16, selector[FAMILY + 3], from)
}

/// Whether two addresses have the same first bits.
fn begins_alike(one: IpAddr, other: IpAddr, bits: u32) -> bool {
    let differs = match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => u128::from(one.to_bits() ^ other.to_bits()) << 96,
        (IpAddr::V6(one), IpAddr::V6(other)) => one.to_bits() ^ other.to_bits(),
        _ => return false,
    };
    differs.leading_zeros() >= bits
}

#[cfg(test)]
mod tests {
    use super::super::attribute;
    use super::*;

    fn policy(direction: u8, said: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = vec![0; HEADER + POLICY];
        message[4..6].copy_from_slice(&XFRM_MSG_NEWPOLICY.to_ne_bytes());
        message[HEADER + DIRECTION] = direction;
        for (kind, value) in said {
            attribute(&mut message, *kind, value);
        }
        message
    }

    #[test]
    fn a_policy_decrypts_what_comes_in_by_a_template() {
        let template: (u16, &[u8]) = (XFRMA_TMPL, &[1; 64]);
        let (of, none) = (7u32.to_ne_bytes(), [0; 4]);
        assert!(asks_for_decryption(&policy(0, &[template])));
        assert!(asks_for_decryption(&policy(2, &[template])));
        assert!(asks_for_decryption(&policy(
            0,
            &[template, (XFRMA_IF_ID, &none)]
        )));
        // What leaves; what a key daemon lets through as it is; what an xfrm interface decrypts.
        assert!(!asks_for_decryption(&policy(OUT, &[template])));
        assert!(!asks_for_decryption(&policy(0, &[])));
        assert!(!asks_for_decryption(&policy(
            0,
            &[template, (XFRMA_IF_ID, &of)]
        )));
        assert!(!asks_for_decryption(&policy(0, &[template])[..40]));
    }

    #[test]
    fn a_policy_is_for_the_addresses_of_its_selector() {
        let mut message = policy(0, &[]);
        let body = &mut message[HEADER..];
        body[..4].copy_from_slice(&[10, 1, 0, 0]);
        body[16..20].copy_from_slice(&[10, 2, 0, 0]);
        body[40] = libc::AF_INET as u8;
        (body[42], body[43]) = (16, 24);
        let holds = |from: [u8; 4], to: [u8; 4]| selects(&message, from.into(), to.into());
        assert!(holds([10, 2, 0, 9], [10, 1, 9, 9]));
        assert!(!holds([10, 2, 1, 9], [10, 1, 9, 9]));
        assert!(!holds([10, 2, 0, 9], [10, 3, 9, 9]));
        assert!(!selects(&message, [0x20; 16].into(), [0x20; 16].into()));
    }
}
