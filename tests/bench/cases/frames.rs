//! P3, P4 and P11: real frames through a cable, beside the packet filters of the kernel. All rules
//! drop, so that every frame ends inside the filter under test.

use super::Context;
use crate::alone::{compiled, load};
use crate::live::{self, Cable, Contender};
use crate::measure::Series;
use crate::peers::netfilter::{self, Hook};
use crate::peers::{Missing, five};
use crate::report::{BenchReport, Mark};
use crate::sets::{drops, points, policy};
use crate::traffic::{Traffic, normal};
use crate::truth;
use anyhow::{Result, ensure};
use firewall_common::field::Field;
use firewall_common::key::{Family, PacketKey};
use firewall_common::verdict::Action;
use firewall_engine::kernel::bench::{Bed, Subject};
use firewall_policy::classbench::Profile;
use firewall_policy::oracle;
use firewall_policy::range::RangeSet;
use firewall_policy::rule::{AddrSet, Match, Policy};
use firewall_tests::random::Random;
use std::net::Ipv4Addr;

const OURS: &str = "this firewall";
const BARE: &str = "bare XDP_DROP";
const NETDEV: &str = "nft netdev ingress, rules";
const TABLE_IP: &str = "nft table ip, rules";
const IPTABLES: &str = "iptables-legacy raw, rules";
const PAIRS: &str = "nft set of prefix . port";

/// Our program on a cable, after every answer has been checked.
fn ours(context: &Context, policy: &Policy, traffic: &Traffic) -> Result<Contender> {
    let tables = compiled(policy)?;
    let cable = Cable::new(Bed::load(
        &context.object,
        &traffic.headers,
        traffic.long,
        0,
    )?)?;
    let loaded = load(policy, &tables, Some(cable.ifindex()))?;
    let answers = truth::check(policy, &tables, &loaded, traffic)?;
    ensure!(
        answers.iter().all(Option::is_some),
        "the traffic holds headers that no rule drops"
    );
    let attachment = cable.attach(&Subject::ours(&loaded)?)?;
    let dropped = |loaded: &firewall_engine::kernel::program::Loaded| -> u64 {
        loaded.counters().rules.iter().map(|c| c.packets).sum()
    };
    let before = dropped(&loaded);
    let expected = traffic.headers.len() as u64;
    let loaded = std::rc::Rc::new(loaded);
    let counted = std::rc::Rc::clone(&loaded);
    Contender::new(OURS, cable, Box::new((attachment, loaded)), move |_| {
        Ok(expected - (dropped(&counted) - before))
    })
}

/// P11: ten rules over a bare XDP_DROP.
pub(crate) fn p11(context: &Context, report: &mut BenchReport) -> Result<()> {
    let policy = dropping(context.sets.rules(Profile::Acl, 100)?, 10);
    let traffic = last_matches(&policy, 1_024)?;
    let mut contenders = [
        live::bare_drop(&context.object, &traffic)?,
        ours(context, &policy, &traffic)?,
    ];
    let series = live::contest("P11", context.rounds, &mut contenders)?;
    for (contender, series) in contenders.iter().zip(&series) {
        let what = format!("live frames, 10 rules: {}", contender.label);
        report.row("P11", what, "ns/packet", series);
    }
    report.bar(
        Mark::at_most(
            "P11",
            "10 rules, live frames: over a bare XDP_DROP",
            "x",
            1.5,
        )
        .moonshot(1.25),
        &series[1].over(&series[0]),
    );
    Ok(())
}

/// P3: the same rules, one by one, in the kernel's packet filters.
pub(crate) fn p3(context: &Context, report: &mut BenchReport) -> Result<()> {
    let most = if context.quick { 100 } else { 10_000 };
    if !context.quick {
        very_many(context, report)?;
    }
    let (mut last, mut absent) = (Vec::new(), Vec::new());
    for size in [1, 10, 100, 1_000, 10_000]
        .into_iter()
        .filter(|&size| size <= most)
    {
        eprintln!("  acl1 with {size} rules");
        let policy = dropping(context.sets.rules(Profile::Acl, size.max(100))?, size);
        let rules = five::rules(&policy)?;
        let traffic = last_matches(&policy, 4_096)?;
        let object = &context.object;
        let live::Gathered {
            mut contenders,
            missing,
        } = live::gather([
            (BARE, live::bare_drop(object, &traffic)),
            (OURS, ours(context, &policy, &traffic)),
            (
                NETDEV,
                netfilter::nft(NETDEV, object, &traffic, Hook::Ingress, &rules),
            ),
            (
                TABLE_IP,
                netfilter::nft(TABLE_IP, object, &traffic, Hook::Prerouting, &rules),
            ),
            (
                IPTABLES,
                netfilter::iptables(IPTABLES, object, &traffic, &rules),
            ),
        ])?;
        let what = format!("P3 {size} rules");
        let series = live::contest(&what, context.rounds, &mut contenders)?;
        last.clear();
        for (contender, series) in contenders.iter().zip(series) {
            let what = format!("live frames, acl1, {size} rules: {}", contender.label);
            report.row("P3", what, "ns/packet", &series);
            report.point(&contender.label, size, &series);
            last.push((contender.label.clone(), series));
        }
        absent = missing;
    }
    for (label, bar, moonshot) in [
        (NETDEV, 400.0, 800.0),
        (TABLE_IP, 120.0, 240.0),
        (IPTABLES, 65.0, 130.0),
    ] {
        let what = format!("{most} rules, live frames: times faster than {label}");
        judge(
            report,
            Mark::at_least("P3", &what, "x", bar).moonshot(moonshot),
            &last,
            &absent,
            label,
        );
    }
    Ok(())
}

/// A hundred thousand rules: ours alone, for the picture. The others would take seconds a frame.
fn very_many(context: &Context, report: &mut BenchReport) -> Result<()> {
    const RULES: usize = 100_000;
    let policy = dropping(context.sets.rules(Profile::Acl, RULES)?, RULES);
    let traffic = last_matches(&policy, 4_096)?;
    let mut contenders = [ours(context, &policy, &traffic)?];
    let series = live::contest("P3 100000 rules", context.rounds, &mut contenders)?;
    let what = format!("live frames, acl1, {RULES} rules: {OURS}");
    report.row("P3", what, "ns/packet", &series[0]);
    report.point(OURS, RULES, &series[0]);
    Ok(())
}

/// P4: pairs of source prefix and port, in nft's best structure for them.
pub(crate) fn p4(context: &Context, report: &mut BenchReport) -> Result<()> {
    let most = if context.quick { 100 } else { 10_000 };
    let (mut last, mut absent) = (Vec::new(), Vec::new());
    for size in [10, 100, 1_000, 10_000]
        .into_iter()
        .filter(|&size| size <= most)
    {
        eprintln!("  {size} pairs");
        let pairs = Pairs::new(size);
        let (policy, traffic) = (pairs.policy(), pairs.traffic(8_192)?);
        let object = &context.object;
        let live::Gathered {
            mut contenders,
            missing,
        } = live::gather([
            (OURS, ours(context, &policy, &traffic)),
            (
                PAIRS,
                netfilter::nft_set(PAIRS, object, &traffic, &pairs.elements()),
            ),
        ])?;
        let what = format!("P4 {size} pairs");
        let series = live::contest(&what, context.rounds, &mut contenders)?;
        last.clear();
        for (contender, series) in contenders.iter().zip(series) {
            let what = format!(
                "live frames, {size} pairs of prefix and port: {}",
                contender.label
            );
            report.row("P4", what, "ns/packet", &series);
            if contender.label != OURS {
                report.point(&contender.label, size, &series);
            }
            last.push((contender.label.clone(), series));
        }
        absent = missing;
    }
    let what = format!("{most} pairs, live frames: times faster than an {PAIRS}");
    judge(
        report,
        Mark::at_least("P4", &what, "x", 2.0).moonshot(4.0),
        &last,
        &absent,
        PAIRS,
    );
    Ok(())
}

/// Holds how many times slower `label` is than ours against a bar.
fn judge(
    report: &mut BenchReport,
    mark: Mark<'_>,
    series: &[(String, Series)],
    absent: &[(&str, Missing)],
    label: &str,
) {
    let find = |wanted: &str| {
        let found = series.iter().find(|(label, _)| label == wanted);
        found.map(|(_, series)| series)
    };
    if let (Some(peer), Some(ours)) = (find(label), find(OURS)) {
        report.bar(mark, &peer.over(ours));
        return;
    }
    let why = absent.iter().find(|(absent, _)| *absent == label);
    let why = why.map_or("it was not run".to_owned(), |(_, why)| why.to_string());
    report.not_run(mark, why);
}

/// The first `count` rules, all dropping.
fn dropping(mut policy: Policy, count: usize) -> Policy {
    policy.rules.truncate(count);
    for rule in &mut policy.rules {
        rule.action = Action::DROP;
    }
    policy
}

/// Headers that the last tenth of the rules decides: the worst that a list of rules can meet.
fn last_matches(policy: &Policy, count: usize) -> Result<Traffic> {
    /// How many headers are tried for one that is taken.
    const PATIENCE: usize = 500;
    let first = policy.rules.len() - policy.rules.len().div_ceil(10);
    let mut end = policy.clone();
    end.rules.drain(..first);
    let keys = points(&end, 1)
        .take(count * PATIENCE)
        .map(normal)
        .filter(|key| {
            oracle::evaluate(policy, key)
                .decided
                .is_some_and(|rule| rule >= first)
        });
    Traffic::of(keys, count)
}

/// Pairs of a source prefix and a TCP port.
struct Pairs(Vec<(u32, u32, u16)>);

impl Pairs {
    fn new(count: usize) -> Self {
        let mut random = Random::new(1);
        let mut pairs = std::collections::BTreeSet::new();
        while pairs.len() < count {
            let length = 16 + random.below(13) as u32;
            let address = (random.bits() as u32 & 0x7fff_ffff | 0x0100_0000) % 0x7f00_0000;
            let address = address & (u32::MAX << (32 - length));
            if address >> 24 != 0 {
                pairs.insert((address, length, 1 + random.below(60_000) as u16));
            }
        }
        Self(pairs.into_iter().collect())
    }

    fn policy(&self) -> Policy {
        let rules = self.0.iter().enumerate().map(|(index, pair)| {
            let &(address, length, port) = pair;
            let mut matches = Match::any();
            matches.src = AddrSet {
                v4: RangeSet::of(address, address | hosts(length)),
                v6: RangeSet::empty(),
            };
            matches.fields[Field::Proto as usize] = RangeSet::of(6, 6);
            matches.fields[Field::DestinationPort as usize] =
                RangeSet::of(port.into(), port.into());
            drops(index, matches)
        });
        policy(rules.collect())
    }

    fn elements(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|&(address, length, port)| {
                format!("{}/{length} . {port}", Ipv4Addr::from(address))
            })
            .collect()
    }

    fn traffic(&self, count: usize) -> Result<Traffic> {
        let mut random = Random::new(2);
        let keys = std::iter::repeat_with(|| {
            let (address, length, port) = random.pick(&self.0);
            let mut key = PacketKey::empty(Family::V4);
            key.src_lo = u64::from(address | (random.bits() as u32 & hosts(length)));
            key.dst_lo = u64::from(u32::from_be_bytes([192, 0, 2, 80]));
            key.fields[Field::Proto as usize] = 6;
            key.fields[Field::SourcePort as usize] = 1024 + random.below(60_000) as u32;
            key.fields[Field::DestinationPort as usize] = port.into();
            key
        });
        Traffic::of(keys, count)
    }
}

fn hosts(length: u32) -> u32 {
    u32::MAX.checked_shr(length).unwrap_or(0)
}
