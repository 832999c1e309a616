//! A flow that somebody else has kept: the kernel's connection tracking, or a table of another size.
//! The programs have seen none of its packets, so its numbers are not known until each side sends its
//! next segment.

use super::table::{Start, find, insert, is_full};
use super::{Tuple, state};
use crate::machine::Machine;
use crate::parse::proto;

/// What is known of a flow that is taken over.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Adopted {
    /// Both sides have been heard. Of TCP it goes without saying.
    pub replied: bool,
    /// TCP: the other side has sent a FIN.
    pub fin_in: bool,
    /// TCP: this side has sent a FIN.
    pub fin_out: bool,
}

/// Makes a flow with unknown numbers, unless it is there already. Whether it is there now: not if one
/// that both sides use would have to give way, or the lock on its place cannot be had.
pub fn adopt<M: Machine>(machine: &M, tuple: &Tuple, adopted: Adopted, now: u64) -> bool {
    if find(machine, tuple, now).is_some() {
        return true;
    }
    if is_full(machine, tuple, now) {
        return false;
    }
    let bits = |is_set: bool, bits: u64| if is_set { bits } else { 0 };
    let is_tcp = Tuple::proto_of(tuple.identity) == proto::TCP;
    let used = bits(adopted.replied || is_tcp, state::REPLIED | state::SETTLED);
    let fins = bits(adopted.fin_in, state::FIN_IN | state::DONE_IN)
        | bits(adopted.fin_out, state::FIN_OUT | state::DONE_OUT);
    let start = Start {
        state: used | bits(is_tcp, fins),
        out: 0,
    };
    insert(machine, tuple, start, now)
}
