//! Raw bytes of a transport header, options and extension headers in expressions of nft, as conditions
//! of a policy on payload and options.
//!
//! May not import the writer. Invariant: what a policy cannot say to the bit is a reason.

use super::super::packets::{Dim, Family};
use super::super::ruleset::Condition;
use firewall_common::abi::option_bit;
use firewall_common::content::PAYLOAD;
use firewall_policy::content::{Content, LAST_OFFSET, Payload};
use firewall_policy::range::RangeSet;
use serde_json::Value;

const NO_PLACE: &str = "of raw bytes a policy knows whole ones behind the header of UDP (@th) or of TCP and UDP \
                        (@ih), up to 16: write `payload` by hand";

/// Whether a comparison is about such a thing; if so it is put into the condition, or is a reason.
pub(super) fn compare(condition: &mut Condition, body: &Value) -> Option<Result<(), String>> {
    let (left, right) = (&body["left"], &body["right"]);
    let is_equal = matches!(body["op"].as_str(), Some("==" | "in"));
    for (key, family) in [("exthdr", Family::V6), ("ip option", Family::V4)] {
        let Some(header) = left.get(key) else {
            continue;
        };
        // A field of it, or whether it is there.
        let named = option(family, header["name"].as_str().unwrap_or_default());
        let asks = header["field"].is_null() && is_equal && *right == Value::Bool(true);
        let Some(options) = named.filter(|_| asks) else {
            return Some(Err(format!("a policy has nothing like this `{key}`")));
        };
        condition.only(family);
        condition.content(Content {
            options,
            payload: None,
        });
        return Some(Ok(()));
    }
    let (raw, mask) = match left.get("&").and_then(Value::as_array).map(Vec::as_slice) {
        Some([raw, mask]) => (raw, Some(mask)),
        _ => (left, None),
    };
    let place = raw
        .get("payload")
        .filter(|place| place.get("base").is_some())?;
    Some(
        match payload(condition, place, mask, right).filter(|_| is_equal) {
            Some(payload) => {
                condition.content(Content {
                    options: 0,
                    payload: Some(payload),
                });
                Ok(())
            }
            None => Err(NO_PLACE.to_owned()),
        },
    )
}

/// The bit of an option or an extension header; what does not come to the rules of a policy has none.
fn option(family: Family, name: &str) -> Option<u32> {
    Some(match (family, name) {
        (Family::V4, "ra") => option_bit::ROUTER_ALERT,
        (Family::V4, "rr") => option_bit::RECORD_ROUTE,
        (Family::V6, "hbh") => option_bit::HOP_BY_HOP,
        (Family::V6, "dst") => option_bit::DESTINATION,
        (Family::V6, "rt") => option_bit::ROUTING,
        _ => return None,
    })
}

/// `@th,64,32 & 0xffff0000 == 0x12340000`.
fn payload(
    condition: &Condition,
    place: &Value,
    mask: Option<&Value>,
    right: &Value,
) -> Option<Payload> {
    let (bit, bits) = (place["offset"].as_u64()?, place["len"].as_u64()?);
    let of = |protos: &[(u128, u128)]| {
        let protos = RangeSet::from_ranges(protos.to_vec());
        let mut boxes = condition.boxes.iter();
        boxes.all(|part| {
            part.get(Dim::Proto)
                .intersection(&protos.complement())
                .is_empty()
        })
    };
    // The header of UDP has 8 bytes; that of TCP has as many as it says.
    let before = match place["base"].as_str()? {
        "th" if of(&[(17, 17)]) => 64,
        "ih" if of(&[(6, 6), (17, 17)]) => 0,
        _ => return None,
    };
    let bit = bit.checked_sub(before)?;
    let fits = bit % 8 == 0 && bits % 8 == 0 && (8..=u64::from(PAYLOAD) * 8).contains(&bits);
    let offset = u32::try_from(bit / 8)
        .ok()
        .filter(|&at| at <= LAST_OFFSET)?;
    let length = (bits / 8) as usize;
    let bytes = |value: &Value| -> Option<Vec<u8>> {
        let number = number(value)?;
        (bits == 128 || number >> bits == 0).then(|| number.to_be_bytes()[16 - length..].to_vec())
    };
    let (value, mask) = (
        bytes(right).filter(|_| fits)?,
        mask.map_or(Some(vec![0xff; length]), bytes)?,
    );
    let one = |(&value, &mask): (&u8, &u8)| match mask {
        0xff => Some(Some(value)),
        0 if value == 0 => Some(None),
        _ => None,
    };
    let bytes: Vec<Option<u8>> = value.iter().zip(&mask).map(one).collect::<Option<_>>()?;
    let counts = bytes.iter().any(Option::is_some);
    counts.then_some(Payload { offset, bytes })
}

/// A number as nft writes it: larger ones than JSON has as text.
fn number(value: &Value) -> Option<u128> {
    match value {
        Value::Number(number) => number.as_u64().map(u128::from),
        Value::String(text) => {
            let hex = text.strip_prefix("0x");
            hex.map_or_else(
                || text.parse().ok(),
                |hex| u128::from_str_radix(hex, 16).ok(),
            )
        }
        _ => None,
    }
}
