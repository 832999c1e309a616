//! The host's [`Machine`]: runs the kernel's code over [`Tables`].
//!
//! Reads behave as in the kernel: offsets wrap round at the end of the tables. Nothing here panics.

use crate::tables::Tables;
use firewall_common::abi::{Config, FRAGMENTS_SIZE, TABLES_SPARE};
use firewall_common::classify::{Hit, classify};
use firewall_common::key::PacketKey;
use firewall_common::machine::{Machine, Step};
use firewall_common::pipeline::{self, Outcome};
use std::cell::{Cell, RefCell};

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
    decide_after(tables, &Fragments::default(), frame, zone)
}

/// As [`decide`], after the frames that left their traces in `fragments`.
#[must_use]
pub fn decide_after(
    tables: &Tables,
    fragments: &Fragments,
    frame: &[u8],
    zone: u32,
) -> HostOutcome {
    let counted = RefCell::new(Vec::new());
    let machine = HostMachine {
        fragments: Some(fragments),
        ..HostMachine::new(tables, &counted)
    };
    let outcome = pipeline::decide(&machine, &frame, zone);
    HostOutcome {
        outcome,
        counted: counted.into_inner(),
    }
}

/// The table of fragmented datagrams, and the clock by which its entries age.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fragments {
    /// Nanoseconds. It stands still until somebody sets it.
    pub now: Cell<u64>,
    /// Empty until the first write.
    words: RefCell<Vec<u64>>,
}

impl Default for Fragments {
    fn default() -> Self {
        Self {
            now: Cell::new(1),
            words: RefCell::default(),
        }
    }
}

impl Fragments {
    /// The index of the word at a byte offset, which wraps round as in the kernel.
    const fn index(offset: u64) -> usize {
        (offset & (FRAGMENTS_SIZE as u64 - 8)) as usize / 8
    }

    fn read(&self, offset: u64) -> u64 {
        let words = self.words.borrow();
        words.get(Self::index(offset)).copied().unwrap_or(0)
    }

    fn write(&self, offset: u64, word: u64) {
        let mut words = self.words.borrow_mut();
        if words.is_empty() {
            *words = vec![0; FRAGMENTS_SIZE as usize / 8];
        }
        if let Some(place) = words.get_mut(Self::index(offset)) {
            *place = word;
        }
    }
}

/// Tables in memory, and a list for the slots of the rules that are counted.
#[derive(Clone, Copy, Debug)]
pub struct HostMachine<'a> {
    tables: &'a Tables,
    counted: &'a RefCell<Vec<u32>>,
    /// `None`: a table that stays empty.
    fragments: Option<&'a Fragments>,
}

impl<'a> HostMachine<'a> {
    /// A machine that appends to `counted` the slot of every rule that is counted.
    #[must_use]
    pub fn new(tables: &'a Tables, counted: &'a RefCell<Vec<u32>>) -> Self {
        Self {
            tables,
            counted,
            fragments: None,
        }
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: u64) -> [u8; N] {
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
        *pick(&self.tables.config)
    }

    #[inline(always)]
    fn table_u16(&self, offset: u64) -> u32 {
        u32::from(u16::from_ne_bytes(self.read(offset)))
    }

    #[inline(always)]
    fn table_u32(&self, offset: u64) -> u32 {
        u32::from_ne_bytes(self.read(offset))
    }

    #[inline(always)]
    fn table_u64(&self, offset: u64) -> u64 {
        u64::from_ne_bytes(self.read(offset))
    }

    #[inline(always)]
    fn opaque(&self, value: u64) -> u64 {
        std::hint::black_box(value)
    }

    #[inline(always)]
    fn forget(&self, value: u64) -> u64 {
        value
    }

    fn repeat<S: Step>(&self, max: u32, state: &mut S) {
        for _ in 0..max {
            if !state.step() {
                break;
            }
        }
    }

    fn now(&self) -> u64 {
        self.fragments.map_or(1, |fragments| fragments.now.get())
    }

    fn fragments_read(&self, offset: u64) -> u64 {
        self.fragments.map_or(0, |fragments| fragments.read(offset))
    }

    fn fragments_write(&self, offset: u64, word: u64) {
        if let Some(fragments) = self.fragments {
            fragments.write(offset, word);
        }
    }

    /// There is one thread.
    fn fragments_try_lock(&self, _offset: u64) -> bool {
        true
    }

    fn fragments_unlock(&self, _offset: u64) {}

    fn count_rule(&self, slot: u32) {
        self.counted.borrow_mut().push(slot);
    }
}
