//! `ban`, `unban`, `bans` and `set`: changes without a new policy.
//!
//! No policy is read and no program is changed. What is wrong with the input is found before anything is changed.

pub(super) mod ban;
pub(super) mod set;

mod input;
mod show;

use super::context::Context;
use super::ssh;
use firewall_api::failure::Failure;
use firewall_api::sets::{SetChange, SetChanged, SetEdit};

/// A change that comes from this session.
fn change(set: &str, what: SetEdit, i_know: bool) -> SetChange {
    SetChange {
        set: set.to_owned(),
        what,
        session: ssh::session(),
        i_know,
    }
}

/// Says what has changed.
fn report(context: &Context, changed: &SetChanged, text: &str) -> Result<(), Failure> {
    context.warn(&changed.warnings);
    if context.format.is_text() {
        return context.say(text);
    }
    context.print(&context.format.document(changed, false)?)
}
