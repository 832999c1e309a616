//! `log:` of a rule and of the default: the rate of events about matching packets.

use super::limit;
use super::shape::{Cx, Table, scalar};
use crate::diag::{codes, show};
use crate::limit::Rate;

/// The rate of a log, `Ok(None)` if there is none, `Err` after an error.
pub(super) fn read(cx: &mut Cx<'_>, table: &Table<'_, '_>) -> Result<Option<Rate>, ()> {
    let Some(node) = table.get("log") else {
        return Ok(None);
    };
    let text = scalar(
        cx,
        node,
        "`log` is how many events are written at most: 10/s",
        "`log: 10/s`",
    )
    .ok_or(())?;
    // What nft, iptables and others would have written.
    if matches!(text, "true" | "yes" | "on" | "all") {
        cx.sink
            .error(
                &codes::RATE,
                node.span,
                format!("`{}` is not a rate", show(text)),
            )
            .help(
                "write how many events are wanted at most, so that no flood of packets becomes a \
                 flood of events: `log: 10/s`",
            );
        return Err(());
    }
    if matches!(text, "false" | "no" | "off" | "none") || text.starts_with("0/") {
        cx.sink
            .error(
                &codes::RATE,
                node.span,
                format!("`{}` is not a rate", show(text)),
            )
            .help("remove `log`: without it nothing is logged");
        return Err(());
    }
    let (packets, window) = limit::rate(cx, node).ok_or(())?;
    Ok(Some(Rate {
        packets,
        window,
        burst: limit::default_burst(packets, window),
    }))
}
