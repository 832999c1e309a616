//! IPv4 with options and fragments (RFC 791, RFC 1858, RFC 2113, RFC 3128).

use super::{
    Packet, anomaly, asks_for_options, fragment, fragment_allowed, knob, proto,
    rules_judge_malformed,
};
use crate::abi::option_bit;
use crate::field::Field;
use crate::frame::{Frame, Header as _};
use crate::machine::{Machine, Step};
use crate::packet::Span;
use crate::reason::Reason;

/// Bytes of a header without options.
const HEADER: u32 = 20;
const OPTION_END: u32 = 0;
const OPTION_NOP: u32 = 1;
const OPTION_RECORD_ROUTE: u32 = 7;
const OPTION_TIMESTAMP: u32 = 68;
const OPTION_LOOSE_SOURCE_ROUTE: u32 = 131;
const OPTION_STRICT_SOURCE_ROUTE: u32 = 137;
/// A router alert with its length, and the one value that there is: look at the packet.
const ROUTER_ALERT: u32 = 0x9404_0000;
const MORE_FRAGMENTS: u32 = 0x2000;
const OFFSET_MASK: u32 = 0x1fff;

/// Parses the header at byte offset `l3`; the packet must end at byte offset `limit` or before.
/// Leaves the transport fields to `transport`.
#[inline(always)]
pub(super) fn parse<M: Machine, F: Frame>(
    machine: &M,
    frame: &F,
    l3: u32,
    limit: u32,
    packet: &mut Packet,
) -> Result<(), Reason> {
    let header = frame.header::<20>(l3).ok_or(Reason::TRUNCATED)?;
    let version_ihl = header.u8::<0>();
    if version_ihl >> 4 != 4 {
        return Err(Reason::BAD_VERSION);
    }
    // Of a packet whose lengths contradict each other, no more than its addresses is known.
    let (src, dst) = (header.be32::<12>(), header.be32::<16>());
    packet.key.src_lo = u64::from(src);
    packet.key.dst_lo = u64::from(dst);
    if rules_judge_malformed(machine) {
        packet.end = limit;
    }
    let header_len = (version_ihl & 15) * 4;
    if header_len < HEADER {
        return Err(Reason::BAD_HEADER_LEN);
    }
    let total_len = header.be16::<2>();
    if total_len < header_len {
        return Err(Reason::BAD_LENGTH);
    }
    let end = l3 + total_len;
    if end > limit {
        return Err(Reason::TRUNCATED);
    }

    packet.l4 = l3 + header_len;
    packet.end = end;
    let fields = &mut packet.key.fields;
    fields[Field::Proto as usize] = header.u8::<9>();
    fields[Field::Ttl as usize] = header.u8::<8>();
    fields[Field::Dscp as usize] = header.u8::<1>() >> 2;
    fields[Field::Length as usize] = total_len;
    fields[Field::Fragment as usize] = fragment::WHOLE;

    if header_len > HEADER {
        let found = options(machine, frame, l3 + HEADER, packet.l4);
        if asks_for_options(machine) {
            packet.anomaly |= found.bits() << Packet::OPTIONS;
        }
        match found.judged() {
            Ok(true) => packet.anomaly |= Packet::ALERT,
            Ok(false) => {}
            Err(reason) => anomaly(machine, packet, reason)?,
        }
        // What groups and reservations are made by has that option on every network.
        let is_alert =
            packet.has_router_alert() && matches!(header.u8::<9>(), proto::IGMP | proto::RSVP);
        if knob(machine, |k| &k.drop_ip_options) != 0 && !is_alert {
            return Err(Reason::IP_OPTIONS);
        }
    }
    if is_bogon(src, dst) {
        anomaly(machine, packet, Reason::BOGON)?;
    }
    let flags_offset = header.be16::<6>();
    if flags_offset & (MORE_FRAGMENTS | OFFSET_MASK) != 0 {
        packet.fragment_id = header.be16::<4>();
        fragmented(machine, packet, flags_offset, total_len - header_len)?;
    }
    Ok(())
}

/// Walks the options between two byte offsets: each must be whole, and none may route the packet.
#[inline(always)]
fn options<M: Machine, F: Frame>(machine: &M, frame: &F, from: u32, to: u32) -> Options {
    let mut walk = OptionWalk {
        machine: *machine,
        frame: *frame,
        at: u64::from(from),
        to: u64::from(to),
        bad: NOTHING_BAD,
        alert: 0,
        other: 0,
    };
    machine.repeat(40, &mut walk);
    Options {
        bad: walk.bad,
        alert: walk.alert,
        other: walk.other,
    }
}

/// The options of a header.
struct Options {
    /// As [`OptionWalk::bad`].
    bad: u64,
    /// As [`OptionWalk::alert`].
    alert: u64,
    /// As [`OptionWalk::other`].
    other: u64,
}

impl Options {
    /// Whether there is a router alert and nothing else; or what is wrong.
    #[inline(always)]
    const fn judged(&self) -> Result<bool, Reason> {
        if self.bad == NOTHING_BAD {
            Ok(self.alert != 0 && self.other == 0)
        } else {
            Err(Reason(self.bad as u8))
        }
    }

    /// As rules ask for them.
    #[inline(always)]
    const fn bits(&self) -> u32 {
        let route = if self.bad == Reason::SOURCE_ROUTE.0 as u64 {
            option_bit::SOURCE_ROUTE
        } else {
            0
        };
        option_bit::ANY
            | (self.alert as u32 * option_bit::ROUTER_ALERT)
            | self.other as u32 & !1
            | route
    }
}

/// What [`OptionWalk::bad`] holds while every option was in order.
const NOTHING_BAD: u64 = u64::MAX;

/// One option a step.
struct OptionWalk<M, F> {
    machine: M,
    frame: F,
    at: u64,
    to: u64,
    /// Code of the reason against the packet, or [`NOTHING_BAD`].
    bad: u64,
    /// 1 if there was a router alert.
    alert: u64,
    /// 1 if there was another option; where rules ask, with the bit of each that has one.
    other: u64,
}

impl<M: Machine, F: Frame> OptionWalk<M, F> {
    /// The length of the option, or why the packet is bad; `None` at the end of the options.
    #[inline(always)]
    fn option(&mut self) -> Option<Result<u64, Reason>> {
        if self.at >= self.to {
            return None;
        }
        let Some(kind) = self.frame.header::<1>(self.at as u32) else {
            return Some(Err(Reason::TRUNCATED));
        };
        match kind.u8::<0>() {
            OPTION_END => return None,
            OPTION_NOP => return Some(Ok(1)),
            OPTION_LOOSE_SOURCE_ROUTE | OPTION_STRICT_SOURCE_ROUTE => {
                return Some(Err(Reason::SOURCE_ROUTE));
            }
            _ => {}
        }
        if self.at + 2 > self.to {
            return Some(Err(Reason::BAD_HEADER_LEN));
        }
        let Some(header) = self.frame.header::<2>(self.at as u32) else {
            return Some(Err(Reason::TRUNCATED));
        };
        let len = u64::from(header.u8::<1>());
        if len < 2 || self.at + len > self.to {
            return Some(Err(Reason::BAD_HEADER_LEN));
        }
        if asks_for_options(&self.machine) {
            self.other |= u64::from(match header.u8::<0>() {
                OPTION_RECORD_ROUTE => option_bit::RECORD_ROUTE,
                OPTION_TIMESTAMP => option_bit::TIMESTAMP,
                _ => 0,
            });
        }
        // (Of a shorter option more is read than it has; a router alert it is not.)
        match self.frame.header::<4>(self.at as u32) {
            Some(option) if option.be32::<0>() == ROUTER_ALERT => self.alert = 1,
            _ => self.other |= 1,
        }
        Some(Ok(len))
    }
}

impl<M: Machine, F: Frame> Step for OptionWalk<M, F> {
    const FORGETS: bool = true;

    #[inline(always)]
    fn forget(&mut self) {
        for number in [
            &mut self.at,
            &mut self.bad,
            &mut self.alert,
            &mut self.other,
        ] {
            *number = self.machine.forget(*number);
        }
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        match self.option() {
            None => false,
            Some(Ok(len)) => {
                self.at = self.machine.forget(self.at + len);
                true
            }
            Some(Err(reason)) => {
                self.bad = u64::from(reason.0);
                false
            }
        }
    }
}

/// RFC 1122 3.2.1.3: 127/8 never leaves a host, and multicast, reserved and broadcast addresses
/// are never a source. Source equal to destination is the LAND attack (CVE-1999-0016). 0.0.0.0
/// itself may be a source: hosts without an address ask for one with it.
#[inline(always)]
const fn is_bogon(src: u32, dst: u32) -> bool {
    let first = src >> 24;
    first == 127 || first >= 224 || (first == 0 && src != 0) || dst >> 24 == 127 || src == dst
}

#[inline(always)]
fn fragmented<M: Machine>(
    machine: &M,
    packet: &mut Packet,
    flags_offset: u32,
    payload: u32,
) -> Result<(), Reason> {
    let offset = (flags_offset & OFFSET_MASK) * 8;
    let more = flags_offset & MORE_FRAGMENTS != 0;
    // Total length after reassembly: options need not be in every fragment.
    let whole = HEADER + offset + payload;
    let proto = packet.key.field(Field::Proto);
    if let Err(reason) = check(proto, offset, more, payload, whole) {
        anomaly(machine, packet, reason)?;
    }
    packet.fragment_span = Span::pack(offset, payload, more);
    packet.key.fields[Field::Fragment as usize] = if offset == 0 {
        fragment::FIRST
    } else {
        fragment::LATER
    };
    // A first fragment is judged after its transport header: a tiny one has a reason of its own.
    if offset != 0 {
        fragment_allowed(machine)
    } else {
        Ok(())
    }
}

/// What every fragment must keep, whatever the policy says. `offset` and `payload` are bytes;
/// `whole` is what the length field of the reassembled packet would have to hold.
#[inline(always)]
pub(super) fn check(
    next: u32,
    offset: u32,
    more: bool,
    payload: u32,
    whole: u32,
) -> Result<(), Reason> {
    if (more && payload & 7 != 0) || payload == 0 {
        return Err(Reason::BAD_LENGTH);
    }
    if whole > 65_535 {
        return Err(Reason::FRAG_OVERSIZE);
    }
    if offset == 8 && next == proto::TCP {
        return Err(Reason::FRAG_OVERLAP);
    }
    Ok(())
}
