//! Who can reach a port under a policy: everybody, some, or nobody, by the sets of packets that rules match.
//!
//! Invariant: an answer is a fact about every packet that opens a conversation; what could not be decided is
//! said.

use super::BUDGET;
use super::cover::{Boxes, Coverage};
use crate::compile::compile;
use crate::range::RangeSet;
use crate::rule::{Policy, Rule};
use crate::space::Space;
use crate::space::reach::{Carried, Doors};
use firewall_common::field::Field;
use firewall_common::flows::state_field;
use firewall_common::parse::{flag, proto};
use firewall_common::verdict::{Action, Verdict};

/// Who reaches a port of this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Everybody who reaches the rules.
    All,
    /// Some.
    Some,
    /// Nobody.
    None,
}

/// Who can open a conversation with a port by a protocol; `None`: the search was given up.
#[must_use]
pub fn access(policy: &Policy, protocol: u32, port: u16) -> Option<Access> {
    if policy.audit {
        return Some(Access::All);
    }
    let few = near(policy, protocol, port);
    if !can_pass(policy, &few, protocol, port)? {
        return Some(Access::None);
    }
    // Nobody is dropped where nobody passes when both are the other way round.
    match can_pass(policy, &inverted(few), protocol, port)? {
        true => Some(Access::Some),
        false => Some(Access::All),
    }
}

/// Whether a packet that opens a conversation with a port can pass; `None`: the search was given up.
pub(super) fn can_pass(policy: &Policy, few: &Policy, protocol: u32, port: u16) -> Option<bool> {
    let slots: Vec<u32> = (0..few.counters().len() as u32).collect();
    let tables = compile(few, &slots).ok()?;
    let doors = Doors::of(policy);
    let v4 = Boxes::<u32>::new(few, &tables, doors.boxes(), BUDGET);
    let v6 = Boxes::<u128>::new(few, &tables, doors.boxes(), BUDGET);
    let v4 = v4.can_pass(&opening(protocol, port));
    let v6 = v6.can_pass(&opening(protocol, port));
    match (v4, v6) {
        (Coverage::Free(_), _) | (_, Coverage::Free(_)) => Some(true),
        (Coverage::Covered, Coverage::Covered) => Some(false),
        _ => None,
    }
}

/// The policy with those of its rules that can match such packets: of a long list few are about one port.
pub(super) fn near(policy: &Policy, protocol: u32, port: u16) -> Policy {
    let near = |rule: &&Rule| {
        let matches = &rule.matches;
        let is_syn = || matches.field(Field::TcpFlags).contains(flag::SYN);
        rule.enabled
            && matches.field(Field::Proto).contains(protocol)
            && matches.field(Field::DestinationPort).contains(port.into())
            && (protocol != proto::TCP || is_syn())
    };
    Policy {
        rules: policy.rules.iter().filter(near).cloned().collect(),
        interfaces: policy.interfaces.clone(),
        zones: policy.zones.clone(),
        live: policy.live.clone(),
        exempt: policy.exempt.clone(),
        macs: policy.macs.clone(),
        contents: policy.contents.clone(),
        sets: policy.sets.clone(),
        ..*policy
    }
}

/// The policy that drops what this one passes. What is limited passes.
fn inverted(mut policy: Policy) -> Policy {
    for rule in &mut policy.rules {
        rule.limit = None;
        rule.action = match rule.action {
            Action::PASS => Action::DROP,
            Action::DROP | Action::REJECT => Action::PASS,
            other => other,
        };
    }
    policy.default_verdict = match policy.default_verdict {
        Verdict::PASS => Verdict::DROP,
        _ => Verdict::PASS,
    };
    policy
}

/// The packets that open conversations with a port.
pub(super) fn opening<T: Carried>(protocol: u32, port: u16) -> Space<T> {
    let one = |value| RangeSet::of(value, value);
    let space = Space::everything()
        .with(Field::State, one(state_field::NEW))
        .with(Field::Proto, one(protocol))
        .with(Field::DestinationPort, one(port.into()));
    match protocol {
        proto::TCP => space.with(Field::TcpFlags, one(flag::SYN)),
        _ => space,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checked::check;
    use crate::files::NoFiles;

    #[test]
    fn ports_are_open_to_all_to_some_or_to_nobody() {
        let text = "version: 1\ndefault: {in: drop}\nrules:\n  \
                    - {name: bad, from: 192.0.2.66, action: drop}\n  \
                    - {name: web, proto: tcp, port: 443, action: pass, limit: {rate: 9/s, per: source}}\n  \
                    - {name: dns, proto: udp, port: 53, action: pass}\n  \
                    - {name: ssh, proto: tcp, port: 22, from: 203.0.113.0/24, action: pass}\n  \
                    - {name: known, state: established, action: pass}\n";
        let read = |text: &str| check("p.yaml", text, &NoFiles).unwrap().policy;
        let policy = read(text);
        let open = read(&text.replace("  - {name: bad, from: 192.0.2.66, action: drop}\n", ""));
        let tcp = |policy: &Policy, port| access(policy, proto::TCP, port);
        assert_eq!(tcp(&policy, 443), Some(Access::Some), "but for one");
        assert_eq!(tcp(&open, 443), Some(Access::All), "within its limit");
        assert_eq!(access(&open, proto::UDP, 53), Some(Access::All));
        assert_eq!(tcp(&open, 53), Some(Access::None));
        assert_eq!(tcp(&open, 22), Some(Access::Some));
        assert_eq!(tcp(&open, 80), Some(Access::None));
        let passing = read(&text.replace("{in: drop}", "{in: pass}"));
        assert_eq!(tcp(&passing, 80), Some(Access::Some), "but for one");
        let audit = read(&text.replace("version: 1", "version: 1\nmode: audit"));
        assert_eq!(tcp(&audit, 80), Some(Access::All));
    }
}
