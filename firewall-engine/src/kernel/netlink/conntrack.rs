//! The connections of the kernel's connection tracking, one at a time, as the egress program would have
//! seen their packets.
//!
//! A connection has two tuples: `original`, as its first packet came in, and `reply`, as the answers
//! come in; translations of addresses stand between the two. What leaves in the original direction
//! has the reply tuple turned round, and what leaves in the other one the original tuple turned
//! round. On a router that masquerades, the first is what the outside sees and the second what the
//! inside sees; behind a forwarded port it is the other way.
//!
//! Formats: `linux/netfilter/nfnetlink_conntrack.h`, `nf_conntrack_common.h`, `nf_conntrack_tcp.h`.
//! May not import anything else of this crate. Invariant: attributes of a strange length are not
//! there; a connection that lacks one that is needed is left out.

use super::{HEADER, Told, attribute, attributes, dump, find, kind_of, request_of};
use rustix::net::netlink;
use std::fs;
use std::io;
use std::net::IpAddr;

/// NFNL_SUBSYS_CTNETLINK, and its messages IPCTNL_MSG_CT_GET and IPCTNL_MSG_CT_NEW.
const GET: u16 = 1 << 8 | 1;
const NEW: u16 = 1 << 8;

/// Bytes of `nfgenmsg`: family, version, resource. All zero: both families.
const NFGENMSG: usize = 4;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_PROTO_ICMP_ID: u16 = 4;
const CTA_PROTO_ICMP_TYPE: u16 = 5;
const CTA_PROTO_ICMPV6_ID: u16 = 7;
const CTA_PROTO_ICMPV6_TYPE: u16 = 8;
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_STATE: u16 = 1;
const CTA_PROTOINFO_TCP_FLAGS_ORIGINAL: u16 = 4;
const CTA_PROTOINFO_TCP_FLAGS_REPLY: u16 = 5;

/// IPS_SEEN_REPLY, IPS_ASSURED, IPS_DYING: bits of a connection's status.
const SEEN_REPLY: u32 = 1 << 1;
const ASSURED: u32 = 1 << 2;
const DYING: u32 = 1 << 9;

/// TCP_CONNTRACK_ESTABLISHED, _FIN_WAIT, _CLOSE_WAIT, _LAST_ACK. Those before are not open yet, and
/// those after are not open any more.
const TCP_ESTABLISHED: u8 = 3;
const TCP_FIN_WAIT: u8 = 4;
const TCP_CLOSE_WAIT: u8 = 5;
const TCP_LAST_ACK: u8 = 6;

/// IP_CT_TCP_FLAG_CLOSE_INIT: this side has sent the first FIN.
const CLOSE_INIT: u8 = 4;

/// IP protocols that flows have.
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// ICMP and ICMPv6 types of an echo request.
const ECHO: u8 = 8;
const ECHO_V6: u8 = 128;

/// A connection in one direction, as its packets leave some interface of this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Leaving {
    /// Where they come from: the side that the filter stands for.
    pub(crate) local: (IpAddr, u16),
    /// Where they go; port 0 of an echo.
    pub(crate) remote: (IpAddr, u16),
    /// Whether the side they come from has sent a FIN.
    pub(crate) fin_out: bool,
    /// Whether the side they go to has.
    pub(crate) fin_in: bool,
}

/// A connection that goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Connection {
    /// IP protocol number: TCP, UDP, ICMP or ICMPv6.
    pub(crate) proto: u8,
    /// Whether both sides have been heard.
    pub(crate) replied: bool,
    /// Whether no address or port is translated.
    pub(crate) is_plain: bool,
    /// What the side that has begun sends.
    pub(crate) original: Leaving,
    /// What the other side sends, if it is more than the answers of an echo.
    pub(crate) reply: Option<Leaving>,
}

/// Shows every connection that goes on in this network namespace; `None`, if what was shown so far was
/// not the whole and they are shown again. Nothing where connections are not tracked; no module of the
/// kernel is loaded for it.
pub(crate) fn connections(mut take: impl FnMut(Option<&Connection>)) -> io::Result<()> {
    const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
    match fs::read_to_string(COUNT) {
        Ok(count) if count.trim() == "0" => return Ok(()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let answer = dump(
        Some(netlink::NETFILTER),
        GET,
        &[0; NFGENMSG],
        |told| match told {
            Told::Again => take(None),
            Told::Message(message) => {
                if kind_of(message) == NEW
                    && let Some(body) = message.get(HEADER + NFGENMSG..)
                    && let Some(connection) = read(body)
                {
                    take(Some(&connection));
                }
            }
        },
    );
    match answer {
        // Tracked, and this kernel has no way to list it.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EINVAL | libc::EPROTONOSUPPORT | libc::EOPNOTSUPP)
            ) =>
        {
            Ok(())
        }
        answer => answer,
    }
}

/// An address and a port.
pub(crate) type End = (IpAddr, u16);

/// Where the packets that come in of a connection come from, and where they go.
pub(crate) type Ends = (End, End);

/// The ends of a TCP connection from `from` to `to` as they stand in the packets that come in, before
/// addresses and ports are translated; `None`, if nothing is tracked or translated.
pub(crate) fn untranslated(from: End, to: End) -> io::Result<Option<Ends>> {
    Ok(arriving(TCP, (from, to))?.filter(|it| *it != (from, to)))
}

/// As [`untranslated`], of datagrams; also if nothing is translated. `None`, if nothing is tracked.
pub(crate) fn datagrams(from: End, to: End) -> io::Result<Option<Ends>> {
    arriving(UDP, (from, to))
}

/// The ends of what comes in of a tracked connection of which `to` sends to `from`.
fn arriving(protocol: u8, ends: Ends) -> io::Result<Option<Ends>> {
    const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
    match fs::read_to_string(COUNT) {
        Ok(count) if count.trim() != "0" => {}
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => return Ok(None),
    }
    let answer = match request_of(Some(netlink::NETFILTER), GET, 0, &question(protocol, ends)) {
        // It tracks none such, or has no way to say so.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOENT | libc::EINVAL | libc::EPROTONOSUPPORT | libc::EOPNOTSUPP)
            ) =>
        {
            return Ok(None);
        }
        answer => answer?,
    };
    let body = answer.get(HEADER + NFGENMSG..).unwrap_or_default();
    Ok(coming(body, ends))
}

/// Of a tracked connection, the ends of what the other side sends, whichever side has begun.
fn coming(body: &[u8], (from, to): Ends) -> Option<Ends> {
    let original = find(body, CTA_TUPLE_ORIG).and_then(tuple)?;
    let theirs = match (original.src, original.dst) == (to, from) {
        true => find(body, CTA_TUPLE_REPLY).and_then(tuple)?,
        false => original,
    };
    Some((theirs.src, theirs.dst))
}

/// Asks about the connection of which `to` sends to `from`.
fn question(protocol: u8, (from, to): Ends) -> Vec<u8> {
    const NESTED: u16 = super::NLA_F_NESTED;
    let mut addresses = Vec::new();
    let (family, kinds) = match to.0 {
        IpAddr::V4(_) => (libc::AF_INET, [CTA_IP_V4_SRC, CTA_IP_V4_DST]),
        IpAddr::V6(_) => (libc::AF_INET6, [CTA_IP_V6_SRC, CTA_IP_V6_DST]),
    };
    for (kind, address) in kinds.into_iter().zip([to.0, from.0]) {
        match address {
            IpAddr::V4(address) => attribute(&mut addresses, kind, &address.octets()),
            IpAddr::V6(address) => attribute(&mut addresses, kind, &address.octets()),
        }
    }
    let mut ports = Vec::new();
    attribute(&mut ports, CTA_PROTO_NUM, &[protocol]);
    attribute(&mut ports, CTA_PROTO_SRC_PORT, &to.1.to_be_bytes());
    attribute(&mut ports, CTA_PROTO_DST_PORT, &from.1.to_be_bytes());
    let mut tuple = Vec::new();
    attribute(&mut tuple, CTA_TUPLE_IP | NESTED, &addresses);
    attribute(&mut tuple, CTA_TUPLE_PROTO | NESTED, &ports);
    let mut body = vec![family as u8, 0, 0, 0];
    attribute(&mut body, CTA_TUPLE_REPLY | NESTED, &tuple);
    body
}

/// Addresses and ports of one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Tuple {
    src: (IpAddr, u16),
    dst: (IpAddr, u16),
    proto: u8,
    /// Of an echo, its type.
    icmp_type: Option<u8>,
}

/// The connection in a message, if it goes on and has flows.
fn read(body: &[u8]) -> Option<Connection> {
    let (mut original, mut reply, mut status, mut tcp) = (None, None, 0, None);
    for (kind, value) in attributes(body) {
        match kind {
            CTA_TUPLE_ORIG => original = tuple(value),
            CTA_TUPLE_REPLY => reply = tuple(value),
            CTA_STATUS => status = u32::from_be_bytes(value.try_into().ok()?),
            CTA_PROTOINFO => tcp = find(value, CTA_PROTOINFO_TCP),
            _ => {}
        }
    }
    let (original, reply) = (original?, reply?);
    if original.proto != reply.proto || status & DYING != 0 {
        return None;
    }
    let replied = status & (SEEN_REPLY | ASSURED) != 0;
    // By direction: original, reply.
    let mut fins = [false; 2];
    match original.proto {
        TCP => {
            let tcp = tcp?;
            fins = tcp_fins(tcp).filter(|_| replied)?;
        }
        ICMP if original.icmp_type == Some(ECHO) => {}
        ICMPV6 if original.icmp_type == Some(ECHO_V6) => {}
        UDP => {}
        _ => return None,
    }
    let is_echo = original.icmp_type.is_some();
    let leaving = |seen: &Tuple, out: bool, back: bool| Leaving {
        local: seen.dst,
        remote: if is_echo { (seen.src.0, 0) } else { seen.src },
        fin_out: out,
        fin_in: back,
    };
    Some(Connection {
        proto: original.proto,
        replied,
        is_plain: (original.src, original.dst) == (reply.dst, reply.src),
        original: leaving(&reply, fins[0], fins[1]),
        reply: (replied && !is_echo).then(|| leaving(&original, fins[1], fins[0])),
    })
}

/// Which sides of a TCP connection have sent a FIN; `None` if it is not open.
fn tcp_fins(tcp: &[u8]) -> Option<[bool; 2]> {
    let flag = |kind: u16| {
        let flags = find(tcp, kind).and_then(|value| value.first());
        flags.is_some_and(|flags| flags & CLOSE_INIT != 0)
    };
    match *find(tcp, CTA_PROTOINFO_TCP_STATE)?.first()? {
        TCP_ESTABLISHED => Some([false; 2]),
        TCP_FIN_WAIT | TCP_CLOSE_WAIT => Some([
            flag(CTA_PROTOINFO_TCP_FLAGS_ORIGINAL),
            flag(CTA_PROTOINFO_TCP_FLAGS_REPLY),
        ]),
        TCP_LAST_ACK => Some([true; 2]),
        _ => None,
    }
}

fn tuple(bytes: &[u8]) -> Option<Tuple> {
    let ip = find(bytes, CTA_TUPLE_IP)?;
    let proto = find(bytes, CTA_TUPLE_PROTO)?;
    let address = |v4: u16, v6: u16| -> Option<IpAddr> {
        if let Some(value) = find(ip, v4) {
            return Some(<[u8; 4]>::try_from(value).ok()?.into());
        }
        Some(<[u8; 16]>::try_from(find(ip, v6)?).ok()?.into())
    };
    let word = |kind: u16| -> Option<u16> {
        let value = find(proto, kind)?;
        Some(u16::from_be_bytes(value.try_into().ok()?))
    };
    let number = *find(proto, CTA_PROTO_NUM)?.first()?;
    let (src, dst) = (
        address(CTA_IP_V4_SRC, CTA_IP_V6_SRC)?,
        address(CTA_IP_V4_DST, CTA_IP_V6_DST)?,
    );
    if src.is_ipv4() != dst.is_ipv4() {
        return None;
    }
    let (ports, icmp_type) = match number {
        TCP | UDP => ((word(CTA_PROTO_SRC_PORT)?, word(CTA_PROTO_DST_PORT)?), None),
        ICMP | ICMPV6 => {
            let (id, kind) = match number {
                ICMP => (CTA_PROTO_ICMP_ID, CTA_PROTO_ICMP_TYPE),
                _ => (CTA_PROTO_ICMPV6_ID, CTA_PROTO_ICMPV6_TYPE),
            };
            // An echo is named by its identifier, whichever way it goes.
            let id = word(id)?;
            ((id, id), Some(*find(proto, kind)?.first()?))
        }
        _ => return None,
    };
    Some(Tuple {
        src: (src, ports.0),
        dst: (dst, ports.1),
        proto: number,
        icmp_type,
    })
}

#[cfg(test)]
mod tests {
    use super::super::attribute;
    use super::*;
    use std::net::Ipv4Addr;

    const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
    const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 80);
    const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);

    type End = (Ipv4Addr, u16);

    fn nest(kind: u16, parts: &[(u16, Vec<u8>)]) -> (u16, Vec<u8>) {
        let mut bytes = Vec::new();
        for (kind, value) in parts {
            attribute(&mut bytes, *kind, value);
        }
        (kind, bytes)
    }

    fn ends(kind: u16, proto: u8, src: End, dst: End) -> (u16, Vec<u8>) {
        let ip = nest(
            CTA_TUPLE_IP,
            &[
                (CTA_IP_V4_SRC, src.0.octets().to_vec()),
                (CTA_IP_V4_DST, dst.0.octets().to_vec()),
            ],
        );
        let mut parts = vec![(CTA_PROTO_NUM, vec![proto])];
        if proto == ICMP {
            parts.push((CTA_PROTO_ICMP_ID, src.1.to_be_bytes().to_vec()));
            parts.push((CTA_PROTO_ICMP_TYPE, vec![dst.1 as u8]));
        } else {
            parts.push((CTA_PROTO_SRC_PORT, src.1.to_be_bytes().to_vec()));
            parts.push((CTA_PROTO_DST_PORT, dst.1.to_be_bytes().to_vec()));
        }
        nest(kind, &[ip, nest(CTA_TUPLE_PROTO, &parts)])
    }

    /// A message of a client behind a router that masquerades.
    fn message(proto: u8, status: u32, tcp: Option<(u8, u8, u8)>) -> Vec<u8> {
        let (orig, reply) = if proto == ICMP {
            (
                ends(CTA_TUPLE_ORIG, proto, (CLIENT, 7), (SERVER, 8)),
                ends(CTA_TUPLE_REPLY, proto, (SERVER, 9), (ROUTER, 0)),
            )
        } else {
            (
                ends(CTA_TUPLE_ORIG, proto, (CLIENT, 4000), (SERVER, 80)),
                ends(CTA_TUPLE_REPLY, proto, (SERVER, 80), (ROUTER, 5000)),
            )
        };
        let mut parts = vec![orig, reply, (CTA_STATUS, status.to_be_bytes().to_vec())];
        if let Some((state, original, reply)) = tcp {
            let tcp = nest(
                CTA_PROTOINFO_TCP,
                &[
                    (CTA_PROTOINFO_TCP_STATE, vec![state]),
                    (CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, vec![original, 0]),
                    (CTA_PROTOINFO_TCP_FLAGS_REPLY, vec![reply, 0]),
                ],
            );
            parts.push(nest(CTA_PROTOINFO, &[tcp]));
        }
        nest(0, &parts).1
    }

    fn leaving(local: End, remote: End, fin_out: bool, fin_in: bool) -> Leaving {
        Leaving {
            local: (local.0.into(), local.1),
            remote: (remote.0.into(), remote.1),
            fin_out,
            fin_in,
        }
    }

    #[test]
    fn both_sides_of_a_translated_connection() {
        let found = read(&message(TCP, SEEN_REPLY | ASSURED, Some((3, 0, 0)))).unwrap();
        assert!(found.replied && !found.is_plain);
        let outside = leaving((ROUTER, 5000), (SERVER, 80), false, false);
        let inside = leaving((SERVER, 80), (CLIENT, 4000), false, false);
        assert_eq!((found.original, found.reply), (outside, Some(inside)));
        // The server has sent a FIN: it has come in outside, and has left inside.
        let found = read(&message(TCP, SEEN_REPLY, Some((5, 0, CLOSE_INIT)))).unwrap();
        let outside = leaving((ROUTER, 5000), (SERVER, 80), false, true);
        let inside = leaving((SERVER, 80), (CLIENT, 4000), true, false);
        assert_eq!((found.original, found.reply), (outside, Some(inside)));
        let found = read(&message(TCP, SEEN_REPLY, Some((6, 0, CLOSE_INIT)))).unwrap();
        assert!(found.original.fin_in && found.original.fin_out);
    }

    #[test]
    fn what_is_not_open_is_left_out() {
        for state in [0, 1, 2, 7, 8, 9, 200] {
            let message = message(TCP, SEEN_REPLY | ASSURED, Some((state, 0, 0)));
            assert_eq!(read(&message), None, "{state}");
        }
        // Picked up from one packet, which anybody can send.
        assert_eq!(read(&message(TCP, 0, Some((3, 0, 0)))), None);
        assert_eq!(read(&message(TCP, ASSURED | DYING, Some((3, 0, 0)))), None);
        assert_eq!(read(&message(TCP, ASSURED, None)), None);
        assert_eq!(read(&message(132, ASSURED, None)), None);
    }

    #[test]
    fn datagrams_and_echoes() {
        let found = read(&message(UDP, 0, None)).unwrap();
        // Nobody has answered: what is known is what left.
        assert_eq!((found.replied, found.reply), (false, None));
        assert_eq!(found.original.remote, (SERVER.into(), 80));
        assert!(
            read(&message(UDP, SEEN_REPLY, None))
                .unwrap()
                .reply
                .is_some()
        );
        let found = read(&message(ICMP, SEEN_REPLY, None)).unwrap();
        let outside = leaving((ROUTER, 9), (SERVER, 0), false, false);
        assert_eq!((found.original, found.reply), (outside, None));
    }

    #[test]
    fn what_comes_in_is_what_the_other_side_sends_whoever_has_begun() {
        let end = |end: End| (IpAddr::from(end.0), end.1);
        let peer = (SERVER, 51_000);
        // The peer has begun: to port 53, which is redirected to the one that this host answers from.
        let begun_there = nest(
            0,
            &[
                ends(CTA_TUPLE_ORIG, UDP, peer, (ROUTER, 53)),
                ends(CTA_TUPLE_REPLY, UDP, (ROUTER, 51_820), peer),
            ],
        );
        // This host has begun, from an address inside.
        let begun_here = nest(
            0,
            &[
                ends(CTA_TUPLE_ORIG, UDP, (CLIENT, 51_820), peer),
                ends(CTA_TUPLE_REPLY, UDP, peer, (ROUTER, 4000)),
            ],
        );
        for (message, own, wanted) in [
            (begun_there, ROUTER, (ROUTER, 53)),
            (begun_here, CLIENT, (ROUTER, 4000)),
        ] {
            let asked = (end(peer), end((own, 51_820)));
            let found = coming(&message.1, asked);
            assert_eq!(found, Some((end(peer), end(wanted))));
        }
        assert_eq!(coming(&[], (end(peer), end(peer))), None);
    }

    #[test]
    fn a_cut_message_is_left_out() {
        let whole = message(TCP, SEEN_REPLY, Some((3, 0, 0)));
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end]), None, "{end}");
        }
    }
}
