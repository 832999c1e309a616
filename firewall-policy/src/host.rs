//! The host's [`Machine`]: runs the kernel's code over [`Tables`].
//!
//! Reads behave as in the kernel: offsets wrap round at the end of the tables. Nothing here panics.

use crate::tables::Tables;
use firewall_common::abi::{Config, TABLES_SPARE};
use firewall_common::classify::{Hit, classify};
use firewall_common::key::PacketKey;
use firewall_common::machine::{Machine, Step};
use firewall_common::pipeline::{self, Outcome};
use std::cell::RefCell;

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

/// Decides about a frame that came in on an interface of zone `zone`, as the kernel program does.
#[must_use]
pub fn decide(tables: &Tables, frame: &[u8], zone: u32) -> HostOutcome {
    let counted = RefCell::new(Vec::new());
    let outcome = pipeline::decide(&HostMachine::new(tables, &counted), &frame, zone);
    HostOutcome {
        outcome,
        counted: counted.into_inner(),
    }
}

/// Tables in memory, and a list for the slots of the rules that are counted.
#[derive(Clone, Copy, Debug)]
pub struct HostMachine<'a> {
    tables: &'a Tables,
    counted: &'a RefCell<Vec<u32>>,
}

impl<'a> HostMachine<'a> {
    /// A machine that appends to `counted` the slot of every rule that is counted.
    #[must_use]
    pub fn new(tables: &'a Tables, counted: &'a RefCell<Vec<u32>>) -> Self {
        Self { tables, counted }
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

    fn count_rule(&self, slot: u32) {
        self.counted.borrow_mut().push(slot);
    }
}
