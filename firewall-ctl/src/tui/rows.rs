//! The rows of each table: what stands in a cell, what a row is sorted and filtered by, and the one
//! page of rows that is on the screen. Reads the snapshot; knows nothing of the terminal.
//!
//! A snapshot may hold 131,072 ports and is shown every second, so [`page`] never sorts them all:
//! it reads each sort key once, keeps the best up to the page's end (by selection whenever twice as
//! many have come together: O(n) for all), and sorts only the page.
//!
//! Invariant: the order is total (ties go by total packets, then by port, rule or source order), so
//! rows with equal keys do not trade places from one second to the next.

use super::columns::Id;
use super::options::{Tab, TopOptions};
use super::{spark, text};
use crate::format;
use crate::view::{Count, Flow as Traffic, OtherPorts, Rate, Snapshot};
use crate::view::{InterfaceView, PortView, ReasonView, RuleView};
use firewall_common::reason::Reason;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write as _;

/// How a table is sorted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sort {
    /// By this column.
    pub(super) by: Id,
    /// Largest first.
    pub(super) descending: bool,
}

impl Sort {
    /// The natural direction of a column: numbers from the top, words from A.
    pub(super) const fn of(by: Id) -> Self {
        let words = matches!(
            by,
            Id::Port
                | Id::Service
                | Id::Number
                | Id::Name
                | Id::Action
                | Id::Verdict
                | Id::Mode
                | Id::Match
                | Id::Place
                | Id::Meaning
        );
        Self {
            by,
            descending: !words,
        }
    }

    /// What a table starts with: the busiest first, interfaces by name.
    pub(super) const fn initial(tab: Tab) -> Self {
        Self::of(match tab {
            Tab::Interfaces => Id::Name,
            _ => Id::History,
        })
    }
}

/// Which row, independent of its position.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum RowId {
    /// Protocol and port.
    Port(String, u16),
    /// Rule name, which is unique in a policy.
    Rule(String),
    /// Reason and verdict.
    Reason(String, String),
    /// Kernel index.
    Interface(u32),
}

/// One row of a table.
#[derive(Clone, Copy, Debug)]
pub(super) enum Row<'a> {
    /// Of the ports.
    Port(&'a PortView),
    /// The ports that the snapshot leaves out: stands below the ports, is never one of them.
    Others(&'a OtherPorts),
    /// Of the rules.
    Rule(&'a RuleView),
    /// Of the reasons.
    Reason(&'a ReasonView),
    /// Of the interfaces.
    Interface(&'a InterfaceView),
}

/// Number of rows before filtering.
pub(super) fn len(snapshot: &Snapshot, tab: Tab) -> usize {
    match tab {
        Tab::Ports => snapshot.ports.len(),
        Tab::Rules => snapshot.rules.len(),
        Tab::Reasons => snapshot.reasons.len(),
        Tab::Interfaces => snapshot.status.interfaces.len(),
    }
}

/// Row `index` in the snapshot's order.
pub(super) fn row(snapshot: &Snapshot, tab: Tab, index: usize) -> Option<Row<'_>> {
    match tab {
        Tab::Ports => snapshot.ports.get(index).map(Row::Port),
        Tab::Rules => snapshot.rules.get(index).map(Row::Rule),
        Tab::Reasons => snapshot.reasons.get(index).map(Row::Reason),
        Tab::Interfaces => snapshot.status.interfaces.get(index).map(Row::Interface),
    }
}

/// The row with this identity.
pub(super) fn find<'a>(snapshot: &'a Snapshot, id: &RowId) -> Option<Row<'a>> {
    match id {
        RowId::Port(proto, port) => snapshot
            .ports
            .iter()
            .find(|view| view.port == *port && view.proto == *proto)
            .map(Row::Port),
        RowId::Rule(name) => snapshot
            .rules
            .iter()
            .find(|view| view.name == *name)
            .map(Row::Rule),
        RowId::Reason(name, verdict) => snapshot
            .reasons
            .iter()
            .find(|view| view.name == *name && view.verdict == *verdict)
            .map(Row::Reason),
        RowId::Interface(ifindex) => snapshot
            .status
            .interfaces
            .iter()
            .find(|view| view.ifindex == *ifindex)
            .map(Row::Interface),
    }
}

impl<'a> Row<'a> {
    /// The row's identity.
    pub(super) fn id(self) -> RowId {
        match self {
            Self::Port(view) => RowId::Port(view.proto.clone(), view.port),
            Self::Rule(view) => RowId::Rule(view.name.clone()),
            Self::Reason(view) => RowId::Reason(view.name.clone(), view.verdict.clone()),
            Self::Interface(view) => RowId::Interface(view.ifindex),
            Self::Others(_) => RowId::Port(String::new(), 0),
        }
    }

    /// Passed and dropped; a rule's hits count as its action says.
    pub(super) fn traffic(self) -> [Traffic; 2] {
        match self {
            Self::Port(view) => [view.pass, view.drop],
            Self::Interface(view) => [view.pass, view.drop],
            Self::Others(view) => [view.pass, view.drop],
            Self::Rule(view) if matches!(&*view.action, "drop" | "reject") => {
                [Traffic::default(), view.hits]
            }
            Self::Rule(view) => [view.hits, Traffic::default()],
            Self::Reason(view) if view.is_drop() => [Traffic::default(), view.hits],
            Self::Reason(view) => [view.hits, Traffic::default()],
        }
    }

    /// What was over a rule's rate limit.
    fn over(self) -> Option<Traffic> {
        match self {
            Self::Rule(view) => view.over,
            _ => None,
        }
    }

    /// Packets a second of the last minute; interfaces and sums keep none.
    pub(super) fn history(self) -> &'a [u64] {
        match self {
            Self::Port(view) => &view.history,
            Self::Rule(view) => &view.history,
            Self::Reason(view) => &view.history,
            Self::Interface(_) | Self::Others(_) => &[],
        }
    }

    /// Passed and dropped together, in total.
    pub(super) fn total(self) -> Count {
        let [pass, drop] = self.traffic();
        Count {
            packets: pass.total.packets.saturating_add(drop.total.packets),
            bytes: pass.total.bytes.saturating_add(drop.total.bytes),
        }
    }

    /// Passed and dropped together, now.
    pub(super) fn rate(self) -> Rate {
        let [pass, drop] = self.traffic();
        Rate {
            pps: pass.rate.pps + drop.rate.pps,
            bps: pass.rate.bps + drop.rate.bps,
        }
    }

    /// The name that the filter looks at, and others that belong to the row. `filter` is in lower
    /// case.
    /// `scratch` is reused from row to row.
    fn matches(self, filter: &str, scratch: &mut String) -> bool {
        let has = |text: &str| {
            // Names are nearly always lower case: look without copying first.
            text.contains(filter)
                || (text
                    .bytes()
                    .any(|b| b.is_ascii_uppercase() || !b.is_ascii())
                    && text.to_lowercase().contains(filter))
        };
        match self {
            Self::Port(view) => {
                scratch.clear();
                // Writing to a String cannot fail.
                let _ = write!(scratch, "{}/{}", view.proto, view.port);
                has(scratch) || view.service.as_deref().is_some_and(has)
            }
            Self::Rule(view) => has(&view.name),
            Self::Reason(view) => has(&view.name),
            Self::Interface(view) => has(&view.name),
            Self::Others(_) => false,
        }
    }

    /// A column of words; empty for columns that this table does not have, and for numbers.
    pub(super) fn text(self, id: Id) -> Cow<'a, str> {
        match (self, id) {
            (Self::Port(view), Id::Port) => {
                Cow::Owned(format!("{}/{}", text::clean(&view.proto), view.port))
            }
            (Self::Port(view), Id::Service) => match &view.service {
                Some(service) => text::clean(service),
                None => Cow::Borrowed("-"),
            },
            (Self::Others(view), Id::Port) => Cow::Owned(format!("(+{})", view.count)),
            (Self::Others(_), Id::Service) => Cow::Borrowed("others"),
            (Self::Rule(view), Id::Name) => text::clean(&view.name),
            (Self::Rule(view), Id::Action) if !view.enabled && !view.expired => {
                Cow::Borrowed("off")
            }
            (Self::Rule(view), Id::Action) => Cow::Owned(upper(&view.does())),
            (Self::Rule(view), Id::Match) => text::clean(&view.summary),
            (Self::Rule(view), Id::Place) => text::clean(&view.place),
            (Self::Reason(view), Id::Name) => text::clean(&view.name),
            (Self::Reason(view), Id::Verdict) if view.would_drop => Cow::Borrowed("AUDIT"),
            (Self::Reason(view), Id::Verdict) => Cow::Owned(upper(&view.verdict)),
            (Self::Reason(view), Id::Meaning) => Cow::Borrowed(meaning(&view.name)),
            (Self::Interface(view), Id::Name) => text::clean(&view.name),
            (Self::Interface(view), Id::Mode) => Cow::Borrowed(text::mode(view.mode)),
            _ => Cow::Borrowed(""),
        }
    }

    /// What stands in a cell `width` wide.
    pub(super) fn cell(self, id: Id, width: u16, options: &TopOptions) -> Cow<'a, str> {
        let numbers = options.numbers;
        let [pass, drop] = self.traffic();
        Cow::Owned(match id {
            Id::Number => match self {
                Self::Rule(view) => view.number.to_string(),
                _ => return Cow::Borrowed(""),
            },
            Id::PassRate => format::rate(pass.rate.pps, numbers),
            Id::DropRate => format::rate(drop.rate.pps, numbers),
            Id::Rate => format::rate(self.rate().pps, numbers),
            Id::Bandwidth => {
                let bps = self.rate().bps;
                format::rate(if options.bytes { bps / 8.0 } else { bps }, numbers)
            }
            Id::DropShare => format::percent(drop.rate.pps, self.rate().pps),
            Id::Passed => format::count(pass.total.packets, numbers),
            Id::Dropped => format::count(drop.total.packets, numbers),
            Id::Packets => format::count(self.total().packets, numbers),
            Id::OverRate => match self.over() {
                Some(over) => format::rate(over.rate.pps, numbers),
                None => return Cow::Borrowed(""),
            },
            Id::History => spark::line(self.history(), width.into(), options.unicode),
            _ => return self.text(id),
        })
    }

    /// The value that a column of numbers sorts by; 0 for columns of words.
    fn value(self, id: Id) -> f64 {
        let [pass, drop] = self.traffic();
        match id {
            Id::Number | Id::Port => f64::from(self.order()),
            Id::PassRate => pass.rate.pps,
            Id::DropRate => drop.rate.pps,
            Id::Rate | Id::History => self.rate().pps,
            Id::Bandwidth => self.rate().bps,
            Id::DropShare => drop.rate.pps / self.rate().pps.max(f64::MIN_POSITIVE),
            Id::Passed => pass.total.packets as f64,
            Id::Dropped => drop.total.packets as f64,
            Id::Packets => self.total().packets as f64,
            Id::OverRate => self.over().map_or(0.0, |over| over.rate.pps),
            _ => 0.0,
        }
    }

    /// The place in the table's natural order: by port, by rule number; 0 where the snapshot's
    /// order is the natural one.
    fn order(self) -> u32 {
        match self {
            Self::Port(view) => u32::from(view.port) << 1 | u32::from(view.proto != "tcp"),
            Self::Rule(view) => u32::try_from(view.number).unwrap_or(u32::MAX),
            Self::Reason(_) | Self::Interface(_) | Self::Others(_) => 0,
        }
    }
}

fn upper(word: &str) -> String {
    text::clean(word).to_uppercase()
}

/// One line about a reason; reasons of a newer daemon are named as unknown.
pub(super) fn meaning(name: &str) -> &'static str {
    Reason::ALL
        .iter()
        .find(|reason| reason.name() == name)
        .map_or("A reason that this version does not know.", |reason| {
            reason.text()
        })
}

/// Rows that a table shows of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Page {
    /// Indices into the snapshot, in the order of the screen.
    pub(super) rows: Vec<usize>,
    /// Rows that the filter lets through.
    pub(super) total: usize,
}

/// What [`page`] is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query<'a> {
    /// The table.
    pub(super) tab: Tab,
    /// Its order.
    pub(super) sort: Sort,
    /// Part of a name; empty for all rows.
    pub(super) filter: &'a str,
}

/// How many rows the filter lets through.
pub(super) fn count(snapshot: &Snapshot, query: Query<'_>) -> usize {
    if query.filter.is_empty() {
        len(snapshot, query.tab)
    } else {
        indices(snapshot, query).count()
    }
}

/// Rows `first..first + rows` in the query's order.
pub(super) fn page(snapshot: &Snapshot, query: Query<'_>, first: usize, rows: usize) -> Page {
    let by = query.sort.by;
    let at = |index: u32| row(snapshot, query.tab, index as usize);
    let words = |key: &Key| at(key.index).map(|row| row.text(by)).unwrap_or_default();
    let is_text = matches!(
        by,
        Id::Service
            | Id::Name
            | Id::Action
            | Id::Verdict
            | Id::Mode
            | Id::Match
            | Id::Place
            | Id::Meaning
    );
    let compare = |a: &Key, b: &Key| {
        let main = if is_text {
            words(a).cmp(&words(b))
        } else {
            a.value.total_cmp(&b.value)
        };
        let main = if query.sort.descending {
            main.reverse()
        } else {
            main
        };
        main.then_with(|| a.ties(b))
    };
    let wanted = first.saturating_add(rows);
    let room = wanted.saturating_mul(2).saturating_add(SLACK);
    let (mut keys, mut total, mut worst) = (Vec::new(), 0, None);
    for index in indices(snapshot, query) {
        let Some(row) = at(index) else { continue };
        total += 1;
        let packets = row.total().packets;
        let key = Key {
            value: row.value(by),
            packets,
            order: row.order(),
            index,
        };
        if worst
            .as_ref()
            .is_some_and(|worst| compare(&key, worst).is_ge())
        {
            continue;
        }
        keys.push(key);
        if keys.len() == room {
            worst = Some(*keys.select_nth_unstable_by(wanted, compare).1);
            keys.truncate(wanted);
        }
    }
    if wanted < keys.len() {
        keys.select_nth_unstable_by(wanted, compare);
        keys.truncate(wanted);
    }
    let first = first.min(keys.len());
    if 0 < first && first < keys.len() {
        keys.select_nth_unstable_by(first, compare);
    }
    let shown = &mut keys[first..];
    shown.sort_unstable_by(compare);
    Page {
        rows: shown.iter().map(|key| key.index as usize).collect(),
        total,
    }
}

/// Keys kept beyond those of two pages before the worse ones are thrown out: enough to make that
/// rare, few enough to stay in the cache.
const SLACK: usize = 1024;

/// Indices of the rows that the filter lets through, in the snapshot's order.
fn indices<'a>(snapshot: &'a Snapshot, query: Query<'a>) -> impl Iterator<Item = u32> + 'a {
    let filter = query.filter.to_lowercase();
    let mut scratch = String::new();
    // No table comes near 2^32 rows: ports end at 131,072, rules at what a policy file can hold.
    let len = u32::try_from(len(snapshot, query.tab)).unwrap_or(u32::MAX);
    (0..len).filter(move |index| {
        filter.is_empty()
            || row(snapshot, query.tab, *index as usize)
                .is_some_and(|row| row.matches(&filter, &mut scratch))
    })
}

/// A row's sort key, read once: comparing touches no snapshot memory for columns of numbers.
#[derive(Clone, Copy)]
struct Key {
    value: f64,
    packets: u64,
    order: u32,
    index: u32,
}

impl Key {
    /// The order of rows with equal values.
    fn ties(&self, other: &Self) -> Ordering {
        other
            .packets
            .cmp(&self.packets)
            .then(self.order.cmp(&other.order))
            .then(self.index.cmp(&other.index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{SCHEMA, Status};

    /// Ports with few different values, so that there are many ties.
    fn snapshot(ports: u32) -> Snapshot {
        let port = |index: u32| {
            let noise = index.wrapping_mul(2_654_435_761) >> 7;
            let flow = |n: u32| Traffic {
                total: Count {
                    packets: u64::from(n % 3),
                    bytes: 64,
                },
                rate: Rate {
                    pps: f64::from(n % 7),
                    bps: f64::from(n % 5),
                },
            };
            PortView {
                proto: if noise.is_multiple_of(2) {
                    "tcp"
                } else {
                    "udp"
                }
                .to_owned(),
                port: index as u16,
                service: noise
                    .is_multiple_of(4)
                    .then(|| format!("Service-{}", noise % 11)),
                pass: flow(noise),
                drop: flow(noise >> 9),
                history: Vec::new(),
            }
        };
        Snapshot {
            schema: SCHEMA.to_owned(),
            time: 0.0,
            interval: 1.0,
            status: Status {
                version: String::new(),
                daemon_pid: None,
                daemon_uptime: None,
                generation: None,
                interfaces: Vec::new(),
                last_error: None,
                warnings: Vec::new(),
            },
            pass: Traffic::default(),
            drop: Traffic::default(),
            ports: (0..ports).map(port).collect(),
            other_ports: OtherPorts::default(),
            rules: Vec::new(),
            reasons: Vec::new(),
        }
    }

    #[test]
    fn pages_laid_end_to_end_are_the_whole_sorted_table() {
        let snapshot = snapshot(5000);
        for column in super::super::columns::all(Tab::Ports) {
            for descending in [false, true] {
                let sort = Sort {
                    by: column.id,
                    descending,
                };
                let query = Query {
                    tab: Tab::Ports,
                    sort,
                    filter: "",
                };
                let whole = page(&snapshot, query, 0, usize::MAX);
                let mut seen = whole.rows.clone();
                seen.sort_unstable();
                assert!(seen.into_iter().eq(0..5000), "{sort:?}: every row once");
                for size in [19, 333, 4999, 5000, 5001] {
                    let mut rows = Vec::new();
                    for first in (0..5200).step_by(size) {
                        let page = page(&snapshot, query, first, size);
                        assert_eq!(page.total, 5000);
                        rows.extend(page.rows);
                    }
                    assert_eq!(rows, whole.rows, "{sort:?} in pages of {size}");
                }
                let value = |index: &usize| match row(&snapshot, Tab::Ports, *index) {
                    Some(row) => (row.value(column.id), row.text(column.id).into_owned()),
                    None => unreachable!("an index of the page"),
                };
                let ordered = whole.rows.windows(2).all(|pair| {
                    let (a, b) = (value(&pair[0]), value(&pair[1]));
                    match (column.id, descending) {
                        (Id::Service, false) => a.1 <= b.1,
                        (Id::Service, true) => a.1 >= b.1,
                        (_, false) => a.0 <= b.0,
                        (_, true) => a.0 >= b.0,
                    }
                });
                assert!(ordered, "{sort:?}");
            }
        }
    }

    #[test]
    fn the_filter_finds_parts_of_ports_and_services_in_any_case() {
        let snapshot = snapshot(300);
        let find = |filter: &str| {
            let query = Query {
                tab: Tab::Ports,
                sort: Sort::of(Id::Port),
                filter,
            };
            let page = page(&snapshot, query, 0, usize::MAX);
            assert_eq!(page.total, count(&snapshot, query));
            page.rows
        };
        assert!(find("/29").into_iter().eq([29].into_iter().chain(290..300)));
        assert_eq!(find("SERVICE-3"), find("service-3"));
        assert!(!find("service-3").is_empty());
        assert!(find("no such thing").is_empty());
        let (tcp, udp) = (find("tcp").len(), find("udp").len());
        assert_eq!(tcp + udp, 300);
    }

    #[test]
    fn a_rate_that_is_not_a_number_does_not_upset_the_order() {
        let mut snapshot = snapshot(50);
        snapshot.ports[7].pass.rate.pps = f64::NAN;
        let query = Query {
            tab: Tab::Ports,
            sort: Sort::of(Id::PassRate),
            filter: "",
        };
        assert_eq!(page(&snapshot, query, 0, 20).rows.len(), 20);
    }
}
