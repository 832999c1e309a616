//! Filter sets like those of real networks: every header must be decided by the rule that the
//! oracle names, not only with the same verdict. The ClassBench sets in `tests/data`, larger sets
//! from a seed, and all of them for IPv6. (`tests/tests/kernel_classbench.rs` does the same in the
//! kernel, and with large ClassBench sets if there are any.)

use firewall_common::key::PacketKey;
use firewall_policy::classbench::{Profile, generate, headers, in_v6, parse};
use firewall_policy::rule::Policy;
use firewall_policy::{compile::compile, host, oracle};

/// Headers from inside rules, for each set.
const HEADERS: usize = 65_536;

/// Headers with the source of one and the destination of another of them.
const MIXED: usize = 16_384;

/// Headers of which the oracle is asked one by one, without short cuts.
const WITHOUT_SHORT_CUTS: usize = 64;

fn agrees(policy: &Policy) {
    // Slots in another order than the rules, so that the two cannot be taken for each other.
    let slots: Vec<u32> = (0..policy.counters().len() as u32)
        .map(|i| i * 7 + 3)
        .collect();
    let tables = compile(policy, &slots).expect("within the limits");
    let mut keys = headers(policy, HEADERS, 1);
    for i in 0..MIXED {
        let (src, dst) = (keys[i], keys[HEADERS - 1 - i]);
        keys.push(PacketKey {
            src_hi: src.src_hi,
            src_lo: src.src_lo,
            ..dst
        });
    }
    let expected = oracle::evaluate_all(policy, &keys);
    let mut deciding = vec![false; policy.rules.len()];
    for (key, expected) in keys.iter().zip(&expected) {
        let found = host::lookup(&tables, key);
        assert_eq!(
            found.hit.map(|hit| (hit.slot, hit.action)),
            expected.decided.map(|i| (slots[i], policy.rules[i].action)),
            "{key:?}"
        );
        assert!(found.counted.is_empty(), "{:?}", found.counted);
        expected.decided.inspect(|&i| deciding[i] = true);
    }
    for (key, expected) in keys.iter().zip(&expected).take(WITHOUT_SHORT_CUTS) {
        assert_eq!(&oracle::evaluate(policy, key), expected, "{key:?}");
    }
    // That many rules are reached says that the headers are worth something.
    let reached = deciding.iter().filter(|&&reached| reached).count();
    println!("{} rules, {reached} of them decided", policy.rules.len());
    assert!(reached * 3 >= policy.rules.len().min(HEADERS), "{reached}");
}

macro_rules! classbench_sets {
    ($($name:ident $v6:ident $file:literal $rules:literal)*) => { $(
        #[test]
        fn $name() {
            let policy = parse(include_str!(concat!("data/", $file))).expect("a ClassBench file");
            assert_eq!(policy.rules.len(), $rules);
            agrees(&policy);
        }

        #[test]
        fn $v6() {
            let policy = parse(include_str!(concat!("data/", $file))).expect("a ClassBench file");
            agrees(&in_v6(&policy, 48));
        }
    )* };
}

classbench_sets! {
    acl1_100 acl1_100_v6 "acl1_100.rules" 100
    acl1_1000 acl1_1000_v6 "acl1_1000.rules" 941
    fw1_100 fw1_100_v6 "fw1_100.rules" 100
    fw1_1000 fw1_1000_v6 "fw1_1000.rules" 858
    ipc1_100 ipc1_100_v6 "ipc1_100.rules" 100
    ipc1_1000 ipc1_1000_v6 "ipc1_1000.rules" 978
}

#[test]
fn ten_thousand_rules() {
    for profile in Profile::ALL {
        agrees(&generate(1, profile, 10_000));
    }
}

#[test]
fn ten_thousand_v6_rules() {
    // Under prefixes that differ in their lower halves only, in both, and in their upper ones.
    for (profile, below) in Profile::ALL.into_iter().zip([0, 48, 64]) {
        agrees(&in_v6(&generate(1, profile, 10_000), below));
    }
}

#[test]
fn a_hundred_thousand_rules() {
    for profile in Profile::ALL {
        agrees(&generate(1, profile, 100_000));
    }
}

#[test]
fn a_hundred_thousand_v6_rules() {
    agrees(&in_v6(&generate(1, Profile::Acl, 100_000), 48));
    agrees(&in_v6(&generate(1, Profile::Fw, 100_000), 64));
}
