//! What people write who come from another program: its keys, and its words for "any", ports and rates.
//! Each is answered with the line to write here; whole files are in [`files`].
//!
//! May not read a policy: text in, text out.

mod files;

pub(crate) use files::{file, object};

/// What a key of another program is here.
pub(super) struct Meant {
    /// The key of the same table that stands for it, if one does.
    pub(super) key: Option<&'static str>,
    /// The line to write; `{}` is the value.
    write: &'static str,
    /// The value where the text has none that could stand there.
    example: &'static str,
    /// Why.
    why: &'static str,
}

impl Meant {
    /// What to write for a value.
    pub(super) fn help(&self, value: Option<&str>) -> String {
        let value = value.map(|value| value.trim_start_matches('!'));
        let value = value.filter(|value| {
            !value.is_empty() && value.len() <= 60 && !value.contains(['\n', '{', '}', '\u{1b}'])
        });
        let value = crate::diag::show(word_here(value.unwrap_or(self.example)));
        let line = self.write.replace("{}", &value);
        match self.why {
            "" => format!("write {line}"),
            why => format!("{why}: write {line}"),
        }
    }
}

/// A verdict's word in this language.
fn word_here(word: &str) -> &str {
    match word.to_ascii_lowercase().as_str() {
        "accept" | "allow" | "permit" => "pass",
        "deny" | "block" | "discard" => "drop",
        _ => word,
    }
}

/// Names of a table, keys of other programs in it, what they are here.
type Row = (&'static str, &'static [&'static str], Meant);

const fn row(
    of: &'static str,
    keys: &'static [&'static str],
    key: Option<&'static str>,
    write: &'static str,
    example: &'static str,
    why: &'static str,
) -> Row {
    let meant = Meant {
        key,
        write,
        example,
        why,
    };
    (of, keys, meant)
}

const ONLY_INCOMING: &str = "only incoming packets are filtered, and outgoing ones all pass";

/// The keys. Those that are only spelt otherwise stand in `diag::suggest`.
static KEYS: &[Row] = &[
    row(
        "a rule",
        &[
            "interface",
            "interfaces",
            "iface",
            "iif",
            "iifname",
            "in_interface",
            "in-interface",
            "ingress",
            "dev",
            "device",
            "nic",
            "on",
        ],
        Some("zone"),
        "`interfaces: [{match: {}, zone: wan}]` once, and `zone: wan` in the rule",
        "eth0",
        "rules tell interfaces apart by zone",
    ),
    row(
        "a rule",
        &["oif", "oifname", "out_interface", "out-interface", "egress"],
        None,
        "`to: 192.0.2.0/24` with the addresses behind {}",
        "that interface",
        "packets are judged where they come in, before it is known where they leave",
    ),
    row(
        "a rule",
        &["direction", "in", "out", "hook"],
        None,
        "the rule without it",
        "",
        "all rules are for incoming packets",
    ),
    row(
        "a rule",
        &["tcp"],
        Some("proto"),
        "`proto: tcp, port: {}`",
        "443",
        "",
    ),
    row(
        "a rule",
        &["udp"],
        Some("proto"),
        "`proto: udp, port: {}`",
        "53",
        "",
    ),
    row(
        "a rule",
        &["service", "services", "app", "application"],
        Some("port"),
        "`proto: tcp, port: {}`",
        "ssh",
        "a service is a name for a port",
    ),
    row(
        "a rule",
        &["rate", "ratelimit", "rate_limit", "limits"],
        Some("limit"),
        "`limit: {rate: {}, per: source}`",
        "200/s",
        "",
    ),
    row(
        "a rule",
        &["new"],
        Some("limit"),
        "`limit: {new: {}, per: source}`",
        "6/30s",
        "",
    ),
    row(
        "a rule",
        &["burst"],
        Some("limit"),
        "`limit: {rate: 200/s, burst: {}}`",
        "400",
        "",
    ),
    row(
        "a rule",
        &["per"],
        Some("limit"),
        "`limit: {rate: 200/s, per: {}}`",
        "source",
        "",
    ),
    row(
        "a rule",
        &["type", "icmp_type", "icmptype"],
        Some("icmp"),
        "`icmp: {type: {}}`",
        "echo-request",
        "",
    ),
    row(
        "a rule",
        &["code", "icmp_code"],
        Some("icmp"),
        "`icmp: {code: {}}`",
        "port-unreachable",
        "",
    ),
    row(
        "a rule",
        &[
            "priority", "order", "position", "index", "weight", "id", "seq",
        ],
        None,
        "the rule where it belongs in the list",
        "",
        "the first rule that matches decides",
    ),
    row(
        "a rule",
        &["chain", "table", "jump", "goto"],
        None,
        "the rules one after another",
        "",
        "a policy has one list of rules and no chains",
    ),
    row(
        "a rule",
        &["family", "ip_version", "ipversion"],
        None,
        "`from: 0.0.0.0/0` or `from: \"::/0\"` where one family is meant",
        "",
        "a rule is for IPv4 and IPv6 alike",
    ),
    row(
        "a rule",
        &["ct", "ctstate", "conntrack", "ct_state"],
        Some("state"),
        "`state: {}`",
        "established",
        "",
    ),
    row(
        "`default`",
        &["out", "output", "outgoing", "outbound", "egress"],
        Some("in"),
        "`default: {in: drop}`",
        "",
        ONLY_INCOMING,
    ),
    row(
        "`default`",
        &["forward", "forwarded", "forwarding", "routed", "route"],
        Some("in"),
        "`default: {in: {}}`",
        "drop",
        "a packet to be forwarded comes in first, and `in` is for it, too",
    ),
    row(
        "`default`",
        &[
            "input", "incoming", "inbound", "ingress", "policy", "action",
        ],
        Some("in"),
        "`default: {in: {}}`",
        "drop",
        "",
    ),
    row(
        "the policy",
        &["interface", "iface", "device"],
        Some("interfaces"),
        "`interfaces: [{match: {}}]`",
        "eth0",
        "",
    ),
    row(
        "the policy",
        &[
            "input",
            "incoming",
            "in",
            "default_policy",
            "default-policy",
        ],
        Some("default"),
        "`default: {in: {}}`",
        "drop",
        "",
    ),
    row(
        "the policy",
        &["output", "outgoing", "out"],
        Some("default"),
        "`default: {in: drop}`",
        "",
        ONLY_INCOMING,
    ),
    row(
        "the policy",
        &["rule"],
        Some("rules"),
        "`rules: [{name: web, proto: tcp, port: 80, action: pass}]`",
        "",
        "",
    ),
    row(
        "the policy",
        &["chains", "tables", "table", "chain"],
        Some("rules"),
        "`rules:` and the rules one after another",
        "",
        "a policy has one list of rules and no chains",
    ),
    row(
        "an interface",
        &["name", "interface", "device", "iface", "dev"],
        Some("match"),
        "`match: {}`",
        "eth0",
        "",
    ),
    row(
        "`limit`",
        &["connections", "conn", "syn"],
        Some("new"),
        "`new: {}`",
        "6/30s",
        "",
    ),
    row(
        "`limit`",
        &["bytes", "bits", "bandwidth", "bps"],
        Some("rate"),
        "`rate: {}`",
        "10Mbit/s",
        "",
    ),
    row(
        "`limit`",
        &["by", "key", "track"],
        Some("per"),
        "`per: {}`",
        "source",
        "",
    ),
    row(
        "a set",
        &[
            "entries",
            "members",
            "addresses",
            "items",
            "values",
            "elems",
        ],
        Some("elements"),
        "`elements: [...]`",
        "",
        "",
    ),
];

/// Words for the way of a packet, which are no interfaces.
const WAYS: [&str; 10] = [
    "in", "out", "input", "output", "forward", "inbound", "outbound", "incoming", "outgoing",
    "both",
];

/// What a key of a table with this value is here.
pub(super) fn key(of: &str, text: &str, value: Option<&str>) -> Option<&'static Meant> {
    let lower = text.to_ascii_lowercase();
    let is_interface = value.is_some_and(|value| {
        !is_any(value) && !WAYS.contains(&value.to_ascii_lowercase().as_str())
    });
    let text = match (of, lower.as_str()) {
        ("a rule", "in") if is_interface => "iif",
        ("a rule", "out") if is_interface => "oif",
        (_, text) => text,
    };
    let mut rows = KEYS.iter();
    let (_, _, meant) = rows.find(|(table, keys, _)| *table == of && keys.contains(&text))?;
    Some(meant)
}

/// Whether a word means every value.
pub(super) fn is_any(word: &str) -> bool {
    matches!(
        word.to_ascii_lowercase().as_str(),
        "any" | "all" | "*" | "anywhere" | "both"
    )
}

/// A word of another program for a key that takes a few words: what to write.
pub(super) fn word(key: &str, text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let help = match (key, &*lower) {
        ("state", "untracked") => "nothing is exempt from tracking here: leave it out",
        ("state", _) if is_any(text) => "leave `state` out to match every state",
        ("state", "related,established" | "established,related") => {
            "write `state: [established, related]`; ICMP errors about a connection are established here"
        }
        ("action", "log") => "write `log: 10/s` beside an action: `log: 10/s, action: next`",
        ("action", "return" | "queue" | "nfqueue" | "jump" | "goto" | "count" | "counter") => {
            "write `action: next`, which counts the packet and goes on to the next rule"
        }
        ("action", "limit") => {
            "write `limit: {new: 6/30s, per: source}, action: pass`: what is over the limit is dropped"
        }
        ("action", "tarpit") => "write `action: drop`",
        ("over", "ban") => "write `ban: 10m` beside `limit`: a source over the limit is banned",
        ("per", "ip" | "src" | "srcip" | "host" | "client") => "write `per: source`",
        ("per", "global" | "total" | "all") => "write `per: rule`, or leave `per` out",
        _ => return None,
    };
    Some(help.to_owned())
}

/// Protocols that are joined in one word: `tcp/udp`, `tcp+udp`, `TCP|UDP`.
pub(super) fn joined_protocols(text: &str) -> Option<String> {
    let known = |word: &str| {
        let word = word.trim().to_ascii_lowercase();
        crate::vocabulary::number(crate::vocabulary::PROTOCOLS, &word).map(|_| word)
    };
    let words: Option<Vec<String>> = text
        .split(['/', ',', '+', '|', '&', ' '])
        .map(known)
        .collect();
    let words = words?;
    (words.len() > 1).then(|| format!("[{}]", words.join(", ")))
}

/// A port and its protocol in one word, as other programs write them: `80/tcp`, `tcp/80`, `tcp:80`.
pub(super) fn port_and_protocol(text: &str) -> Option<(&str, &'static str)> {
    let (a, b) = text.rsplit_once('/').or_else(|| text.split_once(':'))?;
    let proto = |word: &str| {
        let word = word.to_ascii_lowercase();
        ["tcp", "udp", "sctp"]
            .into_iter()
            .find(|known| *known == word)
    };
    let (port, proto) = match (proto(a), proto(b)) {
        (None, Some(proto)) => (a, proto),
        (Some(proto), None) => (b, proto),
        _ => return None,
    };
    (!port.is_empty()).then_some((port, proto))
}

/// A rate in other words: `6/minute`, `10/sec`, `5 per second`, `100pps`; `None` if there is none in it.
pub(super) fn rate(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let (count, time) = match text.split_once('/').or_else(|| text.split_once(" per ")) {
        Some(parts) => parts,
        None => match text.strip_suffix("pps").or_else(|| text.strip_suffix("/s")) {
            Some(count) => (count, "s"),
            None => (text.as_str(), "s"),
        },
    };
    let count = count.trim();
    let digits = count.strip_suffix(['k', 'm']).unwrap_or(count);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) || digits == "0" {
        return None;
    }
    let time = time.trim();
    let start = time
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(time.len());
    let unit = match time[start..].trim() {
        "s" | "sec" | "secs" | "second" | "seconds" | "" => "s",
        "m" | "min" | "mins" | "minute" | "minutes" => "m",
        "h" | "hour" | "hours" | "hr" => "h",
        "d" | "day" | "days" => "d",
        _ => return None,
    };
    let count = count.replace('m', "M");
    Some(format!("{count}/{}{unit}", &time[..start]))
}

#[cfg(test)]
mod tests {
    use super::{joined_protocols, port_and_protocol, rate};

    #[test]
    fn words_of_others_are_understood() {
        assert_eq!(joined_protocols("tcp/udp").as_deref(), Some("[tcp, udp]"));
        assert_eq!(joined_protocols("TCP, UDP"), None);
        assert_eq!(joined_protocols("TCP|UDP").as_deref(), Some("[tcp, udp]"));
        assert_eq!(joined_protocols("tcp"), None);
        assert_eq!(port_and_protocol("80/tcp"), Some(("80", "tcp")));
        assert_eq!(port_and_protocol("UDP/53"), Some(("53", "udp")));
        assert_eq!(port_and_protocol("80/http"), None);
        assert_eq!(port_and_protocol("80:90"), None);
        for (written, meant) in [
            ("6/minute", "6/m"),
            ("6/30 seconds", "6/30s"),
            ("10 per second", "10/s"),
            ("100pps", "100/s"),
            ("500k/sec", "500k/s"),
            ("20", "20/s"),
        ] {
            assert_eq!(rate(written).as_deref(), Some(meant), "{written}");
        }
        for none in ["", "fast", "0/s", "6/week", "-1/s", "/s"] {
            assert_eq!(rate(none), None, "{none}");
        }
    }
}
