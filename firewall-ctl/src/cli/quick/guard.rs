//! Whether a change would lock out the person who makes it: the connection that SSH says this
//! command came over, opened anew, before and after. May not change anything.

use super::super::policy::{self, Compiled};
use super::super::ssh::{Connection, Unclear};
use firewall_api::failure::{Exit, Failure};
use firewall_api::firewall::Firewall;
use firewall_api::network::{contains, prefix_of};
use firewall_api::report::PolicyReport;
use firewall_api::sets::SetRequest;
use firewall_common::live::Prefix;
use firewall_common::verdict::Verdict;
use firewall_policy::explain::explain;
use firewall_policy::host::memory_of;
use firewall_policy::packet_text::{self, zone_of};
use firewall_policy::prefixes::prefixes;
use firewall_policy::rule::{LiveSet, Policy, SELF};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Whether there is a session that a change could cut, or may be one.
pub(super) fn has_session() -> bool {
    !matches!(Connection::own(), Ok(None))
}

/// Refuses `text` if it takes away the way in that the policy in force gives, or if nobody can say
/// whether it does.
pub(super) fn check(
    before: &PolicyReport,
    text: &str,
    firewall: &dyn Firewall,
) -> Result<(), Failure> {
    let connection = match Connection::own() {
        Ok(None) => return Ok(()),
        Ok(Some(connection)) => connection,
        Err(Unclear) => return Err(unclear("SSH_CONNECTION cannot be read")),
    };
    let packet = connection.opening();
    let compile = |text: &str| policy::compile_text(policy::file_of(before, text));
    let old = compile(&before.text).map_err(|failure| unclear(&failure.message))?;
    // The same files, and one rule more: what is wrong is wrong with that.
    let new = compile(text)?;
    let peer = connection.from.ip();
    let members = Members::of(&[&old.policy, &new.policy], peer, firewall)?;
    let passes = |compiled: &Compiled, zone: &String| {
        passes(
            compiled,
            &packet,
            zone,
            &members.of_policy(&compiled.policy),
        )
    };
    let lost = |zone: &String| passes(&old, zone) && !passes(&new, zone);
    if new.policy.zones.iter().any(lost) {
        return Err(Failure::new(
            Exit::Refused,
            format!("this would cut your own connection ({packet})"),
        )
        .help("allow your address first, or add --i-know if you have other access")
        .outcome("nothing changed"));
    }
    Ok(())
}

/// The refusal where nobody can say whether a change cuts the session.
fn unclear(why: &str) -> Failure {
    Failure::new(
        Exit::Refused,
        format!("cannot tell whether this cuts your own connection: {why}"),
    )
    .help("run it as a user with permission to read that, or add --i-know if you have other access")
    .outcome("nothing changed")
}

/// The live sets of what is in force that hold an address.
struct Members {
    peer: Prefix,
    sets: Vec<String>,
}

impl Members {
    /// Asks for them, if one of the policies has live sets besides the host's own addresses.
    fn of(policies: &[&Policy], peer: IpAddr, firewall: &dyn Firewall) -> Result<Self, Failure> {
        let sets = policies.iter().flat_map(|policy| &policy.live);
        let asked: BTreeSet<&str> = sets
            .map(|set| &*set.name)
            .filter(|&name| name != SELF)
            .collect();
        let mut members = Self {
            peer: prefix_of(peer),
            sets: Vec::new(),
        };
        if asked.is_empty() {
            return Ok(members);
        }
        let failed = |error: Failure| unclear(&format!("the live sets: {}", error.message));
        let in_force = firewall.sets().map_err(failed)?;
        let request = SetRequest {
            holding: Some(peer.to_canonical()),
        };
        // A set that is new begins with what the policy puts there.
        for set in in_force
            .sets
            .iter()
            .filter(|set| asked.contains(&*set.name))
        {
            let holding = firewall.set(&set.name, &request).map_err(failed)?;
            if !holding.entries.is_empty() {
                members.sets.push(set.name.clone());
            }
        }
        Ok(members)
    }

    /// The live sets of a policy that the address is in, by their numbers there.
    fn of_policy(&self, policy: &Policy) -> Vec<(usize, Prefix)> {
        let sets = policy.live.iter().enumerate();
        let is_in = |set: &LiveSet| {
            self.sets.iter().any(|name| **name == *set.name)
                || prefixes(&set.content).any(|prefix| contains(&prefix, &self.peer))
        };
        sets.filter(|(_, set)| set.name != SELF && is_in(set))
            .map(|(number, _)| (number, self.peer))
            .collect()
    }
}

/// Whether a packet that comes in from a zone passes, sent by a member of some live sets.
fn passes(compiled: &Compiled, packet: &str, zone: &str, members: &[(usize, Prefix)]) -> bool {
    let Compiled { policy, tables, .. } = compiled;
    let mut text = packet.to_owned();
    if policy.live.iter().any(|set| set.name == SELF) {
        text.push_str(" to @self");
    }
    if !zone.is_empty() {
        text.push_str(&format!(" in zone {zone}"));
    }
    let Ok(packet) = packet_text::parse(&text) else {
        return false;
    };
    let (Ok(zone), Ok(mut earlier)) = (zone_of(policy, &packet.ingress), packet.earlier(policy))
    else {
        return false;
    };
    earlier.members.extend(members);
    let memory = memory_of(tables, &earlier);
    let judged = explain(policy, tables, &memory, &packet.frame(), zone, 0);
    judged.outcome.verdict == Verdict::PASS
}
