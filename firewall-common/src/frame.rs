//! Reading a frame: one bounds check a header, then fields at fixed offsets inside it.
//!
//! Network byte order becomes host byte order here and nowhere else.

pub use crate::abi::MAX_OFFSET;

/// A frame to read from, starting with the Ethernet header. A handle: small and `Copy`.
pub trait Frame: Copy {
    /// `N` checked bytes of the frame.
    type Header<const N: usize>: Header;

    /// Bytes of the frame that can be read.
    fn len(&self) -> u32;

    /// The `N` bytes at `offset`; `None` if the frame ends before, or past 32 KiB (no header of a
    /// packet that passes lies there).
    fn header<const N: usize>(&self, offset: u32) -> Option<Self::Header<N>>;

    /// Whether a frame that goes out has come in before.
    #[inline(always)]
    fn is_forwarded(&self) -> bool {
        false
    }

    /// Whether a socket has sent a frame that goes out. (None has sent what is forwarded, nor the answer
    /// to a SYN that a listening socket remembers by a cookie.)
    #[inline(always)]
    fn has_sender(&self) -> bool {
        false
    }

    /// Whether it goes out by the interface that it has come in on.
    #[inline(always)]
    fn is_hairpin(&self) -> bool {
        false
    }

    /// Index of the interface that it came in on, or goes out by; 0 if there is none.
    #[inline(always)]
    fn interface_index(&self) -> u32 {
        0
    }

    /// Counter slot of the interface that it came in on; 0 if there is none.
    #[inline(always)]
    fn interface(&self) -> u32 {
        0
    }

    /// Whether there is no byte to read.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Checked bytes. `AT` is a byte offset; a field that does not fit is a bug at compile time on the
/// host (an index out of bounds) and a verifier error in the kernel.
pub trait Header {
    /// The byte at `AT`.
    fn u8<const AT: usize>(&self) -> u32;
    /// The big-endian 16-bit number at `AT`.
    fn be16<const AT: usize>(&self) -> u32;
    /// The big-endian 32-bit number at `AT`.
    fn be32<const AT: usize>(&self) -> u32;

    /// The big-endian 64-bit number at `AT`, given `AT + 4` as `LOW`. (Two halves, because headers
    /// are aligned to two bytes at best.)
    #[inline(always)]
    fn be64<const AT: usize, const LOW: usize>(&self) -> u64 {
        const { assert!(LOW == AT + 4) };
        (u64::from(self.be32::<AT>()) << 32) | u64::from(self.be32::<LOW>())
    }
}

/// A frame in ordinary memory.
impl Frame for &[u8] {
    type Header<const N: usize> = [u8; N];

    fn len(&self) -> u32 {
        u32::try_from(<[u8]>::len(self)).unwrap_or(u32::MAX)
    }

    fn header<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        if offset > MAX_OFFSET {
            return None;
        }
        self.get(offset as usize..)?.first_chunk().copied()
    }
}

impl<const N: usize> Header for [u8; N] {
    fn u8<const AT: usize>(&self) -> u32 {
        u32::from(self[AT])
    }

    fn be16<const AT: usize>(&self) -> u32 {
        u32::from(u16::from_be_bytes([self[AT], self[AT + 1]]))
    }

    fn be32<const AT: usize>(&self) -> u32 {
        u32::from_be_bytes([self[AT], self[AT + 1], self[AT + 2], self[AT + 3]])
    }
}
