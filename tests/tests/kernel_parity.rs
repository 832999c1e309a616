//! The same frames through the host build of parser and classifier and through the loaded program
//! (BPF_PROG_TEST_RUN), over all shipped policies: the same verdict for each frame, the same
//! counters in every reason, rule and port.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_common::abi::{CountedPort, Counter, InterfaceEntry, interface_hash};
use firewall_common::field::Field;
use firewall_common::pipeline::NO_RULE;
use firewall_common::reason::Reason;
use firewall_engine::kernel::program::Loaded;
use firewall_policy::compile::compile;
use firewall_policy::host;
use firewall_policy::rule::Policy;
use firewall_policy::tables::Tables;
use firewall_tests::frames::{self, Frame, Taste};
use firewall_tests::number;
use firewall_tests::policies;
use firewall_tests::random::Random;
use std::collections::BTreeMap;

/// Frames for each policy and zone, if `FIREWALL_FRAMES` does not ask for fewer. With four policies
/// or more that is over 20,000.
const FRAMES: usize = 8_000;

/// Frames between two looks at the counters.
const BATCH: usize = 500;

/// The loopback interface, on which a test run takes place; its counter slot here.
const IFINDEX: u32 = 1;
const SLOT: usize = 1;

/// What was counted: `reason`, `rule` or `port` with numbers, to packets and bytes.
type Ledger = BTreeMap<(&'static str, usize, usize), (u64, u64)>;

fn add(ledger: &mut Ledger, key: (&'static str, usize, usize), bytes: u64) {
    let entry = ledger.entry(key).or_default();
    entry.0 += 1;
    entry.1 += bytes;
}

fn expect(
    ledger: &mut Ledger,
    tables: &Tables,
    fragments: &host::Memory,
    frame: &[u8],
    zone: u32,
) -> host::HostOutcome {
    let answer = host::decide_after(tables, fragments, frame, zone);
    let bytes = frame.len() as u64;
    let outcome = answer.outcome;
    let verdict = usize::from(outcome.verdict.0);
    add(
        ledger,
        ("reason", usize::from(outcome.reason.0), verdict),
        bytes,
    );
    for &slot in &answer.counted {
        add(ledger, ("rule", slot as usize, 0), bytes);
    }
    if outcome.rule != NO_RULE {
        add(ledger, ("rule", outcome.rule as usize, 0), bytes);
    }
    if outcome.port != CountedPort::NONE {
        let (port, udp) = (
            outcome.port.port().into(),
            usize::from(outcome.port.is_udp()),
        );
        add(ledger, ("port", port, udp * 2 + verdict), bytes);
    }
    answer
}

/// Everything that the program counted, in the ledger's terms.
fn counted(loaded: &Loaded) -> Ledger {
    let sums = loaded.counters();
    let mut ledger = Ledger::new();
    let mut put = |key, counter: &Counter| {
        if counter.packets != 0 {
            ledger.insert(key, (counter.packets, counter.bytes));
        }
    };
    for (index, verdicts) in sums.reasons.iter().enumerate() {
        for (verdict, counter) in verdicts.iter().enumerate() {
            if index / Reason::CAPACITY == SLOT {
                put(("reason", index % Reason::CAPACITY, verdict), counter);
            } else {
                assert_eq!(counter.packets, 0, "counted for another interface");
            }
        }
    }
    for (port, columns) in sums.ports.iter().enumerate() {
        for (column, counter) in columns.iter().enumerate() {
            put(("port", port, column), counter);
        }
    }
    for (slot, counter) in sums.rules.iter().enumerate() {
        put(("rule", slot, 0), counter);
    }
    ledger
}

/// Values at the borders of the policy's rules.
fn taste(policy: &Policy) -> Taste {
    let mut taste = Taste::default();
    for rule in &policy.rules {
        for set in [&rule.matches.src, &rule.matches.dst] {
            taste
                .v4
                .extend(set.v4.ranges().iter().flat_map(|&(a, b)| [a, b]));
            taste
                .v6
                .extend(set.v6.ranges().iter().flat_map(|&(a, b)| [a, b]));
        }
        for field in [Field::SourcePort, Field::DestinationPort] {
            let ranges = rule.matches.field(field).ranges().iter();
            taste
                .ports
                .extend(ranges.flat_map(|&(a, b)| [a as u16, b as u16]));
        }
    }
    taste
}

fn load(policy: &Policy, zone: u32) -> (Tables, Loaded) {
    let slots: Vec<u32> = (0..policy.counters().len() as u32).collect();
    let tables = compile(policy, &slots).unwrap();
    let mut interfaces = vec![InterfaceEntry::default(); firewall_common::abi::INTERFACE_TABLE];
    interfaces[interface_hash(IFINDEX) as usize] = InterfaceEntry {
        ifindex: IFINDEX,
        slot: SLOT as u16,
        zone: zone as u16,
    };
    let loaded = Loaded::load(&tables, policy.rules.len() as u32, &interfaces).unwrap();
    (tables, loaded)
}

#[test]
#[ignore = "needs root"]
fn host_and_kernel_agree_on_random_frames() {
    let frames = FRAMES.min(number("FIREWALL_FRAMES", FRAMES as u64).unwrap() as usize);
    let mut total = 0;
    let mut reasons = std::collections::BTreeSet::new();
    for (name, policy) in policies::shipped().unwrap() {
        let taste = taste(&policy);
        for zone in 0..policy.zones.len().max(1) as u32 {
            let (tables, loaded) = load(&policy, zone);
            let mut random = Random::new(u64::from(zone) + 1);
            let mut ledger = Ledger::new();
            // The clock stands still: nothing lives as long as the program remembers fragments.
            let fragments = host::Memory::default();
            for _ in 0..frames / BATCH {
                let batch: Vec<Frame> = (0..BATCH)
                    .map(|_| frames::random(&mut random, &taste))
                    .collect();
                for frame in &batch {
                    let host = expect(&mut ledger, &tables, &fragments, frame, zone);
                    reasons.insert(host.outcome.reason);
                    let kernel = loaded.run(frame, 1, Some(IFINDEX)).unwrap();
                    assert_eq!(
                        kernel.verdict, host.outcome.verdict,
                        "{name}, zone {zone}: host says {host:?} about {frame:02x?}"
                    );
                }
                assert_eq!(
                    counted(&loaded),
                    ledger,
                    "{name}, zone {zone}: counters differ"
                );
                total += BATCH;
            }
        }
    }
    println!(
        "{total} frames, no disagreement, {} reasons seen",
        reasons.len()
    );
    assert!(total >= 20_000 || frames < FRAMES, "only {total} frames");
    // The generator reaches nearly every end that a frame can have.
    assert!(reasons.len() >= 20, "only {reasons:?}");
}
