//! The statements of one rule, as conditions and verdicts.
//!
//! May not import the writer. Invariant: no statement is passed over in silence.

use super::super::imported::Effect;
use super::super::interfaces::Interfaces;
use super::super::local;
use super::super::packets::{Dim, Family, Packets, Values, folded};
use super::super::rates::Per;
use super::super::ruleset::{Condition, NO_LOG, Verdict};
use super::content;
use super::fields::{self, Left, left};
use super::rates;
use firewall_policy::fields::Header;
use firewall_policy::range::RangeSet;
use firewall_policy::vocabulary;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const COME_AND_GO: &str = "elements of the set come and go: carried over as they were";
const PORTED: [(u128, u128); 3] = [(6, 6), (17, 17), (132, 132)];

/// What rules are read with.
pub(super) struct Reader<'a> {
    pub(super) families: Vec<Family>,
    /// `inet filter`.
    pub(super) table: &'a str,
    /// The chains of the table.
    pub(super) chains: &'a BTreeSet<&'a str>,
    pub(super) sets: &'a BTreeMap<String, &'a Value>,
    /// The sets of the table that rules look into.
    pub(super) asked: &'a BTreeSet<&'a str>,
    pub(super) interfaces: &'a Interfaces,
    pub(super) local: &'a local::Addresses,
}

/// Why an expression is not exact.
type Reason = String;

const NO_RATE: &str = "a limit of a policy cannot say this rate: write one by hand";
const LATE: &str =
    "the rate counts packets that conditions behind it leave out; here it counts those of the rule";
const XT: &str = "it is a rule of iptables, which nft does not show whole: import iptables-save and \
                  ip6tables-save in place of this";

impl Reader<'_> {
    /// Reads the statements; a verdict map gives several rules.
    pub(super) fn read(&self, statements: &Value) -> Vec<(Condition, Verdict)> {
        let mut condition = Condition::all(&self.families);
        let mut rules = Vec::new();
        let none = Vec::new();
        for statement in statements.as_array().unwrap_or(&none) {
            let Some((kind, body)) = statement.as_object().and_then(|o| o.iter().next()) else {
                condition.unsure("a statement that is not understood");
                continue;
            };
            match kind.as_str() {
                "match" => {
                    if condition.rate.is_some() {
                        condition.aside(LATE, Effect::Differs);
                    }
                    if let Err(reason) = self.compare(&mut condition, body) {
                        condition.unsure(&reason);
                    }
                }
                "reject" => {
                    answered(&mut condition, body);
                    rules.push((condition.clone(), Verdict::Reject));
                }
                "vmap" => match self.verdict_map(&condition, body) {
                    Ok(more) => rules.extend(more),
                    Err(reason) => rules.extend(self.any_of(&condition, body, reason)),
                },
                "counter" | "continue" | "comment" => {}
                "log" => condition.aside(NO_LOG, Effect::None),
                "limit" => match rates::limit(body, Per::Rule) {
                    Some(rate) => condition.limit(rate),
                    None => condition.unsure(NO_RATE),
                },
                "quota" | "ct count" => condition.unsure(&unknown(kind)),
                "meter" | "set" | "map" => self.counted(&mut condition, kind, body),
                "xt" => {
                    condition.unsure(XT);
                    if body["type"] != "match" {
                        rules.push((condition.clone(), Verdict::Elsewhere(XT.into())));
                    }
                }
                "mangle" | "notrack" | "ct helper" | "ct timeout" | "ct expectation" | "flow"
                | "secmark" | "dup" | "snat" | "masquerade" | "reset" => {
                    condition.aside("packets are not marked, changed or copied", Effect::None);
                }
                _ => match self.verdict(kind, body) {
                    Some(verdict) => rules.push((condition.clone(), verdict)),
                    None if matches!(
                        kind.as_str(),
                        "queue" | "fwd" | "tproxy" | "synproxy" | "dnat" | "redirect"
                    ) =>
                    {
                        let reason = format!("the verdict is decided by `{kind}`, not by a rule");
                        rules.push((condition.clone(), Verdict::Elsewhere(reason.into())));
                    }
                    None => condition.unsure(&format!("a policy has nothing like `{kind}`")),
                },
            }
        }
        // What is lost beside is lost for the whole rule, wherever it stands.
        if let Some((first, _)) = rules.first_mut() {
            for (reason, effect) in &condition.aside {
                first.aside(reason, *effect);
            }
        } else {
            rules.push((condition, Verdict::Continue(None)));
        }
        rules
    }

    /// A meter, or an element for a set: what it counts may be a rate.
    fn counted(&self, condition: &mut Condition, kind: &str, body: &Value) {
        let statements: Vec<&Value> = match &body["stmt"] {
            Value::Array(list) => list.iter().collect(),
            Value::Null => Vec::new(),
            one => vec![one],
        };
        let statements = statements.into_iter();
        let statements: Vec<&Value> = statements
            .filter(|statement| statement.get("counter").is_none())
            .collect();
        let name = super::text(body, "set").trim_start_matches('@');
        if self.asked.contains(name) && matches!(kind, "set" | "map") {
            let reason = format!("{} {name}", super::super::ruleset::NOT_FILLED);
            condition.aside(&reason, Effect::Differs);
        }
        if statements.is_empty() {
            return condition.aside("a policy does not put addresses into sets", Effect::None);
        }
        let key = if kind == "meter" { "key" } else { "elem" };
        let key = left(fields::plain(&body[key]));
        if let Err(reason) = self.implied(condition, &key) {
            return condition.unsure(&reason);
        }
        let per = rates::per(&key, &condition.boxes);
        let rate = match statements[..] {
            [one] => per
                .zip(one.get("limit"))
                .and_then(|(per, limit)| rates::limit(limit, per)),
            _ => None,
        };
        match rate {
            Some(rate) => condition.limit(rate),
            None => condition.unsure(NO_RATE),
        }
    }

    /// A verdict map whose key a policy cannot look at: each of its verdicts may be the one.
    fn any_of(
        &self,
        condition: &Condition,
        body: &Value,
        reason: Reason,
    ) -> Vec<(Condition, Verdict)> {
        let mut unsure = condition.clone();
        unsure.unsure(&reason);
        let elements = self.elements(&body["data"]).map(|(elements, _)| elements);
        let verdicts = elements.unwrap_or_default().into_iter().filter_map(|pair| {
            let action = pair.as_array()?.get(1)?.as_object()?;
            let (kind, body) = action.iter().next()?;
            self.verdict(kind, body)
        });
        let mut found: Vec<(Condition, Verdict)> = Vec::new();
        for verdict in verdicts {
            if !found.iter().any(|(_, known)| *known == verdict) {
                found.push((unsure.clone(), verdict));
            }
        }
        if found.is_empty() {
            found.push((unsure, Verdict::Elsewhere(reason.into())));
        }
        found
    }

    /// The elements behind `{...}` or `@name`; one value otherwise. And whether they change.
    fn elements<'v>(&'v self, right: &'v Value) -> Result<(Vec<&'v Value>, bool), Reason> {
        if let Some(list) = right.get("set").and_then(Value::as_array) {
            return Ok((list.iter().map(fields::plain).collect(), false));
        }
        let Some(name) = right.as_str().and_then(|text| text.strip_prefix('@')) else {
            return Ok((vec![right], false));
        };
        let known = self.sets.get(&format!("{} {name}", self.table));
        let set = known.ok_or_else(|| format!("the set `{name}` is not in the ruleset"))?;
        let flags = match &set["flags"] {
            Value::Array(list) => list.clone(),
            other => vec![other.clone()],
        };
        let changes = flags
            .iter()
            .any(|flag| matches!(flag.as_str(), Some("timeout" | "dynamic")));
        let elements = set["elem"].as_array().map_or(&[][..], Vec::as_slice);
        Ok((elements.iter().map(fields::plain).collect(), changes))
    }

    /// A comparison.
    fn compare(&self, condition: &mut Condition, body: &Value) -> Result<(), Reason> {
        if let Some(said) = content::compare(condition, body) {
            return said;
        }
        let left = left(&body["left"]);
        let op = super::text(body, "op");
        let right = &body["right"];
        self.implied(condition, &left)?;
        if left == Left::EtherType {
            other_frames(condition, &self.elements(right)?.0)?;
        }
        if let Left::Flags(mask) = &left
            && op == "in"
        {
            let bits = fields::flag_bits(right).ok_or_else(|| not_understood(right))?;
            let any = (0..256).filter(|value| value & mask & bits != 0);
            let any = RangeSet::from_ranges(any.map(|value| (value, value)).collect());
            condition.narrow(Dim::Flags, &any);
            return Ok(());
        }
        let (elements, changes) = self.elements(right)?;
        if changes {
            condition.aside(COME_AND_GO, Effect::None);
        }
        match op {
            "==" | "in" | "!=" => {
                let boxes = self.union(&left, &elements)?;
                condition.within(&boxes, op == "!=");
                ported(condition, &left);
                Ok(())
            }
            "<" | ">" | "<=" | ">=" => {
                let [value] = elements[..] else {
                    return Err(not_understood(right));
                };
                let (dim, values) =
                    fields::values(&left, value).ok_or_else(|| not_understood(right))?;
                let &(first, last) = values
                    .ranges()
                    .first()
                    .ok_or_else(|| not_understood(right))?;
                let range = match op {
                    "<" => first
                        .checked_sub(1)
                        .map_or_else(RangeSet::empty, |end| RangeSet::of(0, end)),
                    "<=" => RangeSet::of(0, last),
                    ">" => RangeSet::of(last + 1, dim.last(Family::V4)),
                    _ => RangeSet::of(first, dim.last(Family::V4)),
                };
                // Values of packets without the field are not larger than any.
                condition.narrow(dim, &range.intersection(&dim.real(Family::V4)));
                ported(condition, &left);
                Ok(())
            }
            other => Err(format!(
                "a policy has nothing like the comparison `{other}`"
            )),
        }
    }

    /// What a field says about a packet that has it.
    fn implied(&self, condition: &mut Condition, left: &Left) -> Result<(), Reason> {
        let one = |number| RangeSet::of(number, number);
        match left {
            Left::Address(_, family) => condition.only(*family),
            Left::Number(_, Some(place)) => match place.header {
                Header::Ipv4 => condition.only(Family::V4),
                Header::Ipv6 => condition.only(Family::V6),
                Header::Tcp => condition.narrow(Dim::Proto, &one(6)),
            },
            Left::NextHeader => {
                condition.only(Family::V6);
                condition.aside(
                    "packets with extension headers count by what comes behind these (nexthdr)",
                    Effect::Differs,
                );
            }
            Left::Port(_, Some(proto)) => condition.narrow(Dim::Proto, &one(*proto)),
            Left::Protocol4 => condition.only(Family::V4),
            Left::Flags(_) => condition.narrow(Dim::Proto, &one(6)),
            Left::IcmpType(family) | Left::IcmpCode(family) => {
                condition.only(*family);
                let proto = if *family == Family::V4 { 1 } else { 58 };
                condition.narrow(Dim::Proto, &one(proto));
            }
            Left::Concat(parts) => {
                for part in parts {
                    self.implied(condition, part)?;
                }
            }
            Left::Unknown(reason) => return Err(reason.clone()),
            _ => {}
        }
        Ok(())
    }

    /// The packets of any of the elements: one box for each family where there is one field.
    fn union(&self, left: &Left, elements: &[&Value]) -> Result<Vec<Packets>, Reason> {
        let mut boxes = Vec::new();
        if let Left::Concat(parts) = left {
            for element in elements {
                let values = element.get("concat").and_then(Value::as_array);
                let values = values.filter(|values| values.len() == parts.len());
                let values = values.ok_or_else(|| not_understood(element))?;
                for family in Family::BOTH {
                    let mut whole = Some(Packets::all(family));
                    for (part, value) in parts.iter().zip(values) {
                        let found = self.field(part, fields::plain(value), family)?;
                        whole = whole
                            .zip(found)
                            .and_then(|(whole, (dim, values))| whole.narrowed(dim, &values));
                    }
                    boxes.extend(whole);
                }
            }
            return Ok(folded(boxes));
        }
        if let Left::AddressType(dim) = left {
            for element in elements {
                let kind = element.as_str().ok_or_else(|| not_understood(element))?;
                for family in Family::BOTH {
                    let of_type = self.local.of_type(kind, family, *dim == Dim::Destination);
                    boxes.extend(of_type.ok_or_else(|| {
                        format!(
                            "which addresses are {kind} on this host is unknown (set it with --local)"
                        )
                    })?);
                }
            }
            return Ok(boxes);
        }
        for family in Family::BOTH {
            let mut all: Option<(Dim, Vec<(u128, u128)>)> = None;
            for element in elements {
                if let Some((dim, values)) = self.field(left, element, family)? {
                    let (_, ranges) = all.get_or_insert_with(|| (dim, Vec::new()));
                    ranges.extend(values.ranges());
                }
            }
            boxes.extend(all.and_then(|(dim, all)| {
                Packets::all(family).narrowed(dim, &RangeSet::from_ranges(all))
            }));
        }
        Ok(boxes)
    }

    /// One value of one field in one family; `None` if packets of the family never have it.
    fn field(
        &self,
        left: &Left,
        value: &Value,
        family: Family,
    ) -> Result<Option<(Dim, Values)>, Reason> {
        let unclear = || not_understood(value);
        match left {
            Left::Address(dim, of) => {
                let (found, (first, last)) = fields::address(value).ok_or_else(unclear)?;
                let fits = *of == family && found == family;
                Ok(fits.then(|| (*dim, RangeSet::of(first, last))))
            }
            Left::Interface => {
                let name = value.as_str().ok_or_else(unclear)?;
                let meaning = self.interfaces.named(name, false);
                if let Some(why) = meaning.detached {
                    return Err(format!("a policy is not attached to {name}, {why}"));
                }
                Ok(Some((Dim::Interface, meaning.values)))
            }
            Left::Nfproto | Left::EtherType => {
                let of = match value.as_str().ok_or_else(unclear)? {
                    "ipv4" | "ip" => Some(Family::V4),
                    "ipv6" | "ip6" => Some(Family::V6),
                    _ => None,
                };
                Ok((of == Some(family)).then(|| (Dim::Proto, Dim::Proto.full(family))))
            }
            Left::Flags(mask) => {
                let bits = fields::flag_bits(value).ok_or_else(unclear)?;
                let fits = (0..256).filter(|flags| flags & mask == bits);
                let values = RangeSet::from_ranges(fits.map(|flags| (flags, flags)).collect());
                Ok(Some((Dim::Flags, values)))
            }
            Left::Unknown(reason) => Err(reason.clone()),
            _ => fields::values(left, value).map(Some).ok_or_else(unclear),
        }
    }

    /// A rule for each element of a verdict map.
    fn verdict_map(
        &self,
        condition: &Condition,
        body: &Value,
    ) -> Result<Vec<(Condition, Verdict)>, Reason> {
        let key = left(&body["key"]);
        let mut base = condition.clone();
        self.implied(&mut base, &key)?;
        let data = &body["data"];
        let (elements, changes) = self.elements(data)?;
        if changes {
            base.aside(COME_AND_GO, Effect::None);
        }
        // Keys of a map are disjoint: those of one verdict are one rule.
        let mut verdicts: Vec<(Verdict, Vec<&Value>)> = Vec::new();
        for pair in elements {
            let Some([element, action]) = pair.as_array().map(Vec::as_slice) else {
                return Err(not_understood(pair));
            };
            let found = action.as_object().and_then(|object| object.iter().next());
            let found = found.and_then(|(kind, body)| self.verdict(kind, body));
            let verdict = match found {
                Some(verdict) => verdict,
                None if action.get("continue").is_some() => continue,
                None => return Err(not_understood(action)),
            };
            let element = fields::plain(element);
            match verdicts.iter_mut().find(|(known, _)| *known == verdict) {
                Some((_, elements)) => elements.push(element),
                None => verdicts.push((verdict, vec![element])),
            }
        }
        let mut rules = Vec::new();
        for (verdict, elements) in verdicts {
            let mut narrowed = base.clone();
            let boxes = self.union(&key, &elements)?;
            narrowed.within(&boxes, false);
            ported(&mut narrowed, &key);
            rules.push((narrowed, verdict));
        }
        Ok(rules)
    }

    /// A statement that is a verdict.
    fn verdict(&self, kind: &str, body: &Value) -> Option<Verdict> {
        let found = verdict(kind, body)?;
        Some(match found.target() {
            Some(chain) if !self.chains.contains(chain) => Verdict::Elsewhere(
                format!("it goes to the chain `{chain}`, which this text does not show").into(),
            ),
            _ => found,
        })
    }
}

/// Types of frames that are not IP, which a policy has rules of their own for.
fn other_frames(condition: &mut Condition, elements: &[&Value]) -> Result<(), Reason> {
    let is_ip = |value: &Value| {
        matches!(value.as_str(), Some("ip" | "ip6" | "ipv4" | "ipv6"))
            || matches!(value.as_u64(), Some(0x0800 | 0x86dd))
    };
    let others: Vec<&&Value> = elements.iter().filter(|value| !is_ip(value)).collect();
    let Some(first) = others.first() else {
        return Ok(());
    };
    let word = match (first.as_str(), first.as_u64()) {
        (Some(word), _) => word.to_owned(),
        (_, Some(number)) => vocabulary::ethertype(number as u32),
        _ => "0x88cc".to_owned(),
    };
    let reason = format!(
        "rules about frames that are not IP are not converted: write `ethertype: {word}` in a rule by hand"
    );
    if others.len() == elements.len() {
        return Err(reason);
    }
    condition.aside(&reason, Effect::Differs);
    Ok(())
}

/// Ports of whatever protocol: a policy knows those of three.
fn ported(condition: &mut Condition, left: &Left) {
    let asks = |left: &Left| matches!(left, Left::Port(_, None));
    let asked = match left {
        Left::Concat(parts) => parts.iter().any(asks),
        one => asks(one),
    };
    let ported = RangeSet::from_ranges(PORTED.to_vec());
    let other = |part: &Packets| {
        let protos = part.get(Dim::Proto);
        !protos.intersection(&ported.complement()).is_empty()
    };
    if asked && condition.boxes.iter().any(other) {
        condition.aside(
            "only TCP, UDP and SCTP have ports in a policy (th)",
            Effect::Differs,
        );
        condition.narrow(Dim::Proto, &ported);
    }
}

/// What a rule that rejects is for by its answer alone: nft adds the condition, and does not show it.
fn answered(condition: &mut Condition, body: &Value) {
    match super::text(body, "type") {
        "tcp reset" => condition.narrow(Dim::Proto, &RangeSet::of(6, 6)),
        "icmp" => condition.only(Family::V4),
        "icmpv6" => condition.only(Family::V6),
        _ => {}
    }
}

fn verdict(kind: &str, body: &Value) -> Option<Verdict> {
    let target = || super::text(body, "target").to_owned();
    Some(match kind {
        "accept" => Verdict::Accept,
        "drop" => Verdict::Drop,
        "return" => Verdict::Return,
        "jump" => Verdict::Jump(target()),
        "goto" => Verdict::Goto(target()),
        _ => return None,
    })
}

fn not_understood(value: &Value) -> Reason {
    format!("`{value}` is not understood here")
}

fn unknown(kind: &str) -> Reason {
    match kind {
        "ct count" => {
            "open connections are not counted (ct count); limit how fast they come: `limit: {new: 50/m, \
             per: source}`"
                .into()
        }
        other => format!("a policy has nothing like `{other}`"),
    }
}
