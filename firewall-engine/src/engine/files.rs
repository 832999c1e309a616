//! From the text of a policy to a [`Policy`], with a fingerprint of all that was read: the text and the
//! files that it names.

use super::{Engine, EngineError, Record, Request};
use crate::kernel::KernelError;
use firewall_api::source::NamedFile;
use firewall_policy::policy_tests::{self, PolicyTest};
use firewall_policy::rule::{Elements, Policy, SetSize};
use firewall_policy::source;
use firewall_policy::{compile, diag::Diagnostics, tables::Tables};
use firewall_system::compiled::EXPOSED;
use firewall_system::file_store::FileStore;
use firewall_system::hash;
use firewall_system::set_files::{FilesRead, Kept, SetFiles};
use sha2::{Digest, Sha256};
use std::path::Path;

/// A policy as it was read.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) policy: Policy,
    pub(super) warnings: Diagnostics,
    /// The policy's tests, not yet run.
    pub(super) tests: Vec<PolicyTest>,
    pub(super) sets: Vec<SetSize>,
    /// What is in those that are not live, by name.
    pub(super) elements: Vec<(String, Elements)>,
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
                help: EXPOSED.into(),
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
        elements,
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
        elements,
        sha256: hash::of(&request.policy_text),
        fingerprint: hash::text(&fingerprint.finalize()),
        content_sha256,
        files,
        exposed,
    })
}

/// The policy of a record, with its files as they were read: from where copies of them are kept, else
/// from their folder, if they are there as they were.
///
/// # Errors
/// What is not there any more, in a sentence.
pub(super) fn in_force(record: &Record, state: &Path) -> Result<Source, String> {
    let state = match record.state.as_os_str().is_empty() {
        true => state,
        false => &record.state,
    };
    let store = FileStore::new(&state.join("files"));
    let is_kept = !record.files.is_empty() && store.require(&record.files).is_ok();
    if record.sent && !is_kept && !record.files.is_empty() {
        return Err("the files that the policy in force names are not kept any more".to_owned());
    }
    let kept = is_kept.then(|| Kept {
        store,
        named: Some(record.files.clone()),
    });
    let request = Request {
        policy_path: record.policy_path.clone(),
        policy_text: record.policy_text.clone(),
        base: record.base.clone(),
        kept,
        ..Request::default()
    };
    let source = read(&request, &[]).map_err(|error| {
        let why = error.failure().line();
        format!("the policy in force cannot be read again: {why}")
    })?;
    let changed = record.files.iter().find(|it| !source.files.contains(it));
    match changed {
        None => Ok(source),
        Some(file) => Err(format!(
            "{} has changed since it was put in force",
            file.path
        )),
    }
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

impl Engine {
    /// What is in the sets of the policy in force that are not live, by name: as they were read when it was
    /// put in force.
    ///
    /// # Errors
    /// Nothing is loaded; the files that the policy names are not there any more as they were.
    pub fn static_sets(&self) -> Result<Vec<(String, Elements)>, EngineError> {
        let survey = self.store.survey()?;
        let active = survey.in_force().ok_or_else(|| self.nothing_loaded())?;
        let record = active.folder.read_record()?;
        let source = in_force(&record, self.store.state());
        let source = source.map_err(|why| {
            KernelError::State(format!(
                "nobody can say what is in the policy's sets: {why}"
            ))
        })?;
        Ok(source.elements)
    }

    /// The folder of what outlives the machine's next start.
    #[must_use]
    pub fn state(&self) -> &Path {
        self.store.state()
    }
}
