//! Everything that the screen shows, as plain data. Changed only by [`super::update`], read only by
//! [`super::draw`].
//!
//! Invariant: while paused, `snapshot` does not change; what arrives meanwhile waits in `waiting`.

use super::columns::{self, Column};
use super::options::{Tab, TopOptions};
use super::rows::{self, Query, Row, RowId, Sort};
use firewall_api::view::{InterfaceView, Snapshot};
use std::time::Duration;

/// The application's state.
#[derive(Clone, Debug)]
pub struct State {
    /// Units, colour, interval, interface: what the command line chose and keys may change.
    pub(super) options: TopOptions,
    /// Terminal width and height in cells.
    pub(super) size: (u16, u16),
    /// What is on the screen; `None` until the first answer.
    pub(super) snapshot: Option<Snapshot>,
    /// The newest answer while paused.
    pub(super) waiting: Option<Snapshot>,
    /// Frozen by the user.
    pub(super) paused: bool,
    /// Time since the start, as of the last event.
    pub(super) now: Duration,
    /// When the source last answered with a snapshot.
    pub(super) fresh: Duration,
    /// Why the source failed the last time it was asked; `None` while all is well.
    pub(super) failure: Option<String>,
    /// The table in front.
    pub(super) tab: Tab,
    /// Per table: order and position.
    pub(super) tables: [Table; Tab::ALL.len()],
    /// Part of a name; empty for none.
    pub(super) filter: String,
    /// The filter is being typed.
    pub(super) editing: bool,
    /// The key help is open.
    pub(super) help: bool,
    /// The row whose details are open.
    pub(super) detail: Option<RowId>,
}

/// Order and position in one table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    /// Its order.
    pub(super) sort: Sort,
    /// The highlighted row.
    pub(super) selected: usize,
    /// The row at the top.
    pub(super) first: usize,
}

impl State {
    /// A state that waits for its first snapshot, on a terminal of `size` (width, height).
    #[must_use]
    pub fn new(options: TopOptions, size: (u16, u16)) -> Self {
        Self {
            tab: options.tab,
            options,
            size,
            snapshot: None,
            waiting: None,
            paused: false,
            now: Duration::ZERO,
            fresh: Duration::ZERO,
            failure: None,
            tables: Tab::ALL.map(|tab| Table {
                sort: Sort::initial(tab),
                selected: 0,
                first: 0,
            }),
            filter: String::new(),
            editing: false,
            help: false,
            detail: None,
        }
    }

    /// Time between two readings of the source, which keys change.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.options.interval
    }

    /// The table in front.
    #[must_use]
    pub fn tab(&self) -> Tab {
        self.tab
    }

    /// Whether the user froze the screen.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Name of the sort column, and whether the largest stands first.
    #[must_use]
    pub fn sort(&self) -> (&'static str, bool) {
        let sort = self.table().sort;
        (columns::sort_name(self.tab, sort.by), sort.descending)
    }

    /// What the table in front shows in its highlighted row's first column.
    #[must_use]
    pub fn selected_name(&self) -> Option<String> {
        let column = columns::name(self.tab);
        self.selected_row().map(|row| row.text(column).into_owned())
    }

    /// The interface that was chosen, if it is there.
    #[must_use]
    pub fn interface(&self) -> Option<&InterfaceView> {
        let name = self.options.interface.as_ref()?;
        self.interfaces().iter().find(|view| view.name == *name)
    }

    /// Interfaces of the snapshot.
    pub(super) fn interfaces(&self) -> &[InterfaceView] {
        self.snapshot
            .as_ref()
            .map_or(&[], |snapshot| &snapshot.status.interfaces)
    }

    /// The table in front.
    pub(super) fn table(&self) -> &Table {
        &self.tables[self.tab.index()]
    }

    /// The table in front.
    pub(super) fn table_mut(&mut self) -> &mut Table {
        &mut self.tables[self.tab.index()]
    }

    /// Its columns on a terminal `width` cells wide.
    pub(super) fn columns(&self, width: u16) -> Vec<(Column, u16)> {
        let all = columns::of(self.tab, self.snapshot.as_ref());
        columns::fit(all, columns::width(width), self.options.numbers)
    }

    /// The table in front, as a question about the snapshot.
    pub(super) fn query(&self) -> Query<'_> {
        Query {
            tab: self.tab,
            sort: self.table().sort,
            filter: &self.filter,
        }
    }

    /// Rows of the table in front that the filter lets through.
    pub(super) fn count(&self) -> usize {
        self.snapshot
            .as_ref()
            .map_or(0, |snapshot| rows::count(snapshot, self.query()))
    }

    /// What the snapshot leaves out of the table in front; nothing where a filter asks for names.
    pub(super) fn others(&self) -> Option<Row<'_>> {
        let others = &self.snapshot.as_ref()?.other_ports;
        let shown = self.tab == Tab::Ports && self.filter.is_empty() && others.count > 0;
        shown.then_some(Row::Others(others))
    }

    /// The highlighted row.
    pub(super) fn selected_row(&self) -> Option<Row<'_>> {
        let snapshot = self.snapshot.as_ref()?;
        let page = rows::page(snapshot, self.query(), self.table().selected, 1);
        rows::row(snapshot, self.tab, *page.rows.first()?)
    }

    /// What is wrong with the source, in one line; `None` while all is well.
    pub(super) fn trouble(&self) -> Option<String> {
        if let Some(failure) = &self.failure {
            return Some(failure.clone());
        }
        // A source that hangs reports no failure: silence for long is one.
        let silent = self.now.saturating_sub(self.fresh);
        (silent >= self.options.interval + SILENCE)
            .then(|| format!("no answer for {} s", silent.as_secs()))
    }

    /// Age of what is on the screen.
    pub(super) fn age(&self) -> Duration {
        self.now.saturating_sub(self.fresh)
    }
}

/// How much longer than the interval an answer may take before it is called missing.
const SILENCE: Duration = Duration::from_secs(3);
