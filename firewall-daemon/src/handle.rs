//! How tasks and calls reach the state task: the daemon's firewall.
//!
//! What lies in memory that processes share with the kernel, and what is asked of programs that are attached
//! to nothing, needs no task: that is a `Local` of the daemon's own.

use super::messages::{Answer, Job, Message, What};
use super::options::Options;
use firewall_api::compared::{CompareRequest, Compared};
use firewall_api::events::{EventsReport, EventsRequest};
use firewall_api::failure::{Exit, Failure};
use firewall_api::firewall::Firewall;
use firewall_api::flows::{FlowsForgotten, FlowsReport, FlowsRequest};
use firewall_api::history::{ConfirmRequest, HistoryReport, RollbackRequest};
use firewall_api::plan::{PlanReport, PlanRequest};
use firewall_api::report::{ApplyReport, PolicyReport, ReasonsReport, RulesReport, StatusReport};
use firewall_api::request::{ApplyRequest, ReloadRequest, SnapshotRequest};
use firewall_api::rules::{RulesChange, RulesChanged, RulesEdit};
use firewall_api::sets::{SetChange, SetChanged, SetReport, SetRequest, SetsReport};
use firewall_api::source::{FileKept, NamedFile, PolicySource};
use firewall_api::trial::{DoctorReport, DoctorRequest, Selftest, TraceRequest, Traced, Verified};
use firewall_api::view::{Snapshot, Status};
use firewall_api::watch::{WatchReport, WatchRequest};
use firewall_engine::engine::{Guard, Origin, Session};
use firewall_engine::local::Local;
use firewall_system::file_store::FileStore;
use firewall_system::process;
use std::io::Read;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

/// How to reach the state task.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    messages: mpsc::Sender<Message>,
    /// What lies in memory that processes share with the kernel needs no task, nor do questions to
    /// programs that are attached to nothing.
    local: Arc<Local>,
    /// Files of the policies that requests bring.
    store: FileStore,
}

impl Handle {
    /// By which messages reach the state task of a daemon.
    pub(super) fn new(messages: mpsc::Sender<Message>, options: &Options) -> Self {
        let local = Local::new(&options.root, &options.socket).keeping_in(&options.state);
        Self {
            messages,
            local: Arc::new(local.of_requests(options.store())),
            store: options.store(),
        }
    }

    /// Where the keeper tells what is wrong with the copy.
    pub(super) fn told(&self) -> mpsc::WeakSender<Message> {
        self.messages.downgrade()
    }

    /// Reloads the policy file; the outcome goes to the log and to `status`.
    pub(super) fn reload_in_background(&self) {
        let job = Job {
            what: What::File {
                discard_runtime: false,
                guard: Guard::of(Session::None),
                origin: Origin {
                    verb: "reload",
                    asker: process::own(),
                    ..Origin::default()
                },
            },
            reply: None,
        };
        if self.messages.try_send(Message::Apply(job)).is_err() {
            warn!("SIGHUP ignored: too many pending requests");
        }
    }

    /// Ends the state task; calls from then on fail.
    pub(super) async fn end(&self) {
        // Already ended is as good.
        let _ = self.messages.send(Message::End).await;
    }

    /// How things stand, without a thread that waits; `None` when the daemon ends.
    pub(super) async fn stand(self) -> Option<Status> {
        let (reply, answer) = oneshot::channel();
        let message = Message::Snapshot { ports: 0, reply };
        self.messages.send(message).await.ok()?;
        Some(answer.await.ok()?.status)
    }

    /// Waits for an answer: not for a thread of the runtime.
    fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        self.messages
            .blocking_send(message(reply))
            .map_err(|_| is_ending())?;
        answer.blocking_recv().map_err(|_| {
            Failure::new(Exit::Unreachable, "the daemon ended before it answered")
                .help("whether it was done, `firewall-ctl status` says")
        })
    }

    /// Has a job done after all those that were asked for before.
    fn queue(&self, what: What) -> Result<Answer, Failure> {
        self.ask(|reply| {
            let reply = Some(reply);
            Message::Apply(Job { what, reply })
        })?
    }

    /// Counters as they are, with the `ports` busiest ports.
    fn look(&self, ports: usize) -> Result<Snapshot, Failure> {
        self.ask(|reply| Message::Snapshot { ports, reply })
    }
}

/// The daemon's firewall. Calls wait: they belong on threads of their own.
impl Firewall for Handle {
    fn status(&self) -> Result<StatusReport, Failure> {
        let mut report = StatusReport::of(&self.look(0)?);
        self.local.add_flows(&mut report);
        Ok(report)
    }

    fn snapshot(&self, request: &SnapshotRequest) -> Result<Snapshot, Failure> {
        self.look(request.ports)
    }

    fn rules(&self) -> Result<RulesReport, Failure> {
        Ok(RulesReport::of(&self.look(0)?))
    }

    fn reasons(&self) -> Result<ReasonsReport, Failure> {
        Ok(ReasonsReport::of(&self.look(0)?))
    }

    fn policy(&self) -> Result<PolicyReport, Failure> {
        self.ask(|reply| Message::Policy { reply })?
    }

    fn apply(&self, request: &ApplyRequest) -> Result<ApplyReport, Failure> {
        // What is sent later is no failed change.
        self.store.require(&request.files)?;
        Ok(self.queue(What::Sent(request.clone()))?.report)
    }

    fn reload(&self, request: &ReloadRequest) -> Result<ApplyReport, Failure> {
        let what = What::File {
            discard_runtime: request.discard_runtime,
            guard: Guard::of_request(request.session.clone(), request.i_know),
            origin: Origin {
                verb: "reload",
                asker: request.asker.clone(),
                why: request.why.clone(),
                ..Origin::default()
            },
        };
        Ok(self.queue(what)?.report)
    }

    fn confirm(&self, request: &ConfirmRequest) -> Result<ApplyReport, Failure> {
        Ok(self.queue(What::Confirm(request.clone()))?.report)
    }

    fn rollback(&self, request: &RollbackRequest) -> Result<ApplyReport, Failure> {
        Ok(self.queue(What::Rollback(request.clone()))?.report)
    }

    fn history(&self) -> Result<HistoryReport, Failure> {
        self.local.history()
    }

    fn generation(&self, number: u64) -> Result<PolicyReport, Failure> {
        self.local.generation(number)
    }

    fn compare(&self, request: &CompareRequest) -> Result<Compared, Failure> {
        self.local.compare(request)
    }

    fn plan(&self, request: &PlanRequest) -> Result<PlanReport, Failure> {
        // Only who has read counters for a while knows when a rule was hit last.
        self.local.make_plan(request, &self.look(0)?.rules)
    }

    fn change_rules(&self, change: &RulesChange) -> Result<RulesChanged, Failure> {
        if let RulesEdit::Saved { policy, .. } = &change.what {
            self.store.require(&policy.files)?;
        }
        let Answer { report, rule } = self.queue(What::Rules(change.clone()))?;
        let rule = rule.ok_or_else(|| Failure::new(Exit::Failed, "no rule was changed"))?;
        Ok(RulesChanged {
            report,
            rule: rule.name,
            text: rule.text,
            outcome: rule.outcome,
        })
    }

    fn flows(&self, request: &FlowsRequest) -> Result<FlowsReport, Failure> {
        self.local.flows(request)
    }

    fn forget_flows(&self, request: &FlowsRequest) -> Result<FlowsForgotten, Failure> {
        self.local.forget_flows(request)
    }

    fn sets(&self) -> Result<SetsReport, Failure> {
        self.local.sets()
    }

    fn set(&self, name: &str, request: &SetRequest) -> Result<SetReport, Failure> {
        self.local.set(name, request)
    }

    fn change_set(&self, change: &SetChange) -> Result<SetChanged, Failure> {
        self.local.change_set(change)
    }

    fn events(&self, request: &EventsRequest) -> Result<EventsReport, Failure> {
        self.local.events(request)
    }

    fn watch(&self, request: &WatchRequest) -> Result<WatchReport, Failure> {
        self.local.watch(request)
    }

    fn doctor(&self, request: &DoctorRequest) -> Result<DoctorReport, Failure> {
        self.local.doctor(request)
    }

    fn selftest(&self, policy: &PolicySource) -> Result<Selftest, Failure> {
        self.local.selftest(policy)
    }

    fn verify(&self, policy: &PolicySource) -> Result<Verified, Failure> {
        self.local.verify(policy)
    }

    fn trace(&self, request: &TraceRequest) -> Result<Traced, Failure> {
        self.local.trace(request)
    }

    fn put_file(&self, file: &NamedFile, from: &mut dyn Read) -> Result<FileKept, Failure> {
        self.local.put_file(file, from)
    }
}

/// The answer to what comes when the daemon ends.
pub(super) fn is_ending() -> Failure {
    Failure::new(Exit::Unreachable, "the daemon is shutting down").outcome("nothing changed")
}
