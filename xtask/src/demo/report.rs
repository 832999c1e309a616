//! What the firewall counted, from its JSON, held against what the tap counted on the wire.

use super::tap::{Count, Port, Sent};
use crate::setup::print_table;
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeMap;

/// Passed and dropped.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Verdicts {
    pub(super) pass: Count,
    pub(super) drop: Count,
}

impl Verdicts {
    fn sum(self) -> Count {
        let mut sum = self.pass;
        sum.add(self.drop);
        sum
    }
}

/// The firewall's counters.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Counted {
    pub(super) ports: BTreeMap<Port, Verdicts>,
    /// Every frame.
    pub(super) all: Verdicts,
}

impl Counted {
    /// Reads a snapshot in the schema `firewall/v1`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let snapshot: Value = serde_json::from_str(text).context("the counters are not JSON")?;
        anyhow::ensure!(
            snapshot["schema"] == "firewall/v1",
            "schema {} is not firewall/v1",
            snapshot["schema"]
        );
        let mut ports = BTreeMap::new();
        for entry in snapshot["ports"]
            .as_array()
            .context("no ports in the counters")?
        {
            let protocol = match entry["proto"].as_str() {
                Some("tcp") => "tcp",
                Some("udp") => "udp",
                other => anyhow::bail!("a port of protocol {other:?}"),
            };
            let port = entry["port"]
                .as_u64()
                .and_then(|port| u16::try_from(port).ok());
            ports.insert(
                (protocol, port.context("a port without number")?),
                verdicts(entry)?,
            );
        }
        Ok(Self {
            ports,
            all: verdicts(&snapshot)?,
        })
    }

    /// Whether each port, and the whole, counted exactly what was sent, in packets and bytes.
    pub(super) fn agrees(&self, sent: &Sent) -> bool {
        self.all.sum() == sent.all
            && self.ports.len() == sent.ports.len()
            && sent
                .ports
                .iter()
                .all(|(port, count)| self.of(port).sum() == *count)
    }

    /// The counters of one port; zeros if it counted nothing.
    pub(super) fn of(&self, port: &Port) -> Verdicts {
        self.ports.get(port).copied().unwrap_or_default()
    }
}

fn verdicts(entry: &Value) -> Result<Verdicts> {
    let count = |verdict: &str| -> Result<Count> {
        let total = &entry[verdict]["total"];
        let number = |what: &str| {
            total[what]
                .as_u64()
                .with_context(|| format!("no {verdict}.total.{what}"))
        };
        Ok(Count {
            packets: number("packets")?,
            bytes: number("bytes")?,
        })
    };
    Ok(Verdicts {
        pass: count("pass")?,
        drop: count("drop")?,
    })
}

/// Prints what was sent beside what was counted, port by port.
pub(super) fn print(sent: &Sent, counted: &Counted) {
    let mut ports: Vec<Port> = sent
        .ports
        .keys()
        .chain(counted.ports.keys())
        .copied()
        .collect();
    ports.sort_unstable();
    ports.dedup();
    let row = |name: String, wire: Count, verdicts: Verdicts| {
        let agrees = if verdicts.sum() == wire { "yes" } else { "NO" };
        [
            name,
            wire.packets.to_string(),
            verdicts.pass.packets.to_string(),
            verdicts.drop.packets.to_string(),
            wire.bytes.to_string(),
            verdicts.sum().bytes.to_string(),
            agrees.to_owned(),
        ]
    };
    let mut rows: Vec<_> = ports
        .iter()
        .map(|port| {
            let wire = sent.ports.get(port).copied().unwrap_or_default();
            row(format!("{}/{}", port.0, port.1), wire, counted.of(port))
        })
        .collect();
    rows.push(row("every frame".to_owned(), sent.all, counted.all));
    print_table(
        [
            "PORT",
            "SENT",
            "PASSED",
            "DROPPED",
            "BYTES SENT",
            "BYTES COUNTED",
            "AGREE",
        ],
        &rows,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNAPSHOT: &str = r#"{"schema": "firewall/v1",
        "pass": {"total": {"packets": 3, "bytes": 300}},
        "drop": {"total": {"packets": 2, "bytes": 120}},
        "ports": [{"proto": "tcp", "port": 80,
            "pass": {"total": {"packets": 3, "bytes": 300}},
            "drop": {"total": {"packets": 1, "bytes": 60}}}]}"#;

    fn sent() -> Sent {
        let mut sent = Sent {
            all: Count {
                packets: 5,
                bytes: 420,
            },
            ..Sent::default()
        };
        sent.ports.insert(
            ("tcp", 80),
            Count {
                packets: 4,
                bytes: 360,
            },
        );
        sent
    }

    #[test]
    fn equal_counts_agree() {
        let counted = Counted::parse(SNAPSHOT).unwrap();
        assert_eq!(
            counted.of(&("tcp", 80)).drop,
            Count {
                packets: 1,
                bytes: 60
            }
        );
        assert!(counted.agrees(&sent()));
    }

    #[test]
    fn one_packet_or_byte_or_port_of_difference_does_not() {
        let counted = Counted::parse(SNAPSHOT).unwrap();
        let mut more = sent();
        more.all.packets += 1;
        assert!(!counted.agrees(&more));
        let mut longer = sent();
        longer.ports.get_mut(&("tcp", 80)).unwrap().bytes += 1;
        assert!(!counted.agrees(&longer));
        let mut other = sent();
        other.ports.insert(
            ("udp", 53),
            Count {
                packets: 1,
                bytes: 60,
            },
        );
        assert!(!counted.agrees(&other));
    }

    #[test]
    fn another_schema_is_refused() {
        assert!(Counted::parse(&SNAPSHOT.replace("/v1", "/v2")).is_err());
        assert!(Counted::parse("{}").is_err());
    }
}
