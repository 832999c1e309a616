//! The one interface to a firewall, whether it is this host's own, reached through the kernel, or a
//! daemon's, reached over its socket. Requests and answers are data; callers need not know which of
//! the two answers.

use crate::compared::{CompareRequest, Compared};
use crate::events::{EventsReport, EventsRequest};
use crate::failure::Failure;
use crate::flows::{FlowsForgotten, FlowsReport, FlowsRequest};
use crate::history::{ConfirmRequest, HistoryReport, RollbackRequest};
use crate::plan::{PlanReport, PlanRequest};
use crate::report::{
    ApplyReport, PolicyReport, ReasonsReport, RulesReport, StatusReport, UnloadReport,
};
use crate::request::{ApplyRequest, LoadRequest, ReloadRequest, SnapshotRequest};
use crate::rules::{RulesChange, RulesChanged};
use crate::sets::{SetChange, SetChanged, SetReport, SetRequest, SetsReport};
use crate::source::{FileKept, NamedFile, PolicySource};
use crate::trial::{DoctorReport, DoctorRequest, Selftest, TraceRequest, Traced, Verified};
use crate::view::Snapshot;
use crate::watch::{WatchReport, WatchRequest};
use std::io::Read;

/// A firewall, here or elsewhere.
///
/// # Errors
/// Every call fails with what a person should read and the exit code of a command that asked. Where
/// nothing is loaded and nobody keeps a policy in force, only [`Firewall::status`] has an answer.
pub trait Firewall: Send + Sync {
    /// Whether the host is filtered as asked, in every detail.
    ///
    /// # Errors
    /// See [`Firewall`]. So for all calls.
    fn status(&self) -> Result<StatusReport, Failure>;

    /// Counters and rates at one moment.
    ///
    /// # Errors
    /// See [`Firewall`].
    fn snapshot(&self, request: &SnapshotRequest) -> Result<Snapshot, Failure>;

    /// The rules in policy order, with their counters.
    ///
    /// # Errors
    /// See [`Firewall`].
    fn rules(&self) -> Result<RulesReport, Failure>;

    /// Every reason for a verdict, with its counters.
    ///
    /// # Errors
    /// See [`Firewall`].
    fn reasons(&self) -> Result<ReasonsReport, Failure>;

    /// The policy in force, as it was written.
    ///
    /// # Errors
    /// See [`Firewall`].
    fn policy(&self) -> Result<PolicyReport, Failure>;

    /// Puts a policy in force and keeps it so: only a daemon does that.
    ///
    /// # Errors
    /// See [`Firewall`]; exit code 5 without a daemon; [`FILES_MISSING`] where files of the policy are
    /// not there, and so for all calls that bring a policy.
    ///
    /// [`FILES_MISSING`]: crate::source::FILES_MISSING
    fn apply(&self, request: &ApplyRequest) -> Result<ApplyReport, Failure>;

    /// Has the daemon read its own policy file again and put it in force.
    ///
    /// # Errors
    /// See [`Firewall`]; exit code 5 without a daemon.
    fn reload(&self, request: &ReloadRequest) -> Result<ApplyReport, Failure>;

    /// Lets a policy stay that waits to be confirmed, or has the confirmed one come back.
    ///
    /// # Errors
    /// See [`Firewall`]; exit code 1 if none waits, 5 without a daemon.
    fn confirm(&self, request: &ConfirmRequest) -> Result<ApplyReport, Failure>;

    /// Puts the policy of a former generation in force once more.
    ///
    /// # Errors
    /// See [`Firewall`]; exit code 3 if it is not kept, 5 without a daemon.
    fn rollback(&self, request: &RollbackRequest) -> Result<ApplyReport, Failure>;

    /// The generations that have been in force, as far as they are kept.
    ///
    /// # Errors
    /// See [`Firewall`].
    fn history(&self) -> Result<HistoryReport, Failure>;

    /// The policy of a generation, as it was written.
    ///
    /// # Errors
    /// See [`Firewall`]; exit code 3 if it is not kept.
    fn generation(&self, number: u64) -> Result<PolicyReport, Failure>;

    /// What one policy does otherwise than another one.
    ///
    /// # Errors
    /// See [`Firewall`]; exit code 3 for a generation that is not kept, and for a policy that is not valid.
    fn compare(&self, request: &CompareRequest) -> Result<Compared, Failure>;

    /// What applying a policy would do; nothing is changed.
    ///
    /// # Errors
    /// As [`Firewall::apply`], but for the guard's refusal, which is part of the plan.
    fn plan(&self, request: &PlanRequest) -> Result<PlanReport, Failure>;

    /// Changes the rules that were added while the policy is in force: changes of all askers are done one
    /// after the other.
    ///
    /// # Errors
    /// See [`Firewall`]; exit code 5 without a daemon; [`CHANGED_MEANWHILE`] where another policy is in
    /// force than the one that the change was made of.
    ///
    /// [`CHANGED_MEANWHILE`]: crate::rules::CHANGED_MEANWHILE
    fn change_rules(&self, change: &RulesChange) -> Result<RulesChanged, Failure>;

    /// The connections that `state: established` goes by, as far as they fit a filter.
    ///
    /// # Errors
    /// See [`Firewall`]; exit code 1 if the policy keeps no flows.
    fn flows(&self, request: &FlowsRequest) -> Result<FlowsReport, Failure>;

    /// Forgets the flows of the table that fit a filter.
    ///
    /// # Errors
    /// As [`Firewall::flows`].
    fn forget_flows(&self, request: &FlowsRequest) -> Result<FlowsForgotten, Failure>;

    /// The live sets of the policy in force, and that of what is banned.
    ///
    /// # Errors
    /// See [`Firewall`].
    fn sets(&self) -> Result<SetsReport, Failure>;

    /// The entries of one live set.
    ///
    /// # Errors
    /// See [`Firewall`]; exit code 1 if there is no such set.
    fn set(&self, name: &str, request: &SetRequest) -> Result<SetReport, Failure>;

    /// Changes a live set: all of the change or none of it.
    ///
    /// # Errors
    /// As [`Firewall::set`]; exit code 7 for what would cut off whoever asks.
    fn change_set(&self, change: &SetChange) -> Result<SetChanged, Failure>;

    /// Packets that rules with `log` have matched.
    ///
    /// # Errors
    /// See [`Firewall`]; exit code 1 if the policy logs nothing.
    fn events(&self, request: &EventsRequest) -> Result<EventsReport, Failure>;

    /// Packets that fit a live filter, whatever the policy logs: begins to watch, goes on, or ends.
    ///
    /// # Errors
    /// See [`Firewall`]; exit code 2 for a filter that cannot be, 7 if all slots are taken.
    fn watch(&self, request: &WatchRequest) -> Result<WatchReport, Failure>;

    /// Problems of the machine that affect the filter.
    ///
    /// # Errors
    /// See [`Firewall`]; exit code 3 for an interface that is not there.
    fn doctor(&self, request: &DoctorRequest) -> Result<DoctorReport, Failure>;

    /// Sends every packet of the evasion table through the program in the kernel, under a policy.
    ///
    /// # Errors
    /// What loading the program can fail with; see [`Firewall::apply`].
    fn selftest(&self, policy: &PolicySource) -> Result<Selftest, Failure>;

    /// Has the kernel's verifier take a policy, and runs its tests there; attaches nothing.
    ///
    /// # Errors
    /// As [`Firewall::selftest`]; exit code 7 for tests that fail in the kernel.
    fn verify(&self, policy: &PolicySource) -> Result<Verified, Failure>;

    /// Sends frames through the program in the kernel, under a policy; attaches nothing.
    ///
    /// # Errors
    /// As [`Firewall::selftest`]; exit code 2 for frames that are none.
    fn trace(&self, request: &TraceRequest) -> Result<Traced, Failure>;

    /// Takes the bytes of a file that a policy names, for requests to come.
    ///
    /// # Errors
    /// Exit code 3: other bytes than `file` says, or too many; exit code 5 without a daemon.
    fn put_file(&self, file: &NamedFile, from: &mut dyn Read) -> Result<FileKept, Failure>;
}

/// This host's own firewall, where no daemon stands between.
pub trait Host: Firewall {
    /// Puts a policy in force; nobody keeps it so.
    ///
    /// # Errors
    /// See [`Firewall`]; exit code 7 where runtime rules would be lost.
    fn load(&self, request: &LoadRequest) -> Result<ApplyReport, Failure>;

    /// Takes the filter off interfaces; `None`: off all.
    ///
    /// # Errors
    /// See [`Firewall`]; exit code 3 for an interface that is not filtered.
    fn unload(&self, interfaces: Option<&[String]>) -> Result<UnloadReport, Failure>;
}
