//! Rules of other firewalls, carried over: every set of rules in `tests/data` against its
//! golden policy, which must be valid.

use firewall_import::{self as import, Imported, Language, Options};
use firewall_policy::compile::compile;
use firewall_policy::lint::lint;
use firewall_policy::source::{NoFiles, read_policy};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn folder(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(kind)
}

/// The files of a kind with one of these ends, without their ends.
fn names(kind: &str, ends: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder(kind))
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").file_name())
        .filter_map(|name| {
            let name = name.into_string().ok()?;
            let (stem, end) = name.rsplit_once('.')?;
            ends.contains(&end).then(|| stem.to_owned())
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

fn text(kind: &str, name: &str) -> Option<String> {
    std::fs::read_to_string(folder(kind).join(name)).ok()
}

/// Options as a file beside the rules says them: words of the command line.
fn options(kind: &str, name: &str) -> Options {
    let mut options = Options {
        language: Language { state: true },
        ipset: text(kind, &format!("{name}.ipset")),
        ..Options::default()
    };
    let words = text(kind, &format!("{name}.options")).unwrap_or_default();
    let words: Vec<&str> = words.split_whitespace().collect();
    for pair in words.chunks(2) {
        match pair {
            ["-i", interface] => options.interface = Some((*interface).to_owned()),
            ["--local", address] => options.local.push((*address).to_owned()),
            other => panic!("{name}.options: {other:?}"),
        }
    }
    options
}

/// The policy, and what was left out.
fn golden(imported: &Imported) -> String {
    let mut out = imported.yaml.clone();
    writeln!(out, "=== left out: {}", imported.left_out.len()).expect("a string");
    for left in &imported.left_out {
        writeln!(
            out,
            "{} [{:?}]\n    {}\n    {}",
            left.place, left.effect, left.text, left.reason
        )
        .expect("a string");
    }
    out
}

/// Findings of lint that an import makes itself: rules that do nothing.
fn idle(name: &str, yaml: &str) -> Vec<String> {
    let policy = read_policy(name, yaml, &NoFiles)
        .expect("read before")
        .policy;
    let slots: Vec<u32> = (0..policy.counters().len() as u32).collect();
    let tables = compile(&policy, &slots).expect("within the limits");
    let found = lint(name, yaml, &policy, &tables).findings;
    let codes = ["FW0210", "FW0211", "FW0212", "FW0213", "FW0214"];
    let idle = found
        .list
        .iter()
        .filter(|found| codes.contains(&found.code));
    idle.map(|found| format!("{}: {}", found.code, found.message))
        .collect()
}

/// Valid, its own canonical form, and without rules that do nothing.
fn check(name: &str, imported: &Imported) {
    let canonical = firewall_policy::fmt::canonical(name, &imported.yaml).expect("YAML");
    assert_eq!(canonical, imported.yaml, "{name} is not in canonical form");
    let readable = Language::default().state || !imported.yaml.contains("state:");
    if let Err(faults) = read_policy(name, &imported.yaml, &NoFiles)
        && readable
    {
        panic!("{name}: {}\n{}", faults.render(false), imported.yaml);
    }
    if readable {
        let idle = idle(name, &imported.yaml);
        assert!(idle.is_empty(), "{name}: {idle:#?}\n{}", imported.yaml);
    }
}

#[test]
fn iptables_rules_become_policies() {
    let names = names("iptables", &["v4", "v6"]);
    assert!(names.len() >= 10, "{names:?}");
    for name in names {
        let (v4, v6) = (
            text("iptables", &format!("{name}.v4")),
            text("iptables", &format!("{name}.v6")),
        );
        let mut options = options("iptables", &name);
        let imported = import::iptables(v4.as_deref(), v6.as_deref(), &options);
        let imported = imported.unwrap_or_else(|error| panic!("{name}: {error}"));
        check(&name, &imported);
        insta::assert_snapshot!(format!("iptables_{name}"), golden(&imported));
        // As this version of the language would have it.
        options.language = Language::default();
        let now = import::iptables(v4.as_deref(), v6.as_deref(), &options).expect("read before");
        check(&name, &now);
    }
}

#[test]
fn nft_rulesets_become_policies() {
    let names = names("nft", &["json"]);
    assert!(names.len() >= 10, "{names:?}");
    for name in names {
        let json = text("nft", &format!("{name}.json")).expect("found before");
        let mut options = options("nft", &name);
        let imported = import::nft(&json, &options);
        let imported = imported.unwrap_or_else(|error| panic!("{name}: {error}"));
        check(&name, &imported);
        insta::assert_snapshot!(format!("nft_{name}"), golden(&imported));
        options.language = Language::default();
        check(&name, &import::nft(&json, &options).expect("read before"));
    }
}

#[test]
fn ufw_rules_become_policies() {
    let names = names("ufw", &["rules"]);
    assert!(names.len() >= 10, "{names:?}");
    for name in names {
        let file = |end: &str| text("ufw", &format!("{name}.{end}"));
        let rules = file("rules").expect("found before");
        let mut options = options("ufw", &name);
        let imported = import::ufw(&rules, file("rules6").as_deref(), &options);
        let imported = imported.unwrap_or_else(|error| panic!("{name}: {error}"));
        check(&name, &imported);
        insta::assert_snapshot!(format!("ufw_{name}"), golden(&imported));
        options.language = Language::default();
        let policy = |text: &str, v6: Option<&str>| {
            let imported = import::ufw(text, v6, &options).expect("rules of ufw");
            let read = read_policy(&name, &imported.yaml, &NoFiles);
            read.unwrap_or_else(|faults| panic!("{}\n{}", faults.render(false), imported.yaml))
                .policy
        };
        // The three kinds of text say the same.
        let first = policy(&rules, file("rules6").as_deref());
        for end in ["added", "status"] {
            if let Some(text) = file(end) {
                let difference = firewall_policy::diff::diff(&first, &policy(&text, None));
                assert!(difference.is_empty(), "{name}.{end}: {difference:?}");
            }
        }
    }
}

/// The examples of docs/migrating.md: rules in a block `text iptables` (or nft, ufw), and the policy
/// in the next block. `FIREWALL_WRITE_DOCS=1` writes the policies anew.
#[test]
fn the_examples_of_the_documentation_are_what_comes_out() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/migrating.md");
    let document = std::fs::read_to_string(&path).expect("docs/migrating.md is readable");
    let mut written = String::new();
    let mut parts = document.split("```text ");
    written.push_str(parts.next().unwrap_or_default());
    let mut count = 0;
    for part in parts {
        let (kind, rest) = part.split_once('\n').expect("the kind of rules");
        let (rules, rest) = rest.split_once("```\n").expect("the end of the rules");
        let (between, rest) = rest.split_once("```yaml\n").expect("a policy");
        let (_, rest) = rest.split_once("```").expect("the end of the policy");
        let options = Options {
            language: Language { state: true },
            ..Options::default()
        };
        let imported = match kind {
            "iptables" => import::iptables(Some(rules), None, &options),
            "nft" => import::nft(rules, &options),
            "ufw" => import::ufw(rules, None, &options),
            other => panic!("{other}"),
        };
        let imported = imported.unwrap_or_else(|error| panic!("{kind}: {error}"));
        check(kind, &imported);
        write!(
            written,
            "```text {kind}\n{rules}```\n{between}```yaml\n{}```{rest}",
            imported.yaml
        )
        .expect("a string");
        count += 1;
    }
    assert_eq!(count, 3);
    if std::env::var_os("FIREWALL_WRITE_DOCS").is_some() {
        std::fs::write(&path, &written).expect("docs/migrating.md is writable");
    } else {
        assert!(
            written == document,
            "docs/migrating.md is old: run this test with FIREWALL_WRITE_DOCS=1"
        );
    }
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
fn random(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as usize >> 8
}

/// A text with some of it gone, doubled, or replaced by what is likely to be misread.
fn broken(text: &str, state: &mut u64) -> String {
    const ODD: [&str; 12] = [
        "!",
        "-",
        "\"",
        "999999999999999999999999999999999999999",
        "/",
        ":",
        ",",
        "0",
        "{",
        "]",
        "@",
        "\u{e9}",
    ];
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=random(state) % 3 {
        let at = random(state) % chars.len().max(1);
        let end = (at + random(state) % 12).min(chars.len());
        let cut: Vec<char> = chars[at.min(end)..end].to_vec();
        match random(state) % 3 {
            0 => drop(chars.drain(at.min(end)..end)),
            1 => drop(chars.splice(end..end, cut)),
            _ => {
                let odd = ODD[random(state) % ODD.len()];
                drop(chars.splice(at.min(end)..end, odd.chars()));
            }
        }
    }
    chars.into_iter().collect()
}

/// Neither panics nor hands out what is no policy. `FIREWALL_CASES` says how many texts are made of
/// each file.
#[test]
fn broken_rules_are_errors_or_policies() {
    let cases = std::env::var("FIREWALL_CASES").ok();
    let cases = cases.and_then(|cases| cases.parse().ok()).unwrap_or(40);
    let mut state = 0x5eed;
    let (mut policies, mut errors) = (0, 0);
    for (kind, end) in [
        ("iptables", "v4"),
        ("iptables", "v6"),
        ("nft", "json"),
        ("ufw", "rules"),
        ("ufw", "added"),
    ] {
        for name in names(kind, &[end]) {
            let sound = text(kind, &format!("{name}.{end}")).expect("found before");
            for _ in 0..cases {
                let rules = broken(&sound, &mut state);
                let options = Options::default();
                let imported = match (kind, end) {
                    (_, "v4") => import::iptables(Some(&rules), None, &options),
                    (_, "v6") => import::iptables(None, Some(&rules), &options),
                    ("nft", _) => import::nft(&rules, &options),
                    _ => import::ufw(&rules, None, &options),
                };
                match imported {
                    Ok(imported) => {
                        policies += 1;
                        if let Err(faults) = read_policy(&name, &imported.yaml, &NoFiles) {
                            panic!("{}\n{rules}\n{}", faults.render(false), imported.yaml);
                        }
                    }
                    Err(error) => {
                        errors += 1;
                        assert!(
                            !error.message.is_empty() && !error.help.is_empty(),
                            "{error:?}"
                        );
                    }
                }
            }
        }
    }
    assert!(
        policies > 100 && errors > 100,
        "{policies} policies, {errors} errors"
    );
}
