//! A policy's file, read, compiled and tested on this machine, with what a request needs to carry it.
//!
//! Needs no privilege. May not import the engine: nothing here touches the kernel.

use crate::policy_file::PolicyFile;
use crate::set_files::{FilesRead, SetFiles};
use firewall_api::failure::{Exit, Failure};
use firewall_api::source::PolicySource;
use firewall_policy::checked::{Checked, check, untested};
use firewall_policy::source::read_policy;

/// What to do about set files that others may write.
pub const EXPOSED: &str = "who may write it decides whom the policy lets in: give file and folders to root, and \
                           take the right from others (chown root FILE; chmod go-w FILE)";

/// Reads the files that a policy names, compiles it and runs its tests.
///
/// # Errors
/// Exit code 3: everything that is wrong with it, a test that fails, a limit that it exceeds.
pub fn compile(file: PolicyFile) -> Result<Compiled, Failure> {
    let files = SetFiles::new(&file.base, None);
    let checked =
        check(&file.name, &file.text, &files).map_err(|invalid| Failure::invalid(&invalid))?;
    let FilesRead { files, exposed, .. } = files.finish();
    Ok(Compiled {
        checked,
        source: file.source(files),
        exposed,
    })
}

/// A policy that was compiled.
#[derive(Debug)]
pub struct Compiled {
    /// What it is.
    pub checked: Checked,
    /// What a request carries.
    pub source: PolicySource,
    /// Its files that others may write, a sentence each.
    pub exposed: Vec<String>,
}

/// As [`compile`], of a policy that is in force: a rule that was added meanwhile may fail its tests.
///
/// # Errors
/// As [`compile`].
pub fn compile_untested(file: PolicyFile) -> Result<Compiled, Failure> {
    let files = SetFiles::new(&file.base, None);
    let checked =
        untested(&file.name, &file.text, &files).map_err(|invalid| Failure::invalid(&invalid))?;
    let FilesRead { files, exposed, .. } = files.finish();
    Ok(Compiled {
        checked,
        source: file.source(files),
        exposed,
    })
}

/// A policy as a request carries it that puts it in force. What is wrong with its text, whoever gets the
/// request says.
///
/// # Errors
/// Exit code 3: a file that it names cannot be read. 7: others may write one.
pub fn source(file: PolicyFile) -> Result<PolicySource, Failure> {
    let files = SetFiles::new(&file.base, None);
    let read = read_policy(&file.name, &file.text, &files);
    let noted = files.finish();
    match read {
        Err(findings) if !noted.unread.is_empty() => Err(Failure::policy(&findings)),
        _ if !noted.exposed.is_empty() => {
            Err(Failure::new(Exit::Refused, noted.exposed.join("; ")).help(EXPOSED))
        }
        _ => Ok(file.source(noted.files)),
    }
}
