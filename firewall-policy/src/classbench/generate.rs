//! Filter sets from a seed, with statistics like those of the ClassBench parameter files `acl1`,
//! `fw1` and `ipc1`: how long prefixes are, how often they repeat and nest, which ports and
//! protocols they come with. For where the real sets are not at hand.
//!
//! Invariant: equal arguments give equal sets, on every machine.

use super::{Random, rule};
use crate::range::RangeSet;
use crate::rule::{AddrSet, Match, Policy};
use firewall_common::field::Field;
use std::collections::HashSet;

/// The kind of network that a set is like.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Profile {
    /// Access lists: pairs of hosts, destination ports, no source ports.
    Acl,
    /// Firewalls: from nearly everywhere to hosts and the other way round; both ports.
    Fw,
    /// IP chains: networks of all sizes on both sides, many without ports.
    Ipc,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Acl, Self::Fw, Self::Ipc];

    /// The name of the parameter file that it is like.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Acl => "acl1",
            Self::Fw => "fw1",
            Self::Ipc => "ipc1",
        }
    }
}

/// What can come of a draw, with its weight.
type Weighted<T> = &'static [(u64, T)];

/// Shortest and longest prefix.
type Lengths = (u32, u32);

/// First and last port.
type Ports = (u32, u32);

const ANY_PORT: Ports = (0, 65_535);
const WIDE: Lengths = (0, 2);
const NET: Lengths = (21, 30);
const HOST: Lengths = (31, 32);

/// The numbers behind a [`Profile`].
struct Numbers {
    /// Lengths of source and destination prefix.
    lengths: Weighted<(Lengths, Lengths)>,
    /// Different source and destination addresses for a thousand rules, before they are cut to
    /// prefixes.
    addresses: [u64; 2],
    source_ports: Weighted<Ports>,
    destination_ports: Weighted<Ports>,
    /// Protocols of rules with ports, and of rules without. `None`: any.
    with_ports: Weighted<Option<u32>>,
    without_ports: Weighted<Option<u32>>,
}

const ACL: Numbers = Numbers {
    lengths: &[
        (78, (HOST, HOST)),
        (12, (HOST, NET)),
        (8, (NET, HOST)),
        (1, (NET, (15, 26))),
        (1, (WIDE, WIDE)),
    ],
    addresses: [450, 120],
    source_ports: &[(1, ANY_PORT)],
    destination_ports: &[
        (30, ANY_PORT),
        (14, (1521, 1526)),
        (20, (1700, 1740)),
        (20, (20, 161)),
        (14, (5500, 6000)),
        (1, (1600, 1649)),
        (1, (1024, 65_535)),
    ],
    with_ports: &[(97, Some(6)), (3, Some(17))],
    without_ports: &[(62, Some(6)), (27, None), (11, Some(1))],
};

const FW: Numbers = Numbers {
    lengths: &[
        (57, (WIDE, HOST)),
        (14, (HOST, WIDE)),
        (9, (HOST, HOST)),
        (10, (WIDE, NET)),
        (4, (NET, WIDE)),
        (3, (NET, HOST)),
        (2, (HOST, NET)),
        (1, (WIDE, WIDE)),
    ],
    addresses: [400, 700],
    source_ports: &[
        (78, ANY_PORT),
        (9, (1024, 65_535)),
        (12, (53, 162)),
        (1, (33_434, 33_600)),
    ],
    destination_ports: &[
        (31, ANY_PORT),
        (8, (1024, 65_535)),
        (10, (22, 22)),
        (30, (20, 161)),
        (12, (443, 754)),
        (8, (1999, 7648)),
        (1, (33_434, 33_600)),
    ],
    with_ports: &[(62, Some(6)), (38, Some(17))],
    without_ports: &[
        (50, Some(6)),
        (20, Some(17)),
        (16, Some(47)),
        (11, Some(1)),
        (3, None),
    ],
};

const IPC: Numbers = Numbers {
    lengths: &[
        (28, (HOST, HOST)),
        (14, (HOST, NET)),
        (18, (NET, HOST)),
        (30, (NET, NET)),
        (4, ((16, 20), NET)),
        (3, (WIDE, NET)),
        (3, (NET, WIDE)),
    ],
    addresses: [180, 330],
    source_ports: &[(83, ANY_PORT), (11, (20, 161)), (6, (1433, 5632))],
    destination_ports: &[
        (55, ANY_PORT),
        (6, (1024, 65_535)),
        (25, (20, 162)),
        (8, (514, 514)),
        (6, (1433, 9003)),
    ],
    with_ports: &[(58, Some(17)), (42, Some(6))],
    without_ports: &[
        (60, None),
        (30, Some(17)),
        (6, Some(6)),
        (3, Some(1)),
        (1, Some(50)),
    ],
};

/// A rule before it is one: prefixes, ports, protocol.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Filter {
    prefixes: [(u32, u32); 2],
    ports: [Ports; 2],
    proto: Option<u32>,
}

/// A filter set of `rules` rules, named and with actions as [`super::parse`] makes them. As
/// ClassBench orders them: longer prefixes first, so that few rules hide others, and among equal
/// lengths by address.
#[must_use]
pub fn generate(seed: u64, profile: Profile, rules: usize) -> Policy {
    let numbers = match profile {
        Profile::Acl => ACL,
        Profile::Fw => FW,
        Profile::Ipc => IPC,
    };
    let mut random = Random(seed ^ (profile as u64 + 1).wrapping_mul(0x9e6c_63d0_876a_9a4f));
    let salt = random.next();
    let mut known = HashSet::with_capacity(rules);
    let mut filters = Vec::with_capacity(rules);
    while filters.len() < rules {
        // Duplicates are drawn anew, unless the set is so small that there are few others.
        let fresh = (0..16)
            .map(|_| filter(&mut random, &numbers, rules as u64, salt))
            .find(|&filter| known.insert(filter));
        filters.push(fresh.unwrap_or_else(|| filter(&mut random, &numbers, rules as u64, salt)));
    }
    filters.sort_by_key(|filter| {
        let [(_, src), (_, dst)] = filter.prefixes;
        let wildcards = filter.ports.iter().filter(|&&ports| ports == ANY_PORT);
        (64 - src - dst, src, wildcards.count(), filter.prefixes)
    });
    Policy::of_rules(
        filters
            .iter()
            .enumerate()
            .map(|(index, filter)| {
                rule(
                    index,
                    index as u32 + 1,
                    filter.to_string(),
                    filter.matches(),
                )
            })
            .collect(),
    )
}

fn filter(random: &mut Random, numbers: &Numbers, rules: u64, salt: u64) -> Filter {
    let (src, dst) = random.weighted(numbers.lengths);
    let mut prefix = |side: usize, (shortest, longest): Lengths| {
        // Of the lengths allowed, the longest is drawn as often as all others.
        let length = if random.below(2) == 0 {
            longest
        } else {
            random.between(shortest, longest)
        };
        let pool = (rules * numbers.addresses[side]).div_ceil(1000);
        let address = address(salt ^ side as u64, random.below(pool));
        let hosts = u32::MAX.checked_shr(length).unwrap_or(0);
        (address & !hosts, length)
    };
    let prefixes = [prefix(0, src), prefix(1, dst)];
    let mut port = |choices: Weighted<Ports>| match random.weighted(choices) {
        all @ (ANY_PORT | (1024, _) | (33_434, _) | (1600, _)) => all,
        // Elsewhere single ports, the first ones of a block most often, and sometimes a few.
        (first, last) => {
            let width = u64::from(last - first) + 1;
            let port = first + random.below(width).min(random.below(width)) as u32;
            let more = if random.below(20) == 0 { 3 } else { 0 };
            (port, (port + more).min(last))
        }
    };
    let ports = [port(numbers.source_ports), port(numbers.destination_ports)];
    let proto = random.weighted(if ports == [ANY_PORT; 2] {
        numbers.without_ports
    } else {
        numbers.with_ports
    });
    Filter {
        prefixes,
        ports,
        proto,
    }
}

/// Address number `index` of a side: dense in some networks, sparse elsewhere.
fn address(salt: u64, index: u64) -> u32 {
    let bits = Random(salt.wrapping_add(index.wrapping_mul(0xd129_0c5b_a3e1_94d5))).next();
    // Three of four in one of sixteen networks of a /10.
    let network = Random(salt ^ (bits >> 60)).next() as u32;
    let dense = bits >> 58 & 3 != 0;
    let kept = if dense { 0xffc0_0000 } else { 0 };
    (network & kept) | (bits as u32 & !kept)
}

impl Filter {
    fn matches(&self) -> Match {
        let mut matches = Match::any();
        let [src, dst] = self.prefixes.map(|(first, length)| AddrSet {
            v4: RangeSet::of(first, first | u32::MAX.checked_shr(length).unwrap_or(0)),
            v6: RangeSet::empty(),
        });
        (matches.src, matches.dst) = (src, dst);
        for (field, (first, last)) in [Field::SourcePort, Field::DestinationPort]
            .into_iter()
            .zip(self.ports)
        {
            if (first, last) != ANY_PORT {
                matches.fields[field as usize] = RangeSet::of(first, last);
            }
        }
        if let Some(proto) = self.proto {
            matches.fields[Field::Proto as usize] = RangeSet::of(proto, proto);
        }
        matches
    }
}

/// The line of a ClassBench file.
impl std::fmt::Display for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [src, dst] = self
            .prefixes
            .map(|(first, length)| format!("{}/{length}", std::net::Ipv4Addr::from_bits(first)));
        let [(s0, s1), (d0, d1)] = self.ports;
        let (proto, mask) = self.proto.map_or((0, 0), |proto| (proto, 0xff));
        write!(
            f,
            "@{src}\t{dst}\t{s0} : {s1}\t{d0} : {d1}\t0x{proto:02x}/0x{mask:02X}\t0x0000/0x0000"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classbench::parse;

    #[test]
    fn a_set_is_what_its_text_says_and_repeats() {
        for profile in Profile::ALL {
            let set = generate(3, profile, 500);
            let text: Vec<&str> = set.rules.iter().map(|rule| rule.summary.as_str()).collect();
            assert_eq!(parse(&text.join("\n")).unwrap(), set);
            assert_eq!(generate(3, profile, 500), set);
            assert_ne!(generate(4, profile, 500), set);
            assert_eq!(text.iter().collect::<HashSet<_>>().len(), 500);
        }
        assert!(generate(1, Profile::Acl, 0).rules.is_empty());
        assert_eq!(generate(1, Profile::Acl, 1).rules.len(), 1);
    }
}
