//! The log of the active generation, and its live filters: rings of events, and the names behind their
//! numbers.
//!
//! Invariant: nothing here waits, and no program waits for a reader.

use super::{Engine, EngineError, Record, RuleRecord};
use crate::kernel::KernelError;
use crate::kernel::events::EventRing;
use crate::kernel::filters::FilterTable;
use firewall_common::log::name_hash;
use firewall_common::region::Region;
use std::collections::HashMap;

/// What it takes to read events.
#[derive(Debug)]
pub struct Log {
    /// The events; `None` if the policy logs nothing.
    pub ring: Option<EventRing>,
    /// What the numbers in events stand for.
    pub names: Names,
    /// Packets that were to be logged and were more than the logs' rates, since they were counted.
    pub unlogged: u64,
}

/// The names behind the numbers in events, and the rules that have them.
#[derive(Debug)]
pub struct Names {
    /// Rules by the hash of their names, as events of rules have it.
    pub hashes: HashMap<u64, String>,
    /// The same by counter slot, as events of live filters have it: of the rules, and of their limits.
    pub slots: HashMap<u32, String>,
    /// Interfaces by counter slot.
    pub interfaces: HashMap<u32, String>,
    /// The rules.
    pub rules: Vec<RuleRecord>,
}

impl Names {
    fn of(record: Record) -> Self {
        let rules = record.rules.iter();
        let slots = rules.flat_map(|rule| {
            let slots = [Some(rule.slot), rule.over];
            slots.map(|slot| Some((slot?, rule.name.clone())))
        });
        let interfaces = record.interfaces.into_iter();
        Self {
            slots: slots.flatten().collect(),
            hashes: record
                .rules
                .iter()
                .map(|rule| (name_hash(&rule.name), rule.name.clone()))
                .collect(),
            interfaces: interfaces.map(|it| (it.slot, it.name)).collect(),
            rules: record.rules,
        }
    }
}

impl Engine {
    /// The live filters of the generation in force, and what the numbers in their events stand for.
    ///
    /// # Errors
    /// Nothing is loaded, or its pins cannot be read.
    pub fn watch(&self) -> Result<(FilterTable, Names), EngineError> {
        let survey = self.store.survey()?;
        let in_force = survey.in_force().ok_or_else(|| self.nothing_loaded())?;
        let record = in_force.folder.read_record()?;
        let map = in_force.folder.region(Region::Watch).ok_or_else(|| {
            KernelError::State("the filter has no map `fw_watch`: its pin is gone".to_owned())
        })?;
        Ok((FilterTable::of(&map)?, Names::of(record)))
    }

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
            names: Names::of(record),
        })
    }
}
