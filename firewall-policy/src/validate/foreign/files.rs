//! Files of other programs that are taken for policies: what they are, and what to do with them.
//!
//! May not read a policy: text in, text out.

/// A file of another program: what it is, and what to do with it.
pub(crate) struct OtherFile {
    pub(crate) what: String,
    pub(crate) help: &'static str,
}

const POLICY: &str = "a policy begins with `version: 1`, `default: {in: drop}` and `rules:`; \
                      docs/policy.md has examples";

/// Whether a text is another program's, by its first lines.
pub(crate) fn file(text: &str) -> Option<OtherFile> {
    // A policy may quote others in its comments.
    if text.lines().any(|line| line.starts_with("version:")) {
        return None;
    }
    let mut lines = text.lines().map(str::trim);
    let found = |what: &str, help| {
        Some(OtherFile {
            what: what.to_owned(),
            help,
        })
    };
    if text.starts_with("#!") && lines.next().is_some_and(|line| line.contains("nft")) {
        return found("rules of nft", NFT);
    }
    let mut lines = text.lines().map(str::trim);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with('#'))?;
    let words: Vec<&str> = first.split_whitespace().take(4).collect();
    match *words.as_slice() {
        _ if text.contains("### tuple ###") => found(
            "rules of ufw",
            "convert them: firewall-ctl import ufw FILE > policy.yaml",
        ),
        ["*filter" | "*nat" | "*mangle" | "*raw" | "*security", ..]
        | ["-A" | "-P" | "-N" | "-I", ..] => found(
            "rules of iptables",
            "convert them: firewall-ctl import iptables FILE > policy.yaml",
        ),
        ["iptables" | "ip6tables", ..] => found(
            "a script of iptables",
            "run it where it belongs, then: iptables-save > rules.v4; firewall-ctl import iptables \
             rules.v4 > policy.yaml",
        ),
        [
            "table",
            "inet" | "ip" | "ip6" | "netdev" | "bridge" | "arp",
            ..,
        ]
        | ["flush", "ruleset", ..]
        | ["add", "table" | "rule" | "chain" | "set", ..] => found("rules of nft", NFT),
        ["ufw", ..] => found(
            "commands of ufw",
            "say them with firewall-ctl in place of ufw: firewall-ctl allow 80/tcp",
        ),
        ["<?xml", ..] | ["<zone>" | "<zone" | "<service>", ..] => {
            found("XML, as firewalld keeps its zones", POLICY)
        }
        [first, ..] if first.starts_with('{') && text.contains("\"nftables\"") => found(
            "JSON of nft",
            "convert it: firewall-ctl import nft FILE > policy.yaml",
        ),
        _ => None,
    }
}

const NFT: &str = "convert them: nft -j list ruleset > rules.json; firewall-ctl import nft rules.json > \
                   policy.yaml";

/// Whether a mapping is another program's object, by its keys; `value` gives the text behind one.
pub(crate) fn object<'t>(
    keys: &[&str],
    value: impl Fn(&str) -> Option<&'t str>,
) -> Option<OtherFile> {
    let has = |key: &str| keys.contains(&key);
    let known = ["version", "default", "rules", "sets"];
    if has("kind") && (has("apiVersion") || has("spec") || has("metadata"))
        || has("apiVersion") && !has("rules")
    {
        let kind = value("kind").unwrap_or("of unknown kind");
        let help = match kind {
            "NetworkPolicy"
            | "CiliumNetworkPolicy"
            | "CiliumClusterwideNetworkPolicy"
            | "GlobalNetworkPolicy"
            | "ClusterNetworkPolicy"
            | "AdminNetworkPolicy"
            | "BaselineAdminNetworkPolicy" => {
                "pods are selected by labels, which no packet carries: leave it with the cluster, and \
                 write for this host `version: 1`, `default: {in: drop}` and rules with addresses"
            }
            _ => POLICY,
        };
        return Some(OtherFile {
            what: format!("a Kubernetes object ({})", crate::diag::show(kind)),
            help,
        });
    }
    let other = |what: &str| {
        Some(OtherFile {
            what: what.to_owned(),
            help: POLICY,
        })
    };
    match () {
        () if has("services") && !known[1..].iter().any(|key| has(key)) => {
            other("a file of Docker Compose")
        }
        () if has("nftables") => Some(OtherFile {
            what: "JSON of nft".to_owned(),
            help: "convert it: firewall-ctl import nft FILE > policy.yaml",
        }),
        () if has("network") && !known[1..].iter().any(|key| has(key)) => {
            other("a file of netplan")
        }
        () if has("hosts") && (has("tasks") || has("roles")) => other("a playbook of Ansible"),
        () => None,
    }
}
