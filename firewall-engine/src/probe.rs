//! Reads what the kernel runs and what it counts, as one consistent pair, again and again: the
//! reading half of a [`crate::sampler::Sampler`]. The daemon's sampling thread and the verbs that
//! work without a daemon use the same one.
//!
//! Invariant: the counters of a [`Reading`] belong to the generation of its record.

use crate::engine::{CounterReader, Counters, Engine, EngineError, LiveView, Observed};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Reading what is in force may take this share of the time: one in fifty.
const SHARE: u32 = 50;

/// How old a look may be: whoever takes the filter off is noticed within a second.
const AGE: Duration = Duration::from_millis(900);

/// How often a look is repeated when the generation changes under it.
const RACES: u32 = 5;

/// One moment.
#[derive(Debug)]
pub struct Reading {
    /// What was in force.
    pub observed: Arc<Observed>,
    /// When that was looked up: at most the cost of a few looks before the counters.
    pub looked: Instant,
    /// When reading the counters began.
    pub read: Instant,
    /// What it had counted.
    pub counters: Counters,
    /// Its bans and live sets. They outlive their pins while somebody holds this.
    pub live: Option<Arc<LiveView>>,
}

#[derive(Debug)]
struct Open {
    observed: Arc<Observed>,
    looked: Instant,
    reader: CounterReader,
    live: Option<Arc<LiveView>>,
}

/// Keeps the counters mapped between two readings.
#[derive(Debug)]
pub struct Probe {
    engine: Engine,
    open: Option<Open>,
    stale: Instant,
}

impl Probe {
    /// A probe for the pins under `root`. Touches nothing yet.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self::of(Engine::new(root))
    }

    /// As [`Probe::new`], by an engine that knows where to look.
    #[must_use]
    pub fn of(engine: Engine) -> Self {
        Self {
            engine,
            open: None,
            stale: Instant::now(),
        }
    }

    /// Reads now; `None` when nothing is loaded.
    ///
    /// What is in force is looked up anew when the last look is a second old, or older than its cost
    /// allows, or after [`Probe::refresh`]. (The record, which takes a while to read with 100,000 rules,
    /// is read again only if it was written again.)
    ///
    /// # Errors
    /// Pins that cannot be read or understood.
    pub fn read(&mut self) -> Result<Option<Reading>, EngineError> {
        if self.open.is_none() || Instant::now() >= self.stale {
            self.look()?;
        }
        Ok(self.open.as_ref().map(|open| Reading {
            observed: Arc::clone(&open.observed),
            looked: open.looked,
            read: Instant::now(),
            counters: open.reader.read(),
            live: open.live.clone(),
        }))
    }

    /// Makes the next reading look up what is in force.
    pub fn refresh(&mut self) {
        self.stale = Instant::now();
    }

    fn look(&mut self) -> Result<(), EngineError> {
        let begin = Instant::now();
        let mut before = self.open.take();
        let former = before.as_ref().map(|open| Arc::clone(&open.observed));
        for _ in 0..RACES {
            let looked = Instant::now();
            let observed = match &before {
                Some(open) => self.engine.observe_again(&open.observed)?,
                None => self.engine.observe()?.map(Arc::new),
            };
            let Some(observed) = observed else {
                return Ok(());
            };
            let (reader, live) = match before.take() {
                Some(open) if open.reader.is_of(&observed) => (open.reader, open.live),
                // A table that cannot be opened is told by whoever needs it.
                _ => (
                    self.engine.reader()?,
                    self.engine.live_view().ok().map(Arc::new),
                ),
            };
            // Unequal: somebody applied a policy between the two calls.
            if reader.is_of(&observed) {
                self.open = Some(Open {
                    observed,
                    looked,
                    reader,
                    live,
                });
                break;
            }
        }
        let is_same = |open: &Open| {
            former
                .as_ref()
                .is_some_and(|it| Arc::ptr_eq(it, &open.observed))
        };
        let cost = match self.open.as_ref().is_some_and(is_same) {
            true => AGE,
            false => (begin.elapsed() * SHARE).min(Duration::from_secs(30)),
        };
        self.stale = Instant::now() + cost.max(AGE);
        Ok(())
    }
}
