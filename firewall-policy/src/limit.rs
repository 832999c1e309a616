//! A rule's rate limit, as validation leaves it. Times are nanoseconds.
//!
//! May not import the compiler or the oracle. Invariant: of [`crate::validate`] only come limits
//! whose rate and burst the tables can hold exactly enough; see `validate/limit.rs` for the bounds.

use crate::duration;
use firewall_common::verdict::Action;
use std::fmt;
use std::time::Duration;

/// How much a rule lets on to its action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limit {
    /// Packets, or bytes, in [`Limit::window`], at least 1.
    pub packets: u64,
    /// Nanoseconds, at least 1.
    pub window: u64,
    /// Packets, or bytes, that may come at once, at least 1.
    pub burst: u64,
    /// Bytes of IP packets count, not packets.
    pub bytes: bool,
    /// What has an allowance of its own.
    pub per: Per,
    /// Only packets that may open a connection count.
    pub new_only: bool,
    /// What becomes of packets over the limit: `drop`, `reject` or `next`.
    pub over: Action,
    /// Seconds for which a source over the limit is banned, if it is. Only of limits by source.
    pub ban: Option<u64>,
}

impl Limit {
    /// Whether what is over the limit goes on to the next rules.
    #[must_use]
    pub fn over_goes_on(&self) -> bool {
        self.over == Action::NEXT
    }
}

/// All that it says, in the words of a policy: `6/30s new per source, burst 6, over: next`.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = |number: u64| match self.bytes {
            true => bytes(number),
            false => number.to_string(),
        };
        let (rate, time) = (amount(self.packets), time(self.window));
        write!(
            f,
            "{rate}/{time}{}",
            if self.new_only { " new" } else { "" }
        )?;
        let prefixes = |lengths: &Lengths| match *lengths {
            Lengths::HOST => String::new(),
            Lengths { v4, v6 } => format!("/{v4}/{v6}"),
        };
        match &self.per {
            Per::Rule => {}
            Per::Interface => f.write_str(" per interface")?,
            Per::Source(lengths) => write!(f, " per source{}", prefixes(lengths))?,
            Per::Destination(lengths) => write!(f, " per destination{}", prefixes(lengths))?,
        }
        write!(f, ", burst {}", amount(self.burst))?;
        if self.over != Action::DROP {
            write!(f, ", over: {}", self.over)?;
        }
        match self.ban {
            Some(seconds) => write!(
                f,
                ", ban: {}",
                duration::print(Duration::from_secs(seconds))
            ),
            None => Ok(()),
        }
    }
}

/// How often something is done at most: what is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// As [`Limit::packets`].
    pub packets: u64,
    /// As [`Limit::window`].
    pub window: u64,
    /// As [`Limit::burst`].
    pub burst: u64,
}

/// As a policy has it: `10/s`, `6/30s`, `1/m`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.packets, time(self.window))
    }
}

/// The time behind the stroke of a rate: `s`, `30s`, `m`.
fn time(window: u64) -> String {
    let time = duration::print(Duration::from_nanos(window));
    match time.strip_prefix('1') {
        Some(unit) if unit.len() == 1 => unit.to_owned(),
        _ => time,
    }
}

/// The units in which bytes are written, the largest first, and how many bytes each is in eighths.
pub(crate) const BYTE_UNITS: [(&str, u64); 11] = [
    ("GiB", 8 << 30),
    ("GB", 8_000_000_000),
    ("Gbit", 1_000_000_000),
    ("MiB", 8 << 20),
    ("MB", 8_000_000),
    ("Mbit", 1_000_000),
    ("KiB", 8 << 10),
    ("kB", 8_000),
    ("kbit", 1_000),
    ("B", 8),
    ("bit", 1),
];

/// So many bytes, in the largest unit in which they are a whole number: `1250kB`.
#[must_use]
pub fn bytes(number: u64) -> String {
    let bits = u128::from(number) * 8;
    let mut units = BYTE_UNITS.iter();
    let found = units.find(|&&(_, size)| bits >= size.into() && bits % u128::from(size) == 0);
    match found {
        Some(&(unit, size)) => format!("{}{unit}", bits / u128::from(size)),
        None => format!("{number}B"),
    }
}

/// What a rate limit keeps apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Per {
    /// Nothing: one allowance for all that the rule matches.
    Rule,
    /// Interfaces.
    Interface,
    /// Source prefixes of these lengths.
    Source(Lengths),
    /// Destination prefixes of these lengths.
    Destination(Lengths),
}

/// Prefix lengths in bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Lengths {
    /// 1 to 32.
    pub v4: u32,
    /// 1 to 128.
    pub v6: u32,
}

impl Lengths {
    /// One IPv4 address, and what one host of IPv6 has at least: a /64.
    pub const HOST: Self = Self { v4: 32, v6: 64 };

    /// The IPv6 length that goes with an IPv4 one, 32 bits more: /32 and /64 are a host or a home,
    /// /24 and /56 a small site, /16 and /48 a large one.
    #[must_use]
    pub const fn of_v4(v4: u32) -> Self {
        Self { v4, v6: v4 + 32 }
    }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn bytes_are_written_in_the_largest_whole_unit() {
        for (number, text) in [
            (1, "1B"),
            (1_500, "12kbit"),
            (1_000, "1kB"),
            (65_536, "64KiB"),
            (1_250_000, "10Mbit"),
            (10_000_000, "10MB"),
            (1 << 30, "1GiB"),
            (1_000_001, "1000001B"),
            (u64::MAX, "18446744073709551615B"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }
}
