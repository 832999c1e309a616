//! Bits of a word, without the instructions that BPF does not have: it counts neither zeros nor
//! ones.

/// Ways of a typed word in and out: tables, regions, and calls of the kernel program hold bare numbers.
macro_rules! as_word {
    ($($typed:ident: $word:ty),+) => {$(
        impl $typed {
            /// As a number, for tables, regions, and calls of the kernel program.
            #[must_use]
            #[inline(always)]
            pub const fn word(self) -> $word {
                self.0
            }

            /// Back from [`Self::word`].
            #[must_use]
            #[inline(always)]
            pub const fn from_word(word: $word) -> Self {
                Self(word)
            }
        }
    )+};
}
pub(crate) use as_word;

/// The lowest set bit, alone. (To be cleared by XOR: of `x & (x - 1)` the verifier keeps a shrinking
/// bound, so that it never sees two rounds as equal.)
#[inline(always)]
pub(crate) const fn lowest(bits: u64) -> u64 {
    bits & bits.wrapping_neg()
}

/// The index of a bit.
#[inline(always)]
pub(crate) fn index(bit: u64) -> u64 {
    u64::from(BIT_INDEX[(bit.wrapping_mul(DE_BRUIJN) >> 58) as usize])
}

/// How many of `bits` are below `bit`.
#[inline(always)]
pub(crate) const fn rank(bits: u64, bit: u64) -> u64 {
    (bits & bit.wrapping_sub(1)).count_ones() as u64
}

/// A de Bruijn sequence: each of its 64 windows of six bits is another number (Leiserson, Prokop
/// and Randall, 1998).
const DE_BRUIJN: u64 = 0x03f7_9d71_b4cb_0a89;

/// The index of the bit that leads to each window.
static BIT_INDEX: [u8; 64] = {
    let mut table = [0; 64];
    let mut i = 0;
    while i < 64 {
        table[(DE_BRUIJN.wrapping_mul(1 << i) >> 58) as usize] = i as u8;
        i += 1;
    }
    table
};
