//! What tables look like and what a lookup in them reads, for policies of many shapes: the compiler
//! chooses between forms that all give the right answer, so a wrong choice shows here alone. Reads
//! do not depend on the machine that counts them, as times would.
//!
//! After a change of the compiler: run with `INSTA_UPDATE=always`, and read what became of sizes
//! (before they are padded, and after) and reads. The checksum says whether tables and constants are
//! the same to the byte.

use crate::random::{Random, Style, headers, policy};
use crate::{addresses, lanes, large, lists, number};
use firewall_common::abi::{Config, TABLES_SPARE};
use firewall_common::classify::classify;
use firewall_common::key::PacketKey;
use firewall_common::machine::{Machine, Step};
use firewall_common::plain::Plain;
use firewall_common::region::Region;
use firewall_policy::compile::compile;
use firewall_policy::range::RangeSet;
use firewall_policy::rule::Policy;
use firewall_policy::source::{NoFiles, read_policy};
use firewall_policy::tables::Tables;
use std::cell::Cell;
use std::fmt::Write as _;

/// Headers that are looked up in each policy's tables.
const HEADERS: usize = 1_000;

/// A machine that counts the reads from the tables. There are no regions in it: the policies here
/// have no limits and no live sets.
#[derive(Clone, Copy)]
pub(crate) struct Counting<'a> {
    pub(crate) tables: &'a Tables,
    pub(crate) reads: &'a Cell<u64>,
}

impl Counting<'_> {
    fn get<const N: usize>(&self, offset: u64) -> [u8; N] {
        let bytes = &self.tables.bytes;
        let at = offset as usize & (bytes.len() - TABLES_SPARE as usize - 1);
        std::array::from_fn(|i| bytes.get(at + i).copied().unwrap_or_default())
    }

    fn count(&self) {
        self.reads.set(self.reads.get() + 1);
    }
}

impl Plain for Counting<'_> {}

impl Machine for Counting<'_> {
    fn constant(&self, pick: impl Fn(&Config) -> &u32) -> u32 {
        *pick(&self.tables.config)
    }

    fn table_u16(&self, offset: u64) -> u32 {
        self.count();
        u16::from_le_bytes(self.get(offset)).into()
    }

    fn table_u32(&self, offset: u64) -> u32 {
        self.count();
        u32::from_le_bytes(self.get(offset))
    }

    fn table_u64(&self, offset: u64) -> u64 {
        self.count();
        u64::from_le_bytes(self.get(offset))
    }

    fn table_line(&self, offset: u64) -> [u64; 8] {
        self.count();
        std::array::from_fn(|i| u64::from_le_bytes(self.get(offset + 8 * i as u64)))
    }

    /// No loop may need more rounds than it has.
    fn repeat<S: Step>(&self, max: u32, state: &mut S) {
        let ended = (0..max).any(|_| !state.step());
        assert!(ended, "{max} rounds do not suffice");
    }

    fn opaque(&self, value: u64) -> u64 {
        value
    }

    fn forget(&self, value: u64) -> u64 {
        value
    }

    fn now(&self) -> u64 {
        1
    }

    fn read(&self, _: Region, _: u64) -> u64 {
        0
    }

    fn write(&self, _: Region, _: u64, _: u64) {}

    fn exchange_if(&self, _: Region, _: u64, _: u64, _: u64) -> bool {
        true
    }

    fn unlock(&self, _: Region, _: u64) {}

    fn count_rule(&self, _: u32) {}

    fn quiet(&self) -> Self {
        *self
    }
}

/// FNV-1a, 64 bits (draft-eastlake-fnv).
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// One policy's tables and lookups in words.
fn describe(name: &str, policy: &Policy, keys: &[PacketKey], out: &mut String) {
    let slots: Vec<u32> = (0..policy.counters().len() as u32).collect();
    let tables = compile(policy, &slots).unwrap_or_else(|limit| panic!("{name}: {limit}"));
    let reads = Cell::new(0);
    let machine = Counting {
        tables: &tables,
        reads: &reads,
    };
    let hits = keys
        .iter()
        .filter(|key| classify(&machine, key).is_some())
        .count();
    writeln!(
        out,
        "{name}: {} of {} bytes, checksum {:016x}; {} lookups, {hits} hits, {} reads",
        tables.report.iter().map(|line| line.bytes).sum::<usize>(),
        tables.bytes.len(),
        checksum(&[&tables.bytes, format!("{:?}", tables.config).as_bytes()].concat()),
        keys.len(),
        reads.get()
    )
    .expect("a text takes everything");
}

#[test]
fn tables_and_lookups_cost_what_they_did() {
    if number("FIREWALL_SEED", 1) != 1 {
        return;
    }
    let mut out = String::new();
    for (seed, rules) in [(1, 1), (2, 40), (3, 64), (4, 65), (5, 700), (7, 4_200)] {
        let style = Style::random(&mut Random(seed), rules);
        let policy = policy(seed, rules, style);
        let keys = headers(&policy, seed, HEADERS, 30);
        describe(&format!("{rules} rules"), &policy, &keys, &mut out);
    }
    for (name, style) in lists::STYLES {
        let policy = lists::policy(7, style);
        let keys = headers(&policy, 7, HEADERS, 30);
        describe(name, &policy, &keys, &mut out);
    }
    for seed in 0..40 {
        let mut random = Random(seed);
        let policy = addresses::policy(&mut random);
        let mut keys = addresses::keys(&mut random, &policy);
        let step = keys.len().div_ceil(HEADERS).max(1);
        keys = keys.into_iter().step_by(step).collect();
        describe(&format!("addresses {seed}"), &policy, &keys, &mut out);
    }
    let ports = lanes::ports_by_byte(9_000);
    let keys = headers(&ports, 8, HEADERS, 10);
    describe("ports by byte", &ports, &keys, &mut out);
    for (name, networks) in [("one crowded network", 1), ("many networks", 20_000)] {
        let hosts = (0..20_000_u64).map(|i| {
            let network = (0x2001_0db8_u128 << 96) | (u128::from(i % networks) << 64);
            let host = network | u128::from(large::scattered(i));
            (host, host)
        });
        let set = RangeSet::from_ranges(hosts.collect());
        let policy = large::policy([large::from_v6(set)].into_iter());
        let keys = headers(&policy, 9, HEADERS, 1);
        describe(name, &policy, &keys, &mut out);
    }
    // Everything that is beside the rules: limits of all kinds, bans, live sets, an end.
    let text = include_str!("beside.yaml");
    let policy = read_policy("beside.yaml", text, &NoFiles).expect("a policy");
    let policy = policy.policy;
    describe("beside rules", &policy, &[], &mut out);
    insta::assert_snapshot!(out);
}
