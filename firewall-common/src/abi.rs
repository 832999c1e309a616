//! The one definition of everything that user space and the kernel program both touch: the
//! program's constants, and the layout of the counter maps.
//!
//! All numbers are in host byte order. Every struct is `#[repr(C)]`, and user space derives `Pod` for
//! it, which compiles only without padding; the size of those in maps is asserted. A change here is
//! a change of [`ABI_VERSION`]. The regions that programs write lie beside the code that keeps them:
//! see [`crate::region`].

mod contents;
mod counters;
mod entry;
mod frames;
mod limits;
mod log;
mod lookup;
mod stations;

pub use contents::*;
pub use counters::{
    COUNTER_SIZE, CountedPort, Counter, PORTS_STRIDE, REASONS_STRIDE, port_offset, reason_offset,
};
pub use entry::Entry;
pub use frames::*;
pub use limits::*;
pub use log::{EventBits, LogEntry, SeenBits};
pub use lookup::*;
pub use stations::*;

use crate::field::Field;

/// Version of the map layouts. A daemon reuses pinned maps of the same version only.
pub const ABI_VERSION: u32 = 14;

/// How many interfaces one host can filter. Slot 0 belongs to interfaces that are not listed.
pub const INTERFACES: usize = 64;

/// Ports of one protocol.
pub const PORTS: usize = 65_536;

/// Entries of the interface table in the map `fw_interfaces`: a power of two.
pub const INTERFACE_TABLE: usize = 256;

/// One entry of the interface table. An interface stands at [`interface_hash`] of its index or in
/// one of the [`INTERFACE_PROBES`] entries after it (wrapping round).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct InterfaceEntry {
    /// Kernel interface index; 0 for an empty entry.
    pub ifindex: u32,
    /// Counter slot, 1 to 63.
    pub slot: u16,
    /// Zone number, 0 to 254.
    pub zone: u16,
}
const _: () = assert!(size_of::<InterfaceEntry>() == 8);

/// How many entries after the first the program looks at.
pub const INTERFACE_PROBES: u32 = 8;

/// Where the search for an interface starts: Fibonacci hashing (Knuth, TAOCP 3, 6.4).
#[must_use]
pub const fn interface_hash(ifindex: u32) -> u32 {
    ifindex.wrapping_mul(0x9E37_79B1) >> 24
}

/// Bytes of [`crate::region::Region::Watch`]: a power of two.
pub const WATCH_SIZE: u32 = 1 << 20;

/// Bytes at the end of the tables that nothing starts in: an offset modulo the size before them can
/// be read from without going past the end.
pub const TABLES_SPARE: u32 = 64;

/// The furthest offset at which a header is read.
pub const MAX_OFFSET: u32 = 0x7fff;

/// How many live sets one policy can have, `@self` included.
pub const LIVE_SETS: usize = 8;

/// Bytes of one CPU's region of the map `fw_scratch`: a shadow of a frame in several buffers. A header
/// that lies beyond the first buffer is copied to its own offset, so two headers never share bytes.
pub const SCRATCH_STRIDE: u32 = MAX_OFFSET + 1 + SCRATCH_SPARE;

/// Bytes at the end of a region of `fw_scratch` that no header starts in: no header is longer.
pub const SCRATCH_SPARE: u32 = 64;

/// Values of [`Config::answers`].
pub mod answers {
    /// No rule rejects.
    pub const NO: u32 = 0;
    /// Some rule rejects. Answers have two limits: see [`super::Config::answers_limit`].
    pub const YES: u32 = 1;
    /// The same, and every packet that may be answered is.
    pub const UNLIMITED: u32 = 2;
}

/// How a small field takes part in the walk: see [`FieldConfig::mode`].
pub mod field_mode {
    /// No rule of this family looks at the field.
    pub const UNUSED: u32 = 0;
    /// The field's class starts a lane.
    pub const START: u32 = 1;
    /// The field's class is combined with the class of the lane so far.
    pub const JOIN: u32 = 2;
}

/// Where the walk finds one small field's tables. Offsets are bytes from the start of `fw_tables`.
///
/// Fields are taken in [`Field::WALK_ORDER`]; a lane is a run of them. The last table of
/// a lane (`classes` if the lane is one field, `join` otherwise) holds row references in place of
/// class numbers: units of 8 bytes from `rows`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct FieldConfig {
    /// One of [`field_mode`].
    pub mode: u32,
    /// `u16` class of every value from 0 to `Field::none`.
    pub classes: u32,
    /// For [`field_mode::JOIN`]: `u16` class of every pair, at `lane class * join_width + class`.
    pub join: u32,
    /// For [`field_mode::JOIN`]: how many classes the field has.
    pub join_width: u32,
    /// If not 0, the lane ends with this field, and its rows start here.
    pub rows: u32,
    /// 1 if the lane's row references are `u32`, 0 if they are `u16`.
    pub wide: u32,
}

/// Forms of an address lookup: see [`AddrConfig::form`].
pub mod addr_form {
    /// No rule of this family looks at the address.
    pub const UNUSED: u32 = 0;
    /// A static B+-tree over the upper 64 bits of the address (IPv4: all 32).
    pub const TREE: u32 = 1;
    /// A root by the upper 16 of 32 bits, and buckets that are searched by the lower 16.
    pub const ROOT: u32 = 2;
    /// A root by some of the upper 64 of 128 bits, and a B+-tree below each entry.
    pub const BRANCH: u32 = 3;
}

/// How many nodes can stand above a leaf of a [`addr_form::BRANCH`] lookup.
pub const BRANCH_LEVELS: u32 = 8;

/// How many levels an address tree can have.
pub const TREE_LEVELS: usize = 8;

/// Where the walk finds one address field's tables: see [`crate::classify`] for the layouts.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct AddrConfig {
    /// One of [`addr_form`].
    pub form: u32,
    /// 1 if row references are `u32`, 0 if they are `u16`. ([`addr_form::BRANCH`]: always `u32`.)
    pub wide: u32,
    /// [`addr_form::TREE`]: number of levels.
    pub depth: u32,
    /// [`addr_form::TREE`]: byte offset of every level, the leaves first.
    /// [`addr_form::ROOT`] and [`addr_form::BRANCH`]: the first is the root's.
    pub levels: [u32; TREE_LEVELS],
    /// [`addr_form::TREE`]: byte offset of the row references, by interval.
    pub values: u32,
    /// IPv6: 1 if some references lead to a search over the lower 64 bits.
    pub has_low: u32,
    /// [`addr_form::BRANCH`]: upper 32 bits of the key at which the root begins.
    pub base_high: u32,
    /// [`addr_form::BRANCH`]: its lower 32 bits.
    pub base_low: u32,
    /// [`addr_form::BRANCH`]: how many bits of a key the root does not look at, 0 to 63.
    pub shift: u32,
    /// [`addr_form::BRANCH`]: the root's last index.
    pub last: u32,
    /// Byte offset of the rows, or of the blocks.
    pub rows: u32,
    /// 1 if references lead to blocks and not to rows: see [`crate::classify`].
    pub lists: u32,
}

/// How many rules a list has at most.
pub const LIST_MAX: u32 = 8;

/// Bytes of a list's entry for IPv4: the other address's prefix and mask as `u32`; the rule's
/// number and that of its profile, as `u32`; its [`Entry`].
pub const LIST_ENTRY_V4: u32 = 24;

/// Bytes of a list's entry for IPv6: upper half of the other address's prefix and mask, then the
/// lower halves, as `u64`; the rest as for IPv4.
pub const LIST_ENTRY_V6: u32 = 48;

/// One family's classifier.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct FamilyConfig {
    /// Number of rules. 0: nothing to look up.
    pub rules: u32,
    /// 1 if some rules are in lists, and not in rows.
    pub listed: u32,
    /// If some rules are in lists: byte offset of the numbers (`u32`) of those that are in rows.
    pub order: u32,
    /// Byte offset of the rules' [`Entry`]s.
    pub entries: u32,
    /// Depth of the bit trees: 1 up to 64 rules, 2 up to 4,096, 3 up to 262,144.
    pub levels: u32,
    /// Number of lanes, 1 to [`crate::classify::LANES`].
    pub lanes: u32,
    /// How many rounds the walk can need for one packet: see [`crate::classify`].
    pub rounds: u32,
    /// Source address.
    pub src: AddrConfig,
    /// Destination address.
    pub dst: AddrConfig,
    /// Small fields by [`Field`] index.
    pub fields: [FieldConfig; Field::COUNT],
}

/// Sets of the table of fragmented datagrams, in the map `fw_fragments`: a power of two.
pub const FRAGMENT_SETS: u32 = 4_096;

/// Entries of a set.
pub const FRAGMENT_WAYS: u32 = 4;

/// Bytes of an entry: see [`crate::fragments`].
pub const FRAGMENT_ENTRY: u32 = 128;

/// Bytes of the map `fw_fragments`: 16,384 datagrams.
pub const FRAGMENTS_SIZE: u32 = FRAGMENT_SETS * FRAGMENT_WAYS * FRAGMENT_ENTRY;
const _: () = assert!(FRAGMENTS_SIZE.is_power_of_two());

/// How long a fragmented datagram is remembered, in milliseconds: as long as Linux waits for the
/// rest of one (net.ipv4.ipfrag_time).
pub const FRAGMENT_MS: u32 = 30_000;

/// Bits of [`Config::essential`].
pub mod essential_bit {
    /// ARP.
    pub const ARP: u32 = 1;
    /// Neighbour discovery and router advertisements with hop limit 255.
    pub const NEIGHBOUR: u32 = 2;
    /// Multicast listener discovery.
    pub const MULTICAST: u32 = 4;
    /// ICMP and ICMPv6 errors.
    pub const ICMP_ERROR: u32 = 8;
    /// DHCP and DHCPv6 client.
    pub const DHCP: u32 = 16;
    /// What keeps the link itself up: 802.1X, Slow Protocols, LLDP, spanning tree.
    pub const LINK: u32 = 32;
    /// IGMP.
    pub const IGMP: u32 = 64;
    /// All of them.
    pub const ALL: u32 = 127;
    /// What strangers send as easily as those who have been asked.
    pub const ASKED: u32 = ICMP_ERROR | DHCP;
}

/// Values of [`PacketConfig::fragments`].
pub mod fragments {
    /// Drop every fragment.
    pub const DROP: u32 = 0;
    /// Classify first fragments as packets and later ones without ports; pass what no rule matches.
    pub const PASS: u32 = 1;
    /// Classify first fragments as packets; later ones follow theirs: see [`crate::fragments`].
    pub const FOLLOW_FIRST: u32 = 2;
}

/// Values of [`PacketConfig::malformed`]. What is neither drops.
pub mod malformed {
    /// Drop every malformed frame.
    pub const DROP: u32 = 1;
    /// Bans, the rules that name nothing but what could be read, then the default.
    pub const RULES: u32 = 2;
}

/// Values of [`PacketConfig::tunnels`].
pub mod tunnels {
    /// Rules see the outer packet only.
    pub const OUTER: u32 = 0;
    /// A packet that passes by its outer headers is judged by its inner ones, too.
    pub const INNER: u32 = 1;
}

/// The `packet:` section of a policy.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct PacketConfig {
    /// One of [`malformed`], for frames with a reason that `Governs::Malformed`.
    pub malformed: u32,
    /// One of [`fragments`].
    pub fragments: u32,
    /// 1: IPv4 packets with options are dropped; 0: they go to the rules.
    pub drop_ip_options: u32,
    /// VLAN tags that the parser takes off, 0 to 8.
    pub vlan_depth: u32,
    /// IPv6 extension headers that the parser takes off, 0 to 16.
    pub ipv6_ext_max: u32,
    /// One of [`tunnels`].
    pub tunnels: u32,
}

/// The constants of one generation, in the program's `.rodata`. The verifier knows their values
/// and removes the code that they switch off. Every field is a `u32`, so there is no padding.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Config {
    /// [`ABI_VERSION`] of who wrote this.
    pub abi_version: u32,
    /// Possible CPUs: regions in each counter map.
    pub cpus: u32,
    /// Bytes of the map `fw_tables`: a power of two, and [`TABLES_SPARE`].
    pub tables_size: u32,
    /// Bytes of one CPU's region of the map `fw_rules`: a multiple of 64.
    pub rules_stride: u32,
    /// Verdict when no rule matches, as a number.
    pub default_verdict: u32,
    /// 1 if some rule matches until a time only.
    pub expires: u32,
    /// Nanoseconds that the program's clock is behind the time since the Unix epoch, as it was when
    /// the program was loaded. The lower half first.
    pub clock: [u32; 2],
    /// 1 if nothing is dropped: what the policy would drop passes, and is counted as passed for
    /// the reason that it would have been dropped for.
    pub audit: u32,
    /// Bits of [`essential_bit`].
    pub essential: u32,
    /// Those of them that pass only about what has been asked for: [`essential_bit::DHCP`] and
    /// [`essential_bit::ICMP_ERROR`]. 0 where nothing takes note of what leaves.
    pub asked: u32,
    /// Number of the first of their [`LimitEntry`]s, plus 1 ([`crate::asked::limit`]); 0: no limit.
    pub asked_limit: u32,
    /// 1 if some rule has `action: next`.
    pub has_next: u32,
    /// One of [`has_limit`].
    pub has_limit: u32,
    /// How many of the rules in the [`LimitEntry`] table that let it go on one packet can match, at
    /// most [`LIMITS_PASSED`].
    pub limits_passed: u32,
    /// 1 if some limit counts bytes.
    pub has_bytes: u32,
    /// 1 if some limit bans.
    pub has_ban: u32,
    /// 1 if the policy exempts addresses from bans.
    pub exempt: u32,
    /// As `flows_size`, of [`crate::region::Region::Proof`]. Its secret is `buckets_seed`.
    pub proof_size: u32,
    /// Byte offset of the [`LimitEntry`] table.
    pub limits: u32,
    /// One of [`answers`].
    pub answers: u32,
    /// Number of the [`LimitEntry`] of answers to one source; the next one is that of all answers.
    pub answers_limit: u32,
    /// 1 if it is known which frames are sent to this host: see [`station`]. 0: each that is sent to
    /// one station.
    pub stations: u32,
    /// 1 if interfaces lie over the filtered ones: see [`upper`].
    pub uppers: u32,
    /// 1 if some rule has `syn_protect`.
    pub syn_protect: u32,
    /// Byte offset, in [`crate::region::Region::Buckets`], of the times of the last cookies
    /// ([`crate::answer::WATCHES`]).
    pub syn_seen: u32,
    /// What the buckets mean: another number for other limits, 0 where there are none.
    pub buckets_layout: u32,
    /// 1 if some rule or the default has a log.
    pub logs: u32,
    /// If the default has one: the number of its [`LimitEntry`], plus 1.
    pub default_log: u32,
    /// As `flows_size`, of [`crate::region::Region::Log`].
    pub log_size: u32,
    /// 1 if verdicts are logged by `aya-log` (a debugging aid, never on by default).
    pub debug: u32,
    /// 1 if frames may come in several buffers (multi-buffer XDP, for jumbo frames). The program is
    /// loaded with BPF_F_XDP_HAS_FRAGS then.
    pub frags: u32,
    /// 1 if frames begin with the IP header and have no Ethernet header before it: the variant of the
    /// program for such interfaces.
    pub raw_ip: u32,
    /// Where the hash of a fragmented datagram starts: a secret of the generation.
    pub fragment_seed: u32,
    /// Milliseconds for which a fragmented datagram is remembered.
    pub fragment_ms: u32,
    /// 1 if some rule looks at the state of a packet.
    pub flows: u32,
    /// 1 if some rule tells packets apart that are related to what has left.
    pub related: u32,
    /// 1 if a UDP packet that belongs to nothing may pass: its answer makes no flow then.
    pub asks_rules: u32,
    /// Bytes of the region [`crate::region::Region::Flows`]: a power of two, or 0 if the policy
    /// does not use it. (The loader writes the size of the map, which is never 0.)
    pub flows_size: u32,
    /// Secret of that region; lives as long as its content. The lower half first.
    pub flows_seed: [u32; 2],
    /// As `flows_size`, of [`crate::region::Region::Syns`].
    pub syns_size: u32,
    /// As `flows_size`, of [`crate::region::Region::Buckets`].
    pub buckets_size: u32,
    /// As `flows_seed`.
    pub buckets_seed: [u32; 2],
    /// As `flows_size`, of [`crate::region::Region::Live`].
    pub live_size: u32,
    /// As `flows_seed`.
    pub live_seed: [u32; 2],
    /// The numbers of the policy's live sets in that region, in the order of their bits in
    /// [`Field::SourceSets`]; 0: there is none.
    pub live_ids: [u32; LIVE_SETS],
    /// 1 if some rule looks at the live sets that the source is in.
    pub live_source: u32,
    /// 1 if some rule looks at those of the destination.
    pub live_destination: u32,
    /// How many [`FrameRow`]s there are: the rules about frames that are not IP.
    pub frames: u32,
    /// Byte offset of the first of them.
    pub frame_rows: u32,
    /// If some rule looks at source MAC addresses: how many halvings lead to one among those that the
    /// policy names, plus 1 ([`crate::link::mac_number`]).
    pub macs: u32,
    /// Byte offset of the addresses, in order, up to a power of two of them.
    pub mac_table: u32,
    /// How many [`ContentRow`]s there are: conditions on payload and options that rules name.
    pub contents: u32,
    /// Byte offset of the first of them.
    pub content_rows: u32,
    /// The parser's knobs.
    pub packet: PacketConfig,
    /// IPv4 classifier.
    pub v4: FamilyConfig,
    /// IPv6 classifier.
    pub v6: FamilyConfig,
}

impl Config {
    /// All zeros: what the program's object file holds until user space writes the real constants.
    pub const ZERO: Self = {
        const ADDR: AddrConfig = AddrConfig {
            form: 0,
            wide: 0,
            depth: 0,
            levels: [0; TREE_LEVELS],
            values: 0,
            has_low: 0,
            base_high: 0,
            base_low: 0,
            shift: 0,
            last: 0,
            rows: 0,
            lists: 0,
        };
        const FIELD: FieldConfig = FieldConfig {
            mode: 0,
            classes: 0,
            join: 0,
            join_width: 0,
            rows: 0,
            wide: 0,
        };
        const FAMILY: FamilyConfig = FamilyConfig {
            rules: 0,
            listed: 0,
            order: 0,
            entries: 0,
            levels: 0,
            lanes: 0,
            rounds: 0,
            src: ADDR,
            dst: ADDR,
            fields: [FIELD; Field::COUNT],
        };
        Self {
            abi_version: 0,
            cpus: 0,
            tables_size: 0,
            rules_stride: 0,
            default_verdict: 0,
            expires: 0,
            clock: [0; 2],
            audit: 0,
            essential: 0,
            asked: 0,
            asked_limit: 0,
            has_next: 0,
            has_limit: 0,
            limits_passed: 0,
            has_bytes: 0,
            has_ban: 0,
            exempt: 0,
            proof_size: 0,
            limits: 0,
            answers: 0,
            answers_limit: 0,
            stations: 0,
            uppers: 0,
            syn_protect: 0,
            syn_seen: 0,
            buckets_layout: 0,
            logs: 0,
            default_log: 0,
            log_size: 0,
            debug: 0,
            frags: 0,
            raw_ip: 0,
            fragment_seed: 0,
            fragment_ms: 0,
            flows: 0,
            related: 0,
            asks_rules: 0,
            flows_size: 0,
            syns_size: 0,
            flows_seed: [0; 2],
            buckets_size: 0,
            buckets_seed: [0; 2],
            live_size: 0,
            live_seed: [0; 2],
            live_ids: [0; LIVE_SETS],
            live_source: 0,
            live_destination: 0,
            frames: 0,
            frame_rows: 0,
            macs: 0,
            mac_table: 0,
            contents: 0,
            content_rows: 0,
            packet: PacketConfig {
                malformed: 0,
                fragments: 0,
                drop_ip_options: 0,
                vlan_depth: 0,
                ipv6_ext_max: 0,
                tunnels: 0,
            },
            v4: FAMILY,
            v6: FAMILY,
        }
    };
}
