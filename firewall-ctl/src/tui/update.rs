//! `update`: how an event changes the [`State`]. Pure: reads no clock and no terminal.
//!
//! Invariant: after every event the highlighted row exists (or the table is empty), is on the
//! screen, and the table is scrolled no further than its end.

use super::columns::{self, Id};
use super::options::Tab;
use super::render::body_rows;
use super::rows::{Row, Sort};
use super::state::State;
use firewall_api::view::Snapshot;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::time::Duration;

/// Something that happened. Times are since the start of the program.
#[derive(Clone, Debug)]
pub enum Event {
    /// A key was pressed.
    Key(KeyEvent),
    /// The terminal has this width and height now.
    Resize(u16, u16),
    /// The source answered.
    Snapshot(Box<Snapshot>, Duration),
    /// The source failed, with this message.
    Failed(String, Duration),
    /// Time passed.
    Tick(Duration),
}

/// What the event loop does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Go on.
    Continue,
    /// Give the terminal back and end.
    Quit,
    /// Give the terminal back and stop until the shell brings us to the foreground (Ctrl-Z).
    Suspend,
}

/// Intervals that + and - step through.
const INTERVALS: [Duration; 8] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
];

/// Longest filter: longer than any name.
const FILTER_MAX: usize = 64;

/// Applies one event.
pub fn update(state: &mut State, event: Event) -> Effect {
    let flow = match event {
        Event::Key(key) if key.kind == KeyEventKind::Release => Effect::Continue,
        Event::Key(key) => on_key(state, key),
        Event::Resize(width, height) => {
            state.size = (width, height);
            Effect::Continue
        }
        Event::Snapshot(snapshot, now) => {
            state.now = now;
            state.fresh = now;
            state.failure = None;
            if state.paused {
                state.waiting = Some(*snapshot);
            } else {
                state.snapshot = Some(*snapshot);
            }
            Effect::Continue
        }
        Event::Failed(message, now) => {
            state.now = now;
            state.failure = Some(message);
            Effect::Continue
        }
        Event::Tick(now) => {
            state.now = now;
            Effect::Continue
        }
    };
    keep_in_view(state);
    flow
}

fn on_key(state: &mut State, key: KeyEvent) -> Effect {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Effect::Quit,
            KeyCode::Char('z') => Effect::Suspend,
            _ => Effect::Continue,
        };
    }
    if state.editing {
        edit_filter(state, key.code);
    } else if state.help {
        // Any key closes the help; q is "close", not "quit", as in less.
        state.help = false;
    } else if state.detail.is_some() {
        return on_detail_key(state, key.code);
    } else {
        return on_table_key(state, key.code);
    }
    Effect::Continue
}

fn edit_filter(state: &mut State, code: KeyCode) {
    match code {
        KeyCode::Char(c) if state.filter.chars().count() < FILTER_MAX => state.filter.push(c),
        KeyCode::Backspace => {
            state.filter.pop();
        }
        KeyCode::Enter => state.editing = false,
        KeyCode::Esc => {
            state.editing = false;
            state.filter.clear();
        }
        _ => return,
    }
    let table = state.table_mut();
    (table.selected, table.first) = (0, 0);
}

fn on_detail_key(state: &mut State, code: KeyCode) -> Effect {
    match code {
        KeyCode::Esc | KeyCode::Enter | KeyCode::Backspace | KeyCode::Char('q') => {
            state.detail = None;
        }
        KeyCode::Char(' ') => toggle_pause(state),
        KeyCode::Char('b') => state.options.bytes = !state.options.bytes,
        KeyCode::Char('?') => state.help = true,
        _ => {}
    }
    Effect::Continue
}

fn on_table_key(state: &mut State, code: KeyCode) -> Effect {
    match code {
        KeyCode::Char('q') => return Effect::Quit,
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => state.help = true,
        KeyCode::Char(' ') => toggle_pause(state),
        KeyCode::Tab => state.tab = state.tab.step(1),
        KeyCode::BackTab => state.tab = state.tab.step(Tab::ALL.len() - 1),
        KeyCode::Char(c @ '1'..='4') => state.tab = Tab::ALL[c as usize - '1' as usize],
        KeyCode::Char('/') => state.editing = true,
        KeyCode::Esc => state.filter.clear(),
        KeyCode::Char('s' | '>' | '.') | KeyCode::Right => step_sort(state, 1),
        KeyCode::Char('<' | ',') | KeyCode::Left => step_sort(state, -1),
        KeyCode::Char('p') => sort_by(state, &[Id::PassRate, Id::Rate]),
        KeyCode::Char('d') => sort_by(state, &[Id::DropRate, Id::Rate]),
        KeyCode::Char('r') => {
            let sort = &mut state.table_mut().sort;
            sort.descending = !sort.descending;
        }
        KeyCode::Char('b') => state.options.bytes = !state.options.bytes,
        KeyCode::Char('i') => next_interface(state),
        KeyCode::Char('+' | '=') => step_interval(state, true),
        KeyCode::Char('-') => step_interval(state, false),
        KeyCode::Enter => state.detail = state.selected_row().map(Row::id),
        KeyCode::Up | KeyCode::Char('k') => scroll(state, |at, _| at.saturating_sub(1)),
        KeyCode::Down | KeyCode::Char('j') => scroll(state, |at, _| at + 1),
        KeyCode::PageUp => scroll(state, usize::saturating_sub),
        KeyCode::PageDown => scroll(state, |at, page| at + page),
        KeyCode::Home | KeyCode::Char('g') => scroll(state, |_, _| 0),
        KeyCode::End | KeyCode::Char('G') => scroll(state, |_, _| usize::MAX),
        _ => {}
    }
    Effect::Continue
}

fn toggle_pause(state: &mut State) {
    state.paused = !state.paused;
    if !state.paused
        && let Some(snapshot) = state.waiting.take()
    {
        state.snapshot = Some(snapshot);
    }
}

/// Moves the highlight; `to` gets its position and the rows of a page.
fn scroll(state: &mut State, to: impl Fn(usize, usize) -> usize) {
    let page = body_rows(state).max(1);
    let table = state.table_mut();
    table.selected = to(table.selected, page).min(usize::MAX - page);
}

/// Sorts by the column `step` places further among those on the screen.
fn step_sort(state: &mut State, step: isize) {
    let columns = state.columns(state.size.0);
    let shown: Vec<Id> = columns.iter().map(|(column, _)| column.id).collect();
    if shown.is_empty() {
        return;
    }
    let by = state.table().sort.by;
    let next = match shown.iter().position(|id| *id == by) {
        Some(at) => (at as isize + step).rem_euclid(shown.len() as isize) as usize,
        None => 0,
    };
    state.table_mut().sort = Sort::of(shown[next]);
}

/// Sorts by the first of these columns that the table has.
fn sort_by(state: &mut State, ids: &[Id]) {
    let all = columns::all(state.tab);
    if let Some(id) = ids
        .iter()
        .find(|id| all.iter().any(|column| column.id == **id))
    {
        state.table_mut().sort = Sort::of(*id);
    }
}

/// All interfaces, then each in turn. With a single interface there is nothing to choose.
fn next_interface(state: &mut State) {
    let names: Vec<String> = state
        .interfaces()
        .iter()
        .map(|view| view.name.clone())
        .collect();
    if names.len() < 2 {
        state.options.interface = None;
        return;
    }
    let at = state
        .options
        .interface
        .as_ref()
        .and_then(|chosen| names.iter().position(|name| name == chosen));
    state.options.interface = names.into_iter().nth(at.map_or(0, |at| at + 1));
}

fn step_interval(state: &mut State, longer: bool) {
    let now = state.options.interval;
    let next = if longer {
        INTERVALS.iter().find(|step| **step > now)
    } else {
        INTERVALS.iter().rev().find(|step| **step < now)
    };
    state.options.interval = *next.unwrap_or(&now);
}

/// Restores the module's invariant.
fn keep_in_view(state: &mut State) {
    let (count, page) = (state.count(), body_rows(state).max(1));
    let table = state.table_mut();
    table.selected = table.selected.min(count.saturating_sub(1));
    table.first = table
        .first
        .min(count.saturating_sub(page))
        .min(table.selected)
        .max((table.selected + 1).saturating_sub(page));
}
