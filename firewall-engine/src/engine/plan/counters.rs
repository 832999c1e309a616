//! What the new generation takes over from the active one: counters, with the slots of the names that
//! stay, and the memory of its programs.
//!
//! Invariant: a rule or interface that keeps its name keeps its slot, and so its counts.

use super::desired::Desired;
use crate::engine::slots::{self, Assignment};
use crate::engine::store::{Folder, Survey};
use crate::engine::types::{EngineError, Record};
use crate::kernel::KernelError;
use crate::kernel::counters::{create, rule_capacity};
use crate::kernel::maps::{BigMap, rule_slots};
use firewall_common::abi::INTERFACES;
use firewall_common::region::Region;

/// The counters of the generation in force, if they can be used on.
#[derive(Debug)]
pub(super) struct Kept<'a> {
    pub(super) found: Option<(&'a Record, BigMap, BigMap, BigMap)>,
    /// The folder of that generation, if its record is of this version.
    pub(super) folder: Option<Folder>,
}

impl<'a> Kept<'a> {
    pub(super) fn open(survey: &Survey, desired: &Desired<'a>, warnings: &mut Vec<String>) -> Self {
        let (Some(generation), Some(record)) = (survey.in_force(), desired.record) else {
            return Self {
                found: None,
                folder: None,
            };
        };
        let folder = &generation.folder;
        let maps = || Ok((folder.reasons()?, folder.ports()?, folder.rules()?));
        let found = match record {
            Ok(record) => maps()
                .map(|(reasons, ports, rules)| (record, reasons, ports, rules))
                .map_err(|error: KernelError| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let found = found
            .map_err(|error| warnings.push(format!("counters start from zero: {error}")))
            .ok();
        let folder = record.is_ok().then(|| folder.clone());
        Self { found, folder }
    }

    /// What its programs remember, where that is handed on.
    pub(super) fn region(&self, region: Region) -> Option<BigMap> {
        self.folder.as_ref()?.region(region)
    }

    /// Why an interface that stays was attached in generic mode.
    pub(super) fn fallback_of(&self, ifindex: u32) -> Option<String> {
        let (record, ..) = self.found.as_ref()?;
        record
            .interfaces
            .iter()
            .find(|i| i.ifindex == ifindex)?
            .fallback
            .clone()
    }
}

/// The counters of the generation to be, and who counts where.
#[derive(Debug)]
pub(super) struct Counters {
    pub(super) reasons: BigMap,
    pub(super) ports: BigMap,
    pub(super) rules: BigMap,
    pub(super) rule_slots: Assignment,
    pub(super) interface_slots: Assignment,
}

impl Counters {
    /// Those of the generation before, as far as there are any and they are large enough.
    pub(super) fn obtain(kept: &Kept<'_>, desired: &Desired<'_>) -> Result<Self, EngineError> {
        let names = desired.source.policy.counters();
        let rules: Vec<&str> = names.iter().map(String::as_str).collect();
        let interfaces: Vec<&str> = desired
            .targets
            .iter()
            .map(|target| target.name.as_str())
            .collect();
        let too_many = || {
            EngineError::Interface(format!(
                "{} interfaces are too many: one host can filter {}",
                interfaces.len(),
                INTERFACES - 1
            ))
        };
        let by_slot = |taken: &[(&str, u32)]| {
            slots::assign(&interfaces, taken, 1..INTERFACES as u32).ok_or_else(too_many)
        };
        let Some((record, reasons, ports, counters)) = &kept.found else {
            let (reasons, ports, counters) = create(rule_slots(rules.len()))?;
            let rule_slots = first_slots(&rules);
            let mut interface_slots = by_slot(&[])?;
            interface_slots.fresh.clear();
            return Ok(Self {
                reasons,
                ports,
                rules: counters,
                rule_slots,
                interface_slots,
            });
        };
        let taken: Vec<(&str, u32)> = record
            .interfaces
            .iter()
            .map(|i| (i.name.as_str(), i.slot))
            .collect();
        // Too many only because slots of interfaces that go are not free yet: take those.
        let interface_slots = by_slot(&taken).or_else(|_| by_slot(&[]))?;
        let taken = record.counters();
        let taken: Vec<(&str, u32)> = taken
            .iter()
            .map(|(name, slot)| (name.as_str(), *slot))
            .collect();
        let capacity = rule_capacity(counters)?;
        let fitting = (rules.len() <= capacity as usize / 2)
            .then(|| slots::assign(&rules, &taken, 0..capacity))
            .flatten();
        let (counters, rule_slots) = match fitting {
            Some(assignment) => (counters.try_clone()?, assignment),
            None => {
                // Every name keeps its slot number, so the new map must reach as far.
                let capacity = rule_slots(rules.len()).max(capacity.saturating_mul(2));
                let mut assignment = slots::assign(&rules, &taken, 0..capacity)
                    .unwrap_or_else(|| first_slots(&rules));
                assignment.fresh.clear();
                (BigMap::new_rules(capacity)?, assignment)
            }
        };
        Ok(Self {
            reasons: reasons.try_clone()?,
            ports: ports.try_clone()?,
            rules: counters,
            rule_slots,
            interface_slots,
        })
    }
}

/// Slots of a map that nobody has counted in.
fn first_slots(names: &[&str]) -> Assignment {
    Assignment {
        slots: (0..names.len() as u32).collect(),
        fresh: Vec::new(),
    }
}
