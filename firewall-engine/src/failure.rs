//! An engine's errors in the form in which they reach a person or a script.

use crate::engine::{EngineError, Record};
use firewall_api::clock::unix_time;
use firewall_api::failure::{Exit, Failure};
use firewall_api::rules::changed_meanwhile;
use firewall_policy::{bundle, edit};

impl EngineError {
    /// Whether the reason is the policy itself, so that another one may be better than none: not an
    /// interface that is still to come, nor what else the next attempt may find otherwise.
    #[must_use]
    pub fn is_of_policy(&self) -> bool {
        matches!(
            self,
            Self::Policy(_) | Self::File { .. } | Self::Limit(_) | Self::Unconfirmed { .. }
        )
    }

    /// The failure of a command that ends with this.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            Self::Policy(diagnostics) => Failure::policy(diagnostics),
            Self::ChangedMeanwhile => changed_meanwhile(),
            Self::Candidate(diagnostics) => Failure {
                code: Exit::Refused.name().into(),
                exit_code: Exit::Refused,
                ..Failure::policy(diagnostics).help(
                    "the program in the kernel does not do what it is tested to do; please report it",
                )
            },
            other => {
                let failure = Failure::new(Exit::from(other.exit_code()), other.to_string());
                match other {
                    Self::Interface(_) => failure.help("list interfaces with: ip -br link"),
                    Self::Refused { help, .. } => failure.help(help.clone()),
                    Self::Unconfirmed { policy, .. } => failure.help(format!(
                        "to put it in force nevertheless: firewall-ctl apply -f {policy} --confirm=60s"
                    )),
                    _ => failure,
                }
            }
        }
    }
}

impl Record {
    /// Refuses to put `text` in force where that would lose the runtime rules of this record, and
    /// nobody has said that it should.
    ///
    /// # Errors
    /// Exit code 7: there are runtime rules that have not expired and that `text` does not hold, and not
    /// `discard`.
    pub fn keep_runtime_rules(&self, text: &str, discard: bool) -> Result<(), Failure> {
        if discard || bundle::runtime(text).0.is_some() {
            return Ok(());
        }
        let unsaved = edit::unsaved(&self.policy_text, text, unix_time().as_secs());
        let rules: Vec<&str> = match &unsaved {
            Ok(unsaved) => unsaved.iter().map(|(name, _)| name.as_str()).collect(),
            Err(_) => self.runtime_rules(),
        };
        if rules.is_empty() {
            return Ok(());
        }
        let message = match rules.as_slice() {
            [one] => format!("the runtime rule `{one}` would be lost"),
            many => format!(
                "{} runtime rules would be lost: {}",
                many.len(),
                many.join(", ")
            ),
        };
        Err(Failure::new(Exit::Refused, message)
            .help("keep them in the policy: firewall-ctl save; or lose them: --discard-runtime"))
    }

    /// A sentence about the runtime rules of this record that have not expired and that another policy
    /// does not have; `None` if there are none.
    #[must_use]
    pub fn lost_rules(&self, text: &str) -> Option<String> {
        let [own, others] =
            [&self.policy_text, text].map(|it| bundle::runtime(it).0.unwrap_or_default());
        let is_lost = |name: &&str| {
            let mut lines = own.lines();
            let line = lines.find(|line| {
                let rule = line.strip_prefix("  - {name: ").unwrap_or_default();
                let rule = rule.trim_start_matches('"').strip_prefix(*name);
                rule.is_some_and(|rest| rest.starts_with([',', '"', '}']))
            });
            line.is_none_or(|line| others.lines().all(|other| other != line))
        };
        let lost: Vec<&str> = self.runtime_rules().into_iter().filter(is_lost).collect();
        (!lost.is_empty()).then(|| format!("no longer in force: {}", lost.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::KernelError;

    #[test]
    fn an_interface_that_is_not_there_yet_is_no_reason_for_another_policy() {
        let unconfirmed = EngineError::Unconfirmed {
            policy: String::new(),
            generation: 42,
        };
        let missing = EngineError::Interface("no interface matches wan0".to_owned());
        // Both end with an exit code that a policy can end with.
        assert_eq!(missing.failure().exit_code, Exit::Config);
        assert!(unconfirmed.is_of_policy() && !missing.is_of_policy());
        let kernel = EngineError::from(KernelError::State(String::new()));
        assert!(!kernel.is_of_policy());
    }
}
