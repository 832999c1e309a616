//! The ClassBench sets in `tests/data`: every header must be decided by the rule that the oracle
//! names, not only with the same verdict.

use firewall_policy::{classbench, compile::compile, host, oracle};

const HEADERS: usize = 65_536;

fn agrees(text: &str, rules: usize) {
    let policy = classbench::parse(text).expect("a ClassBench file");
    assert_eq!(policy.rules.len(), rules);
    // Slots in another order than the rules, so that the two cannot be taken for each other.
    let slots: Vec<u32> = (0..rules as u32).map(|i| i * 7 + 3).collect();
    let tables = compile(&policy, &slots).expect("within the limits");
    for key in classbench::headers(&policy, HEADERS, 1) {
        let found = host::lookup(&tables, &key);
        let expected = oracle::evaluate(&policy, &key);
        assert_eq!(
            found.hit.map(|hit| (hit.slot, hit.action)),
            expected.decided.map(|i| (slots[i], policy.rules[i].action)),
            "{key:?}"
        );
        assert!(found.counted.is_empty(), "{:?}", found.counted);
    }
}

macro_rules! sets {
    ($($name:ident $file:literal $rules:literal)*) => { $(
        #[test]
        fn $name() {
            agrees(include_str!(concat!("data/", $file)), $rules);
        }
    )* };
}

sets! {
    acl1_100 "acl1_100.rules" 100
    acl1_1000 "acl1_1000.rules" 941
    fw1_100 "fw1_100.rules" 100
    fw1_1000 "fw1_1000.rules" 858
    ipc1_100 "ipc1_100.rules" 100
    ipc1_1000 "ipc1_1000.rules" 978
}
