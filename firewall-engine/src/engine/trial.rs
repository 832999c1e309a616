//! A candidate policy in the kernel, attached to nothing: the loaded program's verdict on a frame, with
//! counters of its own, so the active policy's counters are not touched.
//!
//! An interface's zone is part of a frozen map, and test runs use the loopback interface: so the
//! program is loaded once per zone.

use super::EngineError;
use super::files::{self, Source};
use super::types::{Request, Scope, Stage};
use crate::kernel::counters::Sums;
use crate::kernel::live::Origin;
use crate::kernel::program::Loaded;
use firewall_common::abi::{InterfaceEntry, fragments};
use firewall_common::live::BANNED;
use firewall_common::reason::Reason;
use firewall_common::verdict::{Action, Verdict};
use firewall_policy::host;
use firewall_policy::packet_text::Earlier;
use firewall_policy::policy_tests::{self, Judged, PolicyTest};
use firewall_policy::rule::Policy;
use firewall_policy::tables::Tables;
use std::collections::BTreeMap;

/// The loopback interface in every network namespace.
const LOOPBACK: u32 = 1;

/// Counter slot of the loopback interface.
const SLOT: usize = 1;

/// A candidate that can be asked.
#[derive(Debug)]
pub struct Trial<'a> {
    object: &'a [u8],
    policy: &'a Policy,
    tables: &'a Tables,
    loaded: BTreeMap<u32, Loaded>,
}

/// What the loaded program did with one frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrialOutcome {
    /// Pass or drop.
    pub verdict: Verdict,
    /// The reason that was counted.
    pub reason: Reason,
    /// The rule that decided, an index into the policy's rules.
    pub rule: Option<usize>,
    /// The `next` rules that counted the frame.
    pub counted: Vec<usize>,
    /// Whether the flow of what has been sent before it found no room.
    pub flow_full: bool,
}

impl<'a> Trial<'a> {
    /// A candidate; loaded when the first frame comes. `tables` are those of `policy`, in which
    /// rule `i` counts in slot `i`.
    pub(super) fn new(object: &'a [u8], policy: &'a Policy, tables: &'a Tables) -> Self {
        Self {
            object,
            policy,
            tables,
            loaded: BTreeMap::new(),
        }
    }

    fn zone(&mut self, zone: u32) -> Result<&Loaded, EngineError> {
        if !self.loaded.contains_key(&zone) {
            let loopback = InterfaceEntry {
                ifindex: LOOPBACK,
                slot: SLOT as u16,
                zone: zone as u16,
            };
            let rules = self.policy.counters().len() as u32;
            let loaded = Loaded::load_object(self.object, self.tables, rules, &[loopback])?;
            self.loaded.insert(zone, loaded);
        }
        Ok(&self.loaded[&zone])
    }

    /// The program of a zone, which remembers no packet.
    fn forgetful(&mut self, zone: u32) -> Result<&Loaded, EngineError> {
        let follows = self.tables.config.packet.fragments == fragments::FOLLOW_FIRST;
        let limits = self.tables.config.buckets_layout != 0;
        let loaded = self.zone(zone)?;
        if follows {
            loaded.forget_fragments()?;
        }
        if limits {
            loaded.forget_limits()?;
        }
        Ok(loaded)
    }

    /// Loads the program, and says how many instructions the verifier went through.
    ///
    /// # Errors
    /// A missing privilege, or the verifier's refusal.
    pub fn load(&mut self) -> Result<u32, EngineError> {
        Ok(self.zone(0)?.verified_instructions()?)
    }

    /// The verdict on a frame that comes in on an interface of zone `zone`, after those before it.
    ///
    /// # Errors
    /// A missing privilege, the verifier's refusal, a frame that the kernel takes no test run of.
    pub fn verdict(&mut self, frame: &[u8], zone: u32) -> Result<Verdict, EngineError> {
        Ok(self.zone(zone)?.run(frame, 1, None)?.verdict)
    }

    /// As [`Trial::verdict`], with the reason, which is read from the counters of its own. Each
    /// frame by itself.
    ///
    /// # Errors
    /// As [`Trial::verdict`].
    pub fn end(&mut self, frame: &[u8], zone: u32) -> Result<(Verdict, Reason), EngineError> {
        let loaded = self.forgetful(zone)?;
        let before = loaded.reasons(SLOT);
        let verdict = loaded.run(frame, 1, None)?.verdict;
        let after = loaded.reasons(SLOT);
        let counted = |reason: &Reason| {
            let at = (usize::from(reason.0), usize::from(verdict.0));
            after[at.0][at.1].packets > before[at.0][at.1].packets
        };
        let reason = Reason::ALL.iter().copied().find(counted);
        Ok((verdict, reason.unwrap_or(Reason::INTERNAL)))
    }

    /// As [`Trial::verdict`], with the reason and the rules, which are read from the counters. Each
    /// frame by itself: what was remembered before it is forgotten, but for what has been `earlier`.
    ///
    /// # Errors
    /// As [`Trial::verdict`].
    pub fn trace(
        &mut self,
        earlier: &Earlier,
        frame: &[u8],
        zone: u32,
    ) -> Result<TrialOutcome, EngineError> {
        let (rules, tables) = (&self.policy.rules, self.tables);
        let loaded = self.forgetful(zone)?;
        let flow_full = send(loaded, earlier)?;
        put_members(loaded, tables, earlier, true)?;
        let old = loaded.counters();
        let verdict = loaded.run(frame, 1, None)?.verdict;
        let new = loaded.counters();
        put_members(loaded, tables, earlier, false)?;
        if !earlier.sent.is_empty()
            && let Some(flows) = loaded.flows()?
        {
            flows.clear();
        }
        let reason = Reason::ALL
            .iter()
            .copied()
            .find(|&reason| of_reason(&new, reason, verdict) > of_reason(&old, reason, verdict))
            .unwrap_or(Reason::INTERNAL);
        let grown: Vec<usize> = (0..rules.len())
            .filter(|&rule| new.rules[rule].packets > old.rules[rule].packets)
            .collect();
        let (counted, decided): (Vec<usize>, Vec<usize>) = grown
            .into_iter()
            .partition(|&rule| rules[rule].action == Action::NEXT);
        // A tunnel that passed by its outer headers is counted by the rule for those too. Which of
        // two rules was the last one, the counters do not tell: the host build's, if it is one.
        let memory = host::memory_of(tables, earlier);
        let expected = host::decide_after(tables, &memory, frame, zone)
            .outcome
            .rule as usize;
        let rule = match decided.as_slice() {
            _ if reason == Reason::LIMIT => self.policy.rule_of_counter(expected),
            _ if !reason.is_by_rule() => None,
            rules if rules.contains(&expected) => Some(expected),
            rules => rules.last().copied(),
        };
        Ok(TrialOutcome {
            verdict,
            reason,
            rule,
            counted,
            flow_full,
        })
    }
}

impl Trial<'_> {
    /// Runs a policy's tests on the candidate. `name` and `text` are the policy file's.
    ///
    /// # Errors
    /// Tests that fail; what a load can fail with.
    pub(super) fn run_tests(
        &mut self,
        name: &str,
        text: &str,
        tests: &[PolicyTest],
    ) -> Result<(), EngineError> {
        let mut failing: Vec<(&PolicyTest, Judged)> = Vec::new();
        for test in tests {
            let earlier = test.earlier(self.policy);
            let outcome = self.trace(&earlier, &test.packet.frame(), test.zone)?;
            let judged = Judged {
                verdict: outcome.verdict,
                reason: outcome.reason,
                rule: outcome.rule,
            };
            if !test.holds(judged) {
                failing.push((test, judged));
            }
        }
        if failing.is_empty() {
            return Ok(());
        }
        Err(EngineError::Candidate(policy_tests::findings(
            name,
            text,
            self.policy,
            self.tables,
            &failing,
        )))
    }
}

/// Whether tests of the policy that fail are told and hold up nothing: of a change of the rules in force, of
/// what is in force already, and of what was in force and comes back as it was, with its runtime rules.
fn is_told(request: &Request) -> bool {
    let comes_back = request.origin.stage == Stage::Back || request.origin.restores.is_some();
    request.is_change || request.scope == Scope::Again || comes_back
}

/// Runs a policy's tests, on the host build and then on a candidate in the kernel. Those that fail on the
/// host build are told, a sentence each, where they hold up nothing ([`is_told`]).
///
/// # Errors
/// Tests that fail; what a load can fail with.
pub(super) fn run_tests(
    object: &[u8],
    request: &Request,
    source: &Source,
) -> Result<Vec<String>, EngineError> {
    if source.tests.is_empty() {
        return Ok(Vec::new());
    }
    let slots: Vec<u32> = (0..source.policy.counters().len() as u32).collect();
    // Tests say what the policy means: they hold in audit mode as they do without.
    let tables = files::compile(&source.policy, &slots)?;
    let tables = tables.enforced();
    let failing = policy_tests::failing(&source.tests, &source.policy, &tables);
    if !is_told(request) {
        files::test(request, source, &tables)?;
    }
    let fails = |test: &PolicyTest| failing.iter().any(|(failed, _)| failed.name == test.name);
    let holding = source.tests.iter().filter(|test| !fails(test));
    let holding: Vec<PolicyTest> = holding.cloned().collect();
    Trial::new(object, &source.policy, &tables).run_tests(
        &request.policy_path,
        &request.policy_text,
        &holding,
    )?;
    let told = |(test, judged): &(&PolicyTest, Judged)| {
        format!(
            "the policy's test `{}` fails now ({}:{}): {} is {}",
            test.name,
            test.place.file,
            test.place.line,
            test.packet,
            policy_tests::ends(&source.policy, judged)
        )
    };
    Ok(failing.iter().map(told).collect())
}

/// Sends what has been sent before a packet; whether a flow of it found no room.
fn send(loaded: &Loaded, earlier: &Earlier) -> Result<bool, EngineError> {
    if earlier.sent.is_empty() {
        return Ok(false);
    }
    let lost = || -> Result<u64, EngineError> {
        let halves = loaded.flows()?.map(|flows| flows.losses());
        Ok(halves.iter().flatten().map(|half| half.full).sum())
    };
    let before = lost()?;
    for frame in &earlier.sent {
        loaded.send(frame, 1)?;
    }
    Ok(lost()? > before)
}

/// Puts into the live sets what a packet's text says is in them, or takes it out again.
fn put_members(
    loaded: &Loaded,
    tables: &Tables,
    earlier: &Earlier,
    add: bool,
) -> Result<(), EngineError> {
    if earlier.members.is_empty() && earlier.banned.is_empty() {
        return Ok(());
    }
    Ok(loaded.live()?.change(|writer| {
        let members = earlier.members.iter();
        let members = members.map(|(set, prefix)| (tables.config.live_ids[*set], prefix));
        let banned = earlier.banned.iter().map(|prefix| (BANNED, prefix));
        for (id, prefix) in members.chain(banned) {
            if add {
                let _ = writer.add(id, prefix, None, Origin::Command);
            } else {
                let _ = writer.remove(id, prefix);
            }
        }
    })?)
}

fn of_reason(sums: &Sums, reason: Reason, verdict: Verdict) -> u64 {
    sums.reasons
        .get(SLOT * Reason::CAPACITY + usize::from(reason.0))
        .map_or(0, |both| both[usize::from(verdict.0)].packets)
}
