//! Lint: rules that are valid and do nothing, found by calculating with the sets of packets that
//! rules match, not by comparing their text.
//!
//! May not import `oracle`: tests hold it against that. Invariant: a finding is a fact about every
//! packet; what could not be decided is said, never left out.

mod access;
mod cover;
mod states;
mod tunnels;

pub use access::{Access, access};
pub use cover::Standing;

use crate::ast::Span;
use crate::bundle::Lines;
use crate::compile::compile;
use crate::diag::{Diagnostics, Severity, Sink, codes};
use crate::rule::{Policy, Rule, frame_rules};
use crate::space::Space;
use crate::space::reach::{Carried, Doors};
use crate::tables::Tables;
use cover::{Boxes, Coverage};
use firewall_common::parse::proto;
use firewall_common::verdict::Action;

/// Steps of one search: a fraction of a second.
const BUDGET: u32 = 20_000;

/// Rules that a message names before it counts the rest.
const NAMED: usize = 3;

/// What lint found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lint {
    /// The findings, as warnings.
    pub findings: Diagnostics,
    /// How each rule stands, in policy order.
    pub standings: Vec<Standing>,
}

/// Looks for rules that do nothing in the policy that `text` of the file `name` holds. `tables`
/// are the policy's, in which rule `i` counts in slot `i`.
#[must_use]
pub fn lint(name: &str, text: &str, policy: &Policy, tables: &Tables) -> Lint {
    lint_within(name, text, policy, tables, BUDGET)
}

/// As [`lint`]; a search for one rule is given up after `budget` steps.
#[must_use]
pub fn lint_within(name: &str, text: &str, policy: &Policy, tables: &Tables, budget: u32) -> Lint {
    let doors = Doors::of(policy);
    let v4 = Boxes::<u32>::new(policy, tables, doors.boxes(), budget);
    let v6 = Boxes::<u128>::new(policy, tables, doors.boxes(), budget);
    let mut standings: Vec<Standing> = (0..policy.rules.len())
        .map(|rule| match v4.standing(rule) {
            reached @ Standing::Reached(_) => reached,
            standing => standing.or(v6.standing(rule)),
        })
        .collect();
    of_frames(policy, &doors, budget, &mut standings);
    let mut sink = Sink::new(name, text);
    let mut report = Warnings {
        lines: Lines::of(name, text),
        sink: &mut sink,
        policy,
    };
    for (number, (rule, standing)) in policy.rules.iter().zip(&standings).enumerate() {
        match standing {
            Standing::Never if states::means_invalid(policy, number, &v4, &v6) => {
                report.is_invalid(rule);
            }
            Standing::Reached(_) if states::stops(policy, number, &v4, &v6) => {
                report.halts(rule);
            }
            _ => report.rule(rule, standing),
        }
    }
    match (v4.can_pass(&ssh()), v6.can_pass(&ssh())) {
        (Coverage::Free(_), _) | (_, Coverage::Free(_)) => {}
        (Coverage::Covered, Coverage::Covered) => report.ssh(),
        _ => report.ssh_undecided(),
    }
    let unopened = tunnels::unopened(policy, &v4, &v6);
    if !unopened.is_empty() {
        report.tunnels(&unopened);
    }
    Lint {
        findings: sink.finish(Severity::Warning),
        standings,
    }
}

/// How the rules stand that are about frames which are not IP, each in its place.
fn of_frames(policy: &Policy, doors: &Doors, budget: u32, standings: &mut [Standing]) {
    let Some(rules) = frame_rules(&policy.rules) else {
        return;
    };
    let as_packets = Policy {
        rules,
        ..policy.clone()
    };
    let slots: Vec<u32> = (0..as_packets.counters().len() as u32).collect();
    let Ok(tables) = compile(&as_packets, &slots) else {
        return;
    };
    let boxes = Boxes::<u32>::new(&as_packets, &tables, doors.frames(), budget);
    for (number, rule) in policy.rules.iter().enumerate() {
        if rule.matches.is_of_frames() {
            standings[number] = boxes.standing(number);
        }
    }
}

/// Whether somebody can open an SSH connection under a policy; `None`: the search was given up.
#[must_use]
pub fn lets_ssh_in(policy: &Policy) -> Option<bool> {
    let few = access::near(policy, proto::TCP, SSH);
    access::can_pass(policy, &few, proto::TCP, SSH)
}

/// The port of SSH.
const SSH: u16 = 22;

/// The first packets of SSH connections, which belong to none yet.
fn ssh<T: Carried>() -> Space<T> {
    access::opening(proto::TCP, SSH)
}

/// Turns facts into findings.
struct Warnings<'r, 't> {
    lines: Lines<'t>,
    sink: &'r mut Sink<'t>,
    policy: &'r Policy,
}

impl Warnings<'_, '_> {
    fn rule(&mut self, rule: &Rule, standing: &Standing) {
        let span = self.lines.span(&rule.place);
        let name = &rule.name;
        let does = match rule.action {
            Action::NEXT => "counts",
            _ => "decides",
        };
        match standing {
            Standing::Disabled | Standing::Reached(_) => {}
            Standing::Never => {
                self.sink
                    .warning(
                        &codes::LINT_NEVER,
                        span,
                        format!("the rule `{name}` never {does}: no packet that reaches the rules matches it"),
                    )
                    .help("its values leave nothing that `packet` and the essential group let through to the rules; remove it, or widen it");
            }
            Standing::Undecided => {
                self.sink
                    .warning(
                        &codes::LINT_UNDECIDED,
                        span,
                        format!("whether the rule `{name}` ever {does} could not be determined: it overlaps too many others"),
                    )
                    .help("no error was found; `firewall-ctl test` shows the verdict on a single packet");
            }
            Standing::Covered(by) => {
                let others: Vec<&Rule> = by.iter().map(|&rule| &self.policy.rules[rule]).collect();
                self.covered(rule, span, does, &others);
            }
        }
    }

    /// A rule for `state: new` that matches only what is `invalid`.
    fn is_invalid(&mut self, rule: &Rule) {
        let span = self.lines.span(&rule.place);
        let name = &rule.name;
        self.sink
            .warning(
                &codes::LINT_NEVER,
                span,
                format!("the rule `{name}` never matches: such packets are never `new`"),
            )
            .help(
                "TCP without SYN, ICMP errors and echo replies without a connection are `invalid`: \
                 write `state: invalid`",
            );
    }

    fn halts(&mut self, rule: &Rule) {
        let span = self.lines.span(&rule.place);
        let name = &rule.name;
        self.sink
            .warning(
                &codes::LINT_HALTS,
                span,
                format!(
                    "the rule `{name}` passes what opens TCP connections, and nothing passes what \
                     goes on with them"
                ),
            )
            .help(
                "that is `established` and not `new`: add `- {name: replies, state: established, \
                 action: pass}`, or write `state: [new, established]`",
            );
    }

    fn covered(&mut self, rule: &Rule, span: Span, does: &str, others: &[&Rule]) {
        let Some(&first) = others.first() else {
            return;
        };
        let (name, earlier) = (&rule.name, &first.name);
        let related = self.lines.span(&first.place);
        let verb = match first.action {
            Action::PASS => "passes",
            Action::REJECT => "rejects",
            _ => "drops",
        };
        let (code, message, help) = if others.len() > 1 {
            let mut names: Vec<String> = others
                .iter()
                .take(NAMED)
                .map(|other| format!("`{}` ({})", other.name, other.action))
                .collect();
            if others.len() > NAMED {
                names.push(format!("{} more", others.len() - NAMED));
            }
            (
                &codes::LINT_UNREACHABLE,
                format!(
                    "the rule `{name}` never {does}: the rules before it take all of its packets together"
                ),
                format!("they are: {}", names.join(", ")),
            )
        } else if first.action == rule.action && first.matches == rule.matches {
            (
                &codes::LINT_DUPLICATE,
                format!("the rule `{name}` repeats `{earlier}`"),
                "remove one of them".to_owned(),
            )
        } else if first.action == rule.action || rule.action == Action::NEXT {
            (
                &codes::LINT_SHADOWED,
                format!(
                    "the rule `{name}` never {does}: `{earlier}` takes all of its packets before it"
                ),
                "remove it, or move it up if its counter matters".to_owned(),
            )
        } else {
            (
                &codes::LINT_CONTRADICTED,
                format!(
                    "the rule `{name}` never {does}: `{earlier}` {verb} all of its packets before it"
                ),
                format!("move `{name}` up, above `{earlier}`, or remove it"),
            )
        };
        self.sink
            .warning(code, span, message)
            .label(format!("never {does}"))
            .also(related, format!("{verb} them first"))
            .help(help);
    }

    fn ssh(&mut self) {
        let span = self.lines.key("default");
        self.sink
            .warning(
                &codes::LINT_SSH,
                span,
                "no SSH connection can be opened: no SYN to tcp/22 passes",
            )
            .help("add `- {name: ssh, proto: tcp, port: ssh, from: YOUR-ADDRESS, action: pass}`; otherwise only a console is left to log in");
    }

    fn tunnels(&mut self, kinds: &[&str]) {
        let span = self.lines.key("packet");
        self.sink
            .warning(
                &codes::LINT_TUNNELS,
                span,
                format!(
                    "`tunnels: inner` does not inspect {}, which pass",
                    kinds.join(", ")
                ),
            )
            .help(
                "drop tunnels that do not end here, or pass them only from their remote endpoint",
            );
    }

    fn ssh_undecided(&mut self) {
        let span = self.lines.key("default");
        self.sink
            .warning(
                &codes::LINT_UNDECIDED,
                span,
                "whether an SSH connection can be opened could not be determined: too many rules overlap there",
            )
            .help("try: firewall-ctl test -f FILE 'tcp YOUR-ADDRESS > HOST:22 syn'");
    }
}

#[cfg(test)]
mod classbench_tests;
#[cfg(test)]
mod tests;
