//! `cargo xtask package`: what a Debian user installs.
//!
//! ```text
//! build ─► stage (files) ─► cargo-deb ─► check (what it is) ─► life (what it does, in a machine)
//! ```
//!
//! The package is made of a folder in the target folder, `package/stage`, so that nothing is written
//! beside the sources. Invariant: it depends on the sources, the compiler and the commit's time alone; it
//! carries no path of this machine, and two runs give equal bytes.

mod check;
mod files;
mod life;
mod machine;

use crate::setup::{self, Need};
use crate::workspace::Workspace;
use crate::{build, process};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

pub(crate) use life::Steps;

/// Arguments of `cargo xtask package`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Hold the package against lintian, its list of files, and what its units may have
    #[arg(long)]
    check: bool,
    /// Build everything once more in another folder, and compare: takes as long as a first build
    #[arg(long)]
    twice: bool,
    /// Install it on a Debian of its own with systemd, use it, and remove it (root)
    #[arg(long)]
    life: bool,
    /// Put the program without optimisation in it: quick, for work on the package itself. It has names of
    /// this machine's folders in it
    #[arg(long, conflicts_with_all = ["twice", "check"])]
    debug: bool,
    /// Build nothing, and try this package
    #[arg(long, value_name = "FILE", conflicts_with_all = ["twice", "debug"])]
    given: Option<PathBuf>,
}

/// Builds the package, and tries what is asked for.
pub(crate) fn command(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let package = match &args.given {
        Some(given) => given.clone(),
        None => make(workspace, !args.debug)?,
    };
    println!("{}", package.display());
    let mut complaints = Vec::new();
    if args.check {
        complaints.extend(check::all(workspace, &package)?);
        if args.given.is_none() {
            complaints.extend(check::bundled_again(workspace, &package)?);
        }
    }
    if args.twice {
        complaints.extend(check::rebuilt(workspace, &package)?);
    }
    for complaint in &complaints {
        println!("error: {complaint}");
    }
    let mut good = complaints.is_empty();
    if args.life {
        let steps = life::run(workspace, &package)?;
        println!("{} passed, {} failed", steps.passed, steps.failed);
        good &= steps.failed == 0;
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What `cargo xtask test --long package` does: builds it, and tries all but a second build.
pub(crate) fn try_out(workspace: &Workspace) -> Result<Steps> {
    let package = make(workspace, true)?;
    let mut complaints = check::all(workspace, &package)?;
    complaints.extend(check::bundled_again(workspace, &package)?);
    for complaint in &complaints {
        println!("error: {complaint}");
    }
    let mut steps = life::run(workspace, &package)?;
    if complaints.is_empty() {
        steps.passed += 1;
    } else {
        steps.failed += complaints.len() as u64;
    }
    Ok(steps)
}

/// Where all that belongs to the package is made.
fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("package")
}

/// Builds the programs and makes the package of them.
fn make(workspace: &Workspace, release: bool) -> Result<PathBuf> {
    let tools = setup::ensure(workspace, Need::Build)?;
    build::object(workspace, &tools)?;
    program(workspace, &workspace.target, release)?;
    let epoch = epoch(workspace)?;
    let stage = folder(workspace).join("stage");
    let program = workspace.programs(release).join("firewall-ctl");
    files::stage(workspace, &tools, &program, &stage, epoch)?;
    bundle(workspace, &stage, epoch)
}

/// Builds `firewall-ctl` in a target folder, without the names of this machine's folders.
fn program(workspace: &Workspace, target: &Path, release: bool) -> Result<()> {
    let prefixes = [
        (build::cargo_home(), "/cargo"),
        (workspace.root.clone(), "/firewall"),
        (target.to_owned(), "/target"),
    ];
    let flags = prefixes.map(|(prefix, name)| {
        let prefix = prefix.display();
        format!("--remap-path-prefix={prefix}={name}")
    });
    let mut cargo = process::host_cargo();
    cargo
        .current_dir(&workspace.root)
        .args(["build", "--locked", "--package", "firewall-ctl"])
        .env("CARGO_TARGET_DIR", target);
    if release {
        cargo.arg("--release");
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    }
    process::run(&mut cargo)
}

/// The time that stands in the package: of the commit, or what the environment says.
fn epoch(workspace: &Workspace) -> Result<u64> {
    let text = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(set) => set,
        Err(_) => process::ask(Command::new("git").current_dir(&workspace.root).args([
            "log",
            "-1",
            "--format=%ct",
        ]))
        .context("these sources are no git repository: set SOURCE_DATE_EPOCH to their time")?,
    };
    let text = text.trim();
    text.parse()
        .with_context(|| format!("SOURCE_DATE_EPOCH is no number of seconds: {text}"))
}

/// Makes the package of what is staged.
fn bundle(workspace: &Workspace, stage: &Path, epoch: u64) -> Result<PathBuf> {
    let tool = setup::cargo_deb(workspace)?;
    let results = folder(workspace);
    let mut deb = Command::new(tool);
    deb.current_dir(stage)
        .args(["--no-build", "--no-strip", "--manifest-path"])
        .arg(stage.join("Cargo.toml"))
        .arg("--output")
        .arg(&results)
        .env("SOURCE_DATE_EPOCH", epoch.to_string())
        .env("CARGO_TARGET_DIR", stage.join("target"));
    process::run(&mut deb)?;
    let architecture = process::capture(Command::new("dpkg").arg("--print-architecture"))?;
    let version = env!("CARGO_PKG_VERSION");
    let package = results.join(format!("firewall_{version}_{}.deb", architecture.trim()));
    if !package.exists() {
        bail!("cargo-deb has made no {}", package.display());
    }
    Ok(package)
}
