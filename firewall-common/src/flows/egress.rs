//! What leaves: makes flows, and brings them up to date. Called for every frame that goes out; never
//! has a say in whether it does.
//!
//! | packet | what it does |
//! |---|---|
//! | anything that leaves by the interface it came in on | nothing |
//! | TCP of a connection that this host has a socket for | nothing: the socket says it all. A FIN, and a RST whose socket is gone, makes a flow that has ended, for what comes late |
//! | TCP SYN, with ACK or without | makes a flow that waits for its answer; a flow that goes on stays as it is |
//! | TCP RST that is forwarded | may reset a flow that is there |
//! | other TCP | makes a flow, or brings it up to date: see [`tcp`](super::tcp) |
//! | UDP | makes a flow, unless the rules let the answer in anyway; or keeps it. Where rules ask for it, once more under another name: see [`related`](super::related) |
//! | echo request | makes a flow, or keeps it |
//! | DHCP request of a client | makes a flow of its own besides: see [`request`] |
//! | echo reply, ICMP error, all else | nothing |
//!
//! Under a policy that does not look at state, but has essential traffic that must be asked for
//! ([`crate::asked`]), only requests do anything.

use super::table::{Located, Start, find, insert};
use super::tcp::{Segment, goes_out};
use super::{Tuple, echo, opening, request, socket, state};
use crate::abi::essential_bit;
use crate::calls::{Calls, FrameCalls};
use crate::field::Field;
use crate::frame::{Frame, Header as _};
use crate::key::{Family, PacketKey};
use crate::parse::{Packet, flag, fragment, proto};

/// What [`record_packet`] says of a packet that is done with.
pub const DONE: u64 = 0;

/// It says that a RST ends the connection of a flow if its checksum is right: see [`reset`].
pub const ENDS_FLOW: u64 = 2;

/// It says that a UDP datagram is of no flow: whether it makes one is for the rules.
pub const ASKS_RULES: u64 = 1;

/// Takes note of a packet that goes out: [`DONE`], [`ENDS_FLOW`], or [`ASKS_RULES`], whereupon it goes
/// to [`open`] if the rules would not let its answer in.
#[inline(always)]
pub fn record_packet<M: Calls, F: FrameCalls>(machine: &M, frame: &F, packet: &Packet) -> u64 {
    let key = &packet.key;
    if key.field(Field::Fragment) == fragment::LATER {
        return DONE;
    }
    let is_v6 = key.family() == Family::V6;
    let protocol = key.field(Field::Proto);
    if protocol == proto::UDP && machine.constant(|c| &c.asked) & essential_bit::DHCP != 0 {
        request::note(machine, key, frame.interface_index());
    }
    // Where no rule looks at state, sockets say of TCP and UDP what there is to say.
    let tracks = machine.constant(|c| &c.flows) != 0;
    match protocol {
        proto::TCP | proto::UDP if !tracks => {}
        proto::TCP => return tcp(machine, frame, packet),
        proto::UDP if !keep(machine, &outgoing(key)) => return ASKS_RULES,
        proto::ICMP if !is_v6 && key.field(Field::Icmp) == echo::REQUEST << 8 => {
            echo(machine, frame, packet);
        }
        proto::ICMPV6 if is_v6 && key.field(Field::Icmp) == echo::REQUEST_V6 << 8 => {
            echo(machine, frame, packet);
        }
        _ => {}
    }
    DONE
}

/// Turns the key of a datagram that goes out into that of its answer. What only the answer itself
/// will say is as if it were not there.
#[inline(always)]
pub fn reverse(key: &mut PacketKey) {
    (key.src_hi, key.dst_hi) = (key.dst_hi, key.src_hi);
    (key.src_lo, key.dst_lo) = (key.dst_lo, key.src_lo);
    let (source, destination) = (Field::SourcePort as usize, Field::DestinationPort as usize);
    (key.fields[source], key.fields[destination]) = (key.fields[destination], key.fields[source]);
    key.clear_unpredicted();
    key.fields[Field::Fragment as usize] = fragment::WHOLE;
}

/// Makes the flow that a datagram with this key answers.
#[inline(always)]
pub fn open<M: Calls, F: Frame>(machine: &M, frame: &F, answer: &PacketKey) {
    let tuple = Tuple::incoming(
        answer,
        answer.field(Field::DestinationPort),
        answer.field(Field::SourcePort),
    );
    start(machine, &tuple, own(frame), 0);
}

/// A RST that goes out, with a right checksum, ends the connection of its flow.
#[inline(always)]
pub fn reset<M: Calls>(machine: &M, key: &PacketKey) {
    if let Some(found) = find(machine, &outgoing(key), machine.ticks()) {
        found.change(machine, 0, state::RESET_OUT);
    }
}

/// The flow of a packet with ports that goes out.
#[inline(always)]
fn outgoing(key: &PacketKey) -> Tuple {
    Tuple::outgoing(
        key,
        key.field(Field::SourcePort),
        key.field(Field::DestinationPort),
    )
}

#[inline(always)]
fn own<F: Frame>(frame: &F) -> u64 {
    if frame.is_forwarded() { 0 } else { state::OWN }
}

#[inline(always)]
fn start<M: Calls>(machine: &M, tuple: &Tuple, state: u64, out: u64) {
    insert(machine, tuple, Start { state, out }, machine.ticks());
}

/// Notes that a flow without sequence numbers goes on; false if it is not there.
#[inline(always)]
fn keep<M: Calls>(machine: &M, tuple: &Tuple) -> bool {
    let now = machine.ticks();
    let Some(found) = find(machine, tuple, now) else {
        return false;
    };
    if found.state & state::REPLIED != 0 {
        found.change(machine, 0, state::SETTLED);
    }
    found.touch(machine, now);
    true
}

#[inline(always)]
fn echo<M: Calls, F: Frame>(machine: &M, frame: &F, packet: &Packet) {
    if let Some(header) = frame.header::<8>(packet.l4) {
        let tuple = Tuple::outgoing(&packet.key, header.be16::<4>(), 0);
        if !keep(machine, &tuple) {
            start(machine, &tuple, own(frame), 0);
        }
    }
}

/// A connection of this host that ends: its late segments are no stranger's when the socket is gone.
const ENDS: u64 = state::OWN | state::REPLIED | state::SETTLED | state::DONE_OUT | state::DONE_IN;

#[inline(always)]
fn tcp<M: Calls, F: FrameCalls>(machine: &M, frame: &F, packet: &Packet) -> u64 {
    let tuple = outgoing(&packet.key);
    let flags = packet.key.field(Field::TcpFlags);
    let asks = flags & (flag::SYN | flag::ACK) == flag::SYN;
    if asks {
        opening::note(machine, &tuple);
    }
    // What is forwarded has no socket here. What a listening socket sends is the answer to a SYN
    // that it remembers by a cookie alone, and belongs to no socket: a flood of those fills no table.
    // A SYN of a socket that is not found is of another namespace: of a container whose interface
    // (macvlan, ipvlan, macvtap) lies over this one, while this host listens on the same port.
    if !frame.is_forwarded() {
        let socket = frame.socket(machine, &tuple);
        if socket::is_connection(socket) {
            if flags & flag::FIN != 0 {
                start(machine, &tuple, ENDS, 0);
            }
            return DONE;
        }
        if socket == socket::LISTENS && flags & flag::SYN != 0 && !frame.has_sender() {
            return DONE;
        }
    }
    let Some(segment) = Segment::of(frame, packet) else {
        return DONE;
    };
    let now = machine.ticks();
    let found = find(machine, &tuple, now);
    if found.is_none() && flags & flag::RST != 0 {
        // An aborted connection's socket is gone before its RST leaves.
        if !frame.is_forwarded() {
            start(machine, &tuple, state::OWN | state::RESET_OUT, 0);
        }
        return DONE;
    }
    let bits = own(frame) | state::KNOWS_OUT;
    if flags & flag::SYN != 0 {
        opens(
            machine,
            &tuple,
            segment.word(),
            bits | (u64::from(asks) * state::ASKED),
            found,
        );
    } else if let Some(found) = found {
        let resets = goes_out(machine, &segment, &found);
        // A SYN that waits is kept by SYNs alone.
        if flags & flag::RST == 0 && !state::waits(found.state) {
            found.touch(machine, now);
        }
        if resets {
            return ENDS_FLOW;
        }
    } else {
        let fin = u64::from(flags & flag::FIN) * state::FIN_OUT;
        start(machine, &tuple, bits | fin, segment.word());
    }
    DONE
}

/// A SYN that goes out makes a flow with these bits, or may meet the SYN of the other side of one that goes
/// on. One that nobody has answered gives way to the next one, a connection that has ended, too.
#[inline(always)]
fn opens<M: Calls>(machine: &M, tuple: &Tuple, out: u64, bits: u64, found: Option<Located>) {
    match found {
        Some(found) if found.state & state::REPLIED != 0 && !state::is_over(found.state) => {
            found.change(machine, 0, bits & state::ASKED);
        }
        // The answer to the other side's SYN, which may come once more.
        Some(found) => {
            let asked = state::still_asked(found.state);
            start(machine, tuple, bits | state::OPENING | asked, out);
        }
        None => start(machine, tuple, bits | state::OPENING, out),
    }
}
