//! `cargo xtask fmt` and `cargo xtask lint`.

use crate::setup::Compiler;
use crate::{commits, layers, process, workspace::Workspace};
use anyhow::{Result, bail};
use std::process::{Command, ExitCode};

/// Formats the workspace, and `firewall-ebpf` and `fuzz`, which are no members of it.
pub(crate) fn format(workspace: &Workspace) -> Result<ExitCode> {
    for mut command in formatters(workspace) {
        process::run(&mut command)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs every check, and reports all that failed.
pub(crate) fn command(workspace: &Workspace) -> Result<ExitCode> {
    let mut failures = Vec::new();
    for mut command in formatters(workspace) {
        if process::run(command.arg("--check")).is_err() {
            failures.push("formatting: run `cargo xtask fmt`".to_owned());
        }
    }
    let mut clippy = cargo(workspace);
    clippy.args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]);
    if process::run(&mut clippy).is_err() {
        failures.push("clippy: see above".to_owned());
    }
    if let Some(mut clippy) = kernel_clippy(workspace)? {
        if process::run(&mut clippy).is_err() {
            failures.push("clippy of the kernel program: see above".to_owned());
        }
    } else {
        println!(
            "the eBPF compiler has no clippy: the kernel program is not checked (cargo xtask setup \
             --all)"
        );
    }
    let found = layers::check(workspace)?;
    found.show();
    if !found.offences.is_empty() {
        let count = found.offences.len();
        failures.push(format!("borders and sizes: {count} offences above"));
    }
    failures.extend(commits::check(workspace));
    if process::ask(cargo(workspace).args(["deny", "--version"])).is_some() {
        if process::run(cargo(workspace).args(["deny", "check", "bans", "licenses", "sources"]))
            .is_err()
        {
            failures.push("dependencies: see above".to_owned());
        }
    } else {
        println!(
            "cargo-deny is not installed: dependencies are not checked (cargo xtask setup --all)"
        );
    }
    if !failures.is_empty() {
        bail!("lint found\n  {}", failures.join("\n  "));
    }
    println!("lint: nothing to complain about");
    Ok(ExitCode::SUCCESS)
}

/// Clippy for `firewall-ebpf`, which only the compiler for the BPF target can check.
fn kernel_clippy(workspace: &Workspace) -> Result<Option<Command>> {
    let Some(compiler) = Compiler::find()? else {
        return Ok(None);
    };
    let Some(mut clippy) = compiler.clippy() else {
        return Ok(None);
    };
    clippy
        .current_dir(workspace.root.join("firewall-ebpf"))
        .args(["--release", "--locked", "-Z", "build-std=core"])
        .args(["--target", "bpfel-unknown-none", "--target-dir"])
        .arg(workspace.target.join("bpf/clippy"))
        .args(["--", "-D", "warnings"]);
    Ok(Some(clippy))
}

fn formatters(workspace: &Workspace) -> Vec<Command> {
    let mut all = cargo(workspace);
    all.args(["fmt", "--all"]);
    let mut commands = vec![all];
    for alone in ["firewall-ebpf", "fuzz"] {
        let folder = workspace.root.join(alone);
        if folder.join("Cargo.toml").exists() {
            let mut command = process::host_cargo();
            command.current_dir(folder).arg("fmt");
            commands.push(command);
        }
    }
    commands
}

fn cargo(workspace: &Workspace) -> Command {
    let mut command = process::host_cargo();
    command.current_dir(&workspace.root);
    command
}
