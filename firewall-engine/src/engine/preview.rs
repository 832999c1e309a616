//! What putting a policy in force would do, without doing it: it is read and tested as for a change, and the
//! guard judges it.
//!
//! May not change anything.

use super::files;

use super::selectors::without_zone;
use super::types::{EngineError, Request, Selectors};
use super::{Engine, carrier::Needs, targets_of, without_cookies, without_ssh};
use crate::kernel::host;
use firewall_api::failure::Failure;
use firewall_policy::rule::Policy;

/// What would be put in force.
#[derive(Debug)]
pub struct Preview {
    /// The policy.
    pub policy: Policy,
    /// The generation in force.
    pub in_force: Option<u64>,
    /// Why the guard would refuse it.
    pub refused: Option<Failure>,
    /// What would be said.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Looks at a policy as [`Engine::apply`] would, up to the point at which something changes.
    ///
    /// # Errors
    /// As [`Engine::apply`], but for the guard's.
    pub fn preview(&self, request: &Request) -> Result<Preview, EngineError> {
        let source = files::read(request, &self.object)?;
        let slots: Vec<u32> = (0..source.policy.counters().len() as u32).collect();
        let tables = files::compile(&source.policy, &slots)?;
        files::test(request, &source, &tables)?;
        let present = self.present()?;
        let survey = self.store.survey()?;
        let record = survey
            .in_force()
            .and_then(|active| active.folder.read_record().ok());
        let known = record.as_ref();
        let carried = survey.filtered();
        let before = known.map(|record| &record.selectors);
        let selectors = Selectors::of(request, &source.policy, before, &present);
        let needs = Needs::of(&source.policy);
        let (targets, mut warnings) =
            targets_of(request, &selectors, needs, (&carried, None), &present)?;
        warnings.extend(without_cookies(&source.policy));
        warnings.extend(without_zone(&source.policy, &selectors, &targets, &present));
        warnings.extend(without_ssh(request, &source.policy));
        let judged = self.spare_session(request, (&source, &targets), (known, &survey), &present);
        Ok(Preview {
            policy: source.policy,
            in_force: survey.in_force().map(|it| it.number),
            refused: judged.err().map(|error| error.failure()),
            warnings,
        })
    }

    /// The ports on which something of this host listens for others, by protocol.
    #[must_use]
    pub fn listening(&self) -> Vec<(&'static str, u16)> {
        host::listening()
    }
}
