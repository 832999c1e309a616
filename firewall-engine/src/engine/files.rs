//! From the text of a policy to a [`Policy`]: reads the files that it names, and keeps a
//! fingerprint of all that was read.

use super::{EngineError, Request};
use firewall_api::clock::unix_time;
use firewall_policy::policy_tests::{self, PolicyTest};
use firewall_policy::rule::{Policy, SetSize};
use firewall_policy::source::{self, Files};
use firewall_policy::{compile, diag::Diagnostics, tables::Tables};
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// A policy as it was read from the disk.
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
}

/// Reads the policy of a request. `object` is the kernel program that would enforce it.
pub(super) fn read(request: &Request, object: &[u8]) -> Result<Source, EngineError> {
    let files = Disk {
        base: request.base.clone(),
        read: RefCell::new(Sha256::new()),
    };
    let source::Read {
        policy,
        tests,
        warnings,
        sets,
    } = source::read_policy(&request.policy_path, &request.policy_text, &files)
        .map(|read| policy_tests::in_time(&request.policy_path, &request.policy_text, read))
        .map_err(EngineError::Policy)?;
    let sha256 = hex(&Sha256::digest(&request.policy_text));
    let fingerprint = Sha256::new()
        .chain_update(Sha256::digest(&request.policy_text))
        .chain_update(files.read.into_inner().finalize())
        .chain_update(Sha256::digest(object));
    Ok(Source {
        policy,
        warnings,
        tests,
        sets,
        sha256,
        fingerprint: hex(&fingerprint.finalize()),
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

/// The files of a policy's folder.
struct Disk {
    base: PathBuf,
    /// Digest of every file read, in the order of reading.
    read: RefCell<Sha256>,
}

impl Files for Disk {
    fn open(&self, path: &str) -> io::Result<Box<dyn Read + '_>> {
        // Without O_NONBLOCK, opening a pipe that nobody writes to would wait for ever.
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(self.base.join(path))?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        // Digests have one length, so a name and its text cannot run into each other.
        self.read.borrow_mut().update(Sha256::digest(path));
        Ok(Box::new(Digested {
            file,
            digest: Sha256::new(),
            all: &self.read,
        }))
    }

    fn now(&self) -> u64 {
        unix_time().as_secs()
    }
}

/// A file whose digest goes to `all` when it has been read.
struct Digested<'d> {
    file: File,
    digest: Sha256,
    all: &'d RefCell<Sha256>,
}

impl Read for Digested<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(to)?;
        self.digest.update(&to[..count]);
        Ok(count)
    }
}

impl Drop for Digested<'_> {
    fn drop(&mut self) {
        let digest = std::mem::take(&mut self.digest).finalize();
        self.all.borrow_mut().update(digest);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
