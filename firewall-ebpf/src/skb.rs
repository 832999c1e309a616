//! Reading a frame that goes out: the linear part of its packet buffer, where headers are.
//!
//! A header that lies behind the linear part is brought there once, by `bpf_skb_pull_data`; nothing
//! else changes a packet here.

use crate::frame::Checked;
use crate::kernel::Kernel;
use crate::maps::{add, constant, interface, is_station, pin};
use crate::sockets::fw_socket_out;
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::bpf_skb_pull_data;
use firewall_common::abi::{ANY_TAG, NO_TAG, upper};
use firewall_common::answer::is_intact;
use firewall_common::calls::{Calls, EgressCalls, FrameCalls};
use firewall_common::flows;
use firewall_common::frame::{Frame, Header as _, MAX_OFFSET};
use firewall_common::key::Tuple;
use firewall_common::packet::{Packet, Parsed};
use firewall_common::parse::parse;
use firewall_common::reason::Reason;

/// How many bytes of a packet are looked at, if its headers do not end before.
const HEADERS: u32 = 512;

/// A frame that goes out.
#[derive(Clone, Copy)]
pub(crate) struct SkbFrame {
    ctx: *mut __sk_buff,
    data: usize,
    end: usize,
}

impl SkbFrame {
    #[inline(always)]
    pub(crate) fn new(ctx: *mut __sk_buff) -> Self {
        // SAFETY: the context that the program was called with.
        let (data, end) = unsafe { ((*ctx).data, (*ctx).data_end) };
        Self {
            ctx,
            data: data as usize,
            end: end as usize,
        }
    }

    /// The number of its outer VLAN tag, beside the frame or in it.
    #[inline(always)]
    fn tag(&self) -> u64 {
        // SAFETY: as above.
        let (present, tag) = unsafe { ((*self.ctx).vlan_present, (*self.ctx).vlan_tci) };
        if present != 0 {
            return u64::from(tag & VLAN_ID);
        }
        if constant(|c| &c.raw_ip) != 0 {
            return NO_TAG;
        }
        match self.header::<4>(TYPE_AT) {
            Some(header) if matches!(header.be16::<0>(), 0x8100 | 0x88a8) => {
                u64::from(header.be16::<2>() & VLAN_ID)
            }
            _ => NO_TAG,
        }
    }
}

/// Bits of a VLAN tag that are its number.
const VLAN_ID: u32 = 0xfff;

/// Byte offset of the type in an Ethernet header.
const TYPE_AT: u32 = 12;

impl Frame for SkbFrame {
    type Header<const N: usize> = Checked<N>;

    #[inline(always)]
    fn len(&self) -> u32 {
        // SAFETY: the context that the program was called with.
        unsafe { (*self.ctx).len }
    }

    #[inline(always)]
    fn interface_index(&self) -> u32 {
        // SAFETY: the context that the program was called with.
        unsafe { (*self.ctx).ifindex }
    }

    #[inline(always)]
    fn is_forwarded(&self) -> bool {
        // SAFETY: the context that the program was called with.
        unsafe { (*self.ctx).ingress_ifindex != 0 }
    }

    #[inline(always)]
    fn has_sender(&self) -> bool {
        // SAFETY: as above. Only whether there is one is looked at.
        unsafe { !(*self.ctx).__bindgen_anon_2.sk.is_null() }
    }

    #[inline(always)]
    fn is_hairpin(&self) -> bool {
        // SAFETY: as above.
        let (came, leaves) = unsafe { ((*self.ctx).ingress_ifindex, (*self.ctx).ifindex) };
        came == leaves || constant(|c| &c.uppers) != 0 && came != 0 && fw_upper(self.ctx) != 0
    }

    #[inline(always)]
    fn header<const N: usize>(&self, offset: u32) -> Option<Checked<N>> {
        let offset = pin(u64::from(offset));
        if offset > u64::from(MAX_OFFSET) {
            return None;
        }
        let pointer = add(self.data, offset);
        if pointer + N > self.end {
            return None;
        }
        Some(Checked::at(pointer))
    }
}

/// Whether a packet that goes out has come in by an interface that lies over the one that it leaves by,
/// and leaves as that one's do: 1, or 0. A global function, proved once.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_upper(ctx: *mut __sk_buff) -> u64 {
    if constant(|c| &c.uppers) == 0 {
        return 0;
    }
    let frame = SkbFrame::new(ctx);
    let slot = u32::from(interface(frame.interface_index()).slot);
    // SAFETY: the context that the program was called with.
    let came = unsafe { (*ctx).ingress_ifindex };
    let is_over = |tag: u64| is_station(upper(came, slot, tag));
    u64::from(is_over(ANY_TAG) || is_over(frame.tag()))
}

impl FrameCalls for SkbFrame {
    #[inline(always)]
    fn parse<M: Calls>(&self, _machine: &M, packet: &mut Packet) -> Parsed {
        let parsed = Parsed::from_word(fw_parse_out(self.ctx, packet));
        if !matches!(parsed, Parsed::Bad(_)) {
            return parsed;
        }
        // Perhaps only because a header lies behind the linear part.
        let all = self.len();
        let wanted = if all < HEADERS { all } else { HEADERS };
        // SAFETY: the context that the program was called with; no pointer into the packet is used
        // behind this call.
        if unsafe { bpf_skb_pull_data(self.ctx, wanted) } != 0 {
            return parsed;
        }
        *packet = Packet::EMPTY;
        Parsed::from_word(fw_parse_out(self.ctx, packet))
    }

    #[inline(always)]
    fn socket<M: Calls>(&self, _machine: &M, tuple: &Tuple) -> u64 {
        fw_socket_out(self.ctx, tuple)
    }

    #[inline(always)]
    fn is_intact<M: Calls>(&self, _machine: &M, packet: &Packet) -> bool {
        fw_intact_out(self.ctx, packet) != 0
    }
}

impl EgressCalls for SkbFrame {
    #[inline(always)]
    fn record<M: Calls>(&self, _machine: &M, packet: &Packet) -> u64 {
        fw_record(self.ctx, packet)
    }

    #[inline(always)]
    fn open<M: Calls>(&self, _machine: &M, answer: &Packet) {
        fw_open(self.ctx, answer);
    }

    #[inline(always)]
    fn reset<M: Calls>(&self, _machine: &M, packet: &Packet) {
        fw_reset(packet);
    }
}

/// The parser as a global function, proved once.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_parse_out(ctx: *mut __sk_buff, packet: *mut Packet) -> u64 {
    let frame = SkbFrame::new(ctx);
    // SAFETY: the verifier lets only writable memory of this type through, or null.
    match unsafe { packet.as_mut() } {
        Some(packet) => parse(&Kernel::outgoing(), &frame, packet).to_word(),
        None => Parsed::Bad(Reason::INTERNAL).to_word(),
    }
}

/// What a parsed packet makes of its flow, as a global function.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_record(ctx: *mut __sk_buff, packet: *const Packet) -> u64 {
    let frame = SkbFrame::new(ctx);
    // SAFETY: the verifier lets only readable memory of this type through, or null.
    match unsafe { packet.as_ref() } {
        Some(packet) => flows::record_packet(&Kernel::outgoing(), &frame, packet),
        None => flows::DONE,
    }
}

/// The flow of a datagram whose answer the rules would not let in, likewise.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_open(ctx: *mut __sk_buff, answer: *const Packet) -> u64 {
    if constant(|c| &c.flows) == 0 {
        return 0;
    }
    // SAFETY: as above.
    if let Some(answer) = unsafe { answer.as_ref() } {
        flows::open(&Kernel::outgoing(), &SkbFrame::new(ctx), &answer.key);
    }
    0
}

/// A reset that goes out, likewise.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_reset(packet: *const Packet) -> u64 {
    if constant(|c| &c.flows) == 0 {
        return 0;
    }
    // SAFETY: as above.
    if let Some(packet) = unsafe { packet.as_ref() } {
        flows::reset(&Kernel::outgoing(), &packet.key);
    }
    0
}

/// Whether the checksums of a packet that goes out are right: 1, or 0. Likewise.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_intact_out(ctx: *mut __sk_buff, packet: *const Packet) -> u64 {
    // SAFETY: as above.
    match unsafe { packet.as_ref() } {
        Some(packet) => {
            let frame = SkbFrame::new(ctx);
            u64::from(is_intact(&Kernel::outgoing(), &frame, packet))
        }
        None => 0,
    }
}
