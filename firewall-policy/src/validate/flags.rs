//! TCP flags: `{set: [...], clear: [...]}`, both of which must hold.

use super::shape::{Cx, Keys, Table, items, word};
use crate::ast::Node;
use crate::diag::codes;
use crate::range::RangeSet;
use crate::vocabulary::FLAGS;

pub(super) const KEYS: Keys = Keys {
    of: "`flags`",
    known: &["set", "clear"],
    reserved: &[],
};

/// The 8-bit values in which every `set` flag is set and every `clear` flag is clear.
pub(super) fn read(cx: &mut Cx<'_>, node: &Node<'_>) -> Option<RangeSet<u32>> {
    let table = Table::read(cx, node, &KEYS)?;
    let set = bits(cx, &table, "set");
    let clear = bits(cx, &table, "clear");
    let (set, clear) = (set?, clear?);
    if set & clear != 0 {
        let both: Vec<&str> = FLAGS
            .iter()
            .filter(|&&(_, bit)| set & clear & bit != 0)
            .map(|&(name, _)| name)
            .collect();
        cx.sink
            .error(
                &codes::FLAGS_CONTRADICT,
                table.span(),
                format!("{} cannot be set and clear at once", both.join(", ")),
            )
            .help("name each flag under `set` or under `clear`, or under neither");
        return None;
    }
    if set | clear == 0 {
        cx.sink
            .error(&codes::EMPTY_LIST, node.span, "`flags` names no flag")
            .help("write `{set: [syn], clear: [ack]}`, or leave `flags` out");
        return None;
    }
    let values = (0..256).filter(|value| value & set == set && value & clear == 0);
    Some(RangeSet::from_ranges(
        values.map(|value| (value, value)).collect(),
    ))
}

fn bits(cx: &mut Cx<'_>, table: &Table<'_, '_>, key: &str) -> Option<u32> {
    let Some(node) = table.get(key) else {
        return Some(0);
    };
    let mut bits = Some(0);
    for item in items(cx, node, key)? {
        match word(cx, item, "flag", FLAGS, &[]) {
            Some(bit) => bits = bits.map(|bits| bits | bit),
            None => bits = None,
        }
    }
    bits
}
