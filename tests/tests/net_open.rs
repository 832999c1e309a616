//! Whatever is done to the filter, connections that are open go on: it is loaded over them, another
//! policy replaces the first, the daemon is killed and comes back, the table of flows is made in
//! another size. On a host, on a router, behind masquerade and a forwarded port.
//!
//! Nothing but these connections is on the cables, so that a rule behind `state: established` counts
//! each segment of theirs that did not pass: none, also where TCP would have got over it.
//!
//! `FIREWALL_CASES=N` says how many connections there are on each (default 48, and then one of the beds
//! alone), `FIREWALL_SEED=N` when the daemon dies.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{
    INSIDE_V4, INSIDE_V6, INTERFACE, Namespace, OUTSIDE_V4, OUTSIDE_V6, Pair,
};
use firewall_tests::open::Crowd;
use firewall_tests::random::Random;
use firewall_tests::routed::{FAR_INTERFACE, FAR_V4, FAR_V6, Routed};
use firewall_tests::snapshot::rule;
use firewall_tests::{number, seed};
use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

const PORT: u16 = 80;
/// What comes here goes on to another host.
const FORWARDED: u16 = 8_080;

/// Nothing new gets in. What is not known of a connection is reset.
const POLICY: &str = "\
version: 1
default: {in: drop}
rules:
  - {name: replies, state: established, action: pass}
  - {name: rest, proto: tcp, action: reject}
";

/// Another one, with other rules and tables.
const OTHER: &str = "\
version: 1
default: {in: drop}
sets:
  bad: {type: cidr, elements: [203.0.113.0/24, \"2001:db8:bad::/48\"]}
rules:
  - {name: bad, from: \"@bad\", action: drop}
  - {name: ssh, proto: tcp, port: 22, limit: {rate: 10/s, burst: 20, per: source}, action: pass}
  - {name: dns, proto: udp, port: 53, action: pass}
  - {name: replies, state: established, action: pass}
  - {name: rest, proto: tcp, action: reject}
";

/// A policy with a table of flows of another size.
fn sized(flows: u32) -> String {
    POLICY.replace("rules:", &format!("state: {{flows: {flows}}}\nrules:"))
}

fn cases() -> usize {
    number("FIREWALL_CASES", 48).unwrap() as usize
}

/// Whether everything is tried.
fn in_full() -> bool {
    cases() >= 100
}

/// What is done, over open connections between two hosts, to the filter of `ctl`.
struct Bed<'a> {
    ctl: Ctl<'a>,
    interfaces: &'a [&'a str],
    crowd: Crowd,
}

impl<'a> Bed<'a> {
    fn new(
        host: &'a Namespace,
        interfaces: &'a [&'a str],
        client: &Namespace,
        server: &Namespace,
        to: &[SocketAddr],
    ) -> Self {
        Self {
            ctl: Ctl::new(host).unwrap(),
            interfaces,
            crowd: Crowd::open(client, server, to, PORT, cases()).unwrap(),
        }
    }

    fn start(&mut self, policy: &str) {
        let file = self.ctl.policy(policy).unwrap();
        // The daemon's own words name the first interface.
        let more: Vec<&str> = self.interfaces[1..]
            .iter()
            .flat_map(|it| ["-i", it])
            .collect();
        self.ctl.start_with(&file, &more).unwrap();
    }

    fn apply(&self, policy: &str) {
        let file = self.ctl.policy(policy).unwrap();
        let told = self.ctl.ok(&["apply", "-f", file.to_str().unwrap()]);
        let told = told.unwrap();
        assert!(told.contains("active"), "{told}");
    }

    /// Every connection is used, and no segment of any of them has met the last rule.
    fn goes_on(&mut self, after: &str) {
        let lost = self.crowd.lost();
        let stopped = self.stopped();
        assert!(
            lost.is_empty() && stopped == 0,
            "after {after}: {stopped} segments were stopped; lost: {lost:#?}"
        );
    }

    /// Segments of the connections that did not pass.
    fn stopped(&self) -> u64 {
        rule(&self.ctl.snapshot().unwrap(), "rest").0
    }

    /// One thing after the other, and all connections are used after each.
    fn each(&mut self) {
        self.goes_on("a load over running traffic");
        self.apply(OTHER);
        self.goes_on("another policy");
        self.ctl.kill().unwrap();
        self.goes_on("the end of the daemon");
        self.start(POLICY);
        self.goes_on("a new daemon");
        self.apply(&sized(20_000));
        self.goes_on("a smaller table");
        if in_full() {
            self.apply(&sized(1_000_000));
            self.goes_on("a larger table");
            self.apply(POLICY);
            self.goes_on("the usual table");
        }
    }

    /// One thing after the other, and in between nobody who is idle says a word.
    fn in_a_row(&mut self) {
        self.apply(OTHER);
        self.apply(&sized(300_000));
        self.ctl.kill().unwrap();
        self.start(&sized(20_000));
        self.apply(POLICY);
        self.goes_on("all of it in a row");
    }

    /// The daemon is killed in the middle of changes of the policy and of the table.
    fn killed_at_work(&mut self, random: &mut Random) {
        for round in 0..6 {
            let policy = match round % 3 {
                0 => OTHER.to_owned(),
                1 => sized(500_000),
                _ => POLICY.to_owned(),
            };
            let file = self.ctl.policy(&policy).unwrap();
            let words = ["apply", "-f", file.to_str().unwrap()];
            let mut apply = self.ctl.command(&words);
            let mut apply = apply
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(random.below(1_500)));
            self.ctl.kill().unwrap();
            apply.wait().unwrap();
            self.goes_on("the end of a daemon at work");
            self.start(POLICY);
            self.goes_on("the next daemon");
        }
    }

    /// All of it, on connections that are open before the filter comes.
    fn tried(mut self, what: &str) {
        let seed = seed(500).unwrap();
        self.start(POLICY);
        self.each();
        if in_full() {
            self.in_a_row();
            self.killed_at_work(&mut Random::new(seed));
        }
        println!(
            "{what}: {} connections, {} bytes pushed meanwhile, none lost and no segment stopped; \
             seed {seed}",
            self.crowd.count(),
            self.crowd.pushed()
        );
        let Self { crowd, ctl, .. } = self;
        crowd.end().unwrap();
        assert_eq!(rule(&ctl.snapshot().unwrap(), "rest").0, 0, "at the end");
    }
}

fn both(v4: impl Into<IpAddr>, v6: impl Into<IpAddr>, port: u16) -> [SocketAddr; 2] {
    [(v4.into(), port).into(), (v6.into(), port).into()]
}

/// A router on which connections are tracked, as its rules ask for it.
fn tracked(more: &str) -> Routed {
    let net = Routed::new(1_500).unwrap();
    let rules = format!(
        "table inet fwt {{ chain forward {{ type filter hook forward priority 0; \
         ct state invalid counter; }}; {more} }}"
    );
    net.router().nft(&rules).unwrap();
    // A router forgets half closed connections after a minute, whoever filters.
    for state in ["fin_wait", "close_wait", "last_ack"] {
        let file = format!("netfilter/nf_conntrack_tcp_timeout_{state}");
        net.router().set(&file, "7200").unwrap();
    }
    net
}

const BOTH_SIDES: [&str; 2] = [INTERFACE, FAR_INTERFACE];

#[test]
#[ignore = "needs root"]
fn connections_of_a_host_go_on() {
    if !in_full() {
        return;
    }
    let pair = Pair::new().unwrap();
    let to = both(INSIDE_V4, INSIDE_V6, PORT);
    let host = &pair.inside;
    Bed::new(host, &[INTERFACE], &pair.outside, host, &to).tried("accepted by a host");
    let to = both(OUTSIDE_V4, OUTSIDE_V6, PORT);
    Bed::new(host, &[INTERFACE], host, &pair.outside, &to).tried("opened by a host");
}

#[test]
#[ignore = "needs root"]
fn connections_through_a_router_go_on() {
    if !in_full() {
        return;
    }
    let net = tracked("");
    let wan = &net.pair.inside;
    let to = both(FAR_V4, FAR_V6, PORT);
    Bed::new(net.router(), &BOTH_SIDES, wan, &net.far, &to).tried("in through a router");
    let to = both(INSIDE_V4, INSIDE_V6, PORT);
    Bed::new(net.router(), &BOTH_SIDES, &net.far, wan, &to).tried("out through a router");
}

#[test]
#[ignore = "needs root"]
fn connections_behind_a_masquerade_go_on() {
    let net =
        tracked("chain out { type nat hook postrouting priority 100; oifname wan0 masquerade; };");
    let wan = &net.pair.inside;
    wan.ip("route del default").unwrap();
    wan.ip("-6 route del default").unwrap();
    let to = both(INSIDE_V4, INSIDE_V6, PORT);
    Bed::new(net.router(), &BOTH_SIDES, &net.far, wan, &to).tried("behind a masquerade");
    if in_full() {
        Bed::new(net.router(), &[INTERFACE], &net.far, wan, &to)
            .tried("behind a masquerade, filtered outside alone");
    }
}

#[test]
#[ignore = "needs root"]
fn connections_to_a_forwarded_port_go_on() {
    if !in_full() {
        return;
    }
    let net = tracked(&format!(
        "chain in {{ type nat hook prerouting priority -100; \
         iifname wan0 tcp dport {FORWARDED} dnat ip to {FAR_V4}:{PORT}; \
         iifname wan0 tcp dport {FORWARDED} dnat ip6 to [{FAR_V6}]:{PORT}; }};"
    ));
    let wan = &net.pair.inside;
    let to = both(OUTSIDE_V4, OUTSIDE_V6, FORWARDED);
    for interfaces in [&BOTH_SIDES[..], &[INTERFACE]] {
        Bed::new(net.router(), interfaces, wan, &net.far, &to).tried("to a forwarded port");
    }
}
