//! What putting a policy in force would do: rules, packets, the session that asks, and what listens.
//!
//! Invariant: changes nothing.

use super::{Local, failure};
use crate::engine::{Guard, Preview, Request, Scope};
use firewall_api::clock::unix_time;
use firewall_api::compared::Compared;
use firewall_api::failure::Failure;
use firewall_api::plan::{
    Change, Fate, PlanReport, PlanRequest, Reach, RulePlan, ServicePlan, SessionPlan,
};
use firewall_api::session::Session;
use firewall_api::view::{RuleView, SCHEMA};
use firewall_policy::diff::diff;
use firewall_policy::lint::{Access, access};
use firewall_policy::rule::{Policy, Rule};
use firewall_policy::well_known_ports;
use std::collections::{HashMap, HashSet};

/// IP protocol numbers.
const TCP: u8 = 6;
const UDP: u8 = 17;

impl Local {
    /// The plan of a policy; `rules` are those in force, with their counters.
    ///
    /// # Errors
    /// As for putting it in force, but for the guard's refusal, which is part of the plan.
    pub fn make_plan(
        &self,
        request: &PlanRequest,
        rules: &[RuleView],
    ) -> Result<PlanReport, Failure> {
        let engine = self.engine_of_history();
        let observed = engine.observe().map_err(|error| failure(&error))?;
        let record = observed.map(|it| it.record);
        let named = record.as_ref().map(|record| record.selectors.named.clone());
        let wanted = Request {
            interfaces: named.unwrap_or_default(),
            scope: Scope::Waiting,
            guard: Guard::of(request.session.clone()),
            ..self.request_of_source(&request.policy)?
        };
        let preview = engine.preview(&wanted).map_err(|error| failure(&error))?;
        let before = match record.is_some() {
            true => engine.policy_in_force().map_err(|error| failure(&error))?.0,
            false => open(&preview.policy),
        };
        let mut report = report(request, &before, &preview, rules);
        report.services = engine
            .listening()
            .into_iter()
            .map(|(proto, port)| service((proto, port), &before, &preview.policy))
            .collect();
        let lost = record.map(|record| record.keep_runtime_rules(&request.policy.text, false));
        if let Some(Err(lost)) = lost {
            let help = lost.help.as_deref().unwrap_or_default();
            report.warnings.push(format!("{}; {help}", lost.message));
        }
        Ok(report)
    }
}

/// What holds where nothing is in force: all passes.
fn open(like: &Policy) -> Policy {
    let mut policy = like.clone();
    policy.rules.clear();
    policy.default_verdict = firewall_common::verdict::Verdict::PASS;
    policy
}

fn report(
    request: &PlanRequest,
    before: &Policy,
    preview: &Preview,
    views: &[RuleView],
) -> PlanReport {
    let after = &preview.policy;
    let mut packets = Compared::of(&diff(before, after), before, after, request.all);
    // That one stands above all others.
    packets
        .settings
        .retain(|setting| !setting.starts_with("default ("));
    let rules = rules(&before.rules, &after.rules, views);
    let default = (before.default_verdict != after.default_verdict).then(|| Change {
        was: before.default_verdict.name().to_owned(),
        becomes: after.default_verdict.name().to_owned(),
    });
    let count = |fate| rules.iter().filter(|rule| rule.fate == fate).count();
    let moved = count(Fate::Move);
    PlanReport {
        schema: SCHEMA.to_owned(),
        time: unix_time().as_secs_f64(),
        policy: request.policy.path.clone(),
        in_force: preview.in_force,
        equal: rules.is_empty() && packets.equal && default.is_none() && preview.in_force.is_some(),
        add: count(Fate::Add),
        change: count(Fate::Change) + moved + usize::from(default.is_some()),
        remove: count(Fate::Remove),
        default,
        rules,
        packets,
        session: session(&request.session, preview),
        services: Vec::new(),
        warnings: preview.warnings.clone(),
    }
}

fn session(session: &Session, preview: &Preview) -> Option<SessionPlan> {
    let connections = match session {
        Session::None => return None,
        Session::Over(connections) => connections
            .iter()
            .map(|it| format!("{} > {}", it.from, it.to))
            .collect(),
        Session::From(address) => vec![address.to_string()],
        Session::Unclear => Vec::new(),
    };
    let cut = preview
        .refused
        .as_ref()
        .map(|refused| refused.message.clone());
    Some(SessionPlan { connections, cut })
}

/// The rules that do not stay as they are: those that go first, then in the order of the new policy.
fn rules(before: &[Rule], after: &[Rule], views: &[RuleView]) -> Vec<RulePlan> {
    let old: HashMap<&str, &Rule> = before
        .iter()
        .map(|rule| (rule.name.as_str(), rule))
        .collect();
    let new: HashSet<&str> = after.iter().map(|rule| rule.name.as_str()).collect();
    let views: HashMap<&str, &RuleView> = views.iter().map(|it| (it.name.as_str(), it)).collect();
    let stay = in_order(before, after);
    let gone = before
        .iter()
        .filter(|rule| !new.contains(rule.name.as_str()));
    let gone = gone.map(|rule| plan_of(rule, Fate::Remove, None, &views));
    let others = after
        .iter()
        .filter_map(|rule| match old.get(rule.name.as_str()) {
            None => Some(plan_of(rule, Fate::Add, None, &views)),
            Some(was) if !says_the_same(was, rule) => {
                Some(plan_of(rule, Fate::Change, Some(text(was)), &views))
            }
            Some(_) if !stay.contains(rule.name.as_str()) => {
                Some(plan_of(rule, Fate::Move, None, &views))
            }
            Some(_) => None,
        });
    gone.chain(others).collect()
}

fn plan_of(
    rule: &Rule,
    fate: Fate,
    was: Option<String>,
    views: &HashMap<&str, &RuleView>,
) -> RulePlan {
    let view = views.get(rule.name.as_str()).filter(|_| fate != Fate::Add);
    RulePlan {
        fate,
        name: rule.name.clone(),
        text: text(rule),
        was,
        place: rule.place.text(),
        hits: view.map(|view| view.hits.total),
        last_hit: view.and_then(|view| view.last_hit),
        runtime: view.is_some_and(|view| view.runtime),
    }
}

/// What a rule does and matches.
fn text(rule: &Rule) -> String {
    let action = rule.audit.unwrap_or(rule.action).name();
    let mut text = format!("{}: {action}", rule.summary);
    if rule.limit.is_some() {
        text.push_str(", limited");
    }
    for (what, is_so) in [
        ("audit only", rule.audit.is_some()),
        ("logged", rule.log.is_some()),
        ("syn_protect", rule.syn_protect),
        ("disabled", !rule.enabled),
    ] {
        if is_so {
            text.push_str(&format!(", {what}"));
        }
    }
    text
}

/// Whether two rules do the same, wherever they stand and whatever is said about them.
fn says_the_same(one: &Rule, other: &Rule) -> bool {
    let bare = |rule: &Rule, like: &Rule| Rule {
        place: like.place.clone(),
        comment: None,
        owner: None,
        reason: None,
        ..rule.clone()
    };
    bare(one, one) == bare(other, one)
}

/// The names of a largest part of the rules that stand in the same order before and after.
fn in_order<'r>(before: &'r [Rule], after: &'r [Rule]) -> HashSet<&'r str> {
    let names = before.iter().enumerate();
    let places: HashMap<&str, usize> = names.map(|(place, it)| (it.name.as_str(), place)).collect();
    let common: Vec<(&str, usize)> = after
        .iter()
        .filter_map(|rule| Some((rule.name.as_str(), *places.get(rule.name.as_str())?)))
        .collect();
    // Longest increasing subsequence (Fredman 1975): `ends[n]` ends the best one of n + 1 rules.
    let (mut ends, mut previous): (Vec<usize>, Vec<Option<usize>>) = (Vec::new(), Vec::new());
    for (at, &(_, place)) in common.iter().enumerate() {
        let length = ends.partition_point(|&end| common[end].1 < place);
        previous.push(length.checked_sub(1).map(|before| ends[before]));
        match ends.get_mut(length) {
            Some(end) => *end = at,
            None => ends.push(at),
        }
    }
    let mut stay = HashSet::new();
    let mut at = ends.last().copied();
    while let Some(here) = at {
        stay.insert(common[here].0);
        at = previous[here];
    }
    stay
}

/// Who reaches a port now, and who would.
fn service((proto, port): (&'static str, u16), before: &Policy, after: &Policy) -> ServicePlan {
    let number = if proto == "tcp" { TCP } else { UDP };
    let reach = |policy: &Policy| match access(policy, number.into(), port) {
        Some(Access::All) => Reach::All,
        Some(Access::Some) => Reach::Some,
        Some(Access::None) => Reach::None,
        None => Reach::Unknown,
    };
    ServicePlan {
        proto: proto.to_owned(),
        port,
        service: well_known_ports::name(number, port).map(str::to_owned),
        was: reach(before),
        becomes: reach(after),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewall_policy::checked::check;
    use firewall_policy::files::NoFiles;

    fn policy(rules: &[&str]) -> Policy {
        let rules: String = rules
            .iter()
            .map(|rule| format!("  - {{{rule}}}\n"))
            .collect();
        let text = format!("version: 1\ndefault: {{in: drop}}\nrules:\n{rules}");
        let checked = check("p.yaml", &text, &NoFiles);
        checked.unwrap_or_else(|error| panic!("{error:?}")).policy
    }

    #[test]
    fn rules_come_change_move_and_go() {
        let old = policy(&[
            "name: a, proto: tcp, port: 1, action: pass",
            "name: b, proto: tcp, port: 2, action: pass",
            "name: c, proto: tcp, port: 3, action: pass",
            "name: d, proto: tcp, port: 4, action: pass",
            "name: e, proto: tcp, port: 5, action: pass",
        ]);
        let new = policy(&[
            "name: a, proto: tcp, port: 1, action: pass, comment: the same",
            "name: e, proto: tcp, port: 5, action: pass",
            "name: c, proto: tcp, port: 3, action: pass",
            "name: new, proto: udp, port: 9, action: pass",
            "name: d, proto: tcp, port: 4, action: drop",
        ]);
        let found = rules(&old.rules, &new.rules, &[]);
        let found: Vec<(Fate, &str)> = found.iter().map(|it| (it.fate, it.name.as_str())).collect();
        let wanted = [
            (Fate::Remove, "b"),
            (Fate::Move, "e"),
            (Fate::Add, "new"),
            (Fate::Change, "d"),
        ];
        assert_eq!(found, wanted);
        assert!(rules(&old.rules, &old.rules, &[]).is_empty());
    }
}
