//! From counters to a [`Snapshot`]: rates, histories, names.
//!
//! Pure: [`Sampler::push`] takes what somebody read from the kernel, [`Sampler::snapshot`] turns it
//! into plain data. No clock, no I/O; the daemon and the verbs that work without one run the same
//! code.
//!
//! Invariants: a rate is never negative and never counts a rebuilt map's fresh start as traffic; the
//! memory is bounded whatever arrives (two counter sets of 4 MB, and [`history`]'s 2 MB each).

pub mod history;
mod losses;

use crate::engine::{Counters, Observed, Record};
use firewall_api::view::{
    Count, Drift, GenerationView, InterfaceView, OtherPorts, Pending, PortView, Rate, ReasonView,
    RuleView, SCHEMA, Snapshot, Status, Traffic,
};
use firewall_common::abi::Counter;
use firewall_common::reason::Reason;
use firewall_common::verdict::Verdict;
use firewall_policy::well_known_ports;
use history::History;
use losses::LossWatch;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// IP protocol numbers.
const TCP: u8 = 6;
const UDP: u8 = 17;

const PASS: usize = Verdict::PASS.0 as usize;
const DROP: usize = Verdict::DROP.0 as usize;

/// What a snapshot says beside the counters.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Daemon process id and the seconds that it has run; `None` without a daemon.
    pub daemon: Option<(u32, f64)>,
    /// What the kernel runs; `None` when no policy is loaded.
    pub observed: Option<Arc<Observed>>,
    /// Outcome of the last failed apply or reload, in one line.
    pub last_error: Option<String>,
    /// Things that want attention, beside those in `observed`.
    pub warnings: Vec<String>,
    /// Where files differ from what is in force.
    pub drift: Vec<Drift>,
    /// Whether what is in force waits to be confirmed.
    pub pending: Option<Pending>,
}

/// The last two counter readings and a minute of history.
#[derive(Debug, Default)]
pub struct Sampler {
    now: Option<Counters>,
    before: Option<Counters>,
    generation: u64,
    rule_names: HashMap<u32, String>,
    renamed: HashSet<u32>,
    ports: History,
    rules: History,
    /// When the counter of a rule's slot was last seen to move, by the monotonic clock.
    hits: HashMap<u32, f64>,
    reasons: History,
    losses: LossWatch,
}

impl Sampler {
    /// A sampler that has seen nothing: its snapshots hold no counters.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one reading, made while `record` was in force.
    pub fn push(&mut self, counters: Counters, record: &Record) {
        self.follow(record);
        self.before = self.now.take();
        self.now = Some(counters);
        let Some(seconds) = self.interval() else {
            return;
        };
        let (Some(now), Some(before)) = (&self.now, &self.before) else {
            return;
        };
        let speed = |packets: u64| (packets as f64 / seconds).round() as u32;
        self.losses.push(before, now);

        let mut moved = Vec::new();
        for (port, (after, earlier)) in now.ports.iter().zip(&before.ports).enumerate() {
            if after == earlier {
                continue;
            }
            for udp in 0..2 {
                let packets: u64 = (0..2)
                    .map(|verdict| {
                        grown(after[udp * 2 + verdict], earlier[udp * 2 + verdict]).packets
                    })
                    .sum();
                if packets > 0 {
                    moved.push((port_key(port, udp == 1), speed(packets)));
                }
            }
        }
        self.ports.push(moved);

        let mut moved = Vec::new();
        for (slot, (&after, &earlier)) in now.rules.iter().zip(&before.rules).enumerate() {
            let slot = slot as u32;
            let is_new = self.renamed.contains(&slot);
            let packets = grown(after, earlier).packets;
            if packets > 0 && !is_new {
                moved.push((slot, speed(packets)));
            }
            // A new rule counts from zero, so what it has counted it has since the reading before.
            if packets > 0 && !is_new || is_new && after.packets > 0 {
                self.hits.insert(slot, now.monotonic);
            }
        }
        self.rules.push(moved);

        let mut moved = Vec::new();
        for reason in Reason::ALL {
            for verdict in [PASS, DROP] {
                let packets = reason_sum(now, Some(before), *reason, verdict).1.packets;
                if packets > 0 {
                    moved.push((reason_key(*reason, verdict), speed(packets)));
                }
            }
        }
        self.reasons.push(moved);
    }

    /// Forgets all readings: nothing is loaded any more.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Everything as plain data, with the `ports` busiest ports by themselves and the rest summed
    /// up. `time` is the time of day in seconds since the Unix epoch.
    #[must_use]
    pub fn snapshot(&self, facts: &Facts, time: f64, ports: usize) -> Snapshot {
        let interval = self.interval();
        let record = facts.observed.as_ref().map(|observed| &observed.record);
        let mut warnings = facts
            .observed
            .as_ref()
            .map_or(Vec::new(), |o| o.warnings.clone());
        warnings.extend(facts.warnings.iter().cloned());
        let (listed, other_ports) = self.port_views(ports);
        Snapshot {
            schema: SCHEMA.to_owned(),
            time,
            interval: interval.unwrap_or(0.0),
            status: Status {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                daemon_pid: facts.daemon.map(|(pid, _)| pid),
                daemon_uptime: facts.daemon.map(|(_, uptime)| uptime),
                generation: record.map(generation_view),
                interfaces: facts
                    .observed
                    .as_ref()
                    .map_or(Vec::new(), |o| self.interfaces(o)),
                last_error: facts.last_error.clone(),
                warnings,
                drift: facts.drift.clone(),
                pending: facts.pending.clone(),
            },
            pass: self.verdict_traffic(PASS),
            drop: self.verdict_traffic(DROP),
            ports: listed,
            other_ports,
            rules: record.map_or(Vec::new(), |record| self.rule_views(record, time)),
            reasons: record.map_or(Vec::new(), |record| self.reason_views(&record.would_drop)),
            flows: self.now.as_ref().and_then(|now| self.losses.view(now)),
        }
    }

    /// Seconds between the two readings; `None` with fewer than two, or if time stood still.
    fn interval(&self) -> Option<f64> {
        let seconds = self.now.as_ref()?.monotonic - self.before.as_ref()?.monotonic;
        (seconds > 0.0).then_some(seconds)
    }

    /// Notes which counter slots changed hands, so that one rule's past is not taken for another's.
    fn follow(&mut self, record: &Record) {
        self.renamed.clear();
        let counters = record.counters();
        if self.generation == record.generation && self.rule_names.len() == counters.len() {
            return;
        }
        let names: HashMap<u32, String> = counters
            .into_iter()
            .map(|(name, slot)| (slot, name))
            .collect();
        self.renamed = names
            .iter()
            .filter(|&(slot, name)| self.rule_names.get(slot) != Some(name))
            .map(|(&slot, _)| slot)
            .collect();
        let kept = |slot: u32| names.contains_key(&slot) && !self.renamed.contains(&slot);
        self.rules.forget(|slot| !kept(slot));
        self.hits.retain(|&slot, _| kept(slot));
        self.generation = record.generation;
        self.rule_names = names;
    }

    fn traffic(&self, total: Counter, growth: Counter) -> Traffic {
        let per_second = |n: u64| self.interval().map_or(0.0, |seconds| n as f64 / seconds);
        Traffic {
            total: Count {
                packets: total.packets,
                bytes: total.bytes,
            },
            rate: Rate {
                pps: per_second(growth.packets),
                bps: per_second(growth.bytes.saturating_mul(8)),
            },
        }
    }

    fn verdict_traffic(&self, verdict: usize) -> Traffic {
        let Some(now) = &self.now else {
            return Traffic::default();
        };
        let (total, growth) = sum(now.reasons.iter().enumerate().map(|(i, counters)| {
            let earlier = self
                .before
                .as_ref()
                .and_then(|before| before.reasons.get(i));
            (counters[verdict], earlier.map(|earlier| earlier[verdict]))
        }));
        self.traffic(total, growth)
    }

    fn interfaces(&self, observed: &Observed) -> Vec<InterfaceView> {
        let views = observed.links.iter().filter_map(|link| {
            let known = observed
                .record
                .interfaces
                .iter()
                .find(|i| i.ifindex == link.ifindex)?;
            let start = known.slot as usize * Reason::CAPACITY;
            let flow = |verdict: usize| {
                let Some(now) = &self.now else {
                    return Traffic::default();
                };
                let (total, growth) = sum((start..start + Reason::CAPACITY).filter_map(|i| {
                    let earlier = self
                        .before
                        .as_ref()
                        .and_then(|before| before.reasons.get(i));
                    Some((
                        now.reasons.get(i)?[verdict],
                        earlier.map(|earlier| earlier[verdict]),
                    ))
                }));
                self.traffic(total, growth)
            };
            Some(InterfaceView {
                name: link.name.clone(),
                ifindex: link.ifindex,
                mode: known.mode,
                fallback: known.fallback.clone(),
                limits: link.limits.clone(),
                link_id: link.link_id,
                program_id: link.program_id,
                zone: known.zone_name.clone(),
                pass: flow(PASS),
                drop: flow(DROP),
            })
        });
        views.collect()
    }

    fn port_views(&self, limit: usize) -> (Vec<PortView>, OtherPorts) {
        let Some(now) = &self.now else {
            return (Vec::new(), OtherPorts::default());
        };
        struct Busy {
            key: u32,
            totals: [Counter; 2],
            growth: [Counter; 2],
        }
        let mut busy = Vec::new();
        for (port, counters) in now.ports.iter().enumerate() {
            let earlier = self
                .before
                .as_ref()
                .and_then(|before| before.ports.get(port));
            for udp in 0..2 {
                let at = udp * 2;
                let totals = [counters[at + PASS], counters[at + DROP]];
                if totals[PASS].packets == 0 && totals[DROP].packets == 0 {
                    continue;
                }
                let growth = [PASS, DROP].map(|verdict| {
                    earlier.map_or(Counter::default(), |e| {
                        grown(totals[verdict], e[at + verdict])
                    })
                });
                busy.push(Busy {
                    key: port_key(port, udp == 1),
                    totals,
                    growth,
                });
            }
        }
        let packets = |both: &[Counter; 2]| both[PASS].packets.saturating_add(both[DROP].packets);
        busy.sort_unstable_by(|a, b| {
            let order = |x: &Busy| (packets(&x.growth), packets(&x.totals));
            order(b).cmp(&order(a)).then(a.key.cmp(&b.key))
        });
        let rest = busy.split_off(limit.min(busy.len()));
        let views = busy.iter().map(|port| {
            let (number, udp) = ((port.key >> 1) as u16, port.key & 1 == 1);
            let proto = if udp { "udp" } else { "tcp" };
            PortView {
                proto: proto.to_owned(),
                port: number,
                service: well_known_ports::name(if udp { UDP } else { TCP }, number)
                    .map(str::to_owned),
                pass: self.traffic(port.totals[PASS], port.growth[PASS]),
                drop: self.traffic(port.totals[DROP], port.growth[DROP]),
                history: self.ports.of(port.key),
            }
        });
        let other = |verdict: usize| {
            let total = rest
                .iter()
                .fold(Counter::default(), |a, p| add(a, p.totals[verdict]));
            let growth = rest
                .iter()
                .fold(Counter::default(), |a, p| add(a, p.growth[verdict]));
            self.traffic(total, growth)
        };
        let others = OtherPorts {
            count: rest.len(),
            pass: other(PASS),
            drop: other(DROP),
        };
        (views.collect(), others)
    }

    fn rule_views(&self, record: &Record, time: f64) -> Vec<RuleView> {
        let counter = |counters: &Option<Counters>, slot: u32| {
            counters
                .as_ref()
                .and_then(|counters| counters.rules.get(slot as usize).copied())
        };
        let wall = time;
        // A rule has expired when the program says so, whatever the clock on the wall says by now.
        let time = match (record.clock, &self.now) {
            (Some(clock), Some(now)) => now.monotonic + clock as f64 / 1e9,
            _ => time,
        };
        // The readings belong to another generation until the next one is taken.
        let ours = |slot: u32, name: &str| self.rule_names.get(&slot).is_some_and(|n| n == name);
        let hits = |slot: u32, name: &str| {
            let ours = ours(slot, name);
            let total = counter(&self.now, slot)
                .filter(|_| ours)
                .unwrap_or_default();
            let growth = match counter(&self.before, slot) {
                Some(earlier) if ours && !self.renamed.contains(&slot) => grown(total, earlier),
                _ => Counter::default(),
            };
            self.traffic(total, growth)
        };
        // Both clocks are read at one moment; between readings the one on the wall goes on.
        let last_hit = |slot: u32| {
            let now = self.now.as_ref()?.monotonic;
            self.hits.get(&slot).map(|&hit| wall - (now - hit))
        };
        let views = record.rules.iter().enumerate().map(|(i, rule)| RuleView {
            number: i + 1,
            name: rule.name.clone(),
            action: rule.action.clone(),
            audit: rule.audit.clone(),
            comment: rule.comment.clone(),
            last_hit: last_hit(rule.slot).filter(|_| ours(rule.slot, &rule.name)),
            owner: rule.owner.clone(),
            reason: rule.reason.clone(),
            expires: rule.expires,
            runtime: rule.runtime,
            expired: rule.expires.is_some_and(|at| time >= at as f64),
            summary: rule.summary.clone(),
            place: rule.place.clone(),
            enabled: rule.enabled,
            hits: hits(rule.slot, &rule.name),
            over: rule
                .over
                .map(|slot| hits(slot, &format!("{}/over", rule.name))),
            history: if ours(rule.slot, &rule.name) {
                self.rules.of(rule.slot)
            } else {
                Vec::new()
            },
        });
        views.collect()
    }

    fn reason_views(&self, would_drop: &[String]) -> Vec<ReasonView> {
        let Some(now) = &self.now else {
            return Vec::new();
        };
        let mut views: Vec<(u64, ReasonView)> = Vec::new();
        for reason in Reason::ALL {
            for (verdict, value) in [(PASS, Verdict::PASS), (DROP, Verdict::DROP)] {
                let (total, growth) = reason_sum(now, self.before.as_ref(), *reason, verdict);
                if total.packets == 0 {
                    continue;
                }
                let view = ReasonView {
                    name: reason.name().to_owned(),
                    verdict: value.name().to_owned(),
                    would_drop: verdict == PASS
                        && would_drop.iter().any(|name| name == reason.name()),
                    hits: self.traffic(total, growth),
                    history: self.reasons.of(reason_key(*reason, verdict)),
                };
                views.push((growth.packets, view));
            }
        }
        views.sort_by(|(a_growth, a), (b_growth, b)| {
            (b_growth, b.hits.total.packets).cmp(&(a_growth, a.hits.total.packets))
        });
        views.into_iter().map(|(_, view)| view).collect()
    }
}

fn generation_view(record: &Record) -> GenerationView {
    GenerationView {
        number: record.generation,
        policy: record.policy_path.clone(),
        content_sha256: record.content_sha256.clone(),
        sha256: record.sha256.clone(),
        applied: record.applied,
        rules: record.rules.iter().filter(|rule| rule.enabled).count(),
        runtime: record.runtime_rules().len(),
        default: record.default.clone(),
        audit: record.audit,
        table_bytes: record.table_bytes,
    }
}

fn port_key(port: usize, udp: bool) -> u32 {
    (port as u32) << 1 | u32::from(udp)
}

fn reason_key(reason: Reason, verdict: usize) -> u32 {
    u32::from(reason.0) << 1 | verdict as u32
}

/// How much a counter grew. A counter that went backwards belongs to a map made anew: its growth is
/// unknown, and 0 is said rather than a number that was never traffic.
fn grown(after: Counter, earlier: Counter) -> Counter {
    match (
        after.packets.checked_sub(earlier.packets),
        after.bytes.checked_sub(earlier.bytes),
    ) {
        (Some(packets), Some(bytes)) => Counter { packets, bytes },
        _ => Counter::default(),
    }
}

fn add(a: Counter, b: Counter) -> Counter {
    Counter {
        packets: a.packets.saturating_add(b.packets),
        bytes: a.bytes.saturating_add(b.bytes),
    }
}

/// Total and growth over counters and, where there are any, their earlier values.
fn sum(pairs: impl Iterator<Item = (Counter, Option<Counter>)>) -> (Counter, Counter) {
    pairs.fold(Default::default(), |(total, growth), (after, earlier)| {
        let more = earlier.map_or(Counter::default(), |earlier| grown(after, earlier));
        (add(total, after), add(growth, more))
    })
}

/// One reason's total and growth over all interface slots.
fn reason_sum(
    now: &Counters,
    before: Option<&Counters>,
    reason: Reason,
    verdict: usize,
) -> (Counter, Counter) {
    let indices = (usize::from(reason.0)..now.reasons.len()).step_by(Reason::CAPACITY);
    sum(indices.map(|i| {
        let earlier = before.and_then(|before| before.reasons.get(i));
        (
            now.reasons[i][verdict],
            earlier.map(|earlier| earlier[verdict]),
        )
    }))
}

#[cfg(test)]
mod tests;
