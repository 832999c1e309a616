//! Rate limits in the tables, and where their buckets are.
//!
//! ```text
//! region: one line or eight for each limit by rule or interface, then a table for each by address
//! ```
//!
//! Tables by address share [`BUCKETS`] in equal parts, so that memory does not depend on what comes
//! by, and no rule's sources push those of another rule out.

use super::blob::Blob;
use super::{LimitError, limit};
use crate::limit::{Lengths, Limit, Per, Rate};
use crate::rule::{Policy, Rule, frame_rules};
use crate::worst::{self, Kind};
use firewall_common::abi::{
    BYTE_FRACTION, BanLengths, Config, Entry, LIMITS, LIMITS_PASSED, LimitEntry, LimitFlags,
    LogEntry, essential_bit, has_limit, limit_per,
};
use firewall_common::answer::WATCHES;
use firewall_common::key::Family;
use firewall_common::limits::FRACTION;
use firewall_common::live::Meta;
use firewall_common::log::{self, EventBits, name_hash};
use firewall_common::proof;
use firewall_common::verdict::Action;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Bytes of all tables by address: 262,144 buckets of 16 bytes.
const BUCKETS: u32 = 4 << 20;

/// Fewest bytes of one of them: 4,096 buckets.
const FEWEST: u32 = 64 << 10;

/// Bytes of a limit with one bucket: a cache line that no other limit writes to.
const LINE: u32 = 64;

/// Bytes of a limit by interface: a bucket for each of 64.
const INTERFACES: u32 = 512;

/// Limits of the answers that `action: reject` gives: to one source, and in all. As many as Linux
/// sends ICMP errors in all (net.ipv4.icmp_msgs_per_sec), and a tenth of that for each source.
const ANSWERS: [Limit; 2] = [
    Limit {
        packets: 100,
        window: SECOND,
        burst: 50,
        per: Per::Source(Lengths::HOST),
        new_only: false,
        bytes: false,
        over: Action::DROP,
        ban: None,
    },
    Limit {
        packets: 1_000,
        window: SECOND,
        burst: 200,
        per: Per::Rule,
        new_only: false,
        bytes: false,
        over: Action::DROP,
        ban: None,
    },
];

/// Limits of essential traffic that has been asked for, in the order of [`firewall_common::asked`]: DHCP
/// answers, ICMP errors about what is known to have been sent, those about what may have been. A host with
/// a hundred interfaces has all its addresses in a second; Linux sends a thousand errors a second.
const ASKED: [Limit; firewall_common::asked::LIMITS as usize] = [
    Limit {
        packets: 100,
        burst: 100,
        ..NO_RATE
    },
    Limit {
        packets: 1_000,
        burst: 200,
        ..NO_RATE
    },
    Limit {
        packets: 1_000,
        burst: 200,
        ..NO_RATE
    },
];

/// In the place of the limit of a rule that has none, but expires, logs, or asks for a payload: never asked.
const NO_RATE: Limit = Limit {
    packets: 1,
    window: SECOND,
    burst: 1,
    per: Per::Rule,
    new_only: false,
    bytes: false,
    over: Action::NEXT,
    ban: None,
};

/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// No counter: what is over the limit of answers is counted by its reason.
const NOWHERE: u32 = u32::MAX;

/// Writes the entries of all limits in policy order, and says in `config` what the program needs to
/// know. `slots` is as [`super::compile`] has it.
pub(super) fn write(
    policy: &Policy,
    slots: &[u32],
    blob: &mut Blob,
    config: &mut Config,
) -> Result<(), LimitError> {
    let list = List::new(policy);
    config.limits_passed = list.check()?;
    if list.is_empty() {
        return Ok(());
    }
    let start = blob.align(64);
    let mut buckets = Buckets::default();
    let overs = &slots[policy.rules.len()..];
    list.put_limits(overs, &mut buckets, blob);
    list.put_logs(&overs[policy.limits().count()..], &mut buckets, blob);
    blob.report("rate limits".into(), list.entries(), start);
    config.limits = start as u32;
    list.watch_cookies(&mut buckets, config);
    list.configure(config);
    if buckets.end > 0 {
        config.buckets_size = buckets.end.next_power_of_two();
        config.buckets_layout = buckets.layout.finish() as u32 | 1;
    }
    Ok(())
}

/// What has an entry, in the order of the entries: the rules with `limit`, `expires` or `log`, the
/// answers of `reject`, essential traffic that has been asked for, and the logs.
struct List<'a> {
    policy: &'a Policy,
    gated: Vec<&'a Rule>,
    answers: &'static [Limit],
    asked: &'static [Limit],
}

impl<'a> List<'a> {
    fn new(policy: &'a Policy) -> Self {
        let is_asked = policy.essential & essential_bit::ASKED != 0;
        Self {
            policy,
            gated: policy.rules.iter().filter(|it| it.is_gated()).collect(),
            answers: if policy.rejects() { &ANSWERS } else { &[] },
            asked: if is_asked { &ASKED } else { &[] },
        }
    }

    /// Refuses more than the program has room for; the most entries that one packet passes.
    fn check(&self) -> Result<u32, LimitError> {
        let limits = self.policy.limits().count();
        limit("the list of rate limits", limits, LIMITS)?;
        let most = |family| worst::passed(&self.policy.rules, family, Kind::Asked, 0).most;
        let of_frames = frame_rules(&self.policy.rules).map_or(0, |rules| {
            worst::passed(&rules, Family::V4, Kind::Asked, 0).most
        });
        let passed = most(Family::V4).max(most(Family::V6)).max(of_frames);
        limit(
            "the list of rules with `limit`, `expires`, `log`, `payload` or `options` that one packet can match \
             and go on behind (`action: next`, `over: next`, `expires`, `payload`, `options`)",
            passed,
            LIMITS_PASSED,
        )?;
        limit(
            "the list of rules with `limit`, `expires`, `log`, `payload` or `options`",
            self.gated.len(),
            LIMITS,
        )?;
        Ok(passed as u32)
    }

    /// Whether nothing asks for an entry.
    fn is_empty(&self) -> bool {
        self.gated.is_empty()
            && self.answers.is_empty()
            && self.asked.is_empty()
            && !self.policy.protects()
            && self.policy.default_log.is_none()
    }

    fn first_asked(&self) -> u32 {
        (self.gated.len() + self.answers.len()) as u32
    }

    fn first_log(&self) -> u32 {
        self.first_asked() + self.asked.len() as u32
    }

    fn entries(&self) -> usize {
        self.first_log() as usize + self.policy.logs().count()
    }

    /// Bytes of a limit's buckets: tables by address share [`BUCKETS`].
    fn size(&self) -> impl Fn(&Limit) -> u32 + use<> {
        let by_address = self.policy.limits().filter(|it| is_by_address(it.per));
        let tables = (by_address.count() as u32).next_power_of_two();
        let share = (BUCKETS / tables).max(FEWEST);
        move |limit| match limit.per {
            Per::Rule => LINE,
            Per::Interface => INTERFACES,
            Per::Source(_) | Per::Destination(_) => share,
        }
    }

    /// `overs`: the counters of what is over each limit of a rule.
    fn put_limits(&self, overs: &[u32], buckets: &mut Buckets, blob: &mut Blob) {
        let mut overs = overs.iter().copied();
        let size = self.size();
        let of_rules = self.gated.iter().map(|rule| match &rule.limit {
            Some(limit) => {
                let over = overs.next().unwrap_or(NOWHERE);
                (
                    in_force(limit, rule, self.policy),
                    size(limit),
                    over,
                    until(rule),
                )
            }
            None => (NO_RATE, 0, NOWHERE, until(rule)),
        });
        // Answers have a table of their own, whatever share of the memory the rules have.
        let of_answers = self.answers.iter().map(|limit| {
            let size = if is_by_address(limit.per) {
                FEWEST
            } else {
                LINE
            };
            (limit.clone(), size, NOWHERE, u64::MAX)
        });
        let asked = self.asked.iter();
        let of_asked = asked.map(|limit| (limit.clone(), LINE, NOWHERE, u64::MAX));
        let mut logs = self.log_numbers();
        let entries = of_rules.chain(of_answers).chain(of_asked);
        for (number, (limit, size, over_slot, until)) in entries.enumerate() {
            let over = over(&limit, over_slot).with_limit(number as u64);
            let mut entry = LimitEntry {
                until,
                ..entry(&limit, over, buckets.add(over_slot, limit.per, size), size)
            };
            if size == 0 {
                entry.flags = entry.flags.and(LimitFlags::NO_RATE);
            }
            let content = self.gated.get(number).and_then(|rule| rule.matches.content);
            if let Some(content) = content {
                entry.flags = entry.flags.with_content(content);
            }
            if let Some(log) = logs.next().flatten() {
                entry.flags = entry.flags.with_log(log);
            }
            blob.put(entry);
        }
    }

    /// Of each gated rule in turn the number of its log's entry.
    fn log_numbers(&self) -> impl Iterator<Item = Option<u32>> {
        self.gated.iter().scan(self.first_log(), |next, rule| {
            let number = *next;
            *next += u32::from(rule.log.is_some());
            Some(rule.log.map(|_| number))
        })
    }

    /// `unlogged`: the counters of what is not logged, of each log.
    fn put_logs(&self, unlogged: &[u32], buckets: &mut Buckets, blob: &mut Blob) {
        let logged = self.gated.iter().filter(|rule| rule.log.is_some());
        let names = logged.map(|rule| {
            let bits = rule.audit.map_or(EventBits::default(), EventBits::audited);
            (name_hash(&rule.name), bits)
        });
        let names = names.chain([(name_hash(""), EventBits::default())]);
        let logs = self.policy.logs().zip(unlogged).zip(names);
        for (number, ((&rate, &unlogged), says)) in (self.first_log()..).zip(logs) {
            let base = buckets.add(unlogged, Per::Rule, LINE);
            blob.put(log_entry(rate, unlogged, says, base, number));
        }
    }

    /// The times of the last cookies have lines of their own, behind all buckets.
    fn watch_cookies(&self, buckets: &mut Buckets, config: &mut Config) {
        let protects = self.policy.protects();
        if protects {
            (config.syn_protect, config.syn_seen) = (1, buckets.end);
            (protects, buckets.end).hash(&mut buckets.layout);
            buckets.end += WATCHES * 8;
        }
    }

    fn configure(&self, config: &mut Config) {
        let policy = self.policy;
        config.answers = u32::from(policy.rejects());
        config.answers_limit = self.gated.len() as u32;
        if !self.asked.is_empty() {
            config.asked_limit = self.first_asked() + 1;
        }
        config.has_bytes = u32::from(policy.limits().any(|limit| limit.bytes));
        config.has_ban = u32::from(policy.bans().next().is_some());
        config.proof_size = config.has_ban * proof::SIZE;
        let expires = |rule: &&Rule| rule.enabled && rule.expires.is_some();
        config.expires = u32::from(self.gated.iter().any(expires));
        if policy.logs().next().is_some() {
            (config.logs, config.log_size) = (1, log::SIZE);
        }
        if policy.default_log.is_some() {
            config.default_log = self.entries() as u32;
        }
        let by_interface = |limit: &Limit| limit.per == Per::Interface;
        // An event says which interface its packet came in on.
        config.has_limit = if config.logs != 0 || policy.limits().any(by_interface) {
            has_limit::BY_INTERFACE
        } else if self.gated.is_empty() {
            has_limit::NO
        } else {
            has_limit::YES
        };
    }
}

fn is_by_address(per: Per) -> bool {
    matches!(per, Per::Source(_) | Per::Destination(_))
}

/// The limit of a rule as it is in force: what only counts bans nobody.
fn in_force(limit: &Limit, rule: &Rule, policy: &Policy) -> Limit {
    Limit {
        ban: limit.ban.filter(|_| !policy.audit && rule.audit.is_none()),
        ..limit.clone()
    }
}

/// Until when a rule is in force, in nanoseconds of the wall clock.
fn until(rule: &Rule) -> u64 {
    let expires = rule.expires.map(|expiry| expiry.at.saturating_mul(SECOND));
    expires.unwrap_or(u64::MAX)
}

/// The buckets so far.
#[derive(Default)]
struct Buckets {
    /// Byte offset of what follows them.
    end: u32,
    /// What they mean: see [`Config::buckets_layout`].
    layout: DefaultHasher,
}

impl Buckets {
    /// Adds those of a limit, in `size` bytes; where they begin.
    fn add(&mut self, over_slot: u32, per: Per, size: u32) -> u32 {
        let base = self.end;
        if size != 0 {
            let Placement { per, masks } = placement(per);
            (over_slot, per, masks, base, size).hash(&mut self.layout);
        }
        self.end += size;
        base
    }
}

/// What stands in the place of the rule's entry for a packet over the limit, but for the limit's number.
fn over(limit: &Limit, slot: u32) -> Entry {
    let action = match limit.over {
        Action::DROP => Action::OVER,
        action => action,
    };
    Entry::new(slot, action)
}

/// How long `count` packets take, if `packets` come in `window`; to the nearest unit.
fn time(packets: u64, window: u64, count: u64) -> u64 {
    time_in(FRACTION, packets, window, count)
}

/// As [`time`], with so many binary places.
fn time_in(places: u32, packets: u64, window: u64, count: u64) -> u64 {
    let (packets, scaled) = (u128::from(packets), u128::from(window) << places);
    let exact = (scaled * u128::from(count) + packets / 2) / packets;
    u64::try_from(exact).unwrap_or(u64::MAX)
}

/// A byte's time, and that of a burst by it, rounded as a packet's cost is: a packet as large as the burst
/// passes a full bucket at any rate.
fn times_of_bytes(limit: &Limit) -> (u64, u64) {
    let interval = time_in(FRACTION + BYTE_FRACTION, limit.packets, limit.window, 1);
    let burst = (u128::from(interval) * u128::from(limit.burst)).div_ceil(1 << BYTE_FRACTION);
    (interval, u64::try_from(burst).unwrap_or(u64::MAX))
}

fn entry(limit: &Limit, over: Entry, base: u32, size: u32) -> LimitEntry {
    let Placement {
        per,
        masks: (v4_mask, v6_mask_hi, v6_mask_lo),
    } = placement(limit.per);
    let (interval, tolerance) = match limit.bytes {
        true => times_of_bytes(limit),
        false => (
            time(limit.packets, limit.window, 1),
            time(limit.packets, limit.window, limit.burst - 1),
        ),
    };
    LimitEntry {
        interval,
        tolerance,
        until: u64::MAX,
        v4_mask,
        v6_mask_hi,
        v6_mask_lo,
        base,
        size,
        over,
        per,
        flags: match (limit.new_only, limit.bytes) {
            (true, _) => LimitFlags::NEW,
            (false, true) => LimitFlags::BYTES,
            (false, false) => LimitFlags::default(),
        },
        ban: limit.ban.map_or(0, ban_ticks),
        ban_lengths: match limit.per {
            Per::Source(lengths) => BanLengths::new(lengths.v4, lengths.v6),
            _ => BanLengths::default(),
        },
    }
}

/// A log with one bucket at `base`; `number` is its own.
fn log_entry(
    rate: Rate,
    unlogged: u32,
    (name, found): (u64, EventBits),
    base: u32,
    number: u32,
) -> LogEntry {
    LogEntry {
        interval: time(rate.packets, rate.window, 1),
        tolerance: time(rate.packets, rate.window, rate.burst - 1),
        until: u64::MAX,
        unused: 0,
        name,
        found,
        base,
        size: LINE,
        unlogged,
        no_action: 0,
        per: limit_per::RULE,
        // Of the default, which has no other entry: its own log.
        flags: LimitFlags::default().with_log(number),
        no_ban: [0; 2],
    }
}

/// Seconds as ticks of live sets.
fn ban_ticks(seconds: u64) -> u32 {
    let ticks = (u128::from(seconds) * 1_000_000_000) >> Meta::TICK_SHIFT;
    u32::try_from(ticks).unwrap_or(u32::MAX).max(1)
}

/// How a packet's bucket is found.
struct Placement {
    /// One of [`limit_per`].
    per: u32,
    /// Of IPv4, of the upper and of the lower half of IPv6.
    masks: (u64, u64, u64),
}

fn placement(per: Per) -> Placement {
    let masks = |lengths: Lengths| {
        let v4 = u64::from(u32::MAX << (32 - lengths.v4));
        let v6 = u128::MAX << (128 - lengths.v6);
        (v4, (v6 >> 64) as u64, v6 as u64)
    };
    let (per, masks) = match per {
        Per::Rule => (limit_per::RULE, (0, 0, 0)),
        Per::Interface => (limit_per::INTERFACE, (0, 0, 0)),
        Per::Source(lengths) => (limit_per::SOURCE, masks(lengths)),
        Per::Destination(lengths) => (limit_per::DESTINATION, masks(lengths)),
    };
    Placement { per, masks }
}
