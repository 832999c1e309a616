//! A policy read, compiled and tested: what every caller does before it uses one.
//!
//! The three steps in their order, with what can go wrong in each. May not import `validate`.

use crate::case::PolicyTest;
use crate::compile::{LimitError, compile};
use crate::diag::Diagnostics;
use crate::files::Files;
use crate::policy_tests::{failing, findings, in_time};
use crate::rule::{Policy, SetSize};
use crate::source::read_policy;
use crate::tables::Tables;

/// A valid policy, compiled, whose tests hold on the host build if they were run.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The policy.
    pub policy: Policy,
    /// Its tables; rule `i` counts in slot `i`.
    pub tables: Tables,
    /// Its tests.
    pub tests: Vec<PolicyTest>,
    /// Warnings about it.
    pub warnings: Diagnostics,
    /// How large its sets are.
    pub sets: Vec<SetSize>,
}

/// Why a policy cannot be used.
#[derive(Debug)]
pub enum Invalid {
    /// Everything that is wrong with it, or the tests that fail.
    Findings(Diagnostics),
    /// It is larger than the tables can hold.
    Limit(LimitError),
}

/// Reads, compiles and tests a policy. `name` is the file's, for messages.
///
/// # Errors
/// See [`Invalid`].
pub fn check(name: &str, text: &str, files: &dyn Files) -> Result<Checked, Invalid> {
    let checked = untested(name, text, files)?;
    let failing = failing(&checked.tests, &checked.policy, &checked.tables);
    if !failing.is_empty() {
        let found = findings(name, text, &checked.policy, &checked.tables, &failing);
        return Err(Invalid::Findings(found));
    }
    Ok(checked)
}

/// As [`check`], without running its tests: for a policy that is in force, whatever they say.
///
/// # Errors
/// See [`Invalid`].
pub fn untested(name: &str, text: &str, files: &dyn Files) -> Result<Checked, Invalid> {
    let read = read_policy(name, text, files).map_err(Invalid::Findings)?;
    let read = in_time(name, text, read);
    let slots: Vec<u32> = (0..read.policy.counters().len() as u32).collect();
    let tables = compile(&read.policy, &slots).map_err(Invalid::Limit)?;
    Ok(Checked {
        policy: read.policy,
        tables,
        tests: read.tests,
        warnings: read.warnings,
        sets: read.sets,
    })
}
