//! Every map of the program. Each is one array element, reached by its direct address instead of a
//! lookup: an ELF data section whose map user space makes at the size that the generation needs.
//! The statics here give the sections a name and an address; their Rust size means nothing.
//!
//! Invariant: an offset is compared with the size that the verifier knows before it is added to an
//! address. The size is a constant of the generation in `CONFIG`.

use core::arch::asm;
use core::mem::offset_of;
use firewall_common::abi::{
    Config, FRAGMENTS_SIZE, INTERFACE_PROBES, INTERFACE_TABLE, InterfaceEntry, STATION_PROBES,
    STATIONS, WATCH_SIZE, interface_hash, station_hash,
};
use firewall_common::packet::Packet;
use firewall_common::region::Region;

/// The generation's constants; user space writes them before the program is loaded.
#[unsafe(link_section = ".rodata")]
#[unsafe(no_mangle)]
static CONFIG: Config = Config::ZERO;

/// One constant of the generation. The read is volatile because the value in this file is not the
/// value at run time.
#[inline(always)]
pub(crate) fn constant(pick: impl Fn(&Config) -> &u32) -> u32 {
    // SAFETY: a reference into a static.
    unsafe { core::ptr::read_volatile(pick(&CONFIG)) }
}

/// `value`, in one register from here on: what is compared is what is used. Costs a move.
#[inline(always)]
pub(crate) fn pin(value: u64) -> u64 {
    let same: u64;
    // SAFETY: a move.
    unsafe { asm!("{0} = {1}", out(reg) same, in(reg) value, options(pure, nomem, nostack)) };
    same
}

/// Whether a table of flows is in use: of connections, or of requests alone.
#[inline(always)]
pub(crate) fn notes_flows() -> bool {
    constant(|c| &c.flows) | constant(|c| &c.asked) != 0
}

/// `value`, of which the verifier knows neither what it is nor why: paths that differ in it alone
/// become one, also where what led to it would have to be known precisely ([`Machine::forget`] does
/// not see to that). By way of the upper half of a word on the stack, which it does not follow:
/// one of a packet of which nobody needs the fragment any more, because the stack is small.
///
/// [`Machine::forget`]: firewall_common::machine::Machine::forget
#[inline(always)]
pub(crate) fn lose(value: u32, packet: &mut Packet) -> u32 {
    const { assert!(offset_of!(Packet, fragment_header).is_multiple_of(8)) };
    const { assert!(offset_of!(Packet, fragment_id) == offset_of!(Packet, fragment_header) + 4) };
    let word = (&raw mut *packet).cast::<u8>();
    // SAFETY: inside the packet, and aligned: two of its numbers, of which any value is one. Volatile, or
    // nothing would be left of it.
    unsafe {
        let word = word.add(offset_of!(Packet, fragment_header));
        core::ptr::write_volatile(word.cast::<u64>(), u64::from(value) << 32);
        core::ptr::read_volatile(word.cast::<u32>().add(1))
    }
}

/// `base + offset`, in one addition that the optimiser can neither repeat nor take apart: the
/// register that was compared is the register that is read through, and nothing is concluded from
/// the size of the static behind `base`.
#[inline(always)]
pub(crate) fn add(base: usize, offset: u64) -> usize {
    let mut sum = base;
    // SAFETY: arithmetic only.
    unsafe { asm!("{0} += {1}", inout(reg) sum, in(reg) offset, options(pure, nomem, nostack)) };
    sum
}

macro_rules! section {
    ($(#[$doc:meta])* $name:ident, $section:literal, $function:ident) => {
        $(#[$doc])*
        #[unsafe(link_section = $section)]
        #[unsafe(no_mangle)]
        static mut $name: [u64; 1] = [0];

        /// The map's address.
        #[inline(always)]
        pub(crate) fn $function() -> usize {
            &raw const $name as usize
        }
    };
}

section!(
    /// The classifier's tables, read only.
    FW_TABLES, ".data.fw_tables", tables
);
section!(
    /// `[cpu][interface slot][reason][verdict]` of `Counter`.
    FW_REASONS, ".data.fw_reasons", reasons
);
section!(
    /// `[cpu][port][protocol][verdict]` of `Counter`.
    FW_PORTS, ".data.fw_ports", ports
);
section!(
    /// `[cpu][rule slot]` of `Counter`.
    FW_RULES, ".data.fw_rules", rules
);
section!(
    /// `[InterfaceEntry; 256]`, and `[u64; 1024]` stations behind it.
    FW_INTERFACES, ".data.fw_interfaces", interfaces
);
section!(
    /// `[cpu][SCRATCH_STRIDE]` bytes: where headers beyond a frame's first buffer are copied to. One
    /// word in generations without such frames.
    FW_SCRATCH, ".data.fw_scratch", scratch
);

section!(
    /// The table of fragmented datagrams. User space makes it large only for a policy that follows
    /// fragments; no other one reaches it.
    FW_FRAGMENTS, ".data.fw_fragments", fragments
);
section!(
    /// Connections. One word unless a rule looks at state.
    FW_FLOWS, ".data.fw_flows", flows
);
section!(
    /// What rate limits have left. One word unless the policy has some.
    FW_BUCKETS, ".data.fw_buckets", buckets
);
section!(
    /// What is banned, and live sets.
    FW_LIVE, ".data.fw_live", live
);
section!(
    /// Events. One word unless something is logged.
    FW_LOG, ".data.fw_log", log
);

section!(
    /// Sources that have proven themselves. One word unless a rule bans.
    FW_PROOF, ".data.fw_proof", proof
);
section!(
    /// When SYNs have left. One word unless a rule looks at state.
    FW_SYNS, ".data.fw_syns", syns
);
section!(
    /// Live filters and what they have matched.
    FW_WATCH, ".data.fw_watch", watch
);

/// The address of a region and its size in bytes, of which the verifier knows both.
#[inline(always)]
pub(crate) fn region(region: Region) -> (usize, u64) {
    let address = match region {
        Region::Fragments => fragments(),
        Region::Flows => flows(),
        Region::Buckets => buckets(),
        Region::Live => live(),
        Region::Log => log(),
        Region::Proof => proof(),
        Region::Syns => syns(),
        Region::Watch => watch(),
    };
    let size = match region {
        Region::Fragments => FRAGMENTS_SIZE,
        Region::Watch => WATCH_SIZE,
        _ => constant(|config| region.size(config)),
    };
    (address, u64::from(size))
}

/// The entry of an interface; slot 0 and zone 0 if it has none.
#[inline(always)]
pub(crate) fn interface(ifindex: u32) -> InterfaceEntry {
    let start = interface_hash(ifindex);
    for probe in 0..=INTERFACE_PROBES {
        let index = (start + probe) as usize & (INTERFACE_TABLE - 1);
        let entry = add(interfaces(), (index * size_of::<InterfaceEntry>()) as u64)
            as *const InterfaceEntry;
        // SAFETY: the index is masked to the table, whose size is fixed. Volatile, because user
        // space writes to it at any time.
        let found = unsafe { core::ptr::read_volatile(&raw const (*entry).ifindex) };
        if found == ifindex {
            // SAFETY: as above.
            return unsafe {
                InterfaceEntry {
                    ifindex,
                    slot: core::ptr::read_volatile(&raw const (*entry).slot),
                    zone: core::ptr::read_volatile(&raw const (*entry).zone),
                }
            };
        }
        if found == 0 {
            break;
        }
    }
    InterfaceEntry {
        ifindex: 0,
        slot: 0,
        zone: 0,
    }
}

/// Whether the table of stations has this word.
#[inline(always)]
pub(crate) fn is_station(word: u64) -> bool {
    let start = station_hash(word);
    for probe in 0..=u64::from(STATION_PROBES) {
        let index = (start + probe) & (STATIONS as u64 - 1);
        let at = (INTERFACE_TABLE * size_of::<InterfaceEntry>()) as u64 + index * 8;
        // SAFETY: the index is masked to the table, whose size is fixed.
        let found = unsafe { core::ptr::read(add(interfaces(), at) as *const u64) };
        if found == word || found == 0 {
            return found != 0;
        }
    }
    false
}
