//! What the fuzz targets have found so far, replayed: no panic, no input that takes long, every
//! error with its place. And the dictionary that the targets start from, against the language.
//!
//! `cargo xtask fuzz` looks for more; see CONTRIBUTING.md.

#[expect(unreachable_pub, reason = "a module of the fuzz targets, too")]
#[path = "../../fuzz/src/properties.rs"]
mod properties;
#[path = "../../fuzz/src/replay.rs"]
mod replay;

use firewall_policy::source::{NoFiles, read_policy};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

#[test]
fn the_corpus_holds_all_properties() {
    replay::replay(&properties::ALL);
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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/policy.dict");
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
