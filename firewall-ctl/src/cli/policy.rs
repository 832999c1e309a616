//! Policies as verbs get them: from a file, or the one in force.

use super::context::Context;
use firewall_api::failure::Failure;
use firewall_engine::engine::{Compiled, Engine, Request, Scope};
use firewall_engine::policy_file::{PolicyFile, folder_of};

/// Reads and compiles a policy file.
pub(super) fn compile(name: &str, context: &Context) -> Result<Compiled, Failure> {
    compile_text(PolicyFile::read(name)?, context)
}

/// Compiles a policy that has been read.
pub(super) fn compile_text(file: PolicyFile, context: &Context) -> Result<Compiled, Failure> {
    let request = Request {
        policy_path: file.name,
        policy_text: file.text,
        base: file.base,
        interfaces: Vec::new(),
        mode: None,
        replace: false,
        scope: Scope::Present,
    };
    Engine::new(&context.root)
        .compile(&request)
        .map_err(|error| error.failure())
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
    let file = PolicyFile {
        base: folder_of(&report.policy, &report.text),
        name: report.policy,
        text: report.text,
    };
    let compiled = compile_text(file, context).map_err(|failure| {
        failure.help(format!("the files that it names have changed; {instead}"))
    })?;
    if !report.fingerprint.is_empty() && compiled.fingerprint != report.fingerprint {
        context.warn(&[format!(
            "a file that the policy names has changed since generation {} was applied, or this \
             program has; the answer is for what is there now",
            report.generation
        )]);
    }
    Ok((compiled, report.generation))
}
