//! Whatever the text: no panic, and every error has a place that exists, and can be shown.

mod support;

use firewall_policy::source::{read_policy, read_policy_bytes};
use proptest::prelude::*;
use support::Fake;

const EXAMPLES: &[&str] = &[
    include_str!("../../rules/web-server.yaml"),
    include_str!("../../rules/ddos-edge.yaml"),
    include_str!("../../rules/router-bastion.yaml"),
    include_str!("../../rules/workstation.yaml"),
];

/// Pieces that make a mutated policy take unusual ways.
const PIECES: &[&str] = &[
    ":",
    ": ",
    "- ",
    "\n",
    "\t",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "'",
    "!",
    "@",
    "*",
    "&",
    "|",
    ">",
    "%",
    "#",
    "~",
    "null",
    "true",
    "no",
    "0",
    "-1",
    "65536",
    "1-",
    "1e3",
    "::",
    "/33",
    "@builtin/bogons",
    "---\n",
    "\u{feff}",
    "\0",
    "é",
    "☃",
    "name",
    "action",
    "from",
    "port",
    "flags",
    "icmp",
    "<<",
    "10.0.0.0/8",
    "\r\n",
    "  ",
    "? ",
    "99999999999999999999",
];

fn check(text: &str) -> Result<(), TestCaseError> {
    let findings = match read_policy("t", text, &Fake) {
        Ok(read) => read.warnings,
        Err(errors) => {
            prop_assert!(!errors.is_empty(), "an error says what is wrong");
            errors
        }
    };
    let lines = text.split('\n').count();
    for finding in &findings.list {
        let place = &finding.place;
        prop_assert!(place.line >= 1 && place.column >= 1);
        if place.file == "t" {
            prop_assert!(
                place.line as usize <= lines,
                "line {} of {lines}",
                place.line
            );
        }
        prop_assert!(finding.help.is_some());
    }
    let shown = findings.render(false);
    prop_assert!(
        !shown.chars().any(|c| c.is_control() && c != '\n'),
        "{shown:?}"
    );
    prop_assert!(findings.render(true).len() >= shown.len());
    Ok(())
}

fn mutation() -> impl Strategy<Value = (usize, usize, String)> {
    let piece = prop::sample::select(PIECES).prop_map(String::from);
    (
        any::<usize>(),
        0usize..12,
        prop_oneof![4 => piece, 1 => "\\PC{0,3}"],
    )
}

fn mutate(example: &str, mutations: &[(usize, usize, String)]) -> String {
    let mut text = example.to_string();
    for (at, remove, insert) in mutations {
        let at = text.floor_char_boundary(at % (text.len() + 1));
        let end = text
            .floor_char_boundary((at + remove).min(text.len()))
            .max(at);
        text.replace_range(at..end, insert);
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn on_mutated_examples(
        example in prop::sample::select(EXAMPLES),
        mutations in prop::collection::vec(mutation(), 1..6),
    ) {
        check(&mutate(example, &mutations))?;
    }

    #[test]
    fn on_random_pieces(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40)) {
        check(&pieces.concat())?;
        check(&format!("version: 1\ndefault: pass\nrules:\n- {{name: a, {}}}\n", pieces.concat()))?;
    }

    #[test]
    fn on_random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(errors) = read_policy_bytes("t", &bytes, &Fake) {
            prop_assert!(errors.list.iter().all(|e| e.place.line >= 1 && e.place.column >= 1));
            prop_assert!(!errors.render(false).is_empty());
        }
    }
}
