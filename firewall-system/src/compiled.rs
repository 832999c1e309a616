//! A policy's file, read, compiled and tested on this machine, with what a request needs to carry it.
//!
//! Needs no privilege. May not import the engine: nothing here touches the kernel.

use crate::policy_file::PolicyFile;
use crate::set_files::SetFiles;
use firewall_api::failure::Failure;
use firewall_api::source::PolicySource;
use firewall_policy::checked::{Checked, check};
use firewall_policy::source::read_policy;

/// Reads the files that a policy names, compiles it and runs its tests.
///
/// # Errors
/// Exit code 3: everything that is wrong with it, a test that fails, a limit that it exceeds.
pub fn compile(file: PolicyFile) -> Result<(Checked, PolicySource), Failure> {
    let files = SetFiles::new(&file.base, None);
    let checked =
        check(&file.name, &file.text, &files).map_err(|invalid| Failure::invalid(&invalid))?;
    let files = files.finish().files;
    Ok((checked, file.source(files)))
}

/// A policy as a request carries it. What is wrong with its text, whoever gets the request says.
///
/// # Errors
/// Exit code 3: a file that it names cannot be read.
pub fn source(file: PolicyFile) -> Result<PolicySource, Failure> {
    let files = SetFiles::new(&file.base, None);
    let read = read_policy(&file.name, &file.text, &files);
    let noted = files.finish();
    match read {
        Err(findings) if !noted.unread.is_empty() => Err(Failure::policy(&findings)),
        _ => Ok(file.source(noted.files)),
    }
}
