//! The link layer, where rules look at it: frames that are not IP, which a list of rules of their own
//! decides about, and source MAC addresses, which are one more small field of a packet's key.
//!
//! The list is short and is searched row by row: such frames are few, and no IP packet comes here. A
//! policy that names no MAC address has no code for them; of one that does, an address is a number,
//! found by a binary search without branches.
//!
//! May not import anything of the host or the kernel. A change of the layout is a change of
//! [`ABI_VERSION`](crate::abi::ABI_VERSION).

use crate::abi::{
    Entry, FRAME_ROW, FRAME_ROWS, LIMITS_PASSED, MACS, frame_word, has_limit, mac_word,
};
use crate::calls::Calls;
use crate::classify::judged;
use crate::field::Field;
use crate::frame::{Frame, Header as _};
use crate::key::{FRAME, PacketKey};
use crate::machine::{Machine, Step};
use crate::packet::Packet;
use crate::parse::ethertype;
use crate::verdict::Action;

/// What rules see of an LLC frame that ends before its LLC header.
pub const LLC_CUT: u32 = 0x100;

/// What rules see of a frame that is not IP: its EtherType, or the destination service access point of an
/// LLC frame (IEEE 802.2), 0 to 255.
#[inline(always)]
pub fn kind<F: Frame>(frame: &F, ethertype: u32, offset: u32) -> u32 {
    if ethertype >= ethertype::FIRST {
        return ethertype;
    }
    match frame.header::<1>(offset) {
        Some(header) => header.u8::<0>(),
        None => LLC_CUT,
    }
}

/// Source and destination address of a frame's link header.
#[inline(always)]
fn addresses<F: Frame>(frame: &F) -> Option<(u64, u64)> {
    let header = frame.header::<12>(0)?;
    let source = u64::from(header.be16::<6>()) << 32 | u64::from(header.be32::<8>());
    let destination = u64::from(header.be32::<0>()) << 16 | u64::from(header.be16::<4>());
    Some((source, destination))
}

/// The value of [`Field::Mac`] for a frame. Those on interfaces without link header have none.
#[inline(always)]
pub fn mac_of<M: Machine, F: Frame>(machine: &M, frame: &F) -> u32 {
    if machine.constant(|c| &c.macs) == 0 || machine.constant(|c| &c.raw_ip) != 0 {
        return Field::Mac.none();
    }
    match addresses(frame) {
        Some((source, _)) => mac_number(machine, source),
        None => Field::Mac.none(),
    }
}

/// The number of an address in the policy. The table holds `2^(macs - 1)` words in order.
#[inline(always)]
fn mac_number<M: Machine>(machine: &M, mac: u64) -> u32 {
    let table = u64::from(machine.constant(|c| &c.mac_table));
    let halvings = machine.constant(|c| &c.macs) - 1;
    // An address fills its word up to the sign, so halves are compared. The numbers are all below this.
    let wanted = mac_word(mac, 0xffff) >> 1;
    let mut at = 0;
    // Written out: a loop would be followed round by round.
    macro_rules! halve {
        ($($step:literal)*) => { $(
            if $step < halvings {
                let half = 8u64 << $step;
                // 1 if the word is not beyond what is wanted.
                let word = machine.table_u64(table + at + half) >> 1;
                let is_here = wanted.wrapping_sub(word) >> 63 ^ 1;
                at += half * is_here;
            }
        )* };
    }
    const { assert!(MACS == 1 << 10) };
    halve!(9 8 7 6 5 4 3 2 1 0);
    let found = machine.table_u64(table + at);
    if found >> 16 == mac {
        found as u32 & 0xffff
    } else {
        Field::Mac.none()
    }
}

/// Makes the key of `packet`, of which VLAN, zone and interface are known, that of a frame that is not
/// IP, as limits and logs take it; and says what its rules look at.
#[inline(always)]
fn describe<M: Machine, F: Frame>(
    machine: &M,
    frame: &F,
    packet: &mut Packet,
    ethertype: u32,
) -> u64 {
    let key = &mut packet.key;
    let mac = mac_of(machine, frame);
    key.is_v6 = FRAME;
    (key.src_lo, key.dst_lo) = addresses(frame).unwrap_or((0, 0));
    key.fields[Field::DestinationPort as usize] = ethertype;
    key.fields[Field::Mac as usize] = mac;
    frame_word(
        ethertype,
        key.field(Field::Vlan),
        key.field(Field::Zone),
        mac,
    )
}

/// Completes the key of a frame that is not IP, of which EtherType and the offset behind it are known
/// (`key.fields` and [`Packet::l4`]): its MAC addresses, and what rules see in the EtherType's place.
#[inline(always)]
pub fn name<F: Frame>(frame: &F, packet: &mut Packet) {
    let ethertype = packet.key.field(Field::DestinationPort);
    let kind = kind(frame, ethertype, packet.l4);
    packet.key.fields[Field::DestinationPort as usize] = kind;
    (packet.key.src_lo, packet.key.dst_lo) = addresses(frame).unwrap_or((0, 0));
}

/// What the rules say of a frame that is not IP: the entry of the one that decides, or what its limit put
/// in its place, with the mark of what is found; or [`Entry::NONE`]. Counts the `next` rules before it.
/// Nothing of the frame's rules is asked if the policy has none.
#[inline(always)]
pub fn judge<M: Calls, F: Frame>(
    machine: &M,
    frame: &F,
    packet: &mut Packet,
    ethertype: u32,
) -> Entry {
    let word = describe(machine, frame, packet, ethertype);
    if machine.constant(|c| &c.frames) == 0 {
        return Entry::NONE;
    }
    let start = u64::from(machine.constant(|c| &c.frame_rows));
    let rows = u64::from(machine.constant(|c| &c.frames));
    let mut search = Search {
        machine: *machine,
        at: start,
        end: start + rows * u64::from(FRAME_ROW),
        word,
        found: Entry::NONE,
    };
    machine.repeat(FRAME_ROWS as u32, &mut search);
    within_limits(&packet.key, &mut search)
}

/// As the walk over the rules of IP packets does it: asks the limit of the rule that the search has
/// stopped at, and goes on behind it if that says so.
#[inline(always)]
fn within_limits<M: Calls>(key: &PacketKey, search: &mut Search<M>) -> Entry {
    let machine = search.machine;
    let passed = machine.constant(|c| &c.limits_passed) as usize;
    for stop in 0..=LIMITS_PASSED {
        if machine.constant(|c| &c.has_limit) == has_limit::NO || !search.found.is_limited() {
            return search.found;
        }
        let judged = judged(&machine, key, search.found);
        if judged.action().0 != Action::NEXT.0 {
            return judged.found();
        }
        if stop == passed {
            break;
        }
        machine.count_rule(judged.slot());
        search.found = Entry::NONE;
        machine.repeat(FRAME_ROWS as u32, search);
    }
    // The compiler lets no policy get here.
    Entry::new(search.found.slot(), Action::DROP).found()
}

/// Goes over the rows, one a step.
struct Search<M> {
    machine: M,
    /// Byte offset of the next row.
    at: u64,
    /// Byte offset behind the last one.
    end: u64,
    /// A [`frame_word`].
    word: u64,
    /// The entry of the rule that decides, or has a limit, marked as found; or [`Entry::NONE`].
    found: Entry,
}

/// Not 0 if one of the four numbers of `word` is not within those of `first` and `last`.
#[inline(always)]
const fn outside(word: u64, first: u64, last: u64) -> u64 {
    const NUMBER: u64 = 0xffff;
    let mut below = 0;
    let mut at = 0;
    while at < 64 {
        let number = word >> at & NUMBER;
        below |= number.wrapping_sub(first >> at & NUMBER);
        below |= (last >> at & NUMBER).wrapping_sub(number);
        at += 16;
    }
    below >> 63
}

impl<M: Calls> Step for Search<M> {
    const FORGETS: bool = true;

    #[inline(always)]
    fn forget(&mut self) {
        for number in [&mut self.at, &mut self.end, &mut self.word] {
            *number = self.machine.forget(*number);
        }
        self.found = Entry::from_word(self.machine.forget(self.found.word()));
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        if self.at >= self.end {
            return false;
        }
        let row = self.at;
        self.at += u64::from(FRAME_ROW);
        let first = self.machine.table_u64(row);
        let last = self.machine.table_u64(row + 8);
        if outside(self.word, first, last) != 0 {
            return true;
        }
        let entry = Entry::from_word(self.machine.table_u64(row + 16));
        let asks = self.machine.constant(|c| &c.has_limit) != has_limit::NO && entry.is_limited();
        if asks || entry.action().0 != Action::NEXT.0 {
            self.found = entry.found();
            return false;
        }
        self.machine.count_rule(entry.slot());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::outside;
    use crate::abi::frame_word;

    /// At both ends of each number, with the others in the middle.
    #[test]
    fn a_row_holds_what_lies_between_its_ends() {
        let first = frame_word(0x8809, 10, 1, 0);
        let last = frame_word(0x88cc, 20, 254, 1_024);
        assert_eq!(outside(first, first, last), 0);
        assert_eq!(outside(last, first, last), 0);
        for (ethertype, vlan, zone, mac) in [
            (0x8808, 15, 100, 500),
            (0x88cd, 15, 100, 500),
            (0xffff, 15, 100, 500),
            (0x8809, 9, 100, 500),
            (0x8809, 21, 100, 500),
            (0x8809, 15, 0, 500),
            (0x8809, 15, 255, 500),
            (0x8809, 15, 100, 1_025),
        ] {
            assert_ne!(
                outside(frame_word(ethertype, vlan, zone, mac), first, last),
                0
            );
        }
        assert_eq!(outside(u64::MAX, 0, u64::MAX), 0);
        assert_eq!(outside(0, 0, u64::MAX), 0);
    }
}
