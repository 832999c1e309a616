//! A connection that somebody works over, and whether a policy lets in what it needs: for the guard, which
//! keeps a change from cutting it, and for `check`.
//!
//! ```text
//! connection.rs   which packets those are
//! judge.rs        what a policy does with them
//! ```
//!
//! The host build judges, so limits, state and sets count as in the kernel. May not import `validate`.
//! Invariant: what is not known of a packet (the MAC address that it comes from) is tried in every way that
//! a policy tells apart.

mod judge;

pub use judge::{Holds, Judge, Judged, PACE, Way};

use crate::packet_text::{Kind, PacketText};
use crate::rule::Mac;
use firewall_common::parse::{flag, proto};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

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

/// A packet that a connection needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sample {
    /// The packet, as it comes in.
    pub packet: PacketText,
    /// What is in it, if it is one of a tunnel.
    pub content: Option<Content>,
    /// Whether it comes again and again while somebody works.
    pub is_steady: bool,
}

/// What a packet of a tunnel carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Content {
    /// How.
    pub form: Form,
    /// What.
    pub packet: PacketText,
}

/// How a tunnel carries packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Behind the IP header (RFC 2003, RFC 4213, RFC 2473).
    Ip,
    /// Behind a header of GRE (RFC 2784).
    Gre,
    /// As frames behind a header of GRE.
    GreFrame,
    /// As frames behind a header of VXLAN (RFC 7348).
    Vxlan,
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

    /// Its packets as samples.
    #[must_use]
    pub fn samples(&self) -> [Sample; 2] {
        [Part::Opening, Part::Following].map(|part| Sample {
            is_steady: part == Part::Following,
            ..Sample::of(self.packet(part))
        })
    }
}

impl Sample {
    /// A packet that comes now and then.
    #[must_use]
    pub const fn of(packet: PacketText) -> Self {
        Self {
            packet,
            content: None,
            is_steady: false,
        }
    }

    /// The packet of a tunnel that carries one.
    #[must_use]
    pub fn carrying(inside: &Self, (form, packet): (Option<Form>, PacketText)) -> Self {
        // A tunnel in a tunnel is a packet like any other.
        let content = form.map(|form| Content {
            form,
            packet: inside.packet.clone(),
        });
        Self {
            packet,
            content,
            is_steady: inside.is_steady,
        }
    }

    /// The packets by which a neighbour finds this host's address: an ARP request, or of IPv6 a question to
    /// the group of that address (RFC 4861), and the answer to this host's own question.
    #[must_use]
    pub fn of_neighbour(neighbour: IpAddr, own: IpAddr) -> Vec<Self> {
        match own {
            IpAddr::V4(_) => vec![Self::of(PacketText::new(neighbour, own, Kind::Arp))],
            IpAddr::V6(address) => {
                let [.., a, b, c] = address.octets();
                let group = Ipv6Addr::new(
                    0xff02,
                    0,
                    0,
                    0,
                    0,
                    1,
                    0xff00 | u16::from(a),
                    u16::from_be_bytes([b, c]),
                );
                let one = |to: IpAddr, kind: u8| {
                    Self::of(PacketText::new(neighbour, to, Kind::Icmp { kind, code: 0 }))
                };
                vec![one(group.into(), SOLICITATION), one(own, ADVERTISEMENT)]
            }
        }
    }

    /// The addresses in it, outside and inside: where each packet comes from, and where it goes.
    pub fn ends(&self) -> impl Iterator<Item = [IpAddr; 2]> {
        let inside = self.content.iter().map(|it| &it.packet);
        let all = std::iter::once(&self.packet).chain(inside);
        let of_ip = all.filter(|it| !matches!(it.kind, Kind::Arp | Kind::Frame { .. }));
        of_ip.map(|it| [it.src, it.dst])
    }

    /// Its frame, with these VLAN ids and from this MAC address.
    fn frame(&self, vlans: &[u16], mac: Option<Mac>) -> Vec<u8> {
        let outer = PacketText {
            mac,
            vlans: vlans.to_vec(),
            ..self.packet.clone()
        };
        let Some(content) = &self.content else {
            return outer.frame();
        };
        let inner = content.packet.frame();
        let ethertype = [inner[12], inner[13]];
        let inside = match content.form {
            Form::Ip => inner[ETHERNET..].to_vec(),
            Form::Gre => [&[0, 0][..], &ethertype, &inner[ETHERNET..]].concat(),
            Form::GreFrame => [&[0, 0, 0x65, 0x58][..], &inner].concat(),
            Form::Vxlan => [&[0x08, 0, 0, 0, 0, 0, 1, 0][..], &inner].concat(),
        };
        outer.frame_with(&inside)
    }
}

/// Says which packet it is: of a tunnel, by its outer headers.
impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.packet, f)
    }
}

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// ICMPv6 types of neighbour discovery.
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// The IP protocol of a tunnel that carries packets of one family behind another's header.
#[must_use]
pub const fn protocol_of(inside: IpAddr) -> u8 {
    match inside {
        IpAddr::V4(_) => proto::IPIP as u8,
        IpAddr::V6(_) => proto::IPV6 as u8,
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

    /// What a policy does with samples that come in this way.
    fn judged(text: &str, samples: &[Sample], way: &Way, holds: &Holds) -> Vec<Vec<Judged>> {
        let text = format!("version: 1\n{text}");
        let checked = check("p.yaml", &text, &NoFiles).unwrap_or_else(|error| panic!("{error:?}"));
        let judge = Judge::new(&checked.policy, &checked.tables, samples, holds);
        let one = |sample| judge.judge(sample, way, &checked.policy.macs);
        let first: Vec<_> = samples.iter().map(one).collect();
        // Nothing is left of one that the next one could meet.
        assert_eq!(samples.iter().map(one).collect::<Vec<_>>(), first);
        first
    }

    fn passes(text: &str, way: &Way, holds: &Holds) -> [bool; 2] {
        let all = judged(text, &connection().samples(), way, holds);
        [0, 1].map(|sample: usize| all[sample].iter().all(|it| it.passes))
    }

    /// Whether all of some samples pass, without anything else known.
    fn pass(text: &str, samples: &[Sample]) -> bool {
        let all = judged(text, samples, &Way::default(), &Holds::default());
        all.iter().flatten().all(|it| it.passes)
    }

    #[test]
    fn both_packets_are_judged_with_their_sets_zones_limits_and_bans() {
        let (way, none) = (Way::default(), Holds::default());
        assert_eq!(passes("default: {in: drop}\n", &way, &none), [false, false]);
        let replies = "default: {in: drop}\nrules: [{name: r, state: established, action: pass}]\n";
        assert_eq!(passes(replies, &way, &none), [false, true]);
        let ssh = "default: {in: drop}\nrules: [{name: s, proto: tcp, port: ssh, \
                   limit: {new: 1/60s, per: source}, action: pass}]\n";
        assert_eq!(passes(ssh, &way, &none), [true, true]);
        let banned = Holds {
            banned: vec![prefix_v4(0xcb00_7105, 32)],
            ..Holds::default()
        };
        assert_eq!(passes(ssh, &way, &banned), [false, false]);
        assert_eq!(
            passes(&format!("mode: audit\n{ssh}"), &way, &banned),
            [true, true]
        );
        let live = "default: {in: drop}\nsets: {f: {type: cidr, live: true, max: 10}}\n\
                    rules: [{name: s, proto: tcp, port: ssh, from: \"@f\", action: pass}]\n";
        assert_eq!(passes(live, &way, &none), [false, false]);
        let member = Holds {
            members: vec![(0, prefix_v4(0xcb00_7100, 24))],
            ..Holds::default()
        };
        assert_eq!(passes(live, &way, &member), [true, true]);
        let zone = "interfaces: [{match: lan0, zone: lan}]\ndefault: {in: drop}\n\
                    rules: [{name: s, proto: tcp, port: ssh, zone: lan, action: pass}]\n";
        assert_eq!(passes(zone, &way, &none), [false, false]);
        let lan = Way {
            zone: 1,
            ..Way::default()
        };
        assert_eq!(passes(zone, &lan, &none), [true, true]);
    }

    #[test]
    fn a_mac_address_that_nobody_knows_is_tried_as_each_that_the_policy_names() {
        let mac = "default: {in: drop}\nrules: [{name: s, proto: tcp, port: ssh, \
                   mac: \"02:00:00:00:00:01\", action: pass}]\n";
        let samples = connection().samples();
        let all = judged(mac, &samples, &Way::default(), &Holds::default());
        let opening: Vec<bool> = all[0].iter().map(|it| it.passes).collect();
        assert_eq!(opening, [true, false]);
        assert_eq!(all[0][0].by, "the rule `s` (p.yaml:3)");
        assert!(
            all[0][1].by.starts_with("no rule (no-match"),
            "{:?}",
            all[0]
        );
    }

    #[test]
    fn a_limit_that_the_pace_of_a_session_is_beyond_cuts_it() {
        let with = |limit: &str| {
            let rule = format!("{{name: s, proto: tcp, port: ssh, limit: {limit}, action: pass}}");
            format!("default: {{in: drop}}\nrules: [{rule}]\n")
        };
        let none = Holds::default();
        let of = |text: &str| passes(text, &Way::default(), &none);
        for (limit, follows) in [
            ("{rate: 1/60s, per: rule}", false),
            ("{rate: 1/60s, per: source}", false),
            ("{rate: 5/s, per: source, burst: 30}", false),
            ("{rate: 1/60s, per: source}, over: next", false),
            ("{rate: 1/60s, per: source}, over: reject", false),
            ("{rate: 20/s, per: source}", true),
            ("{rate: 100/s, per: rule}", true),
            ("{rate: 1/60s, per: rule, burst: 2000}", true),
            ("{new: 1/60s, per: source}", true),
        ] {
            assert_eq!(of(&with(limit)), [true, follows], "{limit}");
        }
        // Behind what passes connections that are open, it only counts what is new; and where what is over
        // a limit comes to another rule, that one decides.
        let behind = with("{rate: 1/60s, per: rule}").replace(
            "rules: [",
            "rules: [{name: r, state: established, action: pass}, ",
        );
        assert_eq!(of(&behind), [true, true]);
        let next = with("{rate: 1/60s, per: rule}, over: next")
            .replace("}]", "}, {name: all, proto: tcp, action: pass}]");
        assert_eq!(of(&next), [true, true]);
        let all = judged(
            &with("{rate: 1/60s, per: rule}"),
            &connection().samples(),
            &Way::default(),
            &none,
        );
        assert_eq!(
            all[1][0].by,
            "the limit of the rule `s` (p.yaml:3) at 20 packets a second"
        );
    }

    #[test]
    fn neighbours_are_heard_by_arp_and_by_neighbour_discovery() {
        let v4 = Sample::of_neighbour([192, 0, 2, 1].into(), [192, 0, 2, 80].into());
        let ends = ["2001:db8::1", "2001:db8::80"].map(|it| it.parse().unwrap());
        let v6 = Sample::of_neighbour(ends[0], ends[1]);
        assert_eq!(v6[0].packet.dst.to_string(), "ff02::1:ff00:80");
        for (policy, passes) in [
            ("default: {in: drop}\n", [true, true]),
            ("default: {in: drop, essential: false}\n", [false, false]),
            (
                "default: {in: drop, essential: {neighbour: false}}\n",
                [true, false],
            ),
            (
                "default: {in: drop, essential: {arp: false}}\n",
                [false, true],
            ),
            ("default: {in: pass, essential: false}\n", [true, true]),
            (
                "default: {in: drop, essential: false}\nrules:\n\
                 - {name: arp, ethertype: arp, action: pass}\n\
                 - {name: ask, proto: icmpv6, icmp: {type: 135}, action: pass}\n\
                 - {name: say, proto: icmpv6, icmp: {type: 136}, action: pass}\n",
                [true, true],
            ),
        ] {
            assert_eq!([&v4, &v6].map(|it| pass(policy, it)), passes, "{policy}");
        }
    }

    #[test]
    fn a_tunnel_is_judged_by_its_own_packet_and_where_the_policy_looks_inside_by_both() {
        let [opening, _] = connection().samples();
        let (from, to) = ([198, 51, 100, 1].into(), [198, 51, 100, 2].into());
        let vxlan = Kind::Udp {
            source: 50_000,
            destination: 4789,
        };
        for (form, kind, words) in [
            (Form::Ip, Kind::Other(4), "proto: 4"),
            (Form::Gre, Kind::Other(47), "proto: 47"),
            (Form::GreFrame, Kind::Other(47), "proto: 47"),
            (Form::Vxlan, vxlan, "proto: udp, port: 4789"),
        ] {
            let packet = PacketText::new(from, to, kind);
            let sample = [Sample::carrying(&opening, (Some(form), packet))];
            let outer = format!("rules:\n- {{name: t, {words}, action: pass}}\n");
            let ssh = "- {name: ssh, proto: tcp, port: 22, action: pass}\n";
            let policy = |rules: &str| format!("default: {{in: drop}}\n{rules}");
            assert!(!pass(&policy(""), &sample), "{words}");
            assert!(pass(&policy(&outer), &sample), "{words}");
            assert!(
                !pass(&policy(&format!("rules:\n{ssh}")), &sample),
                "{words}"
            );
            let inner = |rules: &str| format!("packet: {{tunnels: inner}}\n{}", policy(rules));
            assert!(!pass(&inner(&outer), &sample), "{words}");
            assert!(pass(&inner(&format!("{outer}{ssh}")), &sample), "{words}");
        }
    }
}
