//! Every `cargo xtask` command in a shell block of the documentation is one that this program
//! takes. A test only.

use crate::Args;
use clap::CommandFactory;
use std::path::Path;

/// The arguments of the `cargo xtask` call in a line, if there is one.
fn call(line: &str) -> Option<Vec<&str>> {
    let line = line.split(" #").next().unwrap_or_default();
    let (_, arguments) = line.split_once("cargo xtask")?;
    Some(
        ["xtask"]
            .into_iter()
            .chain(arguments.split_whitespace())
            .collect(),
    )
}

#[test]
fn every_command_in_the_documents_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut count = 0;
    for folder in [root.clone(), root.join("docs")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "md") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let mut in_shell = false;
            for line in text.lines() {
                if let Some(info) = line.strip_prefix("```") {
                    in_shell = info == "sh";
                } else if let Some(call) = call(line).filter(|_| in_shell) {
                    count += 1;
                    if let Err(error) = Args::command().try_get_matches_from(&call) {
                        panic!("{}: `{line}`\n{error}", path.display());
                    }
                }
            }
        }
    }
    assert!(count >= 5, "the documents hold {count} commands only");
}
