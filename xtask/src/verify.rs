//! `cargo xtask verify`: what the kernel's verifier needs for every feature, held against
//! docs/verifier.md.

use crate::setup::{self, Need};
use crate::{build, process, workspace::Workspace};
use anyhow::{Context, Result};
use std::process::ExitCode;

/// Arguments of `cargo xtask verify`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write the numbers of this kernel into docs/verifier.md
    #[arg(long)]
    write: bool,
}

/// Builds and runs the program that measures; its exit code is ours.
pub(crate) fn command(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    const PROGRAM: &str = "verifier_table";
    let tools = setup::ensure(workspace, Need::Kernel)?;
    build::object(workspace, &tools)?;
    let mut cargo = process::host_cargo();
    cargo.current_dir(&workspace.root);
    process::run(cargo.args(["build", "--package", "firewall-tests", "--example", PROGRAM]))?;
    let mut program = process::as_root(workspace.programs(false).join("examples").join(PROGRAM));
    if args.write {
        program.arg("--write");
    }
    println!("+ {}", process::display(&program));
    let status = program.status().context("cannot start the program")?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}
