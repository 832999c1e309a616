//! Connections by the book: a map without bound, in which a flow is looked up by its whole name.
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
    /// Window, as announced.
    pub window: u16,
    /// Window scale, in a SYN.
    pub scale: Option<u8>,
    /// Bytes of data.
    pub data: u32,
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

/// A flow.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    kind: Kind,
    last: u64,
    answered: bool,
    own_syn: bool,
    fins: [bool; 2],
    reset: bool,
    /// What this host waits for, and how much it takes from there.
    pub expects: u32,
    /// Bytes from there on.
    pub takes: u32,
    scale: Option<u8>,
    /// Number behind the last byte that this host has sent.
    pub next: u32,
}

/// All flows.
#[derive(Clone, Debug, Default)]
pub struct Flows {
    /// The time, in units of 2^30 nanoseconds.
    pub now: u64,
    flows: HashMap<Name, Flow>,
}

impl Flow {
    /// Seconds without a packet after which it is forgotten.
    fn patience(&self) -> u64 {
        match self.kind {
            Kind::Tcp if self.reset => 10,
            Kind::Tcp if self.fins == [true, true] => 60,
            Kind::Tcp if self.fins != [false, false] => 120,
            Kind::Tcp if self.answered => 43_200,
            Kind::Tcp => 120,
            Kind::Udp if self.answered => 120,
            Kind::Udp | Kind::Echo => 30,
        }
    }

    fn is_over(&self, now: u64) -> bool {
        let nanoseconds = u128::from(now - self.last) << 30;
        nanoseconds >= u128::from(self.patience()) * 1_000_000_000
    }
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
            answered: false,
            own_syn: false,
            fins: [false; 2],
            reset: false,
            expects: 0,
            takes: 0,
            scale: None,
            next: 0,
        };
        let slot = self.flows.entry(name(packet)).or_insert(flow);
        *slot = flow;
        slot
    }

    /// This host sends a packet.
    pub fn sends(&mut self, packet: &Packet) {
        let now = self.now;
        match packet.message {
            Message::Tcp(segment) => self.sends_segment(packet, &segment),
            Message::Udp | Message::EchoRequest => match self.alive(packet) {
                Some(flow) => flow.last = now,
                None if packet.message == Message::Udp => {
                    self.start(packet, Kind::Udp);
                }
                None => {
                    self.start(packet, Kind::Echo);
                }
            },
            Message::EchoReply | Message::Error(_) => {}
        }
    }

    fn sends_segment(&mut self, packet: &Packet, segment: &Segment) {
        let now = self.now;
        let behind = segment
            .sequence
            .wrapping_add(segment.data + u32::from(segment.syn) + u32::from(segment.fin));
        if segment.syn {
            if !segment.ack {
                let flow = self.start(packet, Kind::Tcp);
                flow.own_syn = true;
                flow.scale = Some(segment.scale.unwrap_or(0).min(14));
                flow.takes = segment.window.into();
                flow.next = behind;
            }
            return;
        }
        if segment.rst {
            if let Some(flow) = self.alive(packet) {
                flow.reset = true;
            }
            return;
        }
        if self.alive(packet).is_none() {
            let flow = self.start(packet, Kind::Tcp);
            flow.answered = true;
            flow.next = behind;
        }
        let Some(flow) = self.alive(packet) else {
            return;
        };
        flow.last = now;
        flow.expects = segment.acknowledged;
        let window = u32::from(segment.window);
        flow.takes = match flow.scale {
            Some(scale) => window << scale,
            None => (window << 14).min(1 << 20),
        };
        if (behind.wrapping_sub(flow.next) as i32) > 0 {
            flow.next = behind;
        }
        flow.fins[0] |= segment.fin;
    }

    /// A packet comes in: whether it belongs to a flow.
    pub fn receives(&mut self, packet: &Packet) -> bool {
        let now = self.now;
        let Some(flow) = self.alive(packet) else {
            return false;
        };
        match packet.message {
            Message::Tcp(segment) => {
                let belongs = receives_segment(flow, &segment);
                if belongs {
                    flow.last = now;
                }
                belongs
            }
            Message::Udp | Message::EchoReply => {
                flow.answered = true;
                flow.last = now;
                true
            }
            Message::EchoRequest => false,
            Message::Error(Quote::Tcp(sequence)) => {
                flow.next.wrapping_sub(sequence) <= 4 * 1024 * 1024
            }
            Message::Error(_) => true,
        }
    }
}

fn receives_segment(flow: &mut Flow, segment: &Segment) -> bool {
    if segment.syn && !segment.ack {
        return false;
    }
    if !flow.answered {
        // Only an answer to the SYN counts.
        if !segment.ack || segment.acknowledged != flow.next {
            return false;
        }
        if segment.syn {
            flow.answered = true;
        } else if segment.rst {
            flow.reset = true;
        } else {
            return false;
        }
        return true;
    }
    if segment.syn {
        let not_acknowledged = flow.own_syn && flow.expects == 0;
        return not_acknowledged || segment.sequence.wrapping_add(1) == flow.expects;
    }
    if segment.rst || segment.fin {
        if segment.sequence.wrapping_sub(flow.expects) > flow.takes {
            return false;
        }
        if segment.rst {
            flow.reset = true;
        } else {
            flow.fins[1] = true;
        }
    }
    true
}
