//! Live sets and bans on the host build, against a list that is gone through one by one.

use firewall_common::abi::Config;
use firewall_common::key::{Family, PacketKey};
use firewall_common::live::{self, Added, BANNED, BANS, Meta, Prefix, head};
use firewall_common::machine::Machine as _;
use firewall_common::proof;
use firewall_common::region::Region;
use firewall_policy::host::{HostMachine, Memory};
use firewall_policy::rule::AddrSet;
use firewall_policy::tables::Tables;
use std::cell::RefCell;
use std::collections::HashMap;

/// Nanoseconds of a tick.
const TICK: u64 = 1 << Meta::TICK_SHIFT;

fn tables(slots: u32) -> Tables {
    Tables {
        bytes: vec![0; 128],
        config: Config {
            live_size: slots * live::BYTES_PER_SLOT,
            live_seed: [0x1234_5678, 0x9abc_def0],
            live_ids: [3, 9, 0, 0, 0, 0, 0, 0],
            ..Config::default()
        },
        live: Vec::new(),
        exempt: AddrSet::none(),
        stations: Vec::new(),
        report: Vec::new(),
        worst: Default::default(),
    }
}

/// Numbers by splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
struct Random(u64);

impl Random {
    const fn new(seed: u64) -> Self {
        Self(seed)
    }

    const fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % bound
    }
}

/// What is in the sets, and until when in ticks.
type Model = HashMap<(u64, Prefix), u64>;

/// The sets that contain an address, by going through all of them.
fn expected(model: &Model, prefix: &Prefix, now: u64) -> u64 {
    let bits = |prefix: &Prefix| u128::from(prefix.hi) << 64 | u128::from(prefix.lo);
    model
        .iter()
        .filter(|((_, entry), end)| {
            let differ = bits(entry) ^ bits(prefix);
            entry.is_v6 == prefix.is_v6
                && u64::from(differ.leading_zeros()) >= entry.length
                && **end > now
        })
        .fold(0, |sets, ((id, _), _)| sets | 1 << id)
}

/// A prefix of few different addresses, so that prefixes meet, nest and repeat.
fn prefix(random: &mut Random) -> Prefix {
    let is_v6 = random.below(2);
    let hi = if is_v6 == 0 {
        (0xc000_0200 | random.below(16) << 28 | random.below(8)) << 32
    } else {
        0x2001_0db8 << 32 | random.below(4) << 20 | random.below(4)
    };
    let lo = if is_v6 == 0 {
        0
    } else {
        random.below(4) << 60 | random.below(4)
    };
    let length = match (is_v6, random.below(4)) {
        (0, 0) => 32,
        (0, 1) => random.below(33),
        (0, _) => [0, 8, 24, 31][random.below(4) as usize],
        (_, 0) => 128,
        (_, 1) => random.below(129),
        _ => [0, 32, 63, 64, 65, 127][random.below(6) as usize],
    };
    Prefix::of(hi, lo, length, is_v6)
}

#[test]
fn lookups_agree_with_a_list_under_random_changes() {
    let cases = std::env::var("FIREWALL_CASES").ok();
    let rounds = cases
        .and_then(|n| n.parse::<u64>().ok())
        .map_or(300, |n| n / 1_600);
    for seed in 0..rounds {
        let mut random = Random::new(seed);
        let tables = tables(1 << 10);
        let (memory, counted) = (Memory::default(), RefCell::new(Vec::new()));
        let machine = HostMachine::with_memory(&tables, &counted, &memory);
        let mut model = Model::new();
        let ids = [u64::from(BANNED), 3, 9];
        memory.now.set(5 * TICK);
        for step in 0..400 {
            memory.now.set(memory.now.get() + random.below(3) * TICK);
            let now = memory.now.get() >> Meta::TICK_SHIFT;
            let (id, entry) = (ids[random.below(3) as usize], prefix(&mut random));
            let owner = live::owner(id, live::colour(&machine, id));
            let meta = entry.meta(owner);
            match random.below(10) {
                0..6 => {
                    let end = match random.below(3) {
                        0 => Meta::FOREVER,
                        _ => now + 1 + random.below(40),
                    };
                    let added = live::put(&machine, &entry, meta.with_end(end));
                    let old = model.insert((id, entry), end);
                    let is_there = old.is_some_and(|end| end > now);
                    assert!(added != Added::NoRoom, "seed {seed} step {step}");
                    assert!(
                        added == Added::Again || !is_there,
                        "seed {seed} step {step}: a second entry of one prefix"
                    );
                }
                6..8 => {
                    let old = live::remove(&machine, &entry, meta);
                    let is_there = !old.is_free() && !old.has_ended(now);
                    let known = model.remove(&(id, entry)).is_some_and(|end| end > now);
                    assert_eq!(is_there, known, "seed {seed} step {step}");
                }
                8 => {
                    model.retain(|_, end| *end > now);
                    let left = live::sweep(&machine, |_| false);
                    assert_eq!(left, model.len() as u64, "seed {seed} step {step}");
                }
                _ if random.below(8) == 0 => live::recount(&machine),
                _ => {}
            }
            for _ in 0..4 {
                let mut address = prefix(&mut random);
                if address.length == 0 {
                    continue;
                }
                address.length = if address.is_v6 == 0 { 32 } else { 128 };
                let found = live::of_address(&machine, address.hi, address.lo, address.is_v6);
                let wanted = expected(&model, &address, now);
                assert_eq!(found, wanted, "seed {seed} step {step}: {address:?}");
            }
        }
        // The header says what is there.
        live::sweep(&machine, |_| true);
        for offset in [head::V4, head::V6, head::V6_LENGTHS] {
            assert_eq!(machine.read(Region::Live, offset), 0, "seed {seed}");
        }
    }
}

#[test]
fn a_colour_hides_what_has_the_other_one() {
    let tables = tables(1 << 10);
    let (memory, counted) = (Memory::default(), RefCell::new(Vec::new()));
    let machine = HostMachine::with_memory(&tables, &counted, &memory);
    let entry = Prefix::of(0xc000_0201 << 32, 0, 32, 0);
    let add = |colour: u64| {
        let meta = entry.meta(live::owner(3, colour)).with_end(Meta::FOREVER);
        assert_eq!(live::put(&machine, &entry, meta), Added::New);
    };
    let found = || live::of_address(&machine, entry.hi, entry.lo, 0);
    add(1);
    assert_eq!(found(), 0);
    machine.write(Region::Live, head::COLOURS, 1 << 3);
    assert_eq!(found(), 1 << 3);
    add(0);
    assert_eq!(found(), 1 << 3);
    assert_eq!(
        live::sweep(&machine, |meta| meta.owner() == live::owner(3, 1)),
        1
    );
    assert_eq!(found(), 0);
}

#[test]
fn policy_numbers_come_from_set_numbers() {
    let tables = tables(1 << 10);
    let (memory, counted) = (Memory::default(), RefCell::new(Vec::new()));
    let machine = HostMachine::with_memory(&tables, &counted, &memory);
    assert_eq!(
        live::of_policy(&machine, 1),
        0,
        "bans are no set of the policy"
    );
    assert_eq!(live::of_policy(&machine, 1 << 3), 1);
    assert_eq!(live::of_policy(&machine, 1 << 9 | 1), 2);
    assert_eq!(live::of_policy(&machine, u64::MAX), 3);
}

/// Nothing is refused before five eighths of the table are in use, whatever the secret is; and
/// bans take no more than their part.
#[test]
fn no_bucket_overflows_before_its_time() {
    for seed in 0..8 {
        let mut tables = tables(live::FEWEST);
        tables.config.live_seed = [seed * 77, 5];
        let (memory, counted) = (Memory::default(), RefCell::new(Vec::new()));
        let machine = HostMachine::with_memory(&tables, &counted, &memory);
        for number in 0..live::entries_of(live::FEWEST.into()) {
            // Neighbours, as in a scan of a network.
            let entry = Prefix::of((0x0a00_0000 + number) << 32, 0, 32, 0);
            let meta = entry.meta(3).with_end(Meta::FOREVER);
            assert_eq!(live::put(&machine, &entry, meta), Added::New, "{number}");
        }
    }
    let tables = tables(live::FEWEST);
    let (memory, counted) = (Memory::default(), RefCell::new(Vec::new()));
    let machine = HostMachine::with_memory(&tables, &counted, &memory);
    let mut key = PacketKey::empty(Family::V4);
    for number in 0..BANS + 10 {
        key.src_lo = 0x0a00_0000 + number;
        live::ban(&machine, &key, 32, 100);
    }
    let at = head::OWNERS + u64::from(BANNED) * 8;
    assert_eq!(machine.read(Region::Live, at), BANS);
    assert_eq!(machine.read(Region::Live, head::REFUSED), 10);
    assert_eq!(machine.read(Region::Live, head::LOCK), 0);
}

/// What is protected is found where it is asked for, and no packet is looked up by its lengths.
#[test]
fn protected_sets_have_lengths_of_their_own() {
    let tables = tables(1 << 10);
    let (memory, counted) = (Memory::default(), RefCell::new(Vec::new()));
    let machine = HostMachine::with_memory(&tables, &counted, &memory);
    let mut key = PacketKey::empty(Family::V4);
    key.src_lo = 0xc000_0209;
    let mut six = PacketKey::empty(Family::V6);
    (six.src_hi, six.src_lo) = (0x2001_0db8 << 32, 9);
    let put = |hi: u64, lo: u64, length: u64, is_v6: u64, id: u32| {
        let prefix = Prefix::of(hi, lo, length, is_v6);
        let meta = prefix.meta(id.into()).with_end(Meta::FOREVER);
        assert_eq!(live::put(&machine, &prefix, meta), Added::New);
    };
    put(0xc000_0200 << 32, 0, 24, 0, live::EXEMPT);
    put(0xc000_0209 << 32, 0, 32, 0, live::SPARED);
    put(0x2001_0db8 << 32, 0, 64, 1, live::EXEMPT);
    put(0x2001_0db8 << 32, 9, 128, 1, live::SPARED);
    let both = 1 << live::EXEMPT | 1 << live::SPARED;
    for round in 0..2 {
        assert_eq!(live::protection_of(&machine, &key), both, "{round}");
        assert_eq!(live::protection_of(&machine, &six), both, "{round}");
        assert_eq!(live::sets_of(&machine, &key, false), 0);
        assert!(!live::is_in_use(&machine, &key) && !live::is_in_use(&machine, &six));
        // So it is for a table whose last writer did not finish.
        live::recount(&machine);
    }
    key.src_lo = 0xc000_02ff;
    assert_eq!(live::protection_of(&machine, &key), 1 << live::EXEMPT);
    key.src_lo = 0xc000_0300;
    assert_eq!(live::protection_of(&machine, &key), 0);
}

/// A rule bans no prefix that holds an address which the host needs, and any other one: also such a
/// prefix that lies beside the address, in what another rule's longer or shorter ban would hold.
#[test]
fn what_is_spared_is_exactly_the_prefixes_that_hold_an_address_of_the_host() {
    let tables = tables(1 << 10);
    let (memory, counted) = (Memory::default(), RefCell::new(Vec::new()));
    let machine = HostMachine::with_memory(&tables, &counted, &memory);
    let (own, near, far) = (0xc000_0250, 0xc000_0207, 0xc000_0307);
    let own_v6 = (0x2001_0db8 << 32, 0x80);
    let spare = |hi: u64, lo: u64, lengths: [u64; 2], is_v6: u64| {
        for length in lengths {
            let prefix = Prefix::of(hi, lo, length, is_v6);
            let meta = prefix.meta(live::SPARED.into()).with_end(Meta::FOREVER);
            assert_eq!(live::put(&machine, &prefix, meta), Added::New);
        }
    };
    spare(own << 32, 0, [24, 32], 0);
    spare(own_v6.0, own_v6.1, [56, 128], 1);
    let v4 = |lo: u64| {
        let mut key = PacketKey::empty(Family::V4);
        key.src_lo = lo;
        key
    };
    let v6 = |(hi, lo): (u64, u64)| {
        let mut key = PacketKey::empty(Family::V6);
        (key.src_hi, key.src_lo) = (hi, lo);
        key
    };
    let near_v6 = (own_v6.0 | 1, 7);
    for (key, length, is_banned) in [
        (v4(own), 32, false),
        (v4(own), 24, false),
        (v4(near), 24, false),
        (v4(near), 32, true),
        (v4(far), 24, true),
        (v6(own_v6), 128, false),
        (v6(near_v6), 56, false),
        (v6(near_v6), 128, true),
    ] {
        live::ban(&machine, &key, length, 1_000);
        let banned = live::sets_of(&machine, &key, false) & 1 << BANNED != 0;
        assert_eq!(banned, is_banned, "{:x} {length}", key.src());
    }
    assert_eq!(machine.read(Region::Live, head::LOCK), 0);
}

#[test]
fn a_proof_counts_for_its_source_and_for_an_hour() {
    let mut tables = tables(1 << 10);
    tables.config.proof_size = proof::SIZE;
    tables.config.buckets_seed = [7, 9];
    let (memory, counted) = (Memory::default(), RefCell::new(Vec::new()));
    let machine = HostMachine::with_memory(&tables, &counted, &memory);
    let of = |source: u64| {
        let mut key = PacketKey::empty(Family::V4);
        key.src_lo = source;
        key
    };
    let hour = 3_600_000_000_000;
    let noted = 500;
    memory.now.set(1);
    assert!((0..1_000).all(|source| !proof::is_proven(&machine, &of(source))));
    for source in 0..noted {
        proof::note(&machine, &of(source));
        proof::note(&machine, &of(source));
        assert!(proof::is_proven(&machine, &of(source)), "{source}");
    }
    let proven = |range: std::ops::Range<u64>| {
        range
            .filter(|&source| proof::is_proven(&machine, &of(source)))
            .count()
    };
    assert_eq!(proven(noted..100_000), 0, "nobody by another one's proof");
    assert!(proven(0..noted) as u64 >= noted - 1, "few give way");
    let mut six = PacketKey::empty(Family::V6);
    six.src_lo = 1;
    assert!(!proof::is_proven(&machine, &six));
    memory.now.set(hour / 2);
    proof::note(&machine, &of(1));
    memory.now.set(hour + hour / 4);
    assert_eq!(proven(0..noted), 1, "the one that was seen again");
    memory.now.set(2 * hour);
    assert_eq!(proven(0..noted), 0);
}
