//! Correctness first: before anything is timed, oracle, host and kernel must agree on every header,
//! by rule and not only by verdict.

use crate::stop;
use crate::traffic::Traffic;
use anyhow::{Result, bail, ensure};
use firewall_common::pipeline::NO_RULE;
use firewall_common::verdict::{Action, Verdict};
use firewall_engine::kernel::program::Loaded;
use firewall_policy::rule::Policy;
use firewall_policy::tables::Tables;
use firewall_policy::{host, oracle};

/// The deciding rule of each header, by the oracle. A linear scan for each, on all CPUs.
pub(crate) fn oracle(policy: &Policy, traffic: &Traffic) -> Result<Vec<Option<usize>>> {
    let threads = std::thread::available_parallelism()?.get();
    let part = traffic.keys.len().div_ceil(threads).max(1);
    let answers = std::thread::scope(|scope| {
        let workers: Vec<_> = traffic
            .keys
            .chunks(part)
            .map(|keys| {
                scope.spawn(move || {
                    keys.chunks(64)
                        .map(|keys| {
                            stop::check()?;
                            Ok(keys
                                .iter()
                                .map(|key| oracle::evaluate(policy, key).decided)
                                .collect::<Vec<_>>())
                        })
                        .collect::<Result<Vec<_>>>()
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| match worker.join() {
                Ok(answer) => answer,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect::<Result<Vec<_>>>()
    })?;
    Ok(answers.into_iter().flatten().flatten().collect())
}

/// Holds host and kernel against the oracle, frame by frame; the kernel's counters by rule at the
/// end. Rule `i` must have the counter slot `i`. Gives the oracle's answers.
pub(crate) fn check(
    policy: &Policy,
    tables: &Tables,
    loaded: &Loaded,
    traffic: &Traffic,
) -> Result<Vec<Option<usize>>> {
    let expected = oracle(policy, traffic)?;
    let before = loaded.counters().rules;
    let mut counts = vec![0u64; before.len()];
    for (frame, &decided) in traffic.frames().zip(&expected) {
        let verdict = verdict(policy, decided);
        let answer = host::decide(tables, &frame, 0).outcome;
        let rule = (answer.rule != NO_RULE).then_some(answer.rule as usize);
        ensure!(
            (rule, answer.verdict) == (decided, verdict),
            "the host says {answer:?} about {frame:02x?}, the oracle rule {decided:?}"
        );
        let kernel = loaded.run(&frame, 1, None)?.verdict;
        ensure!(
            kernel == verdict,
            "the kernel says {kernel} about {frame:02x?}, the oracle {verdict} by rule {decided:?}"
        );
        if let Some(rule) = decided {
            counts[rule] += 1;
        }
    }
    for (slot, (after, before)) in loaded.counters().rules.iter().zip(&before).enumerate() {
        if after.packets - before.packets != counts[slot] {
            bail!(
                "the kernel counted {} packets for rule {slot}, the oracle {}",
                after.packets - before.packets,
                counts[slot]
            );
        }
    }
    Ok(expected)
}

fn verdict(policy: &Policy, decided: Option<usize>) -> Verdict {
    match decided.map(|rule| policy.rules[rule].action) {
        Some(Action::DROP) => Verdict::DROP,
        Some(_) => Verdict::PASS,
        None => policy.default_verdict,
    }
}
