//! The words of one rule: what it matches, and where it goes.
//!
//! Extensions that a policy can say are read; options of all others are passed over as a whole and
//! named as the reason why the rule is not exact. May not import the writer. Invariant: no word is
//! passed over in silence.

use super::super::imported::{Effect, ImportError};
use super::super::interfaces::Interfaces;
use super::super::ipset::Sets;
use super::super::local;
use super::super::packets::{Dim, Family, Packets, Values, less_all, state};
use super::super::ruleset::{Condition, NO_LOG, Verdict};
use super::super::words::Word;
use super::{narrow_interface, numbers};
use firewall_common::field::Field;
use firewall_policy::range::RangeSet;

/// What the words say.
pub(crate) struct Understood {
    pub(crate) condition: Condition,
    pub(crate) verdict: Verdict,
    pub(crate) comment: Option<String>,
}

/// What rules are read with.
pub(crate) struct Reader<'a> {
    pub(crate) family: Family,
    pub(crate) interfaces: &'a Interfaces,
    pub(crate) sets: &'a Sets,
    pub(crate) local: &'a local::Addresses,
}

/// The words of a rule on the way.
struct Cursor<'w> {
    words: &'w [Word],
    at: usize,
    line: u32,
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
    fn value(&mut self, option: &str) -> Result<&'w str, ImportError> {
        let column = self.words.get(self.at - 1).map_or(1, |word| word.column);
        match self.next() {
            Some(word) => Ok(&word.text),
            None => Err(ImportError {
                line: self.line,
                column,
                message: format!("nothing stands behind `{option}`"),
                help: "the line seems to be cut off: save the rules again".into(),
            }),
        }
    }

    /// The value that was read last is not what it must be.
    fn fault(&self, value: &str, what: &str) -> ImportError {
        ImportError {
            line: self.line,
            column: self.words.get(self.at - 1).map_or(1, |w| w.column),
            message: format!("`{value}` is not {what}"),
            help: "give the output of `iptables-save` as it is".into(),
        }
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

impl Reader<'_> {
    /// Reads the words behind the chain's name. `chains` says which chains there are.
    pub(crate) fn rule(
        &self,
        words: &[Word],
        line: u32,
        chains: &dyn Fn(&str) -> bool,
    ) -> Result<Understood, ImportError> {
        let mut found = Understood {
            condition: Condition::all(&[self.family]),
            verdict: Verdict::Continue(None),
            comment: None,
        };
        let mut cursor = Cursor { words, at: 0, line };
        let mut module = "";
        while let Some(word) = cursor.next() {
            let mut option = word;
            let negated = !word.quoted && word.text == "!";
            if negated {
                let Some(next) = cursor.next() else { break };
                option = next;
            }
            match option.text.as_str() {
                "-m" | "--match" => module = cursor.value("-m")?,
                "-j" | "--jump" => {
                    let target = cursor.value("-j")?;
                    found.verdict = verdict(target, &mut cursor, chains);
                }
                "-g" | "--goto" => found.verdict = Verdict::Goto(cursor.value("-g")?.to_owned()),
                "--comment" => found.comment = Some(cursor.value("--comment")?.to_owned()),
                "-c" | "--set-counters" => cursor.skip_values(),
                _ => self.option(&mut found.condition, &mut cursor, option, module, negated)?,
            }
        }
        Ok(found)
    }

    /// One match option, at which the cursor stands behind its name.
    fn option(
        &self,
        condition: &mut Condition,
        cursor: &mut Cursor<'_>,
        option: &Word,
        module: &str,
        negated: bool,
    ) -> Result<(), ImportError> {
        let asked = Asked {
            name: option.text.as_str(),
            module,
            negated,
        };
        if self.addresses(condition, cursor, &asked)?
            || self.transport(condition, cursor, &asked)?
            || header(condition, cursor, &asked)?
            || self.way(condition, cursor, &asked)?
        {
            return Ok(());
        }
        if module.is_empty() {
            return Err(ImportError {
                line: cursor.line,
                column: option.column,
                message: format!("`{}` is no option of a rule that is known", asked.name),
                help: "give the output of `iptables-save` as it is".into(),
            });
        }
        condition.unsure(&numbers::unknown(module));
        cursor.skip_values();
        Ok(())
    }

    /// Options that look at addresses; whether this is one of them.
    fn addresses(
        &self,
        condition: &mut Condition,
        cursor: &mut Cursor<'_>,
        asked: &Asked<'_>,
    ) -> Result<bool, ImportError> {
        let name = asked.name;
        match name {
            "-s" | "--source" | "--src" | "-d" | "--destination" | "--dst" => {
                let value = cursor.value(name)?;
                let dim = if name.trim_start_matches('-').starts_with('s') {
                    Dim::Source
                } else {
                    Dim::Destination
                };
                match local::range(value) {
                    Some((family, (first, last))) if family == self.family => {
                        asked.put(condition, dim, &RangeSet::of(first, last));
                    }
                    _ if value.contains('/') => {
                        condition.unsure(&format!("the mask of {value} has holes"));
                    }
                    _ => return Err(cursor.fault(value, "an address of this family")),
                }
            }
            "--src-range" | "--dst-range" => {
                let value = cursor.value(name)?;
                let (_, (first, last)) = local::range(value)
                    .filter(|(family, _)| *family == self.family)
                    .ok_or_else(|| cursor.fault(value, "a range of addresses"))?;
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
            "--limit-iface-in" | "--limit-iface-out" => {
                condition.unsure("addresses of single interfaces are not known");
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Options that look at the protocol and its header; whether this is one of them.
    fn transport(
        &self,
        condition: &mut Condition,
        cursor: &mut Cursor<'_>,
        asked: &Asked<'_>,
    ) -> Result<bool, ImportError> {
        let name = asked.name;
        match name {
            "-p" | "--protocol" => {
                let value = cursor.value(name)?;
                if value != "all" && value != "0" {
                    let proto = numbers::protocol(value)
                        .ok_or_else(|| cursor.fault(value, "a protocol that is known"))?;
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
                self.ports(condition, cursor, value, &[dim], asked.negated)?;
            }
            "--dports" | "--destination-ports" | "--sports" | "--source-ports" | "--ports" => {
                let value = cursor.value(name)?;
                let dims: &[Dim] = match &name[2..3] {
                    "d" => &[Dim::DestinationPort],
                    "s" => &[Dim::SourcePort],
                    _ => &[Dim::SourcePort, Dim::DestinationPort],
                };
                self.ports(condition, cursor, value, dims, asked.negated)?;
            }
            "--syn" => asked.put(condition, Dim::Flags, &numbers::flags(0x17, 0x02)),
            "--tcp-flags" => {
                let (mask, set) = (cursor.value(name)?, cursor.value(name)?);
                let flags = numbers::flag_mask(mask).zip(numbers::flag_mask(set));
                let (mask, set) = flags.ok_or_else(|| cursor.fault(set, "TCP flags"))?;
                asked.put(condition, Dim::Flags, &numbers::flags(mask, set));
            }
            "--icmp-type" | "--icmpv6-type" => {
                let value = cursor.value(name)?;
                if value != "any" && value != "255" {
                    let types = numbers::icmp(value, self.family)
                        .ok_or_else(|| cursor.fault(value, "an ICMP type that is known"))?;
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
    ) -> Result<bool, ImportError> {
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
        cursor: &Cursor<'_>,
        value: &str,
        dims: &[Dim],
        negated: bool,
    ) -> Result<(), ImportError> {
        let ports = numbers::ports(value).ok_or_else(|| ImportError {
            line: cursor.line,
            column: cursor.words.get(cursor.at - 1).map_or(1, |w| w.column),
            message: format!("`{value}` is not a port"),
            help: "save the rules with numbers, as `iptables-save` does".into(),
        })?;
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
        let dim = if to { Dim::Destination } else { Dim::Source };
        let mut all = RangeSet::empty();
        for kind in value.split(',') {
            match self.local.of_type(kind, self.family) {
                Some(values) => all = all.union(&values),
                None => {
                    condition.unsure(&format!(
                        "which addresses are {kind} on this host is unknown (set it with --local)"
                    ));
                    return;
                }
            }
        }
        let boxes: Vec<Packets> = Packets::all(self.family)
            .narrowed(dim, &all)
            .into_iter()
            .collect();
        let boxes = if negated {
            less_all(vec![Packets::all(self.family)], &boxes)
        } else {
            boxes
        };
        condition.within(&boxes, false);
    }
}

/// Options that look at the IP header; whether this is one of them.
fn header(
    condition: &mut Condition,
    cursor: &mut Cursor<'_>,
    asked: &Asked<'_>,
) -> Result<bool, ImportError> {
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
                numbers::span(value, ':', 65_535).ok_or_else(|| cursor.fault(value, "a length"))?;
            asked.put(condition, Dim::Number(Field::Length), &range);
        }
        "--ttl-eq" | "--hl-eq" | "--ttl-lt" | "--hl-lt" | "--ttl-gt" | "--hl-gt" => {
            let value = cursor.value(name)?;
            let hops: u128 = value
                .parse()
                .map_err(|_| cursor.fault(value, "a number of hops"))?;
            let range = match &name[name.len() - 2..] {
                "eq" => RangeSet::of(hops, hops),
                "lt" => hops
                    .checked_sub(1)
                    .map_or_else(RangeSet::empty, |last| RangeSet::of(0, last)),
                _ => RangeSet::of(hops.saturating_add(1), 255),
            };
            asked.put(condition, Dim::Number(Field::Ttl), &range);
        }
        "--dscp" | "--dscp-class" => {
            let value = cursor.value(name)?;
            let code = numbers::dscp(value).ok_or_else(|| cursor.fault(value, "a code point"))?;
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

/// What `-j` leads to; the options of the target are passed over.
fn verdict(target: &str, cursor: &mut Cursor<'_>, chains: &dyn Fn(&str) -> bool) -> Verdict {
    if chains(target) {
        return Verdict::Jump(target.to_owned());
    }
    while let Some(word) = cursor.peek() {
        if word.quoted || !matches!(word.text.as_str(), "-m" | "-j" | "-g" | "--comment") {
            cursor.at += 1;
        } else {
            break;
        }
    }
    match target {
        "ACCEPT" => Verdict::Accept,
        "DROP" | "TARPIT" => Verdict::Drop,
        "REJECT" => Verdict::Reject,
        "RETURN" => Verdict::Return,
        "LOG" | "NFLOG" | "ULOG" | "AUDIT" | "TRACE" => Verdict::Continue(Some(NO_LOG.into())),
        "MARK" | "CONNMARK" | "CLASSIFY" | "SECMARK" | "CONNSECMARK" | "LED" | "IDLETIMER"
        | "HMARK" | "RATEEST" | "TEE" | "CHECKSUM" | "TOS" | "DSCP" | "TTL" | "HL" | "ECN"
        | "TCPMSS" | "TCPOPTSTRIP" => {
            Verdict::Continue(Some("packets are not marked, changed or copied".into()))
        }
        "CT" | "NOTRACK" => {
            Verdict::Continue(Some("connection tracking is not set up by a policy".into()))
        }
        "SET" => Verdict::Continue(Some("a policy does not put addresses into sets".into())),
        other => {
            Verdict::Elsewhere(format!("the verdict is decided by {other}, not by a rule").into())
        }
    }
}
