//! The state of a packet that comes in, and what it changes.
//!
//! | packet | established, if | it changes |
//! |---|---|---|
//! | TCP | it is of a flow, or of a socket that has a connection | its flow: see [`tcp`](super::tcp). A RST to a socket makes a flow that has ended ([`ENDS`]) |
//! | TCP without SYN, to a socket that listens | it carries a valid cookie: the caller asks ([`ASKS_LISTENER`]) | nothing |
//! | UDP | it is of a flow, or of a socket that is connected to its source; where rules ask, it may be [`related`](super::related) | the flow is answered |
//! | echo reply | it is of a flow | the flow is answered |
//! | ICMP error | it quotes a packet of a flow or of a connection, of a TCP flow one that was sent lately | nothing |
//!
//! A SYN is new, and whether it may open a connection is for the rules, but for one that meets a SYN of
//! the same connection ([`opening`]). All else that belongs to nothing is invalid if it could only
//! belong to something, and otherwise new. Later fragments are new: nobody can tell.
//!
//! What a rule drops has changed its flow nevertheless: flows are looked at before the rules are.

use super::state_field::{ESTABLISHED, INVALID, NEW};
use super::table::{Start, find, insert, is_in_use};
use super::tcp::{Segment, comes_in};
use super::{Tuple, echo, opening, socket, state};
use crate::calls::{Calls, FrameCalls};
use crate::field::Field;
use crate::frame::{Frame, Header as _};
use crate::key::{Family, PacketKey};
use crate::parse::{Packet, flag, fragment, proto};

/// In place of a state: nobody can tell but the listening socket, whether the packet carries a
/// cookie of its.
pub const ASKS_LISTENER: u32 = u32::MAX;

/// In place of a state: established or invalid, by what the ICMP error is about; see [`super::quote`].
pub const ASKS_QUOTE: u32 = u32::MAX - 4;

/// In place of a state: the packet is established, a RST, and ends its connection if its checksum is
/// right; see [`ended`].
pub const ENDS: u32 = u32::MAX - 1;

/// In place of a state: the packet is established, and anybody may have sent it. Nobody has shown yet
/// that he gets what is sent to its source.
pub const UNPROVEN: u32 = u32::MAX - 2;

/// The state of a packet: a value of [`super::state_field`], [`ASKS_LISTENER`], [`ASKS_QUOTE`], [`ENDS`]
/// or [`UNPROVEN`].
#[inline(always)]
pub fn state_of<M: Calls, F: FrameCalls>(machine: &M, frame: &F, packet: &Packet) -> u32 {
    let key = &packet.key;
    if key.field(Field::Fragment) == fragment::LATER {
        return NEW;
    }
    let is_v6 = key.family() == Family::V6;
    let belongs = match key.field(Field::Proto) {
        proto::TCP => return tcp(machine, frame, packet),
        proto::UDP => return udp(machine, frame, key),
        proto::ICMP if !is_v6 => match key.field(Field::Icmp) >> 8 {
            echo::REPLY => echo_reply(machine, frame, packet),
            3 | 11 | 12 => return ASKS_QUOTE,
            _ => return NEW,
        },
        proto::ICMPV6 if is_v6 => match key.field(Field::Icmp) >> 8 {
            echo::REPLY_V6 => echo_reply(machine, frame, packet),
            1..=4 => return ASKS_QUOTE,
            _ => return NEW,
        },
        _ => return NEW,
    };
    if belongs { ESTABLISHED } else { INVALID }
}

#[inline(always)]
fn udp<M: Calls, F: FrameCalls>(machine: &M, frame: &F, key: &PacketKey) -> u32 {
    let tuple = incoming(key);
    // Nobody is asked at port 0: in the table that is the name of what is expected ([`super::related`]).
    let answers = key.field(Field::SourcePort) != 0 && answer(machine, &tuple);
    if answers || socket::is_connection(frame.socket(machine, &tuple)) {
        ESTABLISHED
    } else {
        NEW
    }
}

/// The flow of a packet with ports that comes in.
#[inline(always)]
fn incoming(key: &PacketKey) -> Tuple {
    Tuple::incoming(
        key,
        key.field(Field::DestinationPort),
        key.field(Field::SourcePort),
    )
}

/// A packet that answers a flow without sequence numbers.
#[inline(always)]
fn answer<M: Calls>(machine: &M, tuple: &Tuple) -> bool {
    let now = machine.ticks();
    let Some(found) = find(machine, tuple, now) else {
        return false;
    };
    found.change(machine, 0, state::REPLIED);
    found.touch(machine, now);
    true
}

#[inline(always)]
fn echo_reply<M: Calls, F: Frame>(machine: &M, frame: &F, packet: &Packet) -> bool {
    let Some(header) = frame.header::<8>(packet.l4) else {
        return false;
    };
    // Named like the request that it answers.
    let tuple = Tuple::incoming(&packet.key, header.be16::<4>(), 0);
    answer(machine, &tuple)
}

#[inline(always)]
fn tcp<M: Calls, F: FrameCalls>(machine: &M, frame: &F, packet: &Packet) -> u32 {
    let key = &packet.key;
    let flags = key.field(Field::TcpFlags);
    let opens = flags & (flag::SYN | flag::ACK) == flag::SYN;
    let tuple = incoming(key);
    if opens && !opening::may_meet(machine, &tuple) {
        return NEW;
    }
    // A host that forwards nothing looks into the table for what comes late alone.
    let forwards = is_in_use(machine, proto::TCP);
    let mut socket = socket::NONE;
    if !forwards {
        socket = frame.socket(machine, &tuple);
        if is_of_socket(socket, opens) {
            return of_socket(socket, flags);
        }
    }
    let flow = if forwards || !opens {
        by_flow(machine, packet, frame, &tuple)
    } else {
        NO_FLOW
    };
    if flow == ESTABLISHED || flow == ENDS {
        return flow;
    }
    // What a flow cannot prove, a socket may.
    if forwards {
        socket = frame.socket(machine, &tuple);
        if is_of_socket(socket, opens) {
            return of_socket(socket, flags);
        }
    }
    if flow != NO_FLOW {
        flow
    } else if opens {
        NEW
    } else if socket == socket::LISTENS && flags & (flag::SYN | flag::RST | flag::ACK) == flag::ACK
    {
        ASKS_LISTENER
    } else {
        INVALID
    }
}

/// The state of a segment of a socket's connection.
#[inline(always)]
const fn of_socket(socket: u64, flags: u32) -> u32 {
    if flags & flag::RST != 0 {
        ENDS
    } else if socket::is_proven(socket) {
        ESTABLISHED
    } else {
        UNPROVEN
    }
}

/// A RST with this key and a right checksum ends a connection: its flow is reset, or one is made for
/// what comes late when the socket is gone.
#[inline(always)]
pub fn ended<M: Calls>(machine: &M, key: &PacketKey) {
    let (tuple, now) = (incoming(key), machine.ticks());
    if let Some(found) = find(machine, &tuple, now) {
        found.change(machine, 0, state::RESET_IN);
        return;
    }
    let start = Start {
        state: state::OWN | state::RESET_IN,
        out: 0,
    };
    insert(machine, &tuple, start, now);
}

/// Whether a segment is of a socket's connection.
#[inline(always)]
const fn is_of_socket(socket: u64, opens: bool) -> bool {
    socket::is_connection(socket) && (!opens || socket::takes_syn(socket))
}

/// In place of a state: there is no such flow.
const NO_FLOW: u32 = u32::MAX - 3;

/// The state of a segment by its flow, or [`NO_FLOW`]. A SYN belongs to one whose own side has sent a SYN
/// and not gone on; anywhere else it opens another connection.
#[inline(always)]
fn by_flow<M: Calls, F: Frame>(machine: &M, packet: &Packet, frame: &F, tuple: &Tuple) -> u32 {
    let now = machine.ticks();
    let Some(found) = find(machine, tuple, now) else {
        return NO_FLOW;
    };
    let Some(segment) = Segment::of(frame, packet) else {
        return NO_FLOW;
    };
    let opens = segment.flags & (flag::SYN | flag::ACK) == flag::SYN;
    if opens && !state::meets_syn(found.state) {
        return NEW;
    }
    let resets = comes_in(machine, &segment, &found);
    // What comes late keeps nothing, nor does what nobody has shown to be an answer, nor a SYN.
    if !opens && found.state & state::REPLIED != 0 && !state::is_over(found.state) {
        found.touch(machine, now);
    }
    if resets {
        ENDS
    } else if found.state & state::SETTLED != 0 && !state::is_over(found.state) {
        ESTABLISHED
    } else {
        UNPROVEN
    }
}
