//! Totals of rules when `fw_rules` grows: the larger map takes over the counts of the smaller one.
//!
//! The carried totals are a function of the previous map and the two records, written as a whole. So
//! carrying twice is harmless, and after a crash it is simply repeated.

use super::Record;
use super::store::{Folder, Survey};
use crate::kernel::counters::{RuleCounters, rule_capacity, set_carried};
use crate::kernel::maps::BigMap;
use crate::kernel::{KernelError, wait_for_running_programs};
use firewall_common::abi::Counter;
use std::collections::HashMap;

/// Brings the totals of every generation before `newest` up to it, along the chain of their maps.
/// Does nothing if they all share one map.
pub(super) fn carry_over(survey: &Survey, newest: &Folder) -> Result<(), KernelError> {
    let Some(in_force) = survey.in_force() else {
        return Ok(());
    };
    let folders = survey
        .generations
        .iter()
        .filter(|generation| generation.number <= in_force.number)
        .map(|generation| &generation.folder)
        .chain([newest]);
    let mut found: Vec<(u32, &Folder, BigMap)> = Vec::new();
    for folder in folders {
        // One that is half removed has nothing to carry.
        if let Ok(rules) = folder.rules() {
            found.push((rules.id()?, folder, rules));
        }
    }
    // Most changes leave the map as it is; records are long, and need not be read then.
    if found.windows(2).all(|pair| pair[0].0 == pair[1].0) {
        return Ok(());
    }
    let mut chain: Vec<(u32, Record, BigMap)> = Vec::new();
    for (id, folder, rules) in found {
        // One that another version made.
        let Ok(record) = folder.read_record() else {
            continue;
        };
        match chain.last_mut() {
            // The same map: its newest record says who counts where now.
            Some(last) if last.0 == id => last.1 = record,
            _ => chain.push((id, record, rules)),
        }
    }
    if chain.len() < 2 {
        return Ok(());
    }
    // Programs that were switched off a moment ago may still count on another CPU.
    wait_for_running_programs();
    for pair in chain.windows(2) {
        let [(_, old_record, old), (_, new_record, new)] = pair else {
            continue;
        };
        let totals = translate(
            &RuleCounters::new(old)?.read(),
            old_record,
            new_record,
            rule_capacity(new)? as usize,
        );
        set_carried(new, &totals)?;
    }
    Ok(())
}

/// Totals by the new slots: those of rules that have the same name in both records.
fn translate(
    old_totals: &[Counter],
    old: &Record,
    new: &Record,
    new_capacity: usize,
) -> Vec<Counter> {
    let old_slots: HashMap<String, u32> = old.counters().into_iter().collect();
    let mut totals = vec![Counter::default(); new_capacity];
    for (name, slot) in new.counters() {
        let old_total = old_slots
            .get(&name)
            .and_then(|&slot| old_totals.get(slot as usize));
        if let (Some(old_total), Some(total)) = (old_total, totals.get_mut(slot as usize)) {
            *total = *old_total;
        }
    }
    totals
}
