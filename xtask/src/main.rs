//! Set-up, builds, demo and tests of this workspace: `cargo xtask COMMAND`.
//!
//! One file per command. Nothing here is imported by the other crates, and nothing of theirs is
//! imported here: xtask must compile before anything else does.

#![forbid(unsafe_code)]

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

mod bench;
mod build;
mod commits;
mod demo;
#[cfg(test)]
mod docs;
mod fuzz;
mod layers;
mod lint;
mod package;
mod process;
mod run;
mod setup;
mod test;
mod verify;
mod vm;
mod workspace;

/// Set-up, builds, demo and tests of the firewall.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Find or install what building and testing need, and say what was found and chosen
    Setup(setup::Args),
    /// Build the eBPF object and the host programs with the object inside
    Build(build::Args),
    /// Build, then run the daemon: cargo xtask run -- -i eth0 -f rules/web-server.yaml
    Run(run::Args),
    /// Filter real traffic between two network namespaces, and check every count
    Demo(demo::Args),
    /// Run every test, also those that need root and the kernel
    Test(test::Args),
    /// What the kernel's verifier needs for every feature, held against docs/verifier.md
    Verify(verify::Args),
    /// Measure the firewall against its bars and against other packet filters
    Bench(bench::Args),
    /// Feed the readers of policies, packets, lists and foreign rules with mutated text
    Fuzz(fuzz::Args),
    /// Run the kernel tests on other kernels, in virtual machines
    Vm(vm::Args),
    /// Build the Debian package; with `--check` and `--life`, try it
    Package(package::Args),
    /// Format all crates
    Fmt,
    /// What every crate and module imports, against the order of its floors
    Layers(layers::Args),
    /// Formatting, clippy, borders, sizes, subjects of commits, licences and sources of dependencies
    Lint,
}

fn main() -> ExitCode {
    match dispatch(Args::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    let workspace = workspace::Workspace::find()?;
    match command {
        Command::Setup(args) => setup::command(&workspace, &args),
        Command::Build(args) => build::command(&workspace, &args),
        Command::Run(args) => run::command(&workspace, &args),
        Command::Demo(args) => demo::command(&workspace, &args),
        Command::Test(args) => test::command(&workspace, &args),
        Command::Verify(args) => verify::command(&workspace, &args),
        Command::Bench(args) => bench::command(&workspace, &args),
        Command::Fuzz(args) => fuzz::command(&workspace, &args),
        Command::Vm(args) => vm::command(&workspace, &args),
        Command::Package(args) => package::command(&workspace, &args),
        Command::Fmt => lint::format(&workspace),
        Command::Layers(args) => layers::command(&workspace, &args),
        Command::Lint => lint::command(&workspace),
    }
}
