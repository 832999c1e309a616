//! Whether this network namespace decrypts packets: whether a policy of IPsec asks for that, of packets that
//! come in to this host or are forwarded by it.
//!
//! Structures: `linux/xfrm.h`.

use super::{HEADER, Told, attributes, dump, kind_of, number};
use rustix::net::{Protocol, netlink};
use std::io;

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
/// of their ESP packet once more. False where the kernel has no IPsec.
pub(crate) fn decrypts() -> io::Result<bool> {
    let protocol: Option<Protocol> = Some(netlink::XFRM);
    let mut found = false;
    let asked = dump(
        protocol,
        XFRM_MSG_GETPOLICY,
        &[0; QUESTION],
        |told| match told {
            Told::Message(message) => found |= asks_for_decryption(message),
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
}
