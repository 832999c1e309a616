//! The event loop of the full-screen `top`: keys, signals and snapshots in, [`draw`] out.
//!
//! The source runs in a thread of its own, so that a daemon that hangs cannot keep the user from
//! quitting. Everything else happens in the caller's thread, which alone touches the terminal.
//!
//! Invariant: the terminal is taken after the source has answered once, so a `top` without a daemon
//! ends with a plain error message and its exit code.

use super::options::TopOptions;
use super::state::State;
use super::terminal::{Guard, Keys, Signals};
use super::update::{Effect, Event, update};
use super::{draw, plain};
use anyhow::{Context, Result};
use firewall_api::view::Snapshot;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event as Input};
use std::io::{IsTerminal, stdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

/// How long the loop sleeps at most: bounds the delay of a snapshot or signal, costs 10 wake-ups a
/// second. Keys wake it at once.
const NAP: Duration = Duration::from_millis(100);

/// How often the age of stale data is redrawn.
const TICK: Duration = Duration::from_secs(1);

/// Whether standard output is a terminal that can show the full screen; otherwise the caller should
/// use [`plain::run`].
#[must_use]
pub fn interactive() -> bool {
    stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Shows the full screen until the user quits or a signal asks to end.
///
/// `source` is called in a thread of its own, once for each interval; that thread ends after the
/// call that is under way when this function returns.
///
/// # Errors
/// The first call of `source` fails, or the terminal cannot be used. Later failures of the source
/// are shown on the screen and the source is asked again.
pub fn run<S>(source: S, options: TopOptions) -> Result<()>
where
    S: FnMut() -> Result<Snapshot> + Send + 'static,
{
    run_drawing(source, options, draw)
}

/// [`run`] with another drawing function: lets a test panic in the middle of a drawing.
///
/// # Errors
/// As [`run`].
#[doc(hidden)]
pub fn run_drawing<S, D>(mut source: S, options: TopOptions, mut draw: D) -> Result<()>
where
    S: FnMut() -> Result<Snapshot> + Send + 'static,
    D: FnMut(&mut Frame<'_>, &State),
{
    if !interactive() {
        return plain::run(source, &options, stdout().lock());
    }
    let first = source()?;
    options.check(&first)?;
    let start = Instant::now();
    let signals = Signals::catch().context("catching signals")?;
    let keys = Keys::open().context("the terminal cannot be read (try --plain)")?;
    let mut guard = Guard::enter().context("the terminal cannot be used (try --plain)")?;
    let size = guard
        .terminal
        .size()
        .context("reading the terminal's size")?;
    let mut state = State::new(options, (size.width, size.height));
    update(&mut state, Event::Snapshot(Box::new(first), Duration::ZERO));
    let sampler = Sampler::start(source, state.interval())?;
    let mut changed = true;
    let mut ticked = Duration::ZERO;
    loop {
        let now = start.elapsed();
        if now.saturating_sub(ticked) >= TICK {
            ticked = now;
            update(&mut state, Event::Tick(now));
            // Only stale data changes by itself: its age.
            changed |= state.trouble().is_some();
        }
        while let Some(answer) = sampler.answer()? {
            let event = match answer {
                Ok(snapshot) => Event::Snapshot(snapshot, now),
                Err(message) => Event::Failed(message, now),
            };
            update(&mut state, event);
            changed = true;
        }
        if changed {
            guard
                .terminal
                .draw(|frame| draw(frame, &state))
                .context("drawing")?;
        }
        if signals.arrived() {
            return Ok(());
        }
        changed = false;
        // After a key, those that wait already are taken before the next drawing.
        if !keys.wait(NAP).context("waiting for keys")? {
            return Ok(());
        }
        while event::poll(Duration::ZERO).context("reading keys")? {
            let Some(event) = next_event()? else {
                continue;
            };
            let interval = state.interval();
            match update(&mut state, event) {
                Effect::Quit => return Ok(()),
                Effect::Suspend => guard.suspend().context("coming back to the foreground")?,
                Effect::Continue => {}
            }
            if state.interval() != interval {
                sampler.set_interval(state.interval());
            }
            changed = true;
        }
    }
}

/// What the terminal has to say, if it concerns the screen.
fn next_event() -> Result<Option<Event>> {
    Ok(match event::read().context("reading keys")? {
        Input::Key(key) => Some(Event::Key(key)),
        Input::Resize(width, height) => Some(Event::Resize(width, height)),
        _ => None,
    })
}

type Answer = Result<Box<Snapshot>, String>;

/// The thread that asks the source.
struct Sampler {
    answers: Receiver<Answer>,
    intervals: Sender<Duration>,
}

impl Sampler {
    fn start<S>(mut source: S, mut interval: Duration) -> Result<Self>
    where
        S: FnMut() -> Result<Snapshot> + Send + 'static,
    {
        let (send_answer, answers) = channel();
        let (intervals, changes) = channel();
        std::thread::Builder::new()
            .name("top-sampler".to_owned())
            .spawn(move || {
                let mut asked = Instant::now();
                loop {
                    match changes.recv_timeout(interval.saturating_sub(asked.elapsed())) {
                        Ok(changed) => {
                            interval = changed;
                            continue;
                        }
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                    asked = Instant::now();
                    let answer = source().map(Box::new).map_err(|error| format!("{error:#}"));
                    if send_answer.send(answer).is_err() {
                        return;
                    }
                }
            })
            .context("starting the sampling thread")?;
        Ok(Self { answers, intervals })
    }

    /// The next answer, if there is one.
    fn answer(&self) -> Result<Option<Answer>> {
        match self.answers.try_recv() {
            Ok(answer) => Ok(Some(answer)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => {
                anyhow::bail!("the sampling thread ended unexpectedly; this is a bug")
            }
        }
    }

    fn set_interval(&self, interval: Duration) {
        // If the thread is gone, the next `answer` says so.
        let _ = self.intervals.send(interval);
    }
}
