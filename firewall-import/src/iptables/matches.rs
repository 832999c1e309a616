//! The words of one rule: what it matches, and where it goes.
//!
//! Options stand in any order, as iptables takes them. Extensions that a policy can say are read; all
//! others are passed over as a whole and named as the reason why the rule is not exact. May not import the writer. Invariant: no word is
//! passed over in silence.

use super::super::imported::Effect;
use super::super::interfaces::Interfaces;
use super::super::ipset::Sets;
use super::super::local;
use super::super::packets::{Dim, Family, Packets, Values, state};
use super::super::ruleset::{Condition, Verdict};
use super::super::values;
use super::super::words::Word;
use super::{content, narrow_interface, numbers, rates, targets};
use firewall_common::field::Field;
use firewall_policy::range::RangeSet;

/// What the words say.
pub(crate) struct Understood {
    pub(crate) condition: Condition,
    pub(crate) verdict: Verdict,
    pub(crate) comment: Option<String>,
    /// The list of `-m recent` that it asks for a rate.
    pub(crate) recent: Option<String>,
}

/// What rules are read with.
pub(crate) struct Reader<'a> {
    pub(crate) family: Family,
    pub(crate) interfaces: &'a Interfaces,
    pub(crate) sets: &'a Sets,
    pub(crate) local: &'a local::Addresses,
}

/// Why a rule is not exact.
type Reason = String;

const LATE: &str =
    "the rate counts packets that conditions behind it leave out; here it counts those of the rule";

/// Whether an option belongs to a module, which is asked in its place among them.
fn is_of_module(asked: &Asked<'_>, target: &str) -> bool {
    const BASE: [&str; 14] = [
        "-s",
        "--source",
        "--src",
        "-d",
        "--destination",
        "--dst",
        "-p",
        "--protocol",
        "-i",
        "--in-interface",
        "-o",
        "--out-interface",
        "-f",
        "--fragment",
    ];
    !BASE.contains(&asked.name) && targets::values(target, asked.name).is_none()
}

/// The words of a rule on the way.
struct Cursor<'w> {
    words: &'w [Word],
    at: usize,
}

impl<'w> Cursor<'w> {
    fn peek(&self) -> Option<&'w Word> {
        self.words.get(self.at)
    }

    fn next(&mut self) -> Option<&'w Word> {
        let word = self.peek();
        self.at += 1;
        word
    }

    /// The value of the option that was read last.
    fn value(&mut self, option: &str) -> Result<&'w str, Reason> {
        self.next()
            .map(|word| word.text.as_str())
            .ok_or_else(|| format!("nothing stands behind `{option}`"))
    }

    /// Passes over the values of an option that is not read.
    fn skip_values(&mut self) {
        while self
            .peek()
            .is_some_and(|word| word.quoted || !word.text.starts_with('-') && word.text != "!")
        {
            self.at += 1;
        }
    }
}

/// The value that was read last is not what it must be.
fn fault(value: &str, what: &str) -> Reason {
    format!("`{value}` is not {what}")
}

/// Words as `getopt` sees them: `--dport=22` and `-ptcp` are an option and its value.
fn separate(words: &[Word]) -> Vec<Word> {
    let mut separated = Vec::with_capacity(words.len());
    for word in words {
        let pair = if word.quoted {
            None
        } else if word.text.starts_with("--") {
            word.text.split_once('=')
        } else if word.text.len() > 2 && word.text.is_ascii() {
            let (option, value) = word.text.split_at(2);
            ["-p", "-s", "-d", "-i", "-o", "-j", "-g", "-m"]
                .contains(&option)
                .then_some((option, value))
        } else {
            None
        };
        match pair {
            None => separated.push(word.clone()),
            Some((option, value)) => separated.extend([option, value].map(|text| Word {
                text: text.to_owned(),
                ..word.clone()
            })),
        }
    }
    separated
}

/// A match option as it is written.
struct Asked<'w> {
    name: &'w str,
    /// The module that was named before it; empty if none was.
    module: &'w str,
    negated: bool,
}

impl Asked<'_> {
    /// Leaves the packets with these values, or those with all others.
    fn put(&self, condition: &mut Condition, dim: Dim, values: &Values) {
        if self.negated {
            condition.narrow(dim, &values.complement());
        } else {
            condition.narrow(dim, values);
        }
    }
}

/// What was named so far.
#[derive(Default)]
struct On<'w> {
    /// The module named last.
    module: &'w str,
    /// The target, if it is no chain.
    target: &'w str,
    rates: rates::Asked,
}

impl Reader<'_> {
    /// Reads the words behind the chain's name, in whatever order they stand. `chains` says which
    /// chains there are. What is not understood makes the rule one that is not exact.
    pub(crate) fn rule(&self, words: &[Word], chains: &dyn Fn(&str) -> bool) -> Understood {
        let mut found = Understood {
            condition: Condition::all(&[self.family]),
            verdict: Verdict::Continue(None),
            comment: None,
            recent: None,
        };
        let words = separate(words);
        let mut cursor = Cursor {
            words: &words,
            at: 0,
        };
        let mut on = On::default();
        while let Some(word) = cursor.next() {
            let mut option = word;
            let negated = !word.quoted && word.text == "!";
            if negated {
                let Some(next) = cursor.next() else { break };
                option = next;
            }
            if let Err(reason) =
                self.word(&mut found, &mut cursor, option, negated, &mut on, chains)
            {
                found.condition.unsure(&reason);
            }
        }
        found.recent = on.rates.settle(&mut found.condition, self.family);
        found
    }

    /// One option, at which the cursor stands behind its name.
    fn word<'w>(
        &self,
        found: &mut Understood,
        cursor: &mut Cursor<'w>,
        option: &'w Word,
        negated: bool,
        on: &mut On<'w>,
        chains: &dyn Fn(&str) -> bool,
    ) -> Result<(), Reason> {
        match option.text.as_str() {
            "-m" | "--match" => on.module = cursor.value("-m")?,
            "-j" | "--jump" => {
                let target = cursor.value("-j")?;
                if chains(target) {
                    found.verdict = Verdict::Jump(target.to_owned());
                } else {
                    found.verdict = targets::verdict(target);
                    on.target = target;
                }
            }
            "-g" | "--goto" => {
                let target = cursor.value("-g")?;
                found.verdict = if chains(target) {
                    Verdict::Goto(target.to_owned())
                } else {
                    Verdict::Elsewhere(format!("there is no chain `{target}` in this text").into())
                };
            }
            "--comment" => found.comment = Some(cursor.value("--comment")?.to_owned()),
            "-c" | "--set-counters" => cursor.skip_values(),
            "-4" | "--ipv4" => found.condition.only(Family::V4),
            "-6" | "--ipv6" => found.condition.only(Family::V6),
            name if rates::values(on.module, name).is_some() => {
                let valued = rates::values(on.module, name) != Some(0);
                let value = if valued { cursor.value(name)? } else { "" };
                on.rates.take(name, value, negated);
            }
            _ => {
                let asked = Asked {
                    name: option.text.as_str(),
                    module: on.module,
                    negated,
                };
                let is_late = on.rates.any() && is_of_module(&asked, on.target);
                self.option(&mut found.condition, cursor, &asked, on.target)?;
                if is_late {
                    found.condition.aside(LATE, Effect::Differs);
                }
            }
        }
        Ok(())
    }

    /// An option of a match or of the target.
    fn option(
        &self,
        condition: &mut Condition,
        cursor: &mut Cursor<'_>,
        asked: &Asked<'_>,
        target: &str,
    ) -> Result<(), Reason> {
        if self.addresses(condition, cursor, asked)?
            || self.transport(condition, cursor, asked)?
            || header(condition, cursor, asked)?
            || self.way(condition, cursor, asked)?
        {
            return Ok(());
        }
        if let Some(values) = targets::values(target, asked.name) {
            cursor.at += values;
            return Ok(());
        }
        cursor.skip_values();
        Err(match asked.module {
            "" => format!("`{}` is no option of a rule that is known", asked.name),
            module => numbers::unknown(module),
        })
    }

    /// Options that look at addresses; whether this is one of them.
    fn addresses(
        &self,
        condition: &mut Condition,
        cursor: &mut Cursor<'_>,
        asked: &Asked<'_>,
    ) -> Result<bool, Reason> {
        let name = asked.name;
        match name {
            "-s" | "--source" | "--src" | "-d" | "--destination" | "--dst" => {
                let value = cursor.value(name)?;
                let dim = if name.trim_start_matches('-').starts_with('s') {
                    Dim::Source
                } else {
                    Dim::Destination
                };
                let all = self.listed(value)?;
                asked.put(condition, dim, &all);
            }
            "--src-range" | "--dst-range" => {
                let value = cursor.value(name)?;
                let (_, (first, last)) = local::range(value)
                    .filter(|(family, _)| *family == self.family)
                    .ok_or_else(|| fault(value, "a range of addresses"))?;
                let dim = if name.starts_with("--src") {
                    Dim::Source
                } else {
                    Dim::Destination
                };
                asked.put(condition, dim, &RangeSet::of(first, last));
            }
            "--match-set" => {
                let (set, sides) = (cursor.value(name)?, cursor.value(name)?);
                let sides: Vec<&str> = sides.split(',').collect();
                match self.sets.packets(set, &sides, self.family) {
                    Ok(meaning) => {
                        condition.within(&meaning.boxes, asked.negated);
                        if let Some(note) = meaning.note {
                            condition.aside(note, Effect::None);
                        }
                    }
                    Err(reason) => condition.unsure(&reason),
                }
            }
            "--dst-type" | "--src-type" => {
                let value = cursor.value(name)?;
                self.address_type(condition, value, name == "--dst-type", asked.negated);
            }
            "--pkt-type" => {
                let value = cursor.value(name)?;
                match value {
                    "multicast" | "broadcast" => {
                        self.address_type(condition, value, true, asked.negated);
                    }
                    _ => return Err(numbers::unknown("pkttype")),
                }
            }
            "--limit-iface-in" | "--limit-iface-out" => {
                condition.unsure("addresses of single interfaces are not known");
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Addresses with commas between them.
    fn listed(&self, value: &str) -> Result<Values, Reason> {
        let all: Result<Vec<_>, Reason> = value
            .split(',')
            .map(|one| match local::range(one) {
                Some((family, range)) if family == self.family => Ok(range),
                None if one.contains('/') => Err(format!("the mask of {one} has holes")),
                None => Err(format!("`{one}` is no address; names are not looked up")),
                Some(_) => Err(fault(one, "an address of this family")),
            })
            .collect();
        all.map(RangeSet::from_ranges)
    }

    /// Options that look at the protocol and its header; whether this is one of them.
    fn transport(
        &self,
        condition: &mut Condition,
        cursor: &mut Cursor<'_>,
        asked: &Asked<'_>,
    ) -> Result<bool, Reason> {
        let name = asked.name;
        match name {
            "-p" | "--protocol" => {
                let value = cursor.value(name)?;
                if value != "all" && value != "0" {
                    let proto = numbers::protocol(value)
                        .ok_or_else(|| fault(value, "a protocol that is known"))?;
                    asked.put(condition, Dim::Proto, &RangeSet::of(proto, proto));
                }
            }
            "--dport" | "--destination-port" | "--sport" | "--source-port" => {
                let value = cursor.value(name)?;
                let dim = if name.starts_with("--d") {
                    Dim::DestinationPort
                } else {
                    Dim::SourcePort
                };
                self.ports(condition, value, &[dim], asked.negated)?;
            }
            "--dports" | "--destination-ports" | "--sports" | "--source-ports" | "--ports" => {
                let value = cursor.value(name)?;
                let dims: &[Dim] = match &name[2..3] {
                    "d" => &[Dim::DestinationPort],
                    "s" => &[Dim::SourcePort],
                    _ => &[Dim::SourcePort, Dim::DestinationPort],
                };
                self.ports(condition, value, dims, asked.negated)?;
            }
            "--syn" => asked.put(condition, Dim::Flags, &numbers::flags(0x17, 0x02)),
            "--tcp-flags" => {
                let (mask, set) = (cursor.value(name)?, cursor.value(name)?);
                let flags = numbers::flag_mask(mask).zip(numbers::flag_mask(set));
                let (mask, set) = flags.ok_or_else(|| fault(set, "TCP flags"))?;
                asked.put(condition, Dim::Flags, &numbers::flags(mask, set));
            }
            "--icmp-type" | "--icmpv6-type" => {
                let value = cursor.value(name)?;
                if value != "any" && value != "255" {
                    let types = numbers::icmp(value, self.family)
                        .ok_or_else(|| fault(value, "an ICMP type that is known"))?;
                    asked.put(condition, Dim::Icmp, &types);
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Options that look at where a packet comes from and goes to, and at its connection; whether this
    /// is one of them.
    fn way(
        &self,
        condition: &mut Condition,
        cursor: &mut Cursor<'_>,
        asked: &Asked<'_>,
    ) -> Result<bool, Reason> {
        let name = asked.name;
        match name {
            "-i" | "--in-interface" => {
                let value = cursor.value(name)?;
                narrow_interface(condition, self.interfaces, value, asked.negated);
            }
            "-o" | "--out-interface" => {
                let value = cursor.value(name)?;
                condition.unsure(&format!(
                    "it is not known yet that a packet leaves by {value} when it comes in"
                ));
            }
            "--state" | "--ctstate" => {
                let value = cursor.value(name)?;
                let (known, other): (Vec<&str>, Vec<&str>) = value
                    .split(',')
                    .partition(|word| state::number(word).is_some());
                if !other.is_empty() {
                    condition.unsure(&format!(
                        "connections are not followed for {}",
                        other.join(",")
                    ));
                    return Ok(true);
                }
                let numbers = known.iter().filter_map(|word| state::number(word));
                let set = RangeSet::from_ranges(numbers.map(|n| (n, n)).collect());
                asked.put(condition, Dim::State, &set);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Ports of any of the sides in `dims`.
    fn ports(
        &self,
        condition: &mut Condition,
        value: &str,
        dims: &[Dim],
        negated: bool,
    ) -> Result<(), Reason> {
        let ports = numbers::ports(value).ok_or_else(|| fault(value, "a port that is known"))?;
        let known = RangeSet::from_ranges(vec![(6, 6), (17, 17), (132, 132)]);
        let of = condition.boxes.iter().map(|part| part.get(Dim::Proto));
        let all_known = of
            .clone()
            .all(|protos| protos.intersection(&known.complement()).is_empty());
        if !all_known {
            condition.unsure("only TCP, UDP and SCTP have ports in a policy");
            return Ok(());
        }
        let boxes: Vec<Packets> = dims
            .iter()
            .filter_map(|&dim| Packets::all(self.family).narrowed(dim, &ports))
            .collect();
        condition.within(&boxes, negated);
        Ok(())
    }

    fn address_type(&self, condition: &mut Condition, value: &str, to: bool, negated: bool) {
        let mut boxes = Vec::new();
        for kind in value.split(',') {
            match self.local.of_type(kind, self.family, to) {
                Some(more) => boxes.extend(more),
                None => {
                    condition.unsure(&format!(
                        "which addresses are {kind} on this host is unknown (set it with --local)"
                    ));
                    return;
                }
            }
        }
        condition.within(&boxes, negated);
    }
}

/// Options that look at the IP header; whether this is one of them.
fn header(
    condition: &mut Condition,
    cursor: &mut Cursor<'_>,
    asked: &Asked<'_>,
) -> Result<bool, Reason> {
    let name = asked.name;
    match name {
        "-f" | "--fragment" => {
            if !asked.negated {
                condition.unsure("later fragments are not shown to the rules");
            }
        }
        "--length" if asked.module == "length" => {
            let value = cursor.value(name)?;
            let range =
                numbers::span(value, ':', 65_535).ok_or_else(|| fault(value, "a length"))?;
            asked.put(condition, Dim::Number(Field::Length), &range);
        }
        "--ttl-eq" | "--hl-eq" | "--ttl-lt" | "--hl-lt" | "--ttl-gt" | "--hl-gt" => {
            let value = cursor.value(name)?;
            let hops: u128 = value
                .parse()
                .map_err(|_| fault(value, "a number of hops"))?;
            let range = match &name[name.len() - 2..] {
                "eq" => RangeSet::of(hops, hops),
                "lt" => hops
                    .checked_sub(1)
                    .map_or_else(RangeSet::empty, |last| RangeSet::of(0, last)),
                _ => RangeSet::of(hops.saturating_add(1), 255),
            };
            asked.put(condition, Dim::Number(Field::Ttl), &range);
        }
        "--u32" if asked.module == "u32" => {
            let value = cursor.value(name)?;
            // The way over the header is that of IPv4.
            let said = condition
                .boxes
                .iter()
                .all(|part| part.family == Family::V4)
                .then(|| content::u32_match(condition, value))
                .flatten();
            let said = said.filter(|()| !asked.negated);
            said.ok_or_else(|| numbers::unknown("u32"))?;
        }
        "--mac-source" => {
            let value = cursor.value(name)?;
            let mac =
                values::station(value).ok_or_else(|| fault(value, "the address of a station"))?;
            asked.put(condition, Dim::Mac, &mac);
        }
        "--dscp" | "--dscp-class" => {
            let value = cursor.value(name)?;
            let code = numbers::dscp(value).ok_or_else(|| fault(value, "a code point"))?;
            asked.put(
                condition,
                Dim::Number(Field::Dscp),
                &RangeSet::of(code, code),
            );
        }
        _ => return Ok(false),
    }
    Ok(true)
}
