//! Screens of `plan`.

use super::super::plan::screen;
use firewall_api::compared::{By, Compared, RegionView};
use firewall_api::format::Numbers;
use firewall_api::plan::{Change, Fate, PlanReport, Reach, RulePlan, ServicePlan, SessionPlan};
use firewall_api::view::{Count, SCHEMA};

fn rule(fate: Fate, name: &str, text: &str) -> RulePlan {
    RulePlan {
        fate,
        name: name.to_owned(),
        text: text.to_owned(),
        was: None,
        place: "rules.d/10-web.yaml:12".to_owned(),
        hits: None,
        last_hit: None,
        runtime: false,
    }
}

fn service(port: u16, service: &str, was: Reach, becomes: Reach) -> ServicePlan {
    ServicePlan {
        proto: "tcp".to_owned(),
        port,
        service: Some(service.to_owned()),
        was,
        becomes,
    }
}

fn region(change: &str, packets: &str, was: &str, becomes: &str) -> RegionView {
    let by = |verdict: &str| By {
        verdict: verdict.to_owned(),
        rule: None,
        place: None,
    };
    RegionView {
        change: change.to_owned(),
        packets: packets.to_owned(),
        example: "tcp 198.51.100.7:40000 > 192.0.2.80:21 syn".to_owned(),
        was: by(was),
        becomes: by(becomes),
    }
}

fn report() -> PlanReport {
    let hits = |packets| {
        Some(Count {
            packets,
            bytes: packets * 60,
        })
    };
    PlanReport {
        schema: SCHEMA.to_owned(),
        time: 1_800_000_000.0,
        policy: "/etc/firewall".to_owned(),
        in_force: Some(42),
        equal: false,
        default: Some(Change {
            was: "pass".to_owned(),
            becomes: "drop".to_owned(),
        }),
        rules: vec![
            RulePlan {
                hits: hits(1_240_000),
                last_hit: Some(1_799_999_996.0),
                ..rule(Fate::Remove, "old-ftp", "tcp port 21: pass")
            },
            RulePlan {
                hits: hits(0),
                runtime: true,
                ..rule(Fate::Remove, "allow-8080-tcp", "tcp port 8080: pass")
            },
            rule(
                Fate::Add,
                "ssh-admins",
                "tcp port 22 from @admins: pass, limited",
            ),
            RulePlan {
                was: Some("tcp port 443: pass".to_owned()),
                hits: hits(12),
                ..rule(Fate::Change, "web", "tcp port 443: pass, logged")
            },
            rule(Fate::Move, "dns\u{202e}", "udp port 53: pass"),
        ],
        packets: Compared {
            schema: SCHEMA.to_owned(),
            equal: false,
            complete: true,
            settings: vec!["packet.fragments: pass -> drop".to_owned()],
            regions: vec![region(RegionView::DROPS, "tcp port 21", "pass", "drop")],
            more: 0,
            newly_pass: 0,
            newly_drop: 2,
        },
        session: Some(SessionPlan {
            connections: vec!["203.0.113.5:51512 > 192.0.2.80:22".to_owned()],
            cut: None,
        }),
        services: vec![
            service(22, "ssh", Reach::All, Reach::Some),
            service(443, "https", Reach::All, Reach::All),
            service(5432, "postgresql", Reach::All, Reach::None),
        ],
        add: 1,
        change: 3,
        remove: 2,
        warnings: Vec::new(),
    }
}

#[test]
fn a_plan_says_the_most_important_first() {
    let mut report = report();
    let plan = screen(&report, Numbers::Si, (false, false));
    if let Some(session) = &mut report.session {
        session.cut = Some("this would cut your own connection: tcp is dropped".to_owned());
    }
    report.rules.clear();
    let cut = screen(&report, Numbers::Si, (true, false));
    report.equal = true;
    report.default = None;
    report.session = None;
    report.packets = Compared {
        equal: true,
        settings: Vec::new(),
        regions: Vec::new(),
        newly_drop: 0,
        ..report.packets
    };
    report.services = vec![service(443, "https", Reach::All, Reach::All); 20];
    let equal = screen(&report, Numbers::Si, (false, false));
    insta::assert_snapshot!("plan", format!("{plan}\n{cut}\n{equal}"));
}
