//! `-m limit`, `-m hashlimit` and `-m recent`: their options as rates.
//!
//! May not import the writer. Invariant: options that make no rate of a policy are a reason why the
//! rule is not exact.

use super::super::imported::Effect;
use super::super::packets::{Dim, Family};
use super::super::rates::{Per, Rate, unit};
use super::super::ruleset::Condition;

/// Options of one rule that are about rates, with their values.
#[derive(Default)]
pub(super) struct Asked {
    options: Vec<(String, String)>,
    negated: bool,
}

/// Options of the three modules, and how many values stand behind each.
const OPTIONS: [(&str, &str, usize); 26] = [
    ("limit", "--limit", 1),
    ("limit", "--limit-burst", 1),
    ("hashlimit", "--hashlimit", 1),
    ("hashlimit", "--hashlimit-upto", 1),
    ("hashlimit", "--hashlimit-above", 1),
    ("hashlimit", "--hashlimit-burst", 1),
    ("hashlimit", "--hashlimit-mode", 1),
    ("hashlimit", "--hashlimit-srcmask", 1),
    ("hashlimit", "--hashlimit-dstmask", 1),
    ("hashlimit", "--hashlimit-name", 1),
    ("hashlimit", "--hashlimit-htable-size", 1),
    ("hashlimit", "--hashlimit-htable-max", 1),
    ("hashlimit", "--hashlimit-htable-expire", 1),
    ("hashlimit", "--hashlimit-htable-gcinterval", 1),
    ("hashlimit", "--hashlimit-rate-interval", 1),
    ("recent", "--set", 0),
    ("recent", "--rcheck", 0),
    ("recent", "--update", 0),
    ("recent", "--seconds", 1),
    ("recent", "--hitcount", 1),
    ("recent", "--name", 1),
    ("recent", "--mask", 1),
    ("recent", "--rsource", 0),
    ("recent", "--rdest", 0),
    ("recent", "--reap", 0),
    ("recent", "--rttl", 0),
];

/// How many values stand behind an option of a module that is about rates.
pub(super) fn values(module: &str, option: &str) -> Option<usize> {
    let row = OPTIONS
        .iter()
        .find(|(of, name, _)| *of == module && *name == option)?;
    Some(row.2)
}

impl Asked {
    pub(super) fn take(&mut self, option: &str, value: &str, negated: bool) {
        self.options.push((option.to_owned(), value.to_owned()));
        self.negated |= negated;
    }

    /// Whether a rate is asked for so far.
    pub(super) fn any(&self) -> bool {
        let rates = [
            "--limit",
            "--hashlimit",
            "--hashlimit-upto",
            "--hashlimit-above",
        ];
        let mut options = self.options.iter();
        options.any(|(name, _)| rates.contains(&name.as_str()))
    }

    fn get(&self, option: &str) -> Option<&str> {
        let mut found = self.options.iter().filter(|(name, _)| name == option);
        found.next().map(|(_, value)| value.as_str())
    }

    /// Puts the rates into the condition. The name of the list of `-m recent`, if it asks for one.
    pub(super) fn settle(self, condition: &mut Condition, family: Family) -> Option<String> {
        if self.options.is_empty() {
            return None;
        }
        if self.negated {
            condition.unsure("a rate is not negated in a policy");
        }
        if let Some(limit) = self.get("--limit") {
            let burst = self
                .get("--limit-burst")
                .map_or(Some(5), |text| text.parse().ok());
            put(condition, rate(limit, burst, Per::Rule, false));
        }
        if self
            .options
            .iter()
            .any(|(name, _)| name.starts_with("--hashlimit"))
        {
            self.hash(condition, family);
        }
        self.recent(condition, family)
    }

    fn hash(&self, condition: &mut Condition, family: Family) {
        let (text, over) = match self.get("--hashlimit-above") {
            Some(text) => (Some(text), true),
            None => (
                self.get("--hashlimit-upto")
                    .or_else(|| self.get("--hashlimit")),
                false,
            ),
        };
        let bits = if family == Family::V4 { 32 } else { 128 };
        let mask = |option: &str| {
            self.get(option)
                .map_or(Some(bits), |text| text.parse().ok())
        };
        let mut modes: Vec<&str> = self
            .get("--hashlimit-mode")
            .unwrap_or("")
            .split(',')
            .collect();
        // Of one port there is one bucket.
        let one = |part: &super::super::packets::Packets| matches!(part.get(Dim::DestinationPort).ranges(), [(a, b)] if a == b);
        if condition.boxes.iter().all(one) {
            modes.retain(|mode| *mode != "dstport");
        }
        let per = match modes[..] {
            [] | [""] => Some(Per::Rule),
            ["srcip"] => mask("--hashlimit-srcmask").map(Per::Source),
            ["dstip"] => mask("--hashlimit-dstmask").map(Per::Destination),
            _ => None,
        };
        let burst = self
            .get("--hashlimit-burst")
            .map_or(Some(5), |text| text.parse().ok());
        let found =
            text.zip(per.filter(|per| !matches!(per, Per::Source(0) | Per::Destination(0))));
        let of_bytes = text.and_then(|text| {
            let (amount, time) = text.split_once('/').unwrap_or((text, "s"));
            bytes(amount).filter(|_| unit(time) == Some(1))
        });
        if let Some(amount) = of_bytes {
            let burst = self.get("--hashlimit-burst");
            let rate = found.and_then(|(_, per)| self::of_bytes(amount, burst, per, over));
            if rate.is_some() {
                condition.aside(IN_SIXTEENS, Effect::Differs);
            }
            return put(condition, rate);
        }
        put(
            condition,
            found.and_then(|(text, per)| rate(text, burst, per, over)),
        );
    }

    /// A list of sources and when they came; that it is put into `list` alone changes nothing.
    fn recent(&self, condition: &mut Condition, family: Family) -> Option<String> {
        let has = |option: &str| self.get(option).is_some();
        if !has("--rcheck") && !has("--update") {
            return None;
        }
        let number = |option: &str| self.get(option).and_then(|text| text.parse::<u64>().ok());
        let whole = self.get("--mask").is_none_or(|mask| {
            mask == "255.255.255.255" || mask.starts_with("ffff:ffff:ffff:ffff:f")
        });
        let bits = if family == Family::V4 { 32 } else { 64 };
        let per = if has("--rdest") {
            Per::Destination(bits)
        } else {
            Per::Source(bits)
        };
        match (number("--seconds"), number("--hitcount")) {
            (Some(window @ 1..=86_400), Some(packets @ 1..)) if whole && !has("--rttl") => {
                condition.limit(Rate {
                    packets,
                    window,
                    burst: packets,
                    bytes: false,
                    per,
                    over: true,
                });
                condition.aside(
                    "counted by a rate: a source over it passes again as time goes by, not after a pause",
                    Effect::Differs,
                );
            }
            _ => condition.unsure("sources are not remembered but for a rate (-m recent)"),
        }
        Some(self.get("--name").unwrap_or("DEFAULT").to_owned())
    }
}

/// What differs in a hashlimit of bytes.
const IN_SIXTEENS: &str = "hashlimit counts each packet's bytes up to the next sixteen; here they are \
                           counted as they are";

fn put(condition: &mut Condition, rate: Option<Rate>) {
    match rate {
        Some(rate) => condition.limit(rate),
        None => condition.unsure("a limit of a policy cannot say this rate: write one by hand"),
    }
}

/// `5/min`.
fn rate(text: &str, burst: Option<u64>, per: Per, over: bool) -> Option<Rate> {
    let (packets, time) = text.split_once('/').unwrap_or((text, "s"));
    let packets: u64 = packets.parse().ok().filter(|&packets| packets > 0)?;
    let window = unit(time)?;
    // What takes longer than 30 days to come back is no burst of a policy.
    let burst = burst.filter(|&burst| burst > 0 && burst * window / packets < 30 * 86_400)?;
    (packets / window <= 100_000_000).then_some(Rate {
        packets,
        window,
        burst,
        bytes: false,
        per,
        over,
    })
}

/// Bytes: `512kb`, `1mb`, `300b`.
fn bytes(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let size = match &text[digits.len()..] {
        "b" => 1,
        "kb" => 1 << 10,
        "mb" => 1 << 20,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(size)
}

/// `1mb/s`: what comes in a second is there at once, and what `--hashlimit-burst` says beside it
/// (net/netfilter/xt_hashlimit.c).
fn of_bytes(amount: u64, burst: Option<&str>, per: Per, over: bool) -> Option<Rate> {
    let more = burst.map_or(Some(0), bytes)?;
    Rate::of_bytes(amount, 1, amount.checked_add(more)?, per, over)
}
