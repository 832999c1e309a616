//! What a segment of a forwarded connection may change in its flow.
//!
//! A segment that is forwarded may be anybody's, in whichever direction it goes. So it changes a flow
//! only where it fits what *both* sides have said:
//!
//! | segment | changes | if |
//! |---|---|---|
//! | any but SYN and RST | the numbers of its side | its end lies within a reach ([`NEAR`] at first) of the last one, and what it acknowledges within that of what the other side has sent |
//! | the same | the flow is answered, or settled | likewise; of the first answer to a SYN, with or without ACK, exactly what it acknowledges |
//! | the same | a RST of its side is taken back, and of the other side, if it goes out | likewise |
//! | FIN | its side is done, once the other side acknowledges it | likewise, and it has a number that its side has not used before; nothing lies behind it |
//! | RST | the connection is reset | its number is the one that the other side has acknowledged last, or the end of what its side has sent, and its checksum is right |
//! | SYN | nothing in a flow that goes on | |
//!
//! Whoever knows addresses and ports needs two numbers of 32 bits, to a part in 2,048 each, to be
//! believed, and then one of them exactly to end the connection. What is not believed passes all the
//! same: the endpoint is the judge. What goes wrong here keeps a flow too long, and cuts nobody off.

use super::table::Located;
use super::{at, state};
use crate::calls::Calls;
use crate::field::Field;
use crate::frame::{Frame, Header as _};
use crate::parse::{Packet, flag};

/// How far numbers may lie from the last ones that were believed, in bytes, at first. Where more than
/// half of it is on the way, it doubles ([`state::REACH`]): long fast paths have many megabytes on the
/// way, and come to them step by step.
const NEAR: u64 = 1 << 20;

/// How often it doubles.
const REACH_MAX: u64 = 10;

/// The numbers of a segment.
#[derive(Clone, Copy)]
pub(super) struct Segment {
    /// TCP flags.
    pub(super) flags: u32,
    /// Sequence number.
    pub(super) start: u64,
    /// Sequence number behind its last byte.
    pub(super) end: u64,
    /// What it acknowledges; 0 without ACK.
    pub(super) acknowledged: u64,
}

impl Segment {
    /// Reads the header that the parser has checked.
    #[inline(always)]
    pub(super) fn of<F: Frame>(frame: &F, packet: &Packet) -> Option<Self> {
        let header = frame.header::<20>(packet.l4)?;
        let flags = packet.key.field(Field::TcpFlags);
        // The header lies inside the packet: the parser has seen to it.
        let data = (packet.end - packet.l4).wrapping_sub((header.u8::<12>() >> 4) * 4);
        let consumed = (flags & flag::SYN) >> 1 | flags & flag::FIN;
        let start = header.be32::<4>();
        Some(Self {
            flags,
            start: u64::from(start),
            end: u64::from(start.wrapping_add(data).wrapping_add(consumed)),
            acknowledged: u64::from(header.be32::<8>()) & all(u64::from(flags & flag::ACK != 0)),
        })
    }

    /// As a word of the flow ([`at::OUT`]).
    #[inline(always)]
    pub(super) const fn word(&self) -> u64 {
        self.end << 32 | self.acknowledged
    }

    #[inline(always)]
    const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// One side of a flow: which words and bits are its own, and which the other side's.
struct Side {
    word: u64,
    other: u64,
    knows: u64,
    other_knows: u64,
    fin: u64,
    done: u64,
    other_fin: u64,
    other_done: u64,
    /// What its segments take back.
    takes_back: u64,
    /// What they show, if there has been [`Side::after`].
    shows: u64,
    after: u64,
}

/// What goes out.
const OUT: Side = Side {
    word: at::OUT,
    other: at::IN,
    knows: state::KNOWS_OUT,
    other_knows: state::KNOWS_IN,
    fin: state::FIN_OUT,
    done: state::DONE_OUT,
    other_fin: state::FIN_IN,
    other_done: state::DONE_IN,
    takes_back: state::RESET_OUT | state::RESET_IN,
    shows: state::SETTLED,
    after: state::REPLIED,
};

/// What comes in.
const IN: Side = Side {
    word: at::IN,
    other: at::OUT,
    knows: state::KNOWS_IN,
    other_knows: state::KNOWS_OUT,
    fin: state::FIN_IN,
    done: state::DONE_IN,
    other_fin: state::FIN_OUT,
    other_done: state::DONE_OUT,
    takes_back: state::RESET_IN,
    shows: state::REPLIED,
    after: state::KNOWS_OUT,
};

/// A segment that goes out, of a flow that is there. True for a RST that ends the connection, if its
/// checksum is right.
#[inline(always)]
pub(super) fn goes_out<M: Calls>(machine: &M, segment: &Segment, found: &Located) -> bool {
    note(machine, segment, found, &OUT)
}

/// A segment that comes in, likewise.
#[inline(always)]
pub(super) fn comes_in<M: Calls>(machine: &M, segment: &Segment, found: &Located) -> bool {
    note(machine, segment, found, &IN)
}

#[inline(always)]
fn note<M: Calls>(machine: &M, segment: &Segment, found: &Located, side: &Side) -> bool {
    if state::was_socket(found.state) {
        return false;
    }
    if segment.has(flag::RST) {
        return is_exact(machine, segment, found, side);
    }
    if segment.has(flag::ACK) && !(segment.has(flag::SYN) && side.word == at::OUT) {
        moves(machine, segment, found, side);
    }
    false
}

/// How far numbers of a flow may lie apart, in bytes.
#[inline(always)]
pub(super) const fn reach(bits: u64) -> u64 {
    NEAR << (bits >> state::REACH & 15)
}

/// 1 if `a` lies at most `reach` behind `b`, or as much before it; 0 otherwise. Without a jump.
#[inline(always)]
const fn near(a: u64, b: u64, reach: u64) -> u64 {
    1 ^ ((reach * 2).wrapping_sub(a.wrapping_sub(b).wrapping_add(reach) & 0xffff_ffff) >> 63)
}

/// 1 if `a` lies at most `reach` behind `b`, and not before it.
#[inline(always)]
const fn behind(a: u64, b: u64, reach: u64) -> u64 {
    1 ^ (reach.wrapping_sub(b.wrapping_sub(a) & 0xffff_ffff) >> 63)
}

/// 1 if `a` lies before `b`, as sequence numbers go.
#[inline(always)]
const fn before(a: u64, b: u64) -> u64 {
    a.wrapping_sub(b) >> 31 & 1
}

/// All bits if `condition` is 1, none if it is 0.
#[inline(always)]
const fn all(condition: u64) -> u64 {
    condition.wrapping_neg()
}

/// 1 if a bit is set in `bits`.
#[inline(always)]
const fn is_set(bits: u64, bit: u64) -> u64 {
    bits >> bit.trailing_zeros() & 1
}

/// 1 if both numbers are one.
#[inline(always)]
const fn equal(a: u64, b: u64) -> u64 {
    ((a ^ b) & 0xffff_ffff).wrapping_sub(1) >> 63
}

/// Takes note of the numbers of a segment that is neither SYN nor RST. By arithmetic and not by
/// jumps, of which the verifier would follow every combination.
#[inline(always)]
fn moves<M: Calls>(machine: &M, segment: &Segment, found: &Located, side: &Side) {
    let bits = found.state;
    let (own, other) = (
        found.read(machine, side.word),
        found.read(machine, side.other),
    );
    let (knows, other_knows) = (is_set(bits, side.knows), is_set(bits, side.other_knows));
    let doubled = bits >> state::REACH & 15;
    let reach = NEAR << doubled;
    let fits_own = near(segment.end, own >> 32, reach) | knows ^ 1;
    let fits_other = behind(segment.acknowledged, other >> 32, reach) | other_knows ^ 1;
    let believed = fits_own & fits_other;
    // An answer to a SYN acknowledges it, and no byte more or less. Whoever has sent the SYN and goes on
    // has been answered by another way, and is held to that no more.
    let goes_out = u64::from(side.word == at::OUT);
    let opens = is_set(bits, state::OPENING) & (is_set(bits, state::REPLIED) ^ 1);
    let answers = equal(segment.acknowledged, other >> 32) | opens ^ 1 | goes_out;
    // What this side has sent was a SYN with ACK: its answer ends the handshake.
    let accepts = opens & (goes_out ^ 1) & (equal(other, 0) ^ 1);
    let believed = machine.opaque(believed & answers);
    // Neither number goes back.
    let ahead = (before(segment.end, own >> 32) ^ 1) | knows ^ 1;
    let acknowledges_more = (before(segment.acknowledged, own) ^ 1) | knows ^ 1 | equal(own, 0);
    let end = own >> 32 ^ (own >> 32 ^ segment.end) & all(ahead);
    let acknowledged =
        own & 0xffff_ffff ^ (own & 0xffff_ffff ^ segment.acknowledged) & all(acknowledges_more);
    let new = own ^ (own ^ (end << 32 | acknowledged)) & all(believed);
    if new != own {
        found.write(machine, side.word, new);
    }
    let beyond = ahead & (equal(end, own >> 32) ^ 1);
    // A FIN has a number of its own, behind all that its side has said: at the end of that, where the
    // other side may have acknowledged a byte, it is one that is sent again, or none. It stands as long
    // as nothing lies behind it.
    let is_new = beyond | knows ^ 1;
    let fin = u64::from(segment.flags & flag::FIN)
        & equal(segment.end, end)
        & (is_new | is_set(bits, side.fin));
    let other_done = is_set(bits, side.other_fin) & equal(acknowledged, other >> 32);
    let after = is_set(bits, side.after);
    // What is on the way: more than half of the reach, and not behind what is acknowledged.
    let way = end.wrapping_sub(other) & 0xffff_ffff;
    let grows = other_knows
        & (reach / 2).wrapping_sub(way) >> 63
        & (way >> 31 ^ 1)
        & (doubled.wrapping_sub(REACH_MAX) >> 63);
    let away = side.takes_back
        | (side.fin | side.done) & all(beyond & (fin ^ 1))
        | state::ASKED
        | state::OPENING & all(opens & goes_out)
        | 15 << state::REACH & all(grows);
    let set = side.knows
        | side.fin & all(fin)
        | side.other_done & all(other_done)
        | side.shows & all(after & other_knows)
        | state::SETTLED & all(accepts)
        | (doubled + 1) << state::REACH & all(grows);
    found.change(
        machine,
        machine.opaque(away & all(believed)),
        machine.opaque(set & all(believed)),
    );
}

/// Whether the number of a RST is the one that the other side has acknowledged last, or the end of
/// what its own side has sent. The answer to a SYN has none, and acknowledges it.
#[inline(always)]
fn is_exact<M: Calls>(machine: &M, segment: &Segment, found: &Located, side: &Side) -> bool {
    let bits = found.state;
    let (own, other) = (
        found.read(machine, side.word),
        found.read(machine, side.other),
    );
    let (knows, other_knows) = (is_set(bits, side.knows), is_set(bits, side.other_knows));
    let opens = is_set(bits, state::OPENING) & (is_set(bits, state::REPLIED) ^ 1);
    let answers_syn = opens
        & other_knows
        & u64::from(segment.has(flag::ACK))
        & equal(segment.acknowledged, other >> 32);
    let exact = equal(segment.start, other) & other_knows & (opens ^ 1)
        | equal(segment.start, own >> 32) & knows & other_knows
        | answers_syn;
    machine.opaque(exact) != 0
}
