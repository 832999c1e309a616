//! The engine's facts as `firewall_api`'s documents.

use crate::engine::Observed;
use firewall_api::report::PolicyReport;
use firewall_api::view::SCHEMA;

impl Observed {
    /// The policy in force, as it was written.
    #[must_use]
    pub fn policy_report(&self) -> PolicyReport {
        let record = &self.record;
        PolicyReport {
            schema: SCHEMA.to_owned(),
            generation: record.generation,
            policy: record.policy_path.clone(),
            content_sha256: record.content_sha256.clone(),
            sha256: record.sha256.clone(),
            text: record.policy_text.clone(),
            fingerprint: record.fingerprint.clone(),
            base: record.base.clone(),
            files: record.files.clone(),
            reloads: None,
        }
    }
}
