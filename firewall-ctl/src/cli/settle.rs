//! `confirm`, `cancel` and `rollback`: what becomes of the policy in force by those before it.

use super::apply::show;
use super::context::Context;
use super::help::after;
use super::ssh;
use super::why::{Confirm, Why};
use firewall_api::failure::{Exit, Failure};
use firewall_api::history::{ConfirmRequest, RollbackRequest};

/// Keep the policy that waits to be confirmed
///
/// Ends the time that `apply --confirm` has begun: the policy in force stays. Exit code 1 if nothing waits,
/// because the time was over.
#[derive(Debug, clap::Args)]
pub(super) struct ConfirmArgs {
    #[command(flatten)]
    why: Why,
}

/// Take back the policy that waits to be confirmed
///
/// The policy that was in force before `apply --confirm` comes back now.
#[derive(Debug, clap::Args)]
pub(super) struct CancelArgs {
    #[command(flatten)]
    why: Why,
}

/// Put the policy of a former generation in force again
///
/// As it was: text, set files and runtime rules. The policy file stays as it is, and `status` says that it
/// differs. Bans and live sets stay as they are.
#[derive(Debug, clap::Args)]
pub(super) struct RollbackArgs {
    /// Generation in `history` [default: the newest confirmed one with another policy]
    #[arg(value_name = "N")]
    generation: Option<u64>,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    why: Why,
    /// Override the guard: apply it even if it cuts your own connection
    #[arg(long)]
    i_know: bool,
}

const EXITS: &[Exit] = &[
    Exit::Ok,
    Exit::Failed,
    Exit::Usage,
    Exit::Config,
    Exit::Privilege,
    Exit::Unreachable,
    Exit::Unsupported,
    Exit::Refused,
];

pub(super) fn confirm_help() -> String {
    after(
        &[
            "sudo firewall-ctl apply -f new.yaml --confirm=60s",
            "sudo firewall-ctl confirm --why 'mail works'    # over a second connection",
            "sudo firewall-ctl confirm -o json",
        ],
        &[
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::Privilege,
            Exit::Unreachable,
        ],
    )
}

pub(super) fn cancel_help() -> String {
    after(
        &[
            "sudo firewall-ctl cancel",
            "sudo firewall-ctl cancel --why 'mail is broken'",
            "sudo firewall-ctl cancel -o json",
        ],
        EXITS,
    )
}

pub(super) fn rollback_help() -> String {
    after(
        &[
            "sudo firewall-ctl rollback",
            "sudo firewall-ctl rollback 41 --confirm=60s",
            "sudo firewall-ctl diff 41; sudo firewall-ctl rollback 41 --why 'ticket 17'",
        ],
        EXITS,
    )
}

pub(super) fn confirm(args: &ConfirmArgs, context: &Context) -> Result<Exit, Failure> {
    let request = ConfirmRequest {
        why: args.why.why.clone(),
        ..ConfirmRequest::default()
    };
    let report = context.firewall()?.confirm(&request)?;
    if context.format.is_text() {
        let generation = report.applied.generation;
        context.say(&format!("generation {generation} is confirmed, and stays"))?;
        context.warn(&report.applied.warnings);
    } else {
        context.print(&context.format.document(&report, false)?)?;
    }
    Ok(Exit::Ok)
}

pub(super) fn cancel(args: &CancelArgs, context: &Context) -> Result<Exit, Failure> {
    let request = ConfirmRequest {
        cancels: true,
        why: args.why.why.clone(),
        ..ConfirmRequest::default()
    };
    show(&context.firewall()?.confirm(&request)?, context)
}

pub(super) fn rollback(args: &RollbackArgs, context: &Context) -> Result<Exit, Failure> {
    let request = RollbackRequest {
        generation: args.generation,
        session: ssh::session(),
        i_know: args.i_know,
        confirm: args.confirm.confirm,
        why: args.why.why.clone(),
        ..RollbackRequest::default()
    };
    show(&context.firewall()?.rollback(&request)?, context)
}
