//! What the shared code needs from the place it runs in: the policy's constants, reads from the
//! tables, reads from the frame, loops. The kernel program and the host each implement it.

use crate::abi::Config;
use crate::region::Region;

/// A tick is 2^30 nanoseconds, 1.07 seconds: a shift instead of a division.
pub const TICK_SHIFT: u32 = 30;

/// A place to run in. Implementations are small and `Copy`: they are handed into loop callbacks.
pub trait Machine: Copy {
    /// One constant of the generation: `m.constant(|c| &c.default_verdict)`. In the kernel this is
    /// a volatile read of frozen `.rodata`, whose value the verifier knows.
    fn constant(&self, pick: impl Fn(&Config) -> &u32) -> u32;

    /// The `u16` at byte `offset` of the tables; some number if that is past their end.
    fn table_u16(&self, offset: u64) -> u32;

    /// The `u32` at byte `offset` of the tables; some number if that is past their end.
    fn table_u32(&self, offset: u64) -> u32;

    /// The `u64` at byte `offset` of the tables; some number if that is past their end.
    fn table_u64(&self, offset: u64) -> u64;

    /// Eight `u64` from byte `offset` of the tables: one cache line.
    #[inline(always)]
    fn table_line(&self, offset: u64) -> [u64; 8] {
        core::array::from_fn(|i| self.table_u64(offset + 8 * i as u64))
    }

    /// Returns `value`, opaque to the optimiser: keeps branch-free arithmetic branch-free.
    fn opaque(&self, value: u64) -> u64;

    /// Returns `value`, of which the verifier forgets everything: paths that differ in the value
    /// alone become one path. An offset into the frame must be forgotten before it goes into the
    /// state of a loop, because the verifier remembers offsets precisely.
    fn forget(&self, value: u64) -> u64;

    /// Runs `state.step()` until it returns false, at most `max` times. (In the kernel the verifier
    /// must not follow every round.)
    #[inline(always)]
    fn repeat<S: Step>(&self, max: u32, state: &mut S) {
        for _ in 0..max {
            if !state.step() {
                break;
            }
        }
    }

    /// Whether the table of stations has this word ([`crate::abi::station`]). Not asked where there is
    /// no such table.
    #[inline(always)]
    fn is_station(&self, _word: u64) -> bool {
        false
    }

    /// Nanoseconds of a clock that never goes back; never 0.
    fn now(&self) -> u64;

    /// The same clock in ticks of 2^30 nanoseconds ([`TICK_SHIFT`]); it may be some
    /// milliseconds late.
    #[inline(always)]
    fn ticks(&self) -> u64 {
        self.now() >> TICK_SHIFT
    }

    /// The word at byte `offset` of a region, a multiple of 8; some other word of it if that is past
    /// the end. `region` must be known when the code is compiled.
    fn read(&self, region: Region, offset: u64) -> u64;

    /// Sets the word that [`Machine::read`] reads. Of one word no reader sees a half.
    fn write(&self, region: Region, offset: u64, word: u64);

    /// Eight words of a region from byte `offset` on, a multiple of 64: one cache line. Words that change
    /// meanwhile may be of different moments.
    #[inline(always)]
    fn read_line(&self, region: Region, offset: u64) -> [u64; 8] {
        core::array::from_fn(|i| self.read(region, offset + 8 * i as u64))
    }

    /// Adds 1 to the word that [`Machine::read`] reads, at once.
    #[inline(always)]
    fn add_one(&self, region: Region, offset: u64) {
        loop {
            let old = self.read(region, offset);
            if self.exchange_if(region, offset, old, old.wrapping_add(1)) {
                return;
            }
        }
    }

    /// Sets that word to `new` if it is `old`, at once, and says whether it was. A full barrier.
    fn exchange_if(&self, region: Region, offset: u64, old: u64, new: u64) -> bool;

    /// Takes the lock in the word at byte `offset` of a region, if it is free (0; taken: 1).
    #[inline(always)]
    fn try_lock(&self, region: Region, offset: u64) -> bool {
        self.exchange_if(region, offset, 0, 1)
    }

    /// Gives a lock back that was taken: everything written before is seen by whoever takes it next.
    fn unlock(&self, region: Region, offset: u64);

    /// Counts a packet for the rule with counter slot `slot`.
    fn count_rule(&self, slot: u32);

    /// This place, for a packet that is only thought of: counts and logs nothing, and takes nothing
    /// from a limit, over which every packet is.
    #[must_use]
    fn quiet(&self) -> Self;
}

/// The state of a loop that [`Machine::repeat`] runs. In the kernel it lives on the stack and goes
/// through `bpf_loop`, so it should not hold values that are constant in one round and change in
/// the next: the verifier would follow every one of them. It forgets what it knows of a changing
/// number only if the number fills eight bytes of the stack, so every field is a `u64` or a pointer
/// (kernel/bpf/verifier.c, `widen_imprecise_scalars`).
pub trait Step {
    /// Whether every round ends with [`Step::forget`], in the kernel: where rounds leave numbers of
    /// which each means another path (Linux 7.3 proved the walk over IPv6 extension headers ten times
    /// as often as 6.18). Costs every round; for loops that hardly a packet reaches.
    const FORGETS: bool = false;

    /// Gives every number that a round can change to [`Machine::forget`]. Kernels before 6.8 lose
    /// track of why they know a number that is read through the callback's pointer: Linux 6.1 takes
    /// a value known before the first round for the value in all rounds, and removes the branches
    /// that only another value reaches. Called before the first round in the kernel.
    fn forget(&mut self);

    /// One round; false ends the loop.
    fn step(&mut self) -> bool;
}
