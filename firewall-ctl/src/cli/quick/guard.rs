//! Whether a change would keep out the person who makes it: the connection that SSH says this
//! command came over, opened anew, before and after. May not change anything.

use super::super::context::Context;
use super::super::policy;
use super::super::ssh::Connection;
use crate::api::report::PolicyReport;
use crate::engine::Compiled;
use crate::failure::{Exit, Failure};
use crate::policy_file::{PolicyFile, folder_of};
use firewall_common::verdict::Verdict;
use firewall_policy::explain::{explain, zone_of};
use firewall_policy::host::memory_of;
use firewall_policy::packet_text;

/// Refuses `text` if it takes away the way in that the policy in force gives.
pub(super) fn check(before: &PolicyReport, text: &str, context: &Context) -> Result<(), Failure> {
    let Some(packet) = Connection::own().map(|connection| connection.opening()) else {
        return Ok(());
    };
    let compile = |text: &str| {
        let file = PolicyFile {
            name: before.policy.clone(),
            base: folder_of(&before.policy, text),
            text: text.to_owned(),
        };
        policy::compile_text(file, context)
    };
    // What cannot be judged here, such as a list that only the daemon may read, it judges.
    let (Ok(old), Ok(new)) = (compile(&before.text), compile(text)) else {
        return Ok(());
    };
    let lost = |zone: &String| passes(&old, &packet, zone) && !passes(&new, &packet, zone);
    if new.policy.zones.iter().any(lost) {
        return Err(Failure::new(
            Exit::Refused,
            format!("this would keep out the connection that you work over ({packet})"),
        )
        .help("allow your address first, or add --i-know if there is another way in")
        .outcome("nothing changed"));
    }
    Ok(())
}

/// Whether a packet that comes in from a zone passes.
fn passes(compiled: &Compiled, packet: &str, zone: &str) -> bool {
    let Compiled { policy, tables, .. } = compiled;
    let mut text = packet.to_owned();
    if policy.live.iter().any(|set| set.name == "self") {
        text.push_str(" to @self");
    }
    if !zone.is_empty() {
        text.push_str(&format!(" in zone {zone}"));
    }
    let Ok(packet) = packet_text::parse(&text) else {
        return false;
    };
    let (Ok(zone), Ok(earlier)) = (zone_of(policy, &packet.ingress), packet.earlier(policy)) else {
        return false;
    };
    let memory = memory_of(tables, &earlier);
    let judged = explain(policy, tables, &memory, &packet.frame(), zone, 0);
    judged.outcome.verdict == Verdict::PASS
}
