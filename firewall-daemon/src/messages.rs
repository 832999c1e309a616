//! Messages between the daemon's tasks and threads.

pub(super) use super::options::RENEWAL;
use super::revival::Lost;
use firewall_api::failure::Failure;
use firewall_api::history::{ConfirmRequest, RollbackRequest};
use firewall_api::report::{ApplyReport, PolicyReport};
use firewall_api::request::ApplyRequest;
use firewall_api::rules::{RuleOutcome, RulesChange};
use firewall_api::view::{Drift, Snapshot};
use firewall_engine::engine::{
    Applied, Engine, EngineError, Followed, Guard, Hold, Observed, Origin, Revived,
};
use firewall_engine::probe::Reading;
use firewall_system::history::Waiting;
use firewall_system::trail::Trail;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;

/// What a change of the policy in force is called, such as one more rule.
pub(super) const CHANGE: &str = "change";

/// What it is called when what waits to be confirmed stays.
pub(super) const CONFIRM: &str = "confirm";

/// What it is called when what waits to be confirmed is taken back.
pub(super) const CANCEL: &str = "cancel";

/// What it is called when a policy comes back because another one was not confirmed in time.
pub(super) const EXPIRY: &str = "expiry";

/// Who waits for a policy to be applied; `None` after a signal.
pub(super) type Reply = Option<oneshot::Sender<Result<Answer, Failure>>>;

/// What whoever waits is told.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) report: ApplyReport,
    /// The rule that a [`RulesChange`] was about.
    pub(super) rule: Option<Named>,
}

/// A rule, and what became of it.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) outcome: RuleOutcome,
}

/// What to apply.
#[derive(Debug)]
pub(super) enum What {
    /// A policy that a client sent.
    Sent(ApplyRequest),
    /// The daemon's own file.
    File {
        /// Lose the runtime rules in force.
        discard_runtime: bool,
        /// What it must not cut off.
        guard: Guard,
        /// Who asks for it, and why.
        origin: Origin,
    },
    /// What waits to be confirmed stays, or goes.
    Confirm(ConfirmRequest),
    /// What waits to be confirmed goes, if it is in force.
    Expired(Waiting),
    /// The policy of a former generation.
    Rollback(RollbackRequest),
    /// A change of the runtime rules in force.
    Rules(RulesChange),
    /// What is in force, once more: rules that expire go by a clock that has been set since.
    Again(Arc<Observed>),
    /// Look after interfaces that have come, gone or changed, and after what somebody has taken off.
    Links,
    /// What was in force, once more: its links are gone, by other means than `unload`.
    Revive(Lost),
}

/// One policy to apply.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) what: What,
    pub(super) reply: Reply,
}

/// What waits to be confirmed by a look at it, or why nobody can tell.
pub(super) type Seen = Result<Option<Waiting>, String>;

/// What the state task can be told.
#[derive(Debug)]
pub(super) enum Message {
    /// Give everything, with so many ports.
    Snapshot {
        ports: usize,
        reply: oneshot::Sender<Snapshot>,
    },
    /// Give the policy in force.
    Policy {
        reply: oneshot::Sender<Result<PolicyReport, Failure>>,
    },
    /// Put a policy in force.
    Apply(Job),
    /// A policy was put in force, or was not.
    Done(Box<Done>),
    /// Interfaces or default routes have changed.
    Links,
    /// Interfaces were looked after.
    Followed(Box<Followed>, Box<Result<Option<Observed>, EngineError>>),
    /// A lost filter is back, or was taken off on purpose, or cannot be put back now. If its folder was
    /// made anew, that is held, too.
    Revived(
        Box<Result<Option<Revived>, Failure>>,
        Box<Result<Option<Observed>, EngineError>>,
        Option<Hold>,
        Seen,
    ),
    /// Where files no longer say what is in force.
    Drift(Vec<Drift>),
    /// What is wrong with the copy of bans and live sets.
    Kept(Vec<String>),
    /// What is wrong with the history.
    History(Vec<String>),
    /// What waits to be confirmed now.
    Waiting(Option<Waiting>),
    /// Counters were read, by a look that began then.
    Reading(Box<Result<Option<Reading>, EngineError>>, Instant),
    /// Stop: what has been asked for so far is done first.
    End,
    /// The thread that applies policies has ended.
    Ended,
}

/// The end of a [`Job`].
#[derive(Debug)]
pub(super) struct Done {
    pub(super) verb: &'static str,
    pub(super) path: String,
    pub(super) result: Result<Applied, Failure>,
    pub(super) rule: Option<Named>,
    /// The former generation whose policy it is.
    pub(super) restores: Option<u64>,
    /// What waits to be confirmed now.
    pub(super) waiting: Seen,
    /// What is wrong with the history.
    pub(super) trouble: Vec<String>,
    pub(super) observed: Result<Option<Observed>, EngineError>,
    pub(super) at: Instant,
    pub(super) reply: Reply,
}

/// What the daemon begins with.
pub(super) struct Start {
    pub(super) engine: Engine,
    /// Keeps other daemons away.
    pub(super) hold: Hold,
    pub(super) observed: Option<Arc<Observed>>,
    pub(super) last_error: Option<String>,
    /// What waits to be confirmed.
    pub(super) waiting: Option<Waiting>,
    /// Where changes are put on record.
    pub(super) trail: Arc<Trail>,
}
