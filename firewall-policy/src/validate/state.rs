//! `state:`: how large the table of flows is.

use super::shape::{Cx, Keys, Table, integer};
use crate::ast::Node;
use crate::diag::codes;
use crate::rule::Rule;
use firewall_common::field::Field;

pub(super) const KEYS: Keys = Keys {
    of: "`state`",
    known: &["flows"],
    reserved: &[],
};

/// Fewest flows and most that a table can be asked for.
pub(crate) const FLOWS: (u32, u32) = (1_024, 4_194_304);

/// How many flows the table is to have room for, if the section says so.
pub(super) fn read(cx: &mut Cx<'_>, node: &Node<'_>) -> Option<u32> {
    let table = Table::read(cx, node, &KEYS)?;
    let flows = table.get("flows")?;
    let (fewest, most) = FLOWS;
    integer(cx, flows, "flows", fewest.into(), most.into()).map(|flows| flows as u32)
}

/// Says that the section does nothing, if no rule looks at state.
pub(super) fn warn_unused(cx: &mut Cx<'_>, table: &Table<'_, '_>, rules: &[Rule]) {
    let looks_at_state = |rule: &Rule| rule.enabled && !rule.matches.is_any(Field::State);
    if let Some((key, _)) = table.entry("state")
        && !rules.iter().any(looks_at_state)
    {
        cx.sink
            .warning(
                &codes::UNUSED_STATE,
                key,
                "no rule uses `state`, so there is no flow table",
            )
            .help("remove the section, or add `{name: replies, state: established, action: pass}`");
    }
}
