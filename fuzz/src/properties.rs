//! What must hold whatever the input is, one function a fuzz target: no panic, and every error says
//! in which file, line and column it stands and what to write instead.
//!
//! Read twice: as a module of the fuzz targets, and as one of `firewall-policy/tests/fuzz_corpus.rs`,
//! which replays the corpus. May use what `firewall-policy` makes public only. A property that does
//! not hold is a panic; the message says which.

use firewall_policy::compile::compile;
use firewall_policy::diag::Diagnostics;
use firewall_policy::rule::{Place, Policy};
use firewall_policy::source::{Files, read_policy, read_policy_bytes};
use firewall_policy::{fmt, packet_text, policy_tests};
use std::io::{self, Read};

/// A target: its name, and what must hold of an input.
pub type Target = (&'static str, fn(&[u8]));

/// The targets by name.
pub const ALL: [Target; 4] = [
    ("policy", policy),
    ("fmt", fmt),
    ("packet_text", packet_text),
    ("list_file", list_file),
];

const NAME: &str = "firewall.yaml";

/// The folder beside a policy: two small set files, and one whose text is the input.
struct Folder<'t> {
    input: &'t [u8],
}

const ADDRESSES: &[u8] =
    b"# addresses\n192.0.2.0/24 ; a net\n198.51.100.7-198.51.100.9\n2001:db8::/32\n";
const PORTS: &[u8] = b"22\nhttps\n8000-8010\n";

impl Files for Folder<'_> {
    fn open(&self, path: &str) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(match path {
            "sets.d/a.txt" => ADDRESSES,
            "sets.d/p.txt" => PORTS,
            "input" => self.input,
            _ => return Err(io::ErrorKind::NotFound.into()),
        }))
    }
}

/// Bytes of a policy file: the whole of `check`, that is parsing, validation, compilation and the
/// policy's own tests.
pub fn policy(data: &[u8]) {
    let folder = Folder { input: b"" };
    let text = String::from_utf8_lossy(data);
    match read_policy_bytes(NAME, data, &folder) {
        Err(errors) => {
            assert!(!errors.is_empty(), "refused, and no error says why");
            shown(&errors, &text);
        }
        Ok(read) => {
            let read = policy_tests::in_time(NAME, &text, read);
            shown(&read.warnings, &text);
            let slots: Vec<u32> = (0..read.policy.counters().len() as u32).collect();
            let tables = compile(&read.policy, &slots).expect("a valid policy of this size fits");
            let failing = policy_tests::failing(&read.tests, &read.policy, &tables);
            if !failing.is_empty() {
                let found = policy_tests::findings(NAME, &text, &read.policy, &tables, &failing);
                shown(&found, &text);
            }
        }
    }
}

/// A policy and its canonical form mean the same, and the canonical form is its own.
pub fn fmt(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let folder = Folder { input: b"" };
    let Ok(read) = read_policy(NAME, text, &folder) else {
        return;
    };
    let canonical = fmt::canonical(NAME, text).expect("what has been read is YAML");
    let again = read_policy(NAME, &canonical, &folder)
        .unwrap_or_else(|errors| panic!("fmt broke it:\n{canonical}\n{errors}"));
    assert_eq!(
        without_places(read.policy),
        without_places(again.policy),
        "fmt changed the meaning:\n{canonical}"
    );
    let twice = fmt::canonical(NAME, &canonical).expect("read above");
    assert_eq!(canonical, twice, "the canonical form is not its own");
}

/// A packet as text: what is printed reads back as the same packet, and can be made a frame.
pub fn packet_text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match packet_text::parse(text) {
        Err(error) => {
            assert!(
                text.get(error.at.clone()).is_some(),
                "the error points outside: {:?}",
                error.at
            );
            assert!(!error.help.is_empty());
            let errors = packet_text::read(text).expect_err("refused above");
            shown(&errors, text);
        }
        Ok(packet) => {
            let printed = packet.to_string();
            assert_eq!(
                packet_text::parse(&printed),
                Ok(packet.clone()),
                "{printed}"
            );
            assert!(packet.frame().len() >= 14, "a frame has a header");
            assert_eq!(!packet.before().is_empty(), packet.established, "{printed}");
        }
    }
}

/// A set file, of addresses and of ports.
pub fn list_file(data: &[u8]) {
    let folder = Folder { input: data };
    for (kind, key) in [("cidr", "from"), ("port", "port")] {
        let text = format!(
            "version: 1\ndefault: {{in: pass}}\nsets: {{s: {{type: {kind}, file: input}}}}\n\
             rules: [{{name: a, proto: tcp, {key}: \"@s\", action: drop}}]\n"
        );
        let lines = data.split(|&byte| byte == b'\n').count();
        let findings = match read_policy(NAME, &text, &folder) {
            Ok(read) => read.warnings,
            Err(errors) => errors,
        };
        for finding in &findings.list {
            let last = if finding.place.file == NAME { 4 } else { lines };
            placed(&finding.place, last);
        }
        printable(&findings);
    }
}

/// All findings have a place in `text`, say what to do, and print without control characters.
fn shown(findings: &Diagnostics, text: &str) {
    let lines = text.split('\n').count();
    for finding in &findings.list {
        if finding.place.file == NAME {
            placed(&finding.place, lines);
        }
        assert!(!finding.place.file.is_empty() && finding.place.line >= 1);
        assert!(finding.help.is_some(), "{}: no help", finding.code);
    }
    printable(findings);
}

fn placed(place: &Place, lines: usize) {
    assert!(!place.file.is_empty(), "no file");
    assert!(
        (1..=lines).contains(&(place.line as usize)) && place.column >= 1,
        "{}:{}:{} of {lines} lines",
        place.file,
        place.line,
        place.column
    );
}

fn printable(findings: &Diagnostics) {
    let shown = findings.render(false);
    assert!(
        !shown.chars().any(|c| c.is_control() && c != '\n'),
        "a control character would reach the terminal: {shown:?}"
    );
}

/// The same policy, as if written elsewhere.
fn without_places(mut policy: Policy) -> Policy {
    for rule in &mut policy.rules {
        rule.place = Place::default();
    }
    policy
}
