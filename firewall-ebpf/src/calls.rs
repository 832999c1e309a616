//! The steps that read a frame that comes in, or send it back, as calls of global functions.
//!
//! Those of frames that go out are beside [`crate::skb::SkbFrame`].

use crate::frame::{
    BufferFrame, fw_content, fw_expected, fw_parse, fw_parse_inner, fw_quote, fw_state,
};
use crate::link::{fw_frame, fw_mac, fw_of_link};
use crate::sockets::{fw_is_forwarded, fw_socket};
use crate::{answer, listener};
use firewall_common::abi::Entry;
use firewall_common::answer::within;
use firewall_common::calls::{Calls, FrameCalls, IngressCalls};
use firewall_common::key::Tuple;
use firewall_common::packet::{Packet, Parsed};
use firewall_common::reason::Reason;

impl<const WHOLE: bool, const SELDOM: bool> FrameCalls for BufferFrame<WHOLE, SELDOM> {
    #[inline(always)]
    fn parse<M: Calls>(&self, _machine: &M, packet: &mut Packet) -> Parsed {
        Parsed::from_word(fw_parse(self.ctx, packet))
    }

    #[inline(always)]
    fn socket<M: Calls>(&self, _machine: &M, tuple: &Tuple) -> u64 {
        fw_socket(self.ctx, tuple)
    }

    #[inline(always)]
    fn is_intact<M: Calls>(&self, _machine: &M, packet: &Packet) -> bool {
        answer::fw_intact(self.ctx, packet) != 0
    }
}

impl<const WHOLE: bool, const SELDOM: bool> IngressCalls for BufferFrame<WHOLE, SELDOM> {
    #[inline(always)]
    fn parse_inner<M: Calls>(&self, _machine: &M, packet: &mut Packet) -> Parsed {
        Parsed::from_word(fw_parse_inner(self.ctx, packet))
    }

    #[inline(always)]
    fn mac<M: Calls>(&self, _machine: &M) -> u32 {
        fw_mac(self.ctx) as u32
    }

    #[inline(always)]
    fn is_of_link<M: Calls>(&self, _machine: &M, ethertype: u32, offset: u32) -> bool {
        fw_of_link(self.ctx, ethertype, offset) != 0
    }

    #[inline(always)]
    fn judge<M: Calls>(
        &self,
        _machine: &M,
        packet: &mut Packet,
        ethertype: u32,
        offset: u32,
    ) -> Entry {
        Entry::from_word(fw_frame(self.ctx, packet, ethertype, offset))
    }

    #[inline(always)]
    fn content<M: Calls>(&self, _machine: &M, packet: &Packet) -> u32 {
        fw_content(self.ctx, packet) as u32
    }

    #[inline(always)]
    fn state<M: Calls>(&self, _machine: &M, packet: &Packet) -> u32 {
        fw_state(self.ctx, packet) as u32
    }

    #[inline(always)]
    fn is_expected<M: Calls>(&self, _machine: &M, packet: &Packet) -> bool {
        fw_expected(self.ctx, packet) != 0
    }

    #[inline(always)]
    fn has_cookie<M: Calls>(&self, _machine: &M, packet: &Packet) -> bool {
        listener::fw_cookie(self.ctx, packet) != 0
    }

    #[inline(always)]
    fn reject<M: Calls>(&self, machine: &M, packet: &Packet) -> Reason {
        // Four calls one after the other: the kernel's stack has no room for one in another.
        if answer::fw_may_answer(self.ctx, packet) == 0 {
            Reason::REJECT_SILENT
        } else if !within(machine, &packet.key) {
            Reason::REJECT_LIMIT
        } else if answer::fw_intact(self.ctx, packet) == 0 {
            Reason::REJECT_SILENT
        } else if answer::fw_answer(self.ctx, packet) == 0 {
            Reason::REJECT_SILENT
        } else {
            Reason::REJECT
        }
    }

    #[inline(always)]
    fn ask_listener<M: Calls>(&self, _machine: &M, packet: &Packet) -> u64 {
        listener::fw_listener(self.ctx, packet)
    }

    #[inline(always)]
    fn shake_hands<M: Calls>(&self, _machine: &M, packet: &Packet, cookie: u64) -> bool {
        answer::fw_handshake(self.ctx, packet, cookie) != 0
    }

    #[inline(always)]
    fn quote<M: Calls>(&self, _machine: &M, packet: &Packet) -> u64 {
        fw_quote(self.ctx, packet)
    }

    #[inline(always)]
    fn is_to_be_forwarded<M: Calls>(&self, _machine: &M, packet: &Packet) -> bool {
        fw_is_forwarded(self.ctx, packet) != 0
    }
}
