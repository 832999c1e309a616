//! `Policy` and `Rule`: the one internal form, valid by construction of [`crate::validate`].
//!
//! Everything is resolved here: sets are expanded, names are unique, negations are complements,
//! ranges are in their field's domain. The compiler, the oracle, lint and diff read this form and
//! nothing before it.

use crate::content::Content;
use crate::limit::{Limit, Rate};
use crate::range::RangeSet;
use firewall_common::abi::{PacketConfig, fragments, malformed};
use firewall_common::field::{Field, state_field};
use firewall_common::key::{Family, PacketKey};
use firewall_common::reason::{Governs, Reason};
use firewall_common::verdict::{Action, Verdict};
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// A policy that can be compiled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Interfaces, in file order; the position is the zone number if `zone` is not shared.
    pub interfaces: Vec<Interface>,
    /// Zone names; the index is the zone number in [`Field::Zone`]. Zone 0 is "no zone".
    pub zones: Vec<String>,
    /// `mode: audit`: nothing is dropped, and what would be is counted.
    pub audit: bool,
    /// What happens to packets that no rule matches, and to frames that are not IP.
    pub default_verdict: Verdict,
    /// How many events about packets that no rule matches are written to the log, if any.
    pub default_log: Option<Rate>,
    /// Bits of [`firewall_common::abi::essential_bit`].
    pub essential: u32,
    /// The parser's knobs.
    pub packet: PacketConfig,
    /// How many flows the table is to have room for, at least; `None`: as many as fit the usual size.
    pub flows: Option<u32>,
    /// Rules, first match wins. Disabled rules are here too, marked.
    pub rules: Vec<Rule>,
    /// Sets that change while the policy is in force; the index is the set's bit in
    /// [`Field::SourceSets`] and [`Field::DestinationSets`].
    pub live: Vec<LiveSet>,
    /// Sets of addresses that the policy fixes: rules hold their addresses, tests name the sets.
    pub sets: Vec<FixedSet>,
    /// Addresses that no ban holds, whoever makes it.
    pub exempt: AddrSet,
    /// The source MAC addresses that rules name; the index is the number in [`Field::Mac`].
    pub macs: Vec<Mac>,
    /// The conditions on payload and options that rules name; the index is the number in
    /// [`Match::content`], and the bit in [`PacketKey::content`].
    pub contents: Vec<Content>,
}

/// A set of addresses without `live: true`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FixedSet {
    /// Its name, without the `@`.
    pub name: String,
    /// What is in it; shared with the rules that name it.
    pub addresses: AddrSet,
}

/// A MAC address: the 48 bits as a number, the first byte uppermost.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Mac(pub u64);

impl Mac {
    /// Six bytes in hexadecimal, with `:` or `-` between them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mark = if text.contains(':') { ':' } else { '-' };
        let bytes: Vec<&str> = text.split(mark).collect();
        let is_byte = |part: &&str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
        if bytes.len() != 6 || !bytes.iter().all(is_byte) {
            return None;
        }
        u64::from_str_radix(&bytes.concat(), 16).ok().map(Self)
    }

    /// As it stands in a frame.
    #[must_use]
    pub const fn bytes(self) -> [u8; 6] {
        let [_, _, bytes @ ..] = self.0.to_be_bytes();
        bytes
    }

    /// Whether it names a group of stations, and so is no sender's.
    #[must_use]
    pub const fn is_group(self) -> bool {
        self.0 >> 40 & 1 != 0
    }
}

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.bytes();
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What rules look at in a frame that is not IP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameKey {
    /// Its EtherType, or the destination service access point of an LLC frame
    /// ([`firewall_common::link::kind`]).
    pub ethertype: u32,
    /// As [`Field::Vlan`].
    pub vlan: u32,
    /// As [`Field::Zone`].
    pub zone: u32,
    /// As [`Field::Mac`].
    pub mac: u32,
}

impl FrameKey {
    /// The fields that rules about such frames can name beside the EtherType.
    pub const FIELDS: [Field; 3] = [Field::Vlan, Field::Zone, Field::Mac];

    /// The value of one of [`FrameKey::FIELDS`]; of any other field: not there.
    #[must_use]
    pub const fn field(&self, field: Field) -> u32 {
        match field {
            Field::Vlan => self.vlan,
            Field::Zone => self.zone,
            Field::Mac => self.mac,
            other => other.none(),
        }
    }
}

/// Seconds for which an entry stays in a live set at most, if it does not stay for good: 365 days.
pub const LONGEST_STAY: u64 = 365 * 86_400;

/// A set with `live: true`, or `@self`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LiveSet {
    /// Its name.
    pub name: String,
    /// Entries that it may have at most.
    pub max: u64,
    /// Seconds that an entry stays which is added without a time of its own; `None`: for good.
    pub timeout: Option<u64>,
    /// What the policy puts into it.
    pub content: AddrSet,
}

/// Name of the live set of the host's own addresses.
pub const SELF: &str = "self";

/// Name of the set of bans in commands: no live set may have it.
pub const BANNED: &str = "banned";

/// One entry of `interfaces:`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Interface {
    /// Names or glob patterns (`*`, `?`), or `default-route`.
    pub matches: Vec<String>,
    /// How to attach.
    pub mode: Mode,
    /// Number into [`Policy::zones`].
    pub zone: u32,
}

/// What is in a set of the policy that is not live.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Elements {
    /// Addresses.
    Addresses(AddrSet),
    /// Ports.
    Ports(RangeSet<u32>),
}

/// How large a set of the policy is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SetSize {
    /// Its name.
    pub name: String,
    /// Entries as written, in place and in its file.
    pub entries: u64,
    /// Ranges that are left when what overlaps or touches has been joined.
    pub ranges: u64,
}

/// The pattern that stands for the interfaces of the default routes.
pub const DEFAULT_ROUTE: &str = "default-route";

/// Whether `name` fits a glob pattern: `*` is any run of characters, `?` any one character.
#[must_use]
pub fn glob(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    // Where to go on after a mismatch: the last `*`, and how much of `name` it has taken so far.
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == '?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

/// XDP attach mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Native, and generic with an explanation where the driver refuses.
    #[default]
    Auto,
    /// In the driver, or not at all.
    Native,
    /// In the network stack: works on every interface, for trying.
    Generic,
}

impl Mode {
    /// All modes, the default first.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Native, Self::Generic];

    /// As policies and listings name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// Where something stands in a policy's files. Lines and columns count from 1.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Place {
    /// File name as the caller gave it.
    pub file: String,
    /// Line.
    pub line: u32,
    /// Column, in characters.
    pub column: u32,
}

impl Place {
    /// File and line, for people.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

/// One rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Unique name, `[a-z0-9-]{1,63}`: the rule's identity in counters, listings and diffs.
    pub name: String,
    /// Where it is written.
    pub place: Place,
    /// A rule with `enabled: false` is listed and matches nothing.
    pub enabled: bool,
    /// Free text for people.
    pub comment: Option<String>,
    /// Who answers for it: free text.
    pub owner: Option<String>,
    /// Why it is there: free text.
    pub reason: Option<String>,
    /// The match as written, in one line, for listings: `tcp port 80,443 from @admins`.
    pub summary: String,
    /// When it stops matching, if it does. A rule whose time has come is not `enabled`.
    pub expires: Option<Expiry>,
    /// What it matches.
    pub matches: Match,
    /// What it does; with a limit, what it does with packets within it.
    pub action: Action,
    /// What it would do, under `mode: audit`: then `action` is `next`, and a limit lets what is over
    /// it go on, too.
    pub audit: Option<Action>,
    /// How much of what it matches the action is for.
    pub limit: Option<Limit>,
    /// How many events about what it matches are written to the log, if any.
    pub log: Option<Rate>,
    /// Whether ports that it opens are protected against floods of SYNs.
    pub syn_protect: bool,
}

/// The rules about frames that are not IP as rules about IPv4 packets, with the EtherType in the place of
/// the destination port, and the others disabled: for what calculates with sets of packets. `None` if
/// there are no such rules.
#[must_use]
pub fn frame_rules(rules: &[Rule]) -> Option<Vec<Rule>> {
    rules.iter().find(|rule| rule.matches.is_of_frames())?;
    let as_packets = |rule: &Rule| {
        let mut as_packet = rule.clone();
        match &rule.matches.ethertypes {
            Some(ethertypes) => {
                let side = || AddrSet {
                    v4: RangeSet::full(),
                    v6: RangeSet::empty(),
                };
                (as_packet.matches.src, as_packet.matches.dst) = (side(), side());
                as_packet.matches.ethertypes = None;
                as_packet.matches.fields[Field::DestinationPort as usize] = ethertypes.clone();
            }
            None => as_packet.enabled = false,
        }
        as_packet
    };
    Some(rules.iter().map(as_packets).collect())
}

/// When a rule stops matching.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expiry {
    /// Seconds since the Unix epoch.
    pub at: u64,
    /// Whether only that moment, which had come when the policy was read, keeps it from being enabled.
    pub passed: bool,
}

impl Rule {
    /// An enabled rule with a match and an action, and nothing else: for policies that no text says.
    #[must_use]
    pub fn plain(name: impl Into<String>, matches: Match, action: Action) -> Self {
        Self {
            name: name.into(),
            place: Place::default(),
            enabled: true,
            comment: None,
            owner: None,
            reason: None,
            audit: None,
            expires: None,
            summary: String::new(),
            matches,
            action,
            limit: None,
            log: None,
            syn_protect: false,
        }
    }

    /// Whether the program asks about more than its match, or does more than it decides: a rate
    /// limit, a time, a log, payload or options.
    #[must_use]
    pub fn is_gated(&self) -> bool {
        self.limit.is_some()
            || self.expires.is_some()
            || self.log.is_some()
            || self.matches.content.is_some()
    }

    /// Whether no packet that the rule matches gets to the rules behind it.
    #[must_use]
    pub fn always_decides(&self) -> bool {
        self.action != Action::NEXT
            && self.expires.is_none()
            && self.matches.content.is_none()
            && self
                .limit
                .as_ref()
                .is_none_or(|limit| !limit.over_goes_on())
    }
}

impl Policy {
    /// A policy of some rules that passes what none of them decides: for policies that no text says.
    #[must_use]
    pub fn of_rules(rules: Vec<Rule>) -> Self {
        Self {
            interfaces: Vec::new(),
            zones: Vec::new(),
            audit: false,
            default_log: None,
            default_verdict: Verdict::PASS,
            essential: 0,
            packet: PacketConfig::default(),
            flows: None,
            rules,
            live: Vec::new(),
            sets: Vec::new(),
            exempt: AddrSet::none(),
            macs: Vec::new(),
            contents: Vec::new(),
        }
    }

    /// Whether packets that are counted under a reason are dropped, or would be without
    /// `mode: audit`. What a rule decided about is counted under one reason and dropped by some rules
    /// only: false.
    #[must_use]
    pub fn drops(&self, reason: Reason) -> bool {
        let drops_by_default = self.default_verdict == Verdict::DROP;
        match reason {
            Reason::RULE => false,
            Reason::NO_MATCH | Reason::NON_IP => drops_by_default,
            Reason::FRAGMENT => self.packet.fragments == fragments::DROP,
            other => match other.governed_by() {
                Governs::Essential => false,
                Governs::Malformed => drops_by_default || self.packet.malformed != malformed::RULES,
                _ => true,
            },
        }
    }

    /// The number of a live set's bit, if there is such a set.
    #[must_use]
    pub fn live_set(&self, name: &str) -> Option<usize> {
        self.live.iter().position(|set| set.name == name)
    }

    /// The rate limits, in rule order; those of disabled rules too.
    pub fn limits(&self) -> impl Iterator<Item = &Limit> {
        self.rules.iter().filter_map(|rule| rule.limit.as_ref())
    }

    /// The limits that ban who is over them, of rules that are in force; none in audit mode.
    pub fn bans(&self) -> impl Iterator<Item = &Limit> {
        let rules = self.rules.iter();
        let enforced = rules.filter(|rule| rule.enabled && rule.audit.is_none() && !self.audit);
        let limits = enforced.filter_map(|rule| rule.limit.as_ref());
        limits.filter(|limit| limit.ban.is_some())
    }

    /// Whether the program keeps track of connections: some rule looks at `state`, or bans, which it
    /// does to those only who are known to be where they say.
    #[must_use]
    pub fn tracks_connections(&self) -> bool {
        let looks = |rule: &Rule| rule.enabled && !rule.matches.is_any(Field::State);
        self.rules.iter().any(looks) || self.bans().next().is_some()
    }

    /// Whether some rule tells packets that are related from new ones.
    #[must_use]
    pub fn tells_related(&self) -> bool {
        let tells = |rule: &Rule| {
            let states = rule.matches.field(Field::State);
            let (new, related) = (state_field::NEW, state_field::RELATED);
            rule.enabled
                && states.contains(related) != states.contains(new)
                && states.contains(related)
        };
        self.rules.iter().any(tells)
    }

    /// Whether some packet may be answered: because of `action: reject` or `over: reject`.
    #[must_use]
    pub fn rejects(&self) -> bool {
        self.rules.iter().any(|rule| {
            let over = rule.limit.as_ref().map(|limit| limit.over);
            rule.enabled && (rule.action == Action::REJECT || over == Some(Action::REJECT))
        })
    }

    /// Whether some rule protects ports against floods of SYNs.
    #[must_use]
    pub fn protects(&self) -> bool {
        // Under `mode: audit` nobody is answered.
        let protects = |rule: &Rule| rule.enabled && rule.syn_protect;
        !self.audit && self.rules.iter().any(protects)
    }

    /// How often rules log, in rule order, and then the default; those of disabled rules too.
    pub fn logs(&self) -> impl Iterator<Item = &Rate> {
        let of_rules = self.rules.iter().filter_map(|rule| rule.log.as_ref());
        of_rules.chain(&self.default_log)
    }

    /// Everything that has a rule counter, by name: each rule; then for each rule with a limit what
    /// is over it; then for each rule with a log, and for the default, what it does not log. No rule
    /// has a name with a slash, and the default has none.
    #[must_use]
    pub fn counters(&self) -> Vec<String> {
        let rules = || self.rules.iter();
        let limited = rules().filter(|rule| rule.limit.is_some());
        let over = limited.map(|rule| format!("{}/over", rule.name));
        let logged = rules().filter(|rule| rule.log.is_some());
        let names = logged.map(|rule| rule.name.as_str());
        let unlogged = names
            .chain(self.default_log.is_some().then_some(""))
            .map(|name| format!("{name}/unlogged"));
        rules()
            .map(|rule| rule.name.clone())
            .chain(over)
            .chain(unlogged)
            .collect()
    }

    /// The rule that counter `index` of [`Policy::counters`] belongs to, if there is such a counter.
    #[must_use]
    pub fn rule_of_counter(&self, index: usize) -> Option<usize> {
        match index.checked_sub(self.rules.len()) {
            None => Some(index),
            Some(limit) => (0..self.rules.len())
                .filter(|&rule| self.rules[rule].limit.is_some())
                .nth(limit),
        }
    }
}

/// Source or destination addresses of both families.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddrSet {
    /// IPv4 addresses as numbers.
    pub v4: RangeSet<u32>,
    /// IPv6 addresses as numbers.
    pub v6: RangeSet<u128>,
}

impl AddrSet {
    /// Every address of both families.
    #[must_use]
    pub fn any() -> Self {
        Self {
            v4: RangeSet::full(),
            v6: RangeSet::full(),
        }
    }

    /// How many ranges it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.ranges().len() + self.v6.ranges().len()
    }

    /// Whether no address is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// No address.
    #[must_use]
    pub fn none() -> Self {
        Self {
            v4: RangeSet::empty(),
            v6: RangeSet::empty(),
        }
    }

    /// Everything else.
    #[must_use]
    pub fn complement(&self) -> Self {
        Self {
            v4: self.v4.complement(),
            v6: self.v6.complement(),
        }
    }
}

/// What a rule matches: the conjunction of all fields.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Match {
    /// Source addresses.
    pub src: AddrSet,
    /// Destination addresses.
    pub dst: AddrSet,
    /// Small fields by [`Field`] index, each within `0..=field.none()`.
    pub fields: [RangeSet<u32>; Field::COUNT],
    /// Of a rule about frames that are not IP: their EtherTypes, 0 to 65,535. Such a rule matches no IP
    /// packet, so no address is in its sets, and of the fields it names [`FrameKey::FIELDS`] alone.
    pub ethertypes: Option<RangeSet<u32>>,
    /// The number of the condition that the packet's payload and options must meet, if there is one.
    pub content: Option<u32>,
}

impl Match {
    /// Matches every IP packet. All of them share their sets.
    #[must_use]
    pub fn any() -> Self {
        static ANY: LazyLock<Match> = LazyLock::new(|| Match {
            src: AddrSet::any(),
            dst: AddrSet::any(),
            fields: Field::ALL.map(|field| RangeSet::of(0, field.none())),
            ethertypes: None,
            content: None,
        });
        ANY.clone()
    }

    /// Makes it one of frames that are not IP.
    #[must_use]
    pub fn of_frames(mut self, ethertypes: RangeSet<u32>) -> Self {
        (self.src, self.dst) = (AddrSet::none(), AddrSet::none());
        self.ethertypes = Some(ethertypes);
        self
    }

    /// Whether it is one of frames that are not IP.
    #[must_use]
    pub const fn is_of_frames(&self) -> bool {
        self.ethertypes.is_some()
    }

    /// One small field's accepted values.
    #[must_use]
    pub fn field(&self, field: Field) -> &RangeSet<u32> {
        &self.fields[field as usize]
    }

    /// Whether the rule accepts every value of the field, "not there" included.
    #[must_use]
    pub fn is_any(&self, field: Field) -> bool {
        self.field(field).ranges() == [(0, field.none())]
    }

    /// Whether the packet has the payload and the options that the rule asks for.
    #[must_use]
    pub fn content_matches(&self, key: &PacketKey) -> bool {
        self.content
            .is_none_or(|number| key.content >> number & 1 == 1)
    }

    /// Whether the packet's addresses are in the rule's sets.
    #[must_use]
    pub fn addresses_match(&self, key: &PacketKey) -> bool {
        match key.family() {
            Family::V4 => {
                self.src.v4.contains(key.src_lo as u32) && self.dst.v4.contains(key.dst_lo as u32)
            }
            Family::V6 => self.src.v6.contains(key.src()) && self.dst.v6.contains(key.dst()),
        }
    }
}
