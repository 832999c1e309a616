//! `ipset save`: the sets that iptables rules name, as they were when they were saved.
//!
//! May not import a reader. Invariant: a set whose elements cannot be said is never taken for an
//! empty one.

use super::imported::ImportError;
use super::local;
use super::packets::{Dim, Family, Packets, Values, folded};
use super::words;
use super::write::NamedSet;
use firewall_policy::range::RangeSet;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Sets by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Sets {
    given: bool,
    sets: BTreeMap<String, Set>,
}

#[derive(Clone, Debug)]
struct Set {
    /// `ip`, `net`, `port`, `iface`, ...: the parts of an element.
    parts: Vec<String>,
    family: Family,
    elements: Vec<String>,
    /// Addresses are looked up with as many bits, and the others cleared.
    netmask: Option<u32>,
    /// Why its elements are not what they were.
    note: Option<&'static str>,
}

/// What a set comes to in a rule.
pub(super) struct Meaning {
    pub(super) boxes: Vec<Packets>,
    /// Why that may not be what it was.
    pub(super) note: Option<&'static str>,
}

impl Sets {
    /// Reads the output of `ipset save`.
    pub(super) fn read(text: &str) -> Result<Self, ImportError> {
        let mut sets: BTreeMap<String, Set> = BTreeMap::new();
        for (line, number) in text.lines().zip(1u32..) {
            let words = words::split(line, number)?;
            let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
            let fault = |at: usize, message: String| ImportError {
                line: number,
                column: words.get(at).map_or(1, |word| word.column),
                message,
                help: "give the output of `ipset save` as it is".into(),
            };
            match texts[..] {
                [] => {}
                [first, ..] if first.starts_with('#') => {}
                ["create", name, kind, ref rest @ ..] => {
                    let v6 = rest.windows(2).any(|pair| pair == ["family", "inet6"]);
                    let parts = kind.split_once(':').map_or(kind, |(_, parts)| parts);
                    let timed = rest.contains(&"timeout");
                    let (parts, netmask) = masked(parts, rest);
                    sets.insert(
                        name.to_owned(),
                        Set {
                            parts: parts.split(',').map(str::to_owned).collect(),
                            family: if v6 { Family::V6 } else { Family::V4 },
                            elements: Vec::new(),
                            netmask,
                            note: timed.then_some(
                                "elements of the set come and go: carried over as they were",
                            ),
                        },
                    );
                }
                ["add", name, element, ref rest @ ..] => {
                    let set = sets
                        .get_mut(name)
                        .ok_or_else(|| fault(1, format!("the set `{name}` is not created")))?;
                    if rest.contains(&"nomatch") {
                        // An exception inside of a prefix: what is left is for the set as a whole.
                        set.parts = vec!["nomatch".into()];
                    }
                    set.elements.push(element.to_owned());
                }
                _ => {
                    return Err(fault(0, format!("`{line}` is no line of `ipset save`")));
                }
            }
        }
        Ok(Self { given: true, sets })
    }

    /// The packets that a set takes by the given sides (`src`, `dst`).
    pub(super) fn packets(
        &self,
        name: &str,
        sides: &[&str],
        family: Family,
    ) -> Result<Meaning, String> {
        let Some(set) = self.sets.get(name) else {
            return Err(if self.given {
                format!("the set `{name}` is not in the output of `ipset save` that was given")
            } else {
                format!("the elements of the set `{name}` are not known: add --ipset FILE")
            });
        };
        if set.parts == ["list"] || set.parts == ["set"] {
            let mut boxes = Vec::new();
            let mut note = set.note;
            for element in set.elements.iter().filter(|element| *element != name) {
                let inner = self.packets(element, sides, family)?;
                boxes.extend(inner.boxes);
                note = note.or(inner.note);
            }
            return Ok(Meaning { boxes, note });
        }
        let has_addresses = set.parts.iter().any(|part| part == "ip" || part == "net");
        if has_addresses && set.family != family {
            return Ok(Meaning {
                boxes: Vec::new(),
                note: None,
            });
        }
        if set.parts.len() > sides.len() {
            return Err(format!(
                "`{}` names fewer sides than elements of `{name}` have",
                sides.join(",")
            ));
        }
        let mut boxes: Vec<Packets> = Vec::new();
        let mut single = Vec::new();
        let alone = set.parts.len() == 1 && has_addresses;
        for element in &set.elements {
            // The long lists are of addresses alone.
            let range = set.range(element).filter(|(of, _)| alone && *of == family);
            if let Some((_, range)) = range {
                single.push(range);
                continue;
            }
            let found = set.element(element, sides, family).ok_or_else(|| {
                format!("`{element}` in the set `{name}` is not addresses and ports alone")
            })?;
            if alone {
                let dim = side(sides[0], Dim::Source, Dim::Destination);
                single.extend(
                    found
                        .iter()
                        .flat_map(|part| part.get(dim).ranges().to_vec()),
                );
            } else {
                boxes.extend(found);
            }
        }
        if !single.is_empty() {
            let dim = side(sides[0], Dim::Source, Dim::Destination);
            let all = RangeSet::from_ranges(single);
            boxes.extend(Packets::all(family).narrowed(dim, &all));
        }
        Ok(Meaning {
            boxes: folded(boxes),
            note: set.note,
        })
    }

    /// The sets of addresses alone, for their names.
    pub(super) fn named(&self) -> Vec<NamedSet> {
        let sets = self.sets.iter();
        sets.filter_map(|(name, set)| {
            let found = self.packets(name, &["src"], set.family).ok()?;
            let [one] = &found.boxes[..] else { return None };
            Some(NamedSet {
                name: name.clone(),
                family: set.family,
                values: one.get(Dim::Source).clone(),
            })
        })
        .filter(|set| set.values.ranges().len() > 1)
        .collect()
    }
}

fn side(word: &str, src: Dim, dst: Dim) -> Dim {
    if word == "src" { src } else { dst }
}

/// The parts of an element, and the mask of `create ... netmask 24` or `bitmask 255.255.255.0`. What no
/// prefix says is a part that is not known.
fn masked<'t>(parts: &'t str, options: &[&'t str]) -> (&'t str, Option<u32>) {
    let value = |key: &str| {
        let mut pairs = options.windows(2);
        pairs.find(|pair| pair[0] == key).map(|pair| pair[1])
    };
    let Some(text) = value("netmask").or_else(|| value("bitmask")) else {
        return (parts, None);
    };
    let length = match text.parse::<u32>() {
        Ok(length) => Some(length),
        Err(_) => text.parse().ok().and_then(|mask| {
            let (bits, of) = match mask {
                IpAddr::V4(mask) => (u128::from(u32::from(mask)) << 96, 32),
                IpAddr::V6(mask) => (u128::from(mask), 128),
            };
            let is_prefix = bits.leading_ones() + bits.trailing_zeros() >= 128;
            is_prefix.then(|| bits.leading_ones().min(of))
        }),
    };
    match length {
        Some(length) => (parts, Some(length)),
        None => ("bitmask", None),
    }
}

impl Set {
    /// The addresses of an element, as they are looked up.
    fn range(&self, text: &str) -> Option<(Family, (u128, u128))> {
        let (family, (first, last)) = local::range(text)?;
        let bits = match family {
            Family::V4 => 32,
            Family::V6 => 128,
        };
        let free = self.netmask.map_or(0, |length| bits - length.min(bits));
        let host = match free {
            128.. => u128::MAX,
            free => (1 << free) - 1,
        };
        Some((family, (first & !host, last | host)))
    }

    /// One element; `None` if it is more than addresses and ports.
    fn element(&self, text: &str, sides: &[&str], family: Family) -> Option<Vec<Packets>> {
        let mut part = Packets::all(family);
        let values: Vec<&str> = text.split(',').collect();
        if values.len() != self.parts.len() {
            return None;
        }
        for ((kind, value), word) in self.parts.iter().zip(values).zip(sides) {
            match kind.as_str() {
                "ip" | "net" => {
                    let (of, (first, last)) = self.range(value)?;
                    if of != family {
                        return None;
                    }
                    let dim = side(word, Dim::Source, Dim::Destination);
                    part = part.narrowed(dim, &RangeSet::of(first, last))?;
                }
                "port" => {
                    let (proto, ports) = match value.split_once(':') {
                        Some((proto, ports)) => (Some(proto), ports),
                        None => (None, value),
                    };
                    let protos: Values = match proto {
                        Some("tcp") => RangeSet::of(6, 6),
                        Some("udp") => RangeSet::of(17, 17),
                        Some("sctp") => RangeSet::of(132, 132),
                        Some(_) => return None,
                        None if self.parts.len() == 1 => {
                            RangeSet::from_ranges(vec![(6, 6), (17, 17), (132, 132)])
                        }
                        None => RangeSet::of(6, 6),
                    };
                    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
                    let ports = RangeSet::of(first.parse().ok()?, last.parse().ok()?);
                    let dim = side(word, Dim::SourcePort, Dim::DestinationPort);
                    part = part.narrowed(Dim::Proto, &protos)?.narrowed(dim, &ports)?;
                }
                _ => return None,
            }
        }
        Some(vec![part])
    }
}
