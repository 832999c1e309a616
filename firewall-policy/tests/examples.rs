//! Every policy in `rules/` reads without an error or a warning, and means what its comments say.

use firewall_common::verdict::Verdict;
use firewall_policy::compile::compile;
use firewall_policy::policy_tests;
use firewall_policy::rule::Policy;
use firewall_policy::source::{Files, read_policy};
use std::path::{Path, PathBuf};

struct Folder(PathBuf);

impl Files for Folder {
    fn open(&self, path: &str) -> std::io::Result<Box<dyn std::io::Read + '_>> {
        Ok(Box::new(std::fs::File::open(self.0.join(path))?))
    }
}

fn rules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules")
}

fn policy(file: &Path) -> Policy {
    let text = std::fs::read_to_string(file).expect("the file is readable");
    let name = file
        .file_name()
        .expect("a file")
        .to_string_lossy()
        .into_owned();
    match read_policy(&name, &text, &Folder(rules())) {
        Ok(read) => {
            assert!(read.warnings.is_empty(), "{}", read.warnings.render(false));
            read.policy
        }
        Err(errors) => panic!("{}", errors.render(false)),
    }
}

#[test]
fn every_example_reads_without_error_or_warning() {
    let mut count = 0;
    for entry in std::fs::read_dir(rules()).expect("the folder is there") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|e| e == "yaml") {
            assert!(
                !policy(&path).rules.is_empty(),
                "{} has rules",
                path.display()
            );
            count += 1;
        }
    }
    assert!(count >= 4, "four examples are promised, {count} are there");
}

/// What `check` finds in a text: errors, failing tests, warnings.
fn findings(text: &str) -> String {
    let read = match read_policy("firewall.yaml", text, &Folder(rules())) {
        Ok(read) => read,
        Err(errors) => return errors.render(false),
    };
    let slots: Vec<u32> = (0..read.policy.counters().len() as u32).collect();
    let tables = compile(&read.policy, &slots).expect("examples are small");
    let failing = policy_tests::failing(&read.tests, &read.policy, &tables);
    if failing.is_empty() {
        return read.warnings.render(false);
    }
    policy_tests::findings("firewall.yaml", text, &read.policy, &tables, &failing).render(false)
}

/// The first edit of whoever follows the README: other addresses in the sets. No test of the examples
/// may depend on who is in a set.
#[test]
fn sets_of_examples_take_any_addresses() {
    let own = [
        "198.19.N.0/24",
        "198.19.N.7",
        "\"2001:db8:7N::/48\"",
        "198.19.N.7, \"2001:db8:7N::7\"",
    ];
    for name in ["web-server.yaml", "router-bastion.yaml", "workstation.yaml"] {
        let text = std::fs::read_to_string(rules().join(name)).expect("the file is readable");
        assert_eq!(findings(&text), "", "{name} as it is shipped");
        for own in own {
            // Lists in brackets, and lists of lines.
            let mut edited = String::new();
            let (mut in_list, mut count) = (false, 0);
            for line in text.lines() {
                let list = line.strip_prefix("    elements:");
                in_list = match list {
                    None => in_list && line.starts_with("      - "),
                    Some(_) => {
                        count += 1;
                        let own = own.replace('N', &count.to_string());
                        edited.push_str(&format!("    elements: [{own}]\n"));
                        true
                    }
                };
                if !in_list {
                    edited.push_str(&format!("{line}\n"));
                }
            }
            assert!(count > 0, "{name} has sets");
            let found = findings(&edited);
            assert!(
                !found.contains("error") && (own.starts_with('1') == found.is_empty()),
                "{name} with {own}:\n{found}"
            );
        }
    }
}

#[test]
fn a_test_by_address_says_which_line_to_change() {
    let text = std::fs::read_to_string(rules().join("web-server.yaml"))
        .expect("the file is readable")
        .replace("tcp @admins", "tcp 203.0.113.9")
        .replace("- 203.0.113.0/24", "- 198.19.7.7");
    insta::assert_snapshot!(findings(&text));
}

#[test]
fn summaries_read_like_the_policy() {
    let policy = policy(&rules().join("web-server.yaml"));
    assert_eq!(policy.default_verdict, Verdict::DROP);
    let lines: Vec<String> = policy
        .rules
        .iter()
        .map(|rule| format!("{} {}: {}", rule.name, rule.action, rule.summary))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}
