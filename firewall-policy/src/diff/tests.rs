//! Differences against oracle and host build: a packet drawn from a reported region changes its
//! verdict as reported, one drawn from outside of all of them does not.
//!
//! `FIREWALL_PROOF_PACKETS` is how many packets are drawn in all; a few by default.

use super::{Difference, diff};
use crate::compile::compile;
use crate::explain::key_of;
use crate::host;
use crate::oracle;
use crate::packet_text::PacketText;
use crate::rule::Policy;
use crate::source::{NoFiles, read_policy};
use crate::space::random;
use crate::space::reach::{Carried, Doors};
use firewall_common::field::Field;
use firewall_common::key::PacketKey;
use firewall_common::reason::Governs;
use firewall_common::verdict::{Action, Verdict};

fn read(text: &str) -> Policy {
    match read_policy("x.yaml", text, &NoFiles) {
        Ok(read) => read.policy,
        Err(errors) => panic!("{}\n{text}", errors.render(false)),
    }
}

/// The packet as this policy sees it: its zones have its own numbers.
fn seen(policy: &Policy, zones: &[String], key: &PacketKey) -> PacketKey {
    let mut key = *key;
    let zone = &zones[key.field(Field::Zone) as usize];
    let own = policy.zones.iter().position(|name| name == zone);
    key.fields[Field::Zone as usize] = own.unwrap_or(0) as u32;
    key
}

fn verdict(policy: &Policy, zones: &[String], key: &PacketKey) -> (Verdict, Option<usize>) {
    let decided = oracle::evaluate(policy, &seen(policy, zones, key)).decided;
    match decided.map(|rule| policy.rules[rule].action) {
        Some(Action::PASS) => (Verdict::PASS, decided),
        Some(_) => (Verdict::DROP, decided),
        None => (policy.default_verdict, None),
    }
}

/// A rule's line, often overlapping others.
fn rule(number: usize, random: &mut impl FnMut() -> u128) -> String {
    let mut below = |end: u128| (random() % end) as usize;
    let networks = [
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.2.3",
        "192.0.2.0/24",
        "\"2001:db8::/32\"",
        "\"!10.0.0.0/8\"",
    ];
    let mut words = Vec::new();
    for side in ["from", "to"] {
        if below(3) == 0 {
            words.push(format!("{side}: {}", networks[below(6)]));
        }
    }
    match below(4) {
        0 => words.push("proto: icmpv6, icmp: {type: 128}".into()),
        1 => {
            let proto = ["tcp", "udp", "[tcp, udp]"][below(3)];
            let port = ["22", "1-1023", "1024-65535", "\"!22\"", "[22, 80]"][below(5)];
            words.push(format!("proto: {proto}, port: {port}"));
        }
        2 if below(2) == 0 => words.push("proto: tcp, flags: {set: [ack]}".into()),
        _ => {}
    }
    if below(4) == 0 {
        words.push(format!("zone: {}", ["wan", "lan"][below(2)]));
    }
    words.retain(|word| !(word.contains("icmpv6")) || below(2) == 0);
    let action = ["pass", "drop", "next"][below(3)];
    words.push(format!("action: {action}"));
    format!("- {{name: r{number}, {}}}\n", words.join(", "))
}

/// Two policies, the second made of the first by a few changes; `None` if one is not valid.
fn pair(seed: u64) -> Option<(Policy, Policy)> {
    let mut random = random(seed);
    let mut lines: Vec<String> = (0..8).map(|number| rule(number, &mut random)).collect();
    let policy = |lines: &[String], zones: &str, default: &str| {
        let text = format!(
            "version: 1\ninterfaces: [{zones}]\ndefault: {{in: {default}}}\nrules:\n{}",
            lines.concat()
        );
        read_policy("x.yaml", &text, &NoFiles)
            .ok()
            .map(|read| read.policy)
    };
    let zones = "{match: a, zone: wan}, {match: b, zone: lan}";
    let old = policy(&lines, zones, "drop")?;
    for change in 0..1 + random() % 3 {
        let at = (random() % lines.len() as u128) as usize;
        match random() % 4 {
            0 => lines[at] = rule(100 + change as usize, &mut random),
            1 => drop(lines.remove(at)),
            2 => lines.swap(at, 0),
            _ => lines.insert(at, rule(200 + change as usize, &mut random)),
        }
    }
    let zones = match random() % 2 {
        0 => zones,
        _ => "{match: b, zone: lan}, {match: a, zone: wan}",
    };
    let default = if random().is_multiple_of(4) {
        "pass"
    } else {
        "drop"
    };
    Some((old, policy(&lines, zones, default)?))
}

/// Packets from anywhere, in numbers of the difference's zones.
fn anywhere(old: &Policy, new: &Policy, zones: usize, count: usize, seed: u64) -> Vec<PacketKey> {
    fn family<T: Carried>(
        doors: &Doors,
        policies: [&Policy; 2],
        count: usize,
        seed: u64,
    ) -> Vec<PacketKey> {
        let mut random = random(seed);
        let doors = doors.boxes::<T>();
        let mut keys = Vec::new();
        for number in 0..count {
            // Half of them aimed at a rule, in any zone.
            let door = &doors[number % doors.len()];
            let policy = policies[number % 2];
            let rule = &policy.rules[(random() % policy.rules.len() as u128) as usize];
            let aimed = crate::space::Space::<T>::of(&rule.matches).and_then(|space| {
                let zones = door.field(Field::Zone).clone();
                space.with(Field::Zone, zones).and(door)
            });
            let space = aimed.filter(|_| number % 4 < 2);
            keys.push(space.as_ref().unwrap_or(door).sample(&mut random));
        }
        keys
    }
    let doors = Doors::of_both(old, new, zones as u32);
    let mut keys = family::<u32>(&doors, [old, new], count / 2, seed);
    keys.extend(family::<u128>(&doors, [old, new], count / 2, seed));
    keys
}

#[test]
fn regions_are_proved_by_oracle_and_frames() {
    let wanted: usize = std::env::var("FIREWALL_PROOF_PACKETS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(30_000);
    let (mut inside, mut outside, mut regions, mut frames, mut odd, mut seed) = (0, 0, 0, 0, 0, 0);
    while inside < wanted || outside < wanted {
        seed += 1;
        let Some((old, new)) = pair(seed) else {
            continue;
        };
        let found = diff(&old, &new);
        assert!(found.complete, "seed {seed}");
        let tables = |policy: &Policy| {
            let slots: Vec<u32> = (0..policy.counters().len() as u32).collect();
            compile(policy, &slots).unwrap()
        };
        let (old_tables, new_tables) = (tables(&old), tables(&new));
        for region in &found.regions {
            regions += 1;
            for (number, key) in region.draw(100, seed).iter().enumerate() {
                inside += 1;
                assert!(region.contains(key));
                let was = verdict(&old, &found.zones, key);
                let becomes = verdict(&new, &found.zones, key);
                assert_eq!(
                    was,
                    (region.was.verdict, region.was.rule),
                    "seed {seed}: {key:?}"
                );
                assert_eq!(
                    becomes,
                    (region.becomes.verdict, region.becomes.rule),
                    "seed {seed}: {key:?}"
                );
                assert_ne!(was.0, becomes.0);
                // Some of them as frames, through the parser and the compiled tables.
                if number < 5 {
                    frames += 1;
                    let frame = PacketText::of_key(key, &found.zones).frame();
                    let (a, b) = (seen(&old, &found.zones, key), seen(&new, &found.zones, key));
                    let zone = |key: &PacketKey| key.field(Field::Zone);
                    if key_of(&old_tables, &frame, zone(&a)) != Some(a) {
                        odd += 1;
                        continue;
                    }
                    let was = host::decide(&old_tables, &frame, zone(&a)).outcome;
                    let becomes = host::decide(&new_tables, &frame, zone(&b)).outcome;
                    // An ICMP error that quotes what it should is essential.
                    if was.reason.governed_by() != Governs::Rules {
                        odd += 1;
                        continue;
                    }
                    assert_eq!(
                        (was.verdict, becomes.verdict),
                        (region.was.verdict, region.becomes.verdict)
                    );
                }
            }
        }
        for key in anywhere(&old, &new, found.zones.len(), 1_000, seed) {
            if found.regions.iter().any(|region| region.contains(&key)) {
                continue;
            }
            outside += 1;
            let was = verdict(&old, &found.zones, &key);
            let becomes = verdict(&new, &found.zones, &key);
            // What no rule decides follows the default, which is said on its own.
            let by_default = was.1.is_none() && becomes.1.is_none();
            assert!(was.0 == becomes.0 || by_default, "seed {seed}: {key:?}");
        }
    }
    eprintln!(
        "{seed} pairs, {regions} regions, {inside} packets inside, {outside} outside, {odd} of {frames} frames odd"
    );
    assert!(regions > 50 && odd * 5 < frames, "{odd} of {frames}");
}

fn words(old: &str, new: &str) -> String {
    let policy = |rules: &str| {
        read(&format!(
            "version: 1\ninterfaces: [{{match: a, zone: wan}}]\ndefault: {{in: drop}}\nrules:\n{rules}"
        ))
    };
    let (old, new) = (policy(old), policy(new));
    let name = |policy: &Policy, rule: Option<usize>| {
        rule.map_or("default".to_owned(), |rule| policy.rules[rule].name.clone())
    };
    let Difference { regions, .. } = diff(&old, &new);
    let lines: Vec<String> = regions
        .iter()
        .map(|region| {
            format!(
                "{} ({}) -> {} ({}): {} [{}]",
                region.was.verdict,
                name(&old, region.was.rule),
                region.becomes.verdict,
                name(&new, region.becomes.rule),
                region.packets,
                region.example
            )
        })
        .collect();
    lines.join("\n")
}

#[test]
fn differences_in_words() {
    let web = "- {name: web, proto: tcp, port: 80, action: pass}\n";
    let alt = "- {name: alt, proto: tcp, port: 8080, from: 203.0.113.0/24, action: pass}\n";
    let block = "- {name: block, from: [198.51.100.0/24, \"2001:db8::/32\"], action: drop}\n";
    let all = "- {name: all, action: pass}\n";
    let cases = [
        (web.to_owned(), format!("{web}{alt}")),
        (format!("{web}{alt}"), web.to_owned()),
        (web.to_owned(), format!("{block}{web}")),
        (web.to_owned(), format!("{web}{block}")),
        (all.to_owned(), format!("{block}{all}")),
        (web.to_owned(), web.replace("80", "[80, 443]")),
        (web.to_owned(), web.replace("action", "zone: wan, action")),
        (web.to_owned(), all.to_owned()),
        (
            all.to_owned(),
            "- {name: some, from: \"!198.51.100.0/24\", proto: icmp, icmp: {type: [0, 8]}, action: pass}\n".to_owned(),
        ),
    ];
    let mut screens = String::new();
    for (old, new) in cases {
        screens.push_str(&format!("{old}=>\n{new}{}\n\n", words(&old, &new)));
    }
    insta::assert_snapshot!(screens);
}

#[test]
fn policies_that_mean_the_same_have_no_difference() {
    for (old, new) in [
        (
            "- {name: web, proto: tcp, port: [80, 443], action: pass}\n",
            "- {name: a, proto: tcp, port: 443, action: pass}\n- {name: b, proto: tcp, port: 80, action: pass}\n",
        ),
        (
            "- {name: a, from: 10.0.0.0/8, action: pass}\n- {name: b, from: 192.0.2.0/24, action: drop}\n",
            "- {name: b, from: 192.0.2.0/24, action: drop}\n- {name: c, from: 10.0.0.0/9, action: pass}\n- {name: d, from: 10.128.0.0/9, action: pass}\n",
        ),
        (
            "- {name: a, from: 10.0.0.0/8, action: pass}\n",
            "- {name: a, from: 10.0.0.0/8, action: pass}\n- {name: b, from: 10.1.0.0/16, action: drop}\n- {name: n, action: next}\n",
        ),
        (
            "- {name: a, from: 127.0.0.1, action: pass}\n",
            "- {name: z, length: 0-19, action: pass}\n",
        ),
    ] {
        assert_eq!(words(old, new), "");
    }
}

#[test]
fn one_change_among_ten_thousand_rules_is_found_at_once() {
    let lines: Vec<String> = (0..10_000u32)
        .map(|n| {
            format!(
                "- {{name: r{n}, from: {}.{}.{}.0/24, proto: tcp, port: {}, action: pass}}\n",
                1 + n % 100,
                n / 100 % 50,
                n % 7,
                1 + n % 1000
            )
        })
        .collect();
    let text = |lines: &[String]| {
        format!(
            "version: 1\ndefault: {{in: drop}}\nrules:\n{}",
            lines.concat()
        )
    };
    let mut changed = lines.clone();
    changed.remove(5_000);
    changed.insert(
        2_000,
        "- {name: all, from: 5.0.0.0/8, action: drop}\n".into(),
    );
    let (old, new) = (read(&text(&lines)), read(&text(&changed)));
    let start = std::time::Instant::now();
    let found = diff(&old, &new);
    let took = start.elapsed();
    eprintln!(
        "diff of 10,000 rules: {took:?}, {} regions",
        found.regions.len()
    );
    assert!(found.complete && !found.regions.is_empty());
    assert!(took.as_secs() < 10, "{took:?}");
}

#[test]
fn rules_with_other_limits_are_named() {
    let rules = |limit: &str| {
        format!(
            "version: 1\ndefault: {{in: drop}}\nrules:\n- {{name: web, proto: tcp, port: 80{limit}, action: pass}}\n"
        )
    };
    let old = read(&rules(", limit: {rate: 10/s}"));
    let cases = [
        (", limit: {rate: 10/s, per: rule, burst: 20}", None),
        (
            ", limit: {rate: 10/s, burst: 30}",
            Some("limit of rule `web`: 10/s, burst 20, pass -> 10/s, burst 30, pass"),
        ),
        (
            ", limit: {rate: 20/s}",
            Some("limit of rule `web`: 10/s, burst 20, pass -> 20/s, burst 40, pass"),
        ),
        (
            "",
            Some("limit of rule `web`: 10/s, burst 20, pass -> none"),
        ),
    ];
    for (limit, line) in cases {
        let found = diff(&old, &read(&rules(limit)));
        assert_eq!(found.settings, Vec::from_iter(line.map(str::to_owned)));
        assert_eq!(found.is_empty(), line.is_none());
    }
}

#[test]
fn other_logs_are_named_and_change_no_packet() {
    let policy = |log: &str, default: &str| {
        read(&format!(
            "version: 1\ndefault: {{in: drop{default}}}\nrules:\n- {{name: web, proto: tcp, port: 80{log}, action: pass}}\n"
        ))
    };
    let old = policy(", log: 10/s", "");
    for (log, default, lines) in [
        (", log: 10/s", "", vec![]),
        (", log: 6/30s", "", vec!["log of rule `web`: 10/s -> 6/30s"]),
        (
            "",
            ", log: 5/m",
            vec![
                "log of rule `web`: 10/s -> none",
                "log of the default: none -> 5/m",
            ],
        ),
        (
            ", log: 10/s, enabled: false",
            "",
            vec!["log of rule `web`: 10/s -> none"],
        ),
    ] {
        let found = diff(&old, &policy(log, default));
        assert_eq!(found.settings, lines, "{log} {default}");
        assert_eq!(found.regions.is_empty(), !log.contains("enabled"));
    }
}

#[test]
fn another_size_of_the_table_of_flows_is_a_difference() {
    let policy = |state: &str| {
        read(&format!(
            "version: 1\ndefault: {{in: drop}}\n{state}\nrules: [{{name: replies, state: \
             established, action: pass}}]\n"
        ))
    };
    let difference = diff(&policy(""), &policy("state: {flows: 500000}"));
    assert_eq!(difference.settings, ["state.flows: (not named) -> 500000"]);
    assert!(difference.regions.is_empty());
    assert!(
        diff(
            &policy("state: {flows: 4096}"),
            &policy("state: {flows: 4096}")
        )
        .is_empty()
    );
}

#[test]
fn what_is_exempt_from_bans_is_a_difference() {
    let policy = |exempt: &str| read(&format!("version: 1\ndefault: {{in: drop}}\n{exempt}\n"));
    let many = "exempt: [192.0.2.1, 192.0.2.3, 192.0.2.5, 192.0.2.7, 192.0.2.9]";
    let others = many.replace("192.0.2.9", "192.0.2.11");
    for (old, new, line) in [
        ("exempt: 192.0.2.0/24", "", "192.0.2.0/24 -> none"),
        ("", "exempt: \"2001:db8::1\"", "none -> 2001:db8::1"),
        (
            many,
            &others,
            "192.0.2.1, 192.0.2.3, 192.0.2.5, 192.0.2.7, ... (5 prefixes) -> 192.0.2.1, 192.0.2.3, \
             192.0.2.5, 192.0.2.7, ... (5 prefixes), other ones",
        ),
    ] {
        let found = diff(&policy(old), &policy(new));
        assert_eq!(found.settings, [format!("exempt from bans: {line}")]);
        assert!(found.regions.is_empty());
    }
    assert!(diff(&policy(many), &policy(many)).is_empty());
}

#[test]
fn an_example_that_a_live_set_decides_names_the_set() {
    let policy = |rules: &str| {
        read(&format!(
            "version: 1\ninterfaces: [{{match: wan0}}]\ndefault: {{in: drop}}\n\
             sets:\n  others: {{type: cidr, live: true}}\n  partners: {{type: cidr, live: true}}\n\
             rules:\n  - {{name: a, from: \"@others\", proto: icmp, action: pass}}\n{rules}"
        ))
    };
    let (old, new) = (
        policy(""),
        policy("  - {name: b, from: \"@partners\", proto: tcp, port: 8080, action: pass}\n"),
    );
    for (old, new) in [(&old, &new), (&new, &old)] {
        let difference = diff(old, new);
        assert!(!difference.regions.is_empty());
        for region in &difference.regions {
            assert_eq!(region.example.from_sets, ["partners"]);
            let text = region.example.to_string();
            assert!(text.contains("@partners"), "{text}");
            let again = crate::packet_text::parse(&text).ok();
            assert_eq!(
                again.map(|it| it.from_sets),
                Some(vec!["partners".to_owned()])
            );
        }
    }
}
