//! Flows for people. Pure: text of made-up flows is tested here.

use super::super::table::Table;
use firewall_api::flows::{FlowView, FlowsSummary};
use firewall_api::format::{Numbers, bytes, count, duration};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// The head of a list, and the answer of `flows count`. `capacity` is how many flows the table has
/// room for.
pub(super) fn head(summary: &FlowsSummary, capacity: usize, numbers: Numbers) -> String {
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
    format!(
        "Flows {}{split}\nTable {} of {}  Sockets of this host {}\n",
        number(all),
        number(from(["table", "both"])),
        number(capacity),
        number(from(["socket", "both"])),
    )
}

/// The list for people, below its head.
pub(super) fn text(rows: &[FlowView], all: usize, numbers: Numbers) -> String {
    if all == 0 {
        return "No flows found.\n".to_owned();
    }
    let mut table = Table::new(&[
        "PROTO", "REMOTE", "LOCAL", "STATE", "FROM", ">IDLE", ">LEFT", ">IN", ">OUT",
    ]);
    let time = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), duration);
    for row in rows {
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
            row.from.clone(),
            time(row.idle),
            time(row.left),
            carried(row.received),
            carried(row.sent),
        ]);
    }
    let mut text = table.render();
    if all > rows.len() {
        text.push_str(&format!(
            "({} more: firewall-ctl flows --limit 0)\n",
            all - rows.len()
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let head = head(&summary(), 172_020, Numbers::Si);
        insta::assert_snapshot!(format!("{head}{}", text(&rows, 9, Numbers::Si)));
        assert_eq!(text(&[], 0, Numbers::Si), "No flows found.\n");
    }

    #[test]
    fn the_document() {
        let document = (summary(), views());
        insta::assert_snapshot!(serde_json::to_string_pretty(&document).unwrap());
    }
}
