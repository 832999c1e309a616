//! Running other programs: echoed, checked, as root where root is needed.
//!
//! Invariant: a command that changes the machine is printed before it runs.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The first `name` on PATH, or in the system folders that a user's PATH may lack.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// A command that runs as root: itself if this process is root, through sudo if not.
pub(crate) fn as_root(program: impl AsRef<Path>) -> Command {
    let program = program.as_ref();
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    command
}

/// The command as a user would type it.
pub(crate) fn display(command: &Command) -> String {
    let mut words = vec![quote(&command.get_program().to_string_lossy())];
    words.extend(
        command
            .get_args()
            .map(|word| quote(&word.to_string_lossy())),
    );
    words.join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Prints the command, runs it with our terminal, and fails if it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    println!("+ {}", display(command));
    run_quietly(command)
}

/// Runs the command with our terminal, and fails if it fails.
pub(crate) fn run_quietly(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start `{}`", display(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", display(command));
    }
    Ok(())
}

/// What the command prints, or `None` if it cannot be started or fails. For questions only.
pub(crate) fn ask(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What the command prints; an error carries what it complained about.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", display(command)))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` failed ({}): {}",
            display(command),
            output.status,
            complaint.trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The cargo that runs us, for builds of the host's programs.
pub(crate) fn host_cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // What cargo says about xtask is not about the package that is built next.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"]
            .iter()
            .any(|p| text.starts_with(p))
        {
            command.env_remove(&name);
        }
    }
    command
}

/// Takes from `command`'s environment all that selects a compiler, its flags or its libraries, so
/// that another toolchain than the outer cargo's can be called. Network and registry settings stay.
pub(crate) fn forget_outer_cargo(command: &mut Command) {
    const KEPT: [&str; 6] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
        "CARGO_TERM_",
    ];
    const FORGOTTEN: [&str; 5] = ["CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS", "RUSTUP_TOOLCHAIN"];
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let outer = FORGOTTEN.iter().any(|p| text.starts_with(p)) || text == "LD_LIBRARY_PATH";
        if outer && !KEPT.iter().any(|p| text.starts_with(p)) {
            command.env_remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_print_as_typed() {
        let mut command = Command::new("echo");
        command.args(["plain-word", "two words", "it's", ""]);
        assert_eq!(
            display(&command),
            r"echo plain-word 'two words' 'it'\''s' ''"
        );
    }

    #[test]
    fn an_answer_needs_a_success() {
        assert_eq!(
            ask(Command::new("echo").arg("yes")).as_deref(),
            Some("yes\n")
        );
        assert_eq!(ask(&mut Command::new("false")), None);
        assert_eq!(ask(&mut Command::new("/nonexistent/program")), None);
    }
}
