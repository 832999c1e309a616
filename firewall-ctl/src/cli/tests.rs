//! Golden screens from a made-up snapshot: what the verbs print, to the letter.

mod flows;
mod history;
mod plan;

use super::context::When;
use super::output::Format;
use super::{Cli, doctor, get, stats, status};
use clap::{CommandFactory, Parser};
use firewall_api::failure::Exit;
use firewall_api::format::Numbers;
use firewall_api::report::{ReasonsReport, RulesReport, State, StatusReport};
use firewall_api::trial::{CheckView, DoctorReport, Selftest, SelftestRow};
use firewall_api::view::{
    Count, GenerationView, InterfaceView, OtherPorts, PortView, Rate, ReasonView, RuleView, SCHEMA,
    Snapshot, Status, Traffic,
};
use firewall_policy::rule::Mode;

fn traffic(packets: u64, pps: f64) -> Traffic {
    Traffic {
        total: Count {
            packets,
            bytes: packets.saturating_mul(500),
        },
        rate: Rate {
            pps,
            bps: pps * 4000.0,
        },
    }
}

fn interface(name: &str, mode: Mode, pass: Traffic, drop: Traffic) -> InterfaceView {
    InterfaceView {
        name: name.to_owned(),
        ifindex: 2,
        mode,
        fallback: (mode == Mode::Generic).then(|| "the driver has no native XDP".to_owned()),
        limits: Vec::new(),
        link_id: 7,
        program_id: 41,
        zone: "wan".to_owned(),
        pass,
        drop,
    }
}

fn port(proto: &str, port: u16, service: Option<&str>, pass: Traffic, drop: Traffic) -> PortView {
    PortView {
        proto: proto.to_owned(),
        port,
        service: service.map(str::to_owned),
        pass,
        drop,
        history: vec![1, 2, 3],
    }
}

fn rule(number: usize, name: &str, action: &str, summary: &str, hits: Traffic) -> RuleView {
    RuleView {
        number,
        name: name.to_owned(),
        action: action.to_owned(),
        audit: None,
        comment: None,
        last_hit: None,
        owner: None,
        reason: None,
        expires: None,
        expired: false,
        runtime: false,
        summary: summary.to_owned(),
        place: format!("rules/web.yaml:{}", number + 10),
        enabled: name != "old-ftp",
        hits,
        over: None,
        history: Vec::new(),
    }
}

fn reason(name: &str, verdict: &str, hits: Traffic) -> ReasonView {
    ReasonView {
        name: name.to_owned(),
        verdict: verdict.to_owned(),
        would_drop: false,
        hits,
        history: Vec::new(),
    }
}

/// A busy host with a daemon.
fn snapshot() -> Snapshot {
    Snapshot {
        schema: SCHEMA.to_owned(),
        time: 1_800_007_200.0,
        interval: 1.0,
        status: Status {
            version: "1.0.0".to_owned(),
            daemon_pid: Some(4242),
            daemon_uptime: Some(274_320.0),
            generation: Some(GenerationView {
                number: 42,
                policy: "/etc/firewall/web.yaml".to_owned(),
                content_sha256: "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"
                    .to_owned(),
                sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
                    .to_owned(),
                applied: 1_800_000_000.0,
                rules: 3,
                runtime: 0,
                default: "drop".to_owned(),
                audit: false,
                table_bytes: 24_128,
            }),
            interfaces: vec![
                interface(
                    "eth0",
                    Mode::Native,
                    traffic(8_200_113, 188_300.0),
                    traffic(51_000_000, 1_050_000.0),
                ),
                interface(
                    "eth1",
                    Mode::Generic,
                    traffic(31_000, 2100.0),
                    traffic(0, 0.0),
                ),
            ],
            last_error: None,
            drift: Vec::new(),
            pending: None,
            warnings: Vec::new(),
        },
        pass: traffic(8_231_113, 190_400.0),
        drop: traffic(51_000_000, 1_050_000.0),
        ports: vec![
            port(
                "tcp",
                443,
                Some("https"),
                traffic(8_000_000, 121_900.0),
                traffic(48_000_000, 903_200.0),
            ),
            port(
                "udp",
                53,
                Some("dns"),
                traffic(200_000, 41_000.0),
                traffic(2_900_000, 118_400.0),
            ),
            port("tcp", 65_535, None, traffic(12, 0.0), traffic(310, 0.4)),
        ],
        flows: None,
        other_ports: OtherPorts {
            count: 212,
            pass: traffic(31_101, 24_100.0),
            drop: traffic(99_690, 28_700.0),
        },
        rules: vec![
            rule(
                1,
                "blocklist",
                "drop",
                "from @blocklist",
                traffic(48_000_000, 902_100.0),
            ),
            rule(
                2,
                "web",
                "pass",
                "tcp port 80,443 from any to any, both families, IPv4 and IPv6",
                traffic(8_000_000, 121_900.0),
            ),
            rule(
                3,
                "ssh-admins",
                "pass",
                "tcp port 22 from @admins",
                traffic(12, 0.0),
            ),
            rule(4, "old-ftp", "drop", "tcp port 21", traffic(0, 0.0)),
        ],
        reasons: vec![
            reason("rule", "drop", traffic(48_000_000, 902_100.0)),
            reason("rule", "pass", traffic(8_200_000, 188_300.0)),
            reason("no-match", "drop", traffic(2_900_000, 118_400.0)),
            reason("frag-tiny", "drop", traffic(100_000, 12_200.0)),
            reason("arp", "pass", traffic(31_113, 2.0)),
        ],
    }
}

fn screen(report: &StatusReport) -> String {
    let screen = status::screen(report, Numbers::Si, false);
    assert!(screen.lines().count() <= 24, "{screen}");
    screen
}

#[test]
fn status_of_a_busy_host() {
    let report = StatusReport::of(&snapshot());
    assert_eq!(report.state, State::Active);
    let text = screen(&report);
    for line in text.lines().filter(|line| !line.starts_with('!')) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    insta::assert_snapshot!(text);
}

#[test]
fn status_without_a_daemon() {
    let mut snapshot = snapshot();
    snapshot.status.daemon_pid = None;
    snapshot.status.daemon_uptime = None;
    insta::assert_snapshot!(screen(&StatusReport::of(&snapshot)));
}

/// A host whose policy only counts what it would drop.
fn audited() -> Snapshot {
    let mut snapshot = snapshot();
    if let Some(generation) = &mut snapshot.status.generation {
        generation.audit = true;
    }
    for reason in &mut snapshot.reasons {
        if reason.verdict == "drop" {
            reason.verdict = "pass".to_owned();
            reason.would_drop = true;
        }
    }
    let rule = &mut snapshot.rules[0];
    rule.action = "next".to_owned();
    rule.audit = Some("drop".to_owned());
    rule.owner = Some("ops".to_owned());
    rule.reason = Some("ticket 4711".to_owned());
    // The last rule's time has come.
    let rule = &mut snapshot.rules[2];
    rule.expires = Some(1_800_000_000);
    rule.expired = true;
    snapshot
}

#[test]
fn audit_mode_is_loud() {
    let snapshot = audited();
    insta::assert_snapshot!("audit_status", screen(&StatusReport::of(&snapshot)));
    let rules = RulesReport::of(&snapshot);
    insta::assert_snapshot!("audit_rules", get::rules(&rules, true, Numbers::Si, None));
    let reasons = ReasonsReport::of(&snapshot);
    insta::assert_snapshot!("audit_reasons", get::reasons(&reasons, false, Numbers::Si));
}

#[test]
fn runtime_rules_are_marked() {
    let mut snapshot = snapshot();
    snapshot.rules[0].runtime = true;
    if let Some(generation) = &mut snapshot.status.generation {
        generation.runtime = 1;
    }
    let status = screen(&StatusReport::of(&snapshot));
    let rules = RulesReport::of(&snapshot);
    let narrow = get::rules(&rules, false, Numbers::Si, Some(80));
    assert!(
        status.lines().all(|line| line.chars().count() <= 80),
        "{status}"
    );
    insta::assert_snapshot!("runtime_rules", format!("{status}\n{narrow}"));
}

#[test]
fn status_after_a_failed_reload() {
    let mut snapshot = snapshot();
    snapshot.status.last_error =
        Some("reload of web.yaml failed at 12:03:09Z: 1 error: FW0118 unknown action".to_owned());
    snapshot.status.warnings = vec!["eth2 is on record and has no link".to_owned()];
    let report = StatusReport::of(&snapshot);
    assert_eq!(report.state, State::Degraded);
    insta::assert_snapshot!(screen(&report));
}

#[test]
fn an_interface_without_its_filter_is_not_what_was_asked_for() {
    let mut snapshot = snapshot();
    assert_eq!(StatusReport::of(&snapshot).state, State::Active);
    snapshot.status.warnings = vec!["eth2 is not filtered: its link was removed".to_owned()];
    assert_eq!(StatusReport::of(&snapshot).state, State::Degraded);
}

#[test]
fn status_of_a_host_without_a_policy() {
    let mut empty = snapshot();
    empty.status.generation = None;
    empty.status.interfaces.clear();
    empty.status.daemon_pid = None;
    empty.status.daemon_uptime = None;
    let report = StatusReport::of(&empty);
    assert_eq!(report.state, State::Off);
    insta::assert_snapshot!(screen(&report));
}

#[test]
fn status_of_a_host_at_rest_names_totals() {
    let mut resting = snapshot();
    for rule in &mut resting.rules {
        rule.hits.rate = Rate::default();
    }
    for reason in &mut resting.reasons {
        reason.hits.rate = Rate::default();
    }
    let text = screen(&StatusReport::of(&resting));
    assert!(
        text.contains("Top drops     blocklist 48.00M | no-match 2.90M | frag-tiny 100.0k\n"),
        "{text}"
    );
}

#[test]
fn status_with_many_interfaces_and_warnings_fits_the_screen() {
    let mut many = snapshot();
    for i in 0..63 {
        many.status.interfaces.push(interface(
            &format!("veth{i:011}"),
            Mode::Generic,
            traffic(u64::MAX, 1e12),
            traffic(u64::MAX, 1e12),
        ));
    }
    many.status.interfaces.remove(1);
    many.status.warnings = (0..40).map(|i| format!("warning {i}")).collect();
    let mut report = StatusReport::of(&many);
    report.add_flows(flows::table(114_681, u64::MAX));
    screen(&report);
}

#[test]
fn tables_of_stats() {
    let snapshot = snapshot();
    for (name, what) in [
        ("ports", stats::What::Ports),
        ("rules", stats::What::Rules),
        ("interfaces", stats::What::Interfaces),
        ("reasons", stats::What::Reasons),
    ] {
        let text = stats::text(&snapshot, what, 3, false, Numbers::Si);
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        insta::assert_snapshot!(format!("stats_{name}"), text);
        let wide = stats::text(&snapshot, what, 3, true, Numbers::Raw);
        insta::assert_snapshot!(format!("stats_{name}_wide"), wide);
    }
}

#[test]
fn tables_of_get() {
    let snapshot = snapshot();
    let rules = RulesReport::of(&snapshot);
    insta::assert_snapshot!(
        "get_rules",
        get::rules(&rules, false, Numbers::Si, Some(80))
    );
    insta::assert_snapshot!(
        "get_rules_wide",
        get::rules(&rules, true, Numbers::Si, None)
    );
    let reasons = ReasonsReport::of(&snapshot);
    insta::assert_snapshot!("get_reasons", get::reasons(&reasons, false, Numbers::Si));
    insta::assert_snapshot!(
        "get_interfaces",
        get::interfaces(&snapshot.status.interfaces)
    );
}

#[test]
fn shapes_of_json_and_yaml() {
    let snapshot = snapshot();
    let status = StatusReport::of(&snapshot);
    insta::assert_snapshot!(
        "status_json",
        Format::Json.document(&status, false).unwrap()
    );
    insta::assert_snapshot!(
        "status_yaml",
        Format::Yaml.document(&status, false).unwrap()
    );
    let ports = stats::document(&snapshot, stats::What::Ports);
    insta::assert_snapshot!(
        "stats_ports_json",
        Format::Json.document(&ports, false).unwrap()
    );
    let rules = RulesReport::of(&snapshot);
    insta::assert_snapshot!(
        "get_rules_json",
        Format::Json.document(&rules, false).unwrap()
    );
    // One of several: one line each.
    let line = Format::Json.document(&ports, true).unwrap();
    assert_eq!(line.matches('\n').count(), 1);
}

#[test]
fn documents_read_back() {
    let snapshot = snapshot();
    let status = StatusReport::of(&snapshot);
    let json = Format::Json.document(&status, false).unwrap();
    assert_eq!(serde_json::from_str::<StatusReport>(&json).unwrap(), status);
    let json = Format::Json.document(&snapshot, true).unwrap();
    assert_eq!(serde_json::from_str::<Snapshot>(&json).unwrap(), snapshot);
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn global_options_stand_before_and_after_the_verb() {
    for line in [
        ["firewall-ctl", "--color", "never", "status"],
        ["firewall-ctl", "status", "--color", "never"],
    ] {
        let cli = Cli::try_parse_from(line).unwrap();
        assert_eq!(cli.globals.color, When::Never);
    }
    let nouns = ["rule", "rules", "reason", "policy", "iface", "interfaces"];
    for noun in nouns {
        assert!(
            Cli::try_parse_from(["firewall-ctl", "get", noun]).is_ok(),
            "{noun}"
        );
    }
}

fn doctor_report() -> DoctorReport {
    let check = |what: &str, found: &str, advice: Option<&str>| CheckView {
        what: what.into(),
        ok: advice.is_none(),
        found: found.into(),
        advice: advice.map(str::to_owned),
    };
    let row =
        |row: &str, frame: &str, expected: &str, got: &str, reason: &str, why: &str| SelftestRow {
            row: row.into(),
            frame: frame.into(),
            zone: String::new(),
            expected: expected.into(),
            expected_reason: why.into(),
            got: got.into(),
            reason: reason.into(),
            ok: (expected, why) == (got, reason),
        };
    DoctorReport {
        schema: SCHEMA.into(),
        checks: vec![
            check("kernel", "6.12.38-amd64", None),
            check(
                "BPF compiler",
                "off: programs are interpreted, many times slower",
                Some("sysctl -w net.core.bpf_jit_enable=1"),
            ),
        ],
        selftest: Some(Selftest {
            milliseconds: 41.3,
            failed: 1,
            rows: vec![
                row(
                    "E01",
                    "one VLAN tag, port 80",
                    "pass",
                    "pass",
                    "rule",
                    "rule",
                ),
                row(
                    "E12",
                    "first fragment",
                    "drop",
                    "pass",
                    "no-match",
                    "frag-tiny",
                ),
            ],
        }),
    }
}

#[test]
fn doctor_with_something_wrong() {
    let report = doctor_report();
    insta::assert_snapshot!(doctor::text(&report, false));
    assert_eq!(doctor::exit(&report), Exit::Failed);
}

#[test]
fn doctor_fails_for_a_check_or_a_packet() {
    let mut report = doctor_report();
    report.checks.truncate(1);
    assert_eq!(doctor::exit(&report), Exit::Failed);
    if let Some(test) = &mut report.selftest {
        test.failed = 0;
    }
    assert_eq!(doctor::exit(&report), Exit::Ok);
    report = doctor_report();
    report.selftest = None;
    assert_eq!(doctor::exit(&report), Exit::Failed);
}
