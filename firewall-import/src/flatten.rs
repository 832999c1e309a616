//! From chains to one list in which the first match wins.
//!
//! Jumps are followed, what returns is calculated (a `RETURN` takes its packets out of what the rest
//! of the chain sees), and base chains that follow each other must all accept. May not import a
//! reader or the writer. Invariant: a step is exact, or it is not made and the rule is in the list
//! of what was left out.

use super::imported::{Effect, ImportError, LeftOut};
use super::packets::{Packets, less_all};
use super::ruleset::{Base, Condition, Path, Rule, Ruleset, Verdict};
use firewall_common::verdict::Action;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Most steps of a list.
const MAX_STEPS: usize = 50_000;

/// Most parts that the packets on their way through a chain may be in.
const MAX_PARTS: usize = 512;

/// Deeper chains are refused; Netfilter stops at 16.
const MAX_DEPTH: usize = 32;

/// What one step of the list does with its packets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Step {
    pub(super) packets: Packets,
    /// Pass, drop or reject.
    pub(super) action: Action,
    /// The rules it comes from; none for the policy of a chain.
    pub(super) origins: Vec<usize>,
    /// The chain of the rule, for its name; empty for a base chain.
    pub(super) chain: String,
    pub(super) comment: Option<String>,
}

/// The list, and what is not in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Flat {
    /// Every packet that no step takes is left over by rules that were left out; the policies of
    /// the chains are the last steps.
    pub(super) steps: Vec<Step>,
    pub(super) left_out: Vec<LeftOut>,
    /// Rules that no packet on these paths comes to.
    pub(super) unseen: Vec<usize>,
}

/// Packets on their way, as far as they are known.
#[derive(Clone)]
struct Part {
    packets: Packets,
    /// Why only some of these packets come here.
    unsure: Vec<Rc<str>>,
}

/// Where a chain is called from.
#[derive(Clone, Copy)]
struct At<'h> {
    /// Base chains that come after the one that this belongs to.
    rest: &'h [&'h Base],
    /// The policy of the base chain.
    accepts: bool,
    /// The rule of an earlier base chain whose packets these are.
    by: Option<(&'h Rule, &'h str)>,
}

impl At<'_> {
    /// What becomes of packets that come to the end of the base chain.
    fn policy(&self) -> Action {
        if self.accepts {
            Action::PASS
        } else {
            Action::DROP
        }
    }
}

/// Follows the base chains of a ruleset.
pub(super) fn flatten(ruleset: &Ruleset) -> Result<Flat, ImportError> {
    let mut bases: Vec<&Base> = ruleset.bases.iter().collect();
    bases.sort_by_key(|base| {
        let way = match base.path {
            Path::Prerouting => 0,
            Path::Input => 1,
            Path::Forward => 2,
        };
        (way, base.priority)
    });
    let mut walk = Walk {
        ruleset,
        steps: Vec::new(),
        left: BTreeMap::new(),
        seen: BTreeSet::new(),
        path: Vec::new(),
    };
    let families: BTreeSet<_> = bases
        .iter()
        .flat_map(|base| base.families.iter().copied())
        .collect();
    let start = families.into_iter().map(|family| Part {
        packets: Packets::all(family),
        unsure: Vec::new(),
    });
    walk.hook(&bases, start.collect(), None)?;
    let left_out = walk.left.iter().flat_map(|(&origin, notes)| {
        notes.iter().map(move |(reason, effect)| {
            let origin = &ruleset.origins[origin];
            LeftOut {
                place: origin.place.clone(),
                line: origin.line,
                text: origin.text.clone(),
                reason: reason.to_string(),
                effect: *effect,
                in_part: false,
            }
        })
    });
    let left_out = left_out.collect();
    let all: BTreeSet<usize> = (0..ruleset.origins.len()).collect();
    Ok(Flat {
        left_out,
        unseen: all.difference(&walk.seen).copied().collect(),
        steps: walk.steps,
    })
}

struct Walk<'a> {
    ruleset: &'a Ruleset,
    steps: Vec<Step>,
    /// By rule: reasons and effects.
    left: BTreeMap<usize, Vec<(Rc<str>, Effect)>>,
    /// Rules that some packet may come to.
    seen: BTreeSet<usize>,
    /// The chains on the way here.
    path: Vec<&'a str>,
}

impl<'a> Walk<'a> {
    /// Goes through the first base chain, and from there through the rest.
    fn hook(
        &mut self,
        hooks: &[&'a Base],
        parts: Vec<Part>,
        by: Option<(&Rule, &str)>,
    ) -> Result<(), ImportError> {
        if parts.is_empty() {
            return Ok(());
        }
        let Some((base, rest)) = hooks.split_first() else {
            return self.emit(parts, Action::PASS, by);
        };
        // A chain for some packets only, such as those of one interface, does not see the others.
        let (mut here, mut past) = (Vec::new(), Vec::new());
        for part in parts {
            let with = |packets| Part {
                packets,
                unsure: part.unsure.clone(),
            };
            let inside = base.scope.boxes.iter();
            here.extend(inside.filter_map(|scope| part.packets.and(scope)).map(with));
            past.extend(
                less_all(vec![part.packets.clone()], &base.scope.boxes)
                    .into_iter()
                    .map(with),
            );
        }
        let at = At {
            rest,
            accepts: base.accepts,
            by,
        };
        let fell = self.chain(&base.chain, here, at, true)?;
        if base.accepts {
            past.extend(fell);
        } else {
            self.emit(fell, Action::DROP, by)?;
        }
        self.hook(rest, past, by)
    }

    /// Goes through a chain; the packets that come back from it. Those that were decided about may
    /// be among them: the first match wins.
    fn chain(
        &mut self,
        name: &'a str,
        parts: Vec<Part>,
        at: At<'_>,
        is_base: bool,
    ) -> Result<Vec<Part>, ImportError> {
        let ruleset = self.ruleset;
        let Some(rules) = ruleset.chains.get(name) else {
            return Ok(parts);
        };
        self.path.push(name);
        let (mut here, mut back) = (parts, Vec::new());
        for rule in rules {
            if here.is_empty() {
                break;
            }
            self.seen.insert(rule.origin);
            for (reason, effect) in &rule.condition.aside {
                self.note(rule, reason, *effect);
            }
            let hit = meet(&here, &rule.condition)?;
            match &rule.verdict {
                Verdict::Continue(None) => {
                    for reason in &rule.condition.unsure {
                        self.note(rule, reason, Effect::None);
                    }
                }
                Verdict::Continue(Some(reason)) => self.note(rule, reason, Effect::None),
                Verdict::Elsewhere(reason) if hit.is_empty() => {
                    let _ = reason;
                }
                Verdict::Elsewhere(reason) => self.note(rule, reason, Effect::Differs),
                Verdict::Accept => self.decide(rule, hit, Action::PASS, at, is_base)?,
                Verdict::Drop => self.decide(rule, hit, Action::DROP, at, is_base)?,
                Verdict::Reject => self.decide(rule, hit, Action::REJECT, at, is_base)?,
                Verdict::Return if is_base => {
                    self.decide(rule, hit, at.policy(), at, is_base)?;
                }
                Verdict::Return => {
                    self.doubt(rule, &hit);
                    back.extend(hit);
                    here = apart(here, &rule.condition)?;
                }
                Verdict::Jump(to) => {
                    self.enters(rule, to)?;
                    self.doubt(rule, &hit);
                    self.chain(to, hit, at, false)?;
                }
                Verdict::Goto(to) => {
                    self.enters(rule, to)?;
                    self.doubt(rule, &hit);
                    let fell = self.chain(to, hit, at, false)?;
                    if is_base {
                        self.decide(rule, fell, at.policy(), at, is_base)?;
                    } else {
                        back.extend(fell);
                    }
                    here = apart(here, &rule.condition)?;
                }
            }
        }
        self.path.pop();
        back.extend(here);
        bounded(back)
    }

    /// Makes steps of the packets that are known exactly, and notes that there are others.
    fn decide(
        &mut self,
        rule: &Rule,
        hit: Vec<Part>,
        action: Action,
        at: At<'_>,
        is_base: bool,
    ) -> Result<(), ImportError> {
        let (exact, unsure): (Vec<Part>, Vec<Part>) =
            hit.into_iter().partition(|part| part.unsure.is_empty());
        let pass = action == Action::PASS;
        let effect = if pass {
            Effect::PassesLess
        } else {
            Effect::PassesMore
        };
        for part in &unsure {
            for reason in &part.unsure {
                self.note(rule, reason, effect);
            }
        }
        let chain = if is_base {
            ""
        } else {
            self.path.last().copied().unwrap_or_default()
        };
        let by = at.by.filter(|_| pass).or(Some((rule, chain)));
        if pass && !at.rest.is_empty() {
            let rest: Vec<&'a Base> = self.after(at.rest);
            return self.hook(&rest, exact, by);
        }
        self.emit(exact, action, by)
    }

    /// The same base chains, as the ruleset holds them.
    fn after(&self, rest: &[&Base]) -> Vec<&'a Base> {
        let same = |base: &&Base| {
            let bases = self.ruleset.bases.iter();
            bases.into_iter().find(|own| std::ptr::eq(*own, *base))
        };
        rest.iter().filter_map(same).collect()
    }

    fn emit(
        &mut self,
        parts: Vec<Part>,
        action: Action,
        by: Option<(&Rule, &str)>,
    ) -> Result<(), ImportError> {
        for part in parts.into_iter().filter(|part| part.unsure.is_empty()) {
            let origins: Vec<usize> = by.iter().map(|(rule, _)| rule.origin).collect();
            // A rule that is come to on several ways: once is enough.
            let again = self.steps.iter().rev().take(2_000);
            let known = again
                .filter(|step| step.origins == origins)
                .any(|step| step.packets.holds(&part.packets));
            if known && by.is_some() {
                continue;
            }
            self.steps.push(Step {
                packets: part.packets,
                action,
                origins,
                chain: by.map_or(String::new(), |(_, chain)| chain.to_owned()),
                comment: by.and_then(|(rule, _)| rule.comment.clone()),
            });
        }
        if self.steps.len() <= MAX_STEPS {
            return Ok(());
        }
        Err(too_many())
    }

    /// A jump must not come back to a chain that it is in.
    fn enters(&self, rule: &Rule, to: &str) -> Result<(), ImportError> {
        if self.path.len() < MAX_DEPTH && !self.path.contains(&to) {
            return Ok(());
        }
        let origin = &self.ruleset.origins[rule.origin];
        Err(ImportError {
            line: origin.line,
            column: 1,
            message: format!("the chain `{to}` leads back to itself ({})", origin.place),
            help: "Netfilter takes no such rules: save them again".into(),
        })
    }

    /// Notes that it is not known which packets go another way.
    fn doubt(&mut self, rule: &Rule, hit: &[Part]) {
        if !hit.is_empty() {
            for reason in &rule.condition.unsure {
                self.note(rule, reason, Effect::Differs);
            }
        }
    }

    fn note(&mut self, rule: &Rule, reason: &Rc<str>, effect: Effect) {
        let notes = self.left.entry(rule.origin).or_default();
        match notes.iter_mut().find(|(known, _)| known == reason) {
            Some((_, known)) => *known = (*known).min(effect),
            None => notes.push((reason.clone(), effect)),
        }
    }
}

/// The packets of both, with all doubts.
fn meet(parts: &[Part], condition: &Condition) -> Result<Vec<Part>, ImportError> {
    let mut found = Vec::new();
    for part in parts {
        let mut unsure = part.unsure.clone();
        for reason in &condition.unsure {
            if !unsure.contains(reason) {
                unsure.push(reason.clone());
            }
        }
        let both = condition.boxes.iter();
        found.extend(
            both.filter_map(|b| part.packets.and(b))
                .map(|packets| Part {
                    packets,
                    unsure: unsure.clone(),
                }),
        );
    }
    if found.len() > MAX_STEPS {
        return Err(too_many());
    }
    Ok(found)
}

/// What goes on behind a rule that takes its packets out of the chain.
fn apart(parts: Vec<Part>, condition: &Condition) -> Result<Vec<Part>, ImportError> {
    let mut left = Vec::new();
    if !condition.unsure.is_empty() {
        // Some of them stay, and it is not known which.
        left.extend(meet(&parts, condition)?);
    }
    for part in parts {
        let rest = less_all(vec![part.packets], &condition.boxes);
        left.extend(rest.into_iter().map(|packets| Part {
            packets,
            unsure: part.unsure.clone(),
        }));
    }
    bounded(left)
}

fn bounded(parts: Vec<Part>) -> Result<Vec<Part>, ImportError> {
    if parts.len() <= MAX_PARTS {
        return Ok(parts);
    }
    Err(too_many())
}

fn too_many() -> ImportError {
    ImportError {
        line: 0,
        column: 0,
        message: format!("in one list these chains come to more than {MAX_STEPS} rules"),
        help: "write fewer RETURNs and jumps, or import the rules of one interface with -i".into(),
    }
}
