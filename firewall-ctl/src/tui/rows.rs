//! The rows of each table: what stands in a cell, and what a row is sorted and filtered by. Reads
//! the snapshot; knows nothing of the terminal. Which rows are on the screen: [`page`].

mod page;

pub(super) use page::{Query, count, page};

use super::columns::Id;
use super::options::{Tab, TopOptions};
use super::spark;
use firewall_api::format;
use firewall_api::view::{Count, OtherPorts, Rate, Snapshot, Traffic};
use firewall_api::view::{InterfaceView, PortView, ReasonView, RuleView};
use firewall_common::reason::Reason;
use firewall_policy::text::safe;
use std::borrow::Cow;
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
        let ascending = by_words(by) || matches!(by, Id::Port | Id::Number);
        Self {
            by,
            descending: !ascending,
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

/// Whether a column is sorted as text; all others are by number, ports too.
const fn by_words(id: Id) -> bool {
    matches!(
        id,
        Id::Service
            | Id::Name
            | Id::Action
            | Id::Verdict
            | Id::Mode
            | Id::Match
            | Id::Place
            | Id::Meaning
    )
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
                Cow::Owned(format!("{}/{}", safe(&view.proto), view.port))
            }
            (Self::Port(view), Id::Service) => match &view.service {
                Some(service) => safe(service),
                None => Cow::Borrowed("-"),
            },
            (Self::Others(view), Id::Port) => Cow::Owned(format!("(+{})", view.count)),
            (Self::Others(_), Id::Service) => Cow::Borrowed("others"),
            (Self::Rule(view), Id::Name) => safe(&view.name),
            (Self::Rule(view), Id::Action) if !view.enabled && !view.expired => {
                Cow::Borrowed("off")
            }
            (Self::Rule(view), Id::Action) => Cow::Owned(upper(&view.does())),
            (Self::Rule(view), Id::Match) => safe(&view.summary),
            (Self::Rule(view), Id::Place) => safe(&view.place),
            (Self::Reason(view), Id::Name) => safe(&view.name),
            (Self::Reason(view), Id::Verdict) if view.would_drop => Cow::Borrowed("AUDIT"),
            (Self::Reason(view), Id::Verdict) => Cow::Owned(upper(&view.verdict)),
            (Self::Reason(view), Id::Meaning) => Cow::Borrowed(meaning(&view.name)),
            (Self::Interface(view), Id::Name) => safe(&view.name),
            (Self::Interface(view), Id::Mode) => Cow::Borrowed(view.mode.name()),
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
    safe(word).to_uppercase()
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

#[cfg(test)]
mod tests;
