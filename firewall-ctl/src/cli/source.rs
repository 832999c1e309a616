//! Where reading verbs get their facts: from the daemon, or from the pinned maps when none runs.

use super::context::Context;
use crate::client::Client;
use firewall_api::failure::{Exit, Failure};
use firewall_api::view::Snapshot;
use firewall_engine::engine::Observed;
use firewall_engine::probe::Probe;
use firewall_engine::sampler::{Facts, Sampler};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A daemon, or the pins.
#[derive(Debug)]
pub(super) enum Source {
    /// Over the control socket.
    Daemon(Client),
    /// Straight from the kernel; needs privilege.
    Pins(Box<Pins>),
}

/// Counters read by this process.
#[derive(Debug)]
pub(super) struct Pins {
    probe: Probe,
    sampler: Sampler,
    observed: Option<Arc<Observed>>,
}

impl Source {
    /// The daemon if one listens, else the pins. Pins give rates from their second reading on:
    /// `warm_up` is the time to wait between two readings made here.
    pub(super) fn open(context: &Context, warm_up: Option<Duration>) -> Result<Self, Failure> {
        if let Some(client) = Client::connect(&context.socket)? {
            return Ok(Self::Daemon(client));
        }
        let mut pins = Pins {
            probe: Probe::new(&context.root),
            sampler: Sampler::new(),
            observed: None,
        };
        pins.read()?;
        if let Some(pause) = warm_up
            && pins.observed.is_some()
        {
            std::thread::sleep(pause);
            pins.read()?;
        }
        Ok(Self::Pins(Box::new(pins)))
    }

    /// Everything now, with the `ports` busiest ports. From pins: what the last reading found.
    pub(super) fn snapshot(&self, ports: usize) -> Result<Snapshot, Failure> {
        match self {
            Self::Daemon(client) => client.snapshot(ports),
            Self::Pins(pins) => Ok(pins.snapshot(ports)),
        }
    }

    /// Reads the pins again; the daemon does so by itself.
    pub(super) fn refresh(&mut self) -> Result<(), Failure> {
        match self {
            Self::Daemon(_) => Ok(()),
            Self::Pins(pins) => pins.read(),
        }
    }

    /// What is in force, from the pins.
    pub(super) fn require_loaded(&self) -> Result<(), Failure> {
        match self {
            Self::Pins(pins) if pins.observed.is_none() => Err(nothing_loaded()),
            _ => Ok(()),
        }
    }
}

impl Pins {
    fn read(&mut self) -> Result<(), Failure> {
        match self.probe.read().map_err(|error| error.failure(false))? {
            Some(reading) => {
                self.sampler
                    .push(reading.counters, &reading.observed.record);
                self.observed = Some(reading.observed);
            }
            None => {
                self.observed = None;
                self.sampler.clear();
            }
        }
        Ok(())
    }

    fn snapshot(&self, ports: usize) -> Snapshot {
        let facts = Facts {
            observed: self.observed.clone(),
            ..Facts::default()
        };
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        self.sampler
            .snapshot(&facts, time.map_or(0.0, |time| time.as_secs_f64()), ports)
    }

    /// What is in force.
    pub(super) fn observed(&self) -> Option<&Observed> {
        self.observed.as_deref()
    }
}

/// Nothing to show.
pub(super) fn nothing_loaded() -> Failure {
    Failure::new(
        Exit::Unreachable,
        "no policy is loaded, and no daemon is running",
    )
    .help(
        "start the daemon: firewall-ctl daemon -i IF -f FILE; or load a policy without one: \
         firewall-ctl load -i IF -f FILE",
    )
}
