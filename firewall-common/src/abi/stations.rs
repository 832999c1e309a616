//! Which frames are sent to this host: the MAC addresses that are its own, by the interface that a
//! frame comes in on, and the broadcast addresses of its networks, for answers; and which interfaces lie
//! over the filtered ones: what has come in by one of them has come in by that below it. A table of
//! words behind that of the interfaces.

/// Entries of the table: a power of two. A word stands at its [`station_hash`] or in one of the
/// [`STATION_PROBES`] entries after it (wrapping round); 0 for an empty entry.
pub const STATIONS: usize = 1024;

/// How many entries after the first the program looks at.
pub const STATION_PROBES: u32 = 8;

/// Marks a word that is an IPv4 address. (No slot has this bit.)
const ADDRESS: u64 = 1 << 15;

/// The word of a MAC address (48 bits, as it is read) that is this host's on the interface with the
/// counter slot `slot`. Slot 0: on those that are not listed, as are the ports of a bond.
#[must_use]
#[inline(always)]
pub const fn station(slot: u32, mac: u64) -> u64 {
    mac << 16 | (slot as u64 & (ADDRESS - 1))
}

/// The word of an IPv4 address that is the broadcast address of one of this host's networks.
#[must_use]
#[inline(always)]
pub const fn broadcast(address: u64) -> u64 {
    address << 16 | ADDRESS
}

/// Marks a word about an interface that lies over another one. (A broadcast address ends below this
/// bit, and a MAC address has not the other one.)
const UPPER: u64 = 1 << 63 | ADDRESS;

/// In place of a VLAN's number: frames without a tag.
pub const NO_TAG: u64 = 0x1000;

/// In place of a VLAN's number: frames with any tag, and with none.
pub const ANY_TAG: u64 = 0x1fff;

/// The word of an interface whose packets come in, and leave, by the one with the counter slot `slot`
/// that it lies over, in frames with this tag.
#[must_use]
#[inline(always)]
pub const fn upper(ifindex: u32, slot: u32, tag: u64) -> u64 {
    UPPER | tag << 48 | (ifindex as u64) << 16 | (slot as u64 & (ADDRESS - 1))
}

/// Where the search for a word starts: Fibonacci hashing (Knuth, TAOCP 3, 6.4).
#[must_use]
#[inline(always)]
pub const fn station_hash(word: u64) -> u64 {
    const { assert!(STATIONS == 1 << 10) };
    word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54
}
