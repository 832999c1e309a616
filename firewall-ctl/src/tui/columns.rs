//! The columns of each table, and which of them fit. Pure data and arithmetic; what stands in a
//! cell is [`super::rows`]'s part.
//!
//! Invariant: [`fit`] never returns more columns than the width holds, keeps their order, and drops
//! them in the order of [`Column::drop`], so a narrow terminal loses the least needed ones first.

use super::options::Tab;
use firewall_api::format::Numbers;
use firewall_api::view::Snapshot;

/// What a column shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Id {
    /// `tcp/443`.
    Port,
    /// Well-known name of the port.
    Service,
    /// Position of the rule in the policy.
    Number,
    /// Name of the rule, reason or interface.
    Name,
    /// Action of the rule.
    Action,
    /// Verdict of the reason.
    Verdict,
    /// Attach mode of the interface.
    Mode,
    /// Packets a second, passed.
    PassRate,
    /// Packets a second, dropped.
    DropRate,
    /// Packets a second, where passed and dropped are not told apart.
    Rate,
    /// Bits (or bytes) a second, passed and dropped.
    Bandwidth,
    /// Share of dropped packets in all packets a second, in percent.
    DropShare,
    /// Passed packets in total.
    Passed,
    /// Dropped packets in total.
    Dropped,
    /// Packets in total.
    Packets,
    /// Packets a second over the rate limit of the rule.
    OverRate,
    /// The last minute; sorts by packets a second.
    History,
    /// What the rule matches.
    Match,
    /// Where the rule is written.
    Place,
    /// What the reason means.
    Meaning,
}

/// One column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Column {
    /// What it shows.
    pub(super) id: Id,
    /// Header.
    pub(super) title: &'static str,
    /// Narrowest useful width, in cells.
    pub(super) min: u16,
    /// Widest useful width, in cells; columns take what is left over from left to right by `grow`.
    pub(super) max: u16,
    /// Columns with a higher number are dropped first; those with 0 stay.
    pub(super) drop: u8,
    /// Columns with a higher number get left-over width first; those with 0 get none.
    pub(super) grow: u8,
}

impl Column {
    /// Numbers stand right-aligned under their header.
    pub(super) const fn is_number(&self) -> bool {
        matches!(
            self.id,
            Id::Number
                | Id::PassRate
                | Id::DropRate
                | Id::Rate
                | Id::Bandwidth
                | Id::DropShare
                | Id::Passed
                | Id::Dropped
                | Id::Packets
                | Id::OverRate
        )
    }

    /// The header, which for the bandwidth depends on the unit.
    pub(super) const fn title(&self, bytes: bool) -> &'static str {
        match self.id {
            Id::Bandwidth if bytes => "byte/s",
            _ => self.title,
        }
    }
}

/// A column of numbers, wide enough for `999.9k` and for its header.
const fn number(id: Id, title: &'static str, drop: u8) -> Column {
    Column {
        id,
        title,
        min: 7,
        max: 7,
        drop,
        grow: 0,
    }
}

const fn words(id: Id, title: &'static str, min: u16, max: u16, drop: u8, grow: u8) -> Column {
    Column {
        id,
        title,
        min,
        max,
        drop,
        grow,
    }
}

const PORTS: &[Column] = &[
    words(Id::Port, "PORT", 9, 9, 0, 0),
    words(Id::Service, "SERVICE", 8, 16, 2, 2),
    number(Id::PassRate, "PASS/s", 0),
    number(Id::DropRate, "DROP/s", 0),
    number(Id::Bandwidth, "bit/s", 1),
    number(Id::Passed, "PASSED", 0),
    number(Id::Dropped, "DROPPED", 0),
    words(Id::History, "60 s", 10, 60, 3, 1),
];

const RULES: &[Column] = &[
    words(Id::Number, "#", 5, 5, 2, 0),
    words(Id::Name, "RULE", 14, 32, 0, 3),
    words(Id::Action, "ACTION", 6, 6, 0, 0),
    number(Id::Rate, "HITS/s", 0),
    number(Id::Bandwidth, "bit/s", 1),
    number(Id::Packets, "HITS", 0),
    number(Id::OverRate, "OVER/s", 2),
    words(Id::History, "60 s", 10, 60, 3, 1),
    words(Id::Match, "MATCH", 16, 48, 4, 2),
    words(Id::Place, "PLACE", 20, 40, 5, 1),
];

const REASONS: &[Column] = &[
    words(Id::Name, "REASON", 18, 18, 0, 0),
    words(Id::Verdict, "VERDICT", 7, 7, 0, 0),
    number(Id::Rate, "PKT/s", 0),
    number(Id::Bandwidth, "bit/s", 1),
    number(Id::Packets, "PACKETS", 0),
    words(Id::History, "60 s", 10, 60, 2, 1),
    words(Id::Meaning, "MEANING", 30, 90, 3, 2),
];

const INTERFACES: &[Column] = &[
    words(Id::Name, "INTERFACE", 10, 15, 0, 2),
    words(Id::Mode, "MODE", 7, 7, 1, 0),
    number(Id::PassRate, "PASS/s", 0),
    number(Id::DropRate, "DROP/s", 0),
    number(Id::DropShare, "DROP%", 2),
    number(Id::Bandwidth, "bit/s", 1),
    number(Id::Passed, "PASSED", 0),
    number(Id::Dropped, "DROPPED", 0),
];

/// Raw numbers need room for many digits.
const RAW_WIDTH: u16 = 12;

/// Every column of a table.
pub(super) const fn all(tab: Tab) -> &'static [Column] {
    match tab {
        Tab::Ports => PORTS,
        Tab::Rules => RULES,
        Tab::Reasons => REASONS,
        Tab::Interfaces => INTERFACES,
    }
}

/// The columns of a table for these rows: what is over a limit has one where a rule has a limit.
pub(super) fn of(tab: Tab, snapshot: Option<&Snapshot>) -> impl Iterator<Item = &'static Column> {
    let limited =
        snapshot.is_some_and(|snapshot| snapshot.rules.iter().any(|rule| rule.over.is_some()));
    all(tab)
        .iter()
        .filter(move |column| limited || column.id != Id::OverRate)
}

/// The column that names a row.
pub(super) const fn name(tab: Tab) -> Id {
    match tab {
        Tab::Ports => Id::Port,
        _ => Id::Name,
    }
}

/// How the screen names a sort column. The history stands for packets a second.
pub(super) fn sort_name(tab: Tab, id: Id) -> &'static str {
    match id {
        Id::History => "packets/s",
        _ => all(tab)
            .iter()
            .find(|column| column.id == id)
            .map_or("", |column| column.title),
    }
}

/// Cells for columns on a terminal `width` cells wide: the marker of the highlighted row takes one.
pub(super) const fn width(width: u16) -> u16 {
    width.saturating_sub(1)
}

/// Those of `columns` that fit into `width` cells with one blank between them, and their widths.
pub(super) fn fit<'a>(
    columns: impl IntoIterator<Item = &'a Column>,
    width: u16,
    numbers: Numbers,
) -> Vec<(Column, u16)> {
    let mut columns: Vec<(Column, u16)> = columns
        .into_iter()
        .map(|column| {
            let raw = numbers == Numbers::Raw && column.is_number() && column.id != Id::Number;
            (*column, if raw { RAW_WIDTH } else { column.min })
        })
        .collect();
    let used = |columns: &[(Column, u16)]| {
        columns
            .iter()
            .map(|(_, width)| width + 1)
            .sum::<u16>()
            .saturating_sub(1)
    };
    while used(&columns) > width {
        let last = columns
            .iter()
            .enumerate()
            .max_by_key(|(_, (column, _))| column.drop);
        let Some((index, (column, _))) = last else {
            break;
        };
        // Nothing droppable is left: the rightmost goes, so that what stays is whole.
        let index = if column.drop == 0 {
            columns.len() - 1
        } else {
            index
        };
        columns.remove(index);
    }
    let mut left = width - used(&columns);
    for grow in (1..=3).rev() {
        for (column, width) in columns.iter_mut().filter(|(column, _)| column.grow == grow) {
            let more = left.min(column.max.saturating_sub(*width));
            *width += more;
            left -= more;
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(tab: Tab, width: u16) -> Vec<&'static str> {
        fit(all(tab), width, Numbers::Si)
            .iter()
            .map(|(column, _)| column.title)
            .collect()
    }

    #[test]
    fn never_wider_than_the_terminal() {
        for tab in Tab::ALL {
            for numbers in [Numbers::Si, Numbers::Raw] {
                for width in 0..250 {
                    let columns = fit(all(tab), width, numbers);
                    let sum: u16 = columns.iter().map(|(_, w)| w + 1).sum();
                    assert!(sum <= width + 1, "{tab:?} {width}: {columns:?}");
                }
            }
        }
    }

    #[test]
    fn more_width_never_loses_a_column() {
        for tab in Tab::ALL {
            for width in 0..250 {
                let (narrow, wide) = (names(tab, width), names(tab, width + 1));
                assert!(
                    narrow.iter().all(|name| wide.contains(name)),
                    "{tab:?} {width}: {narrow:?} {wide:?}"
                );
            }
        }
    }

    #[test]
    fn columns_go_in_the_stated_order() {
        let all = [
            "PORT", "SERVICE", "PASS/s", "DROP/s", "bit/s", "PASSED", "DROPPED", "60 s",
        ];
        assert_eq!(names(Tab::Ports, 80), all);
        assert_eq!(names(Tab::Ports, 60), &all[..7]);
        let no_service = ["PORT", "PASS/s", "DROP/s", "bit/s", "PASSED", "DROPPED"];
        assert_eq!(names(Tab::Ports, 50), no_service);
        assert_eq!(
            names(Tab::Ports, 42),
            ["PORT", "PASS/s", "DROP/s", "PASSED", "DROPPED"]
        );
    }
}
