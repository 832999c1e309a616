//! A host for test runs: a network namespace with addresses and real sockets, and the frames that
//! come to it and leave it. The first truth about connections are the kernel's sockets: without them
//! nothing here would cost what it costs.

use anyhow::{Context, Result};
use firewall_tests::frames::{Frame, Ipv4, ethernet, tcp};
use firewall_tests::fuzz::connection_frame;
use firewall_tests::netns::Namespace;
use firewall_tests::oracle::flows::{Message, Packet, Quote, Segment, Sum};
use rustix::net::{AddressFamily, SocketType};
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};

/// This host.
const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 80);
/// Whom it is connected with; an address of the namespace, too.
const PEER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 9);
/// Who has nothing to do with it.
const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 18, 7, 7);
/// Port of the service whose SYNs pass.
const QUIET: u16 = 80;
/// Port of the service whose SYNs get cookies.
const FLOODED: u16 = 443;
/// This host's end of the connection that it has opened.
const OPENED: u16 = 40_001;
/// The other end of the connection that it has accepted.
const ACCEPTED: u16 = 50_000;
/// This host's end of a connected UDP socket.
const CONNECTED: u16 = 40_003;
/// This host's ends of the flows that only the table knows.
const FLOW: u16 = 41_000;
/// How many of these there are: a flow can stand in a cheap place or in a dear one.
pub(crate) const FLOWS: u16 = 16;
/// How many others keep them company, of TCP and of UDP each: about half of what there is room for.
pub(crate) const COMPANY: u32 = 50_000;
/// Nothing here listens to it.
const CLOSED: u16 = 9;

/// `SYN`.
const SYN: u8 = 2;

/// When the kernel gives SYN cookies (`net.ipv4.tcp_syncookies`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cookies {
    /// While a queue is full.
    Seldom,
    /// Always.
    Always,
}

/// The namespace, and what is open in it.
#[derive(Debug)]
pub(crate) struct Scene {
    namespace: Namespace,
    _listeners: [TcpListener; 3],
    _streams: [TcpStream; 4],
    _datagrams: [UdpSocket; 2],
}

impl Scene {
    /// Makes it.
    pub(crate) fn new() -> Result<Self> {
        let namespace = Namespace::new("strangers")?;
        for address in [HOST, PEER] {
            namespace.ip(&format!("addr add {address}/32 dev lo"))?;
        }
        let (listeners, streams, datagrams) = namespace.run(|| -> Result<_> {
            let quiet = TcpListener::bind((HOST, QUIET))?;
            let flooded = TcpListener::bind((HOST, FLOODED))?;
            let server = TcpListener::bind((PEER, FLOODED))?;
            let opened = connect((HOST, OPENED), (PEER, FLOODED))?;
            let (served, _) = server.accept()?;
            let client = connect((PEER, ACCEPTED), (HOST, QUIET))?;
            let (accepted, _) = quiet.accept()?;
            let service = UdpSocket::bind((HOST, FLOODED))?;
            let asks = UdpSocket::bind((HOST, CONNECTED))?;
            asks.connect((PEER, 53))?;
            Ok((
                [quiet, flooded, server],
                [opened, served, client, accepted],
                [service, asks],
            ))
        })?;
        Ok(Self {
            namespace,
            _listeners: listeners,
            _streams: streams,
            _datagrams: datagrams,
        })
    }

    /// Runs `work` in there.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace.run(work)
    }
}

/// Sets when the kernel gives cookies, in the namespace that this thread is in.
pub(crate) fn give_cookies(when: Cookies) -> Result<()> {
    let path = "/proc/sys/net/ipv4/tcp_syncookies";
    let value = match when {
        Cookies::Seldom => "1",
        Cookies::Always => "2",
    };
    fs::write(path, value).context(path)
}

fn connect(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)) -> Result<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &SocketAddrV4::new(from.0, from.1))?;
    rustix::net::connect(&socket, &SocketAddrV4::new(to.0, to.1))?;
    Ok(TcpStream::from(socket))
}

/// Which way a frame goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// It comes in.
    In,
    /// It leaves.
    Out,
    /// It comes in, and its answer takes its place.
    Answered,
}

/// A TCP connection, by both ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection {
    local: u16,
    remote: (Ipv4Addr, u16),
    /// Whether this host has opened it.
    opened: bool,
}

/// The connection that this host has opened.
pub(crate) const MINE: Connection = Connection {
    local: OPENED,
    remote: (PEER, FLOODED),
    opened: true,
};
/// The connection that it has accepted.
pub(crate) const THEIRS: Connection = Connection {
    local: QUIET,
    remote: (PEER, ACCEPTED),
    opened: false,
};

/// A connection without a socket here, of [`FLOWS`].
pub(crate) const fn forwarded(number: u16) -> Connection {
    Connection {
        local: FLOW + number,
        remote: (STRANGER, FLOODED),
        opened: true,
    }
}

impl Connection {
    fn segment(self, out: bool, edit: impl FnOnce(&mut Segment)) -> Frame {
        // The next byte of this side is 1,000, that of the other one 5,000.
        let (sequence, acknowledged) = if out { (1_000, 5_000) } else { (5_000, 1_000) };
        let mut segment = Segment {
            syn: false,
            ack: true,
            fin: false,
            rst: false,
            sequence,
            acknowledged,
            data: 0,
            sum: Sum::Right,
        };
        edit(&mut segment);
        let packet = Packet {
            local: (HOST.into(), self.local),
            remote: (self.remote.0.into(), self.remote.1),
            message: Message::Tcp(segment),
        };
        connection_frame(&packet, out)
    }

    /// A segment with data.
    pub(crate) fn data(self, out: bool) -> Frame {
        self.segment(out, |segment| segment.data = 100)
    }

    /// The frames that open it.
    pub(crate) fn opening(self) -> [(Way, Frame); 4] {
        let way = |out| if out { Way::Out } else { Way::In };
        let syn = self.segment(self.opened, |syn| {
            (syn.syn, syn.ack, syn.acknowledged) = (true, false, 0);
            syn.sequence -= 1;
        });
        let answer = self.segment(!self.opened, |answer| {
            answer.syn = true;
            answer.sequence -= 1;
        });
        [
            (way(self.opened), syn),
            (way(!self.opened), answer),
            (way(self.opened), self.segment(self.opened, |_| {})),
            (way(self.opened), self.data(self.opened)),
        ]
    }
}

fn packet(local: u16, remote: (Ipv4Addr, u16), message: Message, out: bool) -> Frame {
    let packet = Packet {
        local: (HOST.into(), local),
        remote: (remote.0.into(), remote.1),
        message,
    };
    connection_frame(&packet, out)
}

/// A datagram of a flow that only the table knows, of [`FLOWS`].
pub(crate) fn flow_datagram(number: u16, out: bool) -> Frame {
    packet(FLOW + number, (PEER, 53), Message::Udp, out)
}

/// The datagrams that make and settle that flow.
pub(crate) fn flow_opening(number: u16) -> [(Way, Frame); 3] {
    [true, false, true].map(|out| {
        let way = if out { Way::Out } else { Way::In };
        (way, flow_datagram(number, out))
    })
}

/// What this host, or one behind it, sends to someone else, of [`COMPANY`].
pub(crate) fn company(number: u32, is_tcp: bool) -> Frame {
    let remote = Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(11, 0, 0, 0)) + number * 7);
    if !is_tcp {
        return packet(CONNECTED + 1, (remote, 53), Message::Udp, true);
    }
    let connection = Connection {
        local: CONNECTED + 1,
        remote: (remote, FLOODED),
        opened: true,
    };
    connection.data(true)
}

/// A datagram to the connected socket.
pub(crate) fn socket_datagram() -> Frame {
    packet(CONNECTED, (PEER, 53), Message::Udp, false)
}

/// A datagram of the service, or to it.
pub(crate) fn service_datagram(out: bool) -> Frame {
    packet(FLOODED, (STRANGER, 5_000), Message::Udp, out)
}

/// What a stranger sends to what is closed.
pub(crate) fn stranger(message: Message) -> Frame {
    packet(CLOSED, (STRANGER, 5_000), message, false)
}

/// A stranger's acknowledgement.
pub(crate) fn stranger_ack() -> Frame {
    let connection = Connection {
        local: CLOSED,
        remote: (STRANGER, 5_000),
        opened: true,
    };
    connection.segment(false, |_| {})
}

/// An ICMP error about a segment that nobody has sent.
pub(crate) fn stranger_error() -> Frame {
    stranger(Message::Error(Quote::Tcp(77)))
}

/// A SYN with the option that all have (the largest segment), from a stranger to a port.
fn syn(port: u16) -> Frame {
    let mut segment = tcp(5_000, port, SYN, &[2, 4, 5, 0xb4]);
    segment[12] = 0x60;
    let ip = Ipv4::new(STRANGER.octets(), HOST.octets(), 6);
    let (from, to) = (ip.src, ip.dst);
    firewall_tests::frames::seal(
        &mut segment,
        6,
        &from,
        &to,
        firewall_tests::frames::Sum::Right,
    );
    ethernet(0x0800, &ip.packet(&segment))
}

/// To a port that is closed.
pub(crate) fn syn_closed() -> Frame {
    syn(CLOSED)
}

/// To the service whose SYNs pass.
pub(crate) fn syn_quiet() -> Frame {
    syn(QUIET)
}

/// To the service whose SYNs get cookies.
pub(crate) fn syn_flooded() -> Frame {
    syn(FLOODED)
}
