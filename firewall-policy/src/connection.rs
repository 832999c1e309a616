//! A connection that somebody works over, and whether a policy lets its packets in: for the guard, which
//! keeps a change from cutting it, and for `check`.
//!
//! The host build judges, so limits, state and sets count as in the kernel. May not import `validate`.
//! Invariant: what the connection does not tell of its packets (the MAC address that they come from) is
//! tried in every way that a policy tells apart.

use crate::explain::{Explained, explain};
use crate::host::memory_of;
use crate::packet_text::{Kind, PacketText};
use crate::rule::{Mac, Policy};
use crate::tables::Tables;
use firewall_common::live::Prefix;
use firewall_common::parse::flag;
use firewall_common::verdict::Verdict;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Both ends of a TCP connection to this host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// Who has opened it.
    pub from: SocketAddr,
    /// This host.
    pub to: SocketAddr,
}

/// A packet of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The one that opens it, and opens it again after a cut.
    Opening,
    /// Each one that follows while it lasts.
    Following,
}

/// Where the packets of a connection come in, and what holds their addresses.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Way {
    /// Number of the zone.
    pub zone: u32,
    /// VLAN ids, outermost first.
    pub vlans: Vec<u16>,
    /// The live sets that an address is in beside those that the tables put it into, by their numbers
    /// in the policy.
    pub members: Vec<(usize, Prefix)>,
    /// Whether a ban holds the sender.
    pub is_banned: bool,
}

/// What becomes of a packet of the connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judged {
    /// Which packet.
    pub part: Part,
    /// The MAC address that it comes from; `None`: one that no policy names.
    pub mac: Option<Mac>,
    /// Whether it passes.
    pub passes: bool,
    /// Who decides, in words: ``the rule `ssh` (firewall.yaml:12)``.
    pub by: String,
}

impl Connection {
    /// Its packets as text.
    #[must_use]
    pub fn packet(&self, part: Part) -> PacketText {
        let flags = match part {
            Part::Opening => flag::SYN,
            Part::Following => flag::ACK,
        };
        let (from, to) = (self.from.ip().to_canonical(), self.to.ip().to_canonical());
        let kind = Kind::Tcp {
            source: self.from.port(),
            destination: self.to.port(),
            flags: flags as u8,
        };
        PacketText {
            established: part == Part::Following,
            ..PacketText::new(from, to, kind)
        }
    }

    /// What a policy does with its packets that come in this way, from each of some MAC addresses and
    /// from another one. `tables` are those of `policy`, in which rule `i` counts in slot `i`.
    #[must_use]
    pub fn judge(&self, policy: &Policy, tables: &Tables, way: &Way, macs: &[Mac]) -> Vec<Judged> {
        let parts = [Part::Opening, Part::Following].into_iter();
        let macs = macs.iter().copied().map(Some).chain([None]);
        let tried = parts.flat_map(|part| macs.clone().map(move |mac| (part, mac)));
        let one = |(part, mac)| self.judge_one(policy, tables, way, (part, mac));
        tried.map(one).collect()
    }

    fn judge_one(
        &self,
        policy: &Policy,
        tables: &Tables,
        way: &Way,
        (part, mac): (Part, Option<Mac>),
    ) -> Judged {
        if way.is_banned {
            let (passes, by) = (policy.audit, "a ban".to_owned());
            return Judged {
                part,
                mac,
                passes,
                by,
            };
        }
        let packet = PacketText {
            mac: mac.or_else(|| unnamed(policy)),
            vlans: way.vlans.clone(),
            ..self.packet(part)
        };
        let mut earlier = packet.earlier(policy).unwrap_or_default();
        earlier.members.extend(&way.members);
        let memory = memory_of(tables, &earlier);
        let judged = explain(policy, tables, &memory, &packet.frame(), way.zone, 0);
        Judged {
            part,
            mac,
            passes: judged.outcome.verdict == Verdict::PASS,
            by: by(policy, &judged),
        }
    }
}

/// A MAC address that a policy does not name.
fn unnamed(policy: &Policy) -> Option<Mac> {
    let mut local = (0x02fe_0000_0000..0x02ff_0000_0000).map(Mac);
    local.find(|mac| !policy.macs.contains(mac))
}

fn by(policy: &Policy, judged: &Explained) -> String {
    match judged.rule.map(|rule| &policy.rules[rule]) {
        Some(rule) => format!(
            "the rule `{}` ({}:{})",
            rule.name, rule.place.file, rule.place.line
        ),
        None => format!("no rule ({})", judged.outcome.reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checked::check;
    use crate::files::NoFiles;
    use crate::prefixes::prefix_v4;

    const CONNECTION: &str = "203.0.113.5:50000 192.0.2.80:22";

    fn connection() -> Connection {
        let (from, to) = CONNECTION.split_once(' ').unwrap();
        Connection {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
        }
    }

    fn judged(text: &str, way: &Way) -> Vec<(Part, bool, String)> {
        let text = format!("version: 1\n{text}");
        let checked = check("p.yaml", &text, &NoFiles).unwrap_or_else(|error| panic!("{error:?}"));
        let judged =
            connection().judge(&checked.policy, &checked.tables, way, &checked.policy.macs);
        judged
            .into_iter()
            .map(|it| (it.part, it.passes, it.by))
            .collect()
    }

    fn passes(text: &str, way: &Way) -> [bool; 2] {
        let all = judged(text, way);
        [Part::Opening, Part::Following]
            .map(|part| all.iter().filter(|it| it.0 == part).all(|it| it.1))
    }

    #[test]
    fn both_packets_are_judged_with_their_sets_zones_limits_and_bans() {
        let way = Way::default();
        assert_eq!(passes("default: {in: drop}\n", &way), [false, false]);
        let replies = "default: {in: drop}\nrules: [{name: r, state: established, action: pass}]\n";
        assert_eq!(passes(replies, &way), [false, true]);
        let ssh = "default: {in: drop}\nrules: [{name: s, proto: tcp, port: ssh, \
                   limit: {new: 1/60s, per: source}, action: pass}]\n";
        assert_eq!(passes(ssh, &way), [true, true]);
        let banned = Way {
            is_banned: true,
            ..Way::default()
        };
        assert_eq!(passes(ssh, &banned), [false, false]);
        assert_eq!(
            passes(&format!("mode: audit\n{ssh}"), &banned),
            [true, true]
        );
        let live = "default: {in: drop}\nsets: {f: {type: cidr, live: true, max: 10}}\n\
                    rules: [{name: s, proto: tcp, port: ssh, from: \"@f\", action: pass}]\n";
        assert_eq!(passes(live, &way), [false, false]);
        let member = Way {
            members: vec![(0, prefix_v4(0xcb00_7100, 24))],
            ..Way::default()
        };
        assert_eq!(passes(live, &member), [true, true]);
        let zone = "interfaces: [{match: lan0, zone: lan}]\ndefault: {in: drop}\n\
                    rules: [{name: s, proto: tcp, port: ssh, zone: lan, action: pass}]\n";
        assert_eq!(passes(zone, &way), [false, false]);
        let lan = Way {
            zone: 1,
            ..Way::default()
        };
        assert_eq!(passes(zone, &lan), [true, true]);
    }

    #[test]
    fn a_mac_address_that_nobody_knows_is_tried_as_each_that_the_policy_names() {
        let mac = "default: {in: drop}\nrules: [{name: s, proto: tcp, port: ssh, \
                   mac: \"02:00:00:00:00:01\", action: pass}]\n";
        let all = judged(mac, &Way::default());
        let opening: Vec<bool> = all
            .iter()
            .filter(|it| it.0 == Part::Opening)
            .map(|it| it.1)
            .collect();
        assert_eq!(opening, [true, false]);
        assert_eq!(all[0].2, "the rule `s` (p.yaml:3)");
        assert!(all[1].2.starts_with("no rule (no-match"), "{}", all[1].2);
    }
}
