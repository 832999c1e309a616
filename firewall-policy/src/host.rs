//! The host's [`Machine`]: runs the kernel's code over [`Tables`].
//!
//! Reads behave as in the kernel: offsets wrap round at the end of the tables. Nothing here panics.

use crate::packet_text::Earlier;
use crate::prefixes::prefixes;
use crate::tables::Tables;
use firewall_common::abi::{Config, Entry, TABLES_SPARE};
use firewall_common::answer::{self, Answer};
use firewall_common::calls::Calls;
use firewall_common::classify::{self, Hit, classify};
use firewall_common::field::Field;
use firewall_common::key::{Family, PacketKey, Tuple};
use firewall_common::live::{self, Meta};
use firewall_common::machine::Machine;
use firewall_common::outgoing;
use firewall_common::parse::{Packet, Parsed, fragment, parse, proto};
use firewall_common::pipeline::{self, Outcome};
use firewall_common::region::{Bucket, Region};
use firewall_common::watch::{self, Fate};
use firewall_common::{flows, fragments, limits, log, proof};
use std::cell::{Cell, RefCell};
use std::net::IpAddr;

/// What the classifier says about a packet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HostResult {
    /// Counter slots of the matching `next` rules before the deciding one, in order.
    pub counted: Vec<u32>,
    /// The deciding rule, if any rule decided.
    pub hit: Option<Hit>,
}

/// Looks a packet up, as the kernel program does.
#[must_use]
pub fn lookup(tables: &Tables, key: &PacketKey) -> HostResult {
    let counted = RefCell::new(Vec::new());
    let hit = classify(&HostMachine::new(tables, &counted), key);
    HostResult {
        counted: counted.into_inner(),
        hit,
    }
}

/// What the program does with a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostOutcome {
    /// Verdict, reason, and what is counted.
    pub outcome: Outcome,
    /// Counter slots of the matching `next` rules before the deciding one, in order.
    pub counted: Vec<u32>,
}

/// Decides about a frame that came in on an interface of zone `zone`, as the kernel program does
/// that has seen nothing before it.
#[must_use]
pub fn decide(tables: &Tables, frame: &[u8], zone: u32) -> HostOutcome {
    decide_after(tables, &Memory::of(tables), frame, zone)
}

/// As [`decide`], after the frames that left their traces in `memory`.
#[must_use]
pub fn decide_after(tables: &Tables, memory: &Memory, frame: &[u8], zone: u32) -> HostOutcome {
    let counted = RefCell::new(Vec::new());
    let machine = HostMachine::with_memory(tables, &counted, memory);
    let mut packet = Packet::EMPTY;
    let outcome = pipeline::decide(&machine, &frame, zone, &mut packet);
    if watch::is_armed(&machine) {
        watch::look(
            &machine,
            &frame,
            &mut packet,
            Fate::new(&outcome, 0).looks_at_leases(true),
        );
    }
    HostOutcome {
        outcome: pipeline::enforced(&machine, outcome),
        counted: counted.into_inner(),
    }
}

/// The frame that goes back to the sender of a rejected one ([`firewall_common::reason::Reason::REJECT`]),
/// as the kernel program makes it; `None` for a frame that nobody may answer.
#[must_use]
pub fn answer(tables: &Tables, frame: &[u8]) -> Option<Vec<u8>> {
    let counted = RefCell::new(Vec::new());
    let machine = HostMachine::new(tables, &counted);
    let mut packet = Packet::EMPTY;
    if parse(&machine, &frame, &mut packet) != Parsed::Ip {
        return None;
    }
    let mut answer = Answer::new(&machine);
    let made = answer::may_be_answered(&machine, &frame, &packet)
        && answer::is_intact(&machine, &frame, &packet)
        && answer::build(&machine, &frame, &packet, &mut answer);
    made.then(|| {
        let bytes = |words: &[u32], length: u32| {
            let bytes = words.iter().flat_map(|word| word.to_ne_bytes());
            bytes.take(length as usize).collect::<Vec<u8>>()
        };
        let link = bytes(&answer.link, answer.link_len);
        [link, bytes(&answer.ip, answer.ip_len)].concat()
    })
}

/// What the egress program makes of a frame that goes out: traces in `memory`.
///
/// Nothing, if no rule of the policy looks at state and no essential traffic must be asked for: there is
/// no such program then.
pub fn record(tables: &Tables, memory: &Memory, frame: &[u8]) {
    if tables.config.flows | tables.config.asked == 0 {
        return;
    }
    let counted = RefCell::new(Vec::new());
    let config = flows::egress_config(&tables.config);
    let machine = HostMachine {
        config: &config,
        ..HostMachine::with_memory(tables, &counted, memory)
    };
    outgoing::record(&machine, &frame, 0);
}

/// Whether the rules let in what comes for a UDP flow of `local` with `remote`, on an interface of zone
/// `zone`, whether the flow is known or not: as the egress program asks. Never, if the policy has live
/// sets, which only the kernel knows.
#[must_use]
pub fn lets_datagrams_in(
    tables: &Tables,
    (local, remote): ((IpAddr, u16), (IpAddr, u16)),
    zone: u32,
) -> bool {
    if !tables.live.is_empty() {
        return false;
    }
    let words = |address: IpAddr| match address {
        IpAddr::V4(address) => (0, u64::from(address.to_bits())),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            ((bits >> 64) as u64, bits as u64)
        }
    };
    let family = if local.0.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    };
    let mut packet = Packet::EMPTY;
    let key = &mut packet.key;
    *key = PacketKey::empty(family);
    (key.src_hi, key.src_lo) = words(remote.0);
    (key.dst_hi, key.dst_lo) = words(local.0);
    for (field, value) in [
        (Field::Proto, proto::UDP),
        (Field::SourcePort, remote.1.into()),
        (Field::DestinationPort, local.1.into()),
        (Field::Fragment, fragment::WHOLE),
        (Field::Zone, zone),
    ] {
        key.fields[field as usize] = value;
    }
    let counted = RefCell::new(Vec::new());
    outgoing::lets_in(&HostMachine::new(tables, &counted), &mut packet)
}

/// What the program remembers of what has been before a packet.
#[must_use]
pub fn memory_of(tables: &Tables, earlier: &Earlier) -> Memory {
    let memory = Memory::of(tables);
    let counted = RefCell::new(Vec::new());
    let machine = HostMachine::with_memory(tables, &counted, &memory);
    for &(set, prefix) in &earlier.members {
        if let Some(&id) = tables.config.live_ids.get(set) {
            let meta = prefix.meta(id.into()).with_end(Meta::FOREVER);
            live::put(&machine, &prefix, meta);
        }
    }
    for prefix in &earlier.banned {
        let meta = prefix.meta(live::BANNED.into()).with_end(Meta::FOREVER);
        live::put(&machine, prefix, meta);
    }
    for frame in &earlier.sent {
        record(tables, &memory, frame);
    }
    memory
}

/// What the program remembers from packet to packet, and the clock by which it ages. Belongs to one
/// compiled policy: the sizes of the regions are in its constants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Memory {
    /// Nanoseconds. It stands still until somebody sets it.
    pub now: Cell<u64>,
    /// The words of each region; none until the first write.
    regions: [RefCell<Vec<u64>>; Region::COUNT],
    /// What was where before it was overwritten, the latest last, while somebody is to take it back.
    journal: RefCell<Option<Vec<(Region, usize, u64)>>>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            now: Cell::new(1),
            regions: Default::default(),
            journal: RefCell::new(None),
        }
    }
}

impl Memory {
    /// Nothing but what the policy puts into its live sets.
    #[must_use]
    pub fn of(tables: &Tables) -> Self {
        let memory = Self::default();
        let counted = RefCell::new(Vec::new());
        let machine = HostMachine::with_memory(tables, &counted, &memory);
        for (set, id) in tables.live.iter().zip(tables.config.live_ids) {
            for prefix in prefixes(set) {
                let meta = prefix.meta(id.into()).by_policy();
                live::put(&machine, &prefix, meta.with_end(Meta::FOREVER));
            }
        }
        for prefix in prefixes(&tables.exempt) {
            let meta = prefix.meta(live::EXEMPT.into()).by_policy();
            live::put(&machine, &prefix, meta.with_end(Meta::FOREVER));
        }
        memory
    }

    /// The words of a region so far: all of them, or none if nobody has written to it.
    #[must_use]
    pub fn words(&self, region: Region) -> Vec<u64> {
        self.regions[region as usize].borrow().clone()
    }

    /// Sets a word of a region, as user space does.
    pub fn set(&self, tables: &Tables, region: Region, offset: u64, word: u64) {
        self.write(region, offset, *region.size(&tables.config), word);
    }

    /// Does something, and takes back what that has written, and how long it took. Not within another one.
    pub fn attempt<T>(&self, work: impl FnOnce() -> T) -> T {
        let now = self.now.get();
        *self.journal.borrow_mut() = Some(Vec::new());
        let done = work();
        let journal = self.journal.borrow_mut().take().unwrap_or_default();
        for (region, index, old) in journal.into_iter().rev() {
            if let Some(place) = self.regions[region as usize].borrow_mut().get_mut(index) {
                *place = old;
            }
        }
        self.now.set(now);
        done
    }

    /// Whether the attempt that goes on has written to a region.
    #[must_use]
    pub fn has_written(&self, region: Region) -> bool {
        let journal = self.journal.borrow();
        journal.iter().flatten().any(|it| it.0 == region)
    }

    fn read(&self, region: Region, offset: u64, size: u32) -> u64 {
        let words = self.regions[region as usize].borrow();
        words.get(index(offset, size)).copied().unwrap_or(0)
    }

    fn write(&self, region: Region, offset: u64, size: u32, word: u64) {
        let mut words = self.regions[region as usize].borrow_mut();
        if words.is_empty() {
            *words = vec![0; size as usize / 8];
        }
        let index = index(offset, size);
        if let Some(place) = words.get_mut(index) {
            if let Some(journal) = self.journal.borrow_mut().as_mut() {
                journal.push((region, index, *place));
            }
            *place = word;
        }
    }
}

/// The index of the word at a byte offset of a region, which wraps round as in the kernel.
const fn index(offset: u64, size: u32) -> usize {
    (offset & (size as u64).saturating_sub(8)) as usize / 8
}

/// Tables in memory, and a list for the slots of the rules that are counted.
#[derive(Clone, Copy, Debug)]
pub struct HostMachine<'a> {
    tables: &'a Tables,
    config: &'a Config,
    counted: &'a RefCell<Vec<u32>>,
    /// `None`: it remembers nothing.
    memory: Option<&'a Memory>,
    is_quiet: bool,
}

impl<'a> HostMachine<'a> {
    /// A machine that appends to `counted` the slot of every rule that is counted.
    #[must_use]
    pub fn new(tables: &'a Tables, counted: &'a RefCell<Vec<u32>>) -> Self {
        Self {
            tables,
            config: &tables.config,
            counted,
            memory: None,
            is_quiet: false,
        }
    }

    /// A machine that remembers.
    #[must_use]
    pub fn with_memory(
        tables: &'a Tables,
        counted: &'a RefCell<Vec<u32>>,
        memory: &'a Memory,
    ) -> Self {
        Self {
            memory: Some(memory),
            ..Self::new(tables, counted)
        }
    }

    #[inline(always)]
    fn table<const N: usize>(&self, offset: u64) -> [u8; N] {
        let bytes = &self.tables.bytes;
        let size = bytes.len().saturating_sub(TABLES_SPARE as usize);
        let start = offset as usize & size.saturating_sub(1);
        bytes
            .get(start..)
            .and_then(<[u8]>::first_chunk)
            .copied()
            .unwrap_or([0; N])
    }
}

impl Machine for HostMachine<'_> {
    #[inline(always)]
    fn constant(&self, pick: impl Fn(&Config) -> &u32) -> u32 {
        *pick(self.config)
    }

    #[inline(always)]
    fn table_u16(&self, offset: u64) -> u32 {
        u32::from(u16::from_ne_bytes(self.table(offset)))
    }

    #[inline(always)]
    fn table_u32(&self, offset: u64) -> u32 {
        u32::from_ne_bytes(self.table(offset))
    }

    #[inline(always)]
    fn table_u64(&self, offset: u64) -> u64 {
        u64::from_ne_bytes(self.table(offset))
    }

    #[inline(always)]
    fn opaque(&self, value: u64) -> u64 {
        std::hint::black_box(value)
    }

    #[inline(always)]
    fn forget(&self, value: u64) -> u64 {
        value
    }

    fn is_station(&self, word: u64) -> bool {
        self.tables.stations.contains(&word)
    }

    fn now(&self) -> u64 {
        self.memory.map_or(1, |memory| memory.now.get())
    }

    fn read(&self, region: Region, offset: u64) -> u64 {
        let size = *region.size(&self.tables.config);
        self.memory
            .map_or(0, |memory| memory.read(region, offset, size))
    }

    fn write(&self, region: Region, offset: u64, word: u64) {
        if let Some(memory) = self.memory {
            memory.write(region, offset, *region.size(&self.tables.config), word);
        }
    }

    fn exchange_if(&self, region: Region, offset: u64, old: u64, new: u64) -> bool {
        let is_old = self.read(region, offset) == old;
        if is_old {
            self.write(region, offset, new);
        }
        is_old
    }

    fn unlock(&self, region: Region, offset: u64) {
        self.write(region, offset, 0);
    }

    fn quiet(&self) -> Self {
        Self {
            is_quiet: true,
            ..*self
        }
    }

    fn count_rule(&self, slot: u32) {
        // As in the kernel, where it lies beyond the counters: a rule that has expired.
        if slot != pipeline::NO_RULE && !self.is_quiet {
            self.counted.borrow_mut().push(slot);
        }
    }
}

impl Calls for HostMachine<'_> {
    #[inline(always)]
    fn walk(&self, key: &PacketKey) -> Entry {
        if key.is_v6 != 0 {
            classify::walk_v6(self, key)
        } else {
            classify::walk_v4(self, key)
        }
    }

    fn follow_fragment(&self, packet: &Packet, passes: bool) -> u64 {
        fragments::follow(self, packet, passes)
    }

    fn limit(&self, key: &PacketKey, rule: Entry) -> Entry {
        if self.is_quiet {
            Entry::OVER
        } else {
            limits::charge(self, key, rule)
        }
    }

    fn log(&self, key: &PacketKey, rule: Entry, found: Entry) {
        if !self.is_quiet {
            log::record(self, key, rule, found);
        }
    }

    fn pay(&self, bucket: Bucket, rule: Entry, bytes: u32) -> Entry {
        limits::pay(self, bucket, rule, bytes)
    }

    fn locate(&self, tuple: &Tuple) -> u64 {
        flows::locate(self, tuple)
    }

    fn ban(&self, key: &PacketKey, rule: Entry) {
        limits::ban(self, key, rule);
    }

    fn sets_of(&self, key: &PacketKey, is_destination: bool) -> u64 {
        live::sets_of(self, key, is_destination)
    }

    fn note_source(&self, key: &PacketKey) {
        proof::note(self, key);
    }

    fn is_proven(&self, key: &PacketKey) -> bool {
        proof::is_proven(self, key)
    }

    fn ended(&self, packet: &Packet) {
        flows::ended(self, &packet.key);
    }

    fn room(&self, set: u64, now: u64, counterpart: u64) -> u64 {
        flows::room(self, set, now, counterpart)
    }

    fn protection_of(&self, key: &PacketKey) -> u64 {
        live::protection_of(self, key)
    }

    #[inline(always)]
    fn show(&self, packet: &Packet, fate: u64, slot: u64, bytes: u32) {
        watch::show(self, packet, Fate::from_word(fate), slot, bytes);
    }
}
