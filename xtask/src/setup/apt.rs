//! Debian packages: what is installed, what could be, and installing it.
//!
//! Invariant: nothing that is installed is ever removed to make place.

use crate::process;
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

/// Whether this machine installs packages by apt.
pub(crate) fn is_present() -> bool {
    Path::new("/usr/bin/apt-get").exists()
}

/// The installed version of a package.
pub(super) fn installed(package: &str) -> Option<String> {
    let format = "-f=${db:Status-Status} ${Version}";
    let answer = process::ask(Command::new("dpkg-query").args(["-W", format, package]))?;
    answer
        .strip_prefix("installed ")
        .map(|version| version.trim().to_owned())
}

/// The version that apt would install, by the lists as they are now.
pub(super) fn candidate(package: &str) -> Option<String> {
    let answer = process::ask(Command::new("apt-cache").args(["policy", package]))?;
    let line = answer
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (line != "(none)").then(|| line.to_owned())
}

/// Installs packages, reading the package lists anew if apt cannot do it with those it has.
pub(super) fn install(packages: &[String]) -> Result<()> {
    if let Err(old_lists) = simulate(packages) {
        println!("apt's lists do not serve ({old_lists:#}): reading them anew");
        process::run(apt_get().args(["update", "--quiet"]))?;
        simulate(packages)?;
    }
    process::run(
        apt_get()
            .args(["install", "--yes", "--quiet", "--no-install-recommends"])
            .args(packages),
    )
}

/// Asks apt what it would do; an error if it cannot, or if it would remove something.
fn simulate(packages: &[String]) -> Result<()> {
    let plan = process::capture(
        Command::new("apt-get")
            .args(["install", "--simulate", "--no-install-recommends"])
            .args(packages),
    )?;
    let removed = removals(&plan);
    if !removed.is_empty() {
        bail!(refusal(packages, &removed));
    }
    Ok(())
}

/// What is said where an installation would cost installed packages.
fn refusal(packages: &[String], removed: &[&str]) -> String {
    let other_compiler = if packages.iter().any(|package| package.starts_with("rustc")) {
        ", or install a rustup nightly with rust-src instead"
    } else {
        ""
    };
    format!(
        "installing {} would remove {}: remove them yourself first if you agree{other_compiler}",
        packages.join(" "),
        removed.join(" ")
    )
}

/// Packages in the `Remv` lines of a simulation.
fn removals(plan: &str) -> Vec<&str> {
    plan.lines()
        .filter_map(|line| line.strip_prefix("Remv "))
        .filter_map(|rest| rest.split(' ').next())
        .collect()
}

fn apt_get() -> Command {
    // Through env, because sudo does not hand the environment on.
    let mut command = process::as_root("env");
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removals_are_seen() {
        let plan = "Inst a (1 Debian)\nRemv rustc [1.63]\nRemv cargo [0.66]\nConf a (1 Debian)\n";
        assert_eq!(removals(plan), ["rustc", "cargo"]);
        assert!(removals("Inst a\nConf a\n").is_empty());
    }

    #[test]
    fn another_compiler_is_named_only_where_it_helps() {
        let compiler = refusal(&["rustc-web".to_owned()], &["rustc"]);
        assert!(compiler.contains("would remove rustc"), "{compiler}");
        assert!(compiler.contains("rustup nightly"), "{compiler}");
        let qemu = refusal(&["qemu-system-x86".to_owned()], &["qemu-utils"]);
        assert!(!qemu.contains("rustup"), "{qemu}");
    }
}
