//! The policy language as a JSON Schema (draft 2020-12), for editors: completion, and an explanation
//! of each key.
//!
//! Which keys there are comes from the tables by which the reader refuses all others; here stands
//! what a key means and what shape its value has. A test fails if a key is missing here. A schema
//! sees shapes only: `firewall-ctl check` says the rest.

use crate::fields::{self, Form, Row};
use crate::rule::Mode;
use crate::{validate, vocabulary};
use serde_json::{Map, Value, json};

/// Where the schema is found on the web and in packages.
const ID: &str = "https://firewall.example/schema/v1.json";

/// The schema of policy version 1.
#[must_use]
pub fn schema() -> Value {
    let mut definitions = Map::new();
    for keys in validate::key_tables() {
        definitions.insert(definition(keys.of).to_owned(), table(keys.of, keys.known));
    }
    let mut root = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": ID,
        "title": "firewall policy, version 1",
    });
    if let Some(object) = root.as_object_mut() {
        let whole = json!([{"$ref": "#/$defs/policy"}, {"$ref": "#/$defs/file"}]);
        object.insert("anyOf".into(), whole);
        object.insert("$defs".into(), Value::Object(definitions));
    }
    root
}

/// The name of a table among the schema's definitions, from its name in messages.
fn definition(of: &str) -> &str {
    if of == validate::FILE.of {
        return "file";
    }
    let bare = of.trim_matches('`');
    ["the ", "a ", "an "]
        .iter()
        .find_map(|article| bare.strip_prefix(article))
        .unwrap_or(bare)
}

/// A file of a directory has keys of the policy.
fn section(of: &str) -> &str {
    if of == validate::FILE.of {
        return "the policy";
    }
    of
}

fn table(of: &str, known: &[&str]) -> Value {
    let properties: Map<String, Value> = known
        .iter()
        .map(|&key| {
            let row = field(of, key);
            let value = row.map_or_else(|| shape(of, key), |row| Some(shape_of_field(row)));
            let words = row.map_or_else(
                || meaning(of, key).map(Into::into),
                |row| Some(sentence(row)),
            );
            let mut value = value.unwrap_or_else(|| json!({}));
            if let (Some(object), Some(words)) = (value.as_object_mut(), words) {
                object.insert("description".into(), json!(words));
            }
            (key.to_owned(), value)
        })
        .collect();
    let mut table = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    });
    if let (Some(object), false) = (table.as_object_mut(), required(of).is_empty()) {
        object.insert("required".into(), json!(required(of)));
    }
    table
}

fn required(of: &str) -> &'static [&'static str] {
    match of {
        "the policy" => &["version", "default"],
        "a file of `rules.d`" => &["version"],
        "an interface" => &["match"],
        "`default`" => &["in"],
        "a set" => &["type"],
        "a rule" => &["name", "action"],
        "a test" => &["name", "packet", "expect"],
        _ => &[],
    }
}

/// The match field that a key of a rule is about.
fn field(of: &str, key: &str) -> Option<&'static Row> {
    fields::by_key(key).filter(|_| of == "a rule")
}

/// What a match field means, as a sentence without marks of Markdown.
fn sentence(row: &Row) -> String {
    let mut text = row.meaning.replace('`', "");
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text + "."
}

/// The shape of a match field's values.
fn shape_of_field(row: &Row) -> Value {
    let (first, last) = row.range;
    match row.form {
        Form::Numbers(names) => one_or_more(&number(first, last, names)),
        Form::Ports => one_or_more(&number(first, last, &[])),
        Form::Icmp => one_or_more(&json!({"$ref": "#/$defs/icmp"})),
        Form::Flags => json!({"$ref": "#/$defs/flags"}),
        Form::Words(words) => {
            let words: Vec<&str> = words.iter().map(|&(word, _)| word).collect();
            one_or_more(&json!({"enum": words}))
        }
        Form::Zones => one_or_more(&json!({"type": "string", "pattern": "^!?[a-z0-9-]{1,63}$"})),
        Form::Macs => one_or_more(&json!({
            "type": "string",
            "pattern": "^[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}$",
        })),
        Form::Addresses => one_or_more(&json!({"type": "string", "minLength": 1})),
    }
}

/// What a key means, in the words of docs/policy.md; those of match fields stand in their rows.
fn meaning(of: &str, key: &str) -> Option<&'static str> {
    Some(match (section(of), key) {
        ("the policy", "version") => "Version of the policy language: 1.",
        ("the policy", "mode") => {
            "enforce; or audit: nothing is dropped, packets that would be are counted."
        }
        ("the policy", "interfaces") => {
            "Which interfaces the policy is for, how to attach, and their zones. Without it, interfaces are named on the command line."
        }
        ("the policy", "default") | ("`default`", "in") => {
            "The verdict for packets that no rule decides."
        }
        ("the policy", "packet") => "What to do with malformed and unusual packets.",
        ("the policy", "state") => "The size of the flow table.",
        ("the policy", "sets") => "Named lists of addresses and ports; rules name them as @name.",
        ("the policy", "exempt") => "Addresses, prefixes and sets that cannot be banned.",
        ("the policy", "rules") => "The rules, in order: the first one that matches decides.",
        ("the policy", "tests") => {
            "Packets and their expected verdicts. A policy whose tests fail is refused."
        }
        ("an interface", "match") => {
            "A name, a pattern (* and ?), `default-route`, or a list of them."
        }
        ("an interface", "mode") => {
            "How to attach: `native` in the driver, `generic` in the network stack, `auto` the better of the two."
        }
        ("an interface", "zone") => "A name that rules can match: `zone: wan`.",
        ("`default`", "essential") => {
            "Traffic that a host needs to stay on the network, passed under a default of drop. true, false, or each group by name."
        }
        ("`essential`", "arp") => "ARP for IPv4 over Ethernet.",
        ("`essential`", "neighbour") => {
            "IPv6 neighbour discovery and router advertisements with hop limit 255."
        }
        ("`essential`", "multicast") => "IPv6 multicast listener discovery.",
        ("`essential`", "icmp_error") => {
            "ICMP errors (unreachable, too big, time exceeded, parameter problem) about a sent packet."
        }
        ("`essential`", "dhcp") => {
            "Answers of a DHCP or DHCPv6 server to a request sent on this interface."
        }
        ("`essential`", "link") => {
            "Frames that keep the link up: 802.1X, Slow Protocols (LACP), LLDP, spanning tree."
        }
        ("`essential`", "igmp") => "IPv4 group membership (IGMP) with TTL 1 and router alert.",
        ("`packet`", "malformed") => {
            "Frames that violate a protocol: drop all; rules: bans apply, then rules that use only parsed fields, then the default."
        }
        ("`packet`", "fragments") => {
            "drop all; pass: rules see later fragments without ports; follow-first: later fragments get the verdict of their first."
        }
        ("`packet`", "ip_options") => "IPv4 packets with options: drop, or pass on to the rules.",
        ("`packet`", "ipv6_ext_max") => "IPv6 extension headers that are allowed, 0 to 16.",
        ("`packet`", "vlan_depth") => "VLAN tags that are allowed, 0 to 8.",
        ("`packet`", "tunnels") => {
            "outer: rules see the outer headers; inner: packets that pass are also filtered by their inner headers."
        }
        ("`state`", "flows") => {
            "Minimum capacity of the flow table: forwarded TCP, UDP and echo. Half of it is for TCP."
        }
        ("a set", "type") => "cidr: addresses, prefixes and ranges of both families; port: ports.",
        ("a set", "elements") => "The entries.",
        ("a set", "file") => "A file of entries, one a line, relative to the policy's folder.",
        ("a set", "max") => "How many entries the set may have.",
        ("a set", "live") => {
            "true: commands can change the set while the policy is active (firewall-ctl set)."
        }
        ("a set", "timeout") => "Lifetime of live set entries added without a time: 1h.",
        ("a rule", "name") => "1 to 63 of a-z, 0-9 and -; unique. Counters and listings go by it.",
        ("a rule", "action") => {
            "pass, drop, reject: drop and tell the sender, or next: count and continue with the next rule."
        }
        ("a rule", "ethertype") => {
            "Frames that are not IP, by EtherType: a word (eapol, slow, lldp, stp, ptp, pppoe-session), a number (0x88cc), or any. Such a rule may also name zone, vlan and mac."
        }
        ("a rule", "enabled") => "false: the rule is listed and matches nothing.",
        ("a rule", "comment") => "Free text.",
        ("a rule", "owner") => "The person or team responsible for the rule: free text.",
        ("a rule", "reason") => "Why the rule is there: free text.",
        ("a rule", "expires") => {
            "When the rule stops matching: a date (00:00 UTC), or a time with its time zone."
        }
        ("a rule", "mode") => {
            "enforce; or audit: the rule counts packets that it would decide, and evaluation continues with the next rule."
        }
        ("a rule", "options") => {
            "Options of the IPv4 header, or extension headers of IPv6, one of which the packet has."
        }
        ("a rule", "payload") => {
            "Up to 16 bytes at an offset of what follows the header of TCP or UDP; needs proto: tcp or udp."
        }
        ("`payload`", "offset") => {
            "Where the bytes begin, from the start of the payload; 0 if left out."
        }
        ("`payload`", "bytes") => "The bytes in hexadecimal, ?? for any byte: ff ff ?? 54.",
        ("`payload`", "text") => "In place of bytes: the text that stands there.",
        ("a rule", "limit") => {
            "The rate up to which the action applies; packets over it are dropped, or treated as `over` says."
        }
        ("a rule", "over") => "The action for packets over the limit: drop, reject, or next.",
        ("a rule", "syn_protect") => {
            "auto: while the queue of a listening socket is full, the program answers SYNs with cookies."
        }
        ("a rule", "log") => "Log matching packets up to this rate: 10/s. See `observe`.",
        ("`default`", "log") => {
            "How many of the packets that no rule matches are written to the log, at most: 5/s."
        }
        ("a rule", "ban") => "How long a source over the limit is banned: 10m.",
        ("`limit`", "rate") => {
            "Packets by time: 200/s, 500k/s, 6/30s, 10/m; or bytes: 10Mbit/s, 1MB/s, 64KiB/s."
        }
        ("`limit`", "new") => "As `rate`, for packets that open a connection only.",
        ("`limit`", "burst") => "How many packets, or bytes (64KiB), may come at once.",
        ("`limit`", "per") => {
            "What has a rate of its own: source, source/24, destination, interface, rule."
        }
        ("`flags`", "set") => "Flags that must be set.",
        ("`flags`", "clear") => "Flags that must be clear.",
        ("`icmp`", "type") => "Type: a name such as echo-request, or its number.",
        ("`icmp`", "code") => {
            "Code: a name such as port-unreachable, or its number. Without it, every code."
        }
        ("a test", "name") => "What the test is called.",
        ("a test", "packet") => "A packet as text: tcp 203.0.113.9:5000 > 198.51.100.80:22 syn.",
        ("a test", "expect") => "What must become of it.",
        ("a test", "by") => "The rule, reason or default that must decide.",
        _ => return None,
    })
}

/// The shape of a key's value; that of match fields comes from their rows.
#[expect(
    clippy::match_same_arms,
    reason = "a row for each key, in the order of the documents"
)]
fn shape(of: &str, key: &str) -> Option<Value> {
    let reference = |name: &str| json!({"$ref": format!("#/$defs/{name}")});
    let list = |name: &str| json!({"type": "array", "items": {"$ref": format!("#/$defs/{name}")}});
    let verdict = || json!({"enum": ["pass", "drop"]});
    let text = || json!({"type": "string", "minLength": 1});
    Some(match (section(of), key) {
        ("the policy", "version") => json!({"const": 1}),
        ("the policy", "interfaces") => list("interface"),
        ("the policy", "rules") => list("rule"),
        ("the policy", "tests") => list("test"),
        ("the policy", "sets") => json!({
            "type": "object",
            "propertyNames": {"pattern": NAME},
            "additionalProperties": {"$ref": "#/$defs/set"},
        }),
        ("the policy", "default" | "packet" | "state") => reference(key),
        ("an interface", "match") => one_or_more(&text()),
        ("an interface", "mode") => json!({"enum": Mode::ALL.map(Mode::name)}),
        ("an interface", "zone") => json!({"type": "string", "pattern": NAME}),
        ("`default`", "in") => verdict(),
        ("`default`", "essential") => {
            json!({"anyOf": [{"type": "boolean"}, {"$ref": "#/$defs/essential"}]})
        }
        ("`essential`", _) => json!({"type": "boolean"}),
        ("`packet`", "malformed") => json!({"enum": ["drop", "rules"]}),
        ("`packet`", "ip_options") => verdict(),
        ("`packet`", "fragments") => json!({"enum": ["drop", "pass", "follow-first"]}),
        ("`packet`", "ipv6_ext_max") => json!({"type": "integer", "minimum": 0, "maximum": 16}),
        ("`packet`", "vlan_depth") => json!({"type": "integer", "minimum": 0, "maximum": 8}),
        ("`packet`", "tunnels") => json!({"enum": ["outer", "inner"]}),
        ("`state`", "flows") => {
            let (fewest, most) = validate::FLOWS;
            json!({"type": "integer", "minimum": fewest, "maximum": most})
        }
        ("a set", "type") => json!({"enum": ["cidr", "port"]}),
        ("a set", "elements") => json!({
            "type": "array",
            "items": {"anyOf": [text(), {"type": "integer", "minimum": 1, "maximum": 65_535}]},
        }),
        ("a set", "live") => json!({"type": "boolean"}),
        ("a set", "timeout") | ("a rule", "ban") => {
            json!({"type": "string", "pattern": "^[0-9]+[smhd]$"})
        }
        ("a set", "max") => json!({"type": "integer", "minimum": 1, "maximum": 10_000_000}),
        ("a rule" | "a test", "name") => json!({"type": "string", "pattern": NAME}),
        ("a rule", "action") => json!({"enum": ["pass", "drop", "reject", "next"]}),
        ("the policy", "exempt") => one_or_more(&text()),
        ("a rule", "ethertype") => one_or_more(&json!({"anyOf": [
            {"type": "string", "pattern": "^!?[0-9A-Za-z-]+$"},
            {"type": "integer", "minimum": 0, "maximum": 65_535},
        ]})),
        ("a rule", "options") => {
            let names: Vec<&str> = vocabulary::OPTIONS.iter().map(|&(name, _)| name).collect();
            one_or_more(&json!({"enum": names}))
        }
        ("a rule", "payload") => reference("payload"),
        ("`payload`", "offset") => {
            json!({"type": "integer", "minimum": 0, "maximum": crate::content::LAST_OFFSET})
        }
        ("`payload`", "bytes") => json!({"anyOf": [
            {"type": "string", "pattern": "^(0x)?( *([0-9a-fA-F]{2}|[?]{2}))+ *$"},
            {"type": "integer", "minimum": 0},
        ]}),
        ("`payload`", "text") => text(),
        ("a rule", "limit") => reference("limit"),
        ("a rule", "over") => json!({"enum": ["drop", "reject", "next"]}),
        ("a rule", "syn_protect") => json!({"enum": ["auto", "off"]}),
        ("`limit`", "rate") => json!({
            "type": "string",
            "pattern": "^[0-9]+([kM]|[kMGmg]?bit|[kMG]?B|[KMG]iB)?/[0-9]*[smhd]$",
        }),
        ("`limit`", "new") | ("a rule" | "`default`", "log") => {
            json!({"type": "string", "pattern": "^[0-9]+[kM]?/[0-9]*[smhd]$"})
        }
        ("`limit`", "burst") => number(1, u32::MAX, &[]),
        ("`limit`", "per") => json!({
            "type": "string",
            "pattern": "^(rule|interface|(source|destination)(/[0-9]{1,3}){0,2})$",
        }),
        ("a rule", "enabled") => json!({"type": "boolean"}),
        ("the policy" | "a rule", "mode") => json!({"enum": ["enforce", "audit"]}),
        ("`flags`", _) => {
            let names: Vec<&str> = vocabulary::FLAGS.iter().map(|&(name, _)| name).collect();
            one_or_more(&json!({"enum": names}))
        }
        ("`icmp`", _) => one_or_more(&number(0, 255, &[])),
        ("a test", "expect") => json!({"enum": ["pass", "drop", "reject"]}),
        ("a set", "file")
        | ("a rule", "comment" | "owner" | "reason" | "expires")
        | ("a test", "packet" | "by") => text(),
        _ => return None,
    })
}

/// What rules, sets and zones may be called.
const NAME: &str = "^[a-z0-9-]{1,63}$";

/// A value or a list of them.
fn one_or_more(one: &Value) -> Value {
    json!({"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]})
}

/// A number, or text for a range, a name or a set. Names that the language has are suggested.
fn number(first: u32, last: u32, names: &[(&str, u32)]) -> Value {
    let mut text = json!({"type": "string", "minLength": 1});
    if let (Some(object), false) = (text.as_object_mut(), names.is_empty()) {
        let names: Vec<&str> = names.iter().map(|&(name, _)| name).collect();
        object.insert("examples".into(), json!(names));
    }
    json!({"anyOf": [{"type": "integer", "minimum": first, "maximum": last}, text]})
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key that the reader knows has a meaning and a shape here, and no other key has.
    #[test]
    fn the_schema_knows_the_keys_that_the_reader_knows() {
        for keys in validate::key_tables() {
            for key in keys.known {
                // A key is a match field or something else, never both.
                let of_field = field(keys.of, key).is_some();
                let (meaning, shape) = (meaning(keys.of, key), shape(keys.of, key));
                assert!(meaning.is_some() != of_field, "{}: {key}: meaning", keys.of);
                assert!(shape.is_some() != of_field, "{}: {key}: shape", keys.of);
            }
            for key in required(keys.of) {
                assert!(keys.known.contains(key), "{}: {key}", keys.of);
            }
            for key in keys.reserved {
                assert!(meaning(keys.of, key).is_none(), "{}: {key}", keys.of);
            }
        }
    }
}
