//! The two threads that touch the kernel: one applies policies, one reads counters.
//!
//! They share nothing with the state task but messages.

use super::changes;
use super::confirm::{self, Settled};
use super::messages::{CHANGE, Done, EXPIRY, Job, Message, Named, RENEWAL, Seen, What};
use super::options::Options;
use super::revival::Lost;
use super::server::write;
use firewall_api::audit::{Asked, Came, Entry, Outcome as _};
use firewall_api::failure::{Exit, Failure};
use firewall_api::history::check_confirm;
use firewall_api::report::ApplyReport;
use firewall_api::request::ApplyRequest;
use firewall_api::rules::{CHANGED_MEANWHILE, changed_meanwhile};
use firewall_api::source::NamedFile;
use firewall_engine::drift::DriftWatch;
use firewall_engine::engine::{
    Applied, Engine, Followed, Guard, Observed, Origin, Record, Request, Revived, Stage,
};
use firewall_engine::kernel::debug_log::KernelLog;
use firewall_engine::kernel::watch::Watch;
use firewall_engine::probe::Probe;
use firewall_system::policy_file::PolicyFile;
use firewall_system::process;
use firewall_system::trail::Trail;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::WeakSender;
use tracing::{info, warn};

/// Time between two readings.
const INTERVAL: Duration = Duration::from_secs(1);

/// Starts the thread that applies policies. It ends when the sender of jobs is dropped.
pub(super) fn apply(
    options: &Arc<Options>,
    mut engine: Engine,
    trail: &Arc<Trail>,
    looks: &Looks,
    done: WeakSender<Message>,
) -> Result<(Sender<Job>, thread::JoinHandle<()>), Failure> {
    let (jobs, queue): (Sender<Job>, Receiver<Job>) = channel();
    let (options, trail, looks) = (Arc::clone(options), Arc::clone(trail), looks.clone());
    let thread = spawn("engine", move || {
        let _ended = Ended(done.clone());
        // Why the last renewal failed: the same is put on record once.
        let mut unrenewed = None;
        let mut untold = Untold::default();
        for job in (Queue {
            jobs: queue,
            asked: VecDeque::new(),
        }) {
            if matches!(job.what, What::Links) {
                if !look(&mut engine, &mut untold, &looks, &done) {
                    break;
                }
                continue;
            }
            if let What::Revive(lost) = &job.what {
                if !revive(&options, &mut engine, lost, (&trail, &done)) {
                    break;
                }
                continue;
            }
            let Some(message) = finish(&options, &mut engine, (&trail, &mut unrenewed), job) else {
                continue;
            };
            let Some(done) = done.upgrade() else { break };
            if done.blocking_send(message).is_err() {
                break;
            }
        }
    })?;
    Ok((jobs, thread))
}

/// Jobs in the order in which they were asked for; but what is to go goes first, and what was to stay before
/// its time was over stays.
struct Queue {
    jobs: Receiver<Job>,
    asked: VecDeque<Job>,
}

impl Iterator for Queue {
    type Item = Job;

    fn next(&mut self) -> Option<Job> {
        if self.asked.is_empty() {
            self.asked.push_back(self.jobs.recv().ok()?);
        }
        self.asked.extend(self.jobs.try_iter());
        let is_end = |job: &Job| matches!(job.what, What::Expired(_));
        let is_confirm = |job: &Job| matches!(job.what, What::Confirm(_));
        let first = self.asked.iter().position(is_end).map(|end| {
            let mut before = self.asked.iter().take(end);
            before.position(is_confirm).unwrap_or(end)
        });
        self.asked.remove(first.unwrap_or_default())
    }
}

/// Makes a change, and puts on record what nobody waits for. What the state task is told.
fn finish(
    options: &Options,
    engine: &mut Engine,
    (trail, unrenewed): (&Trail, &mut Option<String>),
    job: Job,
) -> Option<Message> {
    let (verb, path) = named(options, &job.what)?;
    let performed = perform(options, engine, job.what);
    let observed = engine.observe();
    let record = observed
        .as_ref()
        .ok()
        .and_then(|it| Some(&it.as_ref()?.record));
    let number = record.map(|record| record.generation);
    let (result, rule, restores) = match performed.transpose() {
        Some(Ok(it)) => (Ok(it.applied), it.rule, it.restores),
        Some(Err(failure)) => (Err(failure), None, None),
        // What was to go stays, or has gone.
        None => return Some(Message::Waiting(engine.waiting(number).ok().flatten())),
    };
    // What was put in force just now is so, though a look at it may fail.
    let applied = result.as_ref().ok().map(|applied| applied.generation);
    let waiting = seen(engine, applied.or(number));
    let is_named_here = matches!(verb, "apply" | "reload" | RENEWAL);
    let path = match record {
        Some(record) if !is_named_here => record.policy_path.clone(),
        _ => path,
    };
    result.iter().for_each(|it| log_applied(&path, it));
    let is_news = verb != RENEWAL || is_news(unrenewed, &result);
    if job.reply.is_none() && is_news {
        record_result(trail, verb, &path, &result);
    }
    record.iter().for_each(|record| engine.prune_files(record));
    Some(Message::Done(Box::new(Done {
        verb,
        path,
        result,
        rule,
        restores,
        waiting,
        trouble: engine.history_trouble(number),
        observed,
        at: Instant::now(),
        reply: job.reply,
    })))
}

/// What waits to be confirmed; `in_force` is the number of the generation that is.
fn seen(engine: &Engine, in_force: Option<u64>) -> Seen {
    let waiting = engine.waiting(in_force);
    waiting.map_err(|error| error.to_string())
}

/// What has come of a change.
struct Performed {
    applied: Applied,
    /// The rule that it was about.
    rule: Option<Named>,
    /// The former generation whose policy it is.
    restores: Option<u64>,
}

impl From<Settled> for Performed {
    fn from(settled: Settled) -> Self {
        Self {
            applied: settled.applied,
            rule: None,
            restores: settled.restores,
        }
    }
}

/// Makes a change. `None`: there was nothing to do, and nobody waits for it.
fn perform(
    options: &Options,
    engine: &mut Engine,
    what: What,
) -> Result<Option<Performed>, Failure> {
    let settled = match what {
        What::Rules(change) => {
            let (applied, rule) = changes::change(options, engine, change)?;
            return Ok(Some(Performed {
                applied,
                rule: Some(rule),
                restores: None,
            }));
        }
        What::Confirm(request) => confirm::settle(options, engine, request)?,
        What::Rollback(request) => confirm::roll_back(options, engine, request)?,
        What::Expired(waiting) => match confirm::expire(options, engine, &waiting)? {
            Some(settled) => settled,
            None => return Ok(None),
        },
        what => {
            let request = request(options, what, engine)?;
            let applied = engine.apply(&request).map_err(|error| error.failure())?;
            Settled {
                applied,
                restores: None,
            }
        }
    };
    Ok(Some(settled.into()))
}

/// What a change is called, and the policy that it is about.
fn named(options: &Options, what: &What) -> Option<(&'static str, String)> {
    Some(match what {
        What::Rules(_) => (CHANGE, options.policy.clone()),
        What::Sent(request) => ("apply", request.path.clone()),
        What::Confirm(request) => (request.verb(), options.policy.clone()),
        What::Rollback(_) => ("rollback", options.policy.clone()),
        What::Expired(_) => (EXPIRY, options.policy.clone()),
        What::File { .. } => ("reload", options.policy.clone()),
        What::Again(observed) => (RENEWAL, observed.record.policy_path.clone()),
        What::Links | What::Revive(_) => return None,
    })
}

/// A look after interfaces that waits for the engine thread: one sees all that has come before it begins.
#[derive(Clone, Debug, Default)]
pub(super) struct Looks(Arc<AtomicBool>);

impl Looks {
    /// Whether one more is to be asked for.
    pub(super) fn wants_more(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// Whether one more is asked for.
    fn wants_look(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// One begins: what comes from now on needs another.
    fn begins(&self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Whether what has come of a renewal is not what came of the one before. That something else is in force
/// is none: it was about nothing.
fn is_news(before: &mut Option<String>, result: &Result<Applied, Failure>) -> bool {
    let why = result.as_ref().err().map(Failure::line);
    if result.as_ref().is_err_and(has_changed_meanwhile) {
        return false;
    }
    let is_same = why.is_some() && *before == why;
    *before = why;
    !is_same
}

/// Whether what a change was made of was no longer in force.
pub(super) fn has_changed_meanwhile(failure: &Failure) -> bool {
    &*failure.code == CHANGED_MEANWHILE
}

/// Puts on record what the daemon has done by itself or by a signal.
fn record(trail: &Trail, verb: &'static str, path: &str, came: Result<&Came, &Failure>) {
    let subject = path.to_owned();
    let asked = Asked {
        verb,
        subject,
        why: None,
    };
    let entry = Entry::new(&asked, process::own(), came);
    write(trail, &entry);
}

/// As [`record`], of a policy that was applied or was not.
fn record_result(trail: &Trail, verb: &'static str, path: &str, result: &Result<Applied, Failure>) {
    let came = result.as_ref().map(|applied| came_of(path, applied));
    record(trail, verb, path, came.as_ref().map_err(|it| *it));
}

/// What came of applying a policy, for the trail.
fn came_of(path: &str, applied: &Applied) -> Came {
    ApplyReport::new(path, applied.clone()).came()
}

/// Says that the thread has ended, in whatever way it does.
struct Ended(WeakSender<Message>);

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(told) = self.0.upgrade() {
            // Nobody waits for it if nobody is there.
            let _ = told.blocking_send(Message::Ended);
        }
    }
}

/// What has come of looks after interfaces, and since when nobody has been told.
#[derive(Debug, Default)]
struct Untold(Option<(Followed, Instant)>);

/// How long an account of interfaces waits for others that come at the same time.
const ACCOUNT: Duration = Duration::from_millis(200);

impl Untold {
    fn add(&mut self, followed: Followed) {
        let (all, _) = self
            .0
            .get_or_insert_with(|| (Followed::default(), Instant::now()));
        all.add(followed);
    }

    fn may_wait(&self) -> bool {
        let since = self.0.as_ref().map(|(_, since)| since.elapsed());
        since.is_none_or(|since| since < ACCOUNT)
    }

    /// Tells it. False if nobody is there to be told.
    fn tell(&mut self, engine: &Engine, told: &WeakSender<Message>) -> bool {
        let Some((followed, _)) = self.0.take() else {
            return true;
        };
        if !followed.has_changed() && !followed.is_stale && followed.failed.is_empty() {
            return true;
        }
        let message = Message::Followed(Box::new(followed), Box::new(engine.observe()));
        let Some(told) = told.upgrade() else {
            return false;
        };
        told.blocking_send(message).is_ok()
    }
}

/// Looks after interfaces, and tells what has come of it unless the next look waits. False if nobody is
/// there to be told.
fn look(
    engine: &mut Engine,
    untold: &mut Untold,
    looks: &Looks,
    told: &WeakSender<Message>,
) -> bool {
    looks.begins();
    follow(engine, untold);
    // Whoever comes next waits for no account of who came before.
    looks.wants_look() && untold.may_wait() || untold.tell(engine, told)
}

/// Looks after interfaces that have come, gone or changed.
fn follow(engine: &mut Engine, untold: &mut Untold) {
    let followed = match engine.follow() {
        Ok(followed) => followed,
        Err(error) => {
            warn!("interfaces cannot be looked after: {error}");
            return;
        }
    };
    for name in &followed.attached {
        info!(interface = name, "attached to an interface that has come");
    }
    for what in &followed.mended {
        info!("put back {what}");
    }
    for name in &followed.gone {
        info!(interface = name, "an interface is gone");
    }
    untold.add(followed);
}

/// Puts back a filter whose links are gone. False if nobody is there to be told.
fn revive(
    options: &Options,
    engine: &mut Engine,
    lost: &Lost,
    (trail, told): (&Trail, &WeakSender<Message>),
) -> bool {
    let former = &lost.observed.record;
    let request = options.again(former);
    let revived = engine.revive(&request, former, lost.live.as_deref());
    // What fails is tried again, and said by `status`.
    let came = match &revived {
        Ok(Some(Revived::Followed(followed))) => {
            let interfaces = followed.attached.join(",");
            info!(
                interfaces,
                "put back the filter, which was taken off by other means than `unload`"
            );
            Some(Came {
                after: Some(former.generation),
                detail: format!("on {interfaces}"),
                ..Came::default()
            })
        }
        Ok(Some(Revived::Applied(applied))) => {
            info!("put back the filter, which was taken off by other means than `unload`");
            log_applied(&former.policy_path, applied);
            Some(came_of(&former.policy_path, applied))
        }
        Ok(None) | Err(_) => None,
    };
    if let Some(came) = came {
        record(trail, "revival", &former.policy_path, Ok(&came));
    }
    let revived = revived.map_err(|error| error.failure());
    // One that is held already is refused, as to any other daemon.
    let hold = engine.hold().ok();
    let observed = engine.observe();
    let in_force = observed.as_ref().ok().and_then(Option::as_ref);
    let waiting = seen(engine, in_force.map(|it| it.record.generation));
    let message = Message::Revived(Box::new(revived), Box::new(observed), hold, waiting);
    let Some(told) = told.upgrade() else {
        return false;
    };
    told.blocking_send(message).is_ok()
}

/// How long the thread that listens for changes waits before it looks whether it is still wanted.
const LISTENING: Duration = Duration::from_secs(1);

/// Starts the thread that listens for changes of interfaces and default routes. It ends a while after the
/// state task, and holds nothing meanwhile.
pub(super) fn listen(changes: WeakSender<Message>) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(
            Exit::Failed,
            format!("cannot listen for interfaces: {error}"),
        )
    };
    let mut watch = Watch::open().map_err(failed)?;
    spawn("links", move || {
        loop {
            let changed = watch.wait(LISTENING).unwrap_or_else(|error| {
                warn!("cannot hear of interfaces: {error}");
                thread::sleep(LISTENING);
                true
            });
            let Some(state) = changes.upgrade() else {
                break;
            };
            if changed && state.blocking_send(Message::Links).is_err() {
                break;
            }
        }
    })?;
    Ok(())
}

/// How often files are removed that were sent for a policy which was not put in force.
const PRUNE: Duration = Duration::from_secs(60);

/// When files were removed that nobody needs, and what is in force needs.
#[derive(Debug, Default)]
struct Prunes {
    last: Option<Instant>,
    needed: Option<Vec<NamedFile>>,
}

impl Prunes {
    /// What has to stay, if it is time to remove the rest. `in_force`: files of the policy in force;
    /// `Some(None)`: there is none; `None`: nobody knows. What was needed last stays: it may come back.
    fn due(
        &mut self,
        in_force: Option<Option<&[NamedFile]>>,
        now: Instant,
    ) -> Option<&[NamedFile]> {
        let is_early = |last| now.saturating_duration_since(last) < PRUNE;
        if self.last.is_some_and(is_early) {
            return None;
        }
        match in_force {
            Some(Some(files)) => self.needed = Some(files.to_vec()),
            Some(None) => {}
            None => return None,
        }
        self.last = Some(now);
        self.needed.as_deref()
    }
}

/// What is in force, by the last look at it: `Some(None)` if nothing is, `None` if nobody knows.
pub(super) type InForce = tokio::sync::watch::Receiver<Option<Option<Arc<Observed>>>>;

/// Starts the thread that compares the policy's files with what is in force, and removes those that were
/// sent for another one. It ends a while after the state task; a file system that hangs holds up nothing
/// else.
pub(super) fn compare(
    options: &Arc<Options>,
    in_force: InForce,
    told: WeakSender<Message>,
) -> Result<(), Failure> {
    let mut watch = DriftWatch::new(options.engine(), Some(options.policy.clone()));
    let (store, engine) = (options.store(), options.engine());
    spawn("drift", move || {
        let (mut said, mut trouble) = (Vec::new(), Vec::new());
        let mut prunes = Prunes::default();
        loop {
            // Whoever reads the counters has looked just now.
            let observed = in_force.borrow().clone();
            let files = observed.as_ref().map(|it| it.as_ref());
            let files = files.map(|it| it.map(|observed| &observed.record.files[..]));
            let needed = prunes.due(files, Instant::now());
            let looks = needed.is_some() || !trouble.is_empty();
            if let Some(needed) = needed
                && let Ok(mut all) = engine.history().files()
            {
                all.extend_from_slice(needed);
                store.prune(&all);
            }
            let before = observed.flatten();
            let found = before.as_ref().filter(|_| looks);
            let found = found.map(|observed| history_trouble(&engine, &observed.record));
            let drift = before.as_ref().map(|observed| watch.look(observed));
            let drift = drift.unwrap_or_default();
            let Some(state) = told.upgrade() else {
                break;
            };
            if drift != said {
                for new in drift.iter().filter(|it| !said.contains(*it)) {
                    warn!("{}; {}", new.what, new.restart);
                }
                if state.blocking_send(Message::Drift(drift.clone())).is_err() {
                    break;
                }
                said = drift;
            }
            if let Some(found) = found {
                let new = found.iter().filter(|it| !trouble.contains(*it));
                new.for_each(|new| warn!("{new}"));
                trouble.clone_from(&found);
                if state.blocking_send(Message::History(found)).is_err() {
                    break;
                }
            }
            drop(state);
            thread::sleep(INTERVAL);
        }
    })?;
    Ok(())
}

/// What is wrong with the history, once what is in force is in it as far as that can be.
fn history_trouble(engine: &Engine, record: &Record) -> Vec<String> {
    let noted = engine.note_found(record);
    let number = Some(record.generation);
    let mut trouble = engine.history_trouble(number);
    // That it is missing is said already.
    trouble.extend(
        noted
            .err()
            .filter(|_| trouble.is_empty())
            .map(|it| it.to_string()),
    );
    trouble
}

/// What is to be put in force, if it loses no runtime rules that nobody wants to lose.
fn request(options: &Options, what: What, engine: &Engine) -> Result<Request, Failure> {
    let seen = engine.observe();
    // It may have been changed since this was asked for, or taken off.
    if let What::Again(observed) = &what {
        let record = match &seen {
            Ok(Some(seen)) => &seen.record,
            Ok(None) => return Err(changed_meanwhile()),
            Err(_) => &observed.record,
        };
        return Ok(Request {
            of: Some(record.generation),
            ..options.again(record)
        });
    }
    // What cannot be read is not kept either: applying decides.
    let seen = seen.ok().flatten();
    let record = seen.as_ref().map(|seen| &seen.record);
    let (wanted, discard) = match what {
        What::File {
            discard_runtime,
            guard,
            origin,
        } => {
            let file = PolicyFile::read_in_time(&options.policy)?;
            let wanted = Request {
                guard,
                origin,
                ..options.request(file)
            };
            (wanted, discard_runtime)
        }
        What::Sent(sent) => {
            let discard = sent.discard_runtime;
            (of_sent(options, sent)?, discard)
        }
        _ => {
            return Err(Failure::new(Exit::Failed, "this is no policy to apply"));
        }
    };
    if let Some(record) = record {
        record.keep_runtime_rules(&wanted.policy_text, discard)?;
    }
    Ok(wanted)
}

/// The policy of a request, whose files are in the store.
fn of_sent(options: &Options, sent: ApplyRequest) -> Result<Request, Failure> {
    let file = PolicyFile {
        base: sent.base,
        name: sent.path,
        text: sent.text,
    };
    check_confirm(sent.confirm)?;
    options.store().require(&sent.files)?;
    Ok(Request {
        kept: Some(options.kept(Some(sent.files))),
        // What cuts the session comes back by itself.
        guard: Guard::of_request(sent.session, sent.i_know || sent.confirm.is_some()),
        origin: Origin {
            verb: "apply",
            asker: sent.asker,
            why: sent.why,
            stage: sent.confirm.map_or(Stage::Stays, Stage::Tried),
            restores: None,
        },
        ..options.request(file)
    })
}

/// Asks the sampling thread to look up anew what is in force.
pub(super) type Refresh = Sender<()>;

/// Starts the thread that reads counters. It ends when `Refresh` is dropped.
pub(super) fn sample(
    engine: Engine,
    readings: WeakSender<Message>,
) -> Result<(Refresh, thread::JoinHandle<()>), Failure> {
    let (refresh, refreshes) = channel();
    let mut probe = Probe::of(engine);
    let thread = spawn("sampler", move || {
        let mut next = Instant::now();
        let mut log = KernelLog::default();
        loop {
            let began = Instant::now();
            let reading = probe.read();
            if let Ok(Some(reading)) = &reading
                && let Some(link) = reading.observed.links.first()
                && let Err(error) = log.flush(link.program_id)
            {
                warn!("{error}");
            }
            let Some(state) = readings.upgrade() else {
                break;
            };
            if state
                .blocking_send(Message::Reading(Box::new(reading), began))
                .is_err()
            {
                break;
            }
            drop(state);
            // A late reading is followed by one in time, not by several at once.
            next = (next + INTERVAL).max(Instant::now());
            loop {
                match refreshes.recv_timeout(next.saturating_duration_since(Instant::now())) {
                    Ok(()) => probe.refresh(),
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        }
    })?;
    Ok((refresh, thread))
}

fn spawn(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> Result<thread::JoinHandle<()>, Failure> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot start a thread: {error}")))
}

/// Writes what was applied to the log.
pub(super) fn log_applied(policy: &str, applied: &Applied) {
    for warning in &applied.warnings {
        warn!("{warning}");
    }
    let names: Vec<&str> = applied.interfaces.iter().map(|i| i.name.as_str()).collect();
    let interfaces = names.join(",");
    let generation = applied.generation;
    if applied.changed {
        let seconds = applied.seconds;
        info!(generation, policy, interfaces, seconds, "applied");
    } else {
        info!(generation, policy, interfaces, "unchanged");
    }
}

/// What holds after a failed change.
pub(super) fn stays(record: &Record) -> String {
    format!("not applied; generation {} stays active", record.generation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewall_api::history::ConfirmRequest;
    use firewall_api::session::Asker;
    use firewall_system::history::Waiting;

    #[test]
    fn what_is_to_go_waits_for_nothing_but_who_was_in_time_to_confirm_it() {
        let (send, jobs) = channel();
        let waiting = Waiting {
            generation: 42,
            back: 41,
            seconds: 60,
            boot: String::new(),
            ends: 0,
            policy: String::new(),
            asker: Asker::default(),
        };
        let all = [
            What::Links,
            What::Confirm(ConfirmRequest::default()),
            What::Expired(waiting),
            What::Confirm(ConfirmRequest::default()),
        ];
        for what in all {
            assert!(send.send(Job { what, reply: None }).is_ok());
        }
        drop(send);
        let asked = VecDeque::new();
        let order = Queue { jobs, asked }.map(|job| match job.what {
            What::Confirm(_) => "confirm",
            What::Expired(_) => "end",
            _ => "other",
        });
        let order: Vec<&str> = order.collect();
        assert_eq!(order, ["confirm", "end", "other", "confirm"]);
    }

    #[test]
    fn one_look_waits_however_much_happens() {
        let looks = Looks::default();
        assert!(looks.wants_more());
        assert!(!looks.wants_more() && !looks.clone().wants_more());
        looks.begins();
        assert!(
            looks.wants_more(),
            "what has come since is seen by the next"
        );
    }

    #[test]
    fn a_renewal_that_fails_as_before_is_no_news() {
        let mut before = None;
        let failed = |what: &str| Err(Failure::new(Exit::Failed, what));
        assert!(is_news(&mut before, &failed("no")));
        assert!(!is_news(&mut before, &failed("no")));
        assert!(is_news(&mut before, &failed("another")));
        assert!(!is_news(&mut before, &Err(changed_meanwhile())));
        assert!(!is_news(&mut before, &failed("another")));
    }

    #[test]
    fn files_are_removed_at_the_start_and_once_a_minute_by_what_was_in_force_last() {
        let file = |path: &str| NamedFile {
            path: path.to_owned(),
            sha256: String::new(),
            bytes: 0,
        };
        let (one, two) = ([file("one")], [file("two")]);
        let start = Instant::now();
        let mut prunes = Prunes::default();
        let mut due = |seconds, in_force| {
            let now = start + Duration::from_secs(seconds);
            prunes.due(in_force, now).map(<[NamedFile]>::to_vec)
        };
        assert_eq!(due(0, None), None, "nobody knows what is needed");
        assert_eq!(due(1, Some(Some(&one[..]))), Some(one.to_vec()));
        assert_eq!(due(60, Some(Some(&two[..]))), None, "early");
        assert_eq!(due(61, Some(Some(&two[..]))), Some(two.to_vec()));
        assert_eq!(due(121, None), None);
        assert_eq!(due(122, Some(None)), Some(two.to_vec()), "it may come back");
    }
}
