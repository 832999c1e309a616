//! Made-up snapshots for tests and pictures of the layout of `top`. Nothing here was measured:
//! every number is a fixed function of the tick.
//!
//! Included by path from the example `top_synthetic` and from the tests of `top`.

use firewall_api::view::{
    Count, GenerationView, HISTORY, InterfaceView, OtherPorts, PortView, Rate, ReasonView,
    RuleView, SCHEMA, Snapshot, Status, Traffic,
};
use firewall_policy::rule::Mode;

/// 2026-01-01 12:00:00 UTC.
const EPOCH: f64 = 1_767_268_800.0;

/// Port, service, passed and dropped packets a second, bytes a packet, period of its ups and downs.
type Profile = (&'static str, u16, Option<&'static str>, f64, f64, f64, f64);

const PROFILES: [Profile; 10] = [
    ("tcp", 443, Some("https"), 121_900.0, 1_310.0, 640.0, 47.0),
    ("udp", 53, Some("domain"), 4_100.0, 118_400.0, 96.0, 23.0),
    ("tcp", 80, Some("http"), 9_800.0, 420.0, 410.0, 31.0),
    ("tcp", 22, Some("ssh"), 12.0, 310.0, 90.0, 13.0),
    ("tcp", 23, Some("telnet"), 0.0, 2_740.0, 60.0, 17.0),
    ("tcp", 3389, Some("ms-wbt-server"), 0.0, 910.0, 60.0, 19.0),
    ("udp", 123, Some("ntp"), 3.4, 64.0, 90.0, 11.0),
    ("udp", 51820, Some("wireguard"), 2_210.0, 0.0, 980.0, 37.0),
    ("tcp", 5432, Some("postgresql"), 0.0, 7.2, 60.0, 9.0),
    ("tcp", 8080, Some("http-alt"), 84.0, 1.5, 300.0, 29.0),
];

/// A made-up firewall with this many busy ports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Synthetic {
    /// At most 131,070: TCP and UDP, without port 0.
    pub(crate) ports: usize,
}

impl Synthetic {
    /// The snapshot `tick` seconds after the start.
    pub(crate) fn at(self, tick: u64) -> Snapshot {
        let ports: Vec<PortView> = (0..self.ports).map(|index| port(index, tick)).collect();
        let sum = |pick: fn(&PortView) -> Traffic| {
            ports
                .iter()
                .map(pick)
                .fold(Traffic::default(), |a, b| add(a, b, 1.0))
        };
        let (pass, drop) = (sum(|view| view.pass), sum(|view| view.drop));
        let rules = rules(&ports, tick);
        let reasons = reasons(pass, drop, tick);
        Snapshot {
            schema: SCHEMA.to_owned(),
            time: EPOCH + tick as f64,
            interval: 1.0,
            status: status(pass, drop, rules.len()),
            pass,
            drop,
            ports,
            other_ports: OtherPorts::default(),
            flows: None,
            rules,
            reasons,
        }
    }
}

/// Slow waves with a flood of ten seconds every minute; never negative, different for each port.
fn level(base: f64, period: f64, phase: f64, tick: f64) -> f64 {
    let wave = 1.0 + 0.8 * ((tick + phase) / period * std::f64::consts::TAU).sin();
    let flood = if (tick + phase).rem_euclid(60.0) < 10.0 && base > 1000.0 {
        2.2
    } else {
        1.0
    };
    base * wave * flood
}

fn profile(index: usize) -> Profile {
    if let Some(profile) = PROFILES.get(index) {
        return *profile;
    }
    // Ports in an order without pattern (a full-period generator modulo 65,535), twice through for
    // TCP and UDP. Those that have a profile come again as quiet neighbours under the other
    // protocol only.
    let index = index - PROFILES.len();
    let proto = if index < 65_535 { "tcp" } else { "udp" };
    let mut port = 1 + ((index % 65_535) * 48_271 % 65_535) as u16;
    if PROFILES
        .iter()
        .any(|known| known.0 == proto && known.1 == port)
    {
        port = 65_535 - port;
    }
    let seed = (index * 2_654_435_761 % 1000) as f64;
    (
        proto,
        port,
        None,
        seed / 400.0,
        seed / 90.0,
        60.0 + seed,
        7.0 + seed % 40.0,
    )
}

fn traffic(base: f64, bytes: f64, period: f64, phase: f64, tick: u64) -> Traffic {
    let pps = level(base, period, phase, tick as f64);
    // The sum of a wave is close to its mean: good enough for totals that only need to grow.
    let packets = (base * (tick + 3600) as f64).round();
    Traffic {
        total: Count {
            packets: packets as u64,
            bytes: (packets * bytes) as u64,
        },
        rate: Rate {
            pps,
            bps: pps * bytes * 8.0,
        },
    }
}

fn port(index: usize, tick: u64) -> PortView {
    let (proto, port, service, pass, drop, bytes, period) = profile(index);
    let phase = index as f64;
    let first = tick.saturating_sub(HISTORY as u64 - 1);
    PortView {
        proto: proto.to_owned(),
        port,
        service: service.map(str::to_owned),
        pass: traffic(pass, bytes, period, phase, tick),
        drop: traffic(drop, bytes, period, phase, tick),
        history: (first..=tick)
            .map(|tick| level(pass + drop, period, phase, tick as f64).round() as u64)
            .collect(),
    }
}

fn add(a: Traffic, b: Traffic, share: f64) -> Traffic {
    Traffic {
        total: Count {
            packets: a.total.packets + (b.total.packets as f64 * share) as u64,
            bytes: a.total.bytes + (b.total.bytes as f64 * share) as u64,
        },
        rate: Rate {
            pps: a.rate.pps + b.rate.pps * share,
            bps: a.rate.bps + b.rate.bps * share,
        },
    }
}

/// The history of something that gets this share of the rate now.
fn history(pps: f64, tick: u64) -> Vec<u64> {
    let first = tick.saturating_sub(HISTORY as u64 - 1);
    (first..=tick)
        .map(|tick| level(pps, 41.0, 5.0, tick as f64).round() as u64)
        .collect()
}

fn rules(ports: &[PortView], tick: u64) -> Vec<RuleView> {
    let hits = |wanted: &[(&str, u16)], pick: fn(&PortView) -> Traffic| {
        let wanted = |view: &&PortView| wanted.contains(&(view.proto.as_str(), view.port));
        ports
            .iter()
            .filter(wanted)
            .map(pick)
            .fold(Traffic::default(), |a, b| add(a, b, 1.0))
    };
    let pass = |view: &PortView| view.pass;
    let drop = |view: &PortView| view.drop;
    let rules = [
        (
            "blocklist",
            "drop",
            "from @blocklist",
            true,
            hits(&[("udp", 53), ("tcp", 80)], drop),
        ),
        (
            "web",
            "pass",
            "tcp port 80,443",
            true,
            hits(&[("tcp", 443), ("tcp", 80)], pass),
        ),
        (
            "dns-resolvers",
            "pass",
            "udp source port 53 from @resolvers",
            true,
            hits(&[("udp", 53)], pass),
        ),
        (
            "ssh-admins",
            "pass",
            "tcp port 22 from @admins",
            true,
            hits(&[("tcp", 22)], pass),
        ),
        (
            "ssh-rest",
            "drop",
            "tcp port 22",
            true,
            hits(&[("tcp", 22)], drop),
        ),
        (
            "wireguard",
            "pass",
            "udp port 51820",
            true,
            hits(&[("udp", 51_820)], pass),
        ),
        (
            "count-telnet",
            "next",
            "tcp port 23",
            true,
            hits(&[("tcp", 23)], drop),
        ),
        ("old-ftp", "pass", "tcp port 21", false, Traffic::default()),
    ];
    // The one with a limit.
    let over = |name: &str| (name == "web").then(|| hits(&[("tcp", 80)], drop));
    let view = |(index, rule): (usize, (&str, &str, &str, bool, Traffic))| RuleView {
        number: index + 1,
        name: rule.0.to_owned(),
        action: rule.1.to_owned(),
        audit: None,
        comment: None,
        last_hit: None,
        owner: None,
        reason: None,
        expires: None,
        expired: false,
        runtime: false,
        summary: rule.2.to_owned(),
        place: format!("rules/web-server.yaml:{}", 14 + index * 5),
        enabled: rule.3,
        hits: rule.4,
        over: over(rule.0),
        history: history(rule.4.rate.pps, tick),
    };
    rules.into_iter().enumerate().map(view).collect()
}

fn reasons(pass: Traffic, drop: Traffic, tick: u64) -> Vec<ReasonView> {
    let shares = [
        ("rule", "pass", pass, 0.999),
        ("no-match", "drop", drop, 0.55),
        ("rule", "drop", drop, 0.448),
        ("arp", "pass", pass, 0.000_5),
        ("frag-tiny", "drop", drop, 0.001),
        ("neighbour", "pass", pass, 0.000_3),
        ("tcp-flags", "drop", drop, 0.000_9),
        ("multicast-listener", "pass", pass, 0.000_2),
        ("bogon", "drop", drop, 0.000_1),
    ];
    let view = |(name, verdict, of, share): (&str, &str, Traffic, f64)| {
        let hits = add(Traffic::default(), of, share);
        ReasonView {
            name: name.to_owned(),
            verdict: verdict.to_owned(),
            would_drop: false,
            hits,
            history: history(hits.rate.pps, tick),
        }
    };
    shares.into_iter().map(view).collect()
}

fn status(pass: Traffic, drop: Traffic, rules: usize) -> Status {
    let interface = |name: &str, ifindex: u32, mode, fallback: Option<&str>, share| InterfaceView {
        name: name.to_owned(),
        ifindex,
        mode,
        fallback: fallback.map(str::to_owned),
        limits: Vec::new(),
        link_id: 5 + ifindex,
        program_id: 119,
        zone: if ifindex == 2 {
            "wan".to_owned()
        } else {
            String::new()
        },
        pass: add(Traffic::default(), pass, share),
        drop: add(Traffic::default(), drop, share),
    };
    Status {
        version: "0.1.0".to_owned(),
        daemon_pid: Some(812),
        daemon_uptime: Some(3600.0),
        generation: Some(GenerationView {
            number: 42,
            policy: "rules/web-server.yaml".to_owned(),
            content_sha256: "1".repeat(64),
            sha256: "0".repeat(64),
            applied: EPOCH - 7200.0,
            rules: rules.saturating_sub(1),
            runtime: 0,
            default: "drop".to_owned(),
            audit: false,
            table_bytes: 18_432,
        }),
        interfaces: vec![
            interface("eth0", 2, Mode::Native, None, 0.9),
            interface(
                "eth1",
                3,
                Mode::Generic,
                Some("the driver has no native XDP"),
                0.1,
            ),
        ],
        last_error: None,
        drift: Vec::new(),
        pending: None,
        warnings: Vec::new(),
    }
}
