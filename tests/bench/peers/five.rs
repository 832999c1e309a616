//! Rules of five fields in the words of the other packet filters.

use anyhow::{Context, Result, ensure};
use firewall_common::field::Field;
use firewall_policy::range::RangeSet;
use firewall_policy::rule::{Match, Policy};
use std::net::Ipv4Addr;

/// Two prefixes, two ranges of ports, a protocol. `None` takes everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Five {
    source: Option<Prefix>,
    destination: Option<Prefix>,
    source_port: Option<(u32, u32)>,
    destination_port: Option<(u32, u32)>,
    proto: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Prefix {
    address: Ipv4Addr,
    length: u32,
}

/// The rules of a policy, all of which drop.
pub(crate) fn rules(policy: &Policy) -> Result<Vec<Five>> {
    policy
        .rules
        .iter()
        .map(|rule| Five::of(&rule.matches).with_context(|| format!("rule {}", rule.name)))
        .collect()
}

impl Five {
    fn of(matches: &Match) -> Result<Self> {
        let field = |field: Field| {
            if matches.is_any(field) {
                return Ok(None);
            }
            one_range(matches.field(field)).map(Some)
        };
        let proto = field(Field::Proto)?;
        let five = Self {
            source: prefix(&matches.src.v4)?,
            destination: prefix(&matches.dst.v4)?,
            source_port: field(Field::SourcePort)?,
            destination_port: field(Field::DestinationPort)?,
            proto: proto.map(|(first, _)| first),
        };
        let has_ports = five.source_port.is_some() || five.destination_port.is_some();
        ensure!(
            !has_ports || matches!(five.proto, Some(6 | 17)),
            "ports without TCP or UDP"
        );
        Ok(five)
    }

    fn proto_name(self) -> Option<String> {
        self.proto.map(|proto| match proto {
            6 => "tcp".into(),
            17 => "udp".into(),
            other => other.to_string(),
        })
    }

    /// The match of an nft rule.
    pub(crate) fn nft(self) -> String {
        let mut words = Vec::new();
        for (name, prefix) in [("saddr", self.source), ("daddr", self.destination)] {
            if let Some(Prefix { address, length }) = prefix {
                words.push(format!("ip {name} {address}/{length}"));
            }
        }
        let ports = [
            ("sport", self.source_port),
            ("dport", self.destination_port),
        ];
        let proto = self.proto_name();
        for (name, range) in ports {
            if let (Some((first, last)), Some(proto)) = (range, &proto) {
                words.push(if first == last {
                    format!("{proto} {name} {first}")
                } else {
                    format!("{proto} {name} {first}-{last}")
                });
            }
        }
        if let (Some(proto), true) = (proto, ports.iter().all(|(_, range)| range.is_none())) {
            words.push(format!("ip protocol {proto}"));
        }
        words.join(" ")
    }

    /// The match of an iptables rule.
    pub(crate) fn iptables(self) -> String {
        let mut words = Vec::new();
        for (option, prefix) in [("-s", self.source), ("-d", self.destination)] {
            if let Some(Prefix { address, length }) = prefix {
                words.push(format!("{option} {address}/{length}"));
            }
        }
        if let Some(proto) = self.proto_name() {
            words.push(format!("-p {proto}"));
        }
        for (option, range) in [
            ("--sport", self.source_port),
            ("--dport", self.destination_port),
        ] {
            if let Some((first, last)) = range {
                words.push(format!("{option} {first}:{last}"));
            }
        }
        words.join(" ")
    }

    /// The match of a rule in this firewall's YAML.
    pub(crate) fn yaml(self) -> String {
        let mut pairs = Vec::new();
        for (key, prefix) in [("from", self.source), ("to", self.destination)] {
            if let Some(Prefix { address, length }) = prefix {
                pairs.push(format!("{key}: {address}/{length}"));
            }
        }
        if let Some(proto) = self.proto_name() {
            pairs.push(format!("proto: {proto}"));
        }
        for (key, range) in [
            ("source_port", self.source_port),
            ("port", self.destination_port),
        ] {
            if let Some((first, last)) = range {
                pairs.push(format!("{key}: \"{first}-{last}\""));
            }
        }
        pairs.join(", ")
    }
}

fn one_range(set: &RangeSet<u32>) -> Result<(u32, u32)> {
    ensure!(set.ranges().len() == 1, "more than one range");
    Ok(set.ranges()[0])
}

fn prefix(set: &RangeSet<u32>) -> Result<Option<Prefix>> {
    let (first, last) = one_range(set)?;
    let hosts = first ^ last;
    ensure!(
        hosts & hosts.wrapping_add(1) == 0 && first & hosts == 0,
        "not a prefix"
    );
    let length = hosts.leading_zeros();
    Ok((length > 0).then(|| Prefix {
        address: Ipv4Addr::from(first),
        length,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewall_policy::classbench;

    fn words(line: &str) -> [String; 3] {
        let policy = classbench::parse(line).unwrap();
        let five = rules(&policy).unwrap()[0];
        [five.nft(), five.iptables(), five.yaml()]
    }

    #[test]
    fn a_rule_says_the_same_in_every_language() {
        assert_eq!(
            words("@192.0.2.0/24\t0.0.0.0/0\t0 : 65535\t80 : 81\t0x06/0xFF\t0x0000/0x0000"),
            [
                "ip saddr 192.0.2.0/24 tcp dport 80-81",
                "-s 192.0.2.0/24 -p tcp --dport 80:81",
                "from: 192.0.2.0/24, proto: tcp, port: \"80-81\""
            ]
        );
        assert_eq!(
            words("@0.0.0.0/0\t198.51.100.7/32\t0 : 65535\t0 : 65535\t0x2f/0xFF\t0x0000/0x0000"),
            [
                "ip daddr 198.51.100.7/32 ip protocol 47",
                "-d 198.51.100.7/32 -p 47",
                "to: 198.51.100.7/32, proto: 47"
            ]
        );
        assert_eq!(
            words("@0.0.0.0/0\t0.0.0.0/0\t0 : 65535\t0 : 65535\t0x00/0x00\t0x0000/0x0000"),
            ["", "", ""]
        );
    }
}
