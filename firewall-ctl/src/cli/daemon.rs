//! `daemon`: run in the foreground, with the log on the standard error.

use super::context::Context;
use super::help::after;
use super::load::AttachMode;
use firewall_api::failure::{Exit, Failure};
use firewall_daemon::Options;
use firewall_system::policy_file::{STDIN, absolute};
use std::path::PathBuf;
use tracing_subscriber::EnvFilter;

/// Run the daemon in the foreground: enforce a policy, count packets, serve the API
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Interface to filter; repeatable or comma-separated [default: those in the policy]
    #[arg(short, long = "interface", value_name = "IF", value_delimiter = ',')]
    interfaces: Vec<String>,
    /// Policy file or directory; reread on `reload` and SIGHUP
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = "/etc/firewall/firewall.yaml"
    )]
    file: String,
    /// Directory that keeps bans and live sets across reboots [default: /var/lib/firewall]
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
    /// Attach mode [default: the policy's]
    #[arg(long, value_name = "MODE")]
    mode: Option<AttachMode>,
}

pub(super) fn help() -> String {
    let mut text = String::from(
        "Signals:\n  HUP        read the policy file again; an error leaves the old policy in force\n  \
         TERM, INT  end; the filter stays on (take it off with: firewall-ctl unload --all)\n\n\
         Environment:\n  FIREWALL_KERNEL_LOG=1  log every packet, for debugging: costs speed\n  \
         RUST_LOG               what to log, instead of -v and -q\n\n",
    );
    text.push_str(&after(
        &[
            "sudo firewall-ctl daemon -i eth0 -f rules/web-server.yaml",
            "sudo firewall-ctl daemon -f /etc/firewall/firewall.yaml",
            "sudo firewall-ctl -v daemon -i eth0,eth1 -f edge.yaml --mode native",
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
    ));
    text
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    if args.file == STDIN {
        return Err(Failure::new(
            Exit::Usage,
            "a daemon rereads its policy: name a file",
        ));
    }
    log_to_standard_error(context);
    firewall_daemon::run(Options {
        interfaces: args.interfaces.clone(),
        policy: absolute(&args.file),
        mode: args.mode.map(Into::into),
        socket: context.socket.clone(),
        root: context.root.clone(),
        state: args
            .state
            .clone()
            .unwrap_or_else(|| Options::state_of(&context.root)),
        color: context.color_errors,
    })?;
    Ok(Exit::Ok)
}

/// `RUST_LOG` decides if it is set, else `-v` and `-q`.
fn log_to_standard_error(context: &Context) {
    let level = match (context.quiet, context.verbose) {
        (true, _) => "warn",
        (false, 0) => "info",
        (false, 1) => "firewall_ctl=debug,firewall_daemon=debug,firewall_engine=debug,info",
        (false, _) => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(context.color_errors)
        .with_target(false);
    // Under systemd the journal has the time. A second call in one process does nothing.
    let _ = if std::env::var_os("JOURNAL_STREAM").is_some() {
        log.without_time().try_init()
    } else {
        log.try_init()
    };
}
