//! `cargo xtask run`: build, then run the daemon in the foreground.

use crate::setup::{self, Need};
use crate::{build, process, workspace::Workspace};
use anyhow::{Context, Result};
use std::process::ExitCode;

/// Arguments of `cargo xtask run`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build with optimisation
    #[arg(long)]
    release: bool,
    /// Arguments of `firewall-ctl daemon`, for example -i eth0 -f rules/web-server.yaml
    #[arg(last = true, required = true)]
    daemon: Vec<String>,
}

/// Builds and runs `firewall-ctl daemon`; its exit code is ours.
pub(crate) fn command(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let tools = setup::ensure(workspace, Need::Kernel)?;
    build::all(workspace, &tools, args.release)?;
    let mut daemon = process::as_root(workspace.programs(args.release).join("firewall-ctl"));
    daemon.arg("daemon").args(&args.daemon);
    println!("+ {}", process::display(&daemon));
    let status = daemon.status().context("cannot start the daemon")?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}
