//! `schema`: the policy language as a JSON Schema, for editors.

use super::context::Context;
use super::help::after;
use firewall_api::failure::{Exit, Failure};
use firewall_policy::schema::schema;

/// Print the JSON Schema of the policy language, for editors
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn help() -> String {
    after(
        &[
            "firewall-ctl schema > firewall.schema.json",
            "sed -i '1i # yaml-language-server: $schema=firewall.schema.json' policy.yaml",
            "firewall-ctl schema | jq '.\"$defs\".rule.properties | keys'",
        ],
        &[Exit::Ok, Exit::Failed, Exit::Usage],
    )
}

pub(super) fn run(_args: &Args, context: &Context) -> Result<Exit, Failure> {
    context.print_raw(&format!("{:#}\n", schema()))?;
    Ok(Exit::Ok)
}
