//! The AND of all lanes' rows, from the top down, and the rules found in it.

use super::Family;
use super::lanes::{self, LANES};
use super::lists::{self, Best, Lists, NONE};
use crate::abi::{Entry, LIMITS_PASSED, has_limit};
use crate::bits::{index, lowest, rank};
use crate::calls::Calls;
use crate::key::PacketKey;
use crate::machine::Step;
use crate::verdict::Action;
use core::marker::PhantomData;

/// The rule of family `F` that decides about `key`: its entry, marked as found, or [`Entry::NONE`].
/// Counts the `next` rules before it.
#[inline(always)]
pub(super) fn first_match<M: Calls, F: Family>(machine: &M, key: &PacketKey) -> Entry {
    if machine.constant(|c| &F::of(c).rules) == 0 {
        return Entry::NONE;
    }
    // Zeros that the compiler does not know: of known ones it would make a call of `memset`, which
    // goes byte by byte here.
    let zero = machine.opaque(0);
    let mut lanes = [zero; LANES];
    let mut lists = Lists::empty(zero);
    lanes::rows::<M, F>(machine, key, &mut lanes, &mut lists);
    let all = and::<M, F, _>(machine, &mut lanes, |lanes, lane| {
        machine.table_u64(lanes[lane])
    });
    let listed = machine.constant(|c| &F::of(c).listed) != 0;
    let best = if listed {
        lists::first::<M, F>(machine, key, &lanes, &lists)
    } else {
        Best {
            rule: NONE,
            entry: Entry::NONE,
        }
    };
    if all == 0 {
        return from_lists(best);
    }
    let levels = machine.constant(|c| &F::of(c).levels);
    if levels == 1 && machine.constant(|c| &c.has_next) == 0 {
        let rule = number::<M, F>(machine, index(lowest(all)));
        if listed && rule > best.rule {
            return from_lists(best);
        }
        let found = entry::<M, F>(machine, rule).found();
        return if is_limited(machine, found) {
            judged(machine, key, found).found()
        } else {
            found
        };
    }
    let mut walk = Walk::<M, F> {
        machine: *machine,
        family: PhantomData,
        lanes: &mut lanes,
        nodes_left: zero,
        leaves_left: zero,
        rules_left: zero,
        first_leaf: zero,
        first_rule: zero,
        best: best.rule,
        found: Entry::from_word(zero),
    };
    walk.start(levels, all);
    // Most packets are decided by the first round: only the others pay for the loop.
    if walk.advance(false) {
        machine.repeat(machine.constant(|c| &F::of(c).rounds), &mut walk);
    }
    let found = if machine.constant(|c| &c.has_limit) == has_limit::NO {
        walk.found
    } else {
        within_limits(key, &mut walk)
    };
    if listed && found.is_none() {
        return from_lists(best);
    }
    found
}

/// Asks the rate limit of the rule that the walk has stopped at, and goes on with the walk if that
/// says so. Here and not in a round of the walk: the kernel's stack has no room for one more call.
#[inline(always)]
fn within_limits<M: Calls, F: Family>(key: &PacketKey, walk: &mut Walk<'_, M, F>) -> Entry {
    let machine = walk.machine;
    let passed = machine.constant(|c| &c.limits_passed) as usize;
    for stop in 0..=LIMITS_PASSED {
        if !is_limited(&machine, walk.found) {
            return walk.found;
        }
        let judged = judged(&machine, key, walk.found);
        if machine.constant(|c| &c.has_next) == 0 || judged.action().0 != Action::NEXT.0 {
            return judged.found();
        }
        if stop == passed {
            break;
        }
        machine.count_rule(judged.slot());
        walk.found = Entry::NONE;
        if walk.rules_left | walk.leaves_left | walk.nodes_left == 0 {
            return Entry::NONE;
        }
        machine.repeat(machine.constant(|c| &F::of(c).rounds), walk);
    }
    // The compiler lets no policy get here.
    Entry::new(walk.found.slot(), Action::DROP).found()
}

/// The entry of a rule with a limit, or what stands in its place if the packet is over the limit.
#[inline(always)]
pub(crate) fn judged<M: Calls>(machine: &M, key: &PacketKey, entry: Entry) -> Entry {
    let found = match machine.limit(key, entry) {
        Entry::WITHIN => entry,
        over => over,
    };
    if machine.constant(|c| &c.logs) != 0 {
        machine.log(key, entry, found);
    }
    found
}

/// Whether the rule with this entry has a rate limit.
#[inline(always)]
fn is_limited<M: Calls>(machine: &M, entry: Entry) -> bool {
    machine.constant(|c| &c.has_limit) != has_limit::NO && entry.is_limited()
}

/// What the walk returns if the rows have no rule before the one in the lists.
#[inline(always)]
const fn from_lists(best: Best) -> Entry {
    if best.rule == NONE {
        return Entry::NONE;
    }
    best.entry.found()
}

/// The number of the rule that is bit `bit` of the rows.
#[inline(always)]
fn number<M: Calls, F: Family>(machine: &M, bit: u64) -> u64 {
    if machine.constant(|c| &F::of(c).listed) == 0 {
        return bit;
    }
    u64::from(machine.table_u32(u64::from(machine.constant(|c| &F::of(c).order)) + bit * 4))
}

/// The entry of rule `rule` of the family.
#[inline(always)]
fn entry<M: Calls, F: Family>(machine: &M, rule: u64) -> Entry {
    let entries = u64::from(machine.constant(|c| &F::of(c).entries));
    Entry::from_word(machine.table_u64(entries + rule * 8))
}

/// The AND of `word` over all lanes.
#[inline(always)]
fn and<M: Calls, F: Family, S>(
    machine: &M,
    state: &mut S,
    mut word: impl FnMut(&mut S, usize) -> u64,
) -> u64 {
    let lanes = machine.constant(|c| &F::of(c).lanes);
    let mut all = word(state, 0);
    macro_rules! lanes {
        ($($lane:literal)*) => { $(
            const { assert!($lane < LANES) };
            if $lane < lanes {
                all &= word(state, $lane);
            }
        )* };
    }
    lanes!(1 2 3 4 5);
    all
}

/// Where the walk stands.
struct Walk<'a, M, F> {
    machine: M,
    family: PhantomData<F>,
    /// For every lane the byte offsets of its row, and 32 bits up, of its present node. By reference:
    /// a copy would take a tenth of the stack that there is.
    lanes: &'a mut [u64; LANES],
    /// Nodes not yet visited (levels 3).
    nodes_left: u64,
    /// Leaf words of the present nodes not yet visited.
    leaves_left: u64,
    /// Matching rules of the present leaf word not yet looked at.
    rules_left: u64,
    /// Number of the present node's first leaf word.
    first_leaf: u64,
    /// Number of the present leaf word's first rule.
    first_rule: u64,
    /// The number of the first matching rule in the lists, or [`NONE`].
    best: u64,
    /// The entry of the deciding rule, or of a rule with a limit, marked as found; or [`Entry::NONE`].
    found: Entry,
}

impl<M: Calls, F: Family> Walk<'_, M, F> {
    /// Begins with `all`, the AND of the lanes' uppermost words.
    #[inline(always)]
    fn start(&mut self, levels: u32, all: u64) {
        match levels {
            1 => self.rules_left = all,
            2 => {
                self.lanes.iter_mut().for_each(|offsets| *offsets <<= 32);
                self.leaves_left = all;
            }
            _ => self.nodes_left = all,
        }
    }

    #[inline(always)]
    fn row(&self, lane: usize) -> u64 {
        self.lanes[lane] & 0xffff_ffff
    }

    /// Takes up the next node that every lane has.
    #[inline(always)]
    fn enter_node(&mut self) {
        let bit = lowest(self.nodes_left);
        self.nodes_left ^= bit;
        self.first_leaf = index(bit) * 64;
        let machine = self.machine;
        self.leaves_left = and::<M, F, _>(&machine, self, |walk, lane| {
            let row = walk.row(lane);
            let child = row + 8 + 4 * rank(walk.machine.table_u64(row), bit);
            let node = u64::from(walk.machine.table_u32(child)) * 8;
            walk.lanes[lane] = row | node << 32;
            walk.machine.table_u64(node)
        });
    }

    /// Takes up the next leaf word that every lane has. With `runs`, while the AND is 0, the two words
    /// behind it, too, as far as every lane has them: to find where a word lies costs more than to read
    /// it. The AND can be 0.
    #[inline(always)]
    fn enter_leaf(&mut self, runs: bool) {
        let bit = lowest(self.leaves_left);
        let second = if runs { bit << 1 & self.leaves_left } else { 0 };
        self.first_rule = (self.first_leaf + index(bit)) * 64;
        let machine = self.machine;
        if second == 0 {
            self.leaves_left ^= bit;
            self.rules_left = and::<M, F, _>(&machine, self, |walk, lane| {
                walk.machine.table_u64(walk.leaf(lane, bit))
            });
            return;
        }
        let third = second << 1 & self.leaves_left;
        let mut words = [machine.opaque(u64::MAX); 2];
        self.rules_left = and::<M, F, _>(&machine, self, |walk, lane| {
            let leaf = walk.leaf(lane, bit);
            words[0] &= walk.machine.table_u64(leaf + 8);
            words[1] &= walk.machine.table_u64(leaf + 16);
            walk.machine.table_u64(leaf)
        });
        self.leaves_left ^= bit;
        for (bit, word) in [second, third].into_iter().zip(words) {
            if self.rules_left == 0 && bit != 0 {
                self.leaves_left ^= bit;
                self.first_rule += 64;
                self.rules_left = word;
            }
        }
    }

    /// Byte offset of a lane's leaf word in its present node.
    #[inline(always)]
    fn leaf(&self, lane: usize, bit: u64) -> u64 {
        let node = self.lanes[lane] >> 32;
        node + 8 + 8 * rank(self.machine.table_u64(node), bit)
    }
}

impl<M: Calls, F: Family> Step for Walk<'_, M, F> {
    #[inline(always)]
    fn forget(&mut self) {
        for number in [
            &mut self.nodes_left,
            &mut self.leaves_left,
            &mut self.rules_left,
            &mut self.first_leaf,
            &mut self.first_rule,
        ] {
            *number = self.machine.forget(*number);
        }
        self.found = Entry::from_word(self.machine.forget(self.found.word()));
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        self.advance(true)
    }
}

impl<M: Calls, F: Family> Walk<'_, M, F> {
    /// A round: as [`Step::step`].
    #[inline(always)]
    fn advance(&mut self, runs: bool) -> bool {
        let levels = self.machine.constant(|c| &F::of(c).levels);
        if self.rules_left == 0 && levels > 1 {
            if self.leaves_left == 0 && levels > 2 {
                if self.nodes_left == 0 {
                    return false;
                }
                self.enter_node();
            }
            if self.leaves_left != 0 {
                self.enter_leaf(runs);
            }
        }
        if self.rules_left != 0 {
            let bit = lowest(self.rules_left);
            let rule = number::<M, F>(&self.machine, self.first_rule + index(bit));
            if self.machine.constant(|c| &F::of(c).listed) != 0 && rule > self.best {
                return false;
            }
            let entry = entry::<M, F>(&self.machine, rule);
            if is_limited(&self.machine, entry) {
                self.rules_left ^= bit;
                self.found = entry.found();
                return false;
            }
            if self.machine.constant(|c| &c.has_next) == 0 || entry.action().0 != Action::NEXT.0 {
                self.found = entry.found();
                return false;
            }
            self.machine.count_rule(entry.slot());
            self.rules_left ^= bit;
        }
        self.rules_left | self.leaves_left | self.nodes_left != 0
    }
}
