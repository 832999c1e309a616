//! The documentation, checked against the command line: every `firewall-ctl` command in a shell
//! block of README.md, the other top-level documents and docs/ is one that the program takes, and
//! the README's tables of verbs and exit codes are complete.

use firewall_api::failure::Exit;
use firewall_ctl::cli;
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
/// behind a path or `sudo`) to the end of the simple command. What stands in quotes is one word.
fn calls(line: &str) -> Vec<Vec<String>> {
    let line = line.split(" #").next().unwrap_or_default();
    simple_commands(line)
        .into_iter()
        .filter_map(|words| {
            let name = words
                .iter()
                .position(|word| word == "firewall-ctl" || word.ends_with("/firewall-ctl"))?;
            // Copying the program is not calling it.
            (!words[..name].iter().any(|word| word == "install")).then(|| words[name..].to_vec())
        })
        .collect()
}

/// The simple commands of a line, each as its words.
fn simple_commands(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let (mut word, mut quote) = (None::<String>, None);
    for c in line.chars().chain([' ']) {
        let command = commands.last_mut().expect("there is one");
        match (quote, c) {
            (Some(end), _) if c == end => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ';' | '|' | '&' | '(' | ')' | '>') => {
                command.extend(word.take());
                commands.push(Vec::new());
            }
            (None, _) if c.is_whitespace() => command.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    commands
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
    let quoted = "firewall-ctl test -f x.yaml 'udp 192.0.2.1 > 192.0.2.2:53'";
    assert_eq!(
        calls(quoted)[0][4],
        "udp 192.0.2.1 > 192.0.2.2:53",
        "a quoted packet is one word"
    );
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
