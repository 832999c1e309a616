//! The kernel as a [`Machine`].

use crate::maps;
use aya_ebpf::helpers::generated::{bpf_ktime_get_coarse_ns, bpf_loop};
use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns};
use core::arch::asm;
use core::ffi::c_void;
use firewall_common::abi::{self, COUNTER_SIZE, Config, Counter, Entry, TABLES_SPARE, has_limit};
use firewall_common::calls::Calls;
use firewall_common::field::Field;
use firewall_common::key::{PacketKey, Tuple};
use firewall_common::machine::{Machine, Step, TICK_SHIFT};
use firewall_common::packet::Packet;
use firewall_common::reason::Reason;
use firewall_common::region::{Bucket, Region};
use firewall_common::watch::{self, Fate, SLOTS};
use firewall_common::{classify, flows, fragments, limits, live, log, proof};

/// In place of a CPU's number: counts nowhere, because it lies beyond every counter map.
const QUIET: u64 = 1 << 32;

/// What one packet's walk needs.
#[derive(Clone, Copy)]
pub(crate) struct Kernel {
    /// Bytes of the frame.
    bytes: u64,
    /// This CPU's number.
    cpu: u64,
}

impl Kernel {
    #[inline(always)]
    pub(crate) fn new(bytes: u32) -> Self {
        // SAFETY: a helper without arguments.
        let cpu = unsafe { bpf_get_smp_processor_id() };
        Self {
            bytes: u64::from(bytes),
            cpu: u64::from(cpu),
        }
    }

    /// For work that counts nothing.
    #[inline(always)]
    pub(crate) const fn uncounted(bytes: u32) -> Self {
        Self {
            bytes: bytes as u64,
            cpu: 0,
        }
    }

    /// For frames that go out, which nobody counts.
    #[inline(always)]
    pub(crate) const fn outgoing() -> Self {
        Self::uncounted(0)
    }

    /// Whether this is for a packet that is only thought of.
    #[inline(always)]
    const fn is_quiet(&self) -> bool {
        self.cpu == QUIET
    }

    /// Adds the packet to the counter at `offset` in this CPU's region of a counter map. An offset
    /// past the map is a bug elsewhere; it counts nowhere, because the verifier wants it so.
    #[inline(always)]
    pub(crate) fn count(&self, map: usize, stride: u64, offset: u64) {
        let size = u64::from(maps::constant(|c| &c.cpus)) * stride;
        let at = maps::pin(self.cpu * stride + offset);
        if at > size - u64::from(COUNTER_SIZE) {
            return;
        }
        let counter = maps::add(map, at) as *mut Counter;
        // SAFETY: inside the map, by the comparison; no other CPU writes to this region, and on
        // this CPU the program is not interrupted by itself.
        unsafe {
            (*counter).packets += 1;
            (*counter).bytes += self.bytes;
        }
    }

    /// How many packets the counter at `offset` of this CPU's region has had, as [`Kernel::count`] finds
    /// it; 0 past the map.
    #[inline(always)]
    pub(crate) fn counted(&self, map: usize, stride: u64, offset: u64) -> u64 {
        let size = u64::from(maps::constant(|c| &c.cpus)) * stride;
        let at = maps::pin(self.cpu * stride + offset);
        if at > size - u64::from(COUNTER_SIZE) {
            return 0;
        }
        // SAFETY: inside the map, by the comparison.
        unsafe { (*(maps::add(map, at) as *const Counter)).packets }
    }
}

/// An address in the tables: offsets wrap round at their size less [`TABLES_SPARE`], a power of two.
/// A mask, not a comparison: a comparison would be one more path for the verifier at every read.
#[inline(always)]
fn table(offset: u64) -> usize {
    let mask = u64::from(maps::constant(|c| &c.tables_size)) - u64::from(TABLES_SPARE) - 1;
    maps::add(maps::tables(), maps::pin(offset) & mask)
}

/// A word of a region: offsets wrap round at its size.
#[inline(always)]
fn word(region: Region, offset: u64) -> *mut u64 {
    let (base, size) = maps::region(region);
    maps::add(base, maps::pin(offset) & (size - 8)) as *mut u64
}

/// Reads a number of type `$type` from the tables.
macro_rules! table {
    ($offset:ident, $type:ty) => {
        // SAFETY: inside the map: below the mask there is room for a number of any size.
        unsafe { core::ptr::read(table($offset) as *const $type) }
    };
}

impl Machine for Kernel {
    #[inline(always)]
    fn constant(&self, pick: impl Fn(&Config) -> &u32) -> u32 {
        maps::constant(pick)
    }

    #[inline(always)]
    fn table_u16(&self, offset: u64) -> u32 {
        u32::from(table!(offset, u16))
    }

    #[inline(always)]
    fn table_u32(&self, offset: u64) -> u32 {
        table!(offset, u32)
    }

    #[inline(always)]
    fn table_u64(&self, offset: u64) -> u64 {
        table!(offset, u64)
    }

    #[inline(always)]
    fn table_line(&self, offset: u64) -> [u64; 8] {
        // SAFETY: as above: there is room for a whole line.
        unsafe { core::ptr::read(table(offset) as *const [u64; 8]) }
    }

    #[inline(always)]
    fn is_station(&self, word: u64) -> bool {
        maps::is_station(word)
    }

    #[inline(always)]
    fn opaque(&self, value: u64) -> u64 {
        maps::pin(value)
    }

    #[inline(always)]
    fn forget(&self, value: u64) -> u64 {
        let mut result = value;
        // SAFETY: a load from a map that is larger than that, and arithmetic that ends where it
        // began, whatever was loaded. It must be a number of which the verifier knows nothing:
        // with the length of a frame, Linux 7.3 has bounds for the result, other ones in each round
        // of a loop, and follows all of them.
        // In one piece: a number that is kept for the next use takes room on the stack.
        unsafe {
            asm!("{1} = *(u64 *)({2} + 0)", "{0} += {1}", "{0} -= {1}", inout(reg) result,
                out(reg) _, in(reg) maps::live(), options(pure, nomem, nostack));
        }
        result
    }

    #[inline(always)]
    fn repeat<S: Step>(&self, max: u32, state: &mut S) {
        state.forget();
        // SAFETY: the callback gets the pointer that is handed in, and the loop ends before this
        // function does.
        unsafe {
            bpf_loop(
                max,
                step::<S> as *const () as *mut c_void,
                core::ptr::from_mut(state).cast(),
                0,
            );
        }
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn ticks(&self) -> u64 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_ktime_get_coarse_ns() >> TICK_SHIFT }
    }

    #[inline(always)]
    fn read(&self, region: Region, offset: u64) -> u64 {
        // SAFETY: inside the map, and aligned. Volatile: other processors write to it.
        unsafe { core::ptr::read_volatile(word(region, offset)) }
    }

    #[inline(always)]
    fn read_line(&self, region: Region, offset: u64) -> [u64; 8] {
        let (base, size) = maps::region(region);
        let line = maps::add(base, maps::pin(offset) & (size - 64));
        // SAFETY: inside the map, and aligned.
        unsafe { core::ptr::read(line as *const [u64; 8]) }
    }

    #[inline(always)]
    fn add_one(&self, region: Region, offset: u64) {
        // SAFETY: as for `read`. By `asm!`, as the exchange below.
        unsafe {
            asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) word(region, offset), in(reg) 1u64,
                options(nostack));
        }
    }

    #[inline(always)]
    fn write(&self, region: Region, offset: u64, new: u64) {
        // SAFETY: as above; the caller holds the lock of what the word belongs to.
        unsafe { core::ptr::write_volatile(word(region, offset), new) }
    }

    #[inline(always)]
    fn exchange_if(&self, region: Region, offset: u64, old: u64, new: u64) -> bool {
        let before: u64;
        // SAFETY: inside the map, and aligned. By `asm!`, because the language has no atomic
        // exchange for this machine. A full barrier, as the next one.
        unsafe {
            asm!("r0 = cmpxchg_64({0} + 0, r0, {1})", in(reg) word(region, offset),
                in(reg) new, inout("r0") old => before, options(nostack));
        }
        before == old
    }

    #[inline(always)]
    fn unlock(&self, region: Region, offset: u64) {
        // SAFETY: as above. An exchange, because a store is no barrier.
        unsafe {
            asm!("{1} = xchg_64({0} + 0, {1})", in(reg) word(region, offset),
                inout(reg) 0u64 => _, options(nostack));
        }
    }

    #[inline(always)]
    fn quiet(&self) -> Self {
        Self {
            cpu: QUIET,
            ..*self
        }
    }

    #[inline(always)]
    fn count_rule(&self, slot: u32) {
        let stride = u64::from(maps::constant(|c| &c.rules_stride));
        let offset = u64::from(slot) * u64::from(COUNTER_SIZE);
        if offset > stride - u64::from(COUNTER_SIZE) {
            return;
        }
        self.count(maps::rules(), stride, offset);
    }
}

impl Calls for Kernel {
    #[inline(always)]
    fn walk(&self, key: &PacketKey) -> Entry {
        Entry::from_word(if key.is_v6 != 0 {
            fw_walk_v6(key, self.bytes, self.cpu)
        } else {
            fw_walk_v4(key, self.bytes, self.cpu)
        })
    }

    #[inline(always)]
    fn follow_fragment(&self, packet: &Packet, passes: bool) -> u64 {
        fw_fragment(packet, self.bytes, u64::from(passes))
    }

    #[inline(always)]
    fn limit(&self, key: &PacketKey, rule: Entry) -> Entry {
        if self.is_quiet() {
            return Entry::OVER;
        }
        let bucket = fw_bucket(key, rule.word());
        Entry::from_word(fw_pay(bucket, rule.word(), key.field(Field::Length)))
    }

    #[inline(always)]
    fn pay(&self, bucket: Bucket, rule: Entry, bytes: u32) -> Entry {
        Entry::from_word(fw_pay(bucket.word(), rule.word(), bytes))
    }

    #[inline(always)]
    fn log(&self, key: &PacketKey, rule: Entry, found: Entry) {
        if !self.is_quiet() {
            fw_log(key, rule.word(), found.word(), self.cpu, self.bytes);
        }
    }

    #[inline(always)]
    fn ban(&self, key: &PacketKey, rule: Entry) {
        fw_ban(key, rule.word(), self.bytes);
    }

    #[inline(always)]
    fn sets_of(&self, key: &PacketKey, is_destination: bool) -> u64 {
        fw_sets(key, u64::from(is_destination), self.bytes)
    }

    #[inline(always)]
    fn note_source(&self, key: &PacketKey) {
        fw_note(key);
    }

    #[inline(always)]
    fn is_proven(&self, key: &PacketKey) -> bool {
        fw_proven(key) != 0
    }

    #[inline(always)]
    fn ended(&self, packet: &Packet) {
        fw_ended(packet);
    }

    #[inline(always)]
    fn locate(&self, tuple: &Tuple) -> u64 {
        fw_locate(tuple)
    }

    #[inline(always)]
    fn room(&self, set: u64, now: u64, counterpart: u64) -> u64 {
        fw_room(set, now, counterpart)
    }

    #[inline(always)]
    fn protection_of(&self, key: &PacketKey) -> u64 {
        fw_sets(key, live::PROTECTION, self.bytes)
    }

    #[inline(always)]
    fn show(&self, packet: &Packet, fate: u64, slot: u64, bytes: u32) {
        fw_show(packet, fate, slot, bytes);
    }
}

/// The walk as a global function: the verifier proves it once, for any key, instead of once for
/// every way in which the parser can have filled the key in; and it has a stack frame of its own. (Such
/// functions take and return nothing but pointers and plain numbers.)
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_walk_v4(key: *const PacketKey, bytes: u64, cpu: u64) -> u64 {
    // SAFETY: the verifier lets only readable memory of this type through, or null.
    match unsafe { key.as_ref() } {
        Some(key) => classify::walk_v4(&Kernel { bytes, cpu }, key).word(),
        None => Entry::NONE.word(),
    }
}

/// As [`fw_walk_v4`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_walk_v6(key: *const PacketKey, bytes: u64, cpu: u64) -> u64 {
    // SAFETY: as above.
    match unsafe { key.as_ref() } {
        Some(key) => classify::walk_v6(&Kernel { bytes, cpu }, key).word(),
        None => Entry::NONE.word(),
    }
}

/// The table of fragmented datagrams as a global function: proved once, like the walk. Under a
/// policy that does not follow fragments the verifier finds nothing in it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_fragment(packet: *const Packet, bytes: u64, passes: u64) -> u64 {
    if maps::constant(|c| &c.packet.fragments) != abi::fragments::FOLLOW_FIRST {
        return fragments::GOES_ON;
    }
    // SAFETY: the verifier lets only readable memory of this type through, or null.
    match unsafe { packet.as_ref() } {
        Some(packet) => fragments::follow(&Kernel { bytes, cpu: 0 }, packet, passes != 0),
        None => u64::from(Reason::INTERNAL.0),
    }
}

/// The search for a packet's bucket as a global function: proved once. Under a policy without
/// limits the verifier finds nothing in it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_bucket(key: *const PacketKey, rule: u64) -> u64 {
    // Not that of what has been asked for: it is known.
    if maps::constant(|c| &c.has_limit) == has_limit::NO
        && maps::constant(|c| &c.answers) != abi::answers::YES
        && maps::constant(|c| &c.expires) | maps::constant(|c| &c.contents) == 0
    {
        return Bucket::EXEMPT.word();
    }
    // SAFETY: the verifier lets only readable memory of this type through, or null.
    match unsafe { key.as_ref() } {
        Some(key) => limits::find(&Kernel::uncounted(0), key, Entry::from_word(rule)).word(),
        None => Bucket::NOWHERE.word(),
    }
}

/// Taking a packet from a bucket, likewise.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_pay(bucket: u64, rule: u64, bytes: u32) -> u64 {
    if maps::constant(|c| &c.buckets_layout)
        | maps::constant(|c| &c.expires)
        | maps::constant(|c| &c.contents)
        == 0
    {
        return Entry::WITHIN.word();
    }
    let (bucket, rule) = (Bucket::from_word(bucket), Entry::from_word(rule));
    limits::pay(&Kernel::uncounted(0), bucket, rule, bytes).word()
}

/// Banning a packet's source, likewise.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_ban(key: *const PacketKey, rule: u64, bytes: u64) -> u64 {
    if maps::constant(|c| &c.has_ban) == 0 {
        return 0;
    }
    // SAFETY: the verifier lets only readable memory of this type through, or null.
    if let Some(key) = unsafe { key.as_ref() } {
        limits::ban(&Kernel { bytes, cpu: 0 }, key, Entry::from_word(rule));
    }
    0
}

/// Writing an event, likewise.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_log(
    key: *const PacketKey,
    rule: u64,
    found: u64,
    cpu: u64,
    bytes: u64,
) -> u64 {
    if maps::constant(|c| &c.logs) == 0 {
        return 0;
    }
    // SAFETY: the verifier lets only readable memory of this type through, or null.
    if let Some(key) = unsafe { key.as_ref() } {
        let (rule, found) = (Entry::from_word(rule), Entry::from_word(found));
        log::record(&Kernel { bytes, cpu }, key, rule, found);
    }
    0
}

/// Writing an event of a live filter, likewise.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_show(packet: *const Packet, fate: u64, slot: u64, bytes: u32) -> u64 {
    // SAFETY: as above.
    if let Some(packet) = unsafe { packet.as_ref() } {
        let fate = Fate::from_word(fate);
        watch::show(&Kernel::uncounted(0), packet, fate, slot % SLOTS, bytes);
    }
    0
}

/// Notes that a source has proven itself, likewise.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_note(key: *const PacketKey) -> u64 {
    if maps::constant(|c| &c.has_ban) == 0 {
        return 0;
    }
    // SAFETY: as above.
    if let Some(key) = unsafe { key.as_ref() } {
        proof::note(&Kernel::outgoing(), key);
    }
    0
}

/// Whether a source has proven itself, likewise: 1, or 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_proven(key: *const PacketKey) -> u64 {
    if maps::constant(|c| &c.has_ban) == 0 {
        return 0;
    }
    // SAFETY: as above.
    match unsafe { key.as_ref() } {
        Some(key) => u64::from(proof::is_proven(&Kernel::outgoing(), key)),
        None => 0,
    }
}

/// The flow of a connection that ends, likewise.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_ended(packet: *const Packet) -> u64 {
    if maps::constant(|c| &c.flows) == 0 {
        return 0;
    }
    // SAFETY: as above.
    if let Some(packet) = unsafe { packet.as_ref() } {
        flows::ended(&Kernel::outgoing(), &packet.key);
    }
    0
}

/// The search for a flow, likewise.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_locate(tuple: *const Tuple) -> u64 {
    if !maps::notes_flows() {
        return flows::NOWHERE;
    }
    // SAFETY: as above.
    match unsafe { tuple.as_ref() } {
        Some(tuple) => flows::locate(&Kernel::outgoing(), tuple),
        None => flows::NOWHERE,
    }
}

/// The search for a place in a set of flows, likewise.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_room(set: u64, now: u64, counterpart: u64) -> u64 {
    if !maps::notes_flows() {
        return 0;
    }
    flows::room(&Kernel::outgoing(), set, now, counterpart)
}

/// The search for the live sets of an address, likewise.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_sets(key: *const PacketKey, what: u64, bytes: u64) -> u64 {
    // SAFETY: as above.
    match unsafe { key.as_ref() } {
        Some(key) => live::look_up(&Kernel { bytes, cpu: 0 }, key, what),
        None => 0,
    }
}

/// The callback of `bpf_loop`: 0 goes on, 1 ends.
unsafe extern "C" fn step<S: Step>(_index: u64, state: *mut c_void) -> i64 {
    // SAFETY: `repeat` hands in a valid `S`, and nobody else has it.
    let state = unsafe { &mut *state.cast::<S>() };
    let goes_on = state.step();
    if S::FORGETS {
        state.forget();
    }
    i64::from(!goes_on)
}
