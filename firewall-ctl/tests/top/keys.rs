//! What keys and other events do to the state.

use super::synthetic::Synthetic;
use super::{busy, give, idle, press, screen, state_of};
use firewall_ctl::tui::{Effect, Event, State, Tab, TopOptions, draw, update};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::time::Duration;

const SIZE: (u16, u16) = (80, 24);

fn selected(state: &State) -> String {
    state.selected_name().unwrap()
}

#[test]
fn quitting() {
    assert_eq!(press(&mut busy(SIZE), "q"), Effect::Quit);
    assert_eq!(press(&mut busy(SIZE), "<Ctrl-C>"), Effect::Quit);
    // In the filter q is a letter; Ctrl-C quits from everywhere.
    assert_eq!(press(&mut busy(SIZE), "/q"), Effect::Continue);
    assert_eq!(press(&mut busy(SIZE), "/q<Ctrl-C>"), Effect::Quit);
    // In help and details q goes back.
    assert_eq!(press(&mut busy(SIZE), "?q"), Effect::Continue);
    assert_eq!(press(&mut busy(SIZE), "?qq"), Effect::Quit);
    assert_eq!(press(&mut busy(SIZE), "<Enter>q"), Effect::Continue);
    assert_eq!(press(&mut busy(SIZE), "<Enter>qq"), Effect::Quit);
    let ctrl_z = KeyEvent::new(KeyCode::Char('z'), KeyModifiers::CONTROL);
    assert_eq!(update(&mut busy(SIZE), Event::Key(ctrl_z)), Effect::Suspend);
}

#[test]
fn letting_a_key_go_does_nothing() {
    let mut key = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
    key.kind = KeyEventKind::Release;
    assert_eq!(update(&mut busy(SIZE), Event::Key(key)), Effect::Continue);
}

#[test]
fn tabs_go_round() {
    let mut state = busy(SIZE);
    for expected in [Tab::Rules, Tab::Reasons, Tab::Interfaces, Tab::Ports] {
        press(&mut state, "<Tab>");
        assert_eq!(state.tab(), expected);
    }
    press(&mut state, "<BackTab>");
    assert_eq!(state.tab(), Tab::Interfaces);
    press(&mut state, "2");
    assert_eq!(state.tab(), Tab::Rules);
}

#[test]
fn sorting_by_every_column_and_back() {
    let mut state = busy(SIZE);
    assert_eq!(state.sort(), ("packets/s", true));
    press(&mut state, "s");
    assert_eq!(state.sort(), ("PORT", false));
    assert_eq!(selected(&state), "tcp/1");
    press(&mut state, "r");
    assert_eq!(state.sort(), ("PORT", true));
    let seen: Vec<_> = (0..7)
        .map(|_| (press(&mut state, ">"), state.sort().0).1)
        .collect();
    let expected = [
        "SERVICE",
        "PASS/s",
        "DROP/s",
        "bit/s",
        "PASSED",
        "DROPPED",
        "packets/s",
    ];
    assert_eq!(seen, expected);
    press(&mut state, "<");
    assert_eq!(state.sort(), ("DROPPED", true));
    press(&mut state, "p");
    assert_eq!(
        (state.sort(), selected(&state)),
        (("PASS/s", true), "tcp/443".to_owned())
    );
    press(&mut state, "d");
    assert_eq!(
        (state.sort(), selected(&state)),
        (("DROP/s", true), "udp/53".to_owned())
    );
    // Each table keeps its own order.
    press(&mut state, "2");
    assert_eq!(state.sort(), ("packets/s", true));
}

#[test]
fn columns_that_are_not_shown_are_not_sorted_by() {
    let mut state = busy((60, 15));
    let mut seen = Vec::new();
    for _ in 0..14 {
        press(&mut state, "s");
        seen.push(state.sort().0);
    }
    assert!(!seen.contains(&"packets/s"), "{seen:?}");
    assert!(screen(&state, (60, 15)).contains("DROPPED"));
}

#[test]
fn scrolling_keeps_the_highlight_on_the_screen() {
    let mut state = busy(SIZE);
    let shown = |state: &State| screen(state, SIZE).contains(&format!(">{}", selected(state)));
    press(&mut state, "s"); // by port, which does not change over time
    let top = selected(&state);
    press(&mut state, "<Up>");
    assert_eq!(selected(&state), top, "the top is the top");
    for keys in [
        "<Down>",
        "<PageDown>",
        "<PageDown>",
        "<End>",
        "<Up>",
        "<PageUp>",
    ] {
        let before = selected(&state);
        press(&mut state, keys);
        assert_ne!(selected(&state), before, "{keys} moves");
        assert!(shown(&state), "after {keys}:\n{}", screen(&state, SIZE));
    }
    press(&mut state, "<End>");
    let last = selected(&state);
    press(&mut state, "<Down><PageDown><End>");
    assert_eq!(selected(&state), last, "the end is the end");
    assert!(screen(&state, SIZE).contains("206-224 of 224"));
    press(&mut state, "<Home>");
    assert_eq!(selected(&state), top);
    // Fewer rows than before: the highlight goes to the last of them.
    press(&mut state, "<End>");
    give(&mut state, Synthetic { ports: 3 }.at(76), 6);
    assert!(shown(&state));
    give(&mut state, idle(), 7);
    assert_eq!(state.selected_name(), None);
}

#[test]
fn the_filter_narrows_every_table() {
    let mut state = busy(SIZE);
    press(&mut state, "<End>/HTTPS<Enter>");
    assert_eq!(selected(&state), "tcp/443");
    assert!(screen(&state, SIZE).contains("1-1 of 1"));
    press(&mut state, "/<Backspace>");
    assert!(
        screen(&state, SIZE).contains("1-3 of 3"),
        "{}",
        screen(&state, SIZE)
    );
    press(&mut state, "<Esc>");
    assert!(screen(&state, SIZE).contains("of 224"));
    press(&mut state, "2/ssh<Enter>");
    assert!(screen(&state, SIZE).contains("1-2 of 2"));
    press(&mut state, "<Esc>3/frag<Enter>");
    assert_eq!(selected(&state), "frag-tiny");
}

#[test]
fn pausing_freezes_and_going_on_shows_the_newest() {
    let mut state = busy(SIZE);
    let frozen = screen(&state, SIZE);
    press(&mut state, " ");
    assert!(state.is_paused());
    for second in 6..9 {
        give(&mut state, Synthetic { ports: 224 }.at(70 + second), second);
    }
    let paused = screen(&state, SIZE);
    assert!(paused.contains("PAUSED"));
    assert_eq!(
        paused.lines().skip(1).collect::<Vec<_>>(),
        frozen.lines().skip(1).collect::<Vec<_>>()
    );
    press(&mut state, " ");
    assert!(
        screen(&state, SIZE).contains("12:01:18 UTC"),
        "{}",
        screen(&state, SIZE)
    );
    assert!(!screen(&state, SIZE).contains("PAUSED"));
}

#[test]
fn details_follow_their_row_and_say_when_it_is_gone() {
    let mut state = busy(SIZE);
    press(&mut state, "2/ssh-rest<Enter><Enter>");
    let text = screen(&state, SIZE);
    assert!(
        text.contains("rule ssh-rest") && text.contains("rules/web-server.yaml:34"),
        "{text}"
    );
    give(&mut state, Synthetic { ports: 224 }.at(140), 6);
    assert!(screen(&state, SIZE).contains("rule ssh-rest"));
    let mut without = Synthetic { ports: 224 }.at(141);
    without.rules.retain(|rule| rule.name != "ssh-rest");
    give(&mut state, without, 7);
    assert!(screen(&state, SIZE).contains("ssh-rest is not there any more"));
    press(&mut state, "<Esc>");
    assert!(!screen(&state, SIZE).contains("not there any more"));
    // Nothing to open in an empty table.
    let mut state = state_of(idle(), SIZE, TopOptions::default());
    press(&mut state, "<Enter>");
    assert!(screen(&state, SIZE).contains("No TCP or UDP packet"));
}

#[test]
fn a_source_that_fails_or_hangs_is_told_and_recovers() {
    let mut state = busy(SIZE);
    let at = Duration::from_secs;
    update(
        &mut state,
        Event::Failed("connection refused".to_owned(), at(6)),
    );
    update(&mut state, Event::Tick(at(65)));
    let text = screen(&state, SIZE);
    assert!(
        text.contains("daemon not reachable: connection refused, retrying"),
        "{text}"
    );
    assert!(text.contains("STALE for 60 s"), "{text}");
    assert!(text.contains("tcp/443"), "the last data stays");
    give(&mut state, Synthetic { ports: 224 }.at(140), 66);
    assert!(!screen(&state, SIZE).contains("daemon not reachable"));
    update(&mut state, Event::Tick(at(69)));
    assert!(
        !screen(&state, SIZE).contains("daemon not reachable"),
        "late is not gone"
    );
    update(&mut state, Event::Tick(at(71)));
    assert!(screen(&state, SIZE).contains("daemon not reachable: no answer for 5 s"));
    // The answer after a hang makes all well again, also while paused.
    press(&mut state, " ");
    give(&mut state, Synthetic { ports: 224 }.at(150), 72);
    assert!(!screen(&state, SIZE).contains("daemon not reachable"));
}

#[test]
fn interval_units_and_interface() {
    let mut state = busy(SIZE);
    press(&mut state, "+");
    assert_eq!(state.interval(), Duration::from_secs(2));
    press(&mut state, "---");
    assert_eq!(state.interval(), Duration::from_millis(250));
    press(&mut state, "-");
    assert_eq!(state.interval(), Duration::from_millis(250));
    press(&mut state, &"+".repeat(20));
    assert_eq!(state.interval(), Duration::from_secs(60));
    press(&mut state, "b");
    assert!(screen(&state, SIZE).contains("byte/s"));
    press(&mut state, "b");
    assert!(screen(&state, SIZE).contains("bit/s"));
    let mut names = Vec::new();
    for _ in 0..3 {
        press(&mut state, "i");
        names.push(state.interface().map(|view| view.name.clone()));
    }
    assert_eq!(
        names,
        [Some("eth0".to_owned()), Some("eth1".to_owned()), None]
    );
    press(&mut state, "ii");
    let mut without = Synthetic { ports: 5 }.at(75);
    without.status.interfaces.pop();
    give(&mut state, without, 6);
    assert!(
        screen(&state, SIZE).contains("(eth1 is gone) PASS"),
        "{}",
        screen(&state, SIZE)
    );
    let mut single = Synthetic { ports: 5 }.at(75);
    single.status.interfaces.truncate(1);
    let mut state = state_of(single, SIZE, TopOptions::default());
    press(&mut state, "i");
    assert!(state.interface().is_none(), "nothing to choose from");
}

/// Thousands of events in no sensible order, on terminals of every size: nothing panics, and the
/// highlighted row is always on the screen.
#[test]
fn no_sequence_of_events_breaks_the_screen() {
    let keys = "q?/ssh \t1234sr<>pdbi+-jkgG";
    let codes = [
        KeyCode::Enter,
        KeyCode::Esc,
        KeyCode::Tab,
        KeyCode::BackTab,
        KeyCode::Backspace,
        KeyCode::Up,
        KeyCode::Down,
        KeyCode::PageUp,
        KeyCode::PageDown,
        KeyCode::Home,
        KeyCode::End,
        KeyCode::Left,
        KeyCode::Right,
        KeyCode::F(1),
        KeyCode::Null,
    ];
    let snapshots = [
        idle(),
        Synthetic { ports: 1 }.at(3),
        Synthetic { ports: 90 }.at(75),
        Synthetic { ports: 30 }.at(80),
    ];
    let mut seed = 42_u64;
    let mut random = |below: usize| {
        // Knuth's MMIX generator; the upper bits are the good ones.
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let mut state = State::new(TopOptions::default(), SIZE);
    let mut size = SIZE;
    for step in 0..2000 {
        let now = Duration::from_millis(step * 100);
        let event = match random(10) {
            0 => Event::Snapshot(Box::new(snapshots[random(4)].clone()), now),
            1 if random(3) == 0 => Event::Failed("gone\nreally".to_owned(), now),
            1 => Event::Tick(now),
            2 if random(4) == 0 => {
                size = (random(130) as u16 + 1, random(45) as u16 + 1);
                Event::Resize(size.0, size.1)
            }
            2..=5 => Event::Key(KeyEvent::new(
                codes[random(codes.len())],
                KeyModifiers::NONE,
            )),
            _ => {
                let c = keys.chars().nth(random(keys.len())).unwrap();
                Event::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE))
            }
        };
        let text = format!("step {step}: {event:?}");
        update(&mut state, event);
        let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
        terminal.draw(|frame| draw(frame, &state)).unwrap();
        let shown = terminal.backend().to_string();
        // The table is in front when its column titles are: no help, no details.
        let table = shown.lines().nth(3).into_iter().chain(shown.lines().nth(4));
        let table = table.chain(shown.lines().nth(5)).any(|line| {
            ["PORT ", "RULE ", "REASON ", "INTERFACE "]
                .iter()
                .any(|title| line.contains(title))
        });
        if table && !shown.contains("firewall top: keys") && state.selected_name().is_some() {
            assert!(
                shown.lines().any(|line| line.starts_with("\">")),
                "{text}\n{shown}"
            );
        }
    }
}
