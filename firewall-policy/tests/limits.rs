//! A policy that is too large is refused soon, and without taking the machine's memory. The only
//! test of its program, because it looks at the memory of the whole process.

use firewall_common::field::Field;
use firewall_common::verdict::Action;
use firewall_policy::compile::{LimitError, compile};
use firewall_policy::range::RangeSet;
use firewall_policy::rule::{AddrSet, Match, Policy, Rule};

/// Numbers that look random (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn range_v4(&mut self) -> AddrSet {
        let (a, b) = (self.next() as u32, self.next() as u32);
        AddrSet {
            v4: RangeSet::of(a.min(b), a.max(b)),
            v6: RangeSet::empty(),
        }
    }
}

fn refusal(matches: impl Iterator<Item = Match>) -> LimitError {
    let rules: Vec<Rule> = matches
        .enumerate()
        .map(|(index, matches)| Rule::plain(format!("r{index}"), matches, Action::DROP))
        .collect();
    let policy = Policy::of_rules(rules);
    let slots = vec![0; policy.rules.len()];
    match compile(&policy, &slots) {
        Err(error) => error,
        // Not `expect_err`, which would print the tables.
        Ok(_) => panic!("not refused"),
    }
}

/// Most bytes that this process has had.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.expect("a peak").trim().trim_end_matches(" kB");
    number.parse::<u64>().expect("a number") << 10
}

#[test]
fn a_policy_that_is_too_large_is_refused_with_bounded_memory() {
    // Ranges that all overlap: every one of them changes what the others mean.
    let mut numbers = Numbers(1);
    let error = refusal((0..140_000).map(|_| Match {
        src: numbers.range_v4(),
        dst: numbers.range_v4(),
        ..Match::any()
    }));
    assert_eq!(error.what, "the sets of rules by address, in bytes,");
    assert!(error.needed > error.limit, "{error}");
    assert!(peak() < 1_000_000_000, "{} bytes", peak());

    // Ports, at every one of which many rules begin to match and many others end.
    let mut ports = || {
        let first = |_| numbers.next() as u32 & 0xffff;
        let range = |first: u32| (first, (first + 500).min(0xffff));
        RangeSet::from_ranges((0..8).map(first).map(range).collect())
    };
    let error = refusal((0..140_000).map(|_| {
        let mut matches = Match::any();
        matches.fields[Field::SourcePort as usize] = ports();
        matches
    }));
    assert_eq!(error.what, "the number of different sets of 4,096 rules");
    // A million nodes of 64 words; no more than one port's rows beyond that.
    assert_eq!(error.limit, 1 << 20);
    assert!(error.needed < error.limit + 70, "{error}");
    assert!(peak() < 1_500_000_000, "{} bytes", peak());

    // One set that has more ranges than the tables can hold.
    let set = RangeSet::from_ranges((0..7_000_000u128).map(|i| (i << 66, i << 66)).collect());
    let error = refusal(std::iter::once(Match {
        src: AddrSet {
            v4: RangeSet::empty(),
            v6: set,
        },
        ..Match::any()
    }));
    assert_eq!(error.what, "the compiled policy, in bytes,");
    assert!(peak() < 2_000_000_000, "{} bytes", peak());
}
