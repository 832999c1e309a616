//! Entries of sets, for people and for scripts.

use super::super::table::Table;
use firewall_api::format::duration;
use firewall_api::view::SCHEMA;
use firewall_engine::engine::{LiveRecord, LiveView};
use firewall_engine::kernel::live::Entry;
use firewall_policy::prefixes::text as prefix_text;
use serde::Serialize;

/// Rows of a table, if not asked for otherwise.
const ROWS: usize = 50;

/// `-o json` of a set's entries.
#[derive(Serialize)]
pub(super) struct Report {
    schema: &'static str,
    set: String,
    count: usize,
    max: u64,
    entries: Vec<View>,
}

#[derive(Serialize)]
struct View {
    prefix: String,
    by: &'static str,
    /// Seconds until it ends; none if it does not.
    left: Option<f64>,
}

impl View {
    fn of(entry: &Entry) -> Self {
        Self {
            prefix: prefix_text(&entry.prefix),
            by: entry.origin.name(),
            left: entry.left.map(|left| left.as_secs_f64()),
        }
    }
}

impl Report {
    pub(super) fn of(set: &LiveRecord, entries: &[Entry]) -> Self {
        Self {
            schema: SCHEMA,
            set: set.name.clone(),
            count: entries.len(),
            max: set.max,
            entries: entries.iter().map(View::of).collect(),
        }
    }

    /// The table for people; `limit` 0: everything. `more` is the command that shows the rest.
    pub(super) fn text(&self, limit: Option<usize>, nothing: &str, more: &str) -> String {
        if self.entries.is_empty() {
            return format!("{nothing}\n");
        }
        let shown = match limit.unwrap_or(ROWS) {
            0 => self.entries.len(),
            limit => limit,
        };
        let mut table = Table::new(&["ADDRESS", "BY", ">LEFT"]);
        for entry in self.entries.iter().take(shown) {
            let left = entry.left.map_or("for good".to_owned(), duration);
            table.row([entry.prefix.clone(), entry.by.to_owned(), left]);
        }
        let mut text = table.render();
        if self.entries.len() > shown {
            let rest = self.entries.len() - shown;
            text.push_str(&format!("({rest} more: {more} --limit 0)\n"));
        }
        text
    }
}

/// `-o json` of all sets.
#[derive(Serialize)]
pub(super) struct Sets {
    schema: &'static str,
    sets: Vec<SetView>,
}

#[derive(Serialize)]
struct SetView {
    name: String,
    entries: u64,
    max: u64,
    /// Seconds that an entry stays which is added without a time.
    timeout: Option<u64>,
}

impl Sets {
    pub(super) fn of(view: &LiveView) -> Self {
        let banned = view.set(firewall_engine::engine::BANNED_NAME);
        let one = |set: &LiveRecord| SetView {
            name: set.name.clone(),
            entries: view.count(set),
            max: set.max,
            timeout: set.timeout,
        };
        Self {
            schema: SCHEMA,
            sets: banned.iter().chain(view.sets()).map(one).collect(),
        }
    }

    pub(super) fn text(&self) -> String {
        let mut table = Table::new(&["SET", ">ENTRIES", ">MAX", ">TIMEOUT"]);
        for set in &self.sets {
            table.row([
                set.name.clone(),
                set.entries.to_string(),
                set.max.to_string(),
                set.timeout
                    .map_or("-".to_owned(), |seconds| duration(seconds as f64)),
            ]);
        }
        table.render()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewall_engine::kernel::live::Origin;
    use firewall_policy::prefixes::{prefix_v4, prefix_v6};
    use std::time::Duration;

    #[test]
    fn the_table_of_bans() {
        let entry = |prefix, left: Option<u64>, origin| Entry {
            id: 0,
            prefix,
            left: left.map(Duration::from_secs),
            origin,
        };
        let set = LiveRecord {
            name: "banned".into(),
            id: 0,
            max: 196_608,
            timeout: None,
        };
        let entries = [
            entry(prefix_v4(0xc000_0201, 32), Some(3_599), Origin::Command),
            entry(prefix_v4(0xcb00_7100, 24), Some(59), Origin::Rule),
            entry(prefix_v6(0x2001_0db8 << 96, 32), None, Origin::Command),
        ];
        let report = Report::of(&set, &entries);
        insta::assert_snapshot!(report.text(Some(2), "Nobody is banned.", "firewall-ctl bans"));
        let nobody = Report::of(&set, &[]);
        assert_eq!(
            nobody.text(None, "Nobody is banned.", ""),
            "Nobody is banned.\n"
        );
    }
}
