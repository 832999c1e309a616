//! The reference evaluator: slow, obvious, and with code of its own. Says what a policy means.
//!
//! May not import `compile`, `host` or `firewall_common::classify`.

use crate::rule::{Policy, Rule};
use firewall_common::field::Field;
use firewall_common::key::PacketKey;
use firewall_common::verdict::Action;

/// What a policy says about a packet. Rules are indices into [`Policy::rules`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OracleResult {
    /// The matching `next` rules before the deciding one (all of them if none decides), in order.
    pub counted: Vec<usize>,
    /// The first matching rule that passes or drops.
    pub decided: Option<usize>,
}

/// Goes through the rules one by one.
#[must_use]
pub fn evaluate(policy: &Policy, key: &PacketKey) -> OracleResult {
    let mut result = OracleResult::default();
    for (index, rule) in policy.rules.iter().enumerate() {
        if !matches(rule, key) {
            continue;
        }
        if rule.action != Action::NEXT {
            result.decided = Some(index);
            break;
        }
        result.counted.push(index);
    }
    result
}

/// Whether a rule is enabled and accepts the packet in every field.
#[must_use]
pub fn matches(rule: &Rule, key: &PacketKey) -> bool {
    rule.enabled
        && rule.matches.addresses_match(key)
        && Field::ALL
            .iter()
            .all(|&field| rule.matches.field(field).contains(key.field(field)))
}
