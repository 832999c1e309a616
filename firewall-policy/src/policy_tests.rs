//! The tests of a policy (`tests:`): packets and their expected verdicts.
//!
//! A step of whoever has read the policy ([`in_time`], then [`failing`]): reading runs nothing. They
//! run on the host build of the program, here, and on the loaded candidate, by the engine. Both give
//! their results to [`findings`], so that a failure reads the same. May not import `validate`.

use crate::bundle::Lines;
use crate::compile::compile;
use crate::diag::{Diagnostics, Severity, Sink, codes};
use crate::explain::{Explained, explain};
use crate::host::memory_of;
use crate::rule::{Policy, Rule};
use crate::source::Read;
use crate::tables::Tables;
use firewall_common::reason::Reason;
use firewall_common::verdict::Verdict;
use std::borrow::Cow;

pub use crate::case::{By, Expect, Judged, PolicyTest};

/// Near misses in the help of a failure.
const NEAR: usize = 2;

impl PolicyTest {
    /// What the host build does with the packet. `tables` are those of `policy`, in which rule `i`
    /// counts in slot `i`.
    #[must_use]
    pub fn on_host(&self, policy: &Policy, tables: &Tables) -> Judged {
        judged(&self.explain(policy, tables))
    }

    fn explain(&self, policy: &Policy, tables: &Tables) -> Explained {
        let memory = memory_of(tables, &self.earlier(policy));
        explain(
            policy,
            tables,
            &memory,
            &self.packet.frame(),
            self.zone,
            NEAR,
        )
    }
}

fn judged(explained: &Explained) -> Judged {
    Judged {
        verdict: explained.outcome.verdict,
        reason: explained.outcome.reason,
        rule: explained.rule,
    }
}

/// Runs the tests on the host build; the failing ones, each with what became of its packet.
#[must_use]
pub fn failing<'t>(
    tests: &'t [PolicyTest],
    policy: &Policy,
    tables: &Tables,
) -> Vec<(&'t PolicyTest, Judged)> {
    // A test says what the policy means, and so holds in audit mode as it does without.
    let tables = if tests.is_empty() {
        Cow::Borrowed(tables)
    } else {
        tables.enforced()
    };
    tests
        .iter()
        .map(|test| (test, test.on_host(policy, &tables)))
        .filter(|(test, judged)| !test.holds(*judged))
        .collect()
}

/// What was read without the tests that hold only with rules that have expired, and a warning for each
/// of these. Otherwise the time alone would make a policy one that is refused, and leave a machine
/// that starts after that moment without any. `name` and `text` are those that were read.
#[must_use]
pub fn in_time(name: &str, text: &str, mut read: Read) -> Read {
    let has_expired = |rule: &Rule| rule.expires.is_some_and(|expiry| expiry.passed);
    let policy = &read.policy;
    if read.tests.is_empty() || !policy.rules.iter().any(has_expired) {
        return read;
    }
    let mut before = policy.clone();
    before
        .rules
        .iter_mut()
        .filter(|rule| has_expired(rule))
        .for_each(|rule| rule.enabled = true);
    let slots: Vec<u32> = (0..policy.counters().len() as u32).collect();
    let (Ok(now), Ok(then)) = (compile(policy, &slots), compile(&before, &slots)) else {
        // Too large: whoever compiles it for use says so.
        return read;
    };
    let (now, then) = (now.enforced(), then.enforced());
    let mut sink = Sink::new(name, text);
    read.tests.retain(|test| {
        let outlived =
            !test.holds(test.on_host(policy, &now)) && test.holds(test.on_host(&before, &then));
        if outlived {
            let message = format!(
                "the test `{}` depends on an expired rule: it is skipped",
                test.name
            );
            sink.warning(&codes::EXPIRED, test.span, message)
                .help("remove it with the rule, or extend the rule's expiry");
        }
        !outlived
    });
    read.warnings.extend(sink.finish(Severity::Warning));
    read
}

/// Failing tests as errors of the policy file `name` with the text `text`.
#[must_use]
pub fn findings(
    name: &str,
    text: &str,
    policy: &Policy,
    tables: &Tables,
    failing: &[(&PolicyTest, Judged)],
) -> Diagnostics {
    let mut sink = Sink::new(name, text);
    let lines = Lines::of(name, text);
    for (test, judged) in failing {
        let wanted = match test.by {
            None => String::new(),
            Some(By::Rule(rule)) => format!(" by the rule `{}`", policy.rules[rule].name),
            Some(By::Reason(reason)) => format!(" as {reason}"),
        };
        let message = format!(
            "the test `{}` fails: the packet is {}, not {}{wanted}",
            test.name,
            ends(policy, judged),
            match test.expect {
                Expect::Pass => "passed",
                Expect::Drop => "dropped",
                Expect::Reject => "rejected with an answer",
            },
        );
        let help = help(test, judged, policy, tables);
        let error = sink.error(&codes::TEST_FAILED, test.span, message);
        error.label(test.packet.to_string()).help(help);
        if let Some(rule) = judged.rule {
            let span = lines.span(&policy.rules[rule].place);
            error.also(span, "this rule decides");
        }
    }
    sink.finish(Severity::Error)
}

/// How the packet of a test ends, in words: ``dropped by the rule `ssh` ``.
#[must_use]
pub fn ends(policy: &Policy, judged: &Judged) -> String {
    let done = done(judged);
    match judged.rule {
        Some(rule) => format!("{done} by the rule `{}`", policy.rules[rule].name),
        None => format!("{done} as {}", judged.reason),
    }
}

fn done(judged: &Judged) -> &'static str {
    match (judged.verdict, judged.reason) {
        (Verdict::PASS, _) => "passed",
        (_, Reason::REJECT) => "rejected with an answer",
        (_, reason) if reason.is_reject() => "rejected without an answer",
        _ => "dropped",
    }
}

/// What to change: the line of the test, if the rules are right, and what its packet missed.
fn help(test: &PolicyTest, judged: &Judged, policy: &Policy, tables: &Tables) -> String {
    let explained = test.explain(policy, tables);
    let line = test.span.line;
    let mut text = match fixed_sets_of_missed(&explained, policy).first() {
        // Who is in the set has changed, and the test names somebody who was.
        Some((set, field)) if test.expect == Expect::Pass => {
            let (side, address) = match *field {
                "from" => ("from", test.packet.src),
                _ => ("to", test.packet.dst),
            };
            format!(
                "{address} is not in `@{set}`: write `{side} @{set}` behind the packet in line {}, \
                 or add the address to the set",
                test.place.line
            )
        }
        _ => format!(
            "if the rules are right, change line {line}: `expect: {}`",
            match (judged.verdict, judged.reason) {
                (Verdict::PASS, _) => "pass",
                (_, Reason::REJECT) => "reject",
                _ => "drop",
            }
        ),
    };
    if test.by.is_some() && !text.contains('@') {
        let by = match judged.rule {
            Some(rule) => policy.rules[rule].name.as_str(),
            None => judged.reason.name(),
        };
        text.push_str(&format!(", `by: {by}`"));
    }
    let missed: Vec<String> = explained
        .near
        .iter()
        .map(|near| format!("`{}` ({})", policy.rules[near.rule].name, near.found))
        .collect();
    if missed.is_empty() {
        text.push_str(&format!(
            "; for details: firewall-ctl test -f FILE '{}'",
            test.packet
        ));
    } else {
        text.push_str(&format!(
            "; rules that missed by one field: {}",
            missed.join(", ")
        ));
    }
    text
}

/// The fixed sets by whose content alone rules missed the packet, and on which side.
fn fixed_sets_of_missed<'p>(
    explained: &Explained,
    policy: &'p Policy,
) -> Vec<(&'p str, &'static str)> {
    let near = explained.near.iter().filter_map(|near| {
        let matches = &policy.rules[near.rule].matches;
        let addresses = match near.field {
            "from" => &matches.src,
            "to" => &matches.dst,
            _ => return None,
        };
        let mut sets = policy.sets.iter();
        let set = sets.find(|set| set.addresses == *addresses)?;
        Some((set.name.as_str(), near.field))
    });
    near.collect()
}
