//! `firewall-ctl daemon`: keeps a policy active, samples counters, and serves the control socket.
//!
//! ```text
//! signals, server ─► Message ─► state (one task, owns everything)
//!                                 ▲  │ jobs            ▲ readings
//!                                 │  ▼                 │ once a second
//!                                 engine thread      sampling thread
//! ```
//!
//! The state task never waits for the kernel: policies are applied on a thread of their own, one
//! after the other, and counters are read on another. May import
//! `firewall_engine` and what is below it.
//!
//! Invariant: when the daemon exits or is killed, nothing in the kernel changes.

#![forbid(unsafe_code)]

mod changes;
mod confirm;
mod handle;
mod keeper;
mod manager;
mod messages;
mod options;
mod places;
mod renewal;
mod revival;
pub mod server;
mod shared;
mod socket;
mod state;
mod threads;

use confirm::First;
use firewall_api::audit::{Asked, Came, Entry};
use firewall_api::clock::unix_time;
use firewall_api::failure::{Exit, Failure};
use firewall_api::view::Pending;
use firewall_engine::engine::{Engine, Hold, Observed, left};
use firewall_engine::kernel::peer;
use firewall_policy::edit;
use firewall_system::history::Waiting;
use firewall_system::policy_file::PolicyFile;
use firewall_system::process;
use firewall_system::trail::Trail;
use manager::Manager;
use messages::Start;
pub use options::Options;
use server::Record;
use socket::Socket;
use state::{State, Stopped};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};

/// How long peers may take to read their answers when the daemon ends.
const FAREWELL: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or SIGINT, and leaves the filter on.
///
/// # Errors
/// The reason why nothing could be put in force, if nothing is in force already; a socket that is
/// taken (7) or cannot be made.
pub fn run(options: Options) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot start threads: {error}")))?;
    runtime.block_on(live(options))
}

async fn live(options: Options) -> Result<(), Failure> {
    let (socket, listener) = Socket::listen(&options.socket)?;
    let no_signals = |error: std::io::Error| {
        Failure::new(Exit::Failed, format!("cannot watch for signals: {error}"))
    };
    let mut hangup = signal(SignalKind::hangup()).map_err(no_signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;

    let options = Arc::new(options);
    let begin = Arc::clone(&options);
    let trail = Arc::new(options.trail());
    let record = Arc::clone(&trail);
    let start = tokio::task::spawn_blocking(move || start(&begin, record))
        .await
        .map_err(|error| Failure::new(Exit::Failed, format!("startup failed: {error}")))??;
    let (handle, state) = State::new(&options, start)?;
    let state = tokio::spawn(state.run());
    let (keeper, kept) = keeper::start(&options, handle.told())?;
    let (end, ending) = watch::channel(false);
    let record = Record::new(Arc::clone(&trail), peer::hold);
    let server = server::serve(listener, Arc::new(handle.clone()), record, ending);
    let server = tokio::spawn(server);
    info!(socket = %options.socket.display(), "listening");
    let manager = Arc::new(Manager::of_environment());
    let asked = handle.clone();
    let attended = Arc::clone(&manager).attend(move || asked.clone().stand());
    let attended = tokio::spawn(attended);

    loop {
        tokio::select! {
            _ = hangup.recv() => handle.reload_in_background(),
            _ = terminate.recv() => break info!("SIGTERM"),
            _ = interrupt.recv() => break info!("SIGINT"),
        }
    }
    manager.ending();
    attended.abort();
    // Nobody new is let in; those who are there hear what came of what they have asked for.
    let _ = end.send(true);
    drop(socket);
    handle.end().await;
    // A policy that is being applied comes to its end first: nothing is left half done.
    let (number, pending, hold) = ended(state).await;
    if tokio::time::timeout(FAREWELL, end.closed()).await.is_err() {
        warn!("some answers were not read in time");
        server.abort();
    }
    // Behind the pins the keeper writes the copy of bans once more: what was accepted before them is in the
    // table then, and whoever bans from then on writes the copy.
    let let_go = tokio::task::spawn_blocking(move || {
        // Waits for the lock on the store.
        drop(hold);
        drop(keeper);
        kept.join().is_ok()
    });
    if !let_go.await.unwrap_or_default() {
        error!("the ban keeper thread failed");
    }
    note(&trail, "stop", &options, (number, Ok(number)));
    if let Some(pending) = pending {
        error!("{}", alone(&pending));
    }
    farewell(number);
    Ok(())
}

/// What is said where the daemon ends while something waits to be confirmed.
fn alone(pending: &Pending) -> String {
    format!(
        "generation {} waits to be confirmed, and stays while no daemon is there: generation {} comes back \
         when the daemon has started again and the time is over",
        pending.generation, pending.back
    )
}

fn farewell(in_force: Option<u64>) {
    match in_force {
        Some(generation) => info!(
            generation,
            "daemon stopped, the filter stays active; to remove it: firewall-ctl unload --all"
        ),
        None => info!("daemon stopped; nothing is filtered"),
    }
}

/// What is in force at the end, what waits, and what keeps other daemons away until it is dropped.
type Ended = (Option<u64>, Option<Pending>, Option<Hold>);

async fn ended(state: tokio::task::JoinHandle<Stopped>) -> Ended {
    match state.await {
        Ok(it) => (it.in_force, it.pending, Some(it.hold)),
        Err(error) => {
            error!("the state task failed: {error}");
            (None, None, None)
        }
    }
}

/// Adopts what is in force and applies the policy file. A policy that cannot be applied is no
/// reason to end while another one protects the host.
fn start(options: &Options, trail: Arc<Trail>) -> Result<Start, Failure> {
    let mut engine = options.engine();
    let hold = hold(options, &engine)?;
    let before = match engine.observe() {
        Ok(observed) => observed,
        Err(error) => {
            // Applying decides: it takes over or rebuilds what it can, or fails.
            warn!(
                "what is pinned under {} cannot be adopted: {error}",
                options.root.display()
            );
            None
        }
    };
    if let Some(observed) = &before {
        let record = &observed.record;
        info!(
            generation = record.generation,
            policy = record.policy_path,
            "adopted"
        );
    }
    let read = || read_own(options, before.as_ref());
    let first = confirm::at_start(options, &mut engine, before.as_ref(), read);
    let number = before.as_ref().map(|it| it.record.generation);
    let came = match &first {
        First::Waits(_) => Ok(number),
        First::Applied(applied) | First::Instead(applied, _) => Ok(Some(applied.generation)),
        First::Nothing(failure) => Err(failure),
    };
    note(&trail, "start", options, (number, came));
    let (last_error, waiting) = told(options, first, before.as_ref())?;
    let observed = engine
        .observe()
        .map_err(|error| error.failure())?
        .map(Arc::new);
    Ok(Start {
        engine,
        hold,
        observed,
        last_error,
        waiting,
        trail,
    })
}

/// Says what the daemon begins with: for `status`, and what waits to be confirmed.
fn told(
    options: &Options,
    first: First,
    before: Option<&Observed>,
) -> Result<(Option<String>, Option<Waiting>), Failure> {
    let own = &options.policy;
    let told = match first {
        First::Waits(waiting) => {
            let left = left(&waiting).as_secs();
            let generation = waiting.generation;
            warn!(
                generation,
                left, "waits to be confirmed: {own} is not applied"
            );
            (None, Some(waiting))
        }
        First::Applied(applied) => {
            threads::log_applied(own, &applied);
            (None, None)
        }
        First::Instead(applied, why) => {
            threads::log_applied("a former policy", &applied);
            let number = applied.generation;
            let why = why.outcome(format!(
                "the newest policy that was confirmed is in force, as generation {number}"
            ));
            error!("{}", why.to_text(options.color).trim_end());
            let error = state::last_error("start", own, &why);
            let error = format!("{error}; the newest confirmed policy is in force");
            (Some(error), None)
        }
        First::Nothing(failure) => {
            let Some(observed) = before else {
                return Err(failure.outcome("nothing loaded"));
            };
            let outcome = threads::stays(&observed.record);
            let text = failure.clone().outcome(outcome).to_text(options.color);
            error!("{}", text.trim_end());
            (Some(state::last_error("start", own, &failure)), None)
        }
    };
    Ok(told)
}

/// The daemon's own policy, with the runtime rules that are in force: these end with their generation or by
/// a command, not by the daemon's restart.
fn read_own(options: &Options, before: Option<&Observed>) -> Result<PolicyFile, Failure> {
    let mut file = PolicyFile::read_in_time(&options.policy)?;
    if let Some(observed) = before {
        let (in_force, now) = (&observed.record.policy_text, unix_time().as_secs());
        match edit::saved(in_force, &file.text, now) {
            Ok(text) => file.text = text,
            Err(error) => warn!("runtime rules end here: {error}"),
        }
    }
    Ok(file)
}

/// Puts on record that the daemon begins or ends, with the generations in force before and behind that.
fn note(
    trail: &Trail,
    verb: &'static str,
    options: &Options,
    (before, after): (Option<u64>, Result<Option<u64>, &Failure>),
) {
    let came = after.map(|after| Came {
        before,
        after,
        is_unchanged: before == after,
        ..Came::default()
    });
    let subject = format!("daemon with {}", options.policy);
    let asked = Asked {
        verb,
        subject,
        why: None,
    };
    let entry = Entry::new(&asked, process::own(), came.as_ref().map_err(|it| *it));
    server::write(trail, &entry);
}

/// Keeps other daemons away from the pins. What is wrong with the policy is said first: it needs no
/// privilege to find out.
fn hold(options: &Options, engine: &Engine) -> Result<Hold, Failure> {
    let held = engine.hold().map_err(|error| error.failure());
    held.or_else(|failure| {
        if failure.exit_code == Exit::Refused {
            return Err(failure.outcome("this daemon has changed nothing"));
        }
        let request = options.request(PolicyFile::read_in_time(&options.policy)?);
        let compiled = engine.compile(&request).map_err(|error| error.failure());
        compiled
            .and(Err(failure))
            .map_err(|failure| failure.outcome("nothing loaded"))
    })
}
