//! Tests of pages and filters, against sorting everything.

use super::*;
use firewall_api::view::{SCHEMA, Status};

/// Ports with few different values, so that there are many ties.
fn snapshot(ports: u32) -> Snapshot {
    let port = |index: u32| {
        let noise = index.wrapping_mul(2_654_435_761) >> 7;
        let flow = |n: u32| Traffic {
            total: Count {
                packets: u64::from(n % 3),
                bytes: 64,
            },
            rate: Rate {
                pps: f64::from(n % 7),
                bps: f64::from(n % 5),
            },
        };
        PortView {
            proto: if noise.is_multiple_of(2) {
                "tcp"
            } else {
                "udp"
            }
            .to_owned(),
            port: index as u16,
            service: noise
                .is_multiple_of(4)
                .then(|| format!("Service-{}", noise % 11)),
            pass: flow(noise),
            drop: flow(noise >> 9),
            history: Vec::new(),
        }
    };
    Snapshot {
        schema: SCHEMA.to_owned(),
        time: 0.0,
        interval: 1.0,
        status: Status {
            version: String::new(),
            daemon_pid: None,
            daemon_uptime: None,
            generation: None,
            interfaces: Vec::new(),
            last_error: None,
            drift: Vec::new(),
            pending: None,
            warnings: Vec::new(),
        },
        pass: Traffic::default(),
        drop: Traffic::default(),
        ports: (0..ports).map(port).collect(),
        other_ports: OtherPorts::default(),
        flows: None,
        rules: Vec::new(),
        reasons: Vec::new(),
    }
}

#[test]
fn pages_laid_end_to_end_are_the_whole_sorted_table() {
    let snapshot = snapshot(5000);
    for column in super::super::columns::all(Tab::Ports) {
        for descending in [false, true] {
            let sort = Sort {
                by: column.id,
                descending,
            };
            let query = Query {
                tab: Tab::Ports,
                sort,
                filter: "",
            };
            let whole = page(&snapshot, query, 0, usize::MAX);
            let mut seen = whole.rows.clone();
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..5000), "{sort:?}: every row once");
            for size in [19, 333, 4999, 5000, 5001] {
                let mut rows = Vec::new();
                for first in (0..5200).step_by(size) {
                    let page = page(&snapshot, query, first, size);
                    assert_eq!(page.total, 5000);
                    rows.extend(page.rows);
                }
                assert_eq!(rows, whole.rows, "{sort:?} in pages of {size}");
            }
            let value = |index: &usize| match row(&snapshot, Tab::Ports, *index) {
                Some(row) => (row.value(column.id), row.text(column.id).into_owned()),
                None => unreachable!("an index of the page"),
            };
            let ordered = whole.rows.windows(2).all(|pair| {
                let (a, b) = (value(&pair[0]), value(&pair[1]));
                match (column.id, descending) {
                    (Id::Service, false) => a.1 <= b.1,
                    (Id::Service, true) => a.1 >= b.1,
                    (_, false) => a.0 <= b.0,
                    (_, true) => a.0 >= b.0,
                }
            });
            assert!(ordered, "{sort:?}");
        }
    }
}

#[test]
fn the_filter_finds_parts_of_ports_and_services_in_any_case() {
    let snapshot = snapshot(300);
    let find = |filter: &str| {
        let query = Query {
            tab: Tab::Ports,
            sort: Sort::of(Id::Port),
            filter,
        };
        let page = page(&snapshot, query, 0, usize::MAX);
        assert_eq!(page.total, count(&snapshot, query));
        page.rows
    };
    assert!(find("/29").into_iter().eq([29].into_iter().chain(290..300)));
    assert_eq!(find("SERVICE-3"), find("service-3"));
    assert!(!find("service-3").is_empty());
    assert!(find("no such thing").is_empty());
    let (tcp, udp) = (find("tcp").len(), find("udp").len());
    assert_eq!(tcp + udp, 300);
}

#[test]
fn a_rate_that_is_not_a_number_does_not_upset_the_order() {
    let mut snapshot = snapshot(50);
    snapshot.ports[7].pass.rate.pps = f64::NAN;
    let query = Query {
        tab: Tab::Ports,
        sort: Sort::of(Id::PassRate),
        filter: "",
    };
    assert_eq!(page(&snapshot, query, 0, 20).rows.len(), 20);
}
