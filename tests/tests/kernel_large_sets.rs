//! Sets of many prefixes in the loaded program: every lookup form of addresses, at the borders of
//! the prefixes, against the set itself. Also: such a policy costs the verifier no more than others.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_common::abi::{INTERFACE_TABLE, InterfaceEntry, addr_form};
use firewall_common::verdict::Verdict;
use firewall_engine::kernel::program::Loaded;
use firewall_policy::compile::compile;
use firewall_policy::range::RangeSet;
use firewall_policy::rule::AddrSet;
use firewall_policy::tables::Tables;
use firewall_tests::frames::{self, Frame, Ipv4};
use firewall_tests::policies;
use firewall_tests::random::Random;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Prefixes of a family.
const PREFIXES: usize = 100_000;

/// Instructions that the verifier may process: half of the kernel's limit.
const VERIFIER: u32 = 500_000;

/// The policy that drops packets from `set`, compiled.
fn compiled(set: &AddrSet) -> Tables {
    let text = "version: 1\ndefault: {in: pass}\n\
                rules: [{name: listed, from: 192.0.2.1, action: drop}]\n";
    let mut policy = policies::parse(text).unwrap();
    policy.rules[0].matches.src = set.clone();
    compile(&policy, &[0]).unwrap()
}

fn load(tables: &Tables) -> Loaded {
    let interfaces = vec![InterfaceEntry::default(); INTERFACE_TABLE];
    let loaded = Loaded::load(tables, 1, &interfaces).unwrap();
    let processed = loaded.verified_instructions().unwrap();
    println!(
        "{processed} instructions processed, {} bytes",
        tables.bytes.len()
    );
    assert!(processed < VERIFIER);
    loaded
}

fn check(loaded: &Loaded, frame: &Frame, listed: bool, what: &dyn std::fmt::Display) {
    let verdict = loaded.run(frame, 1, None).unwrap().verdict;
    let expected = if listed { Verdict::DROP } else { Verdict::PASS };
    assert_eq!(verdict, expected, "from {what}");
}

#[test]
#[ignore = "needs root"]
fn many_ipv4_prefixes_in_the_kernel() {
    let mut random = Random::new(4);
    let mut list = Vec::new();
    for _ in 0..PREFIXES {
        let length = 16 + random.below(17) as u32;
        let host = u32::MAX.checked_shr(length).unwrap_or(0);
        // Below 224.0.0.0: sources above it never reach the rules.
        let network = (random.below(0xdf00_0000 - 0x0100_0000) as u32 + 0x0100_0000) & !host;
        list.push((network, network | host));
    }
    let set = AddrSet {
        v4: RangeSet::from_ranges(list),
        v6: RangeSet::empty(),
    };
    let tables = compiled(&set);
    assert_eq!(tables.config.v4.src.form, addr_form::ROOT);
    let loaded = load(&tables);
    for &(first, last) in set.v4.ranges().iter().step_by(7) {
        for address in [first - 1, first, last, last + 1] {
            let address = Ipv4Addr::from(address);
            if address.octets()[0] == 127 || address.octets()[0] == 0 {
                continue;
            }
            let packet = Ipv4::new(address.octets(), [198, 51, 100, 1], 17)
                .packet(&frames::udp(1000, 2000, b"x"));
            let frame = frames::ethernet(0x0800, &packet);
            check(&loaded, &frame, set.v4.contains(address.into()), &address);
        }
    }
}

#[test]
#[ignore = "needs root"]
fn many_ipv6_prefixes_in_the_kernel() {
    // Spread over all global addresses, and crowded under few short prefixes.
    for crowded in [false, true] {
        let mut random = Random::new(6);
        let mut list = Vec::new();
        let anywhere =
            |random: &mut Random| u128::from(random.bits()) << 64 | u128::from(random.bits());
        let bases: Vec<u128> = (0..200).map(|_| anywhere(&mut random)).collect();
        for i in 0..PREFIXES {
            let length = if i % 5 == 0 {
                128
            } else {
                40 + random.below(57) as u32
            };
            let host = u128::MAX.checked_shr(length).unwrap_or(0);
            let mut address = anywhere(&mut random);
            if crowded {
                let base = bases[random.below(bases.len() as u64) as usize];
                address = address & (u128::MAX >> 32) | base & !(u128::MAX >> 32);
            }
            let network = (address >> 3 | 1 << 125) & !host;
            list.push((network, network | host));
        }
        let set = AddrSet {
            v4: RangeSet::empty(),
            v6: RangeSet::from_ranges(list),
        };
        let tables = compiled(&set);
        assert_eq!(tables.config.v6.src.form, addr_form::BRANCH);
        let loaded = load(&tables);
        let destination = "2001:db8::1".parse::<Ipv6Addr>().unwrap().octets();
        for &(first, last) in set.v6.ranges().iter().step_by(7) {
            for address in [first - 1, first, last, last + 1] {
                let address = Ipv6Addr::from(address);
                let packet = frames::ipv6(
                    address.octets(),
                    destination,
                    17,
                    64,
                    &frames::udp(1000, 2000, b"x"),
                );
                let frame = frames::ethernet(0x86dd, &packet);
                check(&loaded, &frame, set.v6.contains(address.into()), &address);
            }
        }
    }
}
