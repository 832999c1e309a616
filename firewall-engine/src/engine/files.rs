//! From the text of a policy to a [`Policy`], with a fingerprint of all that was read: the text and the
//! files that it names.

use super::{EngineError, Request};
use firewall_api::source::NamedFile;
use firewall_policy::policy_tests::{self, PolicyTest};
use firewall_policy::rule::{Policy, SetSize};
use firewall_policy::source;
use firewall_policy::{compile, diag::Diagnostics, tables::Tables};
use firewall_system::compiled::EXPOSED;
use firewall_system::hash;
use firewall_system::set_files::{FilesRead, SetFiles};
use sha2::{Digest, Sha256};

/// A policy as it was read.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) policy: Policy,
    pub(super) warnings: Diagnostics,
    /// The policy's tests, not yet run.
    pub(super) tests: Vec<PolicyTest>,
    pub(super) sets: Vec<SetSize>,
    /// SHA-256 of the policy text, hex.
    pub(super) sha256: String,
    /// SHA-256 of the policy text, the files that it names, and the kernel program.
    pub(super) fingerprint: String,
    /// SHA-256 of the policy text and the files that it names: equal where they say the same.
    pub(super) content_sha256: String,
    /// The files that it names.
    pub(super) files: Vec<NamedFile>,
    /// Those of them that others may write, a sentence each.
    exposed: Vec<String>,
}

impl Source {
    /// An error if others may write what decides whom this host lets in.
    pub(super) fn require_own_files(&self) -> Result<(), EngineError> {
        match self.exposed.is_empty() {
            true => Ok(()),
            false => Err(EngineError::Refused {
                message: self.exposed.join("; "),
                help: EXPOSED,
            }),
        }
    }
}

/// Reads the policy of a request. `object` is the kernel program that would enforce it.
pub(super) fn read(request: &Request, object: &[u8]) -> Result<Source, EngineError> {
    let files = SetFiles::new(&request.base, request.kept.as_ref());
    let source::Read {
        policy,
        tests,
        warnings,
        sets,
    } = source::read_policy(&request.policy_path, &request.policy_text, &files)
        .map(|read| policy_tests::in_time(&request.policy_path, &request.policy_text, read))
        .map_err(EngineError::Policy)?;
    let FilesRead {
        digest,
        files,
        exposed,
        ..
    } = files.finish();
    let content = Sha256::new()
        .chain_update(Sha256::digest(&request.policy_text))
        .chain_update(digest);
    let content_sha256 = hash::text(&content.clone().finalize());
    let fingerprint = content.chain_update(Sha256::digest(object));
    Ok(Source {
        policy,
        warnings,
        tests,
        sets,
        sha256: hash::of(&request.policy_text),
        fingerprint: hash::text(&fingerprint.finalize()),
        content_sha256,
        files,
        exposed,
    })
}

/// Compiles a policy; rule `i` counts in `slots[i]`.
pub(super) fn compile(policy: &Policy, slots: &[u32]) -> Result<Tables, EngineError> {
    Ok(compile::compile(policy, slots)?)
}

/// Runs the policy's tests on the host build. `tables` count rule `i` in slot `i`.
pub(super) fn test(request: &Request, source: &Source, tables: &Tables) -> Result<(), EngineError> {
    let failing = policy_tests::failing(&source.tests, &source.policy, tables);
    if failing.is_empty() {
        return Ok(());
    }
    Err(EngineError::Policy(policy_tests::findings(
        &request.policy_path,
        &request.policy_text,
        &source.policy,
        tables,
        &failing,
    )))
}
