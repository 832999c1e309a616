//! Connections: the flows of the table, and the connections of this host by its sockets, each
//! connection once.

use super::{Local, failure};
use crate::kernel::flows::{Ends, Flow, FlowState, FlowTable, proto_name};
use crate::kernel::sockets::{Socket, SocketState};
use firewall_api::failure::{Exit, Failure};
use firewall_api::flows::{
    FlowSort, FlowView, FlowsForgotten, FlowsReport, FlowsRequest, FlowsSummary,
};
use firewall_api::report::{FlowsUse, HalfUse, StatusReport};
use firewall_api::view::SCHEMA;
use firewall_common::parse::proto;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::time::Duration;

/// One connection.
#[derive(Clone, Debug)]
struct Row {
    ends: Ends,
    state: FlowState,
    idle: Option<Duration>,
    /// Until the table forgets it; `None`: it is not there.
    left: Option<Duration>,
    /// Bytes that have come, and that have arrived on the other side.
    carried: Option<[u64; 2]>,
    /// Its place in the table.
    flow: Option<Flow>,
    /// A socket of this host has it.
    is_socket: bool,
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

    fn view(&self) -> FlowView {
        let Ends {
            proto,
            local,
            remote,
        } = self.ends;
        FlowView {
            proto: proto_name(proto).to_owned(),
            remote: remote.0,
            remote_port: remote.1,
            local: local.0,
            local_port: local.1,
            state: self.state.name().to_owned(),
            idle: self.idle.map(|idle| idle.as_secs_f64()),
            left: self.left.map(|left| left.as_secs_f64()),
            from: self.from().to_owned(),
            received: self.carried.map(|[came, _]| came),
            sent: self.carried.map(|[_, went]| went),
        }
    }
}

/// Table and sockets as one list. What the kernel knows of a TCP connection of its own is exact; of
/// all else the table knows more.
fn join(flows: Vec<Flow>, sockets: &[Socket]) -> Vec<Row> {
    merge(flows.into_iter().map(Row::of_flow).collect(), sockets)
}

fn merge(mut rows: Vec<Row>, sockets: &[Socket]) -> Vec<Row> {
    let places: HashMap<Ends, usize> = rows.iter().map(|row| row.ends).zip(0..).collect();
    for socket in sockets {
        let new = Row::of_socket(socket);
        let Some(&place) = places.get(&new.ends) else {
            rows.push(new);
            continue;
        };
        let row = &mut rows[place];
        row.is_socket = true;
        // A connection that waits for its end (TIME-WAIT) has a state, and no counts any more.
        if u32::from(socket.proto) == proto::TCP {
            row.state = new.state;
        }
        if new.carried.is_some() {
            (row.idle, row.carried) = (new.idle, new.carried);
        }
    }
    rows
}

/// Sorts; what is not known comes last.
fn sort(rows: &mut [Row], by: FlowSort) {
    let last = |time: Option<Duration>| time.unwrap_or(Duration::MAX);
    let by_idle = |a: &Row, b: &Row| last(a.idle).cmp(&last(b.idle));
    let order = |a: &Row, b: &Row| -> Ordering {
        let first = match by {
            FlowSort::Idle => Ordering::Equal,
            FlowSort::Left => last(a.left).cmp(&last(b.left)),
            FlowSort::Bytes => {
                let sum = |row: &Row| row.carried.map(|[came, went]| came.saturating_add(went));
                sum(b).cmp(&sum(a))
            }
            FlowSort::Proto => proto_name(a.ends.proto).cmp(proto_name(b.ends.proto)),
            FlowSort::State => a.state.name().cmp(b.state.name()),
            FlowSort::Remote => a.ends.remote.cmp(&b.ends.remote),
            FlowSort::Local => a.ends.local.cmp(&b.ends.local),
        };
        first.then_with(|| by_idle(a, b))
    };
    rows.sort_by(order);
}

fn summary(rows: &[Row]) -> FlowsSummary {
    let mut summary = FlowsSummary::default();
    for row in rows {
        for (counts, name) in [
            (&mut summary.proto, proto_name(row.ends.proto)),
            (&mut summary.state, row.state.name()),
            (&mut summary.from, row.from()),
        ] {
            match counts.get_mut(name) {
                Some(count) => *count += 1,
                None => {
                    counts.insert(name.to_owned(), 1);
                }
            }
        }
    }
    summary
}

fn fits(request: &FlowsRequest, ends: &Ends) -> bool {
    let has_port = |port: u16| ends.local.1 == port || ends.remote.1 == port;
    request
        .proto
        .is_none_or(|proto| proto.name() == proto_name(ends.proto))
        && request
            .from
            .as_ref()
            .is_none_or(|net| net.contains(ends.remote.0))
        && request
            .to
            .as_ref()
            .is_none_or(|net| net.contains(ends.local.0))
        && request.port.is_none_or(has_port)
}

/// Why connections that are known by sockets are missing.
const ELSEWHERE: &str = "the active policy belongs to another network namespace: connections of that \
                         host that are known by its sockets are not seen from here";

/// The table, and the connections that fit a filter.
struct Fitting {
    table: FlowTable,
    rows: Vec<Row>,
    warnings: Vec<String>,
}

impl Local {
    /// The table, and the connections that fit a filter.
    fn fitting(&self, request: &FlowsRequest) -> Result<Fitting, Failure> {
        let engine = self.engine();
        let table = engine.flows().map_err(|error| failure(&error))?;
        let table = table.ok_or_else(|| {
            Failure::new(
                Exit::Failed,
                "the active policy tracks no connections: no rule matches `state`",
            )
        })?;
        let sockets = engine.sockets().map_err(|error| failure(&error))?;
        let mut rows = join(table.list(), sockets.as_deref().unwrap_or_default());
        rows.retain(|row| fits(request, &row.ends));
        Ok(Fitting {
            table,
            rows,
            warnings: match sockets {
                Some(_) => Vec::new(),
                None => vec![ELSEWHERE.to_owned()],
            },
        })
    }

    pub(super) fn list_flows(&self, request: &FlowsRequest) -> Result<FlowsReport, Failure> {
        let Fitting {
            table,
            mut rows,
            warnings,
        } = self.fitting(request)?;
        let (count, summary) = (rows.len(), summary(&rows));
        let listed = request.limit != Some(0);
        let flows = listed.then(|| {
            sort(&mut rows, request.sort);
            rows.truncate(request.limit.unwrap_or(usize::MAX));
            rows.iter().map(Row::view).collect()
        });
        // A quarter of the table's places is beyond what it has room for in any case.
        let from = |name: &str| summary.from.get(name).copied().unwrap_or_default();
        let capacity = table.capacity().max(from("table") + from("both"));
        let report = FlowsReport::new(capacity, count, summary, flows);
        Ok(FlowsReport {
            warnings,
            in_use: (!request.is_filtered()).then(|| table.count()),
            ..report
        })
    }

    pub(super) fn delete_flows(&self, request: &FlowsRequest) -> Result<FlowsForgotten, Failure> {
        let Fitting { table, rows, .. } = self.fitting(request)?;
        let flows = rows.iter().filter_map(|row| row.flow.as_ref());
        Ok(FlowsForgotten {
            schema: SCHEMA.to_owned(),
            deleted: flows.filter(|flow| table.delete(flow)).count(),
            sockets: rows.iter().filter(|row| row.is_socket).count(),
        })
    }

    /// Adds to a status how full the table of flows is. It is in the kernel: who may not read it
    /// there gets all else.
    pub fn add_flows(&self, report: &mut StatusReport) {
        let Some(table) = self.engine().flows().ok().flatten() else {
            return;
        };
        let [tcp, other] = table.halves().map(|half| HalfUse {
            count: half.count,
            capacity: half.capacity,
            full: half.losses.full,
            evicted: half.losses.evicted,
        });
        report.add_flows(FlowsUse {
            count: tcp.count + other.count,
            capacity: tcp.capacity + other.capacity,
            bytes: table.bytes(),
            tcp,
            other,
            warnings: Vec::new(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::sockets::Counts;
    use firewall_api::flows::FlowProto;

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
    fn every_order_has_an_end() {
        let remotes = |by: FlowSort| -> Vec<String> {
            let mut rows = rows();
            sort(&mut rows, by);
            rows.iter()
                .map(|row| row.ends.remote.0.to_string())
                .collect()
        };
        let [nine, seven, dns, one] = ["2001:db8::9", "2001:db8::7", "2001:db8::53", "2001:db8::1"];
        assert_eq!(remotes(FlowSort::Idle), [one, nine, dns, seven]);
        assert_eq!(remotes(FlowSort::Bytes), [nine, one, dns, seven]);
        assert_eq!(remotes(FlowSort::Left), [one, dns, nine, seven]);
        assert_eq!(remotes(FlowSort::Proto), [one, nine, seven, dns]);
        assert_eq!(remotes(FlowSort::Remote), [one, seven, nine, dns]);
        for by in FlowSort::ALL {
            assert_eq!(remotes(by).len(), 4);
        }
    }

    #[test]
    fn a_filter_means_both_sides_and_a_missing_one_everything() {
        let count = |request: FlowsRequest| {
            let rows = rows();
            rows.iter().filter(|row| fits(&request, &row.ends)).count()
        };
        assert_eq!(count(FlowsRequest::default()), 4);
        let proto = Some(FlowProto::Tcp);
        assert_eq!(
            count(FlowsRequest {
                proto,
                ..FlowsRequest::default()
            }),
            2
        );
        let port = Some(40_000);
        assert_eq!(
            count(FlowsRequest {
                port,
                ..FlowsRequest::default()
            }),
            4
        );
        let port = Some(53);
        assert_eq!(
            count(FlowsRequest {
                port,
                ..FlowsRequest::default()
            }),
            1
        );
    }

    #[test]
    fn what_a_socket_says_of_its_end_holds() {
        for (state, name) in [
            (SocketState::Closing, "closing"),
            (SocketState::Opening, "waiting"),
            (SocketState::Open, "established"),
        ] {
            // TIME-WAIT has no counts any more.
            let mut socket = socket("2001:db8::9", None);
            socket.state = state;
            let rows = merge(vec![row(6, "2001:db8::9", 443, 7_000)], &[socket]);
            assert_eq!((rows.len(), rows[0].from()), (1, "both"));
            assert_eq!(rows[0].state.name(), name);
            assert_eq!(rows[0].idle, Some(Duration::from_secs(7)));
        }
        // The table knows more of a connected UDP socket.
        let mut socket = socket("2001:db8::9", None);
        (socket.proto, socket.state) = (17, SocketState::Open);
        let mut known = row(17, "2001:db8::9", 443, 7_000);
        known.state = FlowState::Waiting;
        assert_eq!(merge(vec![known], &[socket])[0].state.name(), "waiting");
    }

    #[test]
    fn the_summary_counts_every_row_once_in_each_column() {
        let summary = summary(&rows());
        for counts in [&summary.proto, &summary.state, &summary.from] {
            assert_eq!(counts.values().sum::<usize>(), 4, "{counts:?}");
        }
        assert_eq!(summary.proto["tcp"], 2);
        assert_eq!(summary.from["socket"], 2);
    }
}
