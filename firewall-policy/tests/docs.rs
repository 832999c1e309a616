//! The documentation, checked against the language: every YAML block in README.md, the other
//! top-level documents and docs/ is read, and the table of reasons is the one of the code.
//!
//! A block is a whole policy or a part of one, as in [`Code::complete`]. What stands behind `yaml`
//! says what it must give: nothing means neither error nor warning, `error=FW0118` that error and no
//! other, `warning=FW0201` that warning and no error.

use firewall_common::reason::{Governs, Reason};
use firewall_policy::compile::compile;
use firewall_policy::diag::{Diagnostics, codes::Code};
use firewall_policy::fields::ROWS;
use firewall_policy::policy_tests;
use firewall_policy::source::{Files, read_policy};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Set files in documents are those of `rules/`.
struct Rules;

impl Files for Rules {
    fn open(&self, path: &str) -> std::io::Result<Box<dyn std::io::Read + '_>> {
        Ok(Box::new(std::fs::File::open(
            root().join("rules").join(path),
        )?))
    }

    /// 2026-01-01.
    fn now(&self) -> u64 {
        1_767_225_600
    }
}

/// Markdown files at the top and in `docs/`: name and text.
fn documents() -> Vec<(String, String)> {
    let mut documents = Vec::new();
    for folder in [root(), root().join("docs")] {
        for entry in std::fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let name = path.file_name().expect("a file").to_string_lossy();
                let text = std::fs::read_to_string(&path).expect("the file is readable");
                documents.push((name.into_owned(), text));
            }
        }
    }
    documents.sort();
    documents
}

/// A fenced block.
struct Block {
    /// File and line of the fence.
    place: String,
    /// What stands behind `yaml`.
    mark: String,
    text: String,
}

/// All YAML blocks of a document.
fn yaml_blocks(name: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else {
            continue;
        };
        let body: Vec<&str> = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| *line != "```")
            .collect();
        if let Some(mark) = info.strip_prefix("yaml") {
            blocks.push(Block {
                place: format!("{name}:{}", number + 1),
                mark: mark.trim().to_owned(),
                text: body.join("\n") + "\n",
            });
        }
    }
    blocks
}

/// Reads a policy and runs its tests: warnings, or errors.
fn checked(name: &str, text: &str) -> Result<Diagnostics, Diagnostics> {
    let read = policy_tests::in_time(name, text, read_policy(name, text, &Rules)?);
    let slots: Vec<u32> = (0..read.policy.counters().len() as u32).collect();
    let tables = compile(&read.policy, &slots).expect("examples are small");
    let failing = policy_tests::failing(&read.tests, &read.policy, &tables);
    if failing.is_empty() {
        return Ok(read.warnings);
    }
    Err(policy_tests::findings(
        name,
        text,
        &read.policy,
        &tables,
        &failing,
    ))
}

#[test]
fn every_yaml_block_gives_what_it_says() {
    let mut count = 0;
    for (name, text) in documents() {
        for block in yaml_blocks(&name, &text) {
            count += 1;
            let Block { place, mark, text } = block;
            let policy = Code::complete(&text);
            let (kind, findings) = match checked(&place, &policy) {
                Ok(warnings) => ("warning", warnings),
                Err(errors) => ("error", errors),
            };
            let found: Vec<String> = findings
                .list
                .iter()
                .map(|finding| format!("{kind}={}", finding.code))
                .collect();
            assert_eq!(
                found.join(" "),
                mark,
                "{place}: findings and mark differ\n{}",
                findings.render(false)
            );
        }
    }
    assert!(count >= 20, "the documents hold {count} YAML blocks only");
}

/// The name of the YAML key that decides, as docs/reasons.md says it.
fn decided_by(reason: Reason) -> &'static str {
    match reason.governed_by() {
        Governs::Rules if reason == Reason::BANNED => "bans",
        Governs::Rules => "`rules`, `default`",
        Governs::Essential => "`default.essential`",
        Governs::Malformed => "`packet.malformed`",
        Governs::Fragments => "`packet.fragments`",
        Governs::IpOptions => "`packet.ip_options`",
        Governs::VlanDepth => "`packet.vlan_depth`",
        Governs::ExtMax => "`packet.ipv6_ext_max`",
        Governs::Nothing => "always dropped",
    }
}

/// Run with `FIREWALL_WRITE_DOCS=1` to write the table anew.
#[test]
fn the_table_of_reasons_is_current() {
    let mut table = String::from("| reason | meaning | decided by |\n|---|---|---|\n");
    for &reason in Reason::ALL {
        let (name, text) = (reason.name(), reason.text());
        table.push_str(&format!("| `{name}` | {text} | {} |\n", decided_by(reason)));
    }
    let begin = "<!-- table of reasons: begin -->\n";
    is_current(
        "docs/reasons.md",
        begin,
        "<!-- table of reasons: end -->\n",
        &table,
    );
}

/// As [`the_table_of_reasons_is_current`]: the rows of the keys by which a rule matches.
#[test]
fn the_table_of_match_fields_is_current() {
    let mut rows = String::new();
    for row in ROWS.iter() {
        if let Some(key) = row.keys.first() {
            rows.push_str(&format!("| `{key}` | {} |\n", row.meaning));
        }
    }
    is_current(
        "docs/policy.md",
        "and go on |\n",
        "| `syn_protect` |",
        &rows,
    );
}

/// Compares what stands between two marks, the first of which and the next one behind it, with what
/// must stand there; or writes that.
fn is_current(name: &str, begin: &str, end: &str, table: &str) {
    let path = root().join(name);
    let text = std::fs::read_to_string(&path).expect("the file is readable");
    let (before, rest) = text.split_once(begin).expect("the table's begin");
    let (written, after) = rest.split_once(end).expect("the table's end");
    if std::env::var_os("FIREWALL_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{begin}{table}{end}{after}")).expect("write");
    } else {
        assert_eq!(
            written, table,
            "{name} is old: run this test with FIREWALL_WRITE_DOCS=1"
        );
    }
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut count = 0;
    for (name, text) in documents() {
        let folder = if root().join(&name).exists() {
            root()
        } else {
            root().join("docs")
        };
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split([')', '#']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            count += 1;
            assert!(
                folder.join(target).exists(),
                "{name}: the link to {target} leads nowhere"
            );
        }
    }
    assert!(count >= 10, "the documents hold {count} links only");
}
