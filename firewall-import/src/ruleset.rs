//! The rules of another firewall in one form: chains of conditions and verdicts, as iptables and
//! nft both have them.
//!
//! May not import a reader or the writer. Invariant: a condition's boxes hold every packet that the
//! original matches; where they hold more, `unsure` says why.

use super::imported::Effect;
use super::packets::{Dim, Family, Packets, Values, less_all};
use super::rates::Rate;
use firewall_policy::content::Content;
use std::collections::HashMap;
use std::rc::Rc;

/// Why a statement that logs is left out.
pub(crate) const NO_LOG: &str = "not logged; to log, add `log: 10/s` to a rule or to `default`";

/// Why what asks a set differs that rules fill.
pub(crate) const NOT_FILLED: &str =
    "a policy does not put addresses into sets, and rules look into the set";

/// Most boxes that one condition may have.
const MAX_BOXES: usize = 4_096;

/// What a rule matches.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    /// The union of these.
    pub(super) boxes: Vec<Packets>,
    /// What else the original asks that a policy cannot say: it matches fewer packets than `boxes`.
    pub(super) unsure: Vec<Rc<str>>,
    /// Of what it matches, what is within this rate, or over it.
    pub(super) rate: Option<Rate>,
    /// Of what it matches, packets with this payload or these options.
    pub(super) content: Option<Content>,
    /// What else is lost, with what that does to the packets that come in.
    pub(super) aside: Vec<(Rc<str>, Effect)>,
}

impl Condition {
    /// Every packet of these families.
    pub(super) fn all(families: &[Family]) -> Self {
        Self {
            boxes: families
                .iter()
                .map(|&family| Packets::all(family))
                .collect(),
            unsure: Vec::new(),
            rate: None,
            content: None,
            aside: Vec::new(),
        }
    }

    /// Narrows one dimension, in both families alike.
    pub(super) fn narrow(&mut self, dim: Dim, values: &Values) {
        self.boxes = self
            .boxes
            .iter()
            .filter_map(|part| part.narrowed(dim, values))
            .collect();
    }

    /// Whether the boxes are all that there is to say.
    pub(super) fn is_plain(&self) -> bool {
        self.unsure.is_empty()
            && self.rate.is_none()
            && self.content.is_none()
            && self.aside.is_empty()
    }

    /// Leaves one family.
    pub(super) fn only(&mut self, family: Family) {
        self.boxes.retain(|part| part.family == family);
    }

    /// Narrows to the packets that are in one of `others`, or in none of them.
    pub(super) fn within(&mut self, others: &[Packets], negated: bool) {
        if negated {
            let mut left = self.boxes.clone();
            for other in others {
                left = less_all(left, std::slice::from_ref(other));
                if left.len() > MAX_BOXES {
                    return self.too_many();
                }
            }
            self.boxes = left;
            return;
        }
        let mut both = Vec::new();
        for part in &self.boxes {
            both.extend(others.iter().filter_map(|other| part.and(other)));
            if both.len() > MAX_BOXES {
                return self.too_many();
            }
        }
        self.boxes = both;
    }

    /// The boxes stay as they are, and hold more than the original matches.
    fn too_many(&mut self) {
        self.unsure(&format!(
            "it would take more than {MAX_BOXES} rules to say this"
        ));
    }

    /// Asks for a rate.
    pub(super) fn limit(&mut self, rate: Rate) {
        if self.rate.is_some() {
            self.unsure("a rule of a policy has one limit, not two");
        }
        self.rate = Some(rate);
    }

    /// Asks for a payload or options.
    pub(super) fn content(&mut self, content: Content) {
        match &mut self.content {
            None => self.content = Some(content),
            // One of each can stand in a rule.
            Some(known) if known.options == 0 && content.payload.is_none() => {
                known.options = content.options;
            }
            Some(known) if known.payload.is_none() && content.options == 0 => {
                known.payload = content.payload;
            }
            Some(_) => self
                .unsure("a rule of a policy has one `payload` and asks for one of some `options`"),
        }
    }

    /// Notes something that is lost beside.
    pub(super) fn aside(&mut self, reason: &str, effect: Effect) {
        if !self.aside.iter().any(|(known, _)| &**known == reason) {
            self.aside.push((reason.into(), effect));
        }
    }

    /// Notes something that a policy cannot say.
    pub(super) fn unsure(&mut self, reason: &str) {
        if !self.unsure.iter().any(|known| &**known == reason) {
            self.unsure.push(reason.into());
        }
    }
}

/// What a rule does with what it matches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Accept,
    Drop,
    /// Drop, and send an answer.
    Reject,
    Jump(String),
    Goto(String),
    Return,
    /// Goes on with the next rule; what else it does is lost for this reason.
    Continue(Option<Rc<str>>),
    /// Something that a policy cannot do decides about the packet.
    Elsewhere(Rc<str>),
}

/// One rule of another firewall.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// Which line of the text, or which rule otherwise: index into [`Ruleset::origins`].
    pub(super) origin: usize,
    /// Others of which it is the rule, too: they differ in their source alone.
    pub(super) also: Vec<usize>,
    pub(super) condition: Condition,
    pub(super) verdict: Verdict,
    pub(super) comment: Option<String>,
}

impl Verdict {
    /// The chain that it goes to.
    pub(super) fn target(&self) -> Option<&str> {
        match self {
            Self::Jump(to) | Self::Goto(to) => Some(to),
            _ => None,
        }
    }

    /// With the chains it goes to under other names.
    pub(super) fn renamed(self, name: impl Fn(&str) -> String) -> Self {
        match self {
            Self::Jump(to) => Self::Jump(name(&to)),
            Self::Goto(to) => Self::Goto(name(&to)),
            other => other,
        }
    }
}

/// Where a rule comes from, for people.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// `line 12`, or `inet filter input, handle 7`.
    pub(super) place: String,
    /// The line in the text, from 1; 0 where there are no lines.
    pub(super) line: u32,
    /// The rule as written.
    pub(super) text: String,
    /// Lines that it stands for.
    pub(super) count: usize,
}

/// What a base chain does.
#[derive(Clone, Debug)]
pub(super) struct Base {
    /// Key into [`Ruleset::chains`].
    pub(super) chain: String,
    pub(super) families: Vec<Family>,
    /// The packets that come here at all: those of an interface, those to this host.
    pub(super) scope: Condition,
    pub(super) accepts: bool,
    pub(super) path: Path,
    /// Base chains are passed from the smallest number to the largest.
    pub(super) priority: i64,
}

/// Which packets pass a base chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Path {
    /// All that come in.
    Prerouting,
    /// Those to this host.
    Input,
    /// Those to others.
    Forward,
}

/// Everything that was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Ruleset {
    pub(super) origins: Vec<Origin>,
    pub(super) chains: HashMap<String, Vec<Rule>>,
    pub(super) bases: Vec<Base>,
}
