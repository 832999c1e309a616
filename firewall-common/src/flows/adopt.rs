//! A flow that somebody else has kept: the kernel's connection tracking, or a table of another size.
//! The programs have seen none of its packets, so its numbers are not known until each side sends its
//! next segment.

use super::table::{Start, find, insert, is_full};
use super::{Tuple, state};
use crate::calls::Calls;
use crate::parse::proto;

/// What is known of a flow that is taken over.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Adopted {
    /// Both sides have been heard.
    pub replied: bool,
    /// TCP: the other side has sent a FIN.
    pub fin_in: bool,
    /// TCP: this side has sent a FIN.
    pub fin_out: bool,
    /// TCP: this side has sent a SYN without ACK, and neither side has gone on.
    pub asked: bool,
}

/// Makes a flow with unknown numbers; one that is there already learns that both sides have been heard,
/// and who is done. Whether it is there now: not if one that both sides use would have to give way, or
/// the lock on its place cannot be had.
pub fn adopt<M: Calls>(machine: &M, tuple: &Tuple, adopted: Adopted, now: u64) -> bool {
    let bits = |is_set: bool, bits: u64| if is_set { bits } else { 0 };
    let is_tcp = Tuple::proto_of(tuple.identity) == proto::TCP;
    let used = bits(adopted.replied, state::REPLIED | state::SETTLED);
    let of_tcp = bits(adopted.fin_in, state::FIN_IN | state::DONE_IN)
        | bits(adopted.fin_out, state::FIN_OUT | state::DONE_OUT)
        | bits(adopted.asked, state::ASKED);
    let known = used | bits(is_tcp, of_tcp);
    if let Some(found) = find(machine, tuple, now) {
        // One that has begun anew meanwhile is another one.
        if !state::is_over(found.state) {
            found.change(machine, 0, known);
        }
        return true;
    }
    if is_full(machine, tuple, now) {
        return false;
    }
    // A connection that waits for its answer is none that is opening: that would be held to its numbers.
    let start = Start {
        state: known,
        out: 0,
    };
    insert(machine, tuple, start, now)
}
