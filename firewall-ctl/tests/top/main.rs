//! Tests of `firewall-ctl top`: what the screen shows ([`golden`]), what keys do ([`keys`]), what
//! plain output looks like ([`plain`]), and that a real terminal is given back ([`terminal`]).
//!
//! All data is made up by [`synthetic`]; the tests that count real packets are elsewhere.

#![expect(
    clippy::unwrap_used,
    reason = "a test helper that fails should fail its test"
)]

mod golden;
mod keys;
mod plain;
#[path = "../../examples/support/synthetic.rs"]
mod synthetic;
mod terminal;

use firewall_api::view::Snapshot;
use firewall_ctl::tui::{self, Effect, Event, State, TopOptions};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::time::Duration;
use synthetic::Synthetic;

/// A firewall that has just started and counted nothing.
fn idle() -> Snapshot {
    let mut snapshot = Synthetic { ports: 0 }.at(0);
    snapshot.interval = 0.0;
    snapshot.reasons.clear();
    for rule in &mut snapshot.rules {
        rule.hits = Default::default();
        rule.over = rule.over.map(|_| Default::default());
        rule.history.clear();
    }
    for interface in &mut snapshot.status.interfaces {
        (interface.pass, interface.drop) = Default::default();
    }
    snapshot
}

/// A state on a terminal of this size that got this snapshot five seconds after the start.
fn state_of(snapshot: Snapshot, size: (u16, u16), options: TopOptions) -> State {
    let mut state = State::new(options, size);
    give(&mut state, snapshot, 5);
    state
}

/// A busy firewall with 224 ports.
fn busy(size: (u16, u16)) -> State {
    state_of(Synthetic { ports: 224 }.at(75), size, TopOptions::default())
}

fn give(state: &mut State, snapshot: Snapshot, second: u64) {
    tui::update(
        state,
        Event::Snapshot(Box::new(snapshot), Duration::from_secs(second)),
    );
}

/// Presses keys: characters are themselves, names stand in angle brackets.
///
/// `press(&mut state, "/web<Enter>")`
fn press(state: &mut State, keys: &str) -> Effect {
    let mut effect = Effect::Continue;
    let mut rest = keys;
    while let Some(c) = rest.chars().next() {
        let (code, used) = match rest.strip_prefix('<').and_then(|tail| tail.split_once('>')) {
            Some((name, _)) if !name.is_empty() => (named(name), name.len() + 2),
            _ => (KeyCode::Char(c), c.len_utf8()),
        };
        let modifiers = match code {
            KeyCode::Null => KeyModifiers::CONTROL,
            _ => KeyModifiers::NONE,
        };
        let code = if code == KeyCode::Null {
            KeyCode::Char('c')
        } else {
            code
        };
        effect = tui::update(state, Event::Key(KeyEvent::new(code, modifiers)));
        rest = &rest[used..];
    }
    effect
}

fn named(name: &str) -> KeyCode {
    match name {
        "Enter" => KeyCode::Enter,
        "Esc" => KeyCode::Esc,
        "Tab" => KeyCode::Tab,
        "BackTab" => KeyCode::BackTab,
        "Backspace" => KeyCode::Backspace,
        "Up" => KeyCode::Up,
        "Down" => KeyCode::Down,
        "PageUp" => KeyCode::PageUp,
        "PageDown" => KeyCode::PageDown,
        "Home" => KeyCode::Home,
        "End" => KeyCode::End,
        "Ctrl-C" => KeyCode::Null,
        _ => panic!("no key is called <{name}>"),
    }
}

/// Draws into memory.
fn drawn(state: &State, size: (u16, u16)) -> TestBackend {
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
    terminal.draw(|frame| tui::draw(frame, state)).unwrap();
    terminal.backend().clone()
}

/// The screen as text.
fn screen(state: &State, size: (u16, u16)) -> String {
    drawn(state, size).to_string()
}
