//! Policies in the kernel that are attached to nothing: the self-test, the verifier, single frames.
//!
//! Invariant: no traffic and no counter of the policy in force is touched.

use super::{Local, failure};
use crate::engine::{Compiled, Request, TrialOutcome};
use firewall_api::failure::{Exit, Failure};
use firewall_api::source::PolicySource;
use firewall_api::trial::{
    Before, FRAMES_LIMIT, FrameTrace, Selftest, SelftestRow, TraceRequest, Traced, Verified, frame,
};
use firewall_api::view::SCHEMA;
use firewall_policy::entry::parse;
use firewall_policy::evasion;
use firewall_policy::packet_text::Earlier;
use firewall_policy::rule::Policy;
use firewall_system::set_files::Kept;
use std::time::Instant;

impl Local {
    /// Compiles the policy of a request, with the files that it was sent with, and runs its tests. What is in
    /// force may fail them, because of a rule that was added meanwhile.
    pub(super) fn compile(
        &self,
        policy: &PolicySource,
        runs_tests: bool,
    ) -> Result<Compiled, Failure> {
        let request = Request {
            is_change: !runs_tests,
            ..self.request_of_source(policy)?
        };
        let compiled = self.engine().compile(&request);
        let compiled = compiled.map_err(|error| failure(&error))?;
        if let Some(changed) = compiled
            .files
            .iter()
            .find(|file| !policy.files.contains(file))
        {
            let what = format!("{} has changed while it was read", changed.path);
            return Err(Failure::new(Exit::Config, what).help("repeat the command"));
        }
        Ok(compiled)
    }

    /// The policy of a request, with the files that it was sent with.
    pub(super) fn request_of_source(&self, policy: &PolicySource) -> Result<Request, Failure> {
        let kept = match &self.store {
            Some(store) => {
                store.require(&policy.files)?;
                Some(Kept {
                    store: store.clone(),
                    named: Some(policy.files.clone()),
                })
            }
            None => None,
        };
        Ok(Request {
            policy_path: policy.path.clone(),
            policy_text: policy.text.clone(),
            base: policy.base.clone(),
            kept,
            ..Request::default()
        })
    }

    /// Runs the evasion table in every zone that an interface of the policy can have.
    pub(super) fn run_selftest(&self, policy: &PolicySource) -> Result<Selftest, Failure> {
        let compiled = self.compile(policy, false)?;
        let started = Instant::now();
        let policy = &compiled.policy;
        let mut zones: Vec<u32> = policy.interfaces.iter().map(|entry| entry.zone).collect();
        zones.sort_unstable();
        zones.dedup();
        if zones.is_empty() {
            zones.push(0);
        }
        let table = evasion::rows();
        let variants = variants(policy);
        let engine = self.engine();
        let mut trial = engine.trial(&compiled);
        let mut rows = Vec::new();
        for zone in zones {
            for row in &table {
                let end = trial.end(&row.frame, zone);
                let (verdict, reason) = end.map_err(|error| failure(&error))?;
                let (want, why) = row.meaning.end(policy, zone);
                // Labels say nothing of payloads and little of options.
                let mut others = variants.iter().map(|other| row.meaning.end(other, zone));
                if others.any(|other| other != (want, why)) {
                    continue;
                }
                rows.push(SelftestRow {
                    row: row.id.to_owned(),
                    frame: row.what.clone(),
                    zone: policy.zones[zone as usize].clone(),
                    expected: want.name().to_owned(),
                    expected_reason: why.name().to_owned(),
                    got: verdict.name().to_owned(),
                    reason: reason.name().to_owned(),
                    ok: verdict == want
                        && (reason == why || (reason.is_reject() && why.is_reject())),
                });
            }
        }
        Ok(Selftest {
            milliseconds: started.elapsed().as_secs_f64() * 1000.0,
            failed: rows.iter().filter(|row| !row.ok).count(),
            rows,
        })
    }

    pub(super) fn run_verifier(&self, policy: &PolicySource) -> Result<Verified, Failure> {
        let compiled = self.compile(policy, true)?;
        let instructions = self
            .engine()
            .verify(&policy.path, &policy.text, &compiled)
            .map_err(|error| failure(&error))?;
        Ok(Verified {
            schema: SCHEMA.to_owned(),
            instructions,
        })
    }

    pub(super) fn run_frames(&self, request: &TraceRequest) -> Result<Traced, Failure> {
        let length: usize = request.frames.iter().map(|frame| frame.len() / 2).sum();
        if length > FRAMES_LIMIT {
            let what = format!(
                "{} MiB of frames; the limit of one request is {} MiB",
                length >> 20,
                FRAMES_LIMIT >> 20
            );
            return Err(Failure::new(Exit::Usage, what).help("send fewer at a time"));
        }
        let mut compiled = self.compile(&request.policy, false)?;
        let zone = request.zone;
        if zone as usize >= compiled.policy.zones.len() {
            let what = format!("the policy has no zone {zone}");
            return Err(Failure::new(Exit::Usage, what));
        }
        compiled.tables = compiled.tables.enforced().into_owned();
        if request.in_sequence {
            compiled.tables = compiled.tables.without_limits();
        }
        let earlier = earlier(&request.earlier, &compiled.policy)?;
        let engine = self.engine();
        let mut trial = engine.trial(&compiled);
        let mut frames = Vec::with_capacity(request.frames.len());
        for digits in &request.frames {
            let frame = frame(digits)?;
            let traced = match request.in_sequence {
                true => trial.verdict(&frame, zone).map(|verdict| FrameTrace {
                    verdict: verdict.name().to_owned(),
                    reason: None,
                    rule: None,
                    flow_full: false,
                }),
                false => trial
                    .trace(&earlier, &frame, zone)
                    .map(|outcome| frame_trace(&outcome, &compiled.policy)),
            };
            frames.push(traced.map_err(|error| failure(&error))?);
        }
        Ok(Traced {
            schema: SCHEMA.to_owned(),
            frames,
        })
    }
}

fn frame_trace(outcome: &TrialOutcome, policy: &Policy) -> FrameTrace {
    FrameTrace {
        verdict: outcome.verdict.name().to_owned(),
        reason: Some(outcome.reason.name().to_owned()),
        rule: outcome.rule.map(|rule| policy.rules[rule].name.clone()),
        flow_full: outcome.flow_full,
    }
}

/// What was before a frame, by the numbers of the policy's live sets.
fn earlier(before: &Before, policy: &Policy) -> Result<Earlier, Failure> {
    let sent = before.sent.iter().map(|digits| frame(digits));
    let mut earlier = Earlier {
        sent: sent.collect::<Result<_, _>>()?,
        ..Earlier::default()
    };
    let prefixes = |text: &str| {
        let read = parse(text);
        read.map_err(|(message, help)| Failure::new(Exit::Usage, message).help(help))
    };
    for prefix in &before.banned {
        earlier.banned.extend(prefixes(prefix)?);
    }
    for member in &before.members {
        let number = policy.live.iter().position(|set| set.name == member.set);
        let number = number.ok_or_else(|| {
            let what = format!("the policy has no live set `{}`", member.set);
            Failure::new(Exit::Usage, what)
        })?;
        let members = prefixes(&member.prefix)?.into_iter();
        let members = members.map(|prefix| (number, prefix));
        earlier.members.extend(members);
    }
    Ok(earlier)
}

/// The policy as it is for packets that meet all of its conditions on payload and options, and those that
/// meet one; none if it has no such conditions.
fn variants(policy: &Policy) -> Vec<Policy> {
    let of = |met: Option<u32>| {
        let mut variant = policy.clone();
        for rule in &mut variant.rules {
            let content = rule.matches.content.take();
            let is_met = met.is_none() || content.is_none() || content == met;
            rule.enabled &= is_met;
        }
        variant
    };
    if policy.contents.is_empty() {
        return Vec::new();
    }
    let numbers = 0..policy.contents.len() as u32;
    std::iter::once(None)
        .chain(numbers.map(Some))
        .map(of)
        .collect()
}
