//! The steps of a packet's way that the kernel program proves as functions of their own: what calls one
//! names it here, and whoever runs the code says how it is called.
//!
//! Without bodies, so that this floor knows the words of the steps and not the steps: the kernel
//! program makes global functions of them, `plain` ordinary calls.

use crate::abi::Entry;
use crate::frame::Frame;
use crate::key::{PacketKey, Tuple};
use crate::machine::Machine;
use crate::packet::{Packet, Parsed};
use crate::reason::Reason;
use crate::region::Bucket;

/// Steps that need no frame.
pub trait Calls: Machine {
    /// [`crate::classify::walk_v4`] or [`crate::classify::walk_v6`].
    fn walk(&self, key: &PacketKey) -> Entry;

    /// [`crate::fragments::follow`].
    fn follow_fragment(&self, packet: &Packet, passes: bool) -> u64;

    /// [`crate::limits::charge`].
    fn limit(&self, key: &PacketKey, rule: Entry) -> Entry;

    /// [`crate::limits::pay`].
    fn pay(&self, bucket: Bucket, rule: Entry, bytes: u32) -> Entry;

    /// [`crate::limits::ban`].
    fn ban(&self, key: &PacketKey, rule: Entry);

    /// [`crate::log::record`].
    fn log(&self, key: &PacketKey, rule: Entry, found: Entry);

    /// [`crate::live::sets_of`].
    fn sets_of(&self, key: &PacketKey, is_destination: bool) -> u64;

    /// [`crate::proof::note`].
    fn note_source(&self, key: &PacketKey);

    /// [`crate::proof::is_proven`].
    fn is_proven(&self, key: &PacketKey) -> bool;

    /// [`crate::flows::ended`].
    fn ended(&self, packet: &Packet);

    /// [`crate::flows::locate`].
    fn locate(&self, tuple: &Tuple) -> u64;

    /// [`crate::flows::room`].
    fn room(&self, set: u64, now: u64, counterpart: u64) -> u64;

    /// [`crate::live::protection_of`].
    fn protection_of(&self, key: &PacketKey) -> u64;

    /// [`crate::watch::show`], of the word of a [`crate::watch::Fate`].
    fn show(&self, packet: &Packet, fate: u64, slot: u64, bytes: u32);
}

/// Steps of both programs that read the frame.
pub trait FrameCalls: Frame {
    /// [`crate::parse::parse`].
    fn parse<M: Calls>(&self, machine: &M, packet: &mut Packet) -> Parsed;

    /// What the kernel's sockets of this host say of a flow's tuple: [`crate::flows::socket`].
    fn socket<M: Calls>(&self, machine: &M, tuple: &Tuple) -> u64;

    /// [`crate::answer::is_intact`].
    fn is_intact<M: Calls>(&self, machine: &M, packet: &Packet) -> bool;
}

/// Steps that read a frame that comes in, or send it back.
pub trait IngressCalls: FrameCalls {
    /// [`crate::parse::parse_inner`].
    fn parse_inner<M: Calls>(&self, machine: &M, packet: &mut Packet) -> Parsed;

    /// [`crate::link::mac_of`]. Not asked under a policy that names no MAC address.
    fn mac<M: Calls>(&self, machine: &M) -> u32;

    /// [`crate::essential::is_of_link`].
    fn is_of_link<M: Calls>(&self, machine: &M, ethertype: u32, offset: u32) -> bool;

    /// [`crate::link::judge`], of the EtherType and the offset that the parser has found.
    fn judge<M: Calls>(
        &self,
        machine: &M,
        packet: &mut Packet,
        ethertype: u32,
        offset: u32,
    ) -> Entry;

    /// [`crate::content::of`]. Not asked under a policy without such conditions.
    fn content<M: Calls>(&self, machine: &M, packet: &Packet) -> u32;

    /// [`crate::flows::state_of`].
    fn state<M: Calls>(&self, machine: &M, packet: &Packet) -> u32;

    /// [`crate::flows::is_expected`]. Not asked under a policy that does not tell what is related.
    fn is_expected<M: Calls>(&self, machine: &M, packet: &Packet) -> bool;

    /// Whether an acknowledgement carries a valid cookie of the socket that listens where it goes.
    fn has_cookie<M: Calls>(&self, machine: &M, packet: &Packet) -> bool;

    /// [`crate::answer::reject`]. In the kernel the frame is the answer after
    /// [`Reason::REJECT`], and nothing may be read from it any more.
    fn reject<M: Calls>(&self, machine: &M, packet: &Packet) -> Reason;

    /// What the socket that listens where the packet goes says of it: [`crate::answer::GO_ON`],
    /// [`crate::answer::FORGED`], or a cookie.
    fn ask_listener<M: Calls>(&self, machine: &M, packet: &Packet) -> u64;

    /// Makes the frame, a SYN, the answer with this cookie; false if that cannot be. Afterwards
    /// nothing may be read from it.
    fn shake_hands<M: Calls>(&self, machine: &M, packet: &Packet, cookie: u64) -> bool;

    /// [`crate::flows::quote::quote`].
    fn quote<M: Calls>(&self, machine: &M, packet: &Packet) -> u64;

    /// Whether this host would forward a packet that has come in.
    fn is_to_be_forwarded<M: Calls>(&self, machine: &M, packet: &Packet) -> bool;
}

/// Steps that read a frame that goes out, and take note of it.
pub trait EgressCalls: FrameCalls {
    /// [`crate::flows::record_packet`].
    fn record<M: Calls>(&self, machine: &M, packet: &Packet) -> u64;

    /// [`crate::flows::open`].
    fn open<M: Calls>(&self, machine: &M, answer: &Packet);

    /// [`crate::flows::reset`].
    fn reset<M: Calls>(&self, machine: &M, packet: &Packet);
}
