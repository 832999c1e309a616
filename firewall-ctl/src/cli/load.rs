//! `load`: put a policy in force without a daemon.

use super::apply::show;
use super::context::Context;
use super::help::after;
use crate::remote::Remote;
use clap::ValueEnum;
use firewall_api::failure::{Exit, Failure};
use firewall_api::report::ApplyReport;
use firewall_engine::engine::{Engine, Request, Scope};
use firewall_engine::policy_file::PolicyFile;
use firewall_policy::rule::Mode;

/// Load a policy without a daemon; it stays active until `unload` or a reboot
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Interface to filter; repeatable or comma-separated [default: those in the policy]
    #[arg(short, long = "interface", value_name = "IF", value_delimiter = ',')]
    interfaces: Vec<String>,
    /// Policy file or directory; - reads standard input
    #[arg(short, long, value_name = "FILE")]
    file: String,
    /// Attach mode [default: the policy's]
    #[arg(long, value_name = "MODE")]
    mode: Option<AttachMode>,
    /// Replace another XDP program on the interface
    #[arg(long)]
    replace: bool,
    /// Discard runtime rules: those added by allow, deny and limit
    #[arg(long)]
    discard_runtime: bool,
}

/// `--mode`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum AttachMode {
    /// Native; generic, with the reason, if the driver refuses
    Auto,
    /// In the driver, or fail
    Native,
    /// In the network stack: works on every interface, slower
    Generic,
}

impl From<AttachMode> for Mode {
    fn from(mode: AttachMode) -> Self {
        match mode {
            AttachMode::Auto => Self::Auto,
            AttachMode::Native => Self::Native,
            AttachMode::Generic => Self::Generic,
        }
    }
}

pub(super) fn help() -> String {
    after(
        &[
            "sudo firewall-ctl load -i eth0 -f rules/web-server.yaml",
            "sudo firewall-ctl load -i eth0,eth1 -f edge.yaml --mode native",
            "sudo firewall-ctl load -i eth0 -f edge.yaml --replace",
        ],
        &[
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::Config,
            Exit::Privilege,
            Exit::Unsupported,
            Exit::Refused,
        ],
    )
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let file = PolicyFile::read(&args.file).map_err(|failure| nothing_loaded(failure, context))?;
    if Remote::connect(&context.socket)?.is_some() {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "a daemon listens on {} and owns the filter",
                context.socket.display()
            ),
        )
        .help(format!(
            "apply it there: firewall-ctl apply -f {}",
            args.file
        ))
        .outcome("nothing loaded"));
    }
    let mut engine = Engine::new(&context.root);
    if let Ok(Some(observed)) = engine.observe() {
        observed
            .record
            .keep_runtime_rules(&file.text, args.discard_runtime)
            .map_err(|failure| nothing_loaded(failure, context))?;
    }
    let name = file.name.clone();
    let request = Request {
        policy_path: file.name,
        policy_text: file.text,
        base: file.base,
        interfaces: args.interfaces.clone(),
        mode: args.mode.map(Mode::from),
        replace: args.replace,
        scope: Scope::Present,
    };
    let applied = engine
        .apply(&request)
        .map_err(|error| nothing_loaded(error.failure(), context))?;
    show(&ApplyReport::new(&name, applied), context)
}

/// Adds what holds now: nothing was loaded, and what was in force stays so.
fn nothing_loaded(failure: Failure, context: &Context) -> Failure {
    let outcome = match Engine::new(&context.root).observe() {
        Ok(Some(observed)) => format!(
            "nothing loaded; generation {} stays active",
            observed.record.generation
        ),
        Ok(None) if failure.exit_code != Exit::Privilege => "nothing loaded".to_owned(),
        // Who may not look cannot tell whether something is in force.
        _ => "nothing changed".to_owned(),
    };
    failure.outcome(outcome)
}
