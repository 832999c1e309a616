//! What `status` and `stats` say of the table of flows.

use super::super::stats;
use super::{screen, snapshot};
use firewall_api::format::Numbers;
use firewall_api::report::{FlowsUse, HalfUse, State, StatusReport};
use firewall_api::view::{FlowLosses, HalfLosses};

/// A table of flows with so many in the half for TCP, and so many that found no room there.
pub(super) fn table(tcp: usize, full: u64) -> FlowsUse {
    let half = |count: usize, full: u64| HalfUse {
        count,
        capacity: 114_681,
        full,
        evicted: full / 4,
    };
    FlowsUse {
        count: tcp + 3_000,
        capacity: 172_020,
        bytes: 16 << 20,
        tcp: half(tcp, full),
        other: half(3_000, 0),
        warnings: Vec::new(),
    }
}

#[test]
fn status_says_how_full_the_table_of_flows_is() {
    let mut report = StatusReport::of(&snapshot());
    report.add_flows(table(91_000, 0));
    assert_eq!(report.state, State::Active);
    let text = screen(&report);
    assert!(
        text.contains("Flows tcp 91.0k of 114.7k (79.4%), other 3.0k of 114.7k (2.6%), 16.78 MB\n"),
        "{text}"
    );
    assert!(!text.contains("Flow-full"), "{text}");
    // What did not fit long ago is told, and wants no attention any more.
    let mut report = StatusReport::of(&snapshot());
    report.add_flows(table(91_000, 12));
    assert_eq!(report.state, State::Active);
    assert!(screen(&report).contains("Flow-full tcp 12, other 0  Evicted tcp 3, other 0\n"));
}

#[test]
fn a_table_of_flows_that_is_too_small_wants_attention() {
    let mut report = StatusReport::of(&snapshot());
    report.add_flows(table(92_000, 0));
    assert_eq!(report.state, State::Degraded);
    assert!(screen(&report).contains("! the flow table is 80 % full for TCP"));
    let mut losing = snapshot();
    losing.flows = Some(FlowLosses {
        tcp: HalfLosses {
            full: 12,
            evicted: 3,
        },
        other: HalfLosses::default(),
        growing: true,
    });
    let mut report = StatusReport::of(&losing);
    report.add_flows(table(114_681, 12));
    assert_eq!(report.state, State::Degraded);
    insta::assert_snapshot!("status_with_a_full_table_of_flows", screen(&report));
    let reasons = stats::text(&losing, stats::What::Reasons, 3, false, Numbers::Si);
    assert!(
        reasons.ends_with("(flow-full): tcp 12, other 0\n"),
        "{reasons}"
    );
}
