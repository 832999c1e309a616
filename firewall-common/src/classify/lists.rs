//! Short lists: the rules of a large policy that one address all but picks out.
//!
//! Most rules of a large policy name a source or a destination that few other rules name. Such a
//! rule stands in the list of every interval of that address, and in no row. What is left for the
//! rows are the rules with wide addresses on both sides: a few hundred of 100,000, as a rule. (The
//! same observation splits rule sets by their wide fields: EffiCuts, Vamanan, Voskuilen and
//! Vijaykumar, SIGCOMM 2010; CutSplit, Li et al., INFOCOM 2018. Leaves that are searched one by one:
//! HiCuts, Gupta and McKeown, Hot Interconnects 1999.)
//!
//! An address lookup with lists ends at a *block*: the byte offset of the row (`u32`), how many
//! entries follow (`u32`, up to [`LIST_MAX`]), and the entries in the order of the policy. An entry
//! holds a prefix of the *other* address, the rule's number, what it leads to, and its *profile*: all
//! rules with the same small fields have the same one. In the lanes of small fields, a bitmap of the profiles that
//! accept the class stands before each row: profile `p` is bit `p % 64` of the word that ends
//! `8 * (p / 64)` bytes before the row.
//!
//! Lists hold only rules that decide. So the answer is the first match among the two lists and the
//! rows, and the rows need not be searched beyond it.

use super::Family;
use super::lanes::LANES;
use crate::abi::{Entry, LIST_MAX, ListHead, ListRule, addr_form};
use crate::key::PacketKey;
use crate::machine::{Machine, Step};

/// Above every rule's number.
pub(super) const NONE: u64 = u32::MAX as u64;

/// The lists of a packet's two addresses.
pub(super) struct Lists {
    pub(super) src: List,
    pub(super) dst: List,
}

impl Lists {
    /// Two empty ones. `zero` should be a zero that the compiler does not know.
    #[inline(always)]
    pub(super) const fn empty(zero: u64) -> Self {
        let empty = List {
            at: zero,
            end: zero,
        };
        Self {
            src: empty,
            dst: empty,
        }
    }
}

/// Byte offsets of a list's first entry and of what follows the last.
#[derive(Clone, Copy)]
pub(super) struct List {
    at: u64,
    end: u64,
}

impl List {
    /// Takes up the list of the block at byte `offset`, and returns the byte offset of its row.
    /// Until [`first`] knows the family, `end` is the number of entries.
    #[inline(always)]
    pub(super) fn enter<M: Machine>(&mut self, machine: &M, offset: u64) -> u64 {
        let head = ListHead::from_word(machine.table_u64(offset));
        self.at = offset + 8;
        self.end = head.entries();
        head.row()
    }
}

/// The first rule in the lists that accepts the packet.
#[derive(Clone, Copy)]
pub(super) struct Best {
    /// Its number, or [`NONE`].
    pub(super) rule: u64,
    /// Its entry.
    pub(super) entry: Entry,
}

/// Looks for the first rule in the lists that accepts the packet.
#[inline(always)]
pub(super) fn first<M: Machine, F: Family>(
    machine: &M,
    key: &PacketKey,
    lanes: &[u64; LANES],
    lists: &Lists,
) -> Best {
    let mut best = Best {
        rule: NONE,
        entry: Entry::NONE,
    };
    if machine.constant(|c| &F::of(c).src.lists) != 0 {
        best = scan::<M, F>(machine, lanes, &lists.src, F::dst(key), best);
    }
    if machine.constant(|c| &F::of(c).dst.lists) != 0 {
        best = scan::<M, F>(machine, lanes, &lists.dst, F::src(key), best);
    }
    best
}

/// The first rule of a list that accepts the packet, or `best` if that comes before it.
#[inline(always)]
fn scan<M: Machine, F: Family>(
    machine: &M,
    lanes: &[u64; LANES],
    list: &List,
    other: (u64, u64),
    best: Best,
) -> Best {
    if list.end == 0 {
        return best;
    }
    let mut scan = Scan::<M, F> {
        machine: *machine,
        family: core::marker::PhantomData,
        lanes,
        other,
        at: list.at,
        end: list.at + list.end * F::LIST_ENTRY,
        rule: best.rule,
        entry: best.entry,
    };
    // Most lists have one entry.
    if scan.step() {
        machine.repeat(LIST_MAX - 1, &mut scan);
    }
    Best {
        rule: scan.rule,
        entry: scan.entry,
    }
}

/// One entry a step.
struct Scan<'a, M, F> {
    machine: M,
    family: core::marker::PhantomData<F>,
    lanes: &'a [u64; LANES],
    other: (u64, u64),
    at: u64,
    end: u64,
    /// As in [`Best`].
    rule: u64,
    entry: Entry,
}

impl<M: Machine, F: Family> Scan<'_, M, F> {
    /// Not 0 if the packet's small fields are in the profile.
    #[inline(always)]
    fn has_profile(&self, profile: u64) -> u64 {
        let lanes = self.machine.constant(|c| &F::of(c).lanes);
        let used = |form: u32| u32::from(form != addr_form::UNUSED);
        let first = used(self.machine.constant(|c| &F::of(c).src.form))
            + used(self.machine.constant(|c| &F::of(c).dst.form));
        let before = 8 + (profile >> 6) * 8;
        let mut all = 1 << (profile & 63);
        macro_rules! lanes {
            ($($lane:literal)*) => { $(
                const { assert!($lane < LANES) };
                if $lane >= first && $lane < lanes {
                    all &= self.machine.table_u64(self.lanes[$lane].wrapping_sub(before));
                }
            )* };
        }
        lanes!(0 1 2 3 4 5);
        all
    }
}

impl<M: Machine, F: Family> Step for Scan<'_, M, F> {
    #[inline(always)]
    fn forget(&mut self) {
        for number in [&mut self.at, &mut self.end, &mut self.rule] {
            *number = self.machine.forget(*number);
        }
        self.entry = Entry::from_word(self.machine.forget(self.entry.word()));
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        // What follows the prefix.
        let tail = self.at + F::LIST_ENTRY - 16;
        let listed = ListRule::from_word(self.machine.table_u64(tail));
        let rule = listed.rule();
        if rule >= self.rule {
            return false;
        }
        let outside = F::outside(&self.machine, self.at, self.other);
        if outside == 0 && self.has_profile(listed.profile()) != 0 {
            self.rule = rule;
            self.entry = Entry::from_word(self.machine.table_u64(tail + 8));
            return false;
        }
        self.at = self.machine.forget(self.at + F::LIST_ENTRY);
        self.at != self.end
    }
}
