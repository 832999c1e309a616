//! Essential traffic that must be asked for: both programs in the kernel against host build and oracle.

use firewall_engine::kernel::program::Loaded;
use firewall_policy::host::{Memory, record};
use firewall_tests::fuzz::{Case, Moment, hex, moment};
use firewall_tests::oracle::Seen;
use firewall_tests::policies::parse;
use firewall_tests::random::Random;
use firewall_tests::{number, seed};

#[test]
#[ignore = "needs root"]
fn program_host_and_oracle_agree_on_what_has_been_asked_for() {
    let replies = "- {name: replies, state: established, proto: [tcp, udp], action: pass}";
    let dns = "- {name: dns, proto: udp, port: 53, state: new, action: pass}";
    let moments = number("FIREWALL_CASES", 20_000).unwrap();
    for (turn, (rules, remembers)) in [
        (" []".to_owned(), false),
        (format!("\n  {replies}"), true),
        (format!("\n  {replies}\n  {dns}"), true),
    ]
    .into_iter()
    .enumerate()
    {
        let text = format!("version: 1\ndefault: {{in: drop}}\nrules:{rules}\n");
        let case = Case::new(&text, parse(&text).unwrap()).unwrap();
        let loaded = Loaded::load(&case.tables, case.policy.counters().len() as u32, &[]).unwrap();
        let mut random = Random::new(seed(70).unwrap() + turn as u64);
        for _ in 0..moments / 200 {
            let (mut seen, memory) = (Seen::default(), Memory::of(&case.tables));
            loaded.flows().unwrap().unwrap().clear();
            for _ in 0..200 {
                match moment(&mut random, &mut seen.asked, remembers) {
                    Moment::Leaves(frame) => {
                        record(&case.tables, &memory, &frame);
                        loaded.send(&frame, 1).unwrap();
                    }
                    Moment::Comes(frame) => {
                        let wanted = case.oracle_after(&mut seen, &frame);
                        assert_eq!(case.host_after(&memory, &frame), wanted);
                        let passes = loaded.run(&frame, 1, None).unwrap().verdict.name() == "pass";
                        assert_eq!(passes, wanted.passes, "{text}{wanted:?}\n{}", hex(&frame));
                    }
                }
            }
        }
    }
}
