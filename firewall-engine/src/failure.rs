//! An engine's errors in the form in which they reach a person or a script.

use crate::engine::{EngineError, Record};
use firewall_api::failure::{Exit, Failure};

impl EngineError {
    /// The failure of a command that ends with this.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            Self::Policy(diagnostics) => Failure::policy(diagnostics),
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
                    Self::Refused { help, .. } => failure.help(*help),
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
    /// Exit code 7: there are runtime rules, `text` brings none of its own, and not `discard`.
    pub fn keep_runtime_rules(&self, text: &str, discard: bool) -> Result<(), Failure> {
        let rules = self.runtime_rules();
        if discard || rules.is_empty() || firewall_policy::bundle::runtime(text).0.is_some() {
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
}
