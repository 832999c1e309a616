//! The documentation, checked against the command line: every `firewall-ctl` command in a shell
//! block of README.md, the other top-level documents and docs/ is one that the program takes, and
//! the README's tables of verbs and exit codes are complete.

use firewall_ctl::cli;
use firewall_ctl::failure::Exit;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The Markdown files at the top and in `docs/`.
fn documents() -> Vec<PathBuf> {
    [root(), root().join("docs")]
        .into_iter()
        .flat_map(|folder| std::fs::read_dir(folder).expect("the folder is there"))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect()
}

/// The lines of all shell blocks.
fn shell_lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut block = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), block) {
            (Some(_), Some(_)) => block = None,
            (Some(info), None) => block = Some(info),
            (None, Some("sh")) => lines.push(line),
            _ => {}
        }
    }
    lines
}

/// The words of every `firewall-ctl` call in a line: from the program's name (which may stand
/// behind a path or `sudo`) to the end of the simple command.
fn calls(line: &str) -> Vec<Vec<&str>> {
    let line = line.split(" #").next().unwrap_or_default();
    line.split([';', '|', '&', '(', ')', '>', '\'', '"'])
        .filter_map(|part| {
            let words: Vec<&str> = part.split_whitespace().collect();
            let name = words
                .iter()
                .position(|word| *word == "firewall-ctl" || word.ends_with("/firewall-ctl"))?;
            // Copying the program is not calling it.
            (!words[..name].contains(&"install")).then(|| words[name..].to_vec())
        })
        .collect()
}

#[test]
fn every_command_is_one_that_the_program_takes() {
    let mut count = 0;
    for path in documents() {
        let text = std::fs::read_to_string(&path).expect("the file is readable");
        for line in shell_lines(&text) {
            for call in calls(line) {
                count += 1;
                if let Err(error) = cli::command().try_get_matches_from(&call)
                    && error.use_stderr()
                {
                    panic!("{}: `{line}`\n{error}", path.display());
                }
            }
        }
    }
    assert!(count >= 8, "the documents hold {count} commands only");
}

#[test]
fn calls_are_found_and_wrong_ones_are_refused() {
    let line = "(sleep 60; sudo firewall-ctl unload --all) & target/debug/firewall-ctl top # look";
    assert_eq!(
        calls(line),
        [
            vec!["firewall-ctl", "unload", "--all"],
            vec!["target/debug/firewall-ctl", "top"]
        ]
    );
    assert!(
        cli::command()
            .try_get_matches_from(["firewall-ctl", "load", "--file", "x"])
            .is_ok()
    );
    assert!(
        cli::command()
            .try_get_matches_from(["firewall-ctl", "lod"])
            .is_err()
    );
}

#[test]
fn the_readme_names_every_verb_and_exit_code() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    for verb in cli::command().get_subcommands() {
        let row = format!("| `{}", verb.get_name());
        assert!(readme.contains(&row), "README.md has no row {row}`");
    }
    for exit in Exit::ALL {
        let row = format!("| {} | {} |", exit.code(), exit.text());
        assert!(readme.contains(&row), "README.md has no row {row}");
    }
}
