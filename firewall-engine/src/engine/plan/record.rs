//! The record of a generation: everything about it that outlives the process which made it.

use super::counters::Counters;
use super::desired::Desired;
use crate::engine::carrier::Needs;
use crate::engine::handover;
use crate::engine::resolve::Target;
use crate::engine::spared;
use crate::engine::stations;
use crate::engine::types::{EngineError, InterfaceRecord, Record, RuleRecord};
use crate::kernel::clock;
use crate::kernel::host;
use firewall_api::clock::unix_time;
use firewall_common::abi::ABI_VERSION;
use firewall_common::reason::Reason;
use firewall_policy::bundle::RUNTIME;
use firewall_policy::rule::{Mode, Policy};

/// The record of the generation to be, with the modes that are hoped for.
pub(super) fn draft_record(
    desired: &Desired<'_>,
    counters: &Counters,
    table_bytes: u64,
) -> Result<Record, EngineError> {
    let Desired {
        request,
        source,
        targets,
        ..
    } = desired;
    let slots = &counters.interface_slots.slots;
    let interfaces: Vec<_> = targets.iter().zip(slots).map(hoped_for).collect();
    let now = unix_time();
    let expires = source
        .policy
        .rules
        .iter()
        .any(|rule| rule.expires.is_some());
    Ok(Record {
        abi_version: ABI_VERSION,
        generation: desired.number,
        policy_path: request.policy_path.clone(),
        policy_text: request.policy_text.clone(),
        base: request.base.clone(),
        files: source.files.clone(),
        sent: request.is_sent(),
        clock: expires.then(clock::offset),
        sha256: source.sha256.clone(),
        content_sha256: source.content_sha256.clone(),
        fingerprint: source.fingerprint.clone(),
        namespace: host::network_namespace()?,
        applied: now.as_secs_f64(),
        default: source.policy.default_verdict.name().into(),
        default_unlogged: source
            .policy
            .default_log
            .and_then(|_| counters.rule_slots.slots.last().copied()),
        audit: source.policy.audit,
        would_drop: would_drop(&source.policy),
        frags: desired.frags,
        tracks: source.policy.tracks_connections(),
        matches_vlan: Needs::of(&source.policy).vlans(),
        table_bytes,
        rules: rule_records(&source.policy, &counters.rule_slots.slots),
        live: handover::assign(&source.policy, desired.known()),
        stations: stations::of(&source.policy, &interfaces)?,
        uppers: stations::uppers(&source.policy, &interfaces)?,
        ban_lengths: spared::lengths(&source.policy),
        selectors: desired.selectors.clone(),
        state: desired.state.to_owned(),
        interfaces,
    })
}

/// The record of an interface, native unless it is to be generic.
fn hoped_for((target, &slot): (&Target, &u32)) -> InterfaceRecord {
    InterfaceRecord {
        name: target.name.clone(),
        ifindex: target.ifindex,
        slot,
        zone: target.zone,
        zone_name: target.zone_name.clone(),
        mode: match target.mode {
            Mode::Generic => Mode::Generic,
            Mode::Auto | Mode::Native => Mode::Native,
        },
        fallback: target.why_generic(),
    }
}

/// Reasons for which packets would be dropped, if the policy is in audit mode.
fn would_drop(policy: &Policy) -> Vec<String> {
    let reasons = Reason::ALL
        .iter()
        .filter(|&&reason| policy.audit && policy.drops(reason));
    reasons.map(|reason| reason.name().to_owned()).collect()
}

fn rule_records(policy: &Policy, slots: &[u32]) -> Vec<RuleRecord> {
    let (slots, others) = slots.split_at(policy.rules.len());
    let (over, unlogged) = others.split_at(policy.limits().count());
    let (mut over, mut unlogged) = (over.iter().copied(), unlogged.iter().copied());
    policy
        .rules
        .iter()
        .zip(slots)
        .map(|(rule, &slot)| RuleRecord {
            name: rule.name.clone(),
            slot,
            action: rule.action.name().into(),
            audit: rule.audit.map(|action| action.name().into()),
            comment: rule.comment.clone(),
            owner: rule.owner.clone(),
            reason: rule.reason.clone(),
            expires: rule.expires.map(|expiry| expiry.at),
            summary: rule.summary.clone(),
            place: rule.place.text(),
            enabled: rule.enabled,
            over: rule.limit.as_ref().and_then(|_| over.next()),
            unlogged: rule.log.and_then(|_| unlogged.next()),
            runtime: rule.place.file == RUNTIME,
        })
        .collect()
}
