//! What the fuzz targets have found so far, replayed: no panic, no input that takes long, every
//! error with its place. And the dictionary that the targets start from, against the language.
//!
//! `cargo xtask fuzz` looks for more; see CONTRIBUTING.md.

#[expect(unreachable_pub, reason = "a module of the fuzz targets, too")]
#[path = "../../fuzz/src/properties.rs"]
mod properties;

use firewall_policy::import::{Options, iptables};
use firewall_policy::source::{NoFiles, read_policy};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest time for one input.
const LONGEST: Duration = Duration::from_secs(2);

/// Bytes of the whole corpus: it is read by every run of the tests, and stored with the source.
const CORPUS: u64 = 300 << 10;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

#[test]
fn the_corpus_holds_all_properties() {
    let mut bytes = 0;
    for (target, property) in properties::ALL {
        // Both read policies, and share them.
        let of = if target == "fmt" { "policy" } else { target };
        let folder = fuzz().join("corpus").join(of);
        let mut files: Vec<PathBuf> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.expect("an entry").path())
            .collect();
        files.sort();
        assert!(files.len() >= 20, "{target}: {} inputs", files.len());
        for file in files {
            let input = fs::read(&file).expect("readable");
            bytes += if of == target { input.len() as u64 } else { 0 };
            println!("{}", file.display()); // shown if the property does not hold
            let start = Instant::now();
            property(&input);
            assert!(start.elapsed() <= LONGEST, "{:?}", start.elapsed());
        }
    }
    assert!(bytes <= CORPUS, "the corpus has {bytes} bytes");
}

/// `FIREWALL_WRITE_DOCS=1` writes the dictionary anew.
#[test]
fn the_dictionary_has_the_words_of_the_language() {
    let mut words = BTreeSet::new();
    words_of(&firewall_policy::schema::schema(), &mut words);
    for word in [
        "version: 1\n",
        "rules:\n",
        "- {",
        "}\n",
        "\"@",
        "!",
        "# ",
        "/24",
        "::/64",
        "10/30s",
    ] {
        words.insert(word.to_owned());
    }
    assert!(words.contains("source_port") && words.contains("follow-first"));
    let mut text = String::from(
        "# Words of the policy language, for libFuzzer: written by firewall-policy/tests/fuzz_corpus.rs.\n",
    );
    for word in &words {
        let escaped = word.replace('\\', "\\\\").replace('"', "\\\"");
        writeln!(text, "\"{}\"", escaped.replace('\n', "\\x0a")).expect("a string");
    }
    let path = fuzz().join("policy.dict");
    if std::env::var_os("FIREWALL_WRITE_DOCS").is_some() {
        fs::write(&path, &text).expect("fuzz/policy.dict is writable");
    }
    assert!(
        fs::read_to_string(&path).expect("fuzz/policy.dict is readable") == text,
        "fuzz/policy.dict is old: run this test with FIREWALL_WRITE_DOCS=1"
    );
}

/// Keys of all tables, and the words that their values can be.
fn words_of(schema: &Value, words: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value) {
                    ("properties", Value::Object(properties)) => {
                        words.extend(properties.keys().cloned());
                        properties.values().for_each(|value| words_of(value, words));
                    }
                    ("enum" | "examples", Value::Array(list)) => {
                        words.extend(list.iter().filter_map(Value::as_str).map(String::from));
                    }
                    _ => words_of(value, words),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| words_of(value, words)),
        _ => {}
    }
}

/// A found input that was wrong once, for each target that it is for.
fn holds(target: &str, input: &str) {
    let (_, property) = properties::ALL
        .iter()
        .find(|(name, _)| *name == target)
        .expect("a target");
    property(input.as_bytes());
}

/// YAML took it for a line break, so that errors named lines that no editor has.
#[test]
fn found_a_carriage_return_alone() {
    let text = "version: 1\r\r\ndefault: {in: pass}\n";
    holds("policy", text);
    let errors = read_policy("f", text, &NoFiles).expect_err("refused");
    let place = &errors.list[0].place;
    assert_eq!(
        (errors.list[0].code, place.line, place.column),
        ("FW0111", 1, 11)
    );
    read_policy("f", "version: 1\r\ndefault: {in: pass}\r\n", &NoFiles).expect("line ends of DOS");
}

/// Excerpts of set files showed U+0080 to U+009F raw; U+009B begins an escape sequence.
#[test]
fn found_control_characters_in_an_excerpt() {
    holds("list_file", "\u{9b}2J<!DOCTYPE html>\n");
}

/// The list of the sets that there are gave the name of a refused one raw.
#[test]
fn found_control_characters_in_a_help() {
    let name = "\"a\\e[2J\"";
    let text = format!(
        "version: 1\ndefault: {{in: pass}}\nsets: {{{name}: {{type: port, elements: [6]}}}}\n\
         rules: [{{name: web, proto: tcp, port: \"@web\", action: pass}}]\n"
    );
    holds("policy", &text);
    let errors = read_policy("f", &text, &NoFiles).expect_err("refused");
    let helps: Vec<&str> = errors
        .list
        .iter()
        .filter_map(|e| e.help.as_deref())
        .collect();
    assert!(
        helps.iter().any(|help| help.ends_with("a\\u{1b}[2J")),
        "{helps:?}"
    );
}

/// A rule for ICMPv6 in rules for IPv4 became a rule that the reader refuses.
#[test]
fn found_icmp_of_the_other_family_in_an_import() {
    let text = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p ipv6-icmp -j ACCEPT\nCOMMIT\n";
    holds("import_iptables", text);
    let imported = iptables(Some(text), None, &Options::default()).expect("iptables-save");
    let reasons: Vec<&str> = imported.left_out.iter().map(|left| &*left.reason).collect();
    assert!(
        reasons.contains(&"ICMPv6 does not run over IPv4"),
        "{reasons:?}"
    );
}

/// An empty text had its error in column 0.
#[test]
fn found_an_import_of_nothing() {
    holds("import_nft", "");
}
