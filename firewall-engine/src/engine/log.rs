//! The log of the active generation: the ring of events, and the names behind their numbers.
//!
//! Invariant: nothing here waits, and no program waits for a reader.

use super::{Engine, EngineError};
use crate::kernel::events::EventRing;
use firewall_common::log::name_hash;
use firewall_common::region::Region;
use std::collections::HashMap;

/// What it takes to read events.
#[derive(Debug)]
pub struct Log {
    /// The events; `None` if the policy logs nothing.
    pub ring: Option<EventRing>,
    /// Rules by the hash of their names, as events have it.
    pub rules: HashMap<u64, String>,
    /// Names of interfaces by counter slot.
    pub interfaces: HashMap<u32, String>,
    /// Packets that were to be logged and were more than the logs' rates, since they were counted.
    pub unlogged: u64,
}

impl Engine {
    /// The log of the generation in force: what it takes to read its events.
    ///
    /// # Errors
    /// Nothing is loaded, or its pins cannot be read.
    pub fn log(&self) -> Result<Log, EngineError> {
        let survey = self.store.survey()?;
        let in_force = survey.in_force().ok_or_else(|| self.nothing_loaded())?;
        let record = in_force.folder.read_record()?;
        let ring = in_force.folder.region(Region::Log);
        let counters = in_force.folder.counters()?;
        let unlogged = record.unlogged();
        Ok(Log {
            ring: ring.map(|map| EventRing::of(&map)).transpose()?,
            unlogged: unlogged
                .filter_map(|(_, slot)| counters.rule(slot))
                .map(|counter| counter.packets)
                .sum(),
            rules: record
                .rules
                .into_iter()
                .map(|rule| (name_hash(&rule.name), rule.name))
                .collect(),
            interfaces: record
                .interfaces
                .into_iter()
                .map(|interface| (interface.slot, interface.name))
                .collect(),
        })
    }
}
