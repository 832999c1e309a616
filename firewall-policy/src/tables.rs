//! `Tables`: what the compiler makes and the kernel gets. Plain bytes and constants.

use crate::rule::AddrSet;
use firewall_common::abi::{Config, answers, has_limit};
use std::borrow::Cow;

/// A compiled policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tables {
    /// The content of the map `fw_tables`: a power of two, and
    /// [`TABLES_SPARE`](firewall_common::abi::TABLES_SPARE) bytes. All offsets in `config` count
    /// from its start.
    pub bytes: Vec<u8>,
    /// The program's constants. `cpus` and `rules_stride` belong to the loader, which fills them in.
    pub config: Config,
    /// What the policy puts into its live sets, in the order of their bits.
    pub live: Vec<AddrSet>,
    /// What no ban holds.
    pub exempt: AddrSet,
    /// Which frames are sent to this host, if that is known ([`firewall_common::abi::station`]). The
    /// compiler knows nothing of that; whoever loads the program says it.
    pub stations: Vec<u64>,
    /// Where the bytes went, for `check --verbose` and the limits.
    pub report: Vec<SizeLine>,
    /// What the dearest packet of IPv4 and of IPv6 can cost, for `check --verbose`.
    pub worst: [WorstPacket; 2],
}

impl Tables {
    /// The same policy without `mode: audit`: what would be dropped is dropped. For saying what the
    /// policy means; clones only where it is in that mode.
    #[must_use]
    pub fn enforced(&self) -> Cow<'_, Self> {
        if self.config.audit == 0 {
            return Cow::Borrowed(self);
        }
        let mut tables = self.clone();
        tables.config.audit = 0;
        Cow::Owned(tables)
    }

    /// The same policy, with every packet within its rate limits, and an answer for every packet that
    /// may have one.
    #[must_use]
    pub fn without_limits(mut self) -> Self {
        self.config.has_limit = has_limit::NO;
        self.config.has_ban = 0;
        self.config.proof_size = 0;
        self.config.buckets_size = 0;
        self.config.buckets_layout = 0;
        self.config.asked_limit = 0;
        if self.config.answers != answers::NO {
            self.config.answers = answers::UNLIMITED;
        }
        self
    }
}

/// Upper bounds for what one packet costs.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct WorstPacket {
    /// Rounds of the walk: leaf words and nodes in which rules may match, and rules that let the
    /// packet go on.
    pub rounds: u32,
    /// Reads from the tables.
    pub reads: u32,
    /// Rules that it matches and that let it go on.
    pub passed: Passed,
}

/// Rules that let a packet go on.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Passed {
    /// How many one packet can match.
    pub most: u32,
    /// Whether some packet matches as many. Finding that out can take too long; then nothing is said
    /// of their kinds.
    pub exact: bool,
    /// By the first of these that they have: a rate limit,
    pub limited: u32,
    /// a log,
    pub logged: u32,
    /// an end,
    pub expiring: u32,
    /// audit mode,
    pub audited: u32,
    /// `action: next` alone.
    pub counting: u32,
}

/// One line of the size report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SizeLine {
    /// What, in words: `ipv4 source address: buckets`.
    pub what: String,
    /// How many entries.
    pub entries: usize,
    /// Bytes.
    pub bytes: usize,
}
