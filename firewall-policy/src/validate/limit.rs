//! `limit:` and `over:` of a rule: rates such as `200/s`, `6/30s`, `500k/s` and `10Mbit/s`, and what they
//! keep apart.

use super::foreign;
use super::shape::{Cx, Keys, Table, scalar, word, wrong_kind};
use crate::ast::{Node, Span};
use crate::diag::{codes, show, suggest};
use crate::duration::parse_one_unit;
use crate::limit::{BYTE_UNITS, Lengths, Limit, Per, bytes};
use firewall_common::verdict::Action;

pub(super) const KEYS: Keys = Keys {
    of: "`limit`",
    known: &["rate", "new", "burst", "per"],
    reserved: &["open"],
};

/// What may become of packets over a limit.
const OVER: &[(&str, Action)] = &[
    ("drop", Action::DROP),
    ("reject", Action::REJECT),
    ("next", Action::NEXT),
];

/// Words of `per`.
const PER: &[&str] = &["source", "destination", "interface", "rule"];

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// Longest time of a rate: a day.
const WINDOW: u64 = 86_400 * SECOND;

/// Most packets a second: beyond it the time between two of them gets too short to be exact.
const FASTEST: u64 = 100_000_000;

/// Longest time that a used-up burst may take to come back: 30 days.
const REFILL: u128 = 30 * WINDOW as u128;

/// Longest time to ban for, in seconds: the tables hold 32 bits of milliseconds.
const LONGEST_BAN: u64 = 30 * 86_400;

const EXAMPLE: &str = "a rate is packets in a time: 200/s, 6/30s, 500k/s, 10/m";

const EXAMPLE_OF_BYTES: &str = "of bytes a rate is 10Mbit/s, 1MB/s or 64KiB/s (kbit, Mbit, Gbit; B, kB, MB, \
                                GB of 1000; KiB, MiB, GiB of 1024)";

/// Most bytes a second: a hundred gigabits.
const FASTEST_BYTES: u64 = 12_500_000_000;

/// The burst that a limit of bytes has at least, if nothing is said: the largest IP packet.
const LARGEST: u64 = 65_536;

/// The limit of a rule, `Ok(None)` if it has none, `Err` after an error.
pub(super) fn read(
    cx: &mut Cx<'_>,
    table: &Table<'_, '_>,
    action: Option<Action>,
) -> Result<Option<Limit>, ()> {
    let over = table.entry("over");
    let Some((span, node)) = table.entry("limit") else {
        if let Some((span, _)) = table.entry("ban") {
            cx.sink
                .error(&codes::BAN, span, "`ban` without `limit`")
                .help("add `limit: {rate: 200/s, per: source}`; a source over it is banned");
            return Err(());
        }
        let Some((span, _)) = over else {
            return Ok(None);
        };
        cx.sink
            .error(&codes::OVER_NEEDS_LIMIT, span, "`over` without `limit`")
            .help("add `limit: {rate: 200/s, per: source}`, or remove `over`");
        return Err(());
    };
    let over = match over {
        None => Some(Action::DROP),
        Some((_, node)) => word(cx, node, "over", OVER, &[]),
    };
    let limit = limit(cx, node);
    let (over, limit) = (over.ok_or(())?, limit.ok_or(())?);
    if action == Some(Action::DROP) && over == Action::DROP {
        cx.sink
            .error(
                &codes::LIMIT_WITHOUT_EFFECT,
                span,
                "the rule drops packets both within and over the limit",
            )
            .help(
                "set the action for packets within the limit: `action: pass`, or `action: next` to \
                 continue with the next rule; packets over it are dropped",
            );
        return Err(());
    }
    let ban = match table.entry("ban") {
        None => None,
        Some((_, node)) => Some(ban(cx, node, &limit, over).ok_or(())?),
    };
    Ok(Some(Limit { over, ban, ..limit }))
}

/// `ban: 10m`, in seconds.
fn ban(cx: &mut Cx<'_>, node: &Node<'_>, limit: &Limit, over: Action) -> Option<u64> {
    let text = scalar(cx, node, "`ban` is a time such as 10m", "`ban: 10m`")?;
    let (why, help) = if !matches!(limit.per, Per::Source(_)) {
        (
            "`ban` without a limit by source".to_owned(),
            "add `per: source` to the limit: `ban` bans the source",
        )
    } else if over != Action::DROP {
        (
            format!("`ban` beside `over: {over}`"),
            "remove `over`: packets of a banned source are dropped without an answer",
        )
    } else {
        match parse_one_unit(text).map(|time| time.as_secs()) {
            Some(seconds @ 1..=LONGEST_BAN) => return Some(seconds),
            _ => (
                format!("`{}` is not a time to ban for", show(text)),
                "write 30s, 10m, 1h or 7d; at most 30d",
            ),
        }
    };
    cx.sink.error(&codes::BAN, node.span, why).help(help);
    None
}

fn limit(cx: &mut Cx<'_>, node: &Node<'_>) -> Option<Limit> {
    if let Some(text) = node.scalar() {
        let rate = foreign::rate(text).unwrap_or_else(|| "200/s".to_owned());
        wrong_kind(cx, node, "`limit` is a mapping").help(format!(
            "write `limit: {{rate: {rate}, per: source}}`; with `new: {rate}` in place of `rate` it \
             counts connections"
        ));
        return None;
    }
    let table = Table::read(cx, node, &KEYS)?;
    let (new_only, rated) = match (table.entry("rate"), table.entry("new")) {
        (Some((first, _)), Some((second, _))) => {
            cx.sink
                .error(
                    &codes::DUPLICATE_KEY,
                    second,
                    "`new` is another kind of `rate`",
                )
                .label("again here")
                .also(first, "first here")
                .help("keep one: `rate` counts every packet, `new` those that open a connection");
            return None;
        }
        (_, Some((_, node))) => (true, Some(node)),
        _ => (
            false,
            table.require(cx, "rate", "`rate: 200/s`, or `new: 6/30s`"),
        ),
    };
    let rate = rated.and_then(|node| match new_only {
        true => of_connections(cx, node),
        false => any_rate(cx, node),
    });
    let per = match table.get("per") {
        None => Some(Per::Rule),
        Some(node) => per(cx, node),
    };
    let burst = match (table.get("burst"), rate) {
        (None, rate) => rate.map(Counted::default_burst),
        (Some(node), rate) => burst(cx, node, rate),
    };
    let Counted {
        packets,
        window,
        bytes,
    } = rate?;
    Some(Limit {
        packets,
        window,
        burst: burst?,
        bytes,
        per: per?,
        new_only,
        over: Action::DROP,
        ban: None,
    })
}

/// A rate, and what it counts.
#[derive(Clone, Copy)]
struct Counted {
    packets: u64,
    window: u64,
    /// Bytes, not packets.
    bytes: bool,
}

impl Counted {
    fn default_burst(self) -> u64 {
        let burst = default_burst(self.packets, self.window);
        match self.bytes {
            true => burst.max(LARGEST),
            false => burst,
        }
    }
}

/// The rate of `new`, which counts connections.
fn of_connections(cx: &mut Cx<'_>, node: &Node<'_>) -> Option<Counted> {
    if let Some(text) = node.scalar()
        && let Some((amount, _)) = text.split_once('/')
        && byte_amount(amount).is_some()
    {
        let help = format!("write `rate: {text}`: `new` counts connections, `6/30s`");
        bad_rate(cx, node.span, text, &help);
        return None;
    }
    of_packets(rate(cx, node))
}

fn of_packets(rate: Option<(u64, u64)>) -> Option<Counted> {
    let (packets, window) = rate?;
    Some(Counted {
        packets,
        window,
        bytes: false,
    })
}

/// A rate of packets, or of bytes: `10Mbit/s`.
fn any_rate(cx: &mut Cx<'_>, node: &Node<'_>) -> Option<Counted> {
    let Some(text) = node.scalar().filter(|text| names_bytes(text)) else {
        return of_packets(rate(cx, node));
    };
    let (number, time) = text.split_once('/').unwrap_or((text, ""));
    let (Some(packets), Some(window)) = (byte_amount(number), window(time)) else {
        let is_known = byte_amount(number).is_some();
        let help = bytes_meant(number)
            .filter(|_| !is_known)
            .map(|(bits, bytes)| {
                // The time in the words of this language, if it was that.
                let one = foreign::rate(&format!("1/{time}"));
                let time = one.as_deref().and_then(|one| one.split_once('/'));
                let time = time.map_or("s", |(_, time)| time);
                format!("write {bits}/{time} for bits, or {bytes}/{time} for bytes")
            });
        let help =
            help.or_else(|| is_known.then(|| format!("write the time behind it: {number}/s")));
        bad_rate(
            cx,
            node.span,
            text,
            help.as_deref().unwrap_or(EXAMPLE_OF_BYTES),
        );
        return None;
    };
    // Bytes in as many seconds as the window has nanoseconds.
    let bytes = u128::from(packets) * u128::from(SECOND);
    let help = if packets == 0 {
        "to let nothing through write a rule with `action: drop`"
    } else if window == 0 || window > WINDOW {
        "the time is one second to one day (1d)"
    } else if bytes < u128::from(window) {
        "the lowest rate is a byte a second: 8bit/s"
    } else if bytes > u128::from(FASTEST_BYTES) * u128::from(window) {
        "the highest rate is 100Gbit/s"
    } else {
        return Some(Counted {
            packets,
            window,
            bytes: true,
        });
    };
    bad_rate(cx, node.span, text, help);
    None
}

/// Whether a unit of bytes or bits stands behind the number of a rate, be it one that is not known here:
/// `10Mbit/s`, `1mb/s`, `64 KiB`.
fn names_bytes(text: &str) -> bool {
    let number = text.split('/').next().unwrap_or_default();
    let unit = number.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    unit.len() < number.len()
        && unit
            .trim_start()
            .starts_with(|c: char| "bBkKmMgGtT".contains(c))
        && unit.contains(['b', 'B'])
}

/// So many bytes: digits and a unit, of bits in full bytes.
fn byte_amount(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = &text[digits.len()..];
    let known = BYTE_UNITS
        .iter()
        .copied()
        .chain([("mbit", 1_000_000), ("gbit", 1_000_000_000)]);
    let (_, size) = known.into_iter().find(|(name, _)| *name == unit)?;
    let eighths = whole(digits)?.checked_mul(size)?;
    (eighths % 8 == 0).then_some(eighths / 8)
}

/// What can be meant by a unit of another program, as bits and as bytes: `10mb`, `1mbytes`, `5mbps`.
fn bytes_meant(text: &str) -> Option<(String, String)> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text[digits.len()..].trim().to_ascii_lowercase();
    let unit = unit.trim_end_matches("ps").trim_end_matches('s');
    let unit = unit.trim_end_matches("yte").trim_end_matches("it");
    let (bits, bytes) = match unit {
        "b" => ("bit", "B"),
        "kb" => ("kbit", "kB"),
        "mb" => ("Mbit", "MB"),
        "gb" => ("Gbit", "GB"),
        _ => return None,
    };
    // Bits in whole bytes.
    let bits_fit = unit != "b" || whole(digits)? % 8 == 0;
    (whole(digits).is_some() && bits_fit)
        .then(|| (format!("{digits}{bits}"), format!("{digits}{bytes}")))
}

/// Twice what the rate allows in a second, and not less than it names: 400 for 200/s, 6 for 6/30s.
pub(super) fn default_burst(packets: u64, window: u64) -> u64 {
    let two_seconds = u128::from(packets) * 2 * u128::from(SECOND) / u128::from(window);
    let named = if window > SECOND { packets } else { 1 };
    u64::try_from(two_seconds)
        .unwrap_or(u64::MAX)
        .max(named.min(most_burst(packets, window)))
        .max(1)
}

/// The largest burst that comes back in time.
fn most_burst(packets: u64, window: u64) -> u64 {
    u64::try_from(REFILL * u128::from(packets) / u128::from(window)).unwrap_or(u64::MAX)
}

/// Packets and nanoseconds of a rate.
pub(super) fn rate(cx: &mut Cx<'_>, node: &Node<'_>) -> Option<(u64, u64)> {
    let text = scalar(cx, node, EXAMPLE, "`rate: 200/s`")?;
    let found = text
        .split_once('/')
        .and_then(|(packets, time)| Some((amount(packets)?, window(time)?)));
    let Some((packets, window)) = found else {
        let meant = foreign::rate(text).filter(|meant| meant != text);
        let help = meant.map(|meant| format!("write {meant}"));
        bad_rate(cx, node.span, text, help.as_deref().unwrap_or(EXAMPLE));
        return None;
    };
    let per_second = u128::from(packets) * u128::from(SECOND) / u128::from(window.max(1));
    if packets == 0 {
        bad_rate(
            cx,
            node.span,
            text,
            "to let nothing through write a rule with `action: drop`",
        );
    } else if window == 0 || window > WINDOW {
        bad_rate(
            cx,
            node.span,
            text,
            "the time is one second to one day (1d)",
        );
    } else if per_second > u128::from(FASTEST) {
        bad_rate(cx, node.span, text, "the highest rate is 100M/s");
    } else {
        return Some((packets, window));
    }
    None
}

fn bad_rate(cx: &mut Cx<'_>, span: Span, text: &str, help: &str) {
    cx.sink
        .error(
            &codes::RATE,
            span,
            format!("`{}` is not a rate", show(text)),
        )
        .help(help);
}

/// `200`, `500k`, `2M`: digits without leading zeros, and a factor.
fn amount(text: &str) -> Option<u64> {
    let (digits, factor) = match text.strip_suffix(['k', 'M']) {
        Some(digits) if text.ends_with('k') => (digits, 1_000),
        Some(digits) => (digits, 1_000_000),
        None => (text, 1),
    };
    whole(digits)?.checked_mul(factor)
}

/// `s`, `30s`, `m`, `10m`, `h`, `d` as nanoseconds.
fn window(text: &str) -> Option<u64> {
    let time = match text.len() {
        1 => parse_one_unit(&format!("1{text}")),
        _ => parse_one_unit(text),
    };
    u64::try_from(time?.as_nanos()).ok()
}

fn whole(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    plain.then(|| digits.parse().ok()).flatten()
}

fn burst(cx: &mut Cx<'_>, node: &Node<'_>, rate: Option<Counted>) -> Option<u64> {
    let text = scalar(cx, node, "`burst` is a number of packets", "`burst: 400`")?;
    let most = rate.map_or(u64::MAX, |rate| most_burst(rate.packets, rate.window));
    // Of a rate with an error either may be meant.
    let found = match rate.map(|rate| rate.bytes) {
        Some(true) => byte_amount(text),
        Some(false) => amount(text),
        None => amount(text).or_else(|| byte_amount(text)),
    };
    let of_bytes = rate.is_some_and(|rate| rate.bytes);
    match found {
        Some(burst) if (1..=most).contains(&burst) => Some(burst),
        found => {
            let help = match found {
                Some(0) if of_bytes => "write as much as the largest packet has: 64KiB".to_owned(),
                Some(0) => "one packet is the smallest burst: `burst: 1`".to_owned(),
                Some(_) => {
                    let most = match of_bytes {
                        true => bytes(most),
                        false => most.to_string(),
                    };
                    format!(
                        "at this rate a burst of more than {most} takes over 30 days to come back"
                    )
                }
                None if of_bytes => "the rate counts bytes, so write bytes: 64KiB, 1MB".to_owned(),
                None => "write packets: 400, 2k".to_owned(),
            };
            cx.sink
                .error(
                    &codes::RATE,
                    node.span,
                    format!("`{}` is not a burst", show(text)),
                )
                .help(help);
            None
        }
    }
}

/// `source`, `source/24`, `source/24/56`, likewise `destination`, `interface`, `rule`.
fn per(cx: &mut Cx<'_>, node: &Node<'_>) -> Option<Per> {
    let expected = format!("`per` is one of {}", PER.join(", "));
    let text = scalar(cx, node, &expected, "`per: source`")?;
    let (word, lengths) = match text.split_once('/') {
        Some((word, lengths)) => (word, Some(lengths)),
        None => (text, None),
    };
    let by_address: fn(Lengths) -> Per = match (word, lengths) {
        ("rule", None) => return Some(Per::Rule),
        ("interface", None) => return Some(Per::Interface),
        ("source", _) => Per::Source,
        ("destination", _) => Per::Destination,
        _ => {
            let error = cx.sink.error(
                &codes::UNKNOWN_VALUE,
                node.span,
                format!("unknown per `{}`", show(text)),
            );
            error.help(match word {
                "rule" | "interface" => format!("write `{word}`: only addresses have a length"),
                _ => foreign::word("per", text).unwrap_or_else(|| suggest::help(word, PER)),
            });
            return None;
        }
    };
    let Some(text_of_lengths) = lengths else {
        return Some(by_address(Lengths::HOST));
    };
    let found = match text_of_lengths.split_once('/') {
        None => bits(text_of_lengths, 32).map(Lengths::of_v4),
        Some((v4, v6)) => bits(v4, 32)
            .zip(bits(v6, 128))
            .map(|(v4, v6)| Lengths { v4, v6 }),
    };
    if found.is_none() {
        cx.sink
            .error(
                &codes::PER_LENGTH,
                node.span,
                format!("`{}` is not a prefix length of both families", show(text)),
            )
            .help(format!(
                "write {word}/24 (IPv4, 1 to 32; IPv6 gets 32 bits more, /56), or both: \
                 {word}/24/56"
            ));
    }
    found.map(by_address)
}

fn bits(text: &str, most: u64) -> Option<u32> {
    let bits = whole(text)?;
    (1..=most).contains(&bits).then_some(bits as u32)
}

/// A limit in one line: `limit 6/30s new per source`.
pub(super) fn line(node: &Node<'_>) -> String {
    let part = |key: &str| match &node.value {
        crate::ast::Value::Map(map) => map
            .iter()
            .find(|(k, _)| k.text == key)
            .and_then(|(_, node)| node.scalar()),
        _ => None,
    };
    let mut line = match (part("rate"), part("new")) {
        (Some(rate), _) => rate.to_owned(),
        (None, new) => format!("{} new", new.unwrap_or_default()),
    };
    if let Some(per) = part("per").filter(|&per| per != "rule") {
        line.push_str(&format!(" per {per}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::{SECOND, amount, byte_amount, bytes_meant, default_burst, window};

    #[test]
    fn rates_are_read_strictly() {
        assert_eq!(amount("200"), Some(200));
        assert_eq!(amount("500k"), Some(500_000));
        assert_eq!(amount("2M"), Some(2_000_000));
        for wrong in [
            "", "k", "1K", "1.5k", "-1", "+1", "007", "1 000", "1kk", "1e3",
        ] {
            assert_eq!(amount(wrong), None, "{wrong}");
        }
        assert_eq!(window("s"), Some(SECOND));
        assert_eq!(window("30s"), Some(30 * SECOND));
        assert_eq!(window("10m"), Some(600 * SECOND));
        for wrong in ["", "30", "s30", "ms", "1w", "99999999999999999999s", "-1s"] {
            assert_eq!(window(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn bytes_are_read_strictly() {
        for (text, bytes) in [
            ("8bit", 1),
            ("10Mbit", 1_250_000),
            ("10mbit", 1_250_000),
            ("1Gbit", 125_000_000),
            ("1500B", 1_500),
            ("64KiB", 65_536),
            ("1MB", 1_000_000),
            ("1MiB", 1 << 20),
        ] {
            assert_eq!(byte_amount(text), Some(bytes), "{text}");
        }
        for wrong in [
            "",
            "B",
            "1",
            "1k",
            "1M",
            "4bit",
            "1mb",
            "1Mb",
            "1 MB",
            "1.5MB",
            "01MB",
            "-1MB",
            "1KB",
            "99999999999999999999GB",
        ] {
            assert_eq!(byte_amount(wrong), None, "{wrong}");
        }
        let meant = |text| bytes_meant(text).map(|(bits, bytes)| format!("{bits} {bytes}"));
        for (text, both) in [
            ("1mb", "1Mbit 1MB"),
            ("10 mbytes", "10Mbit 10MB"),
            ("5Mbps", "5Mbit 5MB"),
            ("64KB", "64kbit 64kB"),
        ] {
            assert_eq!(meant(text).as_deref(), Some(both), "{text}");
        }
        assert_eq!(meant("1tb"), None);
    }

    #[test]
    fn a_burst_is_two_seconds_or_what_the_rate_names() {
        assert_eq!(default_burst(200, SECOND), 400);
        assert_eq!(default_burst(6, 30 * SECOND), 6);
        assert_eq!(default_burst(1, SECOND), 2);
        assert_eq!(default_burst(1, 86_400 * SECOND), 1);
        assert_eq!(default_burst(600_000, 60 * SECOND), 600_000);
    }
}
