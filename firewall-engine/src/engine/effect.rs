//! What a rule that is added or taken away while a policy is in force does to packets, and which
//! restrictions of the policy it takes away.
//!
//! May not change anything.

use super::files::Source;
use super::types::EngineError;
use firewall_api::effect::{Effect, LISTED, PacketsChanged};
use firewall_common::verdict::{Action, Verdict};
use firewall_policy::bundle::RUNTIME;
use firewall_policy::diff::{Decided, Difference, Region, Side, diff, fallen, names_sources};
use firewall_policy::rule::{Policy, Rule};

/// Compares a policy with the one in force. With `i_know`, nothing is refused.
///
/// # Errors
/// A restriction that falls; what nobody can compare.
pub(super) fn of_change(
    before: Result<Source, String>,
    after: &Policy,
    i_know: bool,
) -> Result<Option<Effect>, EngineError> {
    let before = match before {
        Ok(source) => source.policy,
        Err(_) if i_know => return Ok(None),
        Err(why) => {
            let message = format!("cannot tell what this lets in and keeps out: {why}");
            return Err(refused(
                message,
                "put the policy in force anew (firewall-ctl reload), or add --i-know",
            ));
        }
    };
    let difference = diff(&before, after);
    if !i_know {
        check(&before, after, &difference)?;
    }
    Ok(Some(effect(&before, after, &difference)))
}

fn check(before: &Policy, after: &Policy, difference: &Difference) -> Result<(), EngineError> {
    let is_new = |rule: &Rule| {
        rule.place.file == RUNTIME
            && !before.rules.iter().any(|old| {
                old.name == rule.name && old.matches == rule.matches && old.action == rule.action
            })
    };
    if let Some(fallen) = fallen(before, after, difference, is_new).first() {
        let region = &difference.regions[fallen.region];
        let rule = &before.rules[fallen.by];
        let place = format!("{}:{}", rule.place.file, rule.place.line);
        let message = match rule.action {
            Action::PASS => {
                let (all, some) = match fallen.side {
                    Side::Source => ("to everybody", "to some"),
                    Side::Destination => ("at every address", "at some"),
                    Side::Zone => ("on every interface", "in a zone"),
                    Side::Vlan => ("in every VLAN", "in some"),
                };
                format!(
                    "this opens {all} what the rule `{}` ({place}) opens {some}: {}",
                    rule.name, rule.summary
                )
            }
            _ => format!(
                "this lets in what the rule `{}` ({place}) keeps out: {}",
                rule.name, region.packets
            ),
        };
        return Err(refused(
            message,
            match fallen.side {
                Side::Source => {
                    "say from where (`from ADDRESS`); if you mean everybody, add --i-know"
                }
                Side::Destination => {
                    "say to which address (`to ADDRESS`); if you mean all of them, add --i-know"
                }
                Side::Zone => {
                    "say where (`on INTERFACE`); if you mean all interfaces, add --i-know"
                }
                Side::Vlan => {
                    "write the rule with its `vlan` into the policy; if you mean all, add --i-know"
                }
            },
        ));
    }
    let opens =
        |rule: &&Rule| is_new(rule) && rule.action == Action::PASS && !names_sources(&rule.matches);
    match after.rules.iter().find(opens) {
        Some(rule) if !difference.complete => Err(refused(
            format!(
                "cannot tell what `{}` lets in: the policy has too many rules there",
                rule.name
            ),
            "say from where (`from ADDRESS`), or add --i-know",
        )),
        _ => Ok(()),
    }
}

fn refused(message: String, help: &'static str) -> EngineError {
    EngineError::Refused {
        message,
        help: help.into(),
    }
}

fn effect(before: &Policy, after: &Policy, difference: &Difference) -> Effect {
    let one = |region: &Region| PacketsChanged {
        change: match region.becomes.verdict {
            Verdict::PASS => PacketsChanged::PASSES,
            _ => PacketsChanged::DROPS,
        }
        .to_owned(),
        packets: region.packets.clone(),
        example: region.example.to_string(),
        was: words(&region.was, before),
        becomes: words(&region.becomes, after),
    };
    let regions = &difference.regions;
    Effect {
        packets: regions.iter().take(LISTED).map(one).collect(),
        more: regions.len().saturating_sub(LISTED),
        settings: difference.settings.clone(),
        complete: difference.complete,
    }
}

fn words(decided: &Decided, policy: &Policy) -> String {
    match decided.rule.map(|rule| &policy.rules[rule]) {
        None => "the default".to_owned(),
        Some(rule) => format!(
            "the rule `{}` ({}:{})",
            rule.name, rule.place.file, rule.place.line
        ),
    }
}
