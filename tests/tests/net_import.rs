//! Imported policies against the firewalls that they were made from: the original rules are really
//! loaded, in a namespace, and get the same frames.
//!
//! What may differ is what the import says it left out, and nothing else: a frame that the two
//! judge in different ways must be judged in the policy's way by the original without the rules
//! that were left out, or belong to a connection that the original takes for broken, where the
//! import says so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod frames;
mod originals;

use self::frames::{Aims, Sent, broadcast, frame};
use self::originals::{Listed, Load, Saved, Ufw};
use firewall_common::verdict::Verdict;
use firewall_import::{self as import, Effect, Imported, LeftOut, Options};
use firewall_policy::compile::compile;
use firewall_policy::host;
use firewall_policy::range::RangeSet;
use firewall_policy::rule::{DEFAULT_ROUTE, Policy, SELF};
use firewall_policy::source::{NoFiles, read_policy};
use firewall_policy::tables::Tables;
use firewall_tests::number;
use firewall_tests::original::Original;
use firewall_tests::random::Random;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

/// Frames for each set of rules, unless `FIREWALL_CASES` says more (at most 60,000).
const FRAMES: u64 = 1_500;

/// An interface that no rule names.
const OTHER: &str = "other0";

fn folder(kind: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../firewall-import/tests/data")
        .join(kind)
}

fn text(kind: &str, name: &str) -> Option<String> {
    std::fs::read_to_string(folder(kind).join(name)).ok()
}

fn names(kind: &str) -> BTreeSet<String> {
    std::fs::read_dir(folder(kind))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| name.split('.').next().unwrap().to_owned())
        .collect()
}

fn options(kind: &str, name: &str) -> Options {
    let mut options = Options {
        ipset: text(kind, &format!("{name}.ipset")),
        ..Options::default()
    };
    let words = text(kind, &format!("{name}.options")).unwrap_or_default();
    for pair in words.split_whitespace().collect::<Vec<_>>().chunks(2) {
        match pair {
            ["--local", address] => options.local.push((*address).to_owned()),
            other => panic!("{name}: {other:?}"),
        }
    }
    options
}

/// What `@self` holds: these addresses; without any, every address, as the original's host has it.
fn own(policy: &mut Policy, local: &[String]) {
    let everything = (RangeSet::full(), RangeSet::full());
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for text in local {
        match text.split('/').next().unwrap().parse().unwrap() {
            IpAddr::V4(address) => v4.push((u32::from(address), u32::from(address))),
            IpAddr::V6(address) => v6.push((u128::from(address), u128::from(address))),
        }
    }
    let (v4, v6) = if local.is_empty() {
        everything
    } else {
        (RangeSet::from_ranges(v4), RangeSet::from_ranges(v6))
    };
    for set in policy.live.iter_mut().filter(|set| set.name == SELF) {
        (set.content.v4, set.content.v6) = (v4.clone(), v6.clone());
    }
}

/// The interfaces to send on: those that the policy names, and another one. With their zones.
fn interfaces(policy: &Policy) -> Vec<(String, u32)> {
    let mut list: Vec<(String, u32)> = policy
        .interfaces
        .iter()
        .flat_map(|entry| entry.matches.iter().map(move |name| (name, entry.zone)))
        .filter(|(name, _)| *name != "*" && *name != DEFAULT_ROUTE)
        .map(|(name, zone)| (name.replace('*', "7"), zone))
        .collect();
    list.push((OTHER.to_owned(), 0));
    list
}

/// What a comparison came to.
struct Outcome {
    passed: usize,
    differ: usize,
}

fn compare(name: &str, imported: &Imported, rules: &dyn Load, local: &[String]) -> Outcome {
    let mut policy = read_policy(name, &imported.yaml, &NoFiles).unwrap().policy;
    own(&mut policy, local);
    let slots: Vec<u32> = (0..policy.counters().len() as u32).collect();
    let tables: Tables = compile(&policy, &slots).unwrap();
    let interfaces = interfaces(&policy);
    let aims = Aims::of(&rules.texts());
    let mut random = Random::new(0x1e57);
    let families = rules.families();
    let count = number("FIREWALL_CASES", FRAMES).unwrap().min(60_000);
    // Each is the first packet of its connection: none answers another.
    let mut known = BTreeSet::new();
    let broadcasts: Vec<u32> = local.iter().filter_map(|text| broadcast(text)).collect();
    let frames: Vec<Sent> = (1..=count as u32)
        .map(|number| {
            let (interface, _) = &interfaces[random.below(interfaces.len() as u64) as usize];
            let v6 = random.pick(&families);
            frame(&mut random, &aims, interface, number, v6)
        })
        // No host sends from such an address, and the kernel drops what does before any rule.
        .filter(|frame| known.insert(frame.connection()))
        .filter(|frame| frame.v6 || !broadcasts.contains(&frame.source4()))
        .collect();
    let ours: Vec<bool> = frames
        .iter()
        .map(|frame| {
            let zone = interfaces
                .iter()
                .find(|(name, _)| *name == frame.interface)
                .unwrap()
                .1;
            host::decide(&tables, &frame.bytes, zone).outcome.verdict == Verdict::PASS
        })
        .collect();
    let names: Vec<String> = interfaces.iter().map(|(name, _)| name.clone()).collect();
    let run = |out: &[&LeftOut]| -> Vec<bool> {
        let host = Original::new(&names, local).unwrap();
        rules.load(&host, out);
        let wire: Vec<(String, Vec<u8>)> = frames
            .iter()
            .map(|frame| (frame.interface.clone(), frame.bytes.clone()))
            .collect();
        let seen = host.send(&wire).unwrap();
        frames
            .iter()
            .map(|frame| seen[usize::from(frame.v6)].contains(&frame.number))
            .collect()
    };
    let original = run(&[]);
    let lost: Vec<&LeftOut> = imported
        .left_out
        .iter()
        .filter(|entry| entry.effect != Effect::None)
        .collect();
    // A rule that is carried in part is still there for the rest.
    let whole_rules: Vec<&LeftOut> = lost
        .iter()
        .copied()
        .filter(|entry| !entry.in_part)
        .collect();
    let variants: Vec<Vec<bool>> = if ours == original {
        Vec::new()
    } else if whole_rules.len() < lost.len() {
        vec![run(&lost), run(&whole_rules)]
    } else {
        vec![run(&lost)]
    };
    let states = lost
        .iter()
        .any(|entry| entry.text.contains("state") || entry.text.contains("new "));
    // What is invalid is not the same for Netfilter.
    let invalid = lost.iter().any(|entry| entry.text == "invalid");
    let mut outcome = Outcome {
        passed: 0,
        differ: 0,
    };
    let mut faults = Vec::new();
    for (number, frame) in frames.iter().enumerate() {
        let (ours, whole) = (ours[number], original[number]);
        outcome.passed += usize::from(ours && whole);
        if ours == whole {
            continue;
        }
        outcome.differ += 1;
        let explained = variants.iter().any(|variant| variant[number] == ours)
            || frame.odd && states
            || (frame.odd || frame.acknowledges) && invalid;
        if !explained {
            faults.push(format!(
                "{}: the policy {}, the original {}",
                frame.words,
                if ours { "passes" } else { "drops" },
                if whole { "passes" } else { "drops" }
            ));
        }
    }
    assert!(
        faults.is_empty(),
        "{name}: {} of {count} frames differ unexplained:\n{}\n{}",
        faults.len(),
        faults[..faults.len().min(12)].join("\n"),
        imported.yaml
    );
    println!(
        "{name}: {} frames, {} passed by both, {} differ, all by what was left out ({})",
        frames.len(),
        outcome.passed,
        outcome.differ,
        lost.len()
    );
    outcome
}

#[test]
#[ignore = "needs root"]
fn policies_from_iptables_do_what_the_rules_do() {
    let mut passed = 0;
    for name in names("iptables") {
        let rules = Saved {
            v4: text("iptables", &format!("{name}.v4")),
            v6: text("iptables", &format!("{name}.v6")),
            ipset: text("iptables", &format!("{name}.ipset")),
        };
        let options = options("iptables", &name);
        let imported =
            import::iptables(rules.v4.as_deref(), rules.v6.as_deref(), &options).unwrap();
        let outcome = compare(&name, &imported, &rules, &options.local);
        passed += outcome.passed;
    }
    assert!(
        passed > 1_000,
        "too few frames pass to say anything: {passed}"
    );
}

#[test]
#[ignore = "needs root"]
fn policies_from_nft_do_what_the_rules_do() {
    let mut passed = 0;
    for name in names("nft") {
        let json = text("nft", &format!("{name}.json")).unwrap();
        let options = options("nft", &name);
        let imported = import::nft(&json, &options).unwrap();
        let outcome = compare(&name, &imported, &Listed { json }, &options.local);
        passed += outcome.passed;
    }
    assert!(
        passed > 1_000,
        "too few frames pass to say anything: {passed}"
    );
}

#[test]
#[ignore = "needs root"]
fn policies_from_ufw_do_what_the_rules_do() {
    let mut passed = 0;
    for name in names("ufw") {
        let rules = ["rules", "rules6"].map(|end| text("ufw", &format!("{name}.{end}")).unwrap());
        let options = options("ufw", &name);
        let imported = import::ufw(&rules[0], Some(&rules[1]), &options).unwrap();
        let outcome = compare(&name, &imported, &Ufw { rules }, &options.local);
        passed += outcome.passed;
    }
    assert!(
        passed > 1_000,
        "too few frames pass to say anything: {passed}"
    );
}
