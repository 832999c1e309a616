//! One policy before three judges: the oracle, the host build, and the loaded program. They must
//! name the same rules for every frame, not only the same verdict.

use crate::frames::Frame;
use anyhow::{Context, Result, ensure};
use firewall_common::abi::{Counter, INTERFACE_TABLE, InterfaceEntry, interface_hash};
use firewall_common::field::Field;
use firewall_common::key::PacketKey;
use firewall_common::pipeline::NO_RULE;
use firewall_common::verdict::{Action, Verdict};
use firewall_engine::kernel::program::Loaded;
use firewall_policy::compile::{LimitError, compile};
use firewall_policy::rule::Policy;
use firewall_policy::tables::Tables;
use firewall_policy::{host, oracle};

/// The loopback interface, on which a test run takes place; its counter slot here.
const IFINDEX: u32 = 1;
const SLOT: u16 = 1;

/// Keys of each run about which the oracle is asked one by one, without short cuts.
const WITHOUT_SHORT_CUTS: usize = 64;

/// A compiled and loaded policy, and what its rules must have counted so far.
#[derive(Debug)]
pub struct Trial<'a> {
    policy: &'a Policy,
    zone: u32,
    tables: Tables,
    loaded: Loaded,
    ledger: Vec<Counter>,
}

impl<'a> Trial<'a> {
    /// Compiles a policy.
    ///
    /// # Errors
    /// The limit that it exceeds.
    pub fn compile(policy: &Policy) -> Result<Tables, LimitError> {
        let slots: Vec<u32> = (0..policy.rules.len())
            .map(|rule| slot(policy, rule) as u32)
            .collect();
        compile(policy, &slots)
    }

    /// Loads it, as it came out of [`Trial::compile`], for an interface of zone `zone`.
    ///
    /// # Errors
    /// Whatever the kernel has against it.
    pub fn load(policy: &'a Policy, tables: Tables, zone: u32) -> Result<Self> {
        let mut interfaces = vec![InterfaceEntry::default(); INTERFACE_TABLE];
        interfaces[interface_hash(IFINDEX) as usize] = InterfaceEntry {
            ifindex: IFINDEX,
            slot: SLOT,
            zone: zone as u16,
        };
        let rules = policy.rules.len();
        let loaded = Loaded::load(&tables, rules as u32, &interfaces)?;
        let ledger = vec![Counter::default(); loaded.counters().rules.len()];
        Ok(Self {
            policy,
            zone,
            tables,
            loaded,
            ledger,
        })
    }

    /// Runs frames, each with the key that it must have. Returns how many a rule decided.
    ///
    /// # Errors
    /// The first frame about which the three do not agree.
    pub fn run(&mut self, frames: &[(Frame, PacketKey)]) -> Result<usize> {
        let keys: Vec<PacketKey> = frames
            .iter()
            .map(|(_, key)| {
                let mut key = *key;
                key.fields[Field::Zone as usize] = self.zone;
                key
            })
            .collect();
        let answers = oracle::evaluate_all(self.policy, &keys);
        for (((frame, _), key), answer) in frames.iter().zip(&keys).zip(&answers) {
            self.frame(frame, key, answer)
                .with_context(|| format!("{key:?}, the oracle says {answer:?}, {frame:02x?}"))?;
        }
        for (key, answer) in keys.iter().zip(&answers).take(WITHOUT_SHORT_CUTS) {
            ensure!(&oracle::evaluate(self.policy, key) == answer, "{key:?}");
        }
        // No rule counted beside those that should.
        ensure!(
            self.loaded.counters().rules == self.ledger,
            "rules counted that did not match"
        );
        Ok(answers.iter().filter(|a| a.decided.is_some()).count())
    }

    fn frame(
        &mut self,
        frame: &[u8],
        key: &PacketKey,
        answer: &oracle::OracleResult,
    ) -> Result<()> {
        let slot = |rule: usize| slot(self.policy, rule);
        let decided = answer.decided.map(slot);
        let counted: Vec<usize> = answer.counted.iter().map(|&rule| slot(rule)).collect();
        let verdict = match answer.decided {
            Some(rule) if self.policy.rules[rule].action == Action::PASS => Verdict::PASS,
            Some(_) => Verdict::DROP,
            // Later fragments that no rule decides about pass.
            None if key.field(Field::Fragment) == 2 => Verdict::PASS,
            None => self.policy.default_verdict,
        };
        let verdict = if self.policy.audit {
            Verdict::PASS
        } else {
            verdict
        };

        let host = host::decide(&self.tables, frame, self.zone);
        let outcome = host.outcome;
        let rule = (outcome.rule != NO_RULE).then_some(outcome.rule as usize);
        ensure!(rule == decided, "the host decides by slot {rule:?}");
        ensure!(outcome.verdict == verdict, "the host says {outcome:?}");
        ensure!(
            host.counted
                .iter()
                .map(|&slot| slot as usize)
                .eq(counted.iter().copied()),
            "the host counts {:?}",
            host.counted
        );

        let run = self.loaded.run(frame, 1, Some(IFINDEX))?;
        ensure!(run.verdict == verdict, "the kernel says {:?}", run.verdict);
        for slot in counted.into_iter().chain(decided) {
            self.ledger[slot].packets += 1;
            self.ledger[slot].bytes += frame.len() as u64;
            let kernel = self.loaded.rule_counter(slot as u32);
            ensure!(
                kernel == Some(self.ledger[slot]),
                "slot {slot}: the kernel counts {kernel:?}, and {:?} is right",
                self.ledger[slot]
            );
        }
        Ok(())
    }
}

/// Counter slots run against the order of the rules, so that the two cannot be taken for each
/// other.
fn slot(policy: &Policy, rule: usize) -> usize {
    policy.rules.len() - 1 - rule
}
