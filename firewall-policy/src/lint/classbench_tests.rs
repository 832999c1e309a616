//! Lint on 10,000 rules like those of real networks: quick, and every finding proved by the oracle.
//!
//! The rules are made by the generator, and some of them repeated. `FIREWALL_CLASSBENCH=DIR` adds the
//! ClassBench sets of a folder (`*.rules`). `FIREWALL_PROOF_PACKETS` is how many packets are aimed
//! at the rules that a set is said not to need; 20,000 by default.

use super::{Doors, Standing, lint};
use crate::classbench::{Profile, generate, parse};
use crate::compile::compile;
use crate::oracle;
use crate::rule::{Policy, Rule};
use crate::space::reach::Carried;
use crate::space::{Space, random};
use firewall_common::key::PacketKey;
use std::time::{Duration, Instant};

/// What lint may take for 10,000 rules on two idle cores, in a release build. Other builds are
/// slower by their checks, and the machine may be busy: they get five times as much.
const LONGEST: Duration = Duration::from_secs(2);

fn longest() -> Duration {
    if cfg!(debug_assertions) {
        LONGEST * 5
    } else {
        LONGEST
    }
}

/// Lints a set in time, and holds every finding against the oracle.
fn proved(name: &str, policy: &Policy) {
    let slots: Vec<u32> = (0..policy.counters().len() as u32).collect();
    let tables = compile(policy, &slots).expect("within the limits");
    let start = Instant::now();
    let found = lint(name, "", policy, &tables);
    let took = start.elapsed();
    assert!(took <= longest(), "{name}: {took:?}");

    // Every rule that is reached has a packet that it decides about.
    let (mut keys, mut rules) = (Vec::new(), Vec::new());
    let (mut covered, mut never, mut undecided) = (Vec::new(), 0, 0);
    for (rule, standing) in found.standings.iter().enumerate() {
        match standing {
            Standing::Reached(key) => {
                keys.push(*key);
                rules.push(rule);
            }
            Standing::Covered(by) => {
                assert!(by.iter().all(|&other| other < rule), "{name}: rule {rule}");
                covered.push(rule);
            }
            // Of packets that the parser or the essential group keep from the rules.
            Standing::Never => never += 1,
            Standing::Undecided => undecided += 1,
            Standing::Disabled => panic!("{name}: rule {rule} is not disabled"),
        }
    }
    for (answer, rule) in oracle::evaluate_all(policy, &keys).iter().zip(&rules) {
        assert_eq!(answer.decided, Some(*rule), "{name}");
    }
    // A rule that never decides can be taken out: of the packets aimed at it, those that get to the
    // rules at all, none is decided by it.
    let packets: usize = std::env::var("FIREWALL_PROOF_PACKETS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20_000);
    let each = packets.div_ceil(covered.len().max(1));
    let mut aimed: Vec<(usize, PacketKey)> = Vec::new();
    for &rule in &covered {
        let keys = aim::<u32>(policy, rule, each).chain(aim::<u128>(policy, rule, each));
        aimed.extend(keys.map(|key| (rule, key)));
    }
    for part in aimed.chunks(65_536) {
        let keys: Vec<PacketKey> = part.iter().map(|&(_, key)| key).collect();
        for (answer, (rule, key)) in oracle::evaluate_all(policy, &keys).iter().zip(part) {
            assert!(
                oracle::matches(&policy.rules[*rule], key),
                "{name}: {key:?}"
            );
            assert_ne!(answer.decided, Some(*rule), "{name}: {key:?}");
        }
    }
    println!(
        "{name}: lint of {} rules in {took:?}: {} reached, {} superfluous, {never} never match, \
         {undecided} undecided, {} packets aimed",
        policy.rules.len(),
        rules.len(),
        covered.len(),
        aimed.len()
    );
    assert!(aimed.len() >= packets, "{name} has little to find");
    assert!(undecided <= policy.rules.len() / 1_000, "{name}");
}

/// A set of 10,000 rules, of which the last 200 repeat earlier ones.
fn with_repetitions(name: &str, profile: Profile) {
    let mut policy = generate(1, profile, 9_800);
    for rule in (0..9_800).step_by(49) {
        let again = policy.rules[rule].clone();
        policy.rules.push(Rule {
            name: format!("{}-again", again.name),
            ..again
        });
    }
    proved(name, &policy);
}

/// Packets of one family that a rule matches and that get to the rules.
fn aim<T: Carried>(
    policy: &Policy,
    rule: usize,
    count: usize,
) -> impl Iterator<Item = PacketKey> + use<T> {
    let space = Space::<T>::of(&policy.rules[rule].matches);
    let parts: Vec<Space<T>> = space.map_or_else(Vec::new, |space| {
        let doors = Doors::of(policy).boxes::<T>();
        doors.iter().filter_map(|door| space.and(door)).collect()
    });
    let mut random = random(rule as u64);
    (0..if parts.is_empty() { 0 } else { count })
        .map(move |number| parts[number % parts.len()].sample(&mut random))
}

#[test]
fn access_lists() {
    with_repetitions("acl", Profile::Acl);
}

#[test]
fn firewall_rules() {
    with_repetitions("fw", Profile::Fw);
}

#[test]
fn chains_of_iptables() {
    with_repetitions("ipc", Profile::Ipc);
}

#[test]
fn sets_of_a_folder() {
    let Some(folder) = std::env::var_os("FIREWALL_CLASSBENCH") else {
        println!("FIREWALL_CLASSBENCH names no folder");
        return;
    };
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|end| end == "rules") {
            let text = std::fs::read_to_string(&path).expect("readable");
            proved(
                &path.display().to_string(),
                &parse(&text).expect("a ClassBench set"),
            );
        }
    }
}
