//! Raw sockets for all protocols of a host, and what arrives at them.

use super::{STRANGERS, TCP, UDP};
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SocketAddrAny, SocketFlags, SocketType, recvfrom,
    socket_with,
};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

/// Extension headers, which a raw socket of IPv6 sees on the way to what they carry.
const EXTENSIONS: [u8; 4] = [43, 44, 51, 60];

/// Bytes that a socket can hold until it is read.
const ROOM: usize = 8 << 20;

/// The host's own addresses, to which it talks without a cable.
const OWN: [&str; 6] = [
    "192.0.2.80",
    "198.51.100.80",
    "127.0.0.1",
    "2001:db8::80",
    "2001:db8::2",
    "2001:db8::fa",
];

/// What a frame was for the kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// The protocol whose socket got it.
    pub proto: u8,
    /// Who has sent it.
    pub source: IpAddr,
    /// From the transport header on, as much as is looked at.
    pub bytes: Vec<u8>,
}

impl Arrival {
    /// What is wrong with it, if the policy forbids it.
    #[must_use]
    pub fn forbidden(&self) -> Option<String> {
        let port = || {
            self.bytes
                .get(2..4)
                .map(|b| u16::from_be_bytes([b[0], b[1]]))
        };
        let kind = self.bytes.first().copied();
        let stranger = STRANGERS.iter().any(|text| text.parse() == Ok(self.source));
        let allowed = match (self.proto, self.source) {
            _ if stranger => false,
            (17, _) => port() == Some(UDP),
            (6, _) => port().is_some_and(|port| TCP.contains(&port)),
            (1, IpAddr::V4(_)) => kind == Some(8),
            (58, IpAddr::V6(_)) => kind == Some(128),
            _ => false,
        };
        (!allowed).then(|| {
            let family = if self.source.is_ipv4() {
                "IPv4"
            } else {
                "IPv6"
            };
            let port = port().map_or_else(|| "-".into(), |port| port.to_string());
            let (proto, source) = (self.proto, self.source);
            format!("{family} protocol {proto}, destination port {port}, from {source}")
        })
    }
}

/// Raw sockets.
#[derive(Debug)]
pub struct Sockets {
    list: Vec<(u8, OwnedFd)>,
}

impl Sockets {
    /// Opens them in this thread's namespace.
    ///
    /// # Errors
    /// No right to open raw sockets.
    pub fn open() -> Result<Self> {
        let mut list = Vec::new();
        for family in [AddressFamily::INET, AddressFamily::INET6] {
            for proto in 1..=254u8 {
                if family == AddressFamily::INET6 && EXTENSIONS.contains(&proto) {
                    continue;
                }
                let number = NonZeroU32::new(proto.into()).map(Protocol::from_raw);
                let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
                let socket = socket_with(family, SocketType::RAW, flags, number)
                    .with_context(|| format!("a raw socket for protocol {proto}"))?;
                set_socket_recv_buffer_size_force(&socket, ROOM)?;
                list.push((proto, socket));
            }
        }
        Ok(Self { list })
    }

    /// What has arrived since the last call, but for what the host has sent to itself.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn arrivals(&self) -> Result<Vec<Arrival>> {
        let mut waiting: Vec<PollFd<'_>> = self
            .list
            .iter()
            .map(|(_, socket)| PollFd::new(socket, PollFlags::IN))
            .collect();
        let mut arrivals = Vec::new();
        if poll(&mut waiting, Some(&Timespec::default()))? == 0 {
            return Ok(arrivals);
        }
        for (poll, (proto, socket)) in waiting.iter().zip(&self.list) {
            if !poll.revents().is_empty() {
                read(*proto, socket, &mut arrivals)?;
            }
        }
        Ok(arrivals)
    }
}

fn read(proto: u8, socket: &OwnedFd, arrivals: &mut Vec<Arrival>) -> Result<()> {
    let mut buffer = [0; 128];
    loop {
        let (length, _, from) = match recvfrom(socket, &mut buffer, RecvFlags::empty()) {
            Ok(received) => received,
            Err(Errno::AGAIN) => return Ok(()),
            // An error of the network that was meant for this socket.
            Err(_) => continue,
        };
        let Some(source) = from.and_then(address) else {
            continue;
        };
        if OWN.iter().any(|own| own.parse() == Ok(source)) {
            continue;
        }
        // Of IPv4, the header comes too.
        let start = match source {
            IpAddr::V4(_) => usize::from(buffer[0] & 15) * 4,
            IpAddr::V6(_) => 0,
        };
        let bytes = buffer.get(start..length).unwrap_or_default();
        arrivals.push(Arrival {
            proto,
            source,
            bytes: bytes[..bytes.len().min(64)].to_vec(),
        });
    }
}

fn address(from: SocketAddrAny) -> Option<IpAddr> {
    SocketAddr::try_from(from).ok().map(|address| address.ip())
}
