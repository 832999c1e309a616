//! Connections by the book: a map without bound, in which a flow is looked up by its whole name. Of
//! hosts that this one forwards for: none of them has a socket here.
//!
//! Works on packets as they are meant, not on frames: what a frame says is the business of whoever
//! renders it. Shares nothing with the product's table, neither code nor numbers.

use std::collections::HashMap;
use std::net::IpAddr;

/// What a packet carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message {
    /// TCP, with ports of this host and of the other one.
    Tcp(Segment),
    /// UDP.
    Udp,
    /// An echo request; the local port is its identifier.
    EchoRequest,
    /// Its answer.
    EchoReply,
    /// An ICMP error of a router, about a packet that this host is said to have sent.
    Error(Quote),
}

/// What an ICMP error quotes, beside addresses and ports of [`Packet`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quote {
    /// A TCP segment with this sequence number.
    Tcp(u32),
    /// A UDP datagram.
    Udp,
    /// An echo request.
    EchoRequest,
}

/// A TCP segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// SYN, ACK, FIN, RST.
    pub syn: bool,
    /// The acknowledgement is valid.
    pub ack: bool,
    /// No more data.
    pub fin: bool,
    /// Reset.
    pub rst: bool,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledged: u32,
    /// Bytes of data.
    pub data: u32,
    /// The checksum.
    pub sum: Sum,
}

/// A TCP checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sum {
    /// That of the whole segment.
    Right,
    /// The sum of the pseudo-header, which a network card completes.
    Bare,
    /// Another one.
    Wrong,
}

/// A packet, by the two ends of its connection: whether it goes out or comes in is said beside it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// This host.
    pub local: (IpAddr, u16),
    /// The other one.
    pub remote: (IpAddr, u16),
    /// What it carries.
    pub message: Message,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Kind {
    Tcp,
    Udp,
    Echo,
}

type Name = (Kind, (IpAddr, u16), (IpAddr, u16));

/// Numbers that one side of a connection has said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Numbers {
    /// Behind its last byte.
    pub end: u32,
    /// What it has acknowledged; `None` as long as it has acknowledged nothing.
    pub acknowledged: Option<u32>,
}

/// One side of a TCP connection.
#[derive(Clone, Copy, Default, Debug)]
pub struct Side {
    /// What it has said, and is believed.
    pub numbers: Option<Numbers>,
    fin: bool,
    /// The other side has acknowledged its FIN.
    done: bool,
    reset: bool,
}

/// A flow.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    kind: Kind,
    last: u64,
    syn: bool,
    /// When this side has sent a SYN without ACK, if neither side has gone on since.
    asked: Option<u64>,
    answered: bool,
    settled: bool,
    /// How often the reach of its numbers has doubled.
    doubled: u32,
    /// This side.
    pub own: Side,
    /// The other one.
    pub other: Side,
}

/// All flows.
#[derive(Clone, Debug, Default)]
pub struct Flows {
    /// The time, in units of 2^30 nanoseconds.
    pub now: u64,
    flows: HashMap<Name, Flow>,
    /// When a datagram has last gone out from an end of this host to another host, whatever the port there;
    /// or to some group.
    asked: HashMap<((IpAddr, u16), Option<IpAddr>), u64>,
}

/// How far numbers may be off and are still believed, at first.
const NEAR: i64 = 1_048_576;

/// How far `a` lies before `b`: positive, if it is larger.
fn distance(a: u32, b: u32) -> i64 {
    i64::from(a.wrapping_sub(b) as i32)
}

impl Flow {
    fn has_ended(&self) -> bool {
        self.own.reset || self.other.reset || self.own.done && self.other.done
    }

    /// Seconds without a packet after which it is forgotten.
    fn patience(&self) -> u64 {
        match self.kind {
            Kind::Tcp if self.own.reset || self.other.reset => 10,
            Kind::Tcp if self.has_ended() => 120,
            Kind::Tcp if self.settled => 43_200,
            Kind::Tcp => 120,
            _ if self.settled => 120,
            _ => 30,
        }
    }

    fn is_over(&self, now: u64) -> bool {
        let nanoseconds = u128::from(now - self.last) << 30;
        nanoseconds >= u128::from(self.patience()) * 1_000_000_000
    }

    /// The first answer to a SYN is still to come.
    fn waits(&self) -> bool {
        self.syn && !self.answered
    }

    /// Whether a SYN meets the SYN of this side: both open at once.
    fn meets(&self) -> bool {
        self.asked.is_some() && !self.has_ended()
    }

    /// A segment that is no SYN that goes out, and of a connection that is there.
    fn takes(&mut self, segment: &Segment, out: bool) {
        if self.has_ended() && self.own.numbers.is_none() && self.other.numbers.is_none() {
            return;
        }
        let waits = self.waits();
        let reach = NEAR << self.doubled;
        let (me, peer) = if out {
            (&mut self.own, &mut self.other)
        } else {
            (&mut self.other, &mut self.own)
        };
        let acknowledged = segment.acknowledged;
        if segment.rst {
            let answers_syn =
                waits && segment.ack && peer.numbers.is_some_and(|said| said.end == acknowledged);
            let exact = peer
                .numbers
                .is_some_and(|said| !waits && said.acknowledged.unwrap_or(0) == segment.sequence)
                || peer.numbers.is_some()
                    && me.numbers.is_some_and(|said| said.end == segment.sequence);
            let whole = segment.sum != Sum::Wrong;
            me.reset |= whole && (exact || answers_syn);
            return;
        }
        if !segment.ack || segment.syn && out {
            return;
        }
        let end = behind(segment);
        let fits_own = me
            .numbers
            .is_none_or(|said| (-reach..=reach).contains(&distance(end, said.end)));
        let fits_peer = peer
            .numbers
            .is_none_or(|said| (-reach..=0).contains(&distance(acknowledged, said.end)));
        // Of a side that has said nothing, the end counts as 0 where a SYN waits.
        let answers = out || !waits || peer.numbers.map_or(0, |said| said.end) == acknowledged;
        if !(fits_own && fits_peer && answers) {
            return;
        }
        self.asked = None;
        if waits && out {
            self.syn = false;
        }
        // What this side has sent was a SYN with ACK.
        let accepts = |said: Numbers| said.acknowledged.unwrap_or(0) != 0;
        self.settled |= !out && waits && peer.numbers.is_some_and(accepts);
        let before = me.numbers;
        let said = Numbers {
            end: match before {
                Some(said) if distance(end, said.end) < 0 => said.end,
                _ => end,
            },
            acknowledged: Some(match before.and_then(|said| said.acknowledged) {
                Some(old) if old != 0 && distance(acknowledged, old) < 0 => old,
                _ => acknowledged,
            }),
        };
        if let Some(peer) = peer.numbers {
            let way = distance(said.end, peer.acknowledged.unwrap_or(0));
            if way > reach / 2 && self.doubled < 10 {
                self.doubled += 1;
            }
        }
        me.numbers = Some(said);
        me.reset = false;
        let goes_on = before.is_none_or(|before| before.end != said.end);
        // A FIN takes a number that was not there, unless it is sent again.
        let is_last = segment.fin && said.end == end && (goes_on || me.fin);
        if goes_on && !is_last {
            (me.fin, me.done) = (false, false);
        }
        me.fin |= is_last;
        if peer.fin && said.acknowledged == peer.numbers.map(|peer| peer.end) {
            peer.done = true;
        }
        if out {
            peer.reset = false;
        }
        let peer_has_spoken = peer.numbers.is_some();
        if out {
            self.settled |= self.answered && peer_has_spoken;
        } else {
            self.answered |= peer_has_spoken;
        }
    }
}

fn behind(segment: &Segment) -> u32 {
    segment
        .sequence
        .wrapping_add(segment.data + u32::from(segment.syn) + u32::from(segment.fin))
}

fn name(packet: &Packet) -> Name {
    let (local, remote) = (packet.local, packet.remote);
    match packet.message {
        Message::Tcp(_) | Message::Error(Quote::Tcp(_)) => (Kind::Tcp, local, remote),
        Message::Udp | Message::Error(Quote::Udp) => (Kind::Udp, local, remote),
        Message::EchoRequest | Message::EchoReply | Message::Error(Quote::EchoRequest) => {
            (Kind::Echo, local, (remote.0, 0))
        }
    }
}

impl Flows {
    /// The flow that a packet would belong to, if it is there.
    #[must_use]
    pub fn get(&self, packet: &Packet) -> Option<&Flow> {
        let flow = self.flows.get(&name(packet))?;
        (!flow.is_over(self.now)).then_some(flow)
    }

    fn alive(&mut self, packet: &Packet) -> Option<&mut Flow> {
        let now = self.now;
        self.flows
            .get_mut(&name(packet))
            .filter(|flow| !flow.is_over(now))
    }

    /// How many flows have not been forgotten.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flows
            .values()
            .filter(|flow| !flow.is_over(self.now))
            .count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn start(&mut self, packet: &Packet, kind: Kind) -> &mut Flow {
        let flow = Flow {
            kind,
            last: self.now,
            syn: false,
            asked: None,
            answered: false,
            settled: false,
            doubled: 0,
            own: Side::default(),
            other: Side::default(),
        };
        let slot = self.flows.entry(name(packet)).or_insert(flow);
        *slot = flow;
        slot
    }

    /// Whether a packet is a datagram that may come because of another one that has gone out: from another
    /// port, or because the question went to a group.
    #[must_use]
    pub fn is_related(&self, packet: &Packet) -> bool {
        let lately = |host: Option<IpAddr>| {
            let last = self.asked.get(&(packet.local, host));
            last.is_some_and(|last| (u128::from(self.now - last) << 30) < 30_000_000_000)
        };
        packet.message == Message::Udp && (lately(Some(packet.remote.0)) || lately(None))
    }

    /// A packet goes out.
    pub fn sends(&mut self, packet: &Packet) {
        let now = self.now;
        if packet.message == Message::Udp {
            let to = match packet.remote.0 {
                IpAddr::V4(address) if address.is_broadcast() || address.is_multicast() => None,
                IpAddr::V6(address) if address.is_multicast() => None,
                host => Some(host),
            };
            self.asked.insert((packet.local, to), now);
        }
        let kind = match packet.message {
            Message::Tcp(segment) => return self.sends_segment(packet, &segment),
            Message::Udp => Kind::Udp,
            Message::EchoRequest => Kind::Echo,
            Message::EchoReply | Message::Error(_) => return,
        };
        match self.alive(packet) {
            Some(flow) => {
                flow.last = now;
                flow.settled |= flow.answered;
            }
            None => {
                self.start(packet, kind);
            }
        }
    }

    fn sends_segment(&mut self, packet: &Packet, segment: &Segment) {
        let now = self.now;
        let known = self.get(packet).copied();
        let starts = if segment.syn {
            known.is_none_or(|flow| !flow.answered || flow.has_ended())
        } else {
            known.is_none() && !segment.rst
        };
        // The SYN with ACK that answers the other side's leaves room for that to come once more.
        let asked = match known {
            _ if segment.syn && !segment.ack => Some(now),
            Some(flow) if !flow.answered && !flow.has_ended() => flow.asked,
            _ => None,
        };
        if known.is_none() && segment.rst {
            self.start(packet, Kind::Tcp).own.reset = true;
        } else if starts {
            let flow = self.start(packet, Kind::Tcp);
            flow.syn = segment.syn;
            flow.asked = asked;
            flow.own.fin = segment.fin && !segment.syn;
            flow.own.numbers = Some(Numbers {
                end: behind(segment),
                acknowledged: segment.ack.then_some(segment.acknowledged),
            });
        } else if !segment.syn
            && let Some(flow) = self.alive(packet)
        {
            let waits = flow.asked.is_some() && !flow.answered;
            flow.takes(segment, true);
            if !segment.rst && !waits {
                flow.last = now;
            }
        } else if asked.is_some()
            && let Some(flow) = self.alive(packet)
        {
            flow.asked = asked;
        }
    }

    /// Whether a packet is a SYN that meets one of which the firewall may or may not know, because it left
    /// more than two minutes ago.
    #[must_use]
    pub fn is_unclear(&self, packet: &Packet) -> bool {
        let Message::Tcp(segment) = packet.message else {
            return false;
        };
        let asked = self.get(packet).and_then(|flow| flow.asked);
        segment.syn && !segment.ack && asked.is_some_and(|asked| self.now - asked >= 128)
    }

    /// A packet comes in: whether it belongs to a flow.
    pub fn receives(&mut self, packet: &Packet) -> bool {
        let now = self.now;
        let Some(flow) = self.alive(packet) else {
            return false;
        };
        match packet.message {
            Message::Tcp(segment) => {
                if segment.syn && !segment.ack && !flow.meets() {
                    return false;
                }
                let opens = segment.syn && !segment.ack;
                let keeps = !opens && flow.answered && !flow.has_ended();
                flow.takes(&segment, false);
                if keeps {
                    flow.last = now;
                }
                true
            }
            Message::Udp | Message::EchoReply => {
                flow.answered = true;
                flow.last = now;
                true
            }
            Message::EchoRequest => false,
            Message::Error(Quote::Tcp(sequence)) => flow.own.numbers.is_none_or(|said| {
                let sent = i64::from(said.end.wrapping_sub(sequence));
                sent <= 4 * NEAR || sent <= NEAR << flow.doubled
            }),
            Message::Error(_) => true,
        }
    }
}
