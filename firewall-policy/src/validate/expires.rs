//! `expires:` of a rule: a moment from which on it matches nothing.
//!
//! The present comes from [`crate::files::Files::now`]. Invariant: a rule that has expired is never
//! in force again, however often the policy is read.

use super::shape::{Cx, Table, scalar};
use crate::diag::{codes, show};
use crate::rule::Expiry;
use crate::time;

/// When a rule expires: `Ok(None)` if it does not, `Err` after an error.
pub(super) fn read(cx: &mut Cx<'_>, table: &Table<'_, '_>) -> Result<Option<Expiry>, ()> {
    let Some((span, node)) = table.entry("expires") else {
        return Ok(None);
    };
    let text = scalar(
        cx,
        node,
        "`expires` is a date or a time",
        "`expires: 2027-01-31` or `expires: 2027-01-31T18:00:00Z`",
    )
    .ok_or(())?;
    let Some(at) = time::parse(text) else {
        cx.sink
            .error(
                &codes::EXPIRES,
                node.span,
                format!(
                    "`{}` is not a date, nor a time with its time zone",
                    show(text)
                ),
            )
            .help("write 2027-01-31 (from 00:00 UTC of that day on), or 2027-01-31T18:00:00+01:00");
        return Err(());
    };
    let passed = at <= cx.files.now();
    if passed {
        let name = table.get("name").and_then(|node| node.scalar());
        let name = name.map_or(String::new(), show);
        cx.sink
            .warning(
                &codes::EXPIRED,
                span,
                format!("the rule `{name}` has expired and matches nothing"),
            )
            .help("remove it, or extend its expiry");
    }
    Ok(Some(Expiry { at, passed }))
}
