//! Rates that rules of another firewall ask for, as limits of a policy.
//!
//! May not import a reader or the writer. Invariant: a rate is written as the policy language reads it, or it is none.

use firewall_policy::limit::bytes;

/// So many packets or bytes in a time, and what is counted apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Rate {
    pub(super) packets: u64,
    /// Seconds.
    pub(super) window: u64,
    pub(super) burst: u64,
    /// Bytes count, not packets.
    pub(super) bytes: bool,
    pub(super) per: Per,
    /// The rule takes what is over the rate, not what is within.
    pub(super) over: bool,
}

/// What has an allowance of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Per {
    Rule,
    /// Source prefixes of this length, in the family of the rule.
    Source(u32),
    Destination(u32),
}

/// Bytes that no IP packet has more of.
const LARGEST: u64 = 65_536;

/// Most bytes a second that a policy limits.
const FASTEST: u64 = 12_500_000_000;

impl Rate {
    /// Of bytes: what is in the bucket at once comes in beside. `None` for what no policy says.
    pub(super) fn of_bytes(
        packets: u64,
        window: u64,
        burst: u64,
        per: Per,
        over: bool,
    ) -> Option<Self> {
        // What takes longer than 30 days to come back is no burst of a policy.
        let comes_back = burst.checked_mul(window)? / packets.max(1) < 30 * 86_400;
        let fits = packets >= window && packets / window <= FASTEST;
        (fits && comes_back && burst > 0).then_some(Self {
            packets,
            window,
            burst,
            bytes: true,
            per,
            over,
        })
    }

    /// `rate: 5/30s, burst: 5, per: source`.
    pub(super) fn yaml(&self, v6: bool) -> String {
        let time = match self.window {
            1 => "s".to_owned(),
            60 => "m".into(),
            3_600 => "h".into(),
            86_400 => "d".into(),
            other => format!("{other}s"),
        };
        let amount = |number: u64| match self.bytes {
            true => bytes(number),
            false => number.to_string(),
        };
        let mut text = format!("rate: {}/{time}", amount(self.packets));
        // Two seconds' worth of the rate, and what the rate names at least, is what a policy gives; of
        // bytes not less than the largest packet.
        let usual = (2 * self.packets).div_ceil(self.window).max(self.packets);
        let usual = if self.bytes {
            usual.max(LARGEST)
        } else {
            usual
        };
        if self.burst != usual {
            text.push_str(&format!(", burst: {}", amount(self.burst)));
        }
        let (side, bits) = match self.per {
            Per::Rule => return text,
            Per::Source(bits) => ("source", bits),
            Per::Destination(bits) => ("destination", bits),
        };
        text.push_str(&match (v6, bits) {
            (false, 32) | (true, 64) => format!(", per: {side}"),
            (false, bits) => format!(", per: {side}/{bits}"),
            (true, 128) => format!(", per: {side}/32/128"),
            (true, bits) => format!(", per: {side}/{}/{bits}", (bits / 4).clamp(1, 32)),
        });
        text
    }
}

/// Seconds of a unit: `sec`, `minute`, `h`, ...
pub(super) fn unit(word: &str) -> Option<u64> {
    let named = [
        ("second", 1),
        ("minute", 60),
        ("hour", 3_600),
        ("day", 86_400),
    ];
    let (_, seconds) = named
        .iter()
        .find(|(name, _)| !word.is_empty() && name.starts_with(word))?;
    Some(*seconds)
}
