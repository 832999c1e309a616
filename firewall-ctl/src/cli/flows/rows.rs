//! What `flows` is about: the flows of the table, and the connections of this host by its sockets,
//! each connection once. Pure: text and JSON of made-up rows are tested here.

use super::super::table::Table;
use clap::ValueEnum;
use firewall_api::format::{Numbers, bytes, count, duration};
use firewall_engine::kernel::flows::{Ends, Flow, FlowState, proto_name};
use firewall_engine::kernel::sockets::{Socket, SocketState};
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// One connection.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) ends: Ends,
    state: FlowState,
    idle: Option<Duration>,
    /// Until the table forgets it; `None`: it is not there.
    left: Option<Duration>,
    /// Bytes that have come, and that have arrived on the other side.
    carried: Option<[u64; 2]>,
    /// Its place in the table.
    pub(super) flow: Option<Flow>,
    /// A socket of this host has it.
    pub(super) is_socket: bool,
}

impl Row {
    fn of_flow(flow: Flow) -> Self {
        Self {
            ends: flow.ends(),
            state: flow.state,
            idle: Some(flow.idle),
            left: Some(flow.left),
            carried: None,
            flow: Some(flow),
            is_socket: false,
        }
    }

    fn of_socket(socket: &Socket) -> Self {
        let counts = socket.counts;
        Self {
            ends: Ends {
                proto: socket.proto,
                local: socket.local,
                remote: socket.remote,
            },
            state: match socket.state {
                SocketState::Opening => FlowState::Waiting,
                SocketState::Open => FlowState::Established,
                SocketState::Closing => FlowState::Closing,
            },
            idle: counts.map(|counts| Duration::from_millis(counts.idle.into())),
            left: None,
            carried: counts.map(|counts| [counts.received, counts.sent]),
            flow: None,
            is_socket: true,
        }
    }

    /// Where it is known from.
    const fn from(&self) -> &'static str {
        match (self.left.is_some(), self.is_socket) {
            (true, true) => "both",
            (false, _) => "socket",
            (true, false) => "table",
        }
    }
}

/// Table and sockets as one list. What the kernel knows of a TCP connection of its own is exact; of
/// all else the table knows more.
pub(super) fn join(flows: Vec<Flow>, sockets: &[Socket]) -> Vec<Row> {
    let mut rows: Vec<Row> = flows.into_iter().map(Row::of_flow).collect();
    let places: HashMap<Ends, usize> = rows.iter().map(|row| row.ends).zip(0..).collect();
    for socket in sockets {
        let new = Row::of_socket(socket);
        let Some(&place) = places.get(&new.ends) else {
            rows.push(new);
            continue;
        };
        let row = &mut rows[place];
        row.is_socket = true;
        if new.carried.is_some() {
            (row.state, row.idle, row.carried) = (new.state, new.idle, new.carried);
        }
    }
    rows
}

/// By what a list is sorted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, ValueEnum)]
pub(super) enum Sort {
    /// Latest packet first
    #[default]
    Idle,
    /// Earliest expiry first
    Left,
    /// Most bytes first
    Bytes,
    /// By protocol
    Proto,
    /// By state
    State,
    /// By remote address
    Remote,
    /// By local address
    Local,
}

/// Sorts; what is not known comes last.
pub(super) fn sort(rows: &mut [Row], by: Sort) {
    let last = |time: Option<Duration>| time.unwrap_or(Duration::MAX);
    let by_idle = |a: &Row, b: &Row| last(a.idle).cmp(&last(b.idle));
    let order = |a: &Row, b: &Row| -> Ordering {
        let first = match by {
            Sort::Idle => Ordering::Equal,
            Sort::Left => last(a.left).cmp(&last(b.left)),
            Sort::Bytes => {
                let sum = |row: &Row| row.carried.map(|[came, went]| came.saturating_add(went));
                sum(b).cmp(&sum(a))
            }
            Sort::Proto => proto_name(a.ends.proto).cmp(proto_name(b.ends.proto)),
            Sort::State => a.state.name().cmp(b.state.name()),
            Sort::Remote => a.ends.remote.cmp(&b.ends.remote),
            Sort::Local => a.ends.local.cmp(&b.ends.local),
        };
        first.then_with(|| by_idle(a, b))
    };
    rows.sort_by(order);
}

/// How many there are, by what they are and where they are known from.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub(super) struct Summary {
    proto: BTreeMap<&'static str, usize>,
    state: BTreeMap<&'static str, usize>,
    from: BTreeMap<&'static str, usize>,
}

impl Summary {
    pub(super) fn of(rows: &[Row]) -> Self {
        let mut summary = Self::default();
        for row in rows {
            *summary.proto.entry(proto_name(row.ends.proto)).or_default() += 1;
            *summary.state.entry(row.state.name()).or_default() += 1;
            *summary.from.entry(row.from()).or_default() += 1;
        }
        summary
    }

    /// The head of a list, and the answer of `flows count`. `capacity` is how many flows the table
    /// has room for.
    pub(super) fn text(&self, capacity: usize, numbers: Numbers) -> String {
        let number = |n: usize| count(n as u64, numbers);
        let all: usize = self.proto.values().sum();
        let parts = |of: &BTreeMap<&str, usize>| {
            let mut parts: Vec<_> = of.iter().collect();
            parts.sort_by_key(|&(name, &n)| (std::cmp::Reverse(n), *name));
            let parts = parts
                .iter()
                .map(|(name, n)| format!("{name} {}", number(**n)));
            parts.collect::<Vec<_>>().join(", ")
        };
        let from = |names: [&str; 2]| -> usize {
            names.iter().filter_map(|name| self.from.get(name)).sum()
        };
        let split = match all {
            0 => String::new(),
            _ => format!(": {}; {}", parts(&self.proto), parts(&self.state)),
        };
        format!(
            "Flows {}{split}\nTable {} of {}  Sockets of this host {}\n",
            number(all),
            number(from(["table", "both"])),
            number(capacity),
            number(from(["socket", "both"])),
        )
    }
}

/// A connection, for scripts.
#[derive(Clone, Serialize)]
pub(super) struct View {
    proto: &'static str,
    remote: IpAddr,
    remote_port: u16,
    local: IpAddr,
    local_port: u16,
    state: &'static str,
    /// Seconds since its last packet; `None`: not known.
    idle: Option<f64>,
    /// Seconds until the table forgets it; `None`: it is not there.
    left: Option<f64>,
    /// `table`, `socket` or `both`.
    from: &'static str,
    /// Bytes that have come, of TCP connections of this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    received: Option<u64>,
    /// Bytes that have arrived on the other side, of the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<u64>,
}

impl View {
    pub(super) fn of(row: &Row) -> Self {
        let Ends {
            proto,
            local,
            remote,
        } = row.ends;
        Self {
            proto: proto_name(proto),
            remote: remote.0,
            remote_port: remote.1,
            local: local.0,
            local_port: local.1,
            state: row.state.name(),
            idle: row.idle.map(|idle| idle.as_secs_f64()),
            left: row.left.map(|left| left.as_secs_f64()),
            from: row.from(),
            received: row.carried.map(|[came, _]| came),
            sent: row.carried.map(|[_, went]| went),
        }
    }
}

/// The list for people, below its head.
pub(super) fn text(rows: &[Row], all: usize, numbers: Numbers) -> String {
    if all == 0 {
        return "No flows found.\n".to_owned();
    }
    let mut table = Table::new(&[
        "PROTO", "REMOTE", "LOCAL", "STATE", "FROM", ">IDLE", ">LEFT", ">IN", ">OUT",
    ]);
    let time = |time: Option<Duration>| {
        time.map_or_else(|| "-".to_owned(), |time| duration(time.as_secs_f64()))
    };
    for row in rows {
        let Ends { local, remote, .. } = row.ends;
        let proto = proto_name(row.ends.proto);
        let is_echo = proto.starts_with("icmp");
        let end = |(address, port): (IpAddr, u16)| SocketAddr::new(address, port).to_string();
        let carried = |which: usize| {
            row.carried
                .map_or_else(|| "-".to_owned(), |carried| bytes(carried[which], numbers))
        };
        table.row([
            proto.to_owned(),
            if is_echo {
                remote.0.to_string()
            } else {
                end(remote)
            },
            if is_echo {
                format!("{} id {}", local.0, local.1)
            } else {
                end(local)
            },
            row.state.name().to_owned(),
            row.from().to_owned(),
            time(row.idle),
            time(row.left),
            carried(0),
            carried(1),
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
    use firewall_engine::kernel::sockets::Counts;

    fn ends(proto: u8, remote: &str, port: u16) -> Ends {
        Ends {
            proto,
            local: ("2001:db8::80".parse().unwrap(), 40_000),
            remote: (remote.parse().unwrap(), port),
        }
    }

    /// A flow of the table, without a place in it.
    fn row(proto: u8, remote: &str, port: u16, idle: u64) -> Row {
        Row {
            ends: ends(proto, remote, port),
            state: FlowState::Established,
            idle: Some(Duration::from_millis(idle)),
            left: Some(Duration::from_secs(43_196)),
            carried: None,
            flow: None,
            is_socket: false,
        }
    }

    fn socket(remote: &str, counts: Option<Counts>) -> Socket {
        let ends = ends(6, remote, 443);
        Socket {
            proto: 6,
            local: ends.local,
            remote: ends.remote,
            state: SocketState::Open,
            counts,
        }
    }

    fn rows() -> Vec<Row> {
        let counts = Counts {
            idle: 900,
            received: 1_234_567,
            sent: 890,
        };
        let sockets = [
            socket("2001:db8::9", Some(counts)),
            socket("2001:db8::7", None),
        ];
        let mut rows = join(Vec::new(), &sockets);
        rows.push(row(17, "2001:db8::53", 53, 3_200));
        rows.push(row(58, "2001:db8::1", 0, 100));
        rows
    }

    #[test]
    fn the_table() {
        let mut rows = rows();
        let head = Summary::of(&rows).text(183_488, Numbers::Si);
        sort(&mut rows, Sort::Idle);
        insta::assert_snapshot!(format!("{head}{}", text(&rows, 9, Numbers::Si)));
        assert_eq!(text(&[], 0, Numbers::Si), "No flows found.\n");
    }

    #[test]
    fn the_document() {
        let rows = rows();
        let views: Vec<View> = rows.iter().map(View::of).collect();
        let document = (Summary::of(&rows), views);
        insta::assert_snapshot!(serde_json::to_string_pretty(&document).unwrap());
    }

    #[test]
    fn every_order_has_an_end() {
        let remotes = |by: Sort| -> Vec<String> {
            let mut rows = rows();
            sort(&mut rows, by);
            rows.iter()
                .map(|row| row.ends.remote.0.to_string())
                .collect()
        };
        let [nine, seven, dns, one] = ["2001:db8::9", "2001:db8::7", "2001:db8::53", "2001:db8::1"];
        assert_eq!(remotes(Sort::Idle), [one, nine, dns, seven]);
        assert_eq!(remotes(Sort::Bytes), [nine, one, dns, seven]);
        assert_eq!(remotes(Sort::Left), [one, dns, nine, seven]);
        assert_eq!(remotes(Sort::Proto), [one, nine, seven, dns]);
        assert_eq!(remotes(Sort::Remote), [one, seven, nine, dns]);
        for by in Sort::value_variants() {
            assert_eq!(remotes(*by).len(), 4);
        }
    }
}
