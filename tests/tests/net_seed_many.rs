//! A router with as many tracked connections as it can have: a policy is loaded over them, and none is
//! cut.
//!
//! `FIREWALL_CASES=N` says how many there are (default 10,000). More than the machine's limit of
//! tracked connections raise it meanwhile.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::filled::{Filler, Half, Side, fill};
use firewall_tests::netns::{INTERFACE, OUTSIDE_V4, OUTSIDE_V6};
use firewall_tests::number;
use firewall_tests::routed::{FAR_INTERFACE, FAR_V4, FAR_V6, Routed};
use firewall_tests::snapshot::reason;
use firewall_tests::tracked::{self, Raised, Tracked};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Nothing new gets in.
fn policy(flows: u64) -> String {
    format!(
        "version: 1
default: {{in: drop}}
state: {{flows: {flows}}}
rules:
  - {{name: replies, state: established, action: pass}}
"
    )
}

/// Every so manyth connection leaves by another address and port than it has behind the router.
const TRANSLATED: u32 = 4;

/// Runs a verb; what it prints, how long it took, and the most memory that it had, in KiB.
fn measured(ctl: &Ctl<'_>, words: &[&str]) -> (String, Duration, u64) {
    let start = Instant::now();
    let mut command = ctl.command(words);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let file = format!("/proc/{}/status", child.id());
    let watch = std::thread::spawn(move || {
        let mut most = 0;
        // Of one that has ended nothing is said.
        while let Ok(text) = std::fs::read_to_string(&file) {
            let Some(line) = text.lines().find(|line| line.starts_with("VmHWM:")) else {
                break;
            };
            let number = line.split_whitespace().nth(1).unwrap();
            most = most.max(number.parse::<u64>().unwrap());
            std::thread::sleep(Duration::from_millis(5));
        }
        most
    });
    let output = child.wait_with_output().unwrap();
    let time = start.elapsed();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(output.status.success(), "{said}");
    (said, time, watch.join().unwrap())
}

#[test]
#[ignore = "needs root"]
fn a_load_takes_over_every_tracked_connection() {
    let count = number("FIREWALL_CASES", 10_000).unwrap();
    let _raised = Raised::to(count + 10_000).unwrap();
    let net = Routed::new(1_500).unwrap();
    let router = net.router();
    router
        .nft(
            "table inet fwt { chain forward { type filter hook forward priority 0; \
             ct state invalid counter drop; }; }",
        )
        .unwrap();
    for (prefix, by) in [
        ("198.18.0.0/15", "192.0.2.80"),
        ("2001:db8:5::/48", "2001:db8::80"),
    ] {
        router.ip(&format!("route add {prefix} via {by}")).unwrap();
    }
    let own = Side::of(&net.far, router, FAR_INTERFACE).unwrap();
    let other = Side::of(&net.pair.inside, router, INTERFACE).unwrap();
    let mut filler = Filler::new(own, other, [FAR_V4.into(), FAR_V6.into()], 2).unwrap();
    let each = count as u32 / 2;
    // Behind those that packets are sent for, translated ones.
    let plain = each - each / TRANSLATED;
    let start = Instant::now();
    for (half, proto) in [(Half::Tcp, 6), (Half::Other, 17)] {
        filler.knows(half, plain);
        let connections = (0..each).map(|number| {
            let (inside, outside) = filler.ends(number);
            let seen = if number < plain {
                inside
            } else {
                let router: IpAddr = if inside.is_ipv4() {
                    OUTSIDE_V4.into()
                } else {
                    OUTSIDE_V6.into()
                };
                SocketAddr::new(router, inside.port() ^ 1)
            };
            Tracked {
                proto,
                original: (inside, outside),
                reply: (outside, seen),
            }
        });
        let made = router.run(|| tracked::make(connections)).unwrap();
        assert_eq!(made, u64::from(each));
    }
    let (text, made_in) = (
        router
            .run(|| std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count").unwrap()),
        start.elapsed(),
    );
    assert!(text.trim().parse::<u64>().unwrap() >= count, "{text}");
    let ctl = Ctl::new(router).unwrap();
    let file = ctl
        .policy(&policy((count * 5 / 2).clamp(1_024, 4_194_304)))
        .unwrap();
    let file = file.to_str().unwrap();
    let words = ["load", "-i", INTERFACE, "-i", FAR_INTERFACE, "-f", file];
    let (said, time, memory) = measured(&ctl, &words);
    assert!(!said.contains("no room"), "{said}");
    let output = ctl.run(&["-o", "json", "status"]).unwrap();
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (bytes, fills) = (
        &status["flows"]["bytes"],
        Half::BOTH.map(|half| fill(&ctl, half).unwrap()),
    );
    println!(
        "{count} tracked connections, made in {made_in:?}: loaded in {time:?}, with {memory} KiB at \
         most; a table of {bytes} bytes: {fills:?}"
    );
    for (half, fill) in Half::BOTH.into_iter().zip(fills) {
        // As it leaves to the one side, and to the other.
        assert!(fill.count >= u64::from(each) * 2, "{half:?}: {fill:?}");
        assert_eq!((fill.full, fill.evicted), (0, 0), "{half:?}");
        assert_eq!(
            filler.gone(&ctl, half, 0..plain).unwrap(),
            [0; 0],
            "{half:?}"
        );
    }
    let before = reason(&ctl.snapshot().unwrap(), "no-match", "drop").0;
    let mut sent = 0;
    // Datagrams first: what is not used for two minutes is forgotten.
    for half in [Half::Other, Half::Tcp] {
        for out in [false, true] {
            let (arrived, of) = filler.uses(half, out).unwrap();
            assert!(arrived * 10 > of * 9, "{half:?}, {out}: {arrived} of {of}");
            sent += of;
        }
    }
    let stopped = reason(&ctl.snapshot().unwrap(), "no-match", "drop").0 - before;
    println!("of {sent} packets of these connections, {stopped} were stopped");
    assert_eq!(stopped, 0, "of {sent}");
}
