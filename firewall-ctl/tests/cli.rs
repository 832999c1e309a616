//! The command line from outside, as far as it goes without root: every help screen, and every
//! error that needs no kernel, with its exit code.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by panicking"
)]

#[path = "cli/directories.rs"]
mod directories;
#[path = "cli/tools.rs"]
mod tools;
#[path = "cli/words.rs"]
mod words;

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A folder of its own, removed at the end, also of a failed test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("fwt-cli-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.0.join(name), content).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program in `folder`, with an environment that says nothing, and sockets and pins that do not
/// exist.
fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firewall-ctl"));
    command
        .env_clear()
        .env("FIREWALL_SOCKET", folder.join("none.sock"))
        .env("FIREWALL_ROOT", folder.join("none"))
        .current_dir(folder)
        .stdin(Stdio::null());
    command
}

/// Everything that a command did, with the folder's name taken out.
fn transcript(folder: &Path, args: &[&str]) -> String {
    let output = program(folder).args(args).output().unwrap();
    let clean = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes).replace(&folder.display().to_string(), "FOLDER")
    };
    let mut text = format!("$ firewall-ctl {}\n", args.join(" "));
    text.push_str(&clean(&output.stdout));
    let errors = clean(&output.stderr);
    if !errors.is_empty() {
        text.push_str(&format!("--- stderr\n{errors}"));
    }
    text.push_str(&format!("--- exit {}\n", output.status.code().unwrap()));
    text
}

const GOOD: &str = "version: 1\ndefault: {in: drop}\nrules: []\n";

/// The verbs as `--help` lists them.
fn verbs() -> Vec<String> {
    let output = program(Path::new("/")).arg("--help").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, list) = text.split_once("\nCommands:\n").unwrap();
    let (list, _) = list.split_once("\n\n").unwrap();
    // A line that goes on is indented further.
    let verb = |line: &str| {
        line.strip_prefix("  ")?
            .split(' ')
            .next()
            .map(str::to_owned)
    };
    let verbs: Vec<String> = list.lines().filter_map(verb).collect();
    verbs.into_iter().filter(|verb| !verb.is_empty()).collect()
}

#[test]
fn every_help_screen() {
    let folder = Folder::new("help");
    insta::assert_snapshot!("help", transcript(&folder.0, &["--help"]));
    insta::assert_snapshot!("help_short", transcript(&folder.0, &["-h"]));
    for verb in &verbs() {
        let long = transcript(&folder.0, &[verb.as_str(), "--help"]);
        let (_, end) = long.split_once("\nExamples:\n").expect("examples");
        let (examples, codes) = end.split_once("\nExit codes:\n").expect("exit codes");
        assert_eq!(examples.lines().count(), 3, "{long}");
        assert!(codes.lines().count() > 2, "{long}");
        insta::assert_snapshot!(format!("help_{verb}"), long);
        let short = transcript(&folder.0, &[verb.as_str(), "-h"]);
        insta::assert_snapshot!(format!("help_short_{verb}"), short);
    }
}

#[test]
fn wrong_use_is_exit_2() {
    let folder = Folder::new("usage");
    let mut screens = String::new();
    for args in [
        &["frobnicate"][..],
        &["get", "pods"],
        &["stats", "-i", "50ms"],
        &["stats", "-n", "0"],
        &["unload"],
        &["unload", "--all", "-i", "eth0"],
        &["apply"],
        &["load", "-i", "eth0", "-f", "x.yaml", "--mode", "turbo"],
        &["status", "-o", "xml"],
        &["daemon", "-f", "-"],
        &["flows", "--bogus"],
        &["flows", "--prot", "tcp"],
        &["flows", "--port", "htps"],
        &["describe", "zone", "wan"],
    ] {
        let text = transcript(&folder.0, args);
        assert!(text.ends_with("--- exit 2\n"), "{text}");
        screens.push_str(&text);
    }
    assert!(transcript(&folder.0, &[]).ends_with("--- exit 2\n"));
    insta::assert_snapshot!(screens);
}

#[test]
fn policy_files_that_cannot_be_read_are_exit_3() {
    let folder = Folder::new("files");
    folder.write("empty.yaml", "");
    folder.write("blank.yaml", "\n  \n");
    folder.write("latin1.yaml", b"version: 1\n# caf\xe9\n");
    folder.write("utf16.yaml", b"\xff\xfev\0e\0r\0");
    std::fs::create_dir(folder.0.join("rules.d")).unwrap();
    // A file with a hole: 100 MB by its size, nothing on the disk.
    let large = std::fs::File::create(folder.0.join("large.yaml")).unwrap();
    large.set_len(100_000_000).unwrap();
    let mut screens = String::new();
    for name in [
        "missing.yaml",
        "empty.yaml",
        "blank.yaml",
        "latin1.yaml",
        "utf16.yaml",
        "rules.d",
        "large.yaml",
    ] {
        let text = transcript(&folder.0, &["check", name]);
        assert!(text.ends_with("--- exit 3\n"), "{text}");
        screens.push_str(&text);
    }
    for verb in [
        &["apply", "-f", "large.yaml"][..],
        &["load", "-i", "lo", "-f", "large.yaml"],
    ] {
        let text = transcript(&folder.0, verb);
        assert!(text.ends_with("--- exit 3\n"), "{text}");
    }
    insta::assert_snapshot!(screens);
}

#[test]
fn a_broken_policy_is_shown_with_carets_and_is_exit_3() {
    let folder = Folder::new("policy");
    folder.write(
        "broken.yaml",
        "version: 1\ndefault: {in: drop}\nrules:\n  - {name: web, proto: tcp, port: 70000, action: dorp}\n",
    );
    folder.write("good.yaml", GOOD);
    insta::assert_snapshot!(
        "broken_policy",
        transcript(&folder.0, &["check", "broken.yaml"])
    );
    insta::assert_snapshot!(
        "broken_policy_json",
        transcript(
            &folder.0,
            &["check", "-o", "json", "good.yaml", "broken.yaml"]
        )
    );
    let both = transcript(&folder.0, &["check", "broken.yaml", "good.yaml"]);
    assert!(both.contains("good.yaml: valid, 0 rules"), "{both}");
    assert!(both.ends_with("--- exit 3\n"), "{both}");
}

#[test]
fn check_reads_the_standard_input() {
    let folder = Folder::new("stdin");
    let mut child = program(&folder.0)
        .args(["check", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(GOOD.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("-: valid, 0 rules"));
}

#[test]
fn load_beside_a_daemon_is_exit_7() {
    let folder = Folder::new("loadbeside");
    folder.write("p.yaml", GOOD);
    let _daemon = UnixListener::bind(folder.0.join("none.sock")).unwrap();
    insta::assert_snapshot!(transcript(&folder.0, &["load", "-i", "lo", "-f", "p.yaml"]));
}

#[test]
fn without_a_daemon_is_exit_5() {
    let folder = Folder::new("nodaemon");
    folder.write("good.yaml", GOOD);
    // A socket whose daemon died counts as no daemon.
    drop(UnixListener::bind(folder.0.join("dead.sock")).unwrap());
    let mut screens = String::new();
    for args in [
        &["apply", "-f", "good.yaml"][..],
        &["reload"],
        &["reload", "-o", "json"],
        &["--socket", "dead.sock", "reload"],
        &["apply", "-f", "good.yaml", "--confirm"],
        &["confirm"],
        &["cancel"],
        &["rollback"],
    ] {
        let text = transcript(&folder.0, args);
        assert!(text.ends_with("--- exit 5\n"), "{text}");
        screens.push_str(&text);
    }
    insta::assert_snapshot!(screens);
}

#[test]
fn explanations_and_versions() {
    let folder = Folder::new("explain");
    let mut screens = String::new();
    for args in [
        &["explain", "frag-tiny"][..],
        &["explain", "FRAG_TINY", "-o", "json"],
        &["explain", "FW0101"],
        &["explain", "frag-tony"],
        &["explain", "FW0811"],
        &["explain", "ssh-admins"],
        &["version"],
        &["version", "-o", "yaml"],
    ] {
        screens.push_str(&transcript(&folder.0, args));
    }
    insta::assert_snapshot!(screens);
}

#[test]
fn completions_name_every_verb() {
    let folder = Folder::new("completions");
    for shell in ["bash", "zsh", "fish"] {
        let script = transcript(&folder.0, &["completions", shell]);
        for verb in verbs() {
            assert!(script.contains(&verb), "{shell}: {verb}");
        }
    }
}

#[test]
fn a_closed_pipe_is_success() {
    let folder = Folder::new("pipe");
    for args in [&["completions", "bash"][..], &["--help"], &["version"]] {
        let mut child = program(&folder.0)
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*errors), (Some(0), ""), "{args:?}");
    }
}
