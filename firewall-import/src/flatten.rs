//! From chains to one list in which the first match wins.
//!
//! Jumps are followed, what returns is calculated (a `RETURN` takes its packets out of what the rest
//! of the chain sees), and base chains that follow each other must all accept. May not import a
//! reader or the writer. Invariant: a step is exact, or it is not made and the rule is in the list
//! of what was left out.

use super::imported::{Effect, ImportError, LeftOut};
use super::packets::{Family, Packets, folded, less_all};
use super::rates::Rate;
use super::ruleset::{Base, Condition, Path, Rule, Ruleset, Verdict};
use firewall_common::verdict::Action;
use firewall_policy::content::Content;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
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
    /// A rate up to which the action applies, and what becomes of packets over it.
    pub(super) limit: Option<(Rate, Action)>,
    /// A payload or options that its packets must have; the others go on.
    pub(super) content: Option<Content>,
}

impl Step {
    /// Whether it does what it does with all of its packets.
    pub(super) const fn is_plain(&self) -> bool {
        self.limit.is_none() && self.content.is_none()
    }
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

/// Packets in a chain.
struct Ways {
    /// Those that go on to the next rule.
    here: Vec<Part>,
    /// Those that leave the chain by its end.
    back: Vec<Part>,
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
            Path::Forward => 1,
            Path::Input => 2,
        };
        (way, base.priority)
    });
    let mut walk = Walk {
        ruleset,
        steps: Vec::new(),
        by_origin: HashMap::new(),
        left: BTreeMap::new(),
        lost: BTreeMap::new(),
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
    walk.weigh();
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
    /// The steps of each rule.
    by_origin: HashMap<usize, Vec<usize>>,
    /// By rule: reasons and effects.
    left: BTreeMap<usize, Vec<(Rc<str>, Effect)>>,
    /// By rule: the packets that it may have decided about, how, and the steps before.
    lost: BTreeMap<usize, Vec<(Packets, Action, usize)>>,
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
        // What goes on to others is decided about first, whole; so the rules for this host need not
        // say that they are for this host.
        let (forward, input): (Vec<&'a Base>, Vec<&'a Base>) = hooks
            .iter()
            .copied()
            .partition(|base| base.path == Path::Forward);
        let divides = input.iter().all(|base| base.path == Path::Input);
        if divides && !forward.is_empty() && !input.is_empty() {
            let inside = |part: &Part| {
                let family = part.packets.family;
                let base = forward.iter().find(|base| base.families.contains(&family));
                let scope = base.map_or(&[][..], |base| &base.scope.boxes);
                let both = scope.iter().filter_map(|scope| part.packets.and(scope));
                both.map(|packets| Part {
                    packets,
                    unsure: part.unsure.clone(),
                })
                .collect::<Vec<_>>()
            };
            let beyond = parts.iter().flat_map(inside).collect();
            self.hook(&forward, beyond, by)?;
            return self.hook(&input, parts, by);
        }
        let Some((base, rest)) = hooks.split_first() else {
            return self.emit(parts, Action::PASS, by, None);
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
            self.emit(fell, Action::DROP, by, None)?;
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
        for (number, rule) in rules.iter().enumerate() {
            if here.is_empty() {
                break;
            }
            self.seen.insert(rule.origin);
            self.seen.extend(&rule.also);
            for (reason, effect) in &rule.condition.aside {
                self.note(rule, reason, *effect);
            }
            let mut condition = Cow::Borrowed(&rule.condition);
            let mut hit = meet(&here, &condition)?;
            if condition.content.is_some() && !matches!(rule.verdict, Verdict::Continue(_)) {
                if self.with_content(rule, &hit, at, is_base)? {
                    continue;
                }
                if condition.unsure.is_empty() {
                    condition.to_mut().unsure(NO_CONTENT);
                    hit = meet(&here, &condition)?;
                }
            }
            if condition.rate.is_some() && !matches!(rule.verdict, Verdict::Continue(_)) {
                if let Some(does) = self.limit(rule, &rules[number + 1..], &hit, at, is_base) {
                    if matches!(rule.verdict, Verdict::Return) && !is_base {
                        back.extend(hit.clone());
                        here = apart(here, &condition)?;
                    }
                    self.limited(rule, hit, does, at.by, is_base)?;
                    continue;
                }
                if condition.unsure.is_empty() {
                    condition.to_mut().unsure(NO_RATE);
                    hit = meet(&here, &condition)?;
                }
            }
            let ways = Ways { here, back };
            Ways { here, back } = self.follow(rule, &condition, hit, ways, at, is_base)?;
        }
        self.path.pop();
        back.extend(here);
        bounded(back)
    }

    /// Makes steps of a rule that asks for a payload or options, behind which the other packets go on;
    /// false if a policy cannot say that.
    fn with_content(
        &mut self,
        rule: &Rule,
        hit: &[Part],
        at: At<'_>,
        is_base: bool,
    ) -> Result<bool, ImportError> {
        let action = match &rule.verdict {
            Verdict::Accept => Action::PASS,
            Verdict::Drop => Action::DROP,
            Verdict::Reject => Action::REJECT,
            Verdict::Return if is_base => at.policy(),
            _ => return Ok(false),
        };
        let goes_on = action == Action::PASS && !at.rest.is_empty();
        let is_sure = hit.iter().all(|part| part.unsure.is_empty());
        if goes_on || !is_sure || rule.condition.rate.is_some() {
            return Ok(false);
        }
        let chain = if is_base {
            ""
        } else {
            self.path.last().copied().unwrap_or_default()
        };
        let by = at.by.filter(|_| action == Action::PASS);
        let content = rule.condition.content.clone();
        let looks_inside = content.as_ref().is_some_and(|it| it.payload.is_some());
        if action != Action::PASS && looks_inside {
            self.note(rule, &Rc::from(IN_FRAGMENTS), Effect::PassesMore);
        }
        self.emit(
            hit.to_vec(),
            action,
            by.or(Some((rule, chain))),
            content.as_ref(),
        )?;
        Ok(true)
    }

    /// Goes where a rule sends the packets that it matches.
    fn follow(
        &mut self,
        rule: &'a Rule,
        condition: &Condition,
        hit: Vec<Part>,
        Ways { mut here, mut back }: Ways,
        at: At<'_>,
        is_base: bool,
    ) -> Result<Ways, ImportError> {
        match &rule.verdict {
            Verdict::Continue(None) => {
                for reason in &condition.unsure {
                    self.note(rule, reason, Effect::None);
                }
            }
            Verdict::Continue(Some(reason)) => self.note(rule, reason, Effect::None),
            Verdict::Elsewhere(_) if hit.is_empty() => {}
            Verdict::Elsewhere(reason) => self.note(rule, reason, Effect::Differs),
            Verdict::Accept => self.decide(rule, hit, Action::PASS, at, is_base)?,
            Verdict::Drop => self.decide(rule, hit, Action::DROP, at, is_base)?,
            Verdict::Reject => self.decide(rule, hit, Action::REJECT, at, is_base)?,
            Verdict::Return if is_base => self.decide(rule, hit, at.policy(), at, is_base)?,
            Verdict::Return => {
                self.doubt(rule, condition, &hit);
                back.extend(hit);
                here = apart(here, condition)?;
            }
            Verdict::Jump(to) => {
                self.enters(rule, to)?;
                self.doubt(rule, condition, &hit);
                self.chain(to, hit, at, false)?;
            }
            Verdict::Goto(to) => {
                self.enters(rule, to)?;
                self.doubt(rule, condition, &hit);
                let fell = self.chain(to, hit, at, false)?;
                if is_base {
                    self.decide(rule, fell, at.policy(), at, is_base)?;
                } else {
                    back.extend(fell);
                }
                here = apart(here, condition)?;
            }
        }
        Ok(Ways { here, back })
    }

    /// What a rule with a rate does with packets within it, and with those over it; `None` if a limit
    /// of a policy cannot say that.
    fn limit(
        &mut self,
        rule: &Rule,
        rest: &[Rule],
        hit: &[Part],
        at: At<'_>,
        is_base: bool,
    ) -> Option<(Action, Action)> {
        let rate = rule.condition.rate.as_ref()?;
        // Each rule of a policy counts for itself.
        let one = |family| {
            let of = hit.iter().filter(|part| part.packets.family == family);
            of.count() <= 1
        };
        if !hit.iter().all(|part| part.unsure.is_empty()) || !Family::BOTH.into_iter().all(one) {
            return None;
        }
        let behind = at.rest.iter().any(|base| {
            let scope = &base.scope.boxes;
            hit.iter()
                .any(|part| scope.iter().any(|scope| scope.and(&part.packets).is_some()))
        });
        let outcome = match &rule.verdict {
            Verdict::Accept => Some(Action::PASS),
            Verdict::Drop => Some(Action::DROP),
            Verdict::Reject => Some(Action::REJECT),
            Verdict::Return if is_base => Some(at.policy()),
            Verdict::Jump(to) | Verdict::Goto(to) => {
                let rules = self.ruleset.chains.get(to)?;
                let (action, origins) = end(rules, hit)?;
                self.seen.extend(origins);
                Some(action)
            }
            _ => None,
        };
        match outcome {
            Some(Action::PASS) if !rate.over && !behind => Some((Action::PASS, Action::NEXT)),
            Some(action) if action != Action::PASS && rate.over => Some((Action::NEXT, action)),
            Some(action) if action != Action::PASS => Some((action, Action::NEXT)),
            None if rule.verdict == Verdict::Return && !rate.over => {
                let (action, origins) = end(rest, hit)?;
                self.seen.extend(origins);
                (action != Action::PASS).then_some((Action::NEXT, action))
            }
            _ => None,
        }
    }

    /// Makes limits of packets that are known exactly.
    fn limited(
        &mut self,
        rule: &Rule,
        hit: Vec<Part>,
        (action, over): (Action, Action),
        by: Option<(&Rule, &str)>,
        is_base: bool,
    ) -> Result<(), ImportError> {
        let chain = if is_base {
            ""
        } else {
            self.path.last().copied().unwrap_or_default()
        };
        let by = by
            .filter(|_| action == Action::PASS)
            .or(Some((rule, chain)));
        let first = self.steps.len();
        self.emit(hit, action, by, None)?;
        for step in &mut self.steps[first..] {
            step.limit = rule.condition.rate.clone().map(|rate| (rate, over));
        }
        Ok(())
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
        for part in unsure {
            for reason in &part.unsure {
                self.note(rule, reason, effect);
            }
            let lost = self.lost.entry(rule.origin).or_default();
            lost.push((part.packets, action, self.steps.len()));
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
        self.emit(exact, action, by, None)
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
        content: Option<&Content>,
    ) -> Result<(), ImportError> {
        let sure = parts.into_iter().filter(|part| part.unsure.is_empty());
        for packets in folded(sure.map(|part| part.packets).collect()) {
            let origins = by.iter();
            let origins: Vec<usize> = origins
                .flat_map(|(rule, _)| std::iter::once(rule.origin).chain(rule.also.iter().copied()))
                .collect();
            // A rule that is come to on several ways: once is enough.
            if let Some(origin) = origins.first() {
                let known = self.by_origin.entry(*origin).or_default();
                let again = |&step: &usize| {
                    let known = &self.steps[step];
                    let says_it = known.content.is_none() || known.content.as_ref() == content;
                    says_it && known.packets.holds(&packets)
                };
                if known.iter().any(again) {
                    continue;
                }
                known.push(self.steps.len());
            }
            self.steps.push(Step {
                packets,
                action,
                origins,
                chain: by.map_or(String::new(), |(_, chain)| chain.to_owned()),
                comment: by.and_then(|(rule, _)| rule.comment.clone()),
                limit: None,
                content: content.cloned(),
            });
        }
        if self.steps.len() <= MAX_STEPS {
            return Ok(());
        }
        Err(too_many())
    }

    /// A lost rule changes nothing where what comes behind it does the same with all of its packets.
    fn weigh(&mut self) {
        for (origin, lost) in &self.lost {
            let same = lost.iter().all(|(packets, action, before)| {
                let pass = *action == Action::PASS;
                let mut behind = self.steps[*before..].iter();
                !behind.any(|step| {
                    let other = (step.action == Action::PASS) != pass || !step.is_plain();
                    other && step.packets.meets(packets)
                })
            });
            if let Some(notes) = self.left.get_mut(origin).filter(|_| same) {
                for (_, effect) in notes {
                    if matches!(effect, Effect::PassesMore | Effect::PassesLess) {
                        *effect = Effect::None;
                    }
                }
            }
        }
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
    fn doubt(&mut self, rule: &Rule, condition: &Condition, hit: &[Part]) {
        if !hit.is_empty() {
            for reason in &condition.unsure {
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

/// Why a rule with a payload is not exact.
const NO_CONTENT: &str = "where a packet goes by its content a policy cannot say but in a rule that decides: \
                          write `payload` or `options` by hand";

/// What a rule that drops by a payload misses.
const IN_FRAGMENTS: &str = "Netfilter looks at whole datagrams; of one in fragments, the first can end before these \
                            bytes and gets past the rule: drop fragments (`packet: {fragments: drop}`) if that matters";

/// Why a rule with a rate is not exact.
const NO_RATE: &str = "a limit of a policy cannot say this rate: write one by hand";

/// What a list of rules does with all of these packets, if it is one thing, and the rules that do it.
fn end(rules: &[Rule], hit: &[Part]) -> Option<(Action, Vec<usize>)> {
    let mut seen = Vec::new();
    for rule in rules {
        seen.push(rule.origin);
        let action = match rule.verdict {
            Verdict::Continue(_) => continue,
            Verdict::Accept => Action::PASS,
            Verdict::Drop => Action::DROP,
            Verdict::Reject => Action::REJECT,
            _ => return None,
        };
        let condition = &rule.condition;
        let all = hit
            .iter()
            .all(|part| condition.boxes.iter().any(|b| b.holds(&part.packets)));
        let sure =
            condition.unsure.is_empty() && condition.rate.is_none() && condition.content.is_none();
        return (all && sure).then_some((action, seen));
    }
    None
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
    if found.len() > 1 && found.iter().all(|part| part.unsure.is_empty()) {
        let boxes = folded(found.into_iter().map(|part| part.packets).collect());
        found = boxes
            .into_iter()
            .map(|packets| Part {
                packets,
                unsure: Vec::new(),
            })
            .collect();
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
