//! Reading a frame: one bounds check a header, then fields at fixed offsets inside it.
//!
//! Network byte order becomes host byte order here and nowhere else.

use crate::answer;
use crate::flows::{self, Tuple};
use crate::machine::Machine;
use crate::parse::{Packet, Parsed, parse, parse_inner};
use crate::reason::Reason;

/// A frame to read from, starting with the Ethernet header. A handle: small and `Copy`.
pub trait Frame: Copy {
    /// `N` checked bytes of the frame.
    type Header<const N: usize>: Header;

    /// Bytes of the frame that can be read.
    fn len(&self) -> u32;

    /// The `N` bytes at `offset`; `None` if the frame ends before, or past 32 KiB (no header of a
    /// packet that passes lies there).
    fn header<const N: usize>(&self, offset: u32) -> Option<Self::Header<N>>;

    /// [`crate::parse::parse`], in the way that suits this frame.
    #[inline(always)]
    fn parse<M: Machine>(&self, machine: &M, packet: &mut Packet) -> Parsed {
        parse(machine, self, packet)
    }

    /// [`crate::parse::parse_inner`], likewise.
    #[inline(always)]
    fn parse_inner<M: Machine>(&self, machine: &M, packet: &mut Packet) -> Parsed {
        parse_inner(machine, self, packet)
    }

    /// [`crate::flows::state_of`], likewise.
    #[inline(always)]
    fn state<M: Machine>(&self, machine: &M, packet: &Packet) -> u32 {
        flows::state_of(machine, self, packet)
    }

    /// [`crate::flows::record_packet`], likewise.
    #[inline(always)]
    fn record<M: Machine>(&self, machine: &M, packet: &Packet) -> u64 {
        flows::record_packet(machine, self, packet)
    }

    /// [`crate::flows::open`], likewise.
    #[inline(always)]
    fn open<M: Machine>(&self, machine: &M, answer: &Packet) {
        flows::open(machine, self, &answer.key);
    }

    /// What the kernel's sockets of this host say of a flow's tuple: [`flows::socket`]. The host
    /// build knows of none.
    #[inline(always)]
    fn socket<M: Machine>(&self, _machine: &M, _tuple: &Tuple) -> u64 {
        flows::socket::NONE
    }

    /// [`crate::flows::reset`], in the way that suits this frame.
    #[inline(always)]
    fn reset<M: Machine>(&self, machine: &M, packet: &Packet) {
        flows::reset(machine, &packet.key);
    }

    /// [`crate::answer::is_intact`], likewise.
    #[inline(always)]
    fn is_intact<M: Machine>(&self, machine: &M, packet: &Packet) -> bool {
        answer::is_intact(machine, self, packet)
    }

    /// Whether an acknowledgement carries a valid cookie of the socket that listens where it goes.
    #[inline(always)]
    fn has_cookie<M: Machine>(&self, _machine: &M, _packet: &Packet) -> bool {
        false
    }

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

    /// [`crate::answer::judge`], likewise. In the kernel the frame is the answer after
    /// [`Reason::REJECT`], and nothing may be read from it any more.
    #[inline(always)]
    fn reject<M: Machine>(&self, machine: &M, packet: &Packet) -> Reason {
        answer::judge(machine, self, packet)
    }

    /// What the socket that listens where the packet goes says of it: [`answer::GO_ON`],
    /// [`answer::FORGED`], or a cookie. The host build knows of no socket.
    #[inline(always)]
    fn ask_listener<M: Machine>(&self, _machine: &M, _packet: &Packet) -> u64 {
        answer::GO_ON
    }

    /// Makes the frame, a SYN, the answer with this cookie; false if that cannot be. Afterwards
    /// nothing may be read from it.
    #[inline(always)]
    fn shake_hands<M: Machine>(&self, _machine: &M, _packet: &Packet, _cookie: u64) -> bool {
        false
    }

    /// [`crate::flows::quote::quote`], in the way that suits this frame.
    #[inline(always)]
    fn quote<M: Machine>(&self, machine: &M, packet: &Packet) -> u64 {
        flows::quote::quote(machine, self, packet)
    }

    /// Whether this host would forward a packet that has come in. The host build knows no route.
    #[inline(always)]
    fn is_to_be_forwarded<M: Machine>(&self, _machine: &M, _packet: &Packet) -> bool {
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

/// The furthest offset at which a header is read.
pub const MAX_OFFSET: u32 = 0x7fff;

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
