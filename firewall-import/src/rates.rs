//! Rates that rules of another firewall ask for, as limits of a policy.
//!
//! Imports nothing. Invariant: a rate is written as the policy language reads it, or it is none.

/// So many packets in a time, and what is counted apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Rate {
    pub(super) packets: u64,
    /// Seconds.
    pub(super) window: u64,
    pub(super) burst: u64,
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

impl Rate {
    /// `rate: 5/30s, burst: 5, per: source`.
    pub(super) fn yaml(&self, v6: bool) -> String {
        let time = match self.window {
            1 => "s".to_owned(),
            60 => "m".into(),
            3_600 => "h".into(),
            86_400 => "d".into(),
            other => format!("{other}s"),
        };
        let mut text = format!("rate: {}/{time}", self.packets);
        // Two seconds' worth of the rate, and what the rate names at least, is what a policy gives.
        let usual = (2 * self.packets).div_ceil(self.window).max(self.packets);
        if self.burst != usual {
            text.push_str(&format!(", burst: {}", self.burst));
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
