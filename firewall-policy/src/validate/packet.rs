//! `default:` and `packet:`: the verdict on packets that no rule decides.

use super::log;
use super::shape::{Cx, Keys, Table, boolean, integer, word};
use crate::ast::{Node, Span, Value};
use crate::diag::codes;
use crate::limit::Rate;
use crate::rule::Rule;
use crate::vocabulary;
use firewall_common::abi::{PacketConfig, essential_bit, fragments, malformed, tunnels};
use firewall_common::field::Field;
use firewall_common::parse::{ethertype, proto};
use firewall_common::verdict::{Action, Verdict};

const VERDICTS: &[(&str, Verdict)] = &[("pass", Verdict::PASS), ("drop", Verdict::DROP)];

pub(super) const DEFAULT: Keys = Keys {
    of: "`default`",
    known: &["in", "essential", "log"],
    reserved: &[],
};

pub(super) const ESSENTIAL_KEYS: Keys = Keys {
    of: "`essential`",
    known: &[
        "arp",
        "neighbour",
        "multicast",
        "icmp_error",
        "dhcp",
        "link",
        "igmp",
    ],
    reserved: &[],
};

pub(super) const PACKET: Keys = Keys {
    of: "`packet`",
    known: &[
        "malformed",
        "fragments",
        "ip_options",
        "ipv6_ext_max",
        "vlan_depth",
        "tunnels",
    ],
    reserved: &[],
};

/// The default verdict and the essential group.
#[derive(Clone, Copy)]
pub(super) struct Default {
    pub(super) verdict: Verdict,
    /// Bits of [`essential_bit`].
    pub(super) essential: u32,
    pub(super) log: Option<Rate>,
    /// Where it says something of the essential group.
    named: Option<Span>,
}

/// Reads `default: drop` or `default: {in: drop, essential: ..., log: 5/s}`.
pub(super) fn default(cx: &mut Cx<'_>, node: &Node<'_>) -> Option<Default> {
    let of_verdict = |verdict| {
        if verdict == Verdict::DROP {
            essential_bit::ALL
        } else {
            0
        }
    };
    if node.scalar().is_some() {
        let verdict = word(cx, node, "default", VERDICTS, &["reject"])?;
        return Some(Default {
            verdict,
            essential: of_verdict(verdict),
            log: None,
            named: None,
        });
    }
    let table = Table::read(cx, node, &DEFAULT)?;
    let verdict = table
        .require(cx, "in", "`in: drop` or `in: pass`")
        .and_then(|node| word(cx, node, "default", VERDICTS, &["reject"]));
    let essential = match table.get("essential") {
        None => Some(of_verdict(verdict.unwrap_or(Verdict::DROP))),
        Some(node) if matches!(node.value, Value::Map(_)) => {
            essential(cx, node, of_verdict(verdict.unwrap_or(Verdict::DROP)))
        }
        Some(node) => {
            boolean(cx, node, "essential").map(|on| if on { essential_bit::ALL } else { 0 })
        }
    };
    let log = log::read(cx, &table);
    let (verdict, essential, log) = (verdict?, essential?, log.ok()?);
    Some(Default {
        verdict,
        essential,
        log,
        named: table.entry("essential").map(|(span, _)| span),
    })
}

/// Warns of what finds neighbours, where it is not essential under a default of drop and no rule passes
/// it.
pub(super) fn warn_of_lost(cx: &mut Cx<'_>, default: &Default, rules: &[Rule]) {
    let Some(span) = default.named.filter(|_| default.verdict == Verdict::DROP) else {
        return;
    };
    let passes = |what: &dyn Fn(&Rule) -> bool| {
        let mut passing = rules
            .iter()
            .filter(|r| r.enabled && r.action == Action::PASS);
        passing.any(what)
    };
    let arp = |rule: &Rule| {
        let types = rule.matches.ethertypes.as_ref();
        types.is_some_and(|types| types.contains(ethertype::ARP))
    };
    let neighbour = |rule: &Rule| {
        let (proto, icmp) = (
            rule.matches.field(Field::Proto),
            rule.matches.field(Field::Icmp),
        );
        let asks_and_answers = [135 << 8, 136 << 8].map(|message| icmp.contains(message));
        !rule.matches.src.v6.is_empty()
            && proto.contains(proto::ICMPV6)
            && asks_and_answers == [true; 2]
    };
    let is_lost = |bit: u32, passes: bool| default.essential & bit == 0 && !passes;
    let arp = is_lost(essential_bit::ARP, passes(&arp));
    let neighbour = is_lost(essential_bit::NEIGHBOUR, passes(&neighbour));
    let (lost, help) = match (arp, neighbour) {
        (false, false) => return,
        (true, false) => ("ARP", HELP_ARP.to_owned()),
        (false, true) => ("neighbour discovery", HELP_NEIGHBOUR.to_owned()),
        (true, true) => (
            "ARP and neighbour discovery",
            format!("{HELP_ARP}; {HELP_NEIGHBOUR}"),
        ),
    };
    cx.sink
        .warning(&codes::ESSENTIAL_OFF, span, format!("{lost} will be dropped"))
        .help(format!(
            "the host loses its neighbours within a minute. Leave it on, or pass it by a rule: {help}"
        ));
}

const HELP_ARP: &str = "`{name: arp, ethertype: arp, action: pass}`";

const HELP_NEIGHBOUR: &str = "`{name: nd, proto: icmpv6, icmp: {type: [router-advertisement, \
                              neighbour-solicitation, neighbour-advertisement]}, action: pass}`";

fn essential(cx: &mut Cx<'_>, node: &Node<'_>, start: u32) -> Option<u32> {
    let table = Table::read(cx, node, &ESSENTIAL_KEYS)?;
    let mut bits = Some(start);
    for &(name, bit) in vocabulary::ESSENTIAL {
        let Some(node) = table.get(name) else {
            continue;
        };
        let on = boolean(cx, node, name);
        bits = bits
            .zip(on)
            .map(|(bits, on)| if on { bits | bit } else { bits & !bit });
    }
    bits
}

/// Reads `malformed:`. `pass`, which went past bans and rules, is a word of old for `rules`.
fn malformed(cx: &mut Cx<'_>, node: &Node<'_>) -> Option<u32> {
    const WORDS: &[(&str, u32)] = &[("drop", malformed::DROP), ("rules", malformed::RULES)];
    if node.scalar() == Some("pass") {
        cx.sink
            .warning(
                &codes::MALFORMED_PASS,
                node.span,
                "`malformed: pass` is read as `malformed: rules`",
            )
            .help("write `rules`: bans apply, then rules that use only parsed fields, then the default");
        return Some(malformed::RULES);
    }
    word(cx, node, "malformed", WORDS, &[])
}

/// Reads `packet:`. `drops` is whether the policy's default is drop, on which defaults depend.
pub(super) fn knobs(cx: &mut Cx<'_>, node: Option<&Node<'_>>, drops: bool) -> PacketConfig {
    let mut config = PacketConfig {
        malformed: malformed::DROP,
        fragments: if drops {
            fragments::DROP
        } else {
            fragments::PASS
        },
        drop_ip_options: u32::from(drops),
        vlan_depth: 4,
        ipv6_ext_max: 8,
        tunnels: tunnels::OUTER,
    };
    let Some(node) = node else { return config };
    let Some(table) = Table::read(cx, node, &PACKET) else {
        return config;
    };
    if let Some(node) = table.get("malformed")
        && let Some(choice) = malformed(cx, node)
    {
        config.malformed = choice;
    }
    if let Some(node) = table.get("fragments") {
        let words = [
            ("drop", fragments::DROP),
            ("pass", fragments::PASS),
            ("follow-first", fragments::FOLLOW_FIRST),
        ];
        if let Some(choice) = word(cx, node, "fragments", &words, &[]) {
            config.fragments = choice;
        }
    }
    if let Some(node) = table.get("ip_options")
        && let Some(verdict) = word(cx, node, "ip_options", VERDICTS, &[])
    {
        config.drop_ip_options = u32::from(verdict == Verdict::DROP);
    }
    if let Some(node) = table.get("ipv6_ext_max")
        && let Some(number) = integer(cx, node, "ipv6_ext_max", 0, 16)
    {
        config.ipv6_ext_max = number as u32;
    }
    if let Some(node) = table.get("vlan_depth")
        && let Some(number) = integer(cx, node, "vlan_depth", 0, 8)
    {
        config.vlan_depth = number as u32;
    }
    if let Some(node) = table.get("tunnels") {
        let words = [("outer", tunnels::OUTER), ("inner", tunnels::INNER)];
        if let Some(choice) = word(cx, node, "tunnels", &words, &[]) {
            config.tunnels = choice;
        }
    }
    config
}
