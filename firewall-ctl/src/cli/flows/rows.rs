//! Flows for people. Pure: text of made-up flows is tested here.
//!
//! A connection that this host forwards is two flows, one as each side sees it. They are one row.

use super::super::table::Table;
use firewall_api::flows::{FlowView, FlowsReport};
use firewall_api::format::{Numbers, bytes, count, duration};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

/// The head of a list, and the answer of `flows count`.
pub(super) fn head(report: &FlowsReport, numbers: Numbers) -> String {
    let FlowsReport {
        summary, capacity, ..
    } = report;
    let number = |n: usize| count(n as u64, numbers);
    let all: usize = summary.proto.values().sum();
    let parts = |of: &BTreeMap<String, usize>| {
        let mut parts: Vec<_> = of.iter().collect();
        parts.sort_by_key(|&(name, &n)| (std::cmp::Reverse(n), name));
        let parts = parts
            .iter()
            .map(|(name, n)| format!("{name} {}", number(**n)));
        parts.collect::<Vec<_>>().join(", ")
    };
    let from = |names: [&str; 2]| -> usize {
        names
            .iter()
            .filter_map(|&name| summary.from.get(name))
            .sum()
    };
    let split = match all {
        0 => String::new(),
        _ => format!(": {}; {}", parts(&summary.proto), parts(&summary.state)),
    };
    let in_use = report
        .in_use
        .map_or_else(String::new, |in_use| format!(", in use {}", number(in_use)));
    format!(
        "Flows {}{split}\nTable {} of {}{in_use}  Sockets of this host {}\n",
        number(all),
        number(from(["table", "both"])),
        number(*capacity),
        number(from(["socket", "both"])),
    )
}

/// One row: a flow, and the other half of what this host forwards.
struct Row<'r> {
    flow: &'r FlowView,
    half: Option<&'r FlowView>,
}

/// Flows as rows, in their order: what one side sees and what the other side sees of a forwarded
/// connection together.
fn rows_of(flows: &[FlowView]) -> Vec<Row<'_>> {
    type End<'r> = (&'r str, IpAddr, u16, IpAddr, u16);
    let mut places: HashMap<End<'_>, usize> = HashMap::new();
    let mut rows: Vec<Row<'_>> = Vec::new();
    for flow in flows {
        let (remote, local) = (
            (flow.remote, flow.remote_port),
            (flow.local, flow.local_port),
        );
        let turned = (flow.proto.as_str(), local.0, local.1, remote.0, remote.1);
        // An echo request has its identifier on one side alone.
        let other = places
            .get(&turned)
            .copied()
            .filter(|_| !flow.proto.starts_with("icmp"));
        if let Some(row) = other
            .and_then(|at| rows.get_mut(at))
            .filter(|row| row.half.is_none())
        {
            row.half = Some(flow);
            continue;
        }
        let end = (flow.proto.as_str(), remote.0, remote.1, local.0, local.1);
        places.insert(end, rows.len());
        rows.push(Row { flow, half: None });
    }
    rows
}

/// The list for people, below its head: `most` rows of `all` flows.
pub(super) fn text(flows: &[FlowView], (all, most): (usize, usize), numbers: Numbers) -> String {
    if all == 0 {
        return "No flows found.\n".to_owned();
    }
    let mut table = Table::new(&[
        "PROTO", "REMOTE", "LOCAL", "STATE", "FROM", ">IDLE", ">LEFT", ">IN", ">OUT",
    ]);
    let time = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), duration);
    let mut rows = rows_of(flows);
    rows.truncate(most);
    let shown: usize = rows
        .iter()
        .map(|row| 1 + usize::from(row.half.is_some()))
        .sum();
    for Row { flow: row, half } in rows {
        let is_echo = row.proto.starts_with("icmp");
        let end = |address: IpAddr, port: u16| SocketAddr::new(address, port).to_string();
        let carried = |bytes_of: Option<u64>| {
            bytes_of.map_or_else(|| "-".to_owned(), |carried| bytes(carried, numbers))
        };
        table.row([
            row.proto.clone(),
            if is_echo {
                row.remote.to_string()
            } else {
                end(row.remote, row.remote_port)
            },
            if is_echo {
                format!("{} id {}", row.local, row.local_port)
            } else {
                end(row.local, row.local_port)
            },
            row.state.clone(),
            match half {
                Some(_) => "forwarded".to_owned(),
                None => row.from.clone(),
            },
            time(row.idle),
            time(row.left),
            carried(row.received),
            carried(row.sent),
        ]);
    }
    let mut text = table.render();
    if all > shown {
        text.push_str(&format!(
            "({} more: firewall-ctl flows --limit 0)\n",
            all - shown
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewall_api::flows::FlowsSummary;

    fn view(proto: &str, remote: &str, port: u16) -> FlowView {
        FlowView {
            proto: proto.to_owned(),
            remote: remote.parse().unwrap(),
            remote_port: port,
            local: "2001:db8::80".parse().unwrap(),
            local_port: 40_000,
            state: "established".to_owned(),
            idle: None,
            left: None,
            from: "socket".to_owned(),
            received: None,
            sent: None,
        }
    }

    /// A flow of the table.
    fn of_table(proto: &str, remote: &str, port: u16, idle: f64) -> FlowView {
        FlowView {
            idle: Some(idle),
            left: Some(43_196.0),
            from: "table".to_owned(),
            ..view(proto, remote, port)
        }
    }

    fn views() -> [FlowView; 4] {
        [
            FlowView {
                idle: Some(0.9),
                received: Some(1_234_567),
                sent: Some(890),
                ..view("tcp", "2001:db8::9", 443)
            },
            view("tcp", "2001:db8::7", 443),
            of_table("udp", "2001:db8::53", 53, 3.2),
            of_table("icmpv6", "2001:db8::1", 0, 0.1),
        ]
    }

    fn summary() -> FlowsSummary {
        let counts = |pairs: &[(&str, usize)]| {
            let pairs = pairs.iter().map(|(name, n)| ((*name).to_owned(), *n));
            pairs.collect()
        };
        FlowsSummary {
            proto: counts(&[("tcp", 2), ("udp", 1), ("icmpv6", 1)]),
            state: counts(&[("established", 4)]),
            from: counts(&[("socket", 2), ("table", 2)]),
        }
    }

    #[test]
    fn the_table() {
        let [nine, seven, dns, one] = views();
        let rows = [one, nine, dns, seven];
        let mut report = FlowsReport::new(172_020, 9, summary(), None);
        report.in_use = Some(1);
        let head = head(&report, Numbers::Si);
        insta::assert_snapshot!(format!("{head}{}", text(&rows, (9, 20), Numbers::Si)));
        assert_eq!(text(&[], (0, 20), Numbers::Si), "No flows found.\n");
    }

    #[test]
    fn what_is_forwarded_is_one_row() {
        let out = of_table("tcp", "2001:db8::9", 443, 1.0);
        let back = FlowView {
            remote: out.local,
            remote_port: out.local_port,
            local: out.remote,
            local_port: out.remote_port,
            ..out.clone()
        };
        let ping = of_table("icmpv6", "2001:db8::9", 0, 1.0);
        let flows = [out, ping, back];
        let screen = text(&flows, (3, 20), Numbers::Si);
        assert_eq!(screen.lines().count(), 3, "{screen}");
        assert_eq!(screen.matches("forwarded").count(), 1, "{screen}");
        // What is cut off counts by flows.
        let screen = text(&flows, (3, 1), Numbers::Si);
        assert!(screen.contains("(1 more:"), "{screen}");
    }

    #[test]
    fn the_document() {
        let document = (summary(), views());
        insta::assert_snapshot!(serde_json::to_string_pretty(&document).unwrap());
    }
}
