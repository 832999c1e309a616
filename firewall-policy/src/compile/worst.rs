//! What the dearest packet can cost: rounds of the walk, which the program is held to, and reads from
//! the tables. Upper bounds lane by lane; see `classify` for what is read.

use super::addr::Address;
use super::blob::Blob;
use super::encode::RowSize;
use crate::rule::{Policy, Rule};
use crate::tables::{Passed, WorstPacket};
use crate::worst::{self, Kind};
use firewall_common::abi::{
    AddrConfig, BranchEntry, FamilyConfig, LIMITS_PASSED, RootEntry, addr_form, field_mode,
};
use firewall_common::key::Family;

/// Words of a rule's entry in the table of limits, and of its log's.
const ASKED: usize = 2 * 14;

/// What is asked, one after the other, if the search for the worst packet takes too long: whether
/// there can be more.
const ASKED_AFTER: [usize; 2] = [16, worst::MOST_PASSED];

/// The rules that one packet of a family can match and go on behind, at most.
pub(super) fn rules(policy: &Policy, family: Family) -> WorstPacket {
    let ask = |more_than| worst::passed(&policy.rules, family, Kind::Passed, more_than);
    let found = ask(0);
    let mut passed = Passed {
        most: found.most as u32,
        exact: found.exact,
        ..Passed::default()
    };
    if found.exact {
        for &number in &found.rules {
            *kind(&policy.rules[number], &mut passed) += 1;
        }
    } else {
        let below = ASKED_AFTER.iter().take_while(|&&most| most < found.most);
        let proven = below.copied().find(|&most| ask(most).most <= most);
        passed.most = proven.unwrap_or(found.most) as u32;
    }
    WorstPacket {
        passed,
        ..WorstPacket::default()
    }
}

/// The number that a rule counts for.
fn kind<'a>(rule: &Rule, passed: &'a mut Passed) -> &'a mut u32 {
    if rule.limit.is_some() {
        &mut passed.limited
    } else if rule.log.is_some() {
        &mut passed.logged
    } else if rule.expires.is_some() || rule.matches.content.is_some() {
        &mut passed.expiring
    } else if rule.audit.is_some() {
        &mut passed.audited
    } else {
        &mut passed.counting
    }
}

/// Reads so far.
#[derive(Default)]
pub(super) struct Reads {
    addresses: usize,
    /// Entries of lists.
    listed: usize,
    /// Words of the other address in such an entry.
    prefix: usize,
}

impl Reads {
    /// Adds the lookup of an address among `intervals` intervals.
    pub(super) fn address(&mut self, config: &AddrConfig, intervals: usize, blob: &Blob) {
        let root = |entries: usize| {
            let at = config.levels[0] as usize;
            (0..entries).map(move |entry| blob.word(at + 4 * entry))
        };
        self.addresses += match config.form {
            // The root, two probes, halvings of two to 2^(e + 1), the reference.
            addr_form::ROOT => {
                let exponent = |word: u32| RootEntry::from_word(word).code().exponent();
                let largest = root(1 << 16).map(exponent).max();
                4 + largest.unwrap_or(0) as usize + 2
            }
            addr_form::BRANCH => {
                let depth = |word: u32| BranchEntry::from_word(word).depth();
                let deepest = root(config.last as usize + 1).map(depth).max();
                4 + deepest.unwrap_or(0) as usize
            }
            _ => config.depth as usize + 1,
        };
        if config.has_low != 0 {
            self.addresses += 6 + (intervals + 2).ilog2() as usize;
        }
        // The head of the block.
        self.addresses += config.lists as usize;
    }

    /// Adds a list of up to `entries` entries.
    pub(super) fn list<T: Address>(&mut self, entries: usize) {
        self.listed += entries;
        self.prefix = T::BITS as usize / 32;
    }

    /// Writes down what the walk can need, and how many rounds it may do. `asks`: the program asks
    /// more than the match of some rule.
    pub(super) fn finish(
        &self,
        config: &mut FamilyConfig,
        fewest: RowSize,
        asks: bool,
        worst: &mut WorstPacket,
    ) {
        let passed = worst.passed.most as usize;
        let lanes = config.lanes as usize;
        let fields: usize = config
            .fields
            .iter()
            .map(|field| match field.mode {
                field_mode::UNUSED => 0,
                field_mode::START => 1,
                _ => 2,
            })
            .sum();
        // A node without a common word takes a round, too, and has a word at least.
        let rounds = fewest.words + passed;
        // Behind a word with a rule, two may have been read in vain.
        let leaves = match config.levels {
            1 => 0,
            _ => fewest.words * 2 + (passed + 1) * 2,
        };
        // The one that decides can be one of them.
        let asked = if asks {
            passed.min(LIMITS_PASSED) + 1
        } else {
            0
        };
        let reads = self.addresses
            + fields
            + self.listed * (2 + self.prefix + lanes)
            + lanes * (1 + fewest.nodes * 3 + leaves)
            + (passed + 1) * (1 + config.listed as usize)
            + asked * ASKED;
        config.rounds = rounds.max(1) as u32;
        (worst.rounds, worst.reads) = (config.rounds, reads as u32);
    }
}
