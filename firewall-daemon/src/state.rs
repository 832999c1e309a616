//! The daemon's state, owned by one task; everything else sends it messages.
//!
//! Invariant: no message waits for the kernel or for a peer, so every answer is prompt, also while
//! a large policy compiles.

use super::confirm::Timer;
use super::handle::{Handle, is_ending};
use super::messages::{
    Answer, CANCEL, CHANGE, CONFIRM, Done, EXPIRY, Job, Message, RENEWAL, Start, What,
};
use super::options::Options;
use super::renewal::Renewal;
use super::revival::Revival;
use super::threads::{self, Looks, Refresh};
use firewall_api::clock::unix_time;
use firewall_api::failure::{Exit, Failure};
use firewall_api::format::clock;
use firewall_api::report::{ApplyReport, PolicyReport};
use firewall_api::view::{Drift, Pending, Snapshot};
use firewall_engine::engine::{Applied, EngineError, Followed, Hold, LiveView, Observed, Revived};
use firewall_engine::probe::Reading;
use firewall_engine::sampler::{Facts, Sampler};
use firewall_system::trail::Trail;
use std::sync::Arc;
use std::sync::mpsc::Sender as JobSender;
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

/// Messages in flight; senders wait beyond that.
const QUEUE: usize = 64;

/// Everything that the daemon knows.
#[derive(Debug)]
pub(super) struct State {
    options: Arc<Options>,
    started: Instant,
    messages: mpsc::Receiver<Message>,
    sampler: Sampler,
    observed: Option<Arc<Observed>>,
    /// When the counters of the newest sample were read.
    sampled: Option<Instant>,
    /// Who asked for a snapshot before there was a sample, and for how many ports.
    early: Vec<(usize, oneshot::Sender<Snapshot>)>,
    /// When the last job ended: readings from before say nothing about what is in force.
    changed: Instant,
    last_error: Option<String>,
    /// The generation that was to be applied again because the clock was set.
    renewed: Option<u64>,
    /// Whether what is in force is to be applied once more, and when.
    renewal: Renewal,
    unreadable: Option<String>,
    /// What was said last of interfaces that cannot be filtered.
    unfollowed: Vec<String>,
    /// What is wrong with the copy of bans and live sets.
    kept: Vec<String>,
    /// What is wrong with the history.
    trouble: Vec<String>,
    /// What waits to be confirmed.
    timer: Timer,
    /// Where changes are put on record.
    trail: Arc<Trail>,
    /// Where files no longer say what is in force.
    drift: Vec<Drift>,
    /// Tells whoever compares those files what is in force.
    in_force: watch::Sender<Option<Option<Arc<Observed>>>>,
    /// The table of bans and live sets of what is in force, which outlives its pins.
    live: Option<Arc<LiveView>>,
    /// The filter that is lost.
    revival: Revival,
    /// What was last said of what somebody has changed.
    wounds: Vec<String>,
    /// `None` once the daemon ends: nothing new is begun.
    jobs: Option<JobSender<Job>>,
    /// Whether a look after interfaces waits there.
    looks: Looks,
    refresh: Refresh,
    /// Whether the thread that applies policies is there.
    is_working: bool,
    threads: [JoinHandle<()>; 2],
    hold: Hold,
}

/// What a daemon leaves that has ended.
#[derive(Debug)]
pub(super) struct Stopped {
    /// The number of the generation in force.
    pub(super) in_force: Option<u64>,
    /// What waits to be confirmed yet.
    pub(super) pending: Option<Pending>,
    /// What keeps other daemons away until it is dropped.
    pub(super) hold: Hold,
}

impl State {
    /// The state after the start, with its two threads running.
    pub(super) fn new(options: &Arc<Options>, start: Start) -> Result<(Handle, Self), Failure> {
        let (sender, messages) = mpsc::channel(QUEUE);
        let looks = Looks::default();
        let told = sender.downgrade();
        let (jobs, engine) = threads::apply(options, start.engine, &start.trail, &looks, told)?;
        threads::listen(sender.downgrade())?;
        let (in_force, seen) = watch::channel(None);
        threads::compare(options, seen, sender.downgrade())?;
        let (refresh, sampler) = threads::sample(options.engine(), sender.downgrade())?;
        let now = Instant::now();
        let mut state = Self {
            options: Arc::clone(options),
            started: now,
            messages,
            sampler: Sampler::new(),
            observed: start.observed,
            sampled: None,
            early: Vec::new(),
            changed: now,
            last_error: start.last_error,
            renewed: None,
            renewal: Renewal::default(),
            unreadable: None,
            unfollowed: Vec::new(),
            kept: Vec::new(),
            trouble: Vec::new(),
            timer: Timer::default(),
            trail: Arc::clone(&start.trail),
            drift: Vec::new(),
            in_force,
            live: None,
            revival: Revival::default(),
            wounds: Vec::new(),
            jobs: Some(jobs),
            looks,
            is_working: true,
            refresh,
            threads: [engine, sampler],
            hold: start.hold,
        };
        state.timer.set(start.waiting);
        // What has come before anybody listened.
        state.look_after();
        Ok((Handle::new(sender, options), state))
    }

    /// Works until [`Handle::end`], and until all that was asked for before it is done and answered.
    /// Returns what is in force then, and what keeps other daemons away.
    pub(super) async fn run(mut self) -> Stopped {
        loop {
            let message = tokio::select! {
                message = self.messages.recv() => message,
                () = self.timer.over() => {
                    self.go_back();
                    continue;
                }
            };
            let Some(message) = message else { break };
            match message {
                Message::Ended if self.jobs.is_none() => break,
                // The thread comes to the end of its queue, and says so.
                Message::End if self.is_working => self.jobs = None,
                Message::End => break,
                message => self.take(message),
            }
        }
        // What comes too late is told so.
        self.messages.close();
        while let Ok(message) = self.messages.try_recv() {
            if let Message::Apply(Job {
                reply: Some(reply), ..
            }) = message
            {
                let _ = reply.send(Err(is_ending()));
            }
        }
        let Self {
            observed,
            messages,
            jobs,
            refresh,
            threads,
            hold,
            timer,
            ..
        } = self;
        // The threads see closed channels and end.
        drop((messages, jobs, refresh));
        // An apply that is under way comes to its end first.
        let joined = tokio::task::spawn_blocking(move || {
            threads.into_iter().for_each(|thread| {
                if thread.join().is_err() {
                    error!("a thread failed");
                }
            });
        });
        if let Err(error) = joined.await {
            error!("cannot wait for the threads: {error}");
        }
        Stopped {
            in_force: observed.map(|it| it.record.generation),
            pending: timer.pending(),
            hold,
        }
    }

    fn take(&mut self, message: Message) {
        // A reply whose reader has gone away is nobody's loss.
        match message {
            Message::Snapshot { ports, reply } => {
                // Counters outlive the daemon: before it has read them once, it knows nothing.
                if self.sampled.is_none() && self.observed.is_some() && self.unreadable.is_none() {
                    self.early.push((ports, reply));
                } else {
                    let _ = reply.send(self.snapshot(ports));
                }
            }
            Message::Policy { reply } => {
                let _ = reply.send(match &self.observed {
                    Some(observed) => Ok(PolicyReport {
                        reloads: Some(self.options.policy.clone()),
                        ..observed.policy_report()
                    }),
                    None => Err(nothing_loaded()),
                });
            }
            Message::Apply(job) => {
                let (unsent, why) = match &self.jobs {
                    None => (Some(job), is_ending()),
                    Some(jobs) => {
                        let what = "the engine thread has ended; restart the daemon";
                        let unsent = jobs.send(job).err().map(|unsent| unsent.0);
                        (unsent, Failure::new(Exit::Failed, what))
                    }
                };
                if let Some(reply) = unsent.and_then(|job| job.reply) {
                    let _ = reply.send(Err(why));
                }
            }
            Message::Done(done) => self.done(*done),
            Message::Links => {
                self.revival.hurry();
                self.look_after();
            }
            Message::Revived(revived, observed, hold, waiting) => {
                if let Some(hold) = hold {
                    let former = std::mem::replace(&mut self.hold, hold);
                    // Letting go waits for the lock on the store.
                    tokio::task::spawn_blocking(move || drop(former));
                }
                // Whoever has taken it off on purpose has ended what waited.
                let is_off = matches!((&*revived, &*observed), (Ok(None), Ok(None)));
                self.timer.see(waiting, is_off);
                self.revived(*revived, *observed);
            }
            Message::Followed(followed, observed) => self.followed(&followed, *observed),
            Message::Drift(drift) => self.drift = drift,
            Message::Kept(kept) => self.kept = kept,
            Message::History(trouble) => self.trouble = trouble,
            Message::Waiting(waiting) => {
                self.timer = Timer::default();
                self.timer.set(waiting);
            }
            Message::Reading(reading, began) => self.reading(*reading, began),
            Message::Ended => self.is_working = false,
            Message::End => {}
        }
    }

    /// Has the policy come back whose successor was not confirmed in time.
    fn go_back(&mut self) {
        if let Some(waiting) = self.timer.due() {
            let generation = waiting.generation;
            warn!(generation, "not confirmed in time: going back");
            self.begin(What::Expired(waiting));
        }
    }

    fn done(&mut self, done: Done) {
        self.see(done.observed, done.at);
        self.trouble = done.trouble;
        // A renewal ends nothing, nor does what was refused.
        let has_ended = done.result.is_ok() && done.verb != RENEWAL;
        self.timer.see(done.waiting, has_ended);
        if has_ended && [CONFIRM, CANCEL, EXPIRY].contains(&done.verb) {
            self.timer.set(None);
        }
        if done.verb == EXPIRY {
            self.gone_back(&done.path, done.result);
            return;
        }
        if done.verb == RENEWAL {
            self.renewal_ended(&done.path, done.result);
            return;
        }
        let answer = match done.result {
            Ok(mut applied) => {
                // A change by one rule mends no file that could not be read.
                if done.verb != CHANGE {
                    self.last_error = None;
                }
                self.renewal.is_settled();
                if done.verb == "apply" && !is_one_file(&done.path, &self.options.policy) {
                    applied.warnings.push(format!(
                        "the daemon's own policy file is {}: a reload or restart goes back to it",
                        self.options.policy
                    ));
                }
                let waits = done.verb != CHANGE && applied.changed;
                Ok(Answer {
                    report: ApplyReport {
                        pending: self.timer.pending().filter(|_| waits),
                        restores: done.restores,
                        ..ApplyReport::new(&done.path, applied)
                    },
                    rule: done.rule,
                })
            }
            Err(failure) => {
                // Who is told that it was refused, and why, knows what is in force.
                let refused = failure.exit_code == Exit::Refused && failure.diagnostics.is_empty();
                let is_file = ["apply", "reload"].contains(&done.verb);
                if is_file && !(refused && done.reply.is_some()) {
                    self.last_error = Some(last_error(done.verb, &done.path, &failure));
                }
                let failure = match &self.observed {
                    _ if done.verb == CONFIRM => failure,
                    Some(observed) => failure.outcome(threads::stays(&observed.record)),
                    None => failure.outcome("not applied; nothing is filtered"),
                };
                error!("{} of {} failed: {}", done.verb, done.path, failure.line());
                Err(failure)
            }
        };
        if let Some(reply) = done.reply {
            let _ = reply.send(answer);
        }
    }

    /// Takes note of what has come of going back, which nobody waits for.
    fn gone_back(&mut self, path: &str, result: Result<Applied, Failure>) {
        match result {
            Ok(applied) => {
                self.renewal.is_settled();
                let why = Failure::new(Exit::Failed, "it was not confirmed in time, and went");
                let error = last_error("apply", path, &why);
                let number = applied.generation;
                self.last_error = Some(format!("{error}; generation {number} is in force"));
            }
            Err(failure) => {
                let line = failure.line();
                error!("going back failed: {line}");
                self.timer.failed(&line);
            }
        }
    }

    /// Takes note of what has come of a renewal, which nobody waits for. It mends no file that could not be
    /// read.
    fn renewal_ended(&mut self, path: &str, result: Result<Applied, Failure>) {
        let now = Instant::now();
        match result {
            Ok(_) => self.renewal.succeeded(now),
            // What it was about is not in force any more.
            Err(failure) if threads::has_changed_meanwhile(&failure) => self.renewal.succeeded(now),
            Err(failure) => {
                let line = failure.line();
                let error = last_error(RENEWAL, path, &failure);
                if self.renewal.failed(line.clone(), error, now) {
                    error!("{RENEWAL} of {path} failed: {line}");
                }
            }
        }
    }

    /// Takes note of what is in force, as a look has found it that ended `at` a moment.
    fn see(&mut self, observed: Result<Option<Observed>, EngineError>, at: Instant) {
        match observed {
            Ok(Some(observed)) => {
                let _ = self.revival.end();
                self.observed = Some(Arc::new(observed));
            }
            Ok(None) => self.miss(),
            Err(error) => warn!("cannot read the active state: {error}"),
        }
        self.changed = at;
        // The thread ends only after this task.
        let _ = self.refresh.send(());
    }

    /// Nothing is in force: what was is put back, unless `unload` has taken it off.
    fn miss(&mut self) {
        if let Some(observed) = self.observed.take() {
            warn!("another program removed the filter");
            self.sampler.clear();
            self.revival.begin(observed, self.live.take());
        }
        if let Some(lost) = self.revival.due() {
            self.begin(What::Revive(lost));
        }
    }

    /// Takes note of interfaces that have come or gone. What cannot be filtered stands in `status`.
    fn followed(&mut self, followed: &Followed, observed: Result<Option<Observed>, EngineError>) {
        let new: Vec<&String> = followed.failed.iter().collect();
        for failure in new.into_iter().filter(|it| !self.unfollowed.contains(it)) {
            warn!("{failure}");
        }
        self.unfollowed.clone_from(&followed.failed);
        self.see(observed, Instant::now());
        if followed.is_stale {
            self.renewal
                .want("an interface needs another program: reapplying the policy");
            self.begin_renewal();
        }
    }

    /// Takes note of what has come of a lost filter.
    fn revived(
        &mut self,
        revived: Result<Option<Revived>, Failure>,
        observed: Result<Option<Observed>, EngineError>,
    ) {
        let revived = match revived {
            Ok(revived) => revived,
            Err(failure) => {
                if let Some(new) = self.revival.failed(failure.line()) {
                    error!("{new}");
                }
                return;
            }
        };
        // Until the next reading the former table is the one that is held.
        if let Some(lost) = self.revival.end() {
            self.live = lost.live;
        }
        match revived {
            Some(Revived::Followed(followed)) => self.followed(&followed, observed),
            Some(Revived::Applied(_)) | None => self.see(observed, Instant::now()),
        }
    }

    /// Takes note of a reading, by a look that `began` at a moment.
    fn reading(&mut self, reading: Result<Option<Reading>, EngineError>, began: Instant) {
        let seen = reading.as_ref().ok();
        let seen = seen.map(|it| it.as_ref().map(|it| Arc::clone(&it.observed)));
        self.in_force.send_replace(seen);
        match reading {
            Ok(Some(reading)) => {
                if self.unreadable.take().is_some() {
                    // Whoever was to look after interfaces meanwhile could not.
                    self.look_after();
                }
                if reading.looked >= self.changed {
                    self.sampler
                        .push(reading.counters, &reading.observed.record);
                    self.renew(&reading.observed);
                    self.mend(&reading.observed);
                    let _ = self.revival.end();
                    self.live = reading.live;
                    self.sampled = Some(reading.read);
                }
            }
            Ok(None) => {
                self.unreadable = None;
                // One that began before a change has ended says nothing of what is in force.
                if began >= self.changed {
                    self.miss();
                }
            }
            Err(error) => {
                let what = format!("counters cannot be read: {error}");
                if self.unreadable.as_ref() != Some(&what) {
                    warn!("{what}");
                }
                self.unreadable = Some(what);
                // Perhaps somebody has removed pins: another generation brings its own.
                self.look_after();
            }
        }
        if self.sampled.is_some() || self.unreadable.is_some() || self.observed.is_none() {
            for (ports, reply) in std::mem::take(&mut self.early) {
                let _ = reply.send(self.snapshot(ports));
            }
        }
    }

    /// Has the policy in force applied once more if the look at it has found a reason, once for each
    /// generation, or if the last attempt has failed. What failed is told by `status`.
    fn renew(&mut self, observed: &Arc<Observed>) {
        let generation = observed.record.generation;
        let why = observed
            .renewal
            .filter(|_| self.renewed != Some(generation));
        if let Some(why) = why {
            self.renewed = Some(generation);
            if !observed.links.is_empty() {
                self.renewal.want(why);
            }
        }
        self.observed = Some(Arc::clone(observed));
        self.begin_renewal();
    }

    /// Has the policy in force applied once more, if that is wanted and it is time.
    fn begin_renewal(&mut self) {
        if let Some(observed) = &self.observed
            && self.renewal.is_due(Instant::now())
        {
            let generation = observed.record.generation;
            info!(generation, "{}", self.renewal.reason());
            self.begin(What::Again(Arc::clone(observed)));
        }
    }

    /// Has put back what somebody has taken off, and says so once.
    fn mend(&mut self, observed: &Arc<Observed>) {
        if observed.is_whole {
            self.renewal.is_well();
            self.wounds.clear();
            return;
        }
        let new = observed.warnings.iter();
        for wound in new.filter(|it| !self.wounds.contains(it)) {
            warn!("{wound}");
        }
        self.wounds.clone_from(&observed.warnings);
        self.look_after();
    }

    /// Has the engine look after interfaces and links.
    fn look_after(&self) {
        // Whoever has ended says so when he is asked to apply something.
        if self.jobs.is_some() && self.looks.wants_more() {
            self.begin(What::Links);
        }
    }

    /// Has something done that nobody has asked for.
    fn begin(&self, what: What) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(Job { what, reply: None });
        }
    }

    /// What wants attention besides what is in force.
    fn warnings(&self) -> Vec<String> {
        let lost = self.revival.warning().filter(|_| self.observed.is_none());
        let lost = lost.into_iter();
        let known = self.unreadable.iter().chain(&self.kept).cloned();
        let known = known.chain(self.timer.error().cloned());
        let known = known.chain(self.trouble.iter().cloned());
        lost.chain(known).chain(self.trail.trouble()).collect()
    }

    fn snapshot(&self, ports: usize) -> Snapshot {
        let facts = Facts {
            daemon: Some((std::process::id(), self.started.elapsed().as_secs_f64())),
            observed: self.observed.clone(),
            last_error: self.last_error.as_ref().or(self.renewal.error()).cloned(),
            drift: self.drift.clone(),
            warnings: self.warnings(),
            pending: self.timer.pending().filter(|_| self.observed.is_some()),
        };
        let age = self.sampled.map_or(0.0, |at| at.elapsed().as_secs_f64());
        self.sampler
            .snapshot(&facts, unix_time().as_secs_f64() - age, ports)
    }
}

/// A failure in one line, for `status`.
pub(super) fn last_error(verb: &str, path: &str, failure: &Failure) -> String {
    format!(
        "{verb} of {path} failed at {}: {}",
        clock(unix_time().as_secs_f64()),
        failure.line()
    )
}

/// Whether two paths lead to the same file or directory.
fn is_one_file(one: &str, other: &str) -> bool {
    let real = |path: &str| std::fs::canonicalize(path).ok();
    one == other || real(one).is_some_and(|one| Some(one) == real(other))
}

fn nothing_loaded() -> Failure {
    Failure::new(Exit::Failed, "no policy is loaded").help("load one: firewall-ctl apply -f FILE")
}
