//! IPv6 with extension headers and fragments (RFC 8200, RFC 5095, RFC 5722, RFC 6946, RFC 7112).
//!
//! A fragment header stands first, or behind one hop-by-hop header. Anywhere else, Linux with connection
//! tracking takes what follows for what another header says, so that no reading of it is safe.

use super::{
    Packet, anomaly, asks_for_options, fragment, fragment_allowed, ipv4, knob, proto,
    rules_judge_malformed,
};
use crate::abi::option_bit;
use crate::field::Field;
use crate::frame::{Frame, Header as _};
use crate::machine::{Machine, Step};
use crate::packet::Span;
use crate::reason::Reason;

/// Bytes of the fixed header.
const HEADER: u32 = 40;
const HOP_BY_HOP: u32 = 0;
const ROUTING: u32 = 43;
const FRAGMENT: u32 = 44;
const AUTHENTICATION: u32 = 51;
const DESTINATION_OPTIONS: u32 = 60;

/// Parses the header at byte offset `l3` and all extension headers; the packet must end at byte
/// offset `limit` or before. Leaves the transport fields to `transport`.
#[inline(always)]
pub(super) fn parse<M: Machine, F: Frame>(
    machine: &M,
    frame: &F,
    l3: u32,
    limit: u32,
    packet: &mut Packet,
) -> Result<(), Reason> {
    let header = frame.header::<40>(l3).ok_or(Reason::TRUNCATED)?;
    if header.u8::<0>() >> 4 != 6 {
        return Err(Reason::BAD_VERSION);
    }
    // Of a packet whose lengths contradict each other, no more than its addresses is known.
    packet.key.is_v6 = 1;
    packet.key.src_hi = header.be64::<8, 12>();
    packet.key.src_lo = header.be64::<16, 20>();
    packet.key.dst_hi = header.be64::<24, 28>();
    packet.key.dst_lo = header.be64::<32, 36>();
    if rules_judge_malformed(machine) {
        packet.end = limit;
    }
    let payload_len = header.be16::<4>();
    let next = header.u8::<6>();
    // Length 0 announces a jumbogram (RFC 2675), which no Ethernet carries.
    if payload_len == 0 && next != proto::NO_NEXT {
        return Err(Reason::JUMBOGRAM);
    }
    let end = l3 + HEADER + payload_len;
    if end > limit {
        return Err(Reason::TRUNCATED);
    }

    packet.l4 = l3 + HEADER;
    packet.end = end;
    let fields = &mut packet.key.fields;
    fields[Field::Proto as usize] = next;
    fields[Field::Ttl as usize] = header.u8::<7>();
    fields[Field::Dscp as usize] = (header.be16::<0>() >> 6) & 63;
    let length = HEADER + payload_len;
    fields[Field::Length as usize] = if length > 65_535 { 65_535 } else { length };
    fields[Field::Fragment as usize] = fragment::WHOLE;

    if is_extension(next) {
        extensions(machine, frame, packet)?;
    }
    // After the walk, so that the verifier does not follow it once for each kind of address.
    if is_bogon(packet) {
        anomaly(machine, packet, Reason::BOGON)?;
    }
    Ok(())
}

#[inline(always)]
const fn is_extension(next: u32) -> bool {
    matches!(
        next,
        HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS
    )
}

/// What rules call an extension header.
#[inline(always)]
const fn bit_of(header: u32) -> u32 {
    match header {
        HOP_BY_HOP => option_bit::HOP_BY_HOP,
        ROUTING => option_bit::ROUTING,
        FRAGMENT => option_bit::FRAGMENT,
        AUTHENTICATION => option_bit::AUTHENTICATION,
        _ => option_bit::DESTINATION,
    }
}

/// RFC 4291: `::1` never leaves a host, multicast is never a source, IPv4-mapped addresses never
/// stand in a packet. Source equal to destination is the LAND attack. What may come from `::`
/// is seen in the transport header: `essential` judges that.
#[inline(always)]
const fn is_bogon(packet: &Packet) -> bool {
    let key = &packet.key;
    key.src_hi >> 56 == 0xff
        || (key.src_hi == key.dst_hi && key.src_lo == key.dst_lo)
        || (key.src_hi == 0 && (key.src_lo == 1 || key.src_lo >> 32 == 0xffff))
        || (key.dst_hi == 0 && (key.dst_lo == 1 || key.dst_lo >> 32 == 0xffff))
}

/// Follows the chain to the transport header, or to the payload of a later fragment.
#[inline(always)]
fn extensions<M: Machine, F: Frame>(
    machine: &M,
    frame: &F,
    packet: &mut Packet,
) -> Result<(), Reason> {
    let mut walk = ExtensionWalk {
        machine: *machine,
        frame: *frame,
        at: u64::from(packet.l4),
        end: u64::from(packet.end),
        body: u64::from(packet.end - packet.l4),
        next: u64::from(packet.key.field(Field::Proto)),
        count: 0,
        seen: 0,
        fragment: u64::from(fragment::WHOLE),
        datagram: 0,
        result: u64::from(Reason::EXT_CHAIN.0),
    };
    // One round more than there may be headers: it finds what follows the last one.
    machine.repeat(knob(machine, |k| &k.ipv6_ext_max) + 1, &mut walk);
    if asks_for_options(machine) {
        packet.anomaly |= ((walk.seen >> ASKED) as u32) << Packet::OPTIONS;
    }
    if rules_judge_malformed(machine) {
        packet.note(Reason((walk.seen >> NOTED) as u8));
        if walk.result != FINISHED {
            // What follows the chain has not been reached.
            packet.key.fields[Field::Proto as usize] = Field::Proto.none();
            packet.key.fields[Field::Fragment as usize] = if walk.seen & FRAGMENT_HEADER != 0 {
                walk.fragment as u32
            } else {
                Field::Fragment.none()
            };
        }
    }
    if walk.result != FINISHED {
        return Err(Reason(walk.result as u8));
    }
    packet.l4 = walk.at as u32;
    packet.fragment_header = (walk.seen & FRAGMENT_HEADER) as u32;
    packet.fragment_id = (walk.datagram >> 32) as u32;
    packet.fragment_span = walk.datagram as u32;
    packet.key.fields[Field::Proto as usize] = walk.next as u32;
    packet.key.fields[Field::Fragment as usize] = walk.fragment as u32;
    if packet.key.field(Field::Fragment) == fragment::LATER {
        return fragment_allowed(machine);
    }
    Ok(())
}

/// In [`ExtensionWalk::seen`]: a fragment header.
const FRAGMENT_HEADER: u64 = 1;

/// In [`ExtensionWalk::seen`]: another header behind which no fragment header may stand.
const HIDES: u64 = 2;

/// In [`ExtensionWalk::seen`]: where the code of the first anomaly begins that has not ended the walk.
const NOTED: u32 = 8;

/// In [`ExtensionWalk::seen`]: where the bits of [`option_bit`] begin, if rules ask for them.
const ASKED: u32 = 16;

/// [`ExtensionWalk::result`] at the end of the chain. No reason has a code this large.
const FINISHED: u64 = 1 << 32;

/// One extension header a step.
struct ExtensionWalk<M, F> {
    machine: M,
    frame: F,
    /// Byte offset of the next header.
    at: u64,
    /// Byte offset of the end of the packet.
    end: u64,
    /// Bytes of all that follows the fixed header.
    body: u64,
    /// What the next header is.
    next: u64,
    /// Extension headers so far.
    count: u64,
    /// [`FRAGMENT_HEADER`], [`HIDES`], from bit [`NOTED`] on the code of the first anomaly, and from bit
    /// [`ASKED`] on what rules ask for.
    seen: u64,
    /// As `Field::Fragment`.
    fragment: u64,
    /// Identification in the upper half, packed [`Span`] in the lower.
    datagram: u64,
    /// [`FINISHED`], or the code of the reason against the packet.
    result: u64,
}

impl<M: Machine, F: Frame> ExtensionWalk<M, F> {
    /// As [`anomaly`].
    #[inline(always)]
    fn anomaly(&mut self, reason: Reason) -> Result<(), Reason> {
        if !rules_judge_malformed(&self.machine) {
            return Err(reason);
        }
        if (self.seen >> NOTED) as u8 == 0 {
            self.seen |= u64::from(reason.0) << NOTED;
        }
        Ok(())
    }

    /// Notes options that a rule may ask for.
    #[inline(always)]
    fn ask(&mut self, options: u32) {
        if asks_for_options(&self.machine) {
            self.seen |= u64::from(options) << ASKED;
        }
    }

    /// Takes off one header; true at the end of the chain.
    #[inline(always)]
    fn take(&mut self) -> Result<bool, Reason> {
        let current = self.next as u32;
        if !is_extension(current) {
            return Ok(true);
        }
        if self.count == u64::from(knob(&self.machine, |k| &k.ipv6_ext_max)) {
            return Err(Reason::EXT_CHAIN);
        }
        // RFC 7112: the first fragment holds the whole chain.
        let cut = if self.seen & FRAGMENT_HEADER != 0 {
            Reason::FRAG_TINY
        } else {
            Reason::TRUNCATED
        };
        let header = self.frame.header::<8>(self.at as u32).ok_or(cut)?;
        let units = u64::from(header.u8::<1>());
        let len = match current {
            FRAGMENT => 8,
            AUTHENTICATION => (units + 2) * 4,
            _ => (units + 1) * 8,
        };
        let at = self.at + len;
        self.at = self.machine.forget(at);
        if at > self.end {
            return Err(cut);
        }
        self.ask(option_bit::ANY | bit_of(current));
        if current == HOP_BY_HOP && self.count != 0 {
            self.anomaly(Reason::EXT_ORDER)?;
        }
        // Type 0 even at its last stop (RFC 5095); any other as long as it has a next one.
        if current == ROUTING && (header.u8::<2>() == 0 || header.u8::<3>() != 0) {
            self.ask(option_bit::SOURCE_ROUTE);
            self.anomaly(Reason::SOURCE_ROUTE)?;
        }
        self.count = self.machine.forget(self.count + 1);
        self.next = u64::from(header.u8::<0>());
        if current == FRAGMENT {
            if self.seen & (FRAGMENT_HEADER | HIDES) != 0 {
                return Err(Reason::FRAG_HIDDEN);
            }
            self.seen |= FRAGMENT_HEADER;
            let offset_flags = header.be16::<2>();
            let (offset, more) = (offset_flags & 0xfff8, offset_flags & 1 != 0);
            if offset != 0 || more {
                // Payload length after reassembly: what is in front of the fragment header, and
                // the data up to the end of this fragment.
                let whole = (self.body - len) as u32 + offset;
                let payload = (self.end - at) as u32;
                if let Err(reason) = ipv4::check(self.next as u32, offset, more, payload, whole) {
                    self.anomaly(reason)?;
                }
                self.datagram = u64::from(header.be32::<4>()) << 32
                    | u64::from(Span::pack(offset, payload, more));
                self.fragment = u64::from(if offset == 0 {
                    fragment::FIRST
                } else {
                    fragment::LATER
                });
                // What follows in a later fragment is data, whatever it looks like.
                return Ok(offset != 0);
            }
        } else if current != HOP_BY_HOP || self.count != 1 {
            self.seen |= HIDES;
        }
        Ok(false)
    }
}

impl<M: Machine, F: Frame> Step for ExtensionWalk<M, F> {
    const FORGETS: bool = true;

    #[inline(always)]
    fn forget(&mut self) {
        for number in [
            &mut self.at,
            &mut self.next,
            &mut self.count,
            &mut self.seen,
            &mut self.fragment,
            &mut self.datagram,
            &mut self.result,
        ] {
            *number = self.machine.forget(*number);
        }
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        match self.take() {
            Ok(false) => return true,
            Ok(true) => self.result = FINISHED,
            Err(reason) => self.result = u64::from(reason.0),
        }
        false
    }
}
