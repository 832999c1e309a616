//! Every policy in `rules/` reads without an error or a warning, and means what its comments say.

use firewall_common::verdict::Verdict;
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
