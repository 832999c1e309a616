//! What is kept of each generation that comes into force, and what waits to be confirmed: part of every
//! change, so that each road into force has it.
//!
//! ```text
//! check_stage   whether a change may be made now, before anything is touched
//! begin_tried   the way back is on the disk before the switch
//! note          the generation is in the history, and what waited has its end
//! ```
//!
//! Invariants: a policy that is only tried comes into force when the policy that would come back can be put
//! in force by what is on the disk, and not before; a history that cannot be read or written keeps no other
//! change from being made. What is in force it does not decide: that is text to be applied again.

use super::files;
use super::plan::Desired;
use super::types::{Applied, EngineError, Origin, Record, Request, Scope, Stage};
use super::{Engine, KernelError};
use crate::kernel::{clock, host};
use firewall_api::audit::part;
use firewall_api::clock::unix_time;
use firewall_api::failure::{Exit, Failure};
use firewall_api::history::{HistoryEntry, HistoryReport};
use firewall_api::report::PolicyReport;
use firewall_api::view::{Pending, SCHEMA};
use firewall_policy::bundle::{self, RUNTIME};
use firewall_policy::duration;
use firewall_policy::rule::Policy;
use firewall_policy::time;
use firewall_system::file_store::FileStore;
use firewall_system::hash;
use firewall_system::history::{History, Waiting};
use firewall_system::set_files::Kept;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The verb of a generation that was found in force, and nobody knows by whom.
const FOUND: &str = "found";

/// The verb of what is put in force without a daemon.
const LOAD: &str = "load";

impl Engine {
    /// The history of the generations.
    #[must_use]
    pub fn history(&self) -> History {
        History::in_folder(self.store.state())
    }

    /// What waits to be confirmed, if it is in force since the machine's present start; `in_force` is the
    /// number of the generation that is.
    ///
    /// # Errors
    /// Nobody can tell: what is written of it cannot be read.
    pub fn waiting(&self, in_force: Option<u64>) -> io::Result<Option<Waiting>> {
        let waiting = self.history().waiting()?;
        Ok(waiting.filter(|waiting| {
            waiting.boot == host::boot()
                && waiting.generation > self.ended.load(Ordering::Relaxed)
                && in_force.is_some_and(|number| self.is_of(number, waiting))
        }))
    }

    /// Whether generation `in_force` is what waits, or a renewal of it, and was not confirmed.
    #[must_use]
    pub fn is_of(&self, in_force: u64, waiting: &Waiting) -> bool {
        in_force >= waiting.generation && self.history().is_confirmed(in_force) != Some(true)
    }

    /// The same, as whoever asks reads it.
    #[must_use]
    pub fn pending(&self, in_force: Option<u64>) -> Option<Pending> {
        let waiting = self.waiting(in_force).ok().flatten();
        waiting.map(|waiting| pending(&waiting))
    }

    /// What is wrong with the history, one sentence each; `in_force` is the number of the generation that
    /// is.
    #[must_use]
    pub fn history_trouble(&self, in_force: Option<u64>) -> Vec<String> {
        let history = self.history();
        let mut trouble = history.list().1;
        let missing = in_force.filter(|&number| history.is_confirmed(number).is_none());
        if let Some(number) = missing {
            trouble.push(format!(
                "generation {number}, which is in force, is not in the history: nobody can go back to \
                 it; is {} full?",
                self.state().display()
            ));
        }
        if let Err(error) = history.waiting() {
            trouble.push(format!(
                "what waits to be confirmed in {} cannot be read: {error}",
                self.state().display()
            ));
        }
        trouble
    }

    /// The generations that are kept.
    ///
    /// # Errors
    /// A missing privilege; what is pinned cannot be read.
    pub fn history_report(&self) -> Result<HistoryReport, EngineError> {
        let survey = self.store.survey()?;
        let in_force = survey.in_force().map(|it| it.number);
        let (generations, mut warnings) = self.history().list();
        if generations.is_empty() && !warnings.is_empty() {
            host::require_privilege()?;
            return Err(KernelError::State(warnings.remove(0)).into());
        }
        Ok(HistoryReport {
            schema: SCHEMA.to_owned(),
            time: unix_time().as_secs_f64(),
            in_force,
            pending: self.pending(in_force),
            generations,
            warnings,
        })
    }

    /// A generation of the history, as it was written.
    ///
    /// # Errors
    /// Exit code 3: it is not kept.
    pub fn policy_report_of(&self, generation: u64) -> Result<PolicyReport, Failure> {
        let (entry, text) = self.history().read(generation)?;
        Ok(PolicyReport {
            schema: SCHEMA.to_owned(),
            generation,
            policy: entry.policy,
            content_sha256: entry.content_sha256,
            sha256: entry.sha256,
            text,
            fingerprint: String::new(),
            base: entry.base,
            files: entry.files,
            reloads: None,
        })
    }

    /// The policy of a generation, with the files that it names as they were.
    ///
    /// # Errors
    /// Exit code 3: it is not kept, or a file of it is not, or this version does not read it.
    pub fn policy_of(&self, generation: u64) -> Result<Policy, Failure> {
        let request = self.request_of(generation)?;
        let source = files::read(&request, &[]).map_err(|error| error.failure())?;
        Ok(source.policy)
    }

    /// The policy in force, with the files that it names as they were read, and its number.
    ///
    /// # Errors
    /// Nothing is loaded; what the policy names is not kept any more.
    pub fn policy_in_force(&self) -> Result<(Policy, u64), EngineError> {
        let survey = self.store.survey()?;
        let active = survey.in_force().ok_or_else(|| self.nothing_loaded())?;
        let record = active.folder.read_record()?;
        let source = files::in_force(&record, self.store.state()).map_err(KernelError::State)?;
        Ok((source.policy, record.generation))
    }

    /// A request to put the policy of a generation in force once more, on the interfaces that it was for.
    ///
    /// # Errors
    /// Exit code 3: it is not kept, or a file of it is not.
    pub fn request_of(&self, generation: u64) -> Result<Request, Failure> {
        let (entry, text) = self.history().read(generation)?;
        let store = FileStore::new(&self.store.state().join("files"));
        store.require(&entry.files).map_err(|missing| {
            let what = format!("generation {generation}: {}", missing.message);
            Failure::new(Exit::Config, what).help("apply its policy from a file")
        })?;
        Ok(Request {
            policy_path: entry.policy,
            policy_text: text,
            base: entry.base,
            kept: Some(Kept {
                store,
                named: Some(entry.files),
            }),
            interfaces: entry.interfaces,
            scope: Scope::Waiting,
            origin: Origin {
                restores: Some(generation),
                ..Origin::default()
            },
            ..Request::default()
        })
    }

    /// Puts the newest confirmed policy in force that can be: that of generation `first`, or of older ones.
    /// `adapt` says by which words interfaces are chosen. What was applied, and the number of its generation
    /// in the history.
    ///
    /// # Errors
    /// Why the first of them could not be put in force.
    pub fn go_back(
        &mut self,
        first: Option<u64>,
        origin: &Origin,
        adapt: impl Fn(Request) -> Request,
    ) -> Result<(Applied, u64), Failure> {
        let (entries, _) = self.history().list();
        let confirmed = entries.iter().filter(|entry| entry.confirmed);
        let confirmed = confirmed.filter(|entry| first.is_none_or(|it| entry.generation <= it));
        let mut tried = Vec::new();
        let mut why = None;
        for entry in confirmed {
            if tried.contains(&&entry.content_sha256) {
                continue;
            }
            tried.push(&entry.content_sha256);
            let number = entry.generation;
            let applied = self.request_of(number).and_then(|request| {
                let origin = Origin {
                    restores: Some(number),
                    stage: Stage::Back,
                    ..origin.clone()
                };
                let request = adapt(Request { origin, ..request });
                self.apply(&request).map_err(|error| error.failure())
            });
            match applied {
                Ok(applied) => return Ok((applied, number)),
                Err(failure) => why.get_or_insert(failure),
            };
        }
        Err(why.unwrap_or_else(|| {
            Failure::new(Exit::Failed, "no policy is confirmed that could come back")
                .help("apply one: firewall-ctl apply -f FILE")
        }))
    }

    /// Removes copies of files that neither what is in force nor the history names, unless they have come
    /// lately.
    pub fn prune_files(&self, in_force: &Record) {
        if let Ok(mut needed) = self.history().files() {
            needed.extend(in_force.files.iter().cloned());
            FileStore::new(&self.store.state().join("files")).prune(&needed);
        }
    }

    /// Lets the policy in force stay, which waits to be confirmed.
    ///
    /// # Errors
    /// Exit code 1: nothing waits; it waits on, because the disk does not take it.
    pub fn confirm(&self) -> Result<Waiting, EngineError> {
        let nothing = || EngineError::from(KernelError::State(NOTHING_WAITS.into()));
        if !self.root().exists() {
            return Err(nothing());
        }
        let _lock = host::lock(self.root())?;
        let survey = self.store.survey()?;
        let in_force = survey.in_force().map(|it| it.number);
        let state = self.state().display();
        let waiting = self.waiting(in_force);
        let waiting = waiting.map_err(KernelError::call(format!(
            "read what waits to be confirmed in {state}"
        )))?;
        let waiting = waiting.ok_or_else(nothing)?;
        let history = self.history();
        let confirmed = history
            .confirm(waiting.generation)
            .and_then(|()| history.end_waiting());
        confirmed.map_err(KernelError::call(format!("confirm it in {state}")))?;
        Ok(waiting)
    }

    /// Refuses a change before much is read for it, if it would be refused then.
    pub(super) fn check_early(&self, request: &Request) -> Result<(), EngineError> {
        if !matches!(self.history().waiting(), Ok(Some(_))) {
            return Ok(());
        }
        // Who may not look is told so later.
        match self.store.survey() {
            Ok(survey) => self.check_waiting(request, survey.in_force().map(|it| it.number)),
            Err(_) => Ok(()),
        }
    }

    /// Refuses a change of what waits to be confirmed.
    fn check_waiting(&self, request: &Request, in_force: Option<u64>) -> Result<(), EngineError> {
        if matches!(request.origin.stage, Stage::Upkeep | Stage::Back) {
            return Ok(());
        }
        // Where no daemon is there to be asked, who loads by hand may mean it.
        let is_by_hand = request.origin.verb == LOAD;
        let is_meant = is_by_hand && request.guard.is_off();
        match self.waiting(in_force) {
            Ok(Some(waiting)) if !is_meant => Err(waits(&waiting, is_by_hand)),
            // What cannot be read keeps no change from being made.
            _ => Ok(()),
        }
    }

    /// Refuses a change that may not be made now.
    pub(super) fn check_stage(
        &self,
        request: &Request,
        source: &files::Source,
        known: Option<&Record>,
    ) -> Result<(), EngineError> {
        self.check_waiting(request, known.map(|it| it.generation))?;
        if request.origin.stage != Stage::Start {
            return Ok(());
        }
        // The machine has started anew since, or the filter was taken off.
        if let Ok(Some(waiting)) = self.history().waiting()
            && (known.is_none() || waiting.boot != host::boot())
        {
            return Err(EngineError::Unconfirmed {
                policy: waiting.policy,
                generation: waiting.generation,
            });
        }
        let (entries, _) = self.history().list();
        let own = own_hash(&request.policy_text);
        let is_it = |entry: &&HistoryEntry| entry.own_sha256 == own && entry.files == source.files;
        match entries.iter().find(is_it) {
            Some(entry) if !entry.confirmed && entries.iter().any(|it| it.confirmed) => {
                Err(EngineError::Unconfirmed {
                    policy: request.policy_path.clone(),
                    generation: entry.generation,
                })
            }
            _ => Ok(()),
        }
    }

    /// Brings the way back to the disk, and what is tried, which no start takes for confirmed then; before it
    /// comes into force.
    pub(super) fn begin_tried(
        &self,
        desired: &Desired<'_>,
        known: Option<&Record>,
    ) -> Result<(), EngineError> {
        let (request, number) = (desired.request, desired.number);
        let Stage::Tried(seconds) = request.origin.stage else {
            return Ok(());
        };
        let record = known.ok_or_else(|| {
            // A policy of long ago would not be what was before.
            no_way_back("nothing is in force that could come back")
        })?;
        let history = self.history();
        if history.is_confirmed(record.generation).is_none() {
            let entry = entry_of(record, &found(), true);
            let kept = history.keep(&entry, &record.policy_text, &[]);
            kept.map_err(|error| no_way_back(&error.to_string()))?;
        }
        let back = history.list().0.into_iter().find(|entry| entry.confirmed);
        let back = back.ok_or_else(|| no_way_back("no policy is confirmed"))?;
        let can_come_back = self.request_of(back.generation).and_then(|request| {
            // Tests of it do not hold it up.
            let request = Request {
                is_change: true,
                ..request
            };
            self.compile(&request).map_err(|error| error.failure())
        });
        can_come_back.map_err(|failure| no_way_back(&failure.line()))?;
        let (entry, text) = (tried(desired), &request.policy_text);
        let kept = history.keep(&entry, text, &[back.generation]);
        kept.map_err(|error| no_way_back(&error.to_string()))?;
        let waiting = Waiting {
            generation: number,
            back: back.generation,
            seconds,
            boot: host::boot(),
            ends: ends(seconds),
            policy: part(&request.policy_path),
            asker: request.origin.asker.clone().printable(),
        };
        let begun = history.wait_for(&waiting);
        begun.map_err(|error| {
            // One that stays was not in force, and is confirmed by nobody.
            let _ = history.forget_tried(number);
            no_way_back(&error.to_string())
        })
    }

    /// A policy that was to be tried has not come into force.
    pub(super) fn end_tried(&self, desired: &Desired<'_>) {
        if matches!(desired.request.origin.stage, Stage::Tried(_)) {
            let history = self.history();
            // One that stays is of a generation that is not in force.
            let _ = history.end_waiting();
            let _ = history.forget_tried(desired.number);
        }
    }

    /// Notes that the generation of a record is in force. `before` is the number of the one before; the
    /// same one, if nothing has changed.
    pub(super) fn note(
        &self,
        request: &Request,
        record: &Record,
        before: Option<u64>,
        warnings: &mut Vec<String>,
    ) {
        let (history, origin) = (self.history(), &request.origin);
        let number = record.generation;
        let waiting = history.waiting();
        let is_same = before == Some(number);
        #[expect(
            clippy::match_same_arms,
            reason = "what is confirmed, then what is the same generation, then what is new"
        )]
        let noted = match (history.is_confirmed(number), origin.stage) {
            (Some(true), _) => Ok(()),
            (Some(false), Stage::Upkeep) if is_same => Ok(()),
            (Some(false), _) if is_same => history.confirm(number),
            // By `begin_tried`.
            (Some(false), Stage::Tried(_)) => Ok(()),
            // One of this number that a crash has left did not come into force.
            (_, stage) => {
                let is_confirmed = match stage {
                    Stage::Stays | Stage::Start | Stage::Back => true,
                    Stage::Tried(_) => is_same,
                    // As what it renews.
                    Stage::Upkeep => before
                        .and_then(|before| history.is_confirmed(before))
                        .unwrap_or_else(|| !matches!(self.waiting(before), Ok(Some(_)))),
                };
                let entry = entry_of(record, origin, is_confirmed);
                let used = waiting.iter().flatten().map(|it| it.back);
                let used: Vec<u64> = used.collect();
                history.keep(&entry, &record.policy_text, &used)
            }
        };
        if let Err(error) = noted {
            warnings.push(format!(
                "generation {number} is not in the history, and cannot be gone back to: {}: {error}",
                self.state().display()
            ));
        }
        let ended = match (origin.stage, waiting) {
            (Stage::Upkeep, _) | (_, Ok(None)) | (Stage::Start, Err(_)) => Ok(()),
            // The way back is that of before the switch, if it can be read again.
            (Stage::Tried(_), Err(error)) => Err(error),
            // The time begins when it is in force.
            (Stage::Tried(seconds), Ok(Some(waiting))) if waiting.generation == number => history
                .wait_for(&Waiting {
                    ends: ends(seconds),
                    ..waiting
                }),
            (_, waiting) => {
                if let Ok(Some(waiting)) = waiting {
                    // A disk that does not take it holds up no change after this one.
                    self.ended.store(waiting.generation, Ordering::Relaxed);
                }
                history.end_waiting()
            }
        };
        if let Err(error) = ended {
            let state = self.state().display();
            warnings.push(format!("what waits to be confirmed: {state}: {error}"));
        }
    }

    /// Keeps what is in force in the history, if it is not there: another version has put it in force, or
    /// there was no room on the disk.
    pub fn note_found(&self, record: &Record) -> Result<(), EngineError> {
        let history = self.history();
        if history.is_confirmed(record.generation).is_some() {
            return Ok(());
        }
        let _lock = host::lock(self.root())?;
        // Whoever has put it in force has noted it meanwhile, or it is in force no more.
        if history.is_confirmed(record.generation).is_some() {
            return Ok(());
        }
        let waiting = self.waiting(Some(record.generation)).ok().flatten();
        let entry = entry_of(record, &found(), waiting.is_none());
        let used: Vec<u64> = waiting.iter().map(|it| it.back).collect();
        let kept = history.keep(&entry, &record.policy_text, &used);
        let state = self.state().display();
        Ok(kept.map_err(KernelError::call(format!("write the history in {state}")))?)
    }
}

/// What is said where nothing waits to be confirmed.
const NOTHING_WAITS: &str = "nothing waits to be confirmed: the policy in force stays";

/// What waits, with the time that is left.
#[must_use]
pub fn pending(waiting: &Waiting) -> Pending {
    Pending {
        generation: waiting.generation,
        back: waiting.back,
        seconds: waiting.seconds,
        left: left(waiting).as_secs_f64(),
    }
}

/// The time that is left to confirm it.
#[must_use]
pub fn left(waiting: &Waiting) -> Duration {
    Duration::from_nanos(waiting.ends).saturating_sub(clock::since_start())
}

/// When so many seconds are over.
fn ends(seconds: u64) -> u64 {
    let ends = clock::since_start() + Duration::from_secs(seconds);
    u64::try_from(ends.as_nanos()).unwrap_or(u64::MAX)
}

fn found() -> Origin {
    Origin {
        verb: FOUND,
        ..Origin::default()
    }
}

/// SHA-256 of a policy without its runtime rules.
fn own_hash(text: &str) -> String {
    hash::of(bundle::runtime(text).1)
}

/// The refusal of a change while another one waits; `by_hand`: without a daemon.
fn waits(waiting: &Waiting, by_hand: bool) -> EngineError {
    let left = Duration::from_secs(left(waiting).as_secs_f64().ceil() as u64);
    let back = waiting.back;
    let help = match by_hand {
        true => "start the daemon, which ends that when its time is over; or load it nevertheless: --i-know"
            .to_owned(),
        false => format!(
            "keep it: firewall-ctl confirm; or go back to the policy of generation {back}: \
             firewall-ctl cancel"
        ),
    };
    EngineError::Refused {
        message: format!(
            "generation {} waits to be confirmed ({} left)",
            waiting.generation,
            duration::print(left)
        ),
        help: help.into(),
    }
}

fn no_way_back(why: &str) -> EngineError {
    EngineError::Refused {
        message: format!("there would be no way back: {why}"),
        help: "mend that, or apply it without --confirm".into(),
    }
}

/// What is kept of a policy before it is tried.
fn tried(desired: &Desired<'_>) -> HistoryEntry {
    let (request, source) = (desired.request, desired.source);
    let rules = source.policy.rules.iter();
    let now = unix_time();
    HistoryEntry {
        generation: desired.number,
        time: now.as_secs_f64(),
        at: time::print(now.as_secs()),
        verb: request.origin.verb.to_owned(),
        why: request.origin.why.as_deref().map(part),
        asker: request.origin.asker.clone().printable(),
        policy: request.policy_path.clone(),
        base: request.base.clone(),
        files: source.files.clone(),
        interfaces: desired.selectors.named.clone(),
        content_sha256: source.content_sha256.clone(),
        sha256: hash::of(&request.policy_text),
        own_sha256: own_hash(&request.policy_text),
        bytes: request.policy_text.len() as u64,
        rules: rules.clone().filter(|rule| rule.enabled).count(),
        runtime: rules.filter(|rule| rule.place.file == RUNTIME).count(),
        default: source.policy.default_verdict.name().into(),
        restores: request.origin.restores,
        confirmed: false,
    }
}

/// What is kept of a record.
fn entry_of(record: &Record, origin: &Origin, confirmed: bool) -> HistoryEntry {
    let enabled = record.rules.iter().filter(|rule| rule.enabled);
    HistoryEntry {
        generation: record.generation,
        time: record.applied,
        at: time::print(record.applied as u64),
        verb: origin.verb.to_owned(),
        why: origin.why.as_deref().map(part),
        asker: origin.asker.clone().printable(),
        policy: record.policy_path.clone(),
        base: record.base.clone(),
        files: record.files.clone(),
        interfaces: record.selectors.named.clone(),
        content_sha256: record.content_sha256.clone(),
        sha256: hash::of(&record.policy_text),
        own_sha256: own_hash(&record.policy_text),
        bytes: record.policy_text.len() as u64,
        rules: enabled.count(),
        runtime: record.rules.iter().filter(|rule| rule.runtime).count(),
        default: record.default.clone(),
        restores: origin.restores,
        confirmed,
    }
}
