//! Conditions on payload and options as rows of the tables: see [`firewall_common::content`].

use super::blob::Blob;
use crate::content::Content;
use crate::rule::Policy;
use firewall_common::abi::{Config, ContentRow};

/// Writes a row for each condition, if there are any.
pub(super) fn write(policy: &Policy, blob: &mut Blob, config: &mut Config) {
    if policy.contents.is_empty() {
        return;
    }
    let start = blob.align(64);
    config.contents = policy.contents.len() as u32;
    config.content_rows = start as u32;
    policy.contents.iter().for_each(|it| blob.put(row(it)));
    blob.report("payloads and options".into(), policy.contents.len(), start);
}

/// The bytes end where the number ends, so that one read of 16 bytes finds as many as there are.
fn row(content: &Content) -> ContentRow {
    let mut row = ContentRow {
        options: content.options,
        ..ContentRow::default()
    };
    if let Some(payload) = &content.payload {
        let (mut value, mut mask) = (0u128, 0u128);
        for byte in &payload.bytes {
            value = value << 8 | u128::from(byte.unwrap_or(0));
            mask = mask << 8 | if byte.is_some() { 0xff } else { 0 };
        }
        row.end = payload.offset + payload.bytes.len() as u32;
        (row.high, row.low) = ((value >> 64) as u64, value as u64);
        (row.mask_high, row.mask_low) = ((mask >> 64) as u64, mask as u64);
    }
    row
}
