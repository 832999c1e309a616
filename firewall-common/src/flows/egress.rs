//! What this host sends: makes flows, and brings them up to date. Called for every frame that goes
//! out; never has a say in whether it does.
//!
//! | packet | what it does |
//! |---|---|
//! | TCP SYN | makes a flow that waits for its answer, in the place of one of the same name |
//! | TCP SYN with ACK | nothing: what a flood of SYNs makes this host send fills no table |
//! | TCP RST | resets a flow that is there |
//! | other TCP | makes a flow, or brings it up to date: what is acknowledged, the window, the FIN |
//! | UDP, echo request | makes a flow, or keeps it |
//! | echo reply, ICMP error, all else | nothing |
//!
//! Two packets of one flow can leave at once on two processors, and an update can meet a flow that has
//! just given way: then one word is that of the wrong packet until the next one leaves.

use super::table::{Start, find, insert};
use super::{Tuple, at, echo, state};
use crate::field::Field;
use crate::frame::{Frame, Header as _};
use crate::key::Family;
use crate::machine::{Machine, Step};
use crate::parse::{Packet, Parsed, flag, fragment, proto};

/// Shift of a window whose scale nobody has seen: the largest (RFC 7323).
const UNKNOWN_SCALE: u64 = 15;

/// Bytes of a TCP header without options.
const TCP_HEADER: u32 = 20;

/// Options of a TCP header (RFC 9293, RFC 7323).
const OPTION_END: u32 = 0;
const OPTION_NOP: u32 = 1;
const OPTION_WINDOW_SCALE: u32 = 3;

/// Takes note of a frame that goes out.
#[inline(always)]
pub fn record<M: Machine, F: Frame>(machine: &M, frame: &F) {
    let mut packet = Packet::EMPTY;
    if frame.parse(machine, &mut packet) != Parsed::Ip {
        return;
    }
    frame.record(machine, &packet);
}

/// As [`record`], for a frame that has been parsed.
#[inline(always)]
pub fn record_packet<M: Machine, F: Frame>(machine: &M, frame: &F, packet: &Packet) {
    let key = &packet.key;
    if key.field(Field::Fragment) == fragment::LATER {
        return;
    }
    let now = machine.ticks();
    let is_v6 = key.family() == Family::V6;
    match key.field(Field::Proto) {
        proto::TCP => tcp(machine, frame, packet, now),
        proto::UDP => {
            let (local, remote) = (
                key.field(Field::SourcePort),
                key.field(Field::DestinationPort),
            );
            keep(machine, &Tuple::outgoing(key, local, remote), now);
        }
        proto::ICMP if !is_v6 && key.field(Field::Icmp) == echo::REQUEST << 8 => {
            echo(machine, frame, packet, now);
        }
        proto::ICMPV6 if is_v6 && key.field(Field::Icmp) == echo::REQUEST_V6 << 8 => {
            echo(machine, frame, packet, now);
        }
        _ => {}
    }
}

/// Makes a flow without sequence numbers, or notes that it goes on.
#[inline(always)]
fn keep<M: Machine>(machine: &M, tuple: &Tuple, now: u64) {
    match find(machine, tuple, now) {
        Some(found) => found.touch(machine, now),
        None => insert(
            machine,
            tuple,
            Start {
                state: 0,
                window: 0,
                next: 0,
            },
            now,
        ),
    }
}

#[inline(always)]
fn echo<M: Machine, F: Frame>(machine: &M, frame: &F, packet: &Packet, now: u64) {
    if let Some(header) = frame.header::<8>(packet.l4) {
        let tuple = Tuple::outgoing(&packet.key, header.be16::<4>(), 0);
        keep(machine, &tuple, now);
    }
}

#[inline(always)]
fn tcp<M: Machine, F: Frame>(machine: &M, frame: &F, packet: &Packet, now: u64) {
    let key = &packet.key;
    let flags = key.field(Field::TcpFlags);
    let Some(header) = frame.header::<20>(packet.l4) else {
        return;
    };
    let tuple = Tuple::outgoing(
        key,
        key.field(Field::SourcePort),
        key.field(Field::DestinationPort),
    );
    let header_len = (header.u8::<12>() >> 4) * 4;
    // The header lies inside the packet: the parser has seen to it.
    let data = (packet.end - packet.l4).wrapping_sub(header_len);
    let acknowledged = u64::from(header.be32::<8>());
    let window = u64::from(header.be16::<14>());
    let consumed = (flags & flag::SYN) >> 1 | flags & flag::FIN;
    let next = header.be32::<4>().wrapping_add(data).wrapping_add(consumed);

    if flags & flag::SYN != 0 {
        if flags & flag::ACK == 0 {
            let scale = scale(machine, frame, packet.l4, header_len);
            let start = Start {
                state: state::OPENING | scale << state::SCALE,
                window,
                next: u64::from(next),
            };
            insert(machine, &tuple, start, now);
        }
        return;
    }
    let found = find(machine, &tuple, now);
    if flags & flag::RST != 0 {
        if let Some(found) = found {
            found.mark(machine, state::RESET);
        }
        return;
    }
    let fin = if flags & flag::FIN != 0 {
        state::FIN_OUT
    } else {
        0
    };
    let Some(found) = found else {
        // Nobody has seen the SYN: this host has accepted the connection, or had it before the
        // policy asked for flows.
        let scale = UNKNOWN_SCALE;
        let start = Start {
            state: state::REPLIED | fin | scale << state::SCALE,
            window: acknowledged << 32 | scaled(window, scale),
            next: u64::from(next),
        };
        insert(machine, &tuple, start, now);
        return;
    };
    let scale = found.state >> state::SCALE & 15;
    found.write(
        machine,
        at::WINDOW,
        acknowledged << 32 | scaled(window, scale),
    );
    let old = found.read(machine, at::NEXT);
    // Serial numbers: ahead if less than half of the circle away (RFC 1982).
    let ahead = next.wrapping_sub(old as u32);
    if ahead != 0 && ahead < 1 << 31 {
        let made = old >> 32;
        found.write(machine, at::NEXT, made << 32 | u64::from(next));
    }
    if fin != 0 {
        found.mark(machine, fin);
    }
    found.touch(machine, now);
}

/// Bytes of a window that is announced as `window`. Where the scale is not known, the largest
/// there can be, but not more than [`super::ingress::WINDOW_MAX`].
#[inline(always)]
const fn scaled(window: u64, scale: u64) -> u64 {
    if scale >= UNKNOWN_SCALE {
        let most = window << 14;
        if most > super::ingress::WINDOW_MAX {
            return super::ingress::WINDOW_MAX;
        }
        return most;
    }
    window << scale
}

/// The shift that a SYN announces for its sender's windows; 0 if it announces none.
#[inline(always)]
fn scale<M: Machine, F: Frame>(machine: &M, frame: &F, l4: u32, header_len: u32) -> u64 {
    let mut walk = Options {
        machine: *machine,
        frame: *frame,
        at: machine.forget(u64::from(l4 + TCP_HEADER)),
        end: machine.forget(u64::from(l4 + header_len)),
        scale: 0,
    };
    machine.repeat(40, &mut walk);
    if walk.scale > 14 { 14 } else { walk.scale }
}

/// One option of a TCP header a step, up to the scale of the window.
struct Options<M, F> {
    machine: M,
    frame: F,
    at: u64,
    end: u64,
    scale: u64,
}

impl<M: Machine, F: Frame> Step for Options<M, F> {
    #[inline(always)]
    fn forget(&mut self) {
        for number in [&mut self.at, &mut self.end, &mut self.scale] {
            *number = self.machine.forget(*number);
        }
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        if self.at >= self.end {
            return false;
        }
        let Some(kind) = self.frame.header::<1>(self.at as u32) else {
            return false;
        };
        let length = match kind.u8::<0>() {
            OPTION_END => return false,
            OPTION_NOP => 1,
            kind => {
                // Two bytes of an option at the end, and no third: it is no scale.
                let Some(header) = self.frame.header::<2>(self.at as u32) else {
                    return false;
                };
                let length = header.u8::<1>();
                if length < 2 {
                    return false;
                }
                if kind == OPTION_WINDOW_SCALE {
                    if let Some(header) = self.frame.header::<3>(self.at as u32) {
                        self.scale = u64::from(header.u8::<2>());
                    }
                    return false;
                }
                length
            }
        };
        self.at = self.machine.forget(self.at + u64::from(length));
        true
    }
}
