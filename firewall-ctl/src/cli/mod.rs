//! The command line: one file for each verb, `run(&Args, &Context) -> Result<Exit, Failure>`.
//!
//! Verbs read arguments, ask the firewall, and hand its documents to pure functions that make text. Nothing imports this module but `main`.
//!
//! Invariant: whatever happens ends in one of [`Exit`]'s codes with a message on the standard
//! error; a reader that closes the pipe ends a command quietly with success.

mod apply;
mod check;
mod completions;
mod context;
mod daemon;
mod describe;
mod diff;
mod doctor;
mod explain;
mod flows;
mod fmt;
mod get;
mod help;
mod hints;
mod history;
mod import;
mod interval;
mod live;
mod load;
mod observe;
mod output;
mod plan;
mod policy;
mod quick;
mod reload;
mod schema;
mod services;
mod settle;
mod ssh;
mod stats;
mod status;
mod table;
mod test;
mod top;
mod unload;
mod version;
mod why;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use context::{Context, Globals};
use firewall_api::failure::{Exit, Failure};
use help::after;
use std::io::Write;
use std::process::ExitCode;

/// XDP firewall: YAML policies, enforced in the network driver
#[derive(Debug, Parser)]
#[command(
    name = "firewall-ctl",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_long_help = after(
        &[
            "firewall-ctl check rules/web-server.yaml",
            "sudo firewall-ctl daemon -i eth0 -f rules/web-server.yaml",
            "sudo firewall-ctl top",
        ],
        &Exit::ALL,
    )
)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    #[command(after_long_help = daemon::help())]
    Daemon(daemon::Args),
    #[command(after_long_help = plan::help())]
    Plan(plan::Args),
    #[command(after_long_help = apply::help())]
    Apply(apply::Args),
    #[command(after_long_help = settle::confirm_help())]
    Confirm(settle::ConfirmArgs),
    #[command(after_long_help = settle::cancel_help())]
    Cancel(settle::CancelArgs),
    #[command(after_long_help = history::help())]
    History(history::Args),
    #[command(after_long_help = settle::rollback_help())]
    Rollback(settle::RollbackArgs),
    #[command(after_long_help = reload::help())]
    Reload(reload::Args),
    #[command(after_long_help = status::help())]
    Status(status::Args),
    #[command(after_long_help = stats::help())]
    Stats(stats::Args),
    #[command(after_long_help = get::help())]
    Get(get::Args),
    /// Allow traffic now, by a rule before all others
    #[command(after_long_help = quick::help(quick::Does::Allow))]
    Allow(quick::Args),
    /// Deny traffic now, by a rule before all others
    #[command(after_long_help = quick::help(quick::Does::Deny))]
    Deny(quick::Args),
    /// Allow traffic at a limited rate: 6 connections in 30 s per source
    ///
    /// A rate counts new connections on TCP, and packets elsewhere: a session that is open goes on.
    #[command(after_long_help = quick::help(quick::Does::Limit))]
    Limit(quick::Args),
    /// Reject traffic now: drop it, and tell its senders
    #[command(after_long_help = quick::help(quick::Does::Reject))]
    Reject(quick::Args),
    #[command(after_long_help = quick::insert_help())]
    Insert(quick::InsertArgs),
    #[command(after_long_help = quick::route_help())]
    Route(quick::RouteArgs),
    #[command(after_long_help = quick::delete_help())]
    Delete(quick::DeleteArgs),
    #[command(after_long_help = quick::save_help())]
    Save(quick::SaveArgs),
    #[command(after_long_help = flows::help())]
    Flows(flows::Args),
    #[command(after_long_help = observe::help())]
    Observe(observe::Args),
    #[command(after_long_help = live::ban::help())]
    Ban(live::ban::Args),
    #[command(after_long_help = live::ban::unban_help())]
    Unban(live::ban::UnbanArgs),
    #[command(after_long_help = live::ban::bans_help())]
    Bans(live::ban::BansArgs),
    #[command(after_long_help = live::set::help())]
    Set(live::set::Args),
    #[command(after_long_help = top::help())]
    Top(top::Args),
    #[command(after_long_help = load::help())]
    Load(load::Args),
    #[command(after_long_help = unload::help())]
    Unload(unload::Args),
    #[command(after_long_help = check::help())]
    Check(check::Args),
    #[command(after_long_help = test::help())]
    Test(test::Args),
    #[command(after_long_help = diff::help())]
    Diff(diff::Args),
    #[command(after_long_help = fmt::help())]
    Fmt(fmt::Args),
    #[command(after_long_help = import::help())]
    Import(import::Args),
    #[command(after_long_help = doctor::help())]
    Doctor(doctor::Args),
    #[command(after_long_help = describe::help())]
    Describe(describe::Args),
    #[command(after_long_help = explain::help())]
    Explain(explain::Args),
    #[command(after_long_help = services::help())]
    Services(services::Args),
    #[command(after_long_help = version::help())]
    Version(version::Args),
    #[command(after_long_help = schema::help())]
    Schema(schema::Args),
    #[command(after_long_help = completions::help())]
    Completions(completions::Args),
}

/// The program: reads the process's arguments, ends with its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let parsed = command()
        .try_get_matches()
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(mut error) => {
            // No verb takes a value that begins with two dashes, so that is no advice.
            if let Some(ContextValue::StyledStrs(tips)) = error.remove(ContextKind::Suggested) {
                let tips = tips.into_iter();
                let tips = tips.filter(|tip| !tip.to_string().contains("as a value, use"));
                let tips: Vec<_> = tips.collect();
                if !tips.is_empty() {
                    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
                }
            }
            // A closed pipe is no reason to fail: help | head.
            let _ = error.print();
            if let Some(hint) = hints::of(&std::env::args().skip(1).collect::<Vec<_>>()) {
                let _ = writeln!(std::io::stderr(), "help: {hint}");
            }
            return if error.use_stderr() {
                Exit::Usage.into()
            } else {
                Exit::Ok.into()
            };
        }
    };
    let context = Context::from_environment(&cli.globals);
    match run(&cli.verb, &context) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            context.complain(&failure);
            failure.exit_code.into()
        }
    }
}

fn run(verb: &Verb, context: &Context) -> Result<Exit, Failure> {
    match verb {
        Verb::Daemon(args) => daemon::run(args, context),
        Verb::Plan(args) => plan::run(args, context),
        Verb::Apply(args) => apply::run(args, context),
        Verb::Confirm(args) => settle::confirm(args, context),
        Verb::Cancel(args) => settle::cancel(args, context),
        Verb::History(args) => history::run(args, context),
        Verb::Rollback(args) => settle::rollback(args, context),
        Verb::Reload(args) => reload::run(args, context),
        Verb::Status(args) => status::run(args, context),
        Verb::Stats(args) => stats::run(args, context),
        Verb::Get(args) => get::run(args, context),
        Verb::Allow(args) => quick::run(quick::Does::Allow, args, context),
        Verb::Deny(args) => quick::run(quick::Does::Deny, args, context),
        Verb::Limit(args) => quick::run(quick::Does::Limit, args, context),
        Verb::Reject(args) => quick::run(quick::Does::Reject, args, context),
        Verb::Insert(args) => quick::insert(args, context),
        Verb::Route(args) => quick::route(args, context),
        Verb::Delete(args) => quick::delete(args, context),
        Verb::Save(args) => quick::save(args, context),
        Verb::Flows(args) => flows::run(args, context),
        Verb::Observe(args) => observe::run(args, context),
        Verb::Ban(args) => live::ban::run(args, context),
        Verb::Unban(args) => live::ban::run_unban(args, context),
        Verb::Bans(args) => live::ban::run_bans(args, context),
        Verb::Set(args) => live::set::run(args, context),
        Verb::Top(args) => top::run(args, context),
        Verb::Load(args) => load::run(args, context),
        Verb::Unload(args) => unload::run(args, context),
        Verb::Check(args) => check::run(args, context),
        Verb::Test(args) => test::run(args, context),
        Verb::Diff(args) => diff::run(args, context),
        Verb::Fmt(args) => fmt::run(args, context),
        Verb::Import(args) => import::run(args, context),
        Verb::Doctor(args) => doctor::run(args, context),
        Verb::Describe(args) => describe::run(args, context),
        Verb::Explain(args) => explain::run(args, context),
        Verb::Services(args) => services::run(args, context),
        Verb::Version(args) => version::run(args, context),
        Verb::Schema(args) => schema::run(args, context),
        Verb::Completions(args) => completions::run(args, context),
    }
}

/// The name that is meant by a misspelt one.
fn suggest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    firewall_policy::diag::nearest(name, known)
}

/// The command line's description, for help, completions and documentation.
#[must_use]
pub fn command() -> clap::Command {
    let mut command = Cli::command().override_usage("firewall-ctl [OPTIONS] <COMMAND>");
    // Usage lines that are made from what was typed would name the global options as if they had to be.
    let names: Vec<String> = command
        .get_subcommands()
        .map(|verb| verb.get_name().to_owned())
        .collect();
    for name in names {
        command = command.mut_subcommand(&name, |verb| {
            if verb.has_subcommands() {
                return verb;
            }
            // Of a copy: rendering builds a command, which is done once.
            let usage = verb.clone().render_usage().to_string();
            let usage = usage.trim_start_matches("Usage: ");
            verb.override_usage(format!("firewall-ctl {usage}"))
        });
    }
    command
}

#[cfg(test)]
mod tests;
