//! `malformed: rules` on the host: whatever is wrong with a frame, who is banned or blocked stays out,
//! and no rule matches by a field that could not be read.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_common::field::Field;
use firewall_common::live::{self, BANNED, Meta};
use firewall_common::reason::Reason;
use firewall_common::verdict::Verdict;
use firewall_policy::evasion::Kind;
use firewall_policy::host::{self, HostMachine, Memory};
use firewall_policy::prefixes;
use firewall_policy::tables::Tables;
use firewall_tests::evasion::{Row, base4, rows};
use firewall_tests::fuzz::Case;
use firewall_tests::policies::parse;
use std::cell::RefCell;

fn case(rest: &str) -> Case {
    let text = format!("version: 1\n{rest}");
    Case::new(rest, parse(&text).unwrap()).unwrap()
}

/// The frames with an anomaly that `malformed` governs, and of which the addresses can be read.
fn malformed() -> impl Iterator<Item = Row> {
    let case = case("default: {in: pass}\nrules: []\n");
    rows().into_iter().filter(move |row| {
        case.host(&row.frame).reason == row.under_b.1.name()
            && matches!(row.meaning.kind, Kind::Anomaly(_, Some(_)))
    })
}

fn end(tables: &Tables, memory: &Memory, frame: &[u8]) -> (Verdict, Reason) {
    let outcome = host::decide_after(tables, memory, frame, 0).outcome;
    (outcome.verdict, outcome.reason)
}

const KNOBS: &str = "packet: {malformed: rules, fragments: pass, ip_options: pass}";

#[test]
fn who_is_blocked_stays_out_whatever_is_broken() {
    let blocked = case(&format!(
        "default: {{in: pass}}\n{KNOBS}\nrules:\n  \
         - {{name: blocked, from: [0.0.0.0/0, \"::/0\"], action: drop}}\n"
    ));
    let set = case(&format!(
        "default: {{in: pass}}\n{KNOBS}\n\
         sets: {{bad: {{type: cidr, live: true, elements: [0.0.0.0/1, 128.0.0.0/1, \"::/1\", \"8000::/1\"]}}}}\n\
         rules:\n  - {{name: blocked, from: \"@bad\", action: drop}}\n"
    ));
    let mut count = 0;
    for row in malformed() {
        count += 1;
        for case in [&blocked, &set] {
            let memory = Memory::of(&case.tables);
            let got = end(&case.tables, &memory, &row.frame);
            assert_eq!(
                got,
                (Verdict::DROP, Reason::RULE),
                "{} {}",
                row.id,
                row.what
            );
        }
    }
    assert!(count > 80, "{count}");
}

#[test]
fn who_is_banned_stays_out_whatever_is_broken() {
    let case = case(&format!(
        "default: {{in: pass}}\n{KNOBS}\nsets: {{any: {{type: cidr, live: true}}}}\n\
         rules: [{{name: any, from: \"@any\", action: drop}}]\n"
    ));
    for row in malformed() {
        let Kind::Anomaly(_, Some(key)) = row.meaning.kind else {
            continue;
        };
        let prefix = if key.is_v6 == 0 {
            prefixes::prefix_v4(key.src_lo as u32, 32)
        } else {
            prefixes::prefix_v6(key.src(), 128)
        };
        let memory = Memory::of(&case.tables);
        let counted = RefCell::new(Vec::new());
        let machine = HostMachine::with_memory(&case.tables, &counted, &memory);
        let got = end(&case.tables, &memory, &row.frame);
        assert_eq!(got.0, Verdict::PASS, "{} {}", row.id, row.what);
        let meta = prefix.meta(BANNED.into()).with_end(Meta::FOREVER);
        live::put(&machine, &prefix, meta);
        let got = end(&case.tables, &memory, &row.frame);
        let want = (Verdict::DROP, Reason::BANNED);
        assert_eq!(got, want, "{} {}", row.id, row.what);
    }
}

/// A rule with every value of a field that there is matches exactly the frames of which the field could
/// be read.
#[test]
fn a_rule_matches_by_what_was_read_alone() {
    let fields = [
        (Field::Proto, "proto: [0-255]"),
        (Field::Ttl, "ttl: 0-255"),
        (Field::Length, "length: 0-65535"),
        (Field::Dscp, "dscp: 0-63"),
        (Field::TcpFlags, "proto: tcp, flags: {clear: [urg]}"),
        (Field::SourcePort, "proto: [tcp, udp], source_port: 1-65535"),
    ];
    let mut matched = [0; 2];
    for (field, words) in fields {
        let case = case(&format!(
            "default: {{in: pass}}\n{KNOBS}\nrules:\n  - {{name: named, {words}, action: drop}}\n"
        ));
        for row in malformed() {
            let Kind::Anomaly(reason, Some(key)) = row.meaning.kind else {
                continue;
            };
            let value = key.field(field);
            let is_zero_port = field == Field::SourcePort && value == 0;
            let has_urg = field == Field::TcpFlags && value & 32 != 0;
            let is_named = value != field.none() && !is_zero_port && !has_urg;
            let want = if is_named {
                (Verdict::DROP, Reason::RULE)
            } else {
                (Verdict::PASS, reason)
            };
            let got = end(&case.tables, &Memory::of(&case.tables), &row.frame);
            assert_eq!(got, want, "{} {}, {words}", row.id, row.what);
            matched[usize::from(is_named)] += 1;
        }
    }
    assert!(matched[0] > 50 && matched[1] > 100, "{matched:?}");
}

/// Flags that no host sends: the packet neither opens a connection nor belongs to one.
#[test]
fn what_is_broken_is_of_no_state() {
    for state in ["new", "established"] {
        let case = case(&format!(
            "default: {{in: pass}}\n{KNOBS}\nrules:\n  \
             - {{name: state, proto: tcp, state: {state}, action: drop}}\n"
        ));
        let mut frame = base4(80);
        frame[47] = 3;
        let got = end(&case.tables, &Memory::of(&case.tables), &frame);
        assert_eq!(got, (Verdict::PASS, Reason::TCP_FLAGS));
    }
}

#[test]
fn the_default_decides_the_rest_and_no_knob_is_loosened() {
    for (default, verdict) in [("pass", Verdict::PASS), ("drop", Verdict::DROP)] {
        let case = case(&format!("default: {{in: {default}}}\n{KNOBS}\nrules: []\n"));
        for row in malformed() {
            let Kind::Anomaly(reason, _) = row.meaning.kind else {
                continue;
            };
            let got = end(&case.tables, &Memory::of(&case.tables), &row.frame);
            assert_eq!(got, (verdict, reason), "{} {}", row.id, row.what);
        }
    }
    let strict = case(
        "default: {in: pass}\npacket: {malformed: rules, fragments: drop, ip_options: drop}\nrules: []\n",
    );
    for row in malformed() {
        let Kind::Anomaly(_, Some(key)) = row.meaning.kind else {
            continue;
        };
        let got = end(&strict.tables, &Memory::of(&strict.tables), &row.frame);
        if matches!(key.field(Field::Fragment), 1 | 2) {
            let want = (Verdict::DROP, Reason::FRAGMENT);
            assert_eq!(got, want, "{} {}", row.id, row.what);
        } else if row.meaning.options {
            let want = (Verdict::DROP, Reason::IP_OPTIONS);
            assert_eq!(got, want, "{} {}", row.id, row.what);
        }
    }
}
