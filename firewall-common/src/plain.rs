//! The steps as ordinary calls, for places where nothing has to be proved.

use crate::abi::Entry;
use crate::calls::{Calls, EgressCalls, FrameCalls, IngressCalls};
use crate::frame::Frame;
use crate::key::{PacketKey, Tuple};
use crate::machine::Machine;
use crate::packet::{Packet, Parsed};
use crate::parse::{parse, parse_inner};
use crate::reason::Reason;
use crate::region::Bucket;
use crate::watch::{self, Fate};
use crate::{
    answer, classify, content, essential, flows, fragments, limits, link, live, log, proof,
};

/// A place that calls every step as it is.
pub trait Plain: Machine {}

impl<M: Plain> Calls for M {
    #[inline(always)]
    fn walk(&self, key: &PacketKey) -> Entry {
        if key.is_v6 != 0 {
            classify::walk_v6(self, key)
        } else {
            classify::walk_v4(self, key)
        }
    }

    #[inline(always)]
    fn follow_fragment(&self, packet: &Packet, passes: bool) -> u64 {
        fragments::follow(self, packet, passes)
    }

    #[inline(always)]
    fn limit(&self, key: &PacketKey, rule: Entry) -> Entry {
        limits::charge(self, key, rule)
    }

    #[inline(always)]
    fn pay(&self, bucket: Bucket, rule: Entry, bytes: u32) -> Entry {
        limits::pay(self, bucket, rule, bytes)
    }

    #[inline(always)]
    fn ban(&self, key: &PacketKey, rule: Entry) {
        limits::ban(self, key, rule);
    }

    #[inline(always)]
    fn log(&self, key: &PacketKey, rule: Entry, found: Entry) {
        log::record(self, key, rule, found);
    }

    #[inline(always)]
    fn sets_of(&self, key: &PacketKey, is_destination: bool) -> u64 {
        live::sets_of(self, key, is_destination)
    }

    #[inline(always)]
    fn note_source(&self, key: &PacketKey) {
        proof::note(self, key);
    }

    #[inline(always)]
    fn is_proven(&self, key: &PacketKey) -> bool {
        proof::is_proven(self, key)
    }

    #[inline(always)]
    fn ended(&self, packet: &Packet) {
        flows::ended(self, &packet.key);
    }

    #[inline(always)]
    fn locate(&self, tuple: &Tuple) -> u64 {
        flows::locate(self, tuple)
    }

    #[inline(always)]
    fn room(&self, set: u64, now: u64, counterpart: u64) -> u64 {
        flows::room(self, set, now, counterpart)
    }

    #[inline(always)]
    fn protection_of(&self, key: &PacketKey) -> u64 {
        live::protection_of(self, key)
    }

    #[inline(always)]
    fn show(&self, packet: &Packet, fate: u64, slot: u64, bytes: u32) {
        watch::show(self, packet, Fate::from_word(fate), slot, bytes);
    }
}

/// A frame in ordinary memory. It knows of no socket, and of no route.
impl FrameCalls for &[u8] {
    #[inline(always)]
    fn parse<M: Calls>(&self, machine: &M, packet: &mut Packet) -> Parsed {
        parse(machine, self, packet)
    }

    #[inline(always)]
    fn socket<M: Calls>(&self, _machine: &M, _tuple: &Tuple) -> u64 {
        flows::socket::NONE
    }

    #[inline(always)]
    fn is_intact<M: Calls>(&self, machine: &M, packet: &Packet) -> bool {
        answer::is_intact(machine, self, packet)
    }
}

impl IngressCalls for &[u8] {
    #[inline(always)]
    fn parse_inner<M: Calls>(&self, machine: &M, packet: &mut Packet) -> Parsed {
        parse_inner(machine, self, packet)
    }

    #[inline(always)]
    fn mac<M: Calls>(&self, machine: &M) -> u32 {
        link::mac_of(machine, self)
    }

    #[inline(always)]
    fn is_of_link<M: Calls>(&self, machine: &M, ethertype: u32, offset: u32) -> bool {
        essential::is_of_link(machine, self, ethertype, offset)
    }

    #[inline(always)]
    fn judge<M: Calls>(
        &self,
        machine: &M,
        packet: &mut Packet,
        ethertype: u32,
        offset: u32,
    ) -> Entry {
        let ethertype = link::kind(self, ethertype, offset);
        link::judge(machine, self, packet, ethertype)
    }

    #[inline(always)]
    fn content<M: Calls>(&self, machine: &M, packet: &Packet) -> u32 {
        content::of(machine, self, packet)
    }

    #[inline(always)]
    fn state<M: Calls>(&self, machine: &M, packet: &Packet) -> u32 {
        flows::state_of(machine, self, packet)
    }

    #[inline(always)]
    fn is_expected<M: Calls>(&self, machine: &M, packet: &Packet) -> bool {
        flows::is_expected(machine, &packet.key, Frame::interface_index(self))
    }

    #[inline(always)]
    fn has_cookie<M: Calls>(&self, _machine: &M, _packet: &Packet) -> bool {
        false
    }

    #[inline(always)]
    fn reject<M: Calls>(&self, machine: &M, packet: &Packet) -> Reason {
        answer::reject(machine, self, packet)
    }

    #[inline(always)]
    fn ask_listener<M: Calls>(&self, _machine: &M, _packet: &Packet) -> u64 {
        answer::GO_ON
    }

    #[inline(always)]
    fn shake_hands<M: Calls>(&self, _machine: &M, _packet: &Packet, _cookie: u64) -> bool {
        false
    }

    #[inline(always)]
    fn quote<M: Calls>(&self, machine: &M, packet: &Packet) -> u64 {
        flows::quote::quote(machine, self, packet)
    }

    #[inline(always)]
    fn is_to_be_forwarded<M: Calls>(&self, _machine: &M, _packet: &Packet) -> bool {
        false
    }
}

impl EgressCalls for &[u8] {
    #[inline(always)]
    fn record<M: Calls>(&self, machine: &M, packet: &Packet) -> u64 {
        flows::record_packet(machine, self, packet)
    }

    #[inline(always)]
    fn open<M: Calls>(&self, machine: &M, answer: &Packet) {
        flows::open(machine, self, &answer.key);
    }

    #[inline(always)]
    fn reset<M: Calls>(&self, machine: &M, packet: &Packet) {
        flows::reset(machine, &packet.key);
    }
}
