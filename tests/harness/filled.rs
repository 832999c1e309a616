//! A table of flows that is as full as a test wants it: handshakes and exchanges of datagrams, put
//! on the cables of both sides frame by frame. And what strangers send at it.
//!
//! The hosts that the flows are of know nothing of them, and answer nothing: [`Filler::new`] sees to
//! that.

use crate::ctl::Ctl;
use crate::frames::Frame;
use crate::netns::{Namespace, put};
use crate::random::Random;
use crate::segments::{ACK, PSH, RST, SYN, Segment, Sum, datagram};
use anyhow::{Context, Result};
use firewall_common::flows::timeout;
use firewall_engine::engine::Engine;
use serde_json::Value;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

/// Where the other sides of made-up flows are, and strangers: RFC 2544, and a part of what is for
/// documents.
pub const MADE_UP: [&str; 2] = ["198.18.0.0/15", "2001:db8:5::/48"];

/// Frames that are put on a cable in one go: fewer than a veth keeps for a slow receiver.
const BURST: usize = 128;

/// How long the last of many frames can be on its way.
const SETTLES: Duration = Duration::from_millis(100);

/// How often connections are opened again that are not there.
const ROUNDS: usize = 4;

/// A port on which nobody listens, on the side of the flows' local ends.
const FIRST_PORT: u32 = 10_000;

/// One end of a cable to the filter.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// Who sends.
    pub host: &'a Namespace,
    /// By which interface.
    pub interface: &'a str,
    /// Receiver's Ethernet address, then the sender's.
    pub macs: [u8; 12],
}

impl<'a> Side<'a> {
    /// The end of `host` of a cable to `peer`; the interface has the same name on both.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn of(host: &'a Namespace, peer: &Namespace, interface: &'a str) -> Result<Self> {
        let macs = [mac(peer, interface)?, mac(host, interface)?].concat();
        Ok(Self {
            host,
            interface,
            macs: macs.try_into().ok().context("two addresses")?,
        })
    }

    /// Puts frames on the cable.
    ///
    /// # Errors
    /// No packet socket.
    pub fn puts(&self, frames: &[Frame]) -> Result<()> {
        self.host.run(|| put(self.interface, frames))
    }
}

/// The Ethernet address of an interface.
fn mac(host: &Namespace, interface: &str) -> Result<Vec<u8>> {
    let text = host.say(&["ip", "-o", "link", "show", interface])?;
    let mut words = text.split_whitespace();
    words.find(|word| *word == "link/ether").context("no MAC")?;
    let digits = words.next().context("no MAC")?.split(':');
    digits.map(|it| Ok(u8::from_str_radix(it, 16)?)).collect()
}

/// TCP, or all else (here UDP): which half of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Half {
    /// TCP.
    Tcp,
    /// UDP.
    Other,
}

impl Half {
    /// Both of them.
    pub const BOTH: [Self; 2] = [Self::Tcp, Self::Other];

    /// For how long no flow is known that one side alone has used, in seconds.
    const fn unsettled(self) -> u64 {
        match self {
            Self::Tcp => timeout::TCP_OPENING + 2,
            Self::Other => timeout::UDP + 2,
        }
    }

    /// Its name in the JSON of `status`.
    const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Other => "other",
        }
    }
}

/// How full a half of the table is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fill {
    /// Flows.
    pub count: u64,
    /// How many there is room for.
    pub capacity: u64,
    /// New ones that found no room.
    pub full: u64,
    /// Settled ones that gave way.
    pub evicted: u64,
}

/// What `status` says of a half of the table.
///
/// # Errors
/// It says nothing of it.
pub fn fill(ctl: &Ctl<'_>, half: Half) -> Result<Fill> {
    // Its exit code is 1 where a half is nearly full.
    let output = ctl.run(&["-o", "json", "status"])?;
    let status: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    let of = |word: &str| {
        let number = &status["flows"][half.name()][word];
        number
            .as_u64()
            .with_context(|| format!("{word} in {status}"))
    };
    Ok(Fill {
        count: of("count")?,
        capacity: of("capacity")?,
        full: of("full")?,
        evicted: of("evicted")?,
    })
}

/// Makes flows.
#[derive(Debug)]
pub struct Filler<'a> {
    /// Where the flows' own side is.
    own: Side<'a>,
    /// Where their other side is.
    other: Side<'a>,
    /// The own side's addresses.
    local: [IpAddr; 2],
    /// How many flows a connection has: two where it goes through both interfaces of a router.
    each: u32,
    /// How many connections there are of each half.
    made: [u32; 2],
}

impl<'a> Filler<'a> {
    /// `own` is the side of the flows' local ends, which has the addresses `local`. A connection has
    /// `each` flows.
    ///
    /// # Errors
    /// What `nft` says.
    pub fn new(own: Side<'a>, other: Side<'a>, local: [IpAddr; 2], each: u32) -> Result<Self> {
        let [v4, v6] = MADE_UP;
        for host in [own.host, other.host] {
            host.nft(&format!(
                "table inet filled {{
                    counter arrived {{ }}
                    chain silent {{
                        type filter hook prerouting priority -300
                        ip saddr {v4} th dport >= {FIRST_PORT} counter name arrived drop
                        ip6 saddr {v6} th dport >= {FIRST_PORT} counter name arrived drop
                        ip daddr {v4} th sport >= {FIRST_PORT} counter name arrived drop
                        ip6 daddr {v6} th sport >= {FIRST_PORT} counter name arrived drop
                    }}
                }}"
            ))?;
        }
        Ok(Self {
            own,
            other,
            local,
            each,
            made: [0; 2],
        })
    }

    /// How many connections there are in a half.
    #[must_use]
    pub const fn made(&self, half: Half) -> u32 {
        self.made[half as usize]
    }

    /// As if so many connections had been opened: somebody else has.
    pub const fn knows(&mut self, half: Half, count: u32) {
        self.made[half as usize] = count;
    }

    /// The ends of a connection: own side, other side. Every other one is of IPv6.
    #[must_use]
    pub fn ends(&self, number: u32) -> (SocketAddr, SocketAddr) {
        // No two of 80 million have both the same port and the same address.
        let port = (FIRST_PORT + number % 20_000) as u16;
        let host = number / 2 % 65_536;
        let remote: IpAddr = if number.is_multiple_of(2) {
            Ipv4Addr::from_bits(0xc612_0000 + host).into()
        } else {
            Ipv6Addr::new(0x2001, 0xdb8, 5, 1, 0, 0, 0, host as u16).into()
        };
        let local = self.local[(number % 2) as usize];
        ((local, port).into(), (remote, 443).into())
    }

    /// A packet of a connection that is open: from the own side, or to it.
    fn packet(&self, half: Half, number: u32, out: bool) -> Frame {
        let (own, other) = self.ends(number);
        let (from, to, macs) = if out {
            (own, other, self.own.macs)
        } else {
            (other, own, self.other.macs)
        };
        if half == Half::Other {
            return datagram(from, to, b"hello", macs);
        }
        let (seq, ack) = if out { (1_000, 5_000) } else { (5_000, 1_000) };
        Segment::new(from, to, ACK, seq, ack).frame(macs, Sum::Right)
    }

    /// The frames of a handshake, in their order, or of a conversation, by who sends them.
    fn opening(&self, half: Half, number: u32) -> [(bool, Frame); 4] {
        let (own, other) = self.ends(number);
        let last = [true, false].map(|out| (out, self.packet(half, number, out)));
        let first = if half == Half::Other {
            last.clone()
        } else {
            let syn = Segment::new(own, other, SYN, 999, 0);
            let answer = Segment::new(other, own, SYN | ACK, 4_999, 1_000);
            [
                (true, syn.frame(self.own.macs, Sum::Right)),
                (false, answer.frame(self.other.macs, Sum::Right)),
            ]
        };
        let ([a, b], [c, d]) = (first, last);
        [a, b, c, d]
    }

    /// Opens connections until their flows fill so many of 100 of the room of a half, whatever else
    /// is in it.
    ///
    /// # Errors
    /// No packet socket, or no table.
    pub fn fills(&mut self, ctl: &Ctl<'_>, half: Half, percent: u64) -> Result<()> {
        let start = self.made(half);
        let wanted = fill(ctl, half)?.capacity * percent / 100;
        let end = (wanted / u64::from(self.each)) as u32;
        self.opens(half, &(start..end).collect::<Vec<_>>())?;
        self.made[half as usize] = end.max(start);
        // What a busy cable has lost, or another handshake has pushed out.
        for _ in 0..ROUNDS {
            let missing = self.gone(ctl, half, start..end)?;
            if missing.is_empty() {
                break;
            }
            self.opens(half, &missing)?;
        }
        Ok(())
    }

    fn opens(&self, half: Half, numbers: &[u32]) -> Result<()> {
        for some in numbers.chunks(BURST) {
            let frames: Vec<_> = some.iter().map(|it| self.opening(half, *it)).collect();
            for step in 0..4 {
                let of_step: Vec<_> = frames.iter().map(|it| it[step].1.clone()).collect();
                let side = if frames[0][step].0 {
                    &self.own
                } else {
                    &self.other
                };
                side.puts(&of_step)?;
            }
        }
        Ok(())
    }

    /// Sends a packet of every connection that has been made, one way. How many have arrived, and how
    /// many there are.
    ///
    /// # Errors
    /// No packet socket.
    pub fn uses(&self, half: Half, out: bool) -> Result<(u64, u64)> {
        let target = if out { self.other.host } else { self.own.host };
        let before = target.counted("inet filled arrived")?;
        let numbers: Vec<u32> = (0..self.made(half)).collect();
        let side = if out { &self.own } else { &self.other };
        for some in numbers.chunks(BURST) {
            let frames: Vec<_> = some.iter().map(|it| self.packet(half, *it, out)).collect();
            side.puts(&frames)?;
        }
        std::thread::sleep(SETTLES);
        let arrived = target.counted("inet filled arrived")? - before;
        Ok((arrived, self.made(half).into()))
    }

    /// Of the connections from `numbers`, those whose flow of the own side the table has not, or not as
    /// one that both sides use: such flows live longest.
    ///
    /// # Errors
    /// There is no table.
    pub fn gone(&self, ctl: &Ctl<'_>, half: Half, numbers: Range<u32>) -> Result<Vec<u32>> {
        let table = Engine::new(ctl.pins())
            .flows()?
            .context("no table of flows")?;
        let there: HashSet<(SocketAddr, SocketAddr)> = table
            .list()
            .iter()
            .filter(|flow| (flow.proto == 6) == (half == Half::Tcp))
            .filter(|flow| flow.left.as_secs() > half.unsettled())
            .map(|flow| {
                (
                    (flow.local, flow.local_port).into(),
                    (flow.remote, flow.remote_port).into(),
                )
            })
            .collect();
        let gone = |number: &u32| !there.contains(&self.ends(*number));
        Ok(numbers.filter(gone).collect())
    }
}

/// What strangers send, in equal parts ACKs, SYNs, RSTs and datagrams. Every eighth pretends to come
/// from a host that has connections here.
#[derive(Debug)]
pub struct Forger {
    random: Random,
    /// To whom, by family.
    to: [IpAddr; 2],
    /// Whose connections they would be of, by family.
    known: [IpAddr; 2],
    /// TCP ports that are meant, and UDP ports.
    ports: [[u16; 3]; 2],
    macs: [u8; 12],
}

impl Forger {
    /// Equal seeds give equal frames.
    #[must_use]
    pub const fn new(
        seed: u64,
        to: [IpAddr; 2],
        known: [IpAddr; 2],
        ports: [[u16; 3]; 2],
        macs: [u8; 12],
    ) -> Self {
        Self {
            random: Random::new(seed),
            to,
            known,
            ports,
            macs,
        }
    }

    /// The next frame.
    pub fn frame(&mut self) -> Frame {
        let family = self.random.below(2) as usize;
        let bits = self.random.bits();
        let is_known = self.random.one_in(8);
        let from: IpAddr = match (is_known, family) {
            (true, _) => self.known[family],
            (false, 0) => Ipv4Addr::from_bits(0xc612_0000 | bits as u32 & 0x1_ffff).into(),
            _ => Ipv6Addr::from_bits(0x2001_0db8_0005_0000 << 64 | u128::from(bits)).into(),
        };
        // Of a connection, one end is the service, and the other a port that a client would have.
        let any = 32_768 + (bits >> 32) as u16 % 28_232;
        let flags = self.random.pick(&[Some(ACK), Some(SYN), Some(RST), None]);
        let ports = self.ports[usize::from(flags.is_none())];
        let service = self.random.pick(&ports);
        let (source, port) = if is_known && self.random.one_in(2) {
            (service, any)
        } else {
            (any, service)
        };
        let (from, to) = ((from, source).into(), (self.to[family], port).into());
        let Some(flags) = flags else {
            return datagram(from, to, b"question", self.macs);
        };
        let flags = match flags {
            ACK if bits & 1 == 0 => ACK | PSH,
            RST if bits & 1 == 0 => RST | ACK,
            other => other,
        };
        let numbers = self.random.bits();
        Segment::new(from, to, flags, numbers as u32, (numbers >> 32) as u32)
            .frame(self.macs, Sum::Right)
    }
}
