//! `ban`, `unban`, `bans` and `set`: what changes while a policy is in force.
//!
//! All of them go to the table in the kernel, whether a daemon runs or not: no policy is read, no
//! program is changed. What is wrong with the input is found before anything is changed.

pub(super) mod ban;
pub(super) mod set;

mod input;
mod show;

use super::context::Context;
use super::ssh;
use firewall_api::failure::{Exit, Failure};
use firewall_api::view::SCHEMA;
use firewall_engine::engine::{Changed, Engine, Guard, Live, LiveRecord, LiveView};
use serde::Serialize;
use std::time::Instant;

/// Bans and sets, to be changed.
fn open(context: &Context) -> Result<Live, Failure> {
    Engine::new(&context.root)
        .live()
        .map_err(|error| error.failure(context.color_errors))
}

/// What changes of this command are judged by.
fn guard(i_know: bool) -> Guard {
    match i_know {
        true => Guard::off(),
        false => Guard::of(ssh::session()),
    }
}

/// Bans and sets, to be read.
fn view(context: &Context) -> Result<LiveView, Failure> {
    Engine::new(&context.root)
        .live_view()
        .map_err(|error| error.failure(context.color_errors))
}

/// The set with a name.
fn find(view: &LiveView, name: &str) -> Result<LiveRecord, Failure> {
    let name = name.strip_prefix('@').unwrap_or(name);
    view.set(name).ok_or_else(|| {
        let mut known: Vec<&str> = view.sets().iter().map(|set| set.name.as_str()).collect();
        known.push(firewall_engine::engine::BANNED_NAME);
        Failure::new(
            Exit::Failed,
            format!("the active policy has no live set `{name}`"),
        )
        .help(format!(
            "live sets: {}; others are changed in the policy, or made live with `live: true`",
            known.join(", ")
        ))
    })
}

/// `-o json` of a change.
#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    set: &'a str,
    added: u64,
    renewed: u64,
    removed: u64,
    missing: u64,
    /// Seconds that the change took.
    seconds: f64,
}

/// Says what has changed.
fn report(
    context: &Context,
    set: &LiveRecord,
    changed: Changed,
    start: Instant,
    text: &str,
) -> Result<(), Failure> {
    if context.format.is_text() {
        return context.say(text);
    }
    let report = Report {
        schema: SCHEMA,
        set: &set.name,
        added: changed.added,
        renewed: changed.renewed,
        removed: changed.removed,
        missing: changed.missing,
        seconds: start.elapsed().as_secs_f64(),
    };
    context.print(&context.format.document(&report, false)?)
}
