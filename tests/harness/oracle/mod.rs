//! A second parser, written from the RFCs for obviousness: it slices, allocates and recurses, and
//! is slow. With the rule oracle of `firewall-policy` it says what must become of any frame, and
//! is what the product's parser is compared with.
//!
//! Shares nothing with the product's parser: no code, no constant, no type; a reason is the name
//! that users read. Of the product it sees the validated policy alone, and in `key.rs` the form in
//! which the rule oracle takes a packet.
//!
//! **Which reason**, where a frame breaks more than one rule: layers are judged from the outside
//! in, and in a layer first whether its header is there, then what it says, in the order of this
//! code. Within IPv6 the addresses are judged behind the extension headers.

mod answer;
mod essential;
pub mod flows;
mod fragments;
mod ip;
mod key;
mod link;
mod transport;
mod tunnel;

pub use essential::Asked;
pub use fragments::Seen;

use firewall_common::field::Field;
use firewall_policy::oracle::{evaluate, evaluate_frame};
use firewall_policy::rule::{FrameKey, Policy};
use std::net::IpAddr;

/// What must become of a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judgement {
    /// Whether it passes.
    pub passes: bool,
    /// The name of the one reason.
    pub reason: &'static str,
    /// The deciding rule, as an index into the policy's rules.
    pub rule: Option<usize>,
    /// The `next` rules that count it, in order.
    pub counted: Vec<usize>,
    /// The frame that goes back to its sender, if there are answers left.
    pub answer: Option<Vec<u8>>,
}

impl Judgement {
    /// For a frame that no rule decides about.
    const fn without_rule(passes: bool, reason: &'static str) -> Self {
        Self {
            passes,
            reason,
            rule: None,
            counted: Vec::new(),
            answer: None,
        }
    }
}

/// Why a frame is not a packet that rules decide about: the name of a reason.
type Anomaly = &'static str;

/// The policy's `packet:` and `default:`, in this module's own terms.
#[derive(Clone, Copy, Debug)]
struct Knobs {
    drops_by_default: bool,
    /// Rules judge malformed packets by what can be read of them.
    malformed_judged: bool,
    fragments_pass: bool,
    fragments_follow: bool,
    options_pass: bool,
    vlan_depth: usize,
    ipv6_ext_max: usize,
    looks_into_tunnels: bool,
    arp: bool,
    neighbour: bool,
    multicast: bool,
    icmp_error: bool,
    dhcp: bool,
    link: bool,
    igmp: bool,
    /// Some rule looks at state, so what is sent is remembered.
    remembers: bool,
    /// And some lets UDP in that nobody has asked for: what answers it is not.
    serves: bool,
}

impl Knobs {
    fn of(policy: &Policy) -> Self {
        // The numbers of the policy's form, as its documentation gives them.
        let essential = |bit: u32| policy.essential >> bit & 1 == 1;
        Self {
            drops_by_default: policy.default_verdict.name() == "drop",
            malformed_judged: policy.packet.malformed == 2,
            fragments_pass: policy.packet.fragments != 0,
            fragments_follow: policy.packet.fragments == 2,
            options_pass: policy.packet.drop_ip_options == 0,
            vlan_depth: policy.packet.vlan_depth as usize,
            ipv6_ext_max: policy.packet.ipv6_ext_max as usize,
            looks_into_tunnels: policy.packet.tunnels == 1,
            arp: essential(0),
            neighbour: essential(1),
            multicast: essential(2),
            icmp_error: essential(3),
            dhcp: essential(4),
            link: essential(5),
            igmp: essential(6),
            remembers: policy.tracks_connections(),
            serves: serves(policy),
        }
    }
}

/// Whether UDP that nobody has asked for may come in, by what is known of it before it does. The policies
/// here look at nothing else in such rules.
fn serves(policy: &Policy) -> bool {
    policy.tracks_connections()
        && policy.rules.iter().any(|rule| {
            let takes = |field, value| rule.matches.field(field).contains(value);
            let is_open = takes(Field::Proto, 17) && takes(Field::State, 0);
            let is_of_ip = rule.matches.ethertypes.is_none();
            is_of_ip
                && rule.enabled
                && rule.action.name() == "pass"
                && rule.limit.is_none()
                && is_open
        })
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Whole,
    /// The first fragment, with the transport header.
    First,
    /// Any other fragment: data, whatever it looks like.
    Later,
    /// That cannot be read.
    Unknown,
}

/// How far a packet can be read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Read {
    /// Its lengths contradict each other: only the addresses are believed.
    Addresses,
    /// The IP header; what follows its extension headers was not reached.
    Header,
    /// The protocol, and of the transport header what is there, which is not in order.
    Protocol,
    /// All of it.
    All,
}

/// An IP packet: one that is in order, or what can be read of one that is not.
#[derive(Clone, Debug)]
struct Packet {
    /// Who has sent the frame, on this link.
    station: Option<[u8; 6]>,
    /// VLAN id, unless the frame is untagged or has priority tags only.
    vlan: Option<u16>,
    source: IpAddr,
    destination: IpAddr,
    /// Protocol of `payload`.
    proto: u8,
    /// Time to live or hop limit.
    ttl: u8,
    dscp: u8,
    /// Bytes of the packet, its header included.
    length: usize,
    part: Part,
    /// Whether there was an IPv6 fragment header.
    has_fragment_header: bool,
    /// Of which datagram it is a fragment, and where it belongs there.
    fragment: Option<Fragment>,
    /// From the transport header to the end of the packet: no padding.
    payload: Vec<u8>,
    ports: Option<(u16, u16)>,
    tcp_flags: Option<u8>,
    /// Type and code of ICMP or ICMPv6.
    icmp: Option<(u8, u8)>,
    /// Whether it asks routers to look at it (RFC 2113, RFC 2711), and its options ask for nothing else.
    alert: bool,
    /// Options of IPv4 and extension headers of IPv6, as the language numbers them: any 1, router alert 2,
    /// source route 4, record route 8, timestamps 16, hop-by-hop 32, destination 64, routing 128,
    /// fragment 256, authentication 512.
    options: u32,
    /// What is wrong with it, if rules judge it all the same.
    anomaly: Option<Anomaly>,
    read: Read,
}

impl Packet {
    /// Between two hosts, and nothing else known.
    const fn between(source: IpAddr, destination: IpAddr) -> Self {
        Self {
            station: None,
            vlan: None,
            source,
            destination,
            proto: 0,
            ttl: 0,
            dscp: 0,
            length: 0,
            part: Part::Unknown,
            has_fragment_header: false,
            fragment: None,
            payload: Vec::new(),
            ports: None,
            tcp_flags: None,
            icmp: None,
            alert: false,
            options: 0,
            anomaly: None,
            read: Read::Addresses,
        }
    }

    /// Something is wrong with it that does not keep one from reading on.
    fn suffers(&mut self, anomaly: Anomaly, knobs: &Knobs) -> Result<(), Anomaly> {
        if !knobs.malformed_judged {
            return Err(anomaly);
        }
        self.anomaly.get_or_insert(anomaly);
        Ok(())
    }

    /// It cannot be read on.
    fn ends(mut self, anomaly: Anomaly, knobs: &Knobs) -> Result<Self, Anomaly> {
        self.suffers(anomaly, knobs)?;
        Ok(self)
    }
}

/// A fragment of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Fragment {
    /// Identification.
    id: u32,
    /// Bytes in front of it.
    offset: usize,
    /// Bytes of it.
    length: usize,
    /// Whether more follow.
    more: bool,
}

/// What a frame holds.
enum Content {
    Ip(Packet),
    /// EtherType and what follows it.
    Other(u16, Vec<u8>),
}

/// Says what `policy` must do with a frame (of 14 to 32,767 bytes) from an interface of zone
/// `zone`, before which there was none.
#[must_use]
pub fn judge(policy: &Policy, frame: &[u8], zone: u32) -> Judgement {
    judge_after(policy, &mut Seen::default(), frame, zone)
}

/// As [`judge`], after the frames that left their traces in `seen`.
#[must_use]
pub fn judge_after(policy: &Policy, seen: &mut Seen, frame: &[u8], zone: u32) -> Judgement {
    let judgement = as_written(policy, seen, frame, zone);
    Judgement {
        // In audit mode nothing is dropped; the rest says what would be.
        passes: judgement.passes || policy.audit,
        ..judgement
    }
}

fn as_written(policy: &Policy, seen: &mut Seen, frame: &[u8], zone: u32) -> Judgement {
    let knobs = Knobs::of(policy);
    let without_rule = Judgement::without_rule;
    let packet = match parse(frame, &knobs) {
        Err(anomaly) => return without_rule(anomaly_passes(anomaly, &knobs), anomaly),
        Ok(Content::Other(ethertype, payload)) => {
            return match essential::other(frame, ethertype, &payload, &knobs) {
                Err(anomaly) => without_rule(anomaly_passes(anomaly, &knobs), anomaly),
                Ok(Some(reason)) => without_rule(true, reason),
                Ok(None) => by_link(policy, &knobs, frame, zone),
            };
        }
        Ok(Content::Ip(packet)) => packet,
    };
    let mut packet = packet;
    let essential = match packet.anomaly {
        Some(_) => Ok(None),
        None => essential::packet(&packet, &knobs, &seen.asked),
    };
    let essential = match essential {
        Err(anomaly) if knobs.malformed_judged => {
            packet.anomaly = Some(anomaly);
            Ok(None)
        }
        other => other,
    };
    // A malformed fragment follows nothing and leaves no trace.
    let follows = knobs.fragments_follow && packet.anomaly.is_none();
    let judgement = match essential {
        Err(anomaly) => return without_rule(anomaly_passes(anomaly, &knobs), anomaly),
        Ok(Some(reason)) => without_rule(true, reason),
        Ok(None) if packet.part == Part::Later && follows => without_rule(true, "fragment"),
        Ok(None) => {
            let mut judgement = by_headers(policy, &knobs, seen, &packet, zone);
            if judgement.reason == "reject" {
                let start = link::untag(frame, &knobs).map_or(0, |(.., ip)| frame.len() - ip.len());
                if packet.anomaly.is_none() {
                    judgement.answer = answer::to(frame, start, &packet);
                }
                if judgement.answer.is_none() {
                    judgement.reason = "reject-silent";
                }
            }
            judgement
        }
    };
    if follows && let Some(objection) = seen.objection(&packet, zone, judgement.passes) {
        return Judgement {
            counted: judgement.counted,
            ..without_rule(false, objection)
        };
    }
    judgement
}

/// By the rules about frames that are not IP.
fn by_link(policy: &Policy, knobs: &Knobs, frame: &[u8], zone: u32) -> Judgement {
    let Ok((vlan, kind, payload)) = link::untag(frame, knobs) else {
        return Judgement::without_rule(false, "internal");
    };
    let station = key::station(policy, link::sender(frame));
    let seen = FrameKey {
        ethertype: link::protocol(kind, payload),
        vlan: vlan.map_or(4_096, u32::from),
        zone,
        mac: station,
    };
    let rules = evaluate_frame(policy, &seen);
    match rules.decided {
        Some(rule) => Judgement {
            passes: policy.rules[rule].action.name() == "pass",
            reason: "rule",
            rule: Some(rule),
            counted: rules.counted,
            answer: None,
        },
        None => Judgement {
            counted: rules.counted,
            ..Judgement::without_rule(!knobs.drops_by_default, "non-ip")
        },
    }
}

/// By the outer headers, and where the policy looks into tunnels, by the inner ones, too.
fn by_headers(
    policy: &Policy,
    knobs: &Knobs,
    seen: &mut Seen,
    packet: &Packet,
    zone: u32,
) -> Judgement {
    let outer = by_rules(policy, knobs, packet, zone);
    if !outer.passes || !knobs.looks_into_tunnels {
        return outer;
    }
    // Who is judged inside has been counted outside.
    let counted: Vec<usize> = outer.counted.iter().copied().chain(outer.rule).collect();
    let inside = match tunnel::content(packet, knobs) {
        Ok(None) => return outer,
        Err(anomaly) => Judgement::without_rule(anomaly_passes(anomaly, knobs), anomaly),
        Ok(Some(Content::Other(..))) => Judgement::without_rule(!knobs.drops_by_default, "non-ip"),
        Ok(Some(Content::Ip(inner))) => {
            let station = packet.station;
            in_a_tunnel(policy, knobs, seen, &Packet { station, ..inner }, zone)
        }
    };
    // Who is in the tunnel is not who has sent the frame.
    let reason = match inside.reason {
        "reject" => "reject-silent",
        other => other,
    };
    // A fragment of a tunnel is refused before anything inside is looked at.
    Judgement {
        counted: counted.into_iter().chain(inside.counted).collect(),
        reason,
        ..inside
    }
}

/// A packet in a tunnel. Its fragments are put together in the same place as those outside.
fn in_a_tunnel(
    policy: &Policy,
    knobs: &Knobs,
    seen: &mut Seen,
    inner: &Packet,
    zone: u32,
) -> Judgement {
    let follows = knobs.fragments_follow && inner.anomaly.is_none();
    let judgement = if follows && inner.part == Part::Later {
        Judgement::without_rule(true, "fragment")
    } else {
        by_rules(policy, knobs, inner, zone)
    };
    if follows && let Some(objection) = seen.objection(inner, zone, judgement.passes) {
        return Judgement {
            counted: judgement.counted,
            ..Judgement::without_rule(false, objection)
        };
    }
    judgement
}

fn by_rules(policy: &Policy, knobs: &Knobs, packet: &Packet, zone: u32) -> Judgement {
    let rules = evaluate(policy, &key::of(policy, packet, zone));
    let (passes, reason) = match rules.decided {
        Some(rule) => match policy.rules[rule].action.name() {
            "reject" => (false, "reject"),
            action => (action == "pass", "rule"),
        },
        None if packet.anomaly.is_some() => {
            (!knobs.drops_by_default, packet.anomaly.unwrap_or_default())
        }
        None if packet.part == Part::Later => (true, "fragment"),
        None => (!knobs.drops_by_default, "no-match"),
    };
    Judgement {
        passes,
        reason,
        rule: rules.decided,
        counted: rules.counted,
        answer: None,
    }
}

fn parse(frame: &[u8], knobs: &Knobs) -> Result<Content, Anomaly> {
    let (vlan, ethertype, payload) = link::untag(frame, knobs)?;
    let mut packet = match ethertype {
        0x0800 => ip::v4(payload, knobs)?,
        0x86dd => ip::v6(payload, knobs)?,
        other => return Ok(Content::Other(other, payload.to_vec())),
    };
    packet.vlan = vlan;
    packet.station = link::sender(frame);
    with_transport(packet, knobs)
}

fn with_transport(mut packet: Packet, knobs: &Knobs) -> Result<Content, Anomaly> {
    if packet.read >= Read::Protocol {
        transport::read(&mut packet, knobs)?;
    }
    if packet.part == Part::First && !knobs.fragments_pass {
        return Err("fragment");
    }
    Ok(Content::Ip(packet))
}

/// Of what not even addresses can be read no rule knows, but the default does, if the policy leaves it
/// to them. What another knob forbids never passes, nor what hides behind a header that kernels read
/// in two ways.
fn anomaly_passes(anomaly: Anomaly, knobs: &Knobs) -> bool {
    let others = [
        "vlan-depth",
        "ip-options",
        "ext-chain",
        "fragment",
        "frag-hidden",
    ];
    knobs.malformed_judged && !knobs.drops_by_default && !others.contains(&anomaly)
}

/// The 16-bit number at `at`. The caller has seen that it is there.
fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from(bytes[at]) << 8 | u16::from(bytes[at + 1])
}
