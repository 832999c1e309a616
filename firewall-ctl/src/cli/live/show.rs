//! Live sets and their entries, for people.

use super::super::table::Table;
use firewall_api::format::duration;
use firewall_api::sets::{EntryView, SetReport, SetsReport};

/// Rows of a table, if not asked for otherwise.
const ROWS: usize = 50;

/// The entries of a set; `limit` 0: everything. `more` is the command that shows the rest.
pub(super) fn entries(
    report: &SetReport,
    limit: Option<usize>,
    nothing: &str,
    more: &str,
) -> String {
    if report.entries.is_empty() {
        return format!("{nothing}\n");
    }
    let shown = match limit.unwrap_or(ROWS) {
        0 => report.entries.len(),
        limit => limit,
    };
    let mut table = Table::new(&["ADDRESS", "BY", ">LEFT"]);
    for entry in report.entries.iter().take(shown) {
        let left = entry.left.map_or("permanent".to_owned(), duration);
        table.row([entry.prefix.clone(), entry.by.clone(), left]);
    }
    let mut text = table.render();
    if report.entries.len() > shown {
        let rest = report.entries.len() - shown;
        text.push_str(&format!("({rest} more: {more} --limit 0)\n"));
    }
    text
}

/// Which entries of a set hold what was asked for.
pub(super) fn held(what: &str, report: &SetReport) -> String {
    let set = &report.set;
    let Some(first) = report.entries.first() else {
        return match &report.nearest {
            Some(nearest) => format!("{what} is not in {set}; the nearest entry is {nearest}\n"),
            None => format!("{what} is not in {set}\n"),
        };
    };
    let others = &report.entries[1..];
    let by = |entry: &EntryView| match entry.left {
        Some(left) => format!(
            "{} (by {}, {} left)",
            entry.prefix,
            entry.by,
            duration(left)
        ),
        None => format!("{} (by {})", entry.prefix, entry.by),
    };
    let mut text = format!("{what} is in {set}: {}\n", by(first));
    for entry in others {
        text.push_str(&format!("{what} is in {set}: {}\n", by(entry)));
    }
    text
}

/// All sets.
pub(super) fn sets(report: &SetsReport) -> String {
    let mut table = Table::new(&["SET", ">ENTRIES", ">MAX", ">TIMEOUT"]);
    for set in &report.sets {
        table.row([
            set.name.clone(),
            set.entries.to_string(),
            match set.live {
                true => set.max.to_string(),
                false => "static".to_owned(),
            },
            set.timeout
                .map_or("-".to_owned(), |seconds| duration(seconds as f64)),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewall_api::sets::EntryView;

    #[test]
    fn the_table_of_bans() {
        let entry = |prefix: &str, left: Option<f64>, by: &str| EntryView {
            prefix: prefix.to_owned(),
            by: by.to_owned(),
            left,
        };
        let mut report = SetReport {
            schema: String::new(),
            set: "banned".to_owned(),
            count: 3,
            max: 196_608,
            entries: vec![
                entry("192.0.2.1", Some(3_599.0), "command"),
                entry("203.0.113.0/24", Some(59.0), "rule"),
                entry("2001:db8::/32", None, "command"),
            ],
            refused: 0,
            live: true,
            nearest: None,
        };
        let nobody = "Nobody is banned.";
        insta::assert_snapshot!(entries(&report, Some(2), nobody, "firewall-ctl bans"));
        report.entries.clear();
        assert_eq!(entries(&report, None, nobody, ""), "Nobody is banned.\n");
    }
}
