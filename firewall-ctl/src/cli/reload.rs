//! `reload`: have the daemon read its policy file again.

use super::apply::show;
use super::context::Context;
use super::help::after;
use crate::api::ReloadRequest;
use crate::api::client::Client;
use crate::failure::{Exit, Failure};

/// Have the daemon read its policy again; an error leaves the old policy in force
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

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
        ],
    )
}

pub(super) fn run(_args: &Args, context: &Context) -> Result<Exit, Failure> {
    let client = Client::require(&context.socket)?;
    show(
        &client.reload(&ReloadRequest {
            color: context.color_errors,
        })?,
        context,
    )
}
