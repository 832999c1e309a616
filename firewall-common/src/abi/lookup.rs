//! The words of address lookups and of short lists, in the tables: see [`crate::classify`].

/// How many starts a bucket of addresses or a low block holds: `(4 + m) << e`, as `e << 2 | m`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct SizeCode(u32);

impl SizeCode {
    /// Bits of a code.
    const BITS: u32 = 7;

    /// The code of the smallest size that has room for `count` starts.
    #[must_use]
    pub const fn for_count(count: usize) -> Self {
        let mut code = Self(0);
        while (code.size() as usize) < count {
            code.0 += 1;
        }
        code
    }

    /// How many starts.
    #[must_use]
    #[inline(always)]
    pub const fn size(self) -> u64 {
        ((4 + (self.0 & 3)) as u64) << self.exponent()
    }

    /// `e`.
    #[must_use]
    #[inline(always)]
    pub const fn exponent(self) -> u32 {
        self.0 >> 2 & 31
    }

    /// `m << e`: how many there are beyond `4 << e`.
    #[must_use]
    #[inline(always)]
    pub const fn over(self) -> u64 {
        ((self.0 & 3) as u64) << self.exponent()
    }
}

/// An entry of the root of [`addr_form::ROOT`](super::addr_form::ROOT): which bucket, and how long it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(transparent)]
pub struct RootEntry(u32);

impl RootEntry {
    /// The bucket at byte `offset`, a multiple of 8 below 256 MiB.
    #[must_use]
    pub const fn new(offset: u32, code: SizeCode) -> Self {
        Self((offset / 8) << SizeCode::BITS | code.0)
    }

    /// Byte offset of the bucket.
    #[must_use]
    #[inline(always)]
    pub const fn bucket(self) -> u64 {
        (self.0 >> SizeCode::BITS) as u64 * 8
    }

    /// How many starts it holds.
    #[must_use]
    #[inline(always)]
    pub const fn code(self) -> SizeCode {
        SizeCode(self.0 & ((1 << SizeCode::BITS) - 1))
    }

    /// From the tables.
    #[must_use]
    #[inline(always)]
    pub const fn from_word(word: u32) -> Self {
        Self(word)
    }
}

/// The head of a low block: it is about one prefix, or holds starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(transparent)]
pub struct LowHead(u32);

impl LowHead {
    /// Set in the head of a block about one prefix.
    const PREFIX: u32 = 1 << 31;

    /// Of one prefix that leaves so many low bits free, 0 to 63.
    #[must_use]
    pub const fn of_prefix(free: u32) -> Self {
        Self(Self::PREFIX | free)
    }

    /// Of so many starts.
    #[must_use]
    pub const fn of_starts(code: SizeCode) -> Self {
        Self(code.0)
    }

    /// Whether the block is about one prefix.
    #[must_use]
    #[inline(always)]
    pub const fn is_prefix(self) -> bool {
        self.0 & Self::PREFIX != 0
    }

    /// How many low bits the prefix leaves free.
    #[must_use]
    #[inline(always)]
    pub const fn free(self) -> u32 {
        self.0 & 63
    }

    /// How many starts there are, if it is not about one prefix.
    #[must_use]
    #[inline(always)]
    pub const fn code(self) -> SizeCode {
        SizeCode(self.0)
    }

    /// From the tables.
    #[must_use]
    #[inline(always)]
    pub const fn from_word(word: u32) -> Self {
        Self(word)
    }
}

/// An entry of the root of [`addr_form::BRANCH`](super::addr_form::BRANCH): where its tree begins, in lines
/// of 64 bytes, and how many nodes stand above a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(transparent)]
pub struct BranchEntry(u32);

impl BranchEntry {
    /// The tree at a line; `depth` is at most [`super::BRANCH_LEVELS`].
    #[must_use]
    pub const fn new(line: u32, depth: u32) -> Self {
        Self(line << 4 | depth)
    }

    /// The number of its first line.
    #[must_use]
    #[inline(always)]
    pub const fn line(self) -> u64 {
        (self.0 >> 4) as u64
    }

    /// How many nodes stand above a leaf.
    #[must_use]
    #[inline(always)]
    pub const fn depth(self) -> u32 {
        self.0 & 15
    }

    /// From the tables.
    #[must_use]
    #[inline(always)]
    pub const fn from_word(word: u32) -> Self {
        Self(word)
    }
}

/// A reference in a leaf of [`addr_form::BRANCH`](super::addr_form::BRANCH), and for how many addresses it
/// holds: a power of two. Above the six bits of the length is the mark of a low block, below them room
/// for every multiple of 8 in the largest tables (256 MiB).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(transparent)]
pub struct BranchReference(u32);

impl BranchReference {
    /// First of the bits of the length.
    const LENGTH: u32 = 25;

    /// A reference for `2^length` addresses, `length` at most 63.
    #[must_use]
    pub const fn new(reference: u32, length: u32) -> Self {
        Self(reference | length << Self::LENGTH)
    }

    /// The power of two.
    #[must_use]
    #[inline(always)]
    pub const fn length(self) -> u32 {
        self.0 >> Self::LENGTH & 63
    }

    /// The reference.
    #[must_use]
    #[inline(always)]
    pub const fn reference(self) -> u32 {
        self.0 & !(63 << Self::LENGTH)
    }

    /// From the tables.
    #[must_use]
    #[inline(always)]
    pub const fn from_word(word: u32) -> Self {
        Self(word)
    }
}

/// Marks a reference to a low block.
pub const LOW_BLOCK: u32 = 1 << 31;

/// The head of a block: where its row is, and how many entries its list has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(transparent)]
pub struct ListHead(u64);

impl ListHead {
    /// The row at this byte offset, and so many entries.
    #[must_use]
    pub const fn new(row: u32, entries: u32) -> Self {
        Self(row as u64 | (entries as u64) << 32)
    }

    /// Byte offset of the row.
    #[must_use]
    #[inline(always)]
    pub const fn row(self) -> u64 {
        self.0 & 0xffff_ffff
    }

    /// How many entries follow.
    #[must_use]
    #[inline(always)]
    pub const fn entries(self) -> u64 {
        self.0 >> 32
    }

    /// From the tables.
    #[must_use]
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }
}

/// Which rule an entry of a list is of, and the profile of its small fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(transparent)]
pub struct ListRule(u64);

impl ListRule {
    /// Two numbers.
    #[must_use]
    pub const fn new(rule: u32, profile: u32) -> Self {
        Self(rule as u64 | (profile as u64) << 32)
    }

    /// The rule's number.
    #[must_use]
    #[inline(always)]
    pub const fn rule(self) -> u64 {
        self.0 & 0xffff_ffff
    }

    /// The profile's number.
    #[must_use]
    #[inline(always)]
    pub const fn profile(self) -> u64 {
        self.0 >> 32
    }

    /// From the tables.
    #[must_use]
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes have the smallest code that suffices, and every code comes back from each word.
    #[test]
    fn codes_of_sizes_come_back() {
        for count in counts() {
            let code = SizeCode::for_count(count);
            assert!(code.size() >= count as u64);
            assert!(code.0 == 0 || SizeCode(code.0 - 1).size() < count as u64);
            assert_eq!(code.size(), (4u64 << code.exponent()) + code.over());
            for offset in [0, 8, 64, (256 << 20) - 8] {
                let entry = RootEntry::from_word(RootEntry::new(offset, code).0);
                assert_eq!((entry.bucket(), entry.code()), (offset.into(), code));
            }
            let head = LowHead::from_word(LowHead::of_starts(code).0);
            assert!(!head.is_prefix());
            assert_eq!(head.code(), code);
        }
        let sizes = [0, 4, 5, 8, 9].map(|count| SizeCode::for_count(count).size());
        assert_eq!(sizes, [4, 4, 5, 8, 10]);
    }

    /// Around every size up to the largest block.
    fn counts() -> [usize; 75] {
        core::array::from_fn(|i| {
            let size = SizeCode((i / 3 * 4) as u32).size() as usize;
            [size - 1, size, size + 1][i % 3]
        })
    }

    #[test]
    fn heads_of_one_prefix_come_back() {
        for free in [0, 1, 32, 62, 63] {
            let head = LowHead::from_word(LowHead::of_prefix(free).0);
            assert!(head.is_prefix());
            assert_eq!(head.free(), free);
        }
    }

    #[test]
    fn entries_and_references_of_trees_come_back() {
        for line in [0, 1, (256 << 20) / 64] {
            for depth in [0, 1, super::super::BRANCH_LEVELS] {
                let entry = BranchEntry::from_word(BranchEntry::new(line, depth).0);
                assert_eq!((entry.line(), entry.depth()), (line.into(), depth));
            }
        }
        for reference in [0, 1, (256 << 20) / 8 - 1] {
            for reference in [reference, reference | LOW_BLOCK] {
                for length in [0, 1, 62, 63] {
                    let word = BranchReference::new(reference, length).0;
                    let back = BranchReference::from_word(word);
                    assert_eq!((back.reference(), back.length()), (reference, length));
                }
            }
        }
    }

    #[test]
    fn words_of_lists_come_back() {
        for low in [0, 1, u32::MAX] {
            for high in [0, 1, super::super::LIST_MAX, u32::MAX] {
                let head = ListHead::from_word(ListHead::new(low, high).0);
                assert_eq!((head.row(), head.entries()), (low.into(), high.into()));
                let rule = ListRule::from_word(ListRule::new(low, high).0);
                assert_eq!((rule.rule(), rule.profile()), (low.into(), high.into()));
            }
        }
    }
}
