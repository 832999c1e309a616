//! `load`: put a policy in force without a daemon.

use super::apply::show;
use super::context::Context;
use super::help::after;
use super::ssh;
use super::why::Why;
use crate::door;
use clap::ValueEnum;
use firewall_api::failure::{Exit, Failure};
use firewall_api::firewall::Host;
use firewall_api::request::LoadRequest;
use firewall_api::source::PolicySource;
use firewall_policy::rule::Mode;
use firewall_system::compiled;
use firewall_system::policy_file::PolicyFile;

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
    /// As at boot: where FILE is broken or was not confirmed, load the newest confirmed policy instead
    #[arg(long)]
    or_confirmed: bool,
    #[command(flatten)]
    why: Why,
    /// Override the guard: apply it even if it cuts your own connection
    #[arg(long)]
    i_know: bool,
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
    let host = context.host();
    let read = PolicyFile::read_as_absolute(&args.file).and_then(compiled::source);
    let (policy, unreadable) = match read {
        Ok(policy) => (policy, None),
        Err(why) if args.or_confirmed => {
            let path = args.file.clone();
            let none = PolicySource::default();
            (PolicySource { path, ..none }, Some(why))
        }
        Err(why) => return Err(nothing_loaded(why, &*host)),
    };
    door::without_daemon(&context.socket).map_err(|failure| {
        let help = format!(
            "apply it there: firewall-ctl apply -f {}; or stop the daemon first",
            args.file
        );
        failure.help(help).outcome("nothing loaded")
    })?;
    let request = LoadRequest {
        policy,
        interfaces: args.interfaces.clone(),
        mode: args.mode.map(Mode::from),
        replace: args.replace,
        discard_runtime: args.discard_runtime,
        session: ssh::session(),
        i_know: args.i_know,
        or_confirmed: args.or_confirmed,
        unreadable,
        why: args.why.why.clone(),
        ..LoadRequest::default()
    };
    let report = host
        .load(&request)
        .map_err(|failure| nothing_loaded(failure, &*host))?;
    show(&report, context)
}

/// Adds what holds now: nothing was loaded, and what was in force stays so.
fn nothing_loaded(failure: Failure, host: &dyn Host) -> Failure {
    let outcome = match host.policy() {
        Ok(policy) => format!(
            "nothing loaded; generation {} stays active",
            policy.generation
        ),
        Err(none)
            if none.exit_code == Exit::Unreachable && failure.exit_code != Exit::Privilege =>
        {
            "nothing loaded".to_owned()
        }
        // Who may not look cannot tell whether something is in force.
        Err(_) => "nothing changed".to_owned(),
    };
    failure.outcome(outcome)
}
