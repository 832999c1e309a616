//! Policies as verbs get them: from a file, or the one in force.

use super::context::Context;
use firewall_api::failure::Failure;
use firewall_api::report::PolicyReport;
use firewall_api::source::PolicySource;
use firewall_policy::diag::Diagnostics;
use firewall_policy::policy_tests::PolicyTest;
use firewall_policy::rule::{Policy, SetSize};
use firewall_policy::tables::Tables;
use firewall_system::compiled;
use firewall_system::policy_file::{PolicyFile, folder_of};

/// A policy that was read and compiled, all of whose tests hold.
#[derive(Clone)]
pub(super) struct Compiled {
    /// The policy.
    pub(super) policy: Policy,
    /// Its tables; rule `i` counts in slot `i`.
    pub(super) tables: Tables,
    /// Its tests.
    pub(super) tests: Vec<PolicyTest>,
    /// Warnings about it.
    pub(super) warnings: Diagnostics,
    /// How large its sets are.
    pub(super) sets: Vec<SetSize>,
    /// What a request carries.
    pub(super) source: PolicySource,
    /// Its files that others may write, a sentence each.
    pub(super) exposed: Vec<String>,
}

/// Reads and compiles a policy file.
pub(super) fn compile(name: &str) -> Result<Compiled, Failure> {
    compile_text(PolicyFile::read(name)?)
}

/// Compiles a policy that has been read.
pub(super) fn compile_text(file: PolicyFile) -> Result<Compiled, Failure> {
    compiled::compile(file).map(of)
}

fn of(compiled: compiled::Compiled) -> Compiled {
    let compiled::Compiled {
        checked,
        source,
        exposed,
    } = compiled;
    Compiled {
        policy: checked.policy,
        tables: checked.tables,
        tests: checked.tests,
        warnings: checked.warnings,
        sets: checked.sets,
        source,
        exposed,
    }
}

/// The policy in force, compiled again, and its generation. The files that it names are read as
/// they are now; that one of them has changed is warned about. `instead` says how the verb does
/// without a policy in force.
pub(super) fn compile_in_force(
    context: &Context,
    instead: &str,
) -> Result<(Compiled, u64), Failure> {
    let report = context
        .firewall()
        .and_then(|firewall| firewall.policy())
        .map_err(|failure| failure.help(instead))?;
    let compiled = compiled::compile_untested(file_of(&report, &report.text)).map(of);
    let compiled = compiled.map_err(|failure| {
        failure.help(format!("the files that it names have changed; {instead}"))
    })?;
    let has_changed = |file| !compiled.source.files.contains(file);
    if let Some(changed) = report.files.iter().find(|file| has_changed(file)) {
        context.warn(&[format!(
            "{} has changed since generation {} was applied; the answer is for what is there now",
            changed.path, report.generation
        )]);
    }
    Ok((compiled, report.generation))
}

/// The policy in force, with perhaps another text, as its file.
pub(super) fn file_of(report: &PolicyReport, text: &str) -> PolicyFile {
    let base = match report.base.as_os_str().is_empty() {
        true => folder_of(&report.policy, text),
        false => report.base.clone(),
    };
    PolicyFile {
        name: report.policy.clone(),
        text: text.to_owned(),
        base,
    }
}
