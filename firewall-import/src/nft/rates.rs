//! `limit`, meters and dynamic sets of nft as rates.
//!
//! May not import the writer. Invariant: a statement that makes no rate of a policy is none.

use super::super::packets::{Dim, Family, Packets};
use super::super::rates::{Per, Rate, unit};
use super::fields::Left;
use serde_json::Value;

/// Bytes of a unit: `bytes`, `kbytes`, `mbytes`.
fn of_bytes(body: &Value, key: &str) -> Option<u64> {
    match body[key].as_str()? {
        "bytes" => Some(1),
        "kbytes" => Some(1 << 10),
        "mbytes" => Some(1 << 20),
        _ => None,
    }
}

/// `limit rate over 10 mbytes/second burst 64 kbytes`: beside what is named there is always room for what
/// comes in one unit of the time (net/netfilter/nft_limit.c).
fn bytes(body: &Value, per: Per) -> Option<Rate> {
    let packets = body["rate"]
        .as_u64()?
        .checked_mul(of_bytes(body, "rate_unit")?)?;
    let window = unit(body["per"].as_str().unwrap_or("second"))?;
    let more = match body["burst"].as_u64() {
        None | Some(0) => 0,
        Some(burst) => burst.checked_mul(of_bytes(body, "burst_unit").unwrap_or(1))?,
    };
    let over = body["inv"] == true;
    Rate::of_bytes(packets, window, packets.checked_add(more)?, per, over)
}

/// `limit rate over 10/minute burst 5 packets`.
pub(super) fn limit(body: &Value, per: Per) -> Option<Rate> {
    if of_bytes(body, "rate_unit").is_some() {
        return bytes(body, per);
    }
    let counts = |key: &str| body[key].as_str().is_none_or(|unit| unit == "packets");
    if !counts("rate_unit") || !counts("burst_unit") {
        return None;
    }
    let packets = body["rate"].as_u64().filter(|&packets| packets > 0)?;
    let window = unit(body["per"].as_str().unwrap_or("second"))?;
    let burst = body["burst"]
        .as_u64()
        .filter(|&burst| burst > 0)
        .unwrap_or(5);
    let fits = burst.checked_mul(window)? / packets < 30 * 86_400;
    (fits && packets / window <= 100_000_000).then_some(Rate {
        packets,
        window,
        burst,
        bytes: false,
        per,
        over: body["inv"] == true,
    })
}

/// What the key of a meter or of a dynamic set keeps apart, in a rule for these packets.
pub(super) fn per(key: &Left, boxes: &[Packets]) -> Option<Per> {
    let bits = |family: &Family| if *family == Family::V4 { 32 } else { 128 };
    match key {
        Left::Address(Dim::Source, family) => Some(Per::Source(bits(family))),
        Left::Address(_, family) => Some(Per::Destination(bits(family))),
        Left::Concat(parts) => {
            // Of one port there is one bucket.
            let one = |part: &Left| match part {
                Left::Port(dim, _) => boxes
                    .iter()
                    .all(|b| matches!(b.get(*dim).ranges(), [(a, b)] if a == b)),
                _ => false,
            };
            let mut rest = parts.iter().filter(|part| !one(part));
            let first = rest.next()?;
            rest.next().is_none().then(|| per(first, boxes)).flatten()
        }
        _ => None,
    }
}
