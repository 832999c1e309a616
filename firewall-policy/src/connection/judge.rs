//! What a policy does with the packets that a connection needs.
//!
//! What the program remembers is made once for all of them, and each packet leaves it as it was: a region
//! of flows or of live sets is megabytes, and there may be a thousand MAC addresses to try.

use super::Sample;
use crate::host::{HostOutcome, Memory, decide_after, memory_of};
use crate::packet_text::Earlier;
use crate::rule::{Mac, Policy};
use crate::tables::Tables;
use firewall_common::live::Prefix;
use firewall_common::pipeline::NO_RULE;
use firewall_common::reason::Reason;
use firewall_common::region::Region;
use firewall_common::verdict::Verdict;

/// Packets a second that somebody sends who works over a connection: keys, and acknowledgements of what
/// scrolls by.
pub const PACE: u64 = 20;

/// For so long they have to get through, in seconds.
const WORKS: u64 = 60;

const SECOND: u64 = 1_000_000_000;

/// Where packets come in.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Way {
    /// Number of the zone.
    pub zone: u32,
    /// VLAN ids, outermost first.
    pub vlans: Vec<u16>,
}

/// What holds the addresses of packets, beside what the tables say.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Holds {
    /// Entries of live sets, which are named by their numbers in the policy.
    pub members: Vec<(usize, Prefix)>,
    /// Bans that hold.
    pub banned: Vec<Prefix>,
}

/// What becomes of a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judged {
    /// The MAC address that it comes from; `None`: one that no policy names.
    pub mac: Option<Mac>,
    /// Whether it passes, as often as it comes.
    pub passes: bool,
    /// Who decides, in words: ``the rule `ssh` (firewall.yaml:12)``.
    pub by: String,
}

/// A policy that judges.
#[derive(Debug)]
pub struct Judge<'a> {
    policy: &'a Policy,
    tables: &'a Tables,
    /// What the program remembers before this host has sent anything.
    new: Memory,
    /// And when it has sent what makes each packet that says so established.
    known: Memory,
    /// A MAC address that the policy does not name.
    unnamed: Option<Mac>,
    /// Whether some limit of the policy lets through less than [`PACE`].
    is_slow: bool,
}

impl<'a> Judge<'a> {
    /// Of a policy and its tables, in which rule `i` counts in slot `i`; for these packets.
    #[must_use]
    pub fn new<'s>(
        policy: &'a Policy,
        tables: &'a Tables,
        samples: impl IntoIterator<Item = &'s Sample>,
        holds: &Holds,
    ) -> Self {
        let mut earlier = Earlier {
            sent: Vec::new(),
            members: holds.members.clone(),
            banned: holds.banned.clone(),
        };
        let new = memory_of(tables, &earlier);
        let samples = samples.into_iter();
        earlier.sent = samples.flat_map(|sample| sample.packet.before()).collect();
        let mut local = (0x02fe_0000_0000..0x02ff_0000_0000).map(Mac);
        let limits = policy.rules.iter().filter_map(|rule| rule.limit.as_ref());
        let is_slow = |packets: u64, window: u64| {
            u128::from(packets) * u128::from(SECOND) < u128::from(PACE) * u128::from(window)
        };
        Self {
            policy,
            tables,
            new,
            known: memory_of(tables, &earlier),
            unnamed: local.find(|mac| !policy.macs.contains(mac)),
            is_slow: limits
                .into_iter()
                .any(|limit| is_slow(limit.packets, limit.window)),
        }
    }

    /// What becomes of a packet that comes in this way, from each of some MAC addresses and from another one.
    #[must_use]
    pub fn judge(&self, sample: &Sample, way: &Way, macs: &[Mac]) -> Vec<Judged> {
        let mut paced = Vec::new();
        let macs = macs.iter().copied().map(Some).chain([None]);
        macs.map(|mac| self.judge_one(sample, way, mac, &mut paced))
            .collect()
    }

    /// `paced` is what limits have made of packets about which the same rules decided.
    fn judge_one(
        &self,
        sample: &Sample,
        way: &Way,
        mac: Option<Mac>,
        paced: &mut Vec<(HostOutcome, Option<HostOutcome>)>,
    ) -> Judged {
        let memory = match sample.packet.established {
            true => &self.known,
            false => &self.new,
        };
        let frame = sample.frame(&way.vlans, mac.or(self.unnamed));
        let decided = || decide_after(self.tables, memory, &frame, way.zone);
        let passes = |it: &HostOutcome| it.outcome.verdict == Verdict::PASS;
        let (first, is_limited) =
            memory.attempt(|| (decided(), memory.has_written(Region::Buckets)));
        let judged = |passes, by| Judged { mac, passes, by };
        if !(passes(&first) && sample.is_steady && is_limited && self.is_slow) {
            return judged(passes(&first), self.by(&first));
        }
        let dropped = match paced.iter().find(|it| it.0 == first) {
            Some((_, known)) => known.clone(),
            None => {
                let dropped = memory.attempt(|| {
                    (0..PACE * WORKS).find_map(|number| {
                        memory
                            .now
                            .set(memory.now.get() + number.min(1) * SECOND / PACE);
                        Some(decided()).filter(|it| !passes(it))
                    })
                });
                paced.push((first.clone(), dropped.clone()));
                dropped
            }
        };
        match dropped {
            None => judged(true, self.by(&first)),
            Some(over) => {
                let by = format!("{} at {PACE} packets a second", self.by(&over));
                judged(false, by)
            }
        }
    }

    fn by(&self, judged: &HostOutcome) -> String {
        let (reason, slot) = (judged.outcome.reason, judged.outcome.rule);
        let rule = self.policy.rule_of_counter(slot as usize);
        match rule
            .filter(|_| slot != NO_RULE)
            .map(|it| &self.policy.rules[it])
        {
            Some(rule) => {
                let what = match reason {
                    Reason::LIMIT => "the limit of the rule",
                    _ => "the rule",
                };
                format!("{what} `{}` ({})", rule.name, rule.place.text())
            }
            None if reason == Reason::BANNED => "a ban".to_owned(),
            None => format!("no rule ({reason})"),
        }
    }
}
