//! Live filters: what somebody who looks on wants to see of packets, whatever the policy logs. Four slots
//! of words to compare with, and for each a ring of events ([`crate::log`]) that its reader alone reads.
//!
//! While no slot is armed, a packet costs one read. What matches is an event, for every verdict and every
//! reason, up to [`RATE`] a second; what is beyond is counted, exactly.
//!
//! A slot belongs to who has claimed it until its lease ends: the word of the claim holds both, so one
//! exchange takes a slot, and one renews it. Programs disarm a slot whose lease has ended; they look at
//! every 256th packet ([`Fate::looks_at_leases`]), because the clock costs more than all filters.
//!
//! ```text
//! region: [slot; 4], each 256 KiB: a line of what the verdict, the ports and the protocol must be, one of
//!         addresses, one of the rest, one that programs write for each event, one that they write for each
//!         packet beyond the rate; behind them [event; 2045]
//! ```
//!
//! May not import anything of the host or the kernel. A change of the layout is a change of
//! [`ABI_VERSION`](crate::abi::ABI_VERSION). Invariant: words are changed in a slot that is not armed, and
//! a packet that meets them half-changed does no more than write an event that its reader leaves out.

use crate::abi::{EventBits, SeenBits, WATCH_SIZE};
use crate::bits::as_word;
use crate::calls::Calls;
use crate::field::Field;
use crate::frame::Frame;
use crate::key::{FRAME, PacketKey};
use crate::link;
use crate::log::{self, Ring, SLOT};
use crate::machine::Machine;
use crate::packet::Packet;
use crate::pipeline::Outcome;
use crate::reason::Reason;
use crate::region::Region;
use crate::verdict::{Action, Verdict};

/// How many filters there can be at a time.
pub const SLOTS: u64 = 4;

/// Bytes of a slot.
pub const STRIDE: u64 = WATCH_SIZE as u64 / SLOTS;

/// Byte offset of the word that says which slots are armed, a bit each.
pub const ARMED: u64 = 0;

/// Events that a filter can write in a second, on average; and as many at once.
pub const RATE: u64 = 1_000;

/// Nanoseconds for one event.
const INTERVAL: u64 = 1_000_000_000 / RATE;

/// How far ahead events may be of that.
const TOLERANCE: u64 = (RATE - 1) * INTERVAL;

/// Attempts to take an event from the rate. Each one that fails means that another processor has.
const TRIES: u32 = 16;

/// Words at the beginning of a slot, before its ring.
pub const WORDS: u64 = 3 * SLOT / 8;

/// Indices of the words of a slot.
pub mod at {
    /// Which reasons are wanted of what passes, a bit each. (Before it lies [`super::ARMED`].)
    pub const PASSED: u64 = 1;
    /// Which reasons are wanted of what does not pass.
    pub const DROPPED: u64 = 2;
    /// [`super::Form`].
    pub const FORM: u64 = 3;
    /// A [`super::range`] in which a port on either side must be.
    pub const PORT: u64 = 4;
    /// Of source ports.
    pub const SOURCE_PORT: u64 = 5;
    /// Of destination ports.
    pub const DESTINATION_PORT: u64 = 6;
    /// Of protocol numbers, and of EtherTypes ([`super::ETHERTYPE`]).
    pub const PROTOCOL: u64 = 7;
    /// Upper and lower half of the source's prefix, and of its mask.
    pub const SRC: u64 = 8;
    /// Of the destination's.
    pub const DST: u64 = 12;
    /// A range of counter slots of rules.
    pub const RULE: u64 = 16;
    /// Another one.
    pub const OVER: u64 = 17;
    /// A range of counter slots of interfaces.
    pub const INTERFACE: u64 = 18;
    /// [`super::claim`]: whose the slot is, and until when.
    pub const CLAIM: u64 = 19;
    /// Nanoseconds at which the next event is due.
    pub const DUE: u64 = 24;
    /// How many events there have been.
    pub const HEAD: u64 = 25;
    /// What [`HEAD`] was when the slot was armed. For readers alone.
    pub const FIRST: u64 = 27;
    /// The user who has taken the slot and may change nothing, and 1 more; 0 for one who may. For readers
    /// alone.
    pub const MODEST: u64 = 28;
    /// How many packets have matched beyond the rate. In a line of its own: in a flood every processor writes
    /// it for each packet, and reads [`DUE`] before, which changes a thousand times a second only.
    pub const BEYOND: u64 = 32;
}

/// Byte offset of a word of a slot.
#[must_use]
#[inline(always)]
pub const fn word(slot: u64, index: u64) -> u64 {
    slot * STRIDE + index * 8
}

/// The ring of a slot's events.
#[must_use]
#[inline(always)]
pub const fn ring(slot: u64) -> Ring {
    Ring {
        first: slot * STRIDE + WORDS * 8,
        places: STRIDE / SLOT - WORDS * 8 / SLOT,
        head: word(slot, at::HEAD),
    }
}

/// Added to an EtherType, so that it is no protocol number.
pub const ETHERTYPE: u32 = 1 << 16;

/// The numbers from `first` to `last`, as a word.
#[must_use]
#[inline(always)]
pub const fn range(first: u32, last: u32) -> u64 {
    first as u64 | (last.wrapping_sub(first) as u64) << 32
}

/// Every number.
pub const ALL: u64 = range(0, u32::MAX);

/// 1 if a number lies in a range, 0 if not.
#[inline(always)]
const fn within(number: u32, range: u64) -> u64 {
    (number.wrapping_sub(range as u32) <= (range >> 32) as u32) as u64
}

/// Bits of the word that says when a slot is whose: the end of its lease in ticks, and a secret above.
pub const LEASE_BITS: u32 = 28;

/// The claim of a slot. The secret is not 0; ticks are [`Machine::ticks`].
#[must_use]
#[inline(always)]
pub const fn claim(secret: u64, end: u64) -> u64 {
    secret << LEASE_BITS | end & ((1 << LEASE_BITS) - 1)
}

/// The secret and the end in a claim.
#[must_use]
#[inline(always)]
pub const fn unclaim(word: u64) -> (u64, u64) {
    (word >> LEASE_BITS, word & ((1 << LEASE_BITS) - 1))
}

/// What kind of addresses a frame has: [`kind`].
pub mod kinds {
    /// IPv4.
    pub const V4: u64 = 1;
    /// IPv6.
    pub const V6: u64 = 1 << 1;
    /// MAC addresses: the frame is not IP.
    pub const FRAME: u64 = 1 << 2;
    /// None that the parser has come to.
    pub const NONE: u64 = 1 << 3;
    /// Every kind.
    pub const ANY: u64 = V4 | V6 | FRAME | NONE;
}

/// How the words of a slot are meant.
///
/// | bits | |
/// |---|---|
/// | 0-3 | [`kinds`] of frames that are wanted if their source lies in the prefix |
/// | 4-7 | if it does not |
/// | 8-15 | likewise of the destination |
/// | 16-21 | whether what is *not* in the range is wanted: of ports on either side, source ports, destination ports, protocols, rules, interfaces |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Form(pub u64);

impl Form {
    /// Every frame.
    pub const ALL: Self = Self(kinds::ANY << Self::SRC | kinds::ANY << Self::DST);
    /// First bit of the source's kinds.
    pub const SRC: u32 = 0;
    /// Of the destination's.
    pub const DST: u32 = 8;
    /// From the kinds inside a prefix to those outside.
    pub const OUTSIDE: u32 = 4;
    /// Ports on either side are negated.
    pub const NOT_PORT: u32 = 16;
    /// Source ports are.
    pub const NOT_SOURCE_PORT: u32 = 17;
    /// Destination ports are.
    pub const NOT_DESTINATION_PORT: u32 = 18;
    /// Protocols are.
    pub const NOT_PROTOCOL: u32 = 19;
    /// Rules are.
    pub const NOT_RULE: u32 = 20;
    /// Interfaces are.
    pub const NOT_INTERFACE: u32 = 21;

    /// 1 if a bit is set.
    #[inline(always)]
    const fn bit(self, bit: u32) -> u64 {
        self.0 >> bit & 1
    }
}

/// What kind of addresses was found in a frame: 0 to 3, the bit of one of [`kinds`].
#[must_use]
#[inline(always)]
pub fn kind(packet: &Packet) -> u64 {
    let key = &packet.key;
    // (0.0.0.0 to 0.0.0.0, with lengths that are wrong, is as good as nothing.)
    if key.is_v6 == 0 && key.src_lo | key.dst_lo | u64::from(packet.l4) == 0 {
        return u64::from(kinds::NONE.trailing_zeros());
    }
    u64::from(key.is_v6)
}

/// What became of a frame, and where it came in, as a word.
///
/// | bits | |
/// |---|---|
/// | 0-7 | [`Reason`] |
/// | 8-14 | [`Verdict`] |
/// | 15 | whether leases are looked at |
/// | 16-31 | counter slot of the interface |
/// | 32-63 | counter slot of the rule that has decided, or of its limit, or [`crate::pipeline::NO_RULE`] |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fate(u64);

impl Fate {
    /// Of an outcome.
    #[must_use]
    #[inline(always)]
    pub const fn new(outcome: &Outcome, interface: u16) -> Self {
        Self(
            (outcome.rule as u64) << 32
                | (interface as u64) << 16
                | (outcome.verdict.0 as u64) << 8
                | outcome.reason.0 as u64,
        )
    }

    /// The same, whose packet is also when leases are looked at.
    #[must_use]
    #[inline(always)]
    pub const fn looks_at_leases(self, looks: bool) -> Self {
        Self(self.0 | (looks as u64) << 15)
    }

    /// The reason.
    #[must_use]
    #[inline(always)]
    pub const fn reason(self) -> Reason {
        Reason(self.0 as u8)
    }

    /// The verdict.
    #[must_use]
    #[inline(always)]
    pub const fn verdict(self) -> Verdict {
        Verdict((self.0 >> 8) as u8 & 0x7f)
    }

    /// The counter slot of the interface.
    #[must_use]
    #[inline(always)]
    pub const fn interface(self) -> u32 {
        (self.0 >> 16) as u32 & 0xffff
    }

    #[inline(always)]
    const fn rule(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

as_word!(Fate: u64);

/// What a filter looks at, beside addresses and [`Fate`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// The source port; [`Field::none`] if there is none.
    pub source_port: u32,
    /// The destination port, likewise.
    pub destination_port: u32,
    /// The protocol number, [`Field::none`], or an EtherType and [`ETHERTYPE`].
    pub protocol: u32,
}

impl Seen {
    /// Of a frame.
    #[must_use]
    #[inline(always)]
    pub fn new(key: &PacketKey) -> Self {
        let port = key.field(Field::DestinationPort);
        let is_frame = key.is_v6 == FRAME;
        Self {
            source_port: key.field(Field::SourcePort),
            destination_port: if is_frame {
                Field::DestinationPort.none()
            } else {
                port
            },
            protocol: if is_frame {
                port | ETHERTYPE
            } else {
                key.field(Field::Proto)
            },
        }
    }
}

/// Whether a filter is to be asked at all: whether some slot is armed.
#[inline(always)]
pub fn is_armed<M: Machine>(machine: &M) -> bool {
    machine.read(Region::Watch, ARMED) != 0
}

/// Whether the filter in a slot matches.
#[must_use]
#[inline(always)]
pub fn matches<M: Machine>(machine: &M, slot: u64, packet: &Packet, fate: Fate) -> bool {
    let key = &packet.key;
    let line = |first: u64| machine.read_line(Region::Watch, word(slot, first));
    let of = |line: &[u64; 8], index: u64| line[(index % 8) as usize];
    let first = line(0);
    let reasons = if fate.verdict().0 == Verdict::PASS.0 {
        of(&first, at::PASSED)
    } else {
        of(&first, at::DROPPED)
    };
    if reasons >> (fate.reason().0 & 63) & 1 == 0 {
        return false;
    }
    let form = Form(of(&first, at::FORM));
    let addresses = line(at::SRC);
    let kind = kind(packet);
    let is_wanted = |(hi, lo): (u64, u64), at: u64, bit: u32| {
        let differs = (hi ^ of(&addresses, at)) & of(&addresses, at + 2)
            | (lo ^ of(&addresses, at + 1)) & of(&addresses, at + 3);
        // 4 if it does, without a jump.
        let outside = (differs | differs.wrapping_neg()) >> 63 << Form::OUTSIDE.trailing_zeros();
        form.0 >> bit >> outside >> kind & 1
    };
    let source = is_wanted((key.src_hi, key.src_lo), at::SRC, Form::SRC);
    let destination = is_wanted((key.dst_hi, key.dst_lo), at::DST, Form::DST);
    if source & destination == 0 {
        return false;
    }
    // Most packets are another sender's, and never come here.
    let seen = Seen::new(key);
    let either = of(&first, at::PORT);
    let port = within(seen.source_port, either) | within(seen.destination_port, either);
    let source_port = within(seen.source_port, of(&first, at::SOURCE_PORT));
    let destination_port = within(seen.destination_port, of(&first, at::DESTINATION_PORT));
    let protocol = within(seen.protocol, of(&first, at::PROTOCOL));
    let rest = line(at::RULE);
    let rule = within(fate.rule(), of(&rest, at::RULE)) | within(fate.rule(), of(&rest, at::OVER));
    let interface = within(fate.interface(), of(&rest, at::INTERFACE));
    (port ^ form.bit(Form::NOT_PORT))
        & (source_port ^ form.bit(Form::NOT_SOURCE_PORT))
        & (destination_port ^ form.bit(Form::NOT_DESTINATION_PORT))
        & (protocol ^ form.bit(Form::NOT_PROTOCOL))
        & (rule ^ form.bit(Form::NOT_RULE))
        & (interface ^ form.bit(Form::NOT_INTERFACE))
        != 0
}

/// Shows a frame to each filter that matches. `packet` is as [`crate::pipeline::decide`] leaves it, and
/// nobody needs it behind this.
#[inline(always)]
pub fn look<M: Calls, F: Frame>(machine: &M, frame: &F, packet: &mut Packet, fate: Fate) {
    if packet.key.is_v6 == FRAME {
        link::name(frame, packet);
    }
    if fate.word() >> 15 & 1 != 0 {
        end_leases(machine);
    }
    let armed = machine.read(Region::Watch, ARMED);
    for slot in 0..SLOTS {
        if armed >> slot & 1 != 0 && matches(machine, slot, packet, fate) {
            machine.show(packet, fate.word(), slot, frame.len());
        }
    }
}

/// Disarms the slots whose leases have ended.
#[inline(always)]
fn end_leases<M: Machine>(machine: &M) {
    let now = machine.ticks();
    for slot in 0..SLOTS {
        let (_, end) = unclaim(machine.read(Region::Watch, word(slot, at::CLAIM)));
        let armed = machine.read(Region::Watch, ARMED);
        if now > end {
            machine.exchange_if(Region::Watch, ARMED, armed, armed & !(1 << slot));
        }
    }
}

/// Writes an event of the filter in a slot, or counts what is beyond the rate.
#[inline(always)]
pub fn show<M: Machine>(machine: &M, packet: &Packet, fate: Fate, slot: u64, bytes: u32) {
    let number = if takes(machine, word(slot, at::DUE)) {
        log::claim(machine, Region::Watch, ring(slot))
    } else {
        None
    };
    let Some(number) = number else {
        machine.add_one(Region::Watch, word(slot, at::BEYOND));
        return;
    };
    let place = ring(slot).place(number);
    let mut says = SeenBits::new(fate.reason(), slot, bytes);
    if 1 << kind(packet) == kinds::NONE {
        says = says.nameless();
    }
    machine.write(Region::Watch, place + log::at::SEEN, says.word());
    machine.write(Region::Watch, place + log::at::RULE, u64::from(fate.rule()));
    let action = if fate.verdict().0 == Verdict::PASS.0 {
        Action::PASS
    } else {
        Action::DROP
    };
    let mut what = EventBits::default()
        .with_action(action)
        .with_interface(fate.interface());
    if machine.constant(|c| &c.audit) != 0 {
        what = what.passing();
    }
    log::finish(machine, Region::Watch, place, number, &packet.key, what);
}

/// Takes an event from a slot's rate, if it has one left.
#[inline(always)]
fn takes<M: Machine>(machine: &M, due: u64) -> bool {
    let now = machine.now();
    for _ in 0..TRIES {
        let old = machine.read(Region::Watch, due);
        if old > now + TOLERANCE {
            return false;
        }
        let start = if old > now { old } else { now };
        if machine.exchange_if(Region::Watch, due, old, start + INTERVAL) {
            return true;
        }
    }
    false
}

const _: () = assert!(
    STRIDE.is_multiple_of(SLOT)
        && at::BEYOND < WORDS
        && at::BEYOND / 8 != at::DUE / 8
        && at::CLAIM / 8 != at::DUE / 8
        && at::RULE.is_multiple_of(8)
        && Form::OUTSIDE == 4
);
