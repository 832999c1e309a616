//! Connections in the kernel's connection tracking that nobody has opened: made by netlink, many at a
//! time (`linux/netfilter/nfnetlink_conntrack.h`).

use anyhow::{Context, Result, ensure};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use std::fs;
use std::net::{IpAddr, SocketAddr};

/// IPCTNL_MSG_CT_NEW of NFNL_SUBSYS_CTNETLINK.
const NEW: u16 = 1 << 8;
/// NLM_F_REQUEST, NLM_F_CREATE and NLM_F_EXCL; and NLM_F_ACK.
const MAKE: u16 = 1 | 0x400 | 0x200;
const ANSWER: u16 = 4;
const NLMSG_ERROR: u16 = 2;
const NESTED: u16 = 1 << 15;
const HEADER: usize = 16;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_TIMEOUT: u16 = 7;
/// IPS_SEEN_REPLY, IPS_ASSURED, IPS_CONFIRMED.
const STATUS: u32 = 2 | 4 | 8;
/// How long they live, in seconds.
const LIVES: u32 = 3_600;
/// TCP_CONNTRACK_ESTABLISHED, and IP_CT_TCP_FLAG_BE_LIBERAL: no numbers are known.
const TCP_ESTABLISHED: u8 = 3;
const LIBERAL: [u8; 2] = [8, 8];

/// Messages that are sent at once.
const AT_ONCE: usize = 400;

/// Where the limit stands that all namespaces of the machine share.
const LIMIT: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

/// The machine's limit of tracked connections, raised as long as this lives.
#[derive(Debug)]
pub struct Raised(Option<u64>);

impl Raised {
    /// Makes room for so many, if there is not.
    ///
    /// # Errors
    /// This process may not: it is in a namespace of its own.
    pub fn to(count: u64) -> Result<Self> {
        let text = fs::read_to_string(LIMIT).context(LIMIT)?;
        let limit: u64 = text.trim().parse()?;
        if limit >= count {
            return Ok(Self(None));
        }
        fs::write(LIMIT, count.to_string())
            .with_context(|| format!("{LIMIT} is {limit}, and {count} are needed"))?;
        Ok(Self(Some(limit)))
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        if let Some(before) = self.0 {
            let _ = fs::write(LIMIT, before.to_string());
        }
    }
}

/// A connection as its first packet came in, and as the answers do.
#[derive(Clone, Copy, Debug)]
pub struct Tracked {
    /// IP protocol: TCP or UDP.
    pub proto: u8,
    /// From, to.
    pub original: (SocketAddr, SocketAddr),
    /// From, to.
    pub reply: (SocketAddr, SocketAddr),
}

fn attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    to.extend(((value.len() + 4) as u16).to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

fn nest(to: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    fill(&mut inner);
    attribute(to, kind | NESTED, &inner);
}

fn tuple(to: &mut Vec<u8>, kind: u16, proto: u8, (from, into): (SocketAddr, SocketAddr)) {
    nest(to, kind, |tuple| {
        nest(tuple, 1, |ip| {
            for (number, address) in [(0, from.ip()), (1, into.ip())] {
                match address {
                    IpAddr::V4(address) => attribute(ip, 1 + number, &address.octets()),
                    IpAddr::V6(address) => attribute(ip, 3 + number, &address.octets()),
                }
            }
        });
        nest(tuple, 2, |ends| {
            attribute(ends, 1, &[proto]);
            attribute(ends, 2, &from.port().to_be_bytes());
            attribute(ends, 3, &into.port().to_be_bytes());
        });
    });
}

fn message(connection: &Tracked, flags: u16) -> Vec<u8> {
    let family = if connection.original.0.is_ipv4() {
        2
    } else {
        10
    };
    let mut body = vec![family, 0, 0, 0];
    tuple(
        &mut body,
        CTA_TUPLE_ORIG,
        connection.proto,
        connection.original,
    );
    tuple(
        &mut body,
        CTA_TUPLE_REPLY,
        connection.proto,
        connection.reply,
    );
    attribute(&mut body, CTA_STATUS, &STATUS.to_be_bytes());
    attribute(&mut body, CTA_TIMEOUT, &LIVES.to_be_bytes());
    if connection.proto == 6 {
        nest(&mut body, CTA_PROTOINFO, |info| {
            nest(info, 1, |tcp| {
                attribute(tcp, 1, &[TCP_ESTABLISHED]);
                attribute(tcp, 4, &LIBERAL);
                attribute(tcp, 5, &LIBERAL);
            });
        });
    }
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
    message.extend(NEW.to_ne_bytes());
    message.extend((MAKE | flags).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// Makes them in this thread's network namespace, where connections must be tracked.
///
/// # Errors
/// The kernel refuses one.
pub fn make(connections: impl IntoIterator<Item = Tracked>) -> Result<u64> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::NETFILTER),
    )?;
    let (mut made, mut bytes) = (0, Vec::new());
    let mut all = connections.into_iter().peekable();
    while let Some(connection) = all.next() {
        made += 1;
        let is_last = made % AT_ONCE as u64 == 0 || all.peek().is_none();
        bytes.extend(message(&connection, if is_last { ANSWER } else { 0 }));
        if is_last {
            send(&socket, &bytes, SendFlags::empty())?;
            bytes.clear();
            // The answer to the last is the first, unless one before was refused.
            let mut answer = vec![0; 1 << 14];
            let (length, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
            let word = |at: usize| answer[..length].get(at..at + 4);
            let kind = word(4).map(|it| u16::from_ne_bytes([it[0], it[1]]));
            let code = word(HEADER).map(|it| i32::from_ne_bytes([it[0], it[1], it[2], it[3]]));
            ensure!(
                kind == Some(NLMSG_ERROR) && code == Some(0),
                "the kernel refuses a connection: {:?}",
                code.map(|code| std::io::Error::from_raw_os_error(-code))
            );
        }
    }
    Ok(made)
}
