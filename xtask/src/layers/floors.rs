//! The floors of every crate, and the order of the crates: the one list by which imports are judged.
//!
//! A module imports modules of lower floors only, and none of its own. A crate imports crates above
//! it in the list only.

use super::source::Crate;

/// What stands for a crate's root in lists and messages.
pub(super) const ROOT: &str = "the root";

/// The floors of one crate.
pub(super) struct Floors {
    /// The crate's folder.
    pub(super) of: &'static str,
    /// The modules at the top of the crate, from the bottom floor to the top one.
    pub(super) rows: &'static [&'static [&'static str]],
    /// Modules that are still to be cut apart: among themselves they may import each other.
    pub(super) uncut: &'static [&'static str],
}

impl Floors {
    /// The floor of a module, from 1.
    pub(super) fn of(&self, module: &str) -> Option<usize> {
        let row = self.rows.iter().position(|row| row.contains(&module))?;
        Some(row + 1)
    }

    /// All modules that have a floor.
    pub(super) fn modules(&self) -> impl Iterator<Item = &'static str> {
        self.rows.iter().flat_map(|row| row.iter().copied())
    }

    /// Whether an import is one of those that are still to be cut.
    pub(super) fn is_uncut(&self, from: &str, to: &str) -> bool {
        self.uncut.contains(&from) && self.uncut.contains(&to)
    }
}

/// Imports of crates that do not stand below.
pub(super) fn crates_upward(crates: &[Crate]) -> Vec<String> {
    let mut offences = Vec::new();
    for (number, of) in crates.iter().enumerate() {
        let below = &crates[..number];
        for module in &of.modules {
            for import in &module.imports {
                let from = &import.path[0];
                if *from != of.name && !below.iter().any(|other| other.name == *from) {
                    offences.push(format!(
                        "{}:{}: {} may not import {from}: imports go downward only",
                        module.file, import.line, of.name
                    ));
                }
            }
        }
    }
    offences
}

/// The crates, from the bottom to the top.
pub(super) const CRATES: &[Floors] = &[
    Floors {
        of: "xtask",
        rows: &[
            &["process", "workspace"],
            &["commits", "layers", "setup"],
            &["build", "lint"],
            &["package"],
            &["bench", "demo", "run", "test", "verify"],
            &["fuzz", "vm"],
        ],
        uncut: &[],
    },
    Floors {
        of: "firewall-common",
        rows: &[
            &["bits", "field", "reason", "verdict"],
            &["abi", "key"],
            &["frame", "packet", "region"],
            &["machine"],
            &["calls", "live", "parse"],
            &["content", "essential", "flows", "fragments"],
            &["limits"],
            &["answer", "asked", "classify", "log", "proof"],
            &["link"],
            &["pipeline"],
            &["watch"],
            &["plain"],
            &["outgoing"],
        ],
        uncut: &[],
    },
    Floors {
        of: "firewall-ebpf",
        rows: &[
            &["maps"],
            &["kernel", "sockets"],
            &["frame"],
            &["account", "answer", "link", "listener", "skb"],
            &["calls"],
        ],
        uncut: &[],
    },
    Floors {
        of: "firewall-policy",
        rows: &[
            &["clock", "duration"],
            &[
                "files",
                "limit",
                "log",
                "range",
                "span",
                "text",
                "time",
                "vocabulary",
                "watch",
                "well_known_ports",
            ],
            &["content"],
            &["fields", "rule"],
            &[
                "bundle",
                "classbench",
                "oracle",
                "prefixes",
                "space",
                "tables",
                "worst",
            ],
            &["compile", "diag", "evasion"],
            &["ast"],
            &["edit", "fmt", "packet_text"],
            &["case", "diff", "host"],
            &["explain", "lint", "validate"],
            &["connection", "entry", "schema", "services", "source"],
            &["policy_tests"],
            &["checked"],
        ],
        uncut: &[],
    },
    Floors {
        of: "firewall-import",
        rows: &[
            &["imported", "options", "packets", "rates"],
            &["interfaces", "ruleset", "values", "words"],
            &["flatten"],
            &["join", "states"],
            &["essential", "names"],
            &["write"],
            &["local"],
            &["ipset"],
            &["iptables"],
            &["nft", "ufw"],
        ],
        uncut: &[],
    },
    Floors {
        of: "firewall-api",
        rows: &[
            &["effect", "format", "network", "session", "view", "width"],
            &["failure"],
            &["events", "flows", "sets", "source"],
            &["compared", "history", "watch"],
            &["plan", "report", "request", "trial"],
            &["rules"],
            &["audit"],
            &["firewall"],
        ],
        uncut: &[],
    },
    Floors {
        of: "firewall-system",
        rows: &[
            &["exposed", "hash", "host", "trail", "whole_file"],
            &["file_store", "policy_file", "process"],
            &["history", "set_files"],
            &["compiled"],
        ],
        uncut: &[],
    },
    Floors {
        of: "firewall-engine",
        rows: &[
            &["kernel"],
            &["engine"],
            &["failure", "report"],
            &["drift", "probe", "sampler"],
            &["local"],
        ],
        uncut: &[],
    },
    Floors {
        of: "firewall-daemon",
        rows: &[
            &["manager", "options", "places", "revival", "socket"],
            &["messages", "renewal"],
            &["shared"],
            &["server"],
            &["changes", "confirm", "handle", "keeper"],
            &["threads"],
            &["state"],
        ],
        uncut: &[],
    },
    Floors {
        of: "firewall-ctl",
        rows: &[
            &["capture", "remote", "tui"],
            &["door"],
            &["cli"],
            &["main"],
        ],
        uncut: &[],
    },
];

#[cfg(test)]
mod tests {
    use super::super::source::{Crate, read_module};
    use super::crates_upward;

    #[test]
    fn a_crate_imports_those_below_only() {
        let made = |name: &str, text: &str| {
            let file = format!("{name}.rs");
            let (module, _) = read_module(name, file, Vec::new(), true, text).unwrap();
            let (name, modules) = (name.to_owned(), vec![module]);
            Crate { name, modules }
        };
        let low = made("firewall_low", "use firewall_high::A;");
        let high = made("firewall_high", "use firewall_low::A; use crate::B;");
        assert_eq!(
            crates_upward(&[low, high]),
            [
                "firewall_low.rs:1: firewall_low may not import firewall_high: imports go downward only"
            ]
        );
    }
}
