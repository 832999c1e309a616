//! The link layer in the tables: the rules about frames that are not IP, as rows that are searched one
//! by one, and the MAC addresses that the policy names, in order.

use super::blob::Blob;
use super::{LimitError, limit};
use crate::range::RangeSet;
use crate::rule::{Match, Policy};
use firewall_common::abi::{Config, Entry, FRAME_ROWS, FrameRow, MACS, frame_word, mac_word};
use firewall_common::field::Field;

/// Writes both, and says in `config` where they are. `entries` are the rules' own.
pub(super) fn write(
    policy: &Policy,
    entries: &[Entry],
    blob: &mut Blob,
    config: &mut Config,
) -> Result<(), LimitError> {
    let enabled = policy
        .rules
        .iter()
        .zip(entries)
        .filter(|(rule, _)| rule.enabled);
    let mut rows = Vec::new();
    for (rule, &entry) in enabled.clone() {
        if let Some(ethertypes) = &rule.matches.ethertypes {
            limit(
                WHAT,
                rows.len() + count(&rule.matches, ethertypes),
                FRAME_ROWS,
            )?;
            rows.extend(of_rule(&rule.matches, ethertypes, entry));
        }
    }
    if !rows.is_empty() {
        let start = blob.align(64);
        config.frames = rows.len() as u32;
        config.frame_rows = start as u32;
        let count = rows.len();
        rows.into_iter().for_each(|row| blob.put(row));
        blob.report("frames that are not ip".into(), count, start);
    }
    if enabled
        .clone()
        .any(|(rule, _)| !rule.matches.is_any(Field::Mac))
    {
        macs(policy, blob, config)?;
    }
    Ok(())
}

/// What has too many rows.
const WHAT: &str = "the list of rules with `ethertype`, with a line for each range of EtherTypes and, of \
                    each, for each range of `vlan`, `zone` and `mac`,";

/// How many rows a rule has.
fn count(matches: &Match, ethertypes: &RangeSet<u32>) -> usize {
    [Field::Vlan, Field::Zone, Field::Mac]
        .map(|field| matches.field(field).ranges().len())
        .into_iter()
        .fold(ethertypes.ranges().len(), usize::saturating_mul)
}

/// The rows of a rule, of which a frame matches one at most.
fn of_rule<'m>(
    matches: &'m Match,
    ethertypes: &'m RangeSet<u32>,
    entry: Entry,
) -> impl Iterator<Item = FrameRow> + 'm {
    let ranges = |field| matches.field(field).ranges();
    let (vlans, zones, macs) = (ranges(Field::Vlan), ranges(Field::Zone), ranges(Field::Mac));
    let word = move |e: u32, vlan: u32, zone: u32, mac: u32| frame_word(e, vlan, zone, mac);
    ethertypes.ranges().iter().flat_map(move |e| {
        vlans.iter().flat_map(move |vlan| {
            zones.iter().flat_map(move |zone| {
                macs.iter().map(move |mac| FrameRow {
                    first: word(e.0, vlan.0, zone.0, mac.0),
                    last: word(e.1, vlan.1, zone.1, mac.1),
                    entry,
                })
            })
        })
    })
}

/// The addresses in order, up to a power of two of them: the last one stands there again.
fn macs(policy: &Policy, blob: &mut Blob, config: &mut Config) -> Result<(), LimitError> {
    limit("the list of MAC addresses", policy.macs.len(), MACS)?;
    let numbered = policy.macs.iter().zip(0..);
    let mut words: Vec<u64> = numbered
        .map(|(mac, number)| mac_word(mac.0, number))
        .collect();
    words.sort_unstable();
    let count = words.len();
    let last = words.last().copied().unwrap_or_default();
    words.resize(count.next_power_of_two(), last);
    let start = blob.align(64);
    config.mac_table = start as u32;
    config.macs = words.len().trailing_zeros() + 1;
    words.iter().for_each(|&word| blob.u64(word));
    blob.report("mac addresses".into(), count, start);
    Ok(())
}
