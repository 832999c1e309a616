//! YAML's traps: scalars that other readers turn into something else, and input made to exhaust
//! the reader. Each is taken exactly as written or refused with a place; nothing is reinterpreted.

mod support;

use firewall_common::field::Field;
use firewall_policy::diag::codes::Code;
use firewall_policy::source::read_policy;
use std::time::{Duration, Instant};
use support::Fake;

/// The code of the first error, or what a probe says of the policy.
fn first_error(text: &str) -> Option<&'static str> {
    match read_policy("t", &Code::complete(text), &Fake) {
        Ok(_) => None,
        Err(errors) => {
            for error in &errors.list {
                assert!(error.place.line >= 1 && error.place.column >= 1);
            }
            Some(errors.list[0].code)
        }
    }
}

#[test]
fn ports_are_exact_or_refused() {
    let exact: &[(&str, &[(u32, u32)])] = &[
        ("22", &[(22, 22)]),
        ("\"22\"", &[(22, 22)]),
        ("'22'", &[(22, 22)]),
        ("[22, 0x16]", &[(22, 22)]),
        ("1-1", &[(1, 1)]),
        ("1024-", &[(1024, 65_535)]),
        ("\"1024-\"", &[(1024, 65_535)]),
        ("65535", &[(65_535, 65_535)]),
        ("8000-8010", &[(8000, 8010)]),
        ("8000 - 8010", &[(8000, 8010)]),
        ("!22", &[]),
        ("\"!22\"", &[(1, 21), (23, 65_535)]),
        ("[1-10, \"!5\"]", &[(1, 4), (6, 10)]),
        ("https", &[(443, 443)]),
        ("22:22", &[]),
        ("1:20", &[]),
        ("0o22", &[]),
        ("022", &[]),
        ("0x16", &[(22, 22)]),
        ("0X16", &[]),
        ("0x", &[]),
        ("-0x16", &[]),
        ("0b101", &[]),
        ("1e3", &[]),
        ("1E3", &[]),
        ("22.0", &[]),
        ("22.", &[]),
        ("+80", &[]),
        ("-80", &[]),
        ("1_000", &[]),
        ("1,000", &[]),
        ("0", &[]),
        ("00", &[]),
        ("65536", &[]),
        ("99999999999999999999999", &[]),
        (".inf", &[]),
        (".nan", &[]),
        ("no", &[]),
        ("true", &[]),
        ("null", &[]),
        ("~", &[]),
        ("", &[]),
        ("2001-01-01", &[]),
        ("02:42:ac:11:00:02", &[]),
        ("12e03", &[]),
        ("!!int 22", &[]),
        ("!!str 22", &[]),
        ("|\n    22", &[]),
        ("２２", &[]),
        ("22 # ssh", &[(22, 22)]),
        ("22# ssh", &[]),
        ("22-0o30", &[]),
        ("{22: 23}", &[]),
        ("22 23", &[]),
        ("22\n    23", &[]),
    ];
    for (written, expected) in exact {
        let text = Code::complete(&format!(
            "- name: a\n  proto: tcp\n  port: {written}\n  action: pass\n"
        ));
        match read_policy("t", &text, &Fake) {
            Ok(read) => {
                let ports = read.policy.rules[0]
                    .matches
                    .field(Field::DestinationPort)
                    .ranges();
                assert_eq!(&ports, expected, "port: {written}");
            }
            Err(errors) => {
                assert!(
                    expected.is_empty(),
                    "port: {written}\n{}",
                    errors.render(false)
                );
                assert!(
                    errors
                        .list
                        .iter()
                        .all(|e| e.place.line >= 1 && e.place.column >= 1)
                );
            }
        }
    }
}

#[test]
fn truth_values_are_true_and_false_only() {
    for written in ["true", "false"] {
        let text = format!("- {{name: a, enabled: {written}, action: pass}}\n");
        let read = read_policy("t", &Code::complete(&text), &Fake).expect("a truth value");
        assert_eq!(read.policy.rules[0].enabled, written == "true");
    }
    for written in [
        "yes", "no", "on", "off", "y", "n", "True", "TRUE", "False", "Yes", "NO", "1", "0",
        "\"true\"", "'false'", "~", "null", "[true]", "{}", "t", "2",
    ] {
        let text = format!("- {{name: a, enabled: {written}, action: pass}}\n");
        assert!(first_error(&text).is_some(), "enabled: {written}");
    }
}

#[test]
fn text_is_kept_or_must_be_quoted() {
    let comment = |written: &str| {
        let text = format!("- name: a\n  comment: {written}\n  action: pass\n");
        read_policy("t", &Code::complete(&text), &Fake).map(|r| r.policy.rules[0].comment.clone())
    };
    for (written, kept) in [
        ("no", "no"),
        ("off", "off"),
        ("y", "y"),
        ("22:22", "22:22"),
        ("2001-01-01", "2001-01-01"),
        ("\"1e3\"", "1e3"),
        ("'null'", "null"),
        ("1.2.3", "1.2.3"),
        ("a # b", "a"),
        ("a#b", "a#b"),
        ("'it''s'", "it's"),
        ("\"tab\\tend\"", "tab\tend"),
        ("02:42:ac:11:00:02", "02:42:ac:11:00:02"),
        (">\n    folded\n    text", "folded text\n"),
        ("|\n    two\n    lines", "two\nlines\n"),
        ("=", "="),
    ] {
        assert_eq!(
            comment(written).expect("text"),
            Some(kept.to_string()),
            "{written}"
        );
    }
    for written in [
        "1", "1e3", "0x10", "0o17", "+1", "-1", "1.5", ".5", ".inf", "-.INF", ".nan", "true",
        "False", "~", "null", "", "[a]", "{a: b}", "*a", "&a b", "!b c", "@a", "`a`", "%a",
    ] {
        assert!(comment(written).is_err(), "comment: {written}");
    }
}

#[test]
fn yaml_that_policies_do_not_use_is_refused() {
    for (text, code) in [
        ("<<: {version: 1}\nversion: 1\ndefault: drop\n", "FW0114"),
        ("version: 1\nversion: 1\ndefault: drop\n", "FW0105"),
        ("\"version\": 1\nversion: 1\ndefault: drop\n", "FW0105"),
        ("version: 1\ndefault: drop\n...\n---\nrules: []\n", "FW0108"),
        ("%TAG ! tag:x,2000:\n---\nversion: 1\n", "FW0109"),
        ("version: !!int 1\ndefault: drop\n", "FW0107"),
        ("? version\n: 1\n? [default]\n: drop\n", "FW0126"),
        ("version: 1\ndefault: &d drop\n", "FW0106"),
        ("version: 1\ndefault: *d\n", "FW0106"),
        ("version: 1\0\n", "FW0111"),
        ("version: 1\ndefault: \u{feff}drop\n", "FW0111"),
        ("version: 1\n\tdefault: drop\n", "FW0110"),
        ("[version, 1]\n", "FW0116"),
        ("version\n", "FW0116"),
        ("", "FW0102"),
        ("\u{feff}", "FW0102"),
        ("---\n", "FW0102"),
        ("null\n", "FW0102"),
        ("version: \"1\"\ndefault: drop\n", "FW0124"),
        ("version: 1.0\ndefault: drop\n", "FW0124"),
        ("version: 01\ndefault: drop\n", "FW0124"),
    ] {
        let Err(errors) = read_policy("t", text, &Fake) else {
            panic!("{text:?} was taken")
        };
        assert_eq!(
            errors.list[0].code,
            code,
            "{text:?}\n{}",
            errors.render(false)
        );
    }
    let marked = read_policy("t", "\u{feff}version: 1\r\ndefault: pass\r\n", &Fake);
    assert!(
        marked.is_ok(),
        "a byte order mark at the start and CRLF are fine"
    );
}

#[test]
fn bombs_are_refused_fast() {
    let mut laughs = String::from("version: 1\na0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for n in 1..12 {
        let before = format!("*a{}, ", n - 1).repeat(9);
        laughs.push_str(&format!("a{n}: &a{n} [{before}]\n"));
    }
    let many = 2_100_000;
    for (name, text) in [
        ("alias bomb", laughs),
        ("deep flow", "[".repeat(1 << 20)),
        ("deep flow maps", "{a: ".repeat(1 << 18)),
        (
            "deep block",
            (0..3000)
                .map(|n| format!("{}a:\n", " ".repeat(n)))
                .collect(),
        ),
        ("deep sequence", "- ".repeat(1 << 20)),
        ("many values", format!("[{}]", "a,".repeat(many))),
        (
            "many keys",
            (0..500_000).map(|n| format!("k{n}: 1\n")).collect(),
        ),
        ("many quotes", "\"".repeat(1 << 20)),
        ("one long line", format!("a: {}", "x".repeat(8 << 20))),
        (
            "many lines of one scalar",
            format!("a: {}", "x\n  ".repeat(1 << 20)),
        ),
        ("many question marks", "? ".repeat(1 << 20)),
        ("many colons", "a: ".repeat(1 << 18)),
        ("many comments", "# x\n".repeat(1 << 20)),
        (
            "many errors on one line",
            format!("rules: [{}]", "{port: 0},".repeat(100_000)),
        ),
    ] {
        let start = Instant::now();
        let Err(errors) = read_policy("t", &text, &Fake) else {
            panic!("{name} was taken")
        };
        let rendered = errors.render(false);
        let took = start.elapsed();
        assert!(took < Duration::from_secs(30), "{name} took {took:?}");
        assert!(
            rendered.len() < 100_000,
            "{name}: {} bytes of messages",
            rendered.len()
        );
        eprintln!(
            "{name}: {took:?}, {} bytes, {}",
            rendered.len(),
            errors.list[0].code
        );
    }
}
