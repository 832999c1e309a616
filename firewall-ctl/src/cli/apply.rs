//! `apply`: hand a policy to the daemon.

use super::context::Context;
use super::help::after;
use super::ssh;
use firewall_api::failure::{Exit, Failure};
use firewall_api::report::ApplyReport;
use firewall_api::request::ApplyRequest;
use firewall_system::compiled;
use firewall_system::policy_file::PolicyFile;

/// Apply a policy through the running daemon, atomically
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Policy file or directory; - reads standard input
    #[arg(short, long, value_name = "FILE")]
    file: String,
    /// Discard runtime rules: those added by allow, deny and limit
    #[arg(long)]
    discard_runtime: bool,
    /// Override the guard: apply it even if it cuts your own connection
    #[arg(long)]
    i_know: bool,
}

pub(super) fn help() -> String {
    after(
        &[
            "firewall-ctl apply -f /etc/firewall/firewall.yaml",
            "firewall-ctl apply -f rules/web-server.yaml -o json",
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

/// One line: `generation 43 active on eth0 (native), eth1 (generic), 12 ms`.
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
    format!(
        "generation {} active on {}, {:.0} ms",
        applied.generation,
        if interfaces.is_empty() {
            "no interface".to_owned()
        } else {
            interfaces.join(", ")
        },
        applied.seconds * 1000.0
    )
}
