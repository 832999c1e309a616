//! This host's firewall behind `trait Firewall`, without a daemon: the calling process reads and changes
//! the kernel itself. The daemon uses it, too, for data in memory that it shares with the kernel.
//!
//! Invariant: keeps no policy active, and no state but the readings behind its rates.

mod entries;
mod events;
mod flows;
mod history;
mod host;
mod plan;
mod sets;
mod take;
mod trials;
mod watch;

use crate::drift::DriftWatch;
use crate::engine::{Engine, EngineError, Observed, state_of};
use crate::probe::Probe;
use crate::sampler::{Facts, Sampler};
use firewall_api::audit::{Asked, Entry, Outcome, Recorded as _};
use firewall_api::clock::unix_time;
use firewall_api::compared::{CompareRequest, Compared};
use firewall_api::events::{EventsReport, EventsRequest};
use firewall_api::failure::{Exit, Failure};
use firewall_api::firewall::Firewall;
use firewall_api::flows::{FlowsForgotten, FlowsReport, FlowsRequest};
use firewall_api::history::{ConfirmRequest, HistoryReport, RollbackRequest};
use firewall_api::plan::{PlanReport, PlanRequest};
use firewall_api::report::{ApplyReport, PolicyReport, ReasonsReport, RulesReport, StatusReport};
use firewall_api::request::{ApplyRequest, ReloadRequest, SnapshotRequest, no_daemon};
use firewall_api::rules::{RulesChange, RulesChanged};
use firewall_api::sets::{SetChange, SetChanged, SetReport, SetRequest, SetsReport};
use firewall_api::source::{FileKept, NamedFile, PolicySource};
use firewall_api::trial::{DoctorReport, DoctorRequest, Selftest, TraceRequest, Traced, Verified};
use firewall_api::view::{Pending, Snapshot};
use firewall_api::watch::{WatchReport, WatchRequest};
use firewall_system::file_store::FileStore;
use firewall_system::process;
use firewall_system::trail::Trail;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

/// A status takes its rates over this time.
const STATUS: Duration = Duration::from_millis(250);

/// This host's firewall, without a daemon.
#[derive(Debug)]
pub struct Local {
    root: PathBuf,
    /// Where a daemon would listen.
    socket: PathBuf,
    /// Where the history is. `None`: where what is in force keeps it.
    state: Option<PathBuf>,
    /// Where the files of policies are that come with requests. `None`: whoever asks is this process,
    /// and reads files from its own folders.
    store: Option<FileStore>,
    readings: Mutex<Readings>,
}

/// Counters read by this process.
#[derive(Debug)]
struct Readings {
    probe: Probe,
    sampler: Sampler,
    observed: Option<Arc<Observed>>,
    /// Whether that waits to be confirmed.
    pending: Option<Pending>,
    /// Whether something was ever in force.
    seen: bool,
    /// Whether there is a reading.
    begun: bool,
}

impl Local {
    /// The firewall whose pins are under `root`, where no daemon listens on `socket`. Touches nothing
    /// yet.
    #[must_use]
    pub fn new(root: &Path, socket: &Path) -> Self {
        Self {
            root: root.to_owned(),
            socket: socket.to_owned(),
            state: None,
            store: None,
            readings: Mutex::new(Readings {
                probe: Probe::new(root),
                sampler: Sampler::new(),
                observed: None,
                pending: None,
                seen: false,
                begun: false,
            }),
        }
    }

    /// As [`Local::new`], with the history in a folder of the state.
    #[must_use]
    pub fn keeping_in(self, state: &Path) -> Self {
        Self {
            state: Some(state.to_owned()),
            ..self
        }
    }

    /// As [`Local::new`], for requests of others: files that they name come from `store`, and no path in
    /// a request is opened.
    #[must_use]
    pub fn of_requests(self, store: FileStore) -> Self {
        Self {
            store: Some(store),
            ..self
        }
    }

    /// Does what a user asks this process for, and puts it on record. What others ask for, whoever asks
    /// this firewall for them puts on record.
    fn on_record<T: Outcome>(
        &self,
        asked: &Asked,
        call: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut answer = call();
        if self.store.is_some() {
            return answer;
        }
        let came = answer.as_ref().map(Outcome::came);
        let trail = Trail::in_folder(&state_of(&self.root));
        trail.note(&Entry::new(
            asked,
            process::own(),
            came.as_ref().map_err(|it| *it),
        ));
        if let (Ok(answer), Some(trouble)) = (&mut answer, trail.trouble()) {
            answer.warn(trouble);
        }
        answer
    }

    fn engine(&self) -> Engine {
        Engine::new(&self.root)
    }

    /// Reads the counters. The first time, if `over` is given, twice, with that time between: rates
    /// need two readings.
    fn read(&self, over: Option<Duration>) -> Result<MutexGuard<'_, Readings>, Failure> {
        // Another call may have panicked; what it has read is whole.
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        let first = !std::mem::replace(&mut readings.begun, true);
        readings.read()?;
        if let Some(pause) = over
            && first
            && readings.observed.is_some()
        {
            sleep(pause);
            readings.read()?;
        }
        Ok(readings)
    }

    /// Adds where the policy's files no longer say what is in force.
    fn add_drift(&self, report: &mut StatusReport) {
        let readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(observed) = &readings.observed {
            report.status.drift = DriftWatch::new(self.engine(), None).look(observed);
        }
    }

    /// As [`Local::read`], where something is in force, or was when it was first looked at.
    fn read_loaded(&self, over: Option<Duration>) -> Result<MutexGuard<'_, Readings>, Failure> {
        let readings = self.read(over)?;
        match readings.seen {
            true => Ok(readings),
            false => Err(nothing_loaded()),
        }
    }
}

impl Readings {
    fn read(&mut self) -> Result<(), Failure> {
        match self.probe.read().map_err(|error| failure(&error))? {
            Some(reading) => {
                self.sampler
                    .push(reading.counters, &reading.observed.record);
                self.observed = Some(reading.observed);
                self.seen = true;
            }
            None => {
                self.observed = None;
                self.sampler.clear();
            }
        }
        Ok(())
    }

    fn snapshot(&self, ports: usize) -> Snapshot {
        let alone = self.pending.as_ref().map(|pending| {
            format!(
                "generation {} waits to be confirmed, and no daemon is there: generation {} does not come \
                 back by itself; start the daemon: systemctl start firewall",
                pending.generation, pending.back
            )
        });
        let facts = Facts {
            observed: self.observed.clone(),
            pending: self.pending.clone(),
            warnings: alone.into_iter().collect(),
            ..Facts::default()
        };
        let time = unix_time().as_secs_f64();
        self.sampler.snapshot(&facts, time, ports)
    }
}

impl Firewall for Local {
    fn status(&self) -> Result<StatusReport, Failure> {
        let mut readings = self.read(Some(STATUS))?;
        let record = readings.observed.as_ref().map(|it| it.record.generation);
        readings.pending = self.engine_of_history().pending(record);
        let snapshot = readings.snapshot(0);
        drop(readings);
        let mut report = StatusReport::of(&snapshot);
        self.add_flows(&mut report);
        self.add_drift(&mut report);
        Ok(report)
    }

    fn snapshot(&self, request: &SnapshotRequest) -> Result<Snapshot, Failure> {
        let over = request.over.map(Duration::from_secs_f64);
        Ok(self.read_loaded(over)?.snapshot(request.ports))
    }

    fn rules(&self) -> Result<RulesReport, Failure> {
        Ok(RulesReport::of(&self.read_loaded(None)?.snapshot(0)))
    }

    fn reasons(&self) -> Result<ReasonsReport, Failure> {
        Ok(ReasonsReport::of(&self.read_loaded(None)?.snapshot(0)))
    }

    fn policy(&self) -> Result<PolicyReport, Failure> {
        let readings = self.read_loaded(None)?;
        let observed = readings.observed.as_deref();
        observed
            .map(Observed::policy_report)
            .ok_or_else(nothing_loaded)
    }

    fn apply(&self, _: &ApplyRequest) -> Result<ApplyReport, Failure> {
        Err(no_daemon(&self.socket))
    }

    fn reload(&self, _: &ReloadRequest) -> Result<ApplyReport, Failure> {
        Err(no_daemon(&self.socket))
    }

    fn confirm(&self, _: &ConfirmRequest) -> Result<ApplyReport, Failure> {
        Err(no_daemon(&self.socket))
    }

    fn rollback(&self, _: &RollbackRequest) -> Result<ApplyReport, Failure> {
        Err(no_daemon(&self.socket))
    }

    fn history(&self) -> Result<HistoryReport, Failure> {
        self.list_generations()
    }

    fn generation(&self, number: u64) -> Result<PolicyReport, Failure> {
        self.engine_of_history().policy_report_of(number)
    }

    fn compare(&self, request: &CompareRequest) -> Result<Compared, Failure> {
        self.compare_policies(request)
    }

    fn plan(&self, request: &PlanRequest) -> Result<PlanReport, Failure> {
        let readings = self.read(None)?;
        let rules = readings.snapshot(0).rules;
        drop(readings);
        self.make_plan(request, &rules)
    }

    fn change_rules(&self, _: &RulesChange) -> Result<RulesChanged, Failure> {
        Err(no_daemon(&self.socket))
    }

    fn flows(&self, request: &FlowsRequest) -> Result<FlowsReport, Failure> {
        self.list_flows(request)
    }

    fn forget_flows(&self, request: &FlowsRequest) -> Result<FlowsForgotten, Failure> {
        self.on_record(&request.asked(), || self.delete_flows(request))
    }

    fn sets(&self) -> Result<SetsReport, Failure> {
        self.list_sets()
    }

    fn set(&self, name: &str, request: &SetRequest) -> Result<SetReport, Failure> {
        self.list_entries(name, request)
    }

    fn change_set(&self, change: &SetChange) -> Result<SetChanged, Failure> {
        self.on_record(&change.asked(), || self.edit_set(change))
    }

    fn events(&self, request: &EventsRequest) -> Result<EventsReport, Failure> {
        self.list_events(request)
    }

    fn watch(&self, request: &WatchRequest) -> Result<WatchReport, Failure> {
        self.watch_packets(request)
    }

    fn doctor(&self, request: &DoctorRequest) -> Result<DoctorReport, Failure> {
        self.examine(request)
    }

    fn selftest(&self, policy: &PolicySource) -> Result<Selftest, Failure> {
        self.run_selftest(policy)
    }

    fn verify(&self, policy: &PolicySource) -> Result<Verified, Failure> {
        self.run_verifier(policy)
    }

    fn trace(&self, request: &TraceRequest) -> Result<Traced, Failure> {
        self.run_frames(request)
    }

    fn put_file(&self, file: &NamedFile, from: &mut dyn Read) -> Result<FileKept, Failure> {
        match &self.store {
            Some(store) => store.put(&file.sha256, file.bytes, from),
            None => Err(no_daemon(&self.socket)),
        }
    }
}

/// An error as whoever asks reads it.
fn failure(error: &EngineError) -> Failure {
    error.failure()
}

/// Nothing to show.
fn nothing_loaded() -> Failure {
    Failure::new(
        Exit::Unreachable,
        "no policy is loaded, and no daemon is running",
    )
    .help(
        "start the daemon: firewall-ctl daemon -i IF -f FILE; or load a policy without one: \
         firewall-ctl load -i IF -f FILE",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewall_api::report::State;

    #[test]
    fn where_nothing_is_loaded_only_the_status_has_an_answer() {
        let nowhere = std::env::temp_dir().join(format!("fwt-local-{}", std::process::id()));
        let local = Local::new(&nowhere, Path::new("/run/nobody.sock"));
        let status = local.status().unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!((status.state, status.flows), (State::Off, None));
        let failures = [
            local.snapshot(&SnapshotRequest::default()).err(),
            local.rules().err(),
            local.reasons().err(),
            local.policy().err(),
            local.reload(&ReloadRequest::default()).err(),
            local
                .apply(&ApplyRequest::new(PolicySource::default()))
                .err(),
        ];
        for failure in &failures {
            let exit = failure.as_ref().map(|failure| failure.exit_code);
            assert_eq!(exit, Some(Exit::Unreachable), "{failure:?}");
        }
        assert!(local.flows(&FlowsRequest::default()).is_err());
        assert!(local.sets().is_err());
        let no_daemon = failures[4].as_ref().map_or("", |failure| &failure.message);
        assert!(no_daemon.contains("/run/nobody.sock"), "{no_daemon}");
    }
}
