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
use crate::rule::Policy;
use crate::worst::{self, Kind};
use firewall_common::abi::{
    Config, LIMIT_INDEX_SHIFT, LIMIT_LOG_SHIFT, LIMITS, LIMITS_PASSED, LimitEntry, essential_bit,
    has_limit, limit_flag, limit_per,
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
        over: Action::DROP,
        ban: None,
    },
    Limit {
        packets: 1_000,
        window: SECOND,
        burst: 200,
        per: Per::Rule,
        new_only: false,
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

/// In the place of the limit of a rule that has none, but expires or logs: never asked.
const NO_RATE: Limit = Limit {
    packets: 1,
    window: SECOND,
    burst: 1,
    per: Per::Rule,
    new_only: false,
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
    let limits: Vec<&Limit> = policy.limits().collect();
    limit("the list of rate limits", limits.len(), LIMITS)?;
    let passed = [Family::V4, Family::V6]
        .map(|family| worst::passed(&policy.rules, family, Kind::Asked, 0).most);
    let passed = passed[0].max(passed[1]);
    limit(
        "the list of rules with `limit`, `expires` or `log` that one packet can match and go on behind \
         (`action: next`, `over: next`, `expires`)",
        passed,
        LIMITS_PASSED,
    )?;
    config.limits_passed = passed as u32;
    let (rejects, protects) = (policy.rejects(), policy.protects());
    let gated = || policy.rules.iter().filter(|rule| rule.is_gated());
    limit(
        "the list of rules with `limit`, `expires` or `log`",
        gated().count(),
        LIMITS,
    )?;
    let asked = match policy.essential & essential_bit::ASKED {
        0 => &[],
        _ => &ASKED[..],
    };
    let is_needed = rejects || protects || !asked.is_empty() || policy.default_log.is_some();
    if gated().next().is_none() && !is_needed {
        return Ok(());
    }
    let by_address = |per: Per| matches!(per, Per::Source(_) | Per::Destination(_));
    let tables = limits.iter().filter(|limit| by_address(limit.per)).count();
    let share = (BUCKETS / (tables as u32).next_power_of_two()).max(FEWEST);
    let size = |limit: &Limit| match limit.per {
        Per::Rule => LINE,
        Per::Interface => INTERFACES,
        Per::Source(_) | Per::Destination(_) => share,
    };
    let start = blob.align(64);
    let answers = if rejects { &ANSWERS[..] } else { &[] };
    let mut over_slots = slots[policy.rules.len()..].iter().copied();
    let unlogged_slots = &slots[policy.rules.len() + limits.len()..];
    let first_asked = (gated().count() + answers.len()) as u32;
    let first_log = first_asked + asked.len() as u32;
    // Of each gated rule in turn the log's number, plus 1.
    let mut logs = gated().scan(first_log, |next, rule| {
        *next += u32::from(rule.log.is_some());
        Some(if rule.log.is_some() { *next } else { 0 })
    });
    let of_rules = gated().map(|rule| {
        let until = rule
            .expires
            .map_or(u64::MAX, |expiry| expiry.at.saturating_mul(SECOND));
        match &rule.limit {
            Some(limit) => (
                Limit {
                    // What only counts bans nobody.
                    ban: limit.ban.filter(|_| !policy.audit && rule.audit.is_none()),
                    ..limit.clone()
                },
                size(limit),
                over_slots.next().unwrap_or(NOWHERE),
                until,
            ),
            None => (NO_RATE, 0, NOWHERE, until),
        }
    });
    // Answers have a table of their own, whatever share of the memory the rules have.
    let of_answers = answers.iter().map(|limit| {
        let size = if by_address(limit.per) { FEWEST } else { LINE };
        (limit.clone(), size, NOWHERE, u64::MAX)
    });
    let of_asked = asked
        .iter()
        .map(|limit| (limit.clone(), LINE, NOWHERE, u64::MAX));
    let of_logs = policy.logs().zip(unlogged_slots);
    let of_logs = of_logs.map(|(&rate, &slot)| (of_rate(rate), LINE, slot, u64::MAX));
    let names = gated().filter(|rule| rule.log.is_some()).map(|rule| {
        let audit = rule.audit.map_or(0, |action| u64::from(action.0) + 1);
        (name_hash(&rule.name), audit << EventBits::AUDIT_SHIFT)
    });
    let mut names = names.chain([(name_hash(""), 0)]);
    let mut layout = DefaultHasher::new();
    let mut end = 0;
    let entries = of_rules.chain(of_answers).chain(of_asked).chain(of_logs);
    for (number, (limit, size, over_slot, until)) in entries.enumerate() {
        let number = number as u32;
        let mut entry = entry(&limit, number, end, size, over_slot);
        entry.until = until;
        if number >= first_log {
            (entry.v6_mask_hi, entry.v6_mask_lo) = names.next().unwrap_or_default();
            // Of the default, which has no other entry: its own log.
            entry.flags |= (number + 1) << LIMIT_LOG_SHIFT;
        } else {
            entry.flags |= logs.next().unwrap_or_default() << LIMIT_LOG_SHIFT;
        }
        if size == 0 {
            entry.flags |= limit_flag::NO_RATE;
        } else {
            let Placement { per, masks } = placement(limit.per);
            (over_slot, per, masks, entry.base, entry.size).hash(&mut layout);
        }
        end += size;
        for word in [
            entry.interval,
            entry.tolerance,
            entry.until,
            entry.v4_mask,
            entry.v6_mask_hi,
            entry.v6_mask_lo,
        ] {
            blob.u64(word);
        }
        for word in [
            entry.base,
            entry.size,
            entry.over_slot,
            entry.over_action,
            entry.per,
            entry.flags,
            entry.ban,
            entry.ban_lengths,
        ] {
            blob.u32(word);
        }
    }
    let entries = first_log as usize + policy.logs().count();
    blob.report("rate limits".into(), entries, start);
    // The times of the last cookies, in lines of their own.
    if protects {
        (config.syn_protect, config.syn_seen) = (1, end);
        (protects, end).hash(&mut layout);
        end += WATCHES * 8;
    }
    config.answers = u32::from(rejects);
    config.answers_limit = gated().count() as u32;
    if !asked.is_empty() {
        config.asked_limit = first_asked + 1;
    }
    config.has_ban = u32::from(policy.bans().next().is_some());
    config.proof_size = config.has_ban * proof::SIZE;
    config.limits = start as u32;
    if end > 0 {
        config.buckets_size = end.next_power_of_two();
        config.buckets_layout = layout.finish() as u32 | 1;
    }
    config.expires = u32::from(gated().any(|rule| rule.enabled && rule.expires.is_some()));
    if policy.logs().next().is_some() {
        (config.logs, config.log_size) = (1, log::SIZE);
    }
    if policy.default_log.is_some() {
        config.default_log = entries as u32;
    }
    // An event says which interface its packet came in on.
    config.has_limit = if config.logs != 0 || limits.iter().any(|limit| limit.per == Per::Interface)
    {
        has_limit::BY_INTERFACE
    } else if gated().next().is_none() {
        has_limit::NO
    } else {
        has_limit::YES
    };
    Ok(())
}

/// The rate of a log, for one bucket.
const fn of_rate(rate: Rate) -> Limit {
    Limit {
        packets: rate.packets,
        window: rate.window,
        burst: rate.burst,
        ..NO_RATE
    }
}

fn entry(limit: &Limit, number: u32, base: u32, size: u32, over_slot: u32) -> LimitEntry {
    let scaled = u128::from(limit.window) << FRACTION;
    let packets = u128::from(limit.packets);
    let time = |count: u64| {
        let exact = (scaled * u128::from(count) + packets / 2) / packets;
        u64::try_from(exact).unwrap_or(u64::MAX)
    };
    let over = match limit.over {
        Action::DROP => Action::OVER,
        action => action,
    };
    let Placement {
        per,
        masks: (v4_mask, v6_mask_hi, v6_mask_lo),
    } = placement(limit.per);
    LimitEntry {
        interval: time(1),
        tolerance: time(limit.burst - 1),
        until: u64::MAX,
        v4_mask,
        v6_mask_hi,
        v6_mask_lo,
        base,
        size,
        over_slot,
        // With the limit's number, where a rule's entry has it.
        over_action: u32::from(over.0) | number << LIMIT_INDEX_SHIFT,
        per,
        flags: if limit.new_only { limit_flag::NEW } else { 0 },
        ban: limit.ban.map_or(0, ban_ticks),
        ban_lengths: match limit.per {
            Per::Source(lengths) => lengths.v4 | lengths.v6 << 8,
            _ => 0,
        },
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
