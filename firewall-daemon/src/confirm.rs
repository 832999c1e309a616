//! Changes that go by themselves unless they are confirmed: the time that is left, what ends it, and what
//! the daemon begins with where one waits.
//!
//! Invariants: the way back is on the disk, so a daemon that is killed goes on where it was; time that the
//! machine sleeps counts, and no clock that can be set does; going back is tried until it succeeds.

use super::options::Options;
use super::revival::wait;
use firewall_api::failure::{Exit, Failure};
use firewall_api::history::{ConfirmRequest, RollbackRequest, check_confirm};
use firewall_api::report::Applied;
use firewall_api::view::Pending;
use firewall_engine::engine::{self, Engine, Guard, Observed, Origin, Request, Stage};
use firewall_system::history::Waiting;
use firewall_system::policy_file::PolicyFile;
use firewall_system::process;
use std::time::{Duration, Instant};
use tracing::warn;

/// The longest time between two attempts to go back.
const LONGEST: Duration = Duration::from_secs(60);

/// What waits to be confirmed, and when it goes.
#[derive(Debug, Default)]
pub(super) struct Timer {
    waiting: Option<Waiting>,
    is_under_way: bool,
    attempts: u32,
    /// Not before then, because an attempt has failed.
    next: Option<Instant>,
    /// What `status` says of the last attempt.
    error: Option<String>,
}

impl Timer {
    /// Takes note of what waits now.
    pub(super) fn set(&mut self, waiting: Option<Waiting>) {
        let is_same = match (&waiting, &self.waiting) {
            (Some(new), Some(old)) => new.generation == old.generation,
            _ => false,
        };
        match is_same {
            true => self.waiting = waiting,
            false => {
                *self = Self {
                    waiting,
                    ..Self::default()
                }
            }
        }
    }

    /// Takes note of what waits by a look after a request; `has_ended`: the request has put something in
    /// force for good, or has confirmed it. Who cannot tell, and who sees nothing in force, says nothing of
    /// what waits.
    pub(super) fn see(&mut self, seen: Result<Option<Waiting>, String>, has_ended: bool) {
        match seen {
            Ok(Some(waiting)) => self.set(Some(waiting)),
            Ok(None) if has_ended => self.set(None),
            Ok(None) => {}
            Err(error) => warn!("what waits to be confirmed cannot be read: {error}"),
        }
    }

    /// As whoever asks reads it.
    pub(super) fn pending(&self) -> Option<Pending> {
        self.waiting.as_ref().map(engine::pending)
    }

    /// What wants attention.
    pub(super) fn error(&self) -> Option<&String> {
        self.error.as_ref()
    }

    /// Ends when the time is over; never, if nothing waits or it is going.
    pub(super) async fn over(&self) {
        let Some(waiting) = self.waiting.as_ref().filter(|_| !self.is_under_way) else {
            return std::future::pending().await;
        };
        let pause = self
            .next
            .map(|next| next.saturating_duration_since(Instant::now()));
        tokio::time::sleep(engine::left(waiting).max(pause.unwrap_or_default())).await;
    }

    /// The generation that is to go now, if its time is over; it is under way then.
    pub(super) fn due(&mut self) -> Option<Waiting> {
        let waiting = self.waiting.as_ref().filter(|_| !self.is_under_way)?;
        let is_early = self.next.is_some_and(|next| Instant::now() < next);
        if is_early || !engine::left(waiting).is_zero() {
            return None;
        }
        self.is_under_way = true;
        Some(waiting.clone())
    }

    /// Nothing could come back.
    pub(super) fn failed(&mut self, why: &str) {
        self.is_under_way = false;
        self.next = Some(Instant::now() + wait(self.attempts, LONGEST));
        self.attempts = self.attempts.saturating_add(1);
        if let Some(waiting) = &self.waiting {
            self.error = Some(format!(
                "generation {} was not confirmed, and stays yet, because the policy of generation {} \
                 cannot come back: {why}",
                waiting.generation, waiting.back
            ));
        }
    }
}

/// What has come of a request about the history.
pub(super) struct Settled {
    pub(super) applied: Applied,
    /// The former generation whose policy it is.
    pub(super) restores: Option<u64>,
}

/// Lets what waits stay, or go.
pub(super) fn settle(
    options: &Options,
    engine: &mut Engine,
    request: ConfirmRequest,
) -> Result<Settled, Failure> {
    let verb = request.verb();
    let origin = Origin {
        verb,
        asker: request.asker,
        why: request.why,
        ..Origin::default()
    };
    if request.cancels {
        let waiting = waiting(engine)?.ok_or_else(nothing_waits)?;
        return go_back(options, engine, waiting.back, &origin);
    }
    engine.confirm().map_err(|error| error.failure())?;
    let observed = engine.observe().map_err(|error| error.failure())?;
    let record = observed.ok_or_else(nothing_waits)?.record;
    let applied = Applied {
        generation: record.generation,
        before: Some(record.generation),
        changed: true,
        interfaces: record.interfaces,
        warnings: Vec::new(),
        seconds: 0.0,
        effect: None,
    };
    Ok(Settled {
        applied,
        restores: None,
    })
}

/// The time of a generation is over. `None`: it is not in force any more, or was confirmed. What the daemon
/// has known of it all the time counts, whatever has become of the file.
pub(super) fn expire(
    options: &Options,
    engine: &mut Engine,
    waiting: &Waiting,
) -> Result<Option<Settled>, Failure> {
    let observed = engine.observe().map_err(|error| error.failure())?;
    let Some(observed) = observed else {
        let what = "nothing is in force just now";
        return Err(Failure::new(Exit::Failed, what));
    };
    if !engine.is_of(observed.record.generation, waiting) {
        return Ok(None);
    }
    let origin = Origin {
        verb: super::messages::EXPIRY,
        asker: process::own(),
        why: Some(not_confirmed(waiting)),
        ..Origin::default()
    };
    go_back(options, engine, waiting.back, &origin).map(Some)
}

/// Why a policy comes back.
pub(super) fn not_confirmed(waiting: &Waiting) -> String {
    format!(
        "generation {} was not confirmed within {} s",
        waiting.generation, waiting.seconds
    )
}

fn go_back(
    options: &Options,
    engine: &mut Engine,
    first: u64,
    origin: &Origin,
) -> Result<Settled, Failure> {
    let came = engine.go_back(Some(first), origin, |request| options.adapted(request));
    came.map(|(applied, number)| Settled {
        applied,
        restores: Some(number),
    })
}

/// What waits, if something in force does.
fn waiting(engine: &Engine) -> Result<Option<Waiting>, Failure> {
    let observed = engine.observe().map_err(|error| error.failure())?;
    let number = observed.map(|it| it.record.generation);
    engine.waiting(number).map_err(|error| {
        let what = format!("what waits to be confirmed cannot be read: {error}");
        Failure::new(Exit::Failed, what)
    })
}

fn nothing_waits() -> Failure {
    Failure::new(
        Exit::Failed,
        "nothing waits to be confirmed: the policy in force stays",
    )
    .help("to go back to a former one: firewall-ctl rollback")
}

/// Puts the policy of a former generation in force.
pub(super) fn roll_back(
    options: &Options,
    engine: &mut Engine,
    request: RollbackRequest,
) -> Result<Settled, Failure> {
    check_confirm(request.confirm)?;
    let observed = engine.observe().map_err(|error| error.failure())?;
    let record = observed.map(|it| it.record);
    let generation = match request.generation {
        Some(generation) => generation,
        None => {
            let (entries, _) = engine.history().list();
            let is_other = |content: &str| {
                record
                    .as_ref()
                    .is_none_or(|record| record.content_sha256 != content)
            };
            let mut before = entries.iter();
            let before = before.find(|it| it.confirmed && is_other(&it.content_sha256));
            let before = before.ok_or_else(|| {
                Failure::new(Exit::Failed, "there is no confirmed policy before this one")
                    .help("list them: firewall-ctl history")
            })?;
            before.generation
        }
    };
    let wanted = options.adapted(engine.request_of(generation)?);
    let wanted = Request {
        guard: Guard::of_request(request.session, request.i_know || request.confirm.is_some()),
        origin: Origin {
            verb: "rollback",
            asker: request.asker,
            why: request.why,
            stage: request.confirm.map_or(Stage::Stays, Stage::Tried),
            restores: Some(generation),
        },
        ..wanted
    };
    let mut applied = engine.apply(&wanted).map_err(|error| error.failure())?;
    let lost = record.map(|record| record.lost_rules(&wanted.policy_text));
    applied.warnings.extend(lost.unwrap_or_default());
    Ok(Settled {
        applied,
        restores: Some(generation),
    })
}

/// What the daemon begins with.
pub(super) enum First {
    /// What is in force waits to be confirmed: no other policy is put in its place.
    Waits(Waiting),
    /// The daemon's own file, or what had to come back because its time was over.
    Applied(Applied),
    /// Another policy than the daemon's own file, and why.
    Instead(Applied, Failure),
    /// Nothing: what was in force is so yet, if something was.
    Nothing(Failure),
}

/// Goes on with what waits to be confirmed, or puts the daemon's own file in force. Where nothing is in
/// force and that cannot be, the newest confirmed policy is better than none.
pub(super) fn at_start(
    options: &Options,
    engine: &mut Engine,
    before: Option<&Observed>,
    read: impl FnOnce() -> Result<PolicyFile, Failure>,
) -> First {
    let origin = Origin {
        verb: "start",
        asker: process::own(),
        ..Origin::default()
    };
    let number = before.map(|it| it.record.generation);
    // What cannot be read is said by `status`.
    if let Ok(Some(waiting)) = engine.waiting(number) {
        // Whoever was killed before it was noted: what was tried is known as such.
        if let Some(Err(error)) = before.map(|it| engine.note_found(&it.record)) {
            warn!("{error}");
        }
        if !engine::left(&waiting).is_zero() {
            return First::Waits(waiting);
        }
        let why = Failure::new(Exit::Refused, not_confirmed(&waiting));
        return match go_back(options, engine, waiting.back, &origin) {
            Ok(settled) => First::Instead(settled.applied, why),
            // The timer tries again.
            Err(_) => First::Waits(waiting),
        };
    }
    let (may_help, failure) = match read() {
        Err(failure) => (true, failure),
        Ok(file) => {
            let request = Request {
                origin: Origin {
                    stage: Stage::Start,
                    ..origin.clone()
                },
                ..options.request(file)
            };
            match engine.apply(&request) {
                Ok(applied) => return First::Applied(applied),
                Err(error) => (error.is_of_policy(), error.failure()),
            }
        }
    };
    if before.is_some() || !may_help {
        return First::Nothing(failure);
    }
    let came = engine.go_back(None, &origin, |request| options.adapted(request));
    match came {
        Ok((applied, _)) => First::Instead(applied, failure),
        Err(_) => First::Nothing(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewall_api::session::Asker;

    fn waiting(generation: u64, ends: Duration) -> Waiting {
        Waiting {
            generation,
            back: 41,
            seconds: 60,
            boot: String::new(),
            ends: u64::try_from(ends.as_nanos()).unwrap_or(u64::MAX),
            policy: String::new(),
            asker: Asker::default(),
        }
    }

    fn number(timer: &mut Timer) -> Option<u64> {
        timer.due().map(|it| it.generation)
    }

    #[test]
    fn who_cannot_tell_ends_no_time() {
        let mut timer = Timer::default();
        timer.see(Ok(Some(waiting(42, Duration::ZERO))), true);
        timer.see(Err("damaged".to_owned()), false);
        timer.see(Err("damaged".to_owned()), true);
        timer.see(Ok(None), false);
        assert_eq!(number(&mut timer), Some(42));
        timer.failed("nothing is in force");
        timer.see(Ok(None), false);
        assert!(timer.error().is_some(), "it is tried again");
        timer.see(Ok(None), true);
        assert!(timer.pending().is_none() && timer.error().is_none());
    }

    #[test]
    fn what_waits_goes_once_when_its_time_is_over_and_is_tried_again() {
        let mut timer = Timer::default();
        assert_eq!((number(&mut timer), timer.pending()), (None, None));
        timer.set(Some(waiting(42, Duration::MAX)));
        assert_eq!(number(&mut timer), None, "there is time");
        assert!(timer.pending().is_some_and(|it| it.left > 1e9));
        timer.set(Some(waiting(42, Duration::ZERO)));
        assert_eq!(number(&mut timer), Some(42));
        assert_eq!(number(&mut timer), None, "it is under way");
        // Looks at the same do not begin it anew.
        timer.set(Some(waiting(42, Duration::ZERO)));
        assert_eq!(number(&mut timer), None);
        timer.failed("no interface");
        assert!(timer.error().is_some_and(|it| it.contains("no interface")));
        timer.failed("no interface");
        assert_eq!(number(&mut timer), None, "not at once");
        timer.set(Some(waiting(50, Duration::ZERO)));
        assert_eq!(number(&mut timer), Some(50));
        assert_eq!(timer.error(), None);
        timer.set(None);
        assert_eq!((number(&mut timer), timer.pending()), (None, None));
    }

    #[tokio::test]
    async fn the_time_is_waited_for_and_nothing_else() {
        let soon = Duration::from_millis(100);
        let mut timer = Timer::default();
        assert!(tokio::time::timeout(soon, timer.over()).await.is_err());
        timer.set(Some(waiting(42, Duration::ZERO)));
        assert!(tokio::time::timeout(soon, timer.over()).await.is_ok());
        assert_eq!(number(&mut timer), Some(42));
        assert!(tokio::time::timeout(soon, timer.over()).await.is_err());
    }
}
