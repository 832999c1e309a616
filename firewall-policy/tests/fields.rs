//! Every match field that is a number in a header means the same everywhere: in a rule, in a packet as
//! text, in the frame that is made of it, to the parser, to the printers, and to `fmt` and diff. What
//! is tried here is tried of a new row, too.

use firewall_common::key::{Family, PacketKey};
use firewall_common::verdict::Verdict;
use firewall_policy::compile::compile;
use firewall_policy::diff::diff;
use firewall_policy::explain::{Explained, explain, key_of};
use firewall_policy::fields::{self, Header, Row};
use firewall_policy::fmt::canonical;
use firewall_policy::host::Memory;
use firewall_policy::packet_text::parse;
use firewall_policy::rule::Policy;
use firewall_policy::source::{NoFiles, read_policy};
use firewall_policy::tables::Tables;

const FAMILIES: [(Family, &str); 2] = [
    (Family::V4, "203.0.113.9:5000 > 198.51.100.80:22"),
    (Family::V6, "[2001:db8::9]:5000 > [2001:db8::1]:22"),
];

fn text(rule: &str) -> String {
    format!("version: 1\ndefault: {{in: pass}}\nrules:\n  - {{name: a, {rule}, action: drop}}\n")
}

fn policy(rule: &str) -> (Policy, Tables) {
    let policy = read_policy("fields.yaml", &text(rule), &NoFiles);
    let policy = policy.unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    let tables = compile(&policy.policy, &[0]).expect("one rule");
    (policy.policy, tables)
}

/// What becomes of a packet.
fn judged((policy, tables): &(Policy, Tables), packet: &str) -> (Explained, PacketKey) {
    let frame = parse(packet).expect(packet).frame();
    let key = key_of(tables, &frame, 0).expect("a packet");
    (
        explain(policy, tables, &Memory::of(tables), &frame, 0, 3),
        key,
    )
}

/// Whether packets of TCP in a family have the number.
fn is_there(row: &Row, family: Family) -> bool {
    let own = match family {
        Family::V4 => Header::Ipv4,
        Family::V6 => Header::Ipv6,
    };
    row.is_in(own) || row.is_in(Header::Tcp)
}

/// Values to try, each with another one: the ends of what a SYN can have, and what is between them.
fn values(row: &Row) -> Vec<(u32, u32)> {
    let (first, last) = row.range;
    // No packet is shorter than its headers.
    let first = if row.word == "length" { 60 } else { first };
    vec![
        (first, last),
        (last, first),
        (first + 1, last - 1),
        (last / 2 + 61, last - 2),
    ]
    .into_iter()
    .filter(|(a, b)| a != b && *a <= last)
    .collect()
}

#[test]
fn a_number_means_the_same_to_rule_frame_and_printers() {
    for row in fields::numbers() {
        let (key, word) = (row.keys[0], row.word);
        for (value, other) in values(row) {
            let dropping = policy(&format!("proto: tcp, {key}: {value}"));
            for (family, ends) in FAMILIES {
                let of = |value: u32| format!("tcp {ends} syn {word} {value}");
                if !is_there(row, family) {
                    let error = parse(&of(value)).expect_err("no such header");
                    assert_eq!(error.message, format!("such a packet has no `{word}`"));
                    continue;
                }
                let (hit, found) = judged(&dropping, &of(value));
                assert_eq!(hit.outcome.verdict, Verdict::DROP, "{}", of(value));
                assert_eq!(found.field(row.field), value, "{}", of(value));
                let (miss, _) = judged(&dropping, &of(other));
                assert_eq!(miss.outcome.verdict, Verdict::PASS, "{}", of(other));
                let near: Vec<_> = miss.near.iter().map(|n| (n.field, &*n.found)).collect();
                assert_eq!(near, [(key, &*format!("{key} is {other}"))]);
                // What is found in the frame reads back as the same frame.
                let again = miss.packet.expect("a packet").to_string();
                let back = parse(&again).expect(&again).frame();
                assert_eq!(
                    back,
                    parse(&of(other)).expect("as above").frame(),
                    "{again}"
                );
            }
            let (policy, _) = &dropping;
            assert_eq!(policy.rules[0].summary, format!("tcp {word} {value}"));
            let written = canonical("fields.yaml", &text(&format!("{key}: {value}, proto: tcp")));
            let line = format!("{{name: a, proto: tcp, {key}: {value}, action: drop}}");
            assert!(written.expect("a policy").contains(&line), "{line}");
        }
    }
}

#[test]
fn a_number_has_a_domain_and_names() {
    for row in fields::numbers() {
        let (key, (first, last)) = (row.keys[0], row.range);
        let matches = |value: &str| {
            let (policy, _) = policy(&format!("proto: tcp, {key}: {value}"));
            policy.rules[0].matches.field(row.field).ranges().to_vec()
        };
        assert_eq!(matches(&format!("{first}-{last}")), [(first, last)]);
        assert_eq!(matches(&format!("\"{}-\"", last - 1)), [(last - 1, last)]);
        assert_eq!(matches(&format!("\"!{first}\"")), [(first + 1, last)]);
        for &(name, number) in row.names() {
            assert_eq!(matches(name), [(number, number)], "{key}: {name}");
        }
        let wrong = text(&format!("proto: tcp, {key}: {}", last + 1));
        let errors = read_policy("fields.yaml", &wrong, &NoFiles).expect_err("out of range");
        let shown = errors.render(false);
        assert!(
            shown.contains(&format!("{key} {} is out of range", last + 1)),
            "{shown}"
        );
    }
}

#[test]
fn what_only_tcp_has_needs_proto_tcp() {
    for row in fields::ROWS.iter().filter(|row| row.is_of_tcp()) {
        let key = row.keys[0];
        let value = if row.is_number() { "1" } else { "{set: [syn]}" };
        for proto in ["", "proto: udp, ", "proto: [tcp, udp], "] {
            let wrong = text(&format!("{proto}{key}: {value}"));
            let errors = read_policy("fields.yaml", &wrong, &NoFiles).expect_err(&wrong);
            let codes: Vec<_> = errors.list.iter().map(|error| error.code).collect();
            assert_eq!(codes, ["FW0165"], "{wrong}");
        }
        policy(&format!("proto: tcp, {key}: {value}"));
    }
}

#[test]
fn diff_names_a_number_by_its_word() {
    for row in fields::numbers() {
        let (key, word, last) = (row.keys[0], row.word, row.range.1);
        let (old, _) = policy(&format!("proto: tcp, {key}: {last}"));
        let (new, _) = policy("proto: tcp, port: 1");
        let difference = diff(&old, &new);
        let mut shown = difference.regions.iter().map(|region| &region.packets);
        let named = shown.any(|packets| packets.contains(&format!("{word} {last}")));
        assert!(named, "{key}: {:?}", difference.regions);
    }
}
