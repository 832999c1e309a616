//! Policies that make every knob and every match field matter.

use super::Case;
use crate::evasion::{POLICY_A, POLICY_B};
use crate::policies::parse;
use anyhow::Result;

/// Rules that look at every field, so that a field read wrongly changes what decides.
const FIELDS: &str = "\
rules:
  - {name: seen, proto: [tcp, udp], port: [22, 80], action: next}
  - {name: tag, vlan: 100, dscp: 0, action: drop}
  - {name: low, ttl: 0-63, proto: tcp, action: next}
  - {name: near, from: [192.0.2.0/24, 2001:db8::/64], to: [198.51.100.80, '2001:db8::2'], length: 0-99, action: next}
  - {name: first, fragment: first, action: next}
  - {name: later, fragment: later, from: 192.0.2.0/24, action: drop}
  - {name: echo, proto: icmp, icmp: {type: echo-request}, action: pass}
  - {name: solicit, proto: icmpv6, icmp: {type: neighbour-solicitation}, action: next}
  - {name: back, proto: [tcp, udp, sctp], source_port: [53, 443, 40000], port: 1024-65535, action: pass}
  - {name: syn, proto: tcp, flags: {set: [syn], clear: [ack]}, port: 80, action: pass}
  - {name: acks, proto: tcp, flags: {set: [ack]}, action: pass}
  - {name: tunnel, proto: [gre, 4, 41], action: drop}
";

/// Rules about frames that are not IP, and about stations.
const LINK: &str = "\
rules:
  - {name: seen, ethertype: any, action: next}
  - {name: tagged, ethertype: '!lldp', vlan: 100, action: drop}
  - {name: named, ethertype: [0x8800-0x88ff, stp], mac: [02:00:00:00:00:05, 02:00:00:00:00:01], action: pass}
  - {name: station, mac: 02:00:00:00:00:05, proto: tcp, action: next}
  - {name: stations, mac: [02:00:00:00:00:07, 02:00:00:00:00:05], action: drop}
  - {name: llc, ethertype: 0x00-0xff, action: pass}
  - {name: one, mac: 02:00:00:00:00:01, proto: udp, action: drop}
";

/// Rules about payloads and options: alone and beside each other, at several offsets, of all lengths.
const CONTENTS: &str = "\
rules:
  - {name: any, options: any, action: next}
  - {name: alert, options: router-alert, action: next}
  - {name: routed, options: source-route, action: next}
  - {name: stamps, options: [record-route, timestamp], action: next}
  - {name: hops, options: hop-by-hop, action: next}
  - {name: parts, options: [fragment, ah], action: next}
  - {name: both, options: [destination, routing], proto: tcp, payload: {bytes: '??00'}, action: next}
  - {name: byte, proto: [tcp, udp], payload: {bytes: '00'}, action: next}
  - {name: two, proto: udp, payload: {offset: 1, bytes: '00 00'}, action: next}
  - {name: long, proto: [tcp, udp], payload: {offset: 3, bytes: '00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00'}, action: next}
  - {name: far, proto: [tcp, udp], payload: {offset: 40, bytes: '?? ?? 00'}, action: next}
  - {name: text, proto: udp, payload: {text: hello}, action: pass}
  - {name: odd, proto: [tcp, udp], payload: {offset: 2, bytes: '00 ?? 00'}, port: 1-1023, action: drop}
  - {name: rest, proto: tcp, action: pass}
";

/// A and B of the packet contract; then everything that `packet:` and `essential:` can say, over
/// rules that look at every field.
///
/// # Errors
/// A policy here that does not read.
pub fn policies() -> Result<Vec<Case>> {
    let mut cases = vec![
        Case::new("A", parse(POLICY_A)?)?,
        Case::new("B", parse(POLICY_B)?)?,
    ];
    let variants = [
        ("drop", "{}"),
        ("pass", "{}"),
        ("drop", "{fragments: pass, ip_options: pass}"),
        (
            "drop",
            "{malformed: rules, fragments: pass, ip_options: pass}",
        ),
        (
            "pass",
            "{malformed: rules, fragments: drop, ip_options: drop}",
        ),
        ("pass", "{vlan_depth: 0, ipv6_ext_max: 0, ip_options: pass}"),
        (
            "drop",
            "{vlan_depth: 1, ipv6_ext_max: 1, fragments: pass, malformed: rules}",
        ),
        ("pass", "{vlan_depth: 8, ipv6_ext_max: 16}"),
        ("drop", "{tunnels: inner}"),
        (
            "pass",
            "{tunnels: inner, malformed: rules, fragments: pass, ip_options: pass}",
        ),
        ("drop", "{fragments: follow-first}"),
        ("pass", "{fragments: follow-first, malformed: rules}"),
    ];
    for (default, packet) in variants {
        let mut text =
            format!("version: 1\ndefault: {{in: {default}}}\npacket: {packet}\n{FIELDS}");
        if packet.contains("tunnels: inner") {
            text = text.replace("[gre, 4, 41], action: drop", "[gre, 4, 41], action: pass");
        }
        cases.push(Case::new(format!("{default} {packet}"), parse(&text)?)?);
    }
    for (default, packet) in [
        ("{in: drop}", "{tunnels: inner, fragments: pass}"),
        ("{in: pass}", "{malformed: rules}"),
        ("{in: drop, essential: false}", "{vlan_depth: 8}"),
    ] {
        let text = format!("version: 1\ndefault: {default}\npacket: {packet}\n{LINK}");
        cases.push(Case::new(format!("link {default}"), parse(&text)?)?);
    }
    for packet in [
        "{ip_options: pass, fragments: pass, malformed: rules}",
        "{ip_options: pass, tunnels: inner, malformed: rules}",
    ] {
        let mut text = format!("version: 1\ndefault: {{in: drop}}\npacket: {packet}\n{CONTENTS}");
        if packet.contains("tunnels: inner") {
            text.push_str("  - {name: tunnels, proto: [gre, 4, 41], action: pass}\n");
        }
        cases.push(Case::new(format!("contents {packet}"), parse(&text)?)?);
    }
    // Nothing is dropped, for whatever reason; and a rule that only counts, before one that drops.
    for knobs in [
        "{ip_options: drop}",
        "{tunnels: inner, fragments: follow-first}",
    ] {
        let text = format!(
            "version: 1\nmode: audit\ndefault: {{in: drop}}\npacket: {knobs}\nrules:\n\
             - {{name: counts, proto: tcp, mode: audit, action: drop}}\n\
             - {{name: drops, proto: [tcp, udp], port: 1-1023, action: drop}}\n\
             - {{name: passes, proto: [gre, 4, 41, udp], action: pass}}\n"
        );
        cases.push(Case::new(format!("audit {knobs}"), parse(&text)?)?);
    }
    for off in [
        "arp",
        "neighbour",
        "multicast",
        "icmp_error",
        "dhcp",
        "link",
        "igmp",
    ] {
        let text = format!(
            "version: 1\ndefault: {{in: drop, essential: {{{off}: false}}}}\n\
             packet: {{fragments: pass}}\nrules: []\n"
        );
        cases.push(Case::new(format!("without {off}"), parse(&text)?)?);
    }
    for packet in [
        "{malformed: rules, fragments: pass, ip_options: pass}",
        "{tunnels: inner, fragments: follow-first}",
    ] {
        let text = format!(
            "version: 1\ndefault: {{in: drop, essential: false}}\npacket: {packet}\nrules:\n  \
             - {{name: tunnels, proto: [gre, 4, 41], action: pass}}\n  \
             - {{name: all, action: reject}}\n"
        );
        let mut case = Case::new(format!("reject {packet}"), parse(&text)?)?;
        case.tables = case.tables.without_limits();
        cases.push(case);
    }
    Ok(cases)
}
