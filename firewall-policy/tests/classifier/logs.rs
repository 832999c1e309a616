//! Logs: their entries in the tables to the bit, and what the walk writes. Events of random policies
//! are compared with the oracle's and the kernel's in `tests/tests/kernel_log.rs`.

use super::limits::{SECOND, about_port, compiled, entry, limit, limited, slots, time, to_port};
use firewall_common::abi::{LimitEntry, LimitFlags, LogEntry, has_limit, limit_per};
use firewall_common::classify::classify;
use firewall_common::log::{self, EventBits};
use firewall_common::region::Region;
use firewall_common::verdict::Action;
use firewall_policy::compile::compile;
use firewall_policy::host::{HostMachine, Memory};
use firewall_policy::limit::{Per, Rate};
use firewall_policy::log::Reader;
use firewall_policy::rule::Expiry;
use std::cell::RefCell;

const fn rate(packets: u64, burst: u64) -> Rate {
    Rate {
        packets,
        window: SECOND,
        burst,
    }
}

/// Behind the entries of rules and answers stand those of logs.
#[test]
fn logs_have_entries_of_their_own() {
    let mut policy = limited(vec![None, Some(limit(5, 2, Per::Rule)), None, None]);
    policy.rules[1].log = Some(rate(100, 200));
    policy.rules[2].log = Some(Rate {
        window: 60 * SECOND,
        ..rate(50, 3)
    });
    policy.rules[2].audit = Some(Action::DROP);
    policy.rules[3].action = Action::REJECT;
    policy.default_log = Some(rate(10, 20));
    let (tables, slots) = (compiled(&policy), slots(&policy));
    let config = &tables.config;
    assert_eq!((config.logs, config.log_size), (1, log::SIZE));
    assert_eq!(config.has_limit, has_limit::BY_INTERFACE);
    assert_eq!((config.answers_limit, config.default_log), (2, 7));
    let limit = |number: u32| entry::<LimitEntry>(&tables, number);
    // Two rules, two answers, three logs; that of the default is its own.
    let of_log = |number: u32| limit(number).flags.log();
    let numbers = [Some(4), Some(5), None, None, Some(6)];
    assert_eq!([0, 1, 2, 3, 6].map(of_log), numbers);
    assert_eq!(limit(0).flags, LimitFlags::default().with_log(4));
    assert_eq!(limit(1).flags, LimitFlags::NO_RATE.with_log(5));
    let log = |number: u32| {
        let entry: LogEntry = entry(&tables, number);
        assert_eq!((entry.per, entry.size), (limit_per::RULE, 64));
        let rule = (entry.name, entry.found);
        (entry.interval, entry.tolerance, entry.unlogged, rule)
    };
    let named = |rule: usize| log::name_hash(&policy.rules[rule].name);
    let (audit, none) = (EventBits::audited(Action::DROP), EventBits::default());
    // Counters: four rules, what is over the limit, what is not logged.
    assert_eq!(
        log(4),
        (time(100, 1), time(100, 199), slots[5], (named(1), none))
    );
    assert_eq!(
        log(5),
        (
            60 * time(50, 1),
            60 * time(50, 2),
            slots[6],
            (named(2), audit)
        )
    );
    let default = (log::name_hash(""), none);
    assert_eq!(log(6), (time(10, 1), time(10, 19), slots[7], default));
    let bases = [4, 5, 6].map(|number| limit(number).base);
    assert_eq!(bases, [0, 64, 128].map(|line| limit(3).base + 64 + line));
    let line = tables.report.iter().find(|line| line.what == "rate limits");
    assert_eq!(line.map(|line| line.entries), Some(7));
    let error = compile(&policy, &slots[..7]).expect_err("a slot is missing");
    assert_eq!((error.needed, error.limit), (8, 7));
}

#[test]
fn a_log_of_the_default_alone() {
    let mut policy = limited(vec![None]);
    let without = compiled(&policy).config;
    assert_eq!(
        (without.logs, without.log_size, without.default_log),
        (0, 0, 0)
    );
    policy.default_log = Some(rate(10, 20));
    let tables = compiled(&policy);
    let config = &tables.config;
    assert_eq!((config.logs, config.default_log), (1, 1));
    assert_eq!(
        (config.buckets_size, config.answers, config.expires),
        (64, 0, 0)
    );
    let own: LogEntry = entry(&tables, 0);
    assert_eq!(own.flags, LimitFlags::default().with_log(0));
    assert_eq!(
        (own.interval, own.unlogged),
        (time(10, 1), slots(&policy)[1])
    );
}

/// Events in the ring, by rule and action, oldest first.
fn events(memory: &Memory) -> Vec<(u64, Action, bool)> {
    let words = memory.words(Region::Log);
    let word = |offset: u64| words.get((offset / 8) as usize).copied().unwrap_or(0);
    let mut reader = Reader::new(log::Ring::LOG, &word, 100);
    let events = std::iter::from_fn(|| reader.next(&word));
    events.map(|it| (it.rule, it.action, it.over)).collect()
}

#[test]
fn rules_log_what_they_match_and_no_more() {
    let mut policy = limited(vec![None, Some(limit(1, 2, Per::Rule)), None]);
    policy.rules[0].matches = about_port(7);
    policy.rules[0].action = Action::NEXT;
    policy.rules[0].log = Some(rate(1, 2));
    policy.rules[1].action = Action::PASS;
    policy.rules[1].log = Some(rate(1, 4));
    let tables = compiled(&policy);
    let (counted, memory) = (RefCell::new(Vec::new()), Memory::default());
    memory.now.set(SECOND);
    let machine = HostMachine::with_memory(&tables, &counted, &memory);
    for port in [7, 8, 7, 7, 8] {
        classify(&machine, &to_port(port));
    }
    let name = |rule: usize| log::name_hash(&policy.rules[rule].name);
    let (next, pass, over) = (Action::NEXT, Action::PASS, Action::OVER);
    assert_eq!(
        events(&memory),
        [
            (name(0), next, false),
            (name(1), pass, false),
            (name(1), pass, false),
            (name(0), next, false),
            (name(1), over, true),
            (name(1), over, true),
        ]
    );
    // Two are beyond: one of each.
    let slots = slots(&policy);
    let unlogged = |slot: u32| counted.borrow().iter().filter(|&&it| it == slot).count();
    assert_eq!([slots[4], slots[5]].map(unlogged), [1, 1]);
    // A rule whose time has come matches nothing, and says nothing.
    policy.rules[1].expires = Some(Expiry {
        at: 1,
        passed: false,
    });
    let tables = compiled(&policy);
    let memory = Memory::default();
    memory.now.set(SECOND);
    classify(
        &HostMachine::with_memory(&tables, &counted, &memory),
        &to_port(8),
    );
    assert_eq!(events(&memory), []);
}
