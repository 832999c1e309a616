//! `completions`: scripts for the shells.

use super::context::Context;
use super::help::after;
use clap_complete::Shell;
use firewall_api::failure::{Exit, Failure};

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(super) fn help() -> String {
    after(
        &[
            "firewall-ctl completions bash > /etc/bash_completion.d/firewall-ctl",
            "firewall-ctl completions zsh > /usr/local/share/zsh/site-functions/_firewall-ctl",
            "firewall-ctl completions fish > ~/.config/fish/completions/firewall-ctl.fish",
        ],
        &[Exit::Ok, Exit::Failed, Exit::Usage],
    )
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(
        args.shell,
        &mut super::command(),
        "firewall-ctl",
        &mut script,
    );
    context.print_raw(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}
