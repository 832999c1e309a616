//! `reload`: have the daemon read its policy file again.

use super::apply::show;
use super::context::Context;
use super::help::after;
use super::ssh;
use super::why::Why;
use firewall_api::failure::{Exit, Failure};
use firewall_api::request::ReloadRequest;

/// Make the daemon reread its policy; on an error the old policy stays active
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Discard runtime rules: those added by allow, deny and limit
    #[arg(long)]
    discard_runtime: bool,
    #[command(flatten)]
    why: Why,
    /// Override the guard: apply it even if it cuts your own connection
    #[arg(long)]
    i_know: bool,
}

pub(super) fn help() -> String {
    after(
        &[
            "firewall-ctl reload",
            "firewall-ctl check /etc/firewall/firewall.yaml && firewall-ctl reload",
            "firewall-ctl reload -o json",
        ],
        &[
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::Config,
            Exit::Privilege,
            Exit::Unreachable,
            Exit::Unsupported,
            Exit::Refused,
        ],
    )
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let request = ReloadRequest {
        discard_runtime: args.discard_runtime,
        session: ssh::session(),
        i_know: args.i_know,
        why: args.why.why.clone(),
        ..ReloadRequest::default()
    };
    show(&context.firewall()?.reload(&request)?, context)
}
