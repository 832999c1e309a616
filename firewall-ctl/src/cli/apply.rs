//! `apply`: hand a policy to the daemon.

use super::context::Context;
use super::help::after;
use super::ssh;
use super::why::{Confirm, Why};
use firewall_api::failure::{Exit, Failure};
use firewall_api::report::ApplyReport;
use firewall_api::request::ApplyRequest;
use firewall_policy::duration;
use firewall_system::compiled;
use firewall_system::policy_file::PolicyFile;
use std::time::Duration;

/// Apply a policy through the running daemon, atomically
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Policy file or directory; - reads standard input
    #[arg(short, long, value_name = "FILE")]
    file: String,
    /// Discard runtime rules: those added by allow, deny and limit
    #[arg(long)]
    discard_runtime: bool,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    why: Why,
    /// Override the guard: apply it even if it cuts your own connection
    #[arg(long)]
    i_know: bool,
}

pub(super) fn help() -> String {
    after(
        &[
            "firewall-ctl apply -f /etc/firewall/firewall.yaml",
            "sudo firewall-ctl apply -f new.yaml --confirm=60s --why 'ticket 17'",
            "generate-policy | firewall-ctl apply -f -",
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
    let policy = PolicyFile::read_as_absolute(&args.file)
        .and_then(compiled::source)
        .map_err(|failure| failure.outcome("nothing applied"))?;
    let request = ApplyRequest {
        discard_runtime: args.discard_runtime,
        session: ssh::session(),
        i_know: args.i_know,
        confirm: args.confirm.confirm,
        why: args.why.why.clone(),
        ..ApplyRequest::new(policy)
    };
    show(&context.firewall()?.apply(&request)?, context)
}

/// Says what came of applying a policy.
pub(super) fn show(report: &ApplyReport, context: &Context) -> Result<Exit, Failure> {
    if context.format.is_text() {
        context.say(&line(report))?;
        context.warn(&report.applied.warnings);
    } else {
        context.print(&context.format.document(report, false)?)?;
    }
    Ok(Exit::Ok)
}

/// A line, and a second one if it is to be confirmed: `generation 43 active on eth0 (native), eth1 (generic), 12 ms`.
pub(super) fn line(report: &ApplyReport) -> String {
    let applied = &report.applied;
    if !applied.changed {
        return format!("unchanged: generation {} stays active", applied.generation);
    }
    let interfaces: Vec<String> = applied
        .interfaces
        .iter()
        .map(|interface| format!("{} ({})", interface.name, interface.mode.name()))
        .collect();
    let mut line = format!(
        "generation {} active on {}, {:.0} ms",
        applied.generation,
        if interfaces.is_empty() {
            "no interface".to_owned()
        } else {
            interfaces.join(", ")
        },
        applied.seconds * 1000.0
    );
    if let Some(restored) = report.restores {
        line.push_str(&format!(", with the policy of generation {restored}"));
    }
    if let Some(pending) = &report.pending {
        line.push_str(&format!(
            "\nkeep it within {}: firewall-ctl confirm; else the policy of generation {} comes back",
            duration::print(Duration::from_secs(pending.seconds)),
            pending.back
        ));
    }
    line
}
