//! Golden screens. After an intended change: `INSTA_UPDATE=always cargo test -p firewall-ctl --test
//! top`, then read the differences in `snapshots/` as a user would.

use super::synthetic::Synthetic;
use super::{busy, drawn, give, idle, press, screen, state_of};
use firewall_api::format::Numbers;
use firewall_api::width::width;
use firewall_ctl::tui::plain::block;
use firewall_ctl::tui::{Event, State, Tab, TopOptions, update};
use firewall_policy::text::is_unsafe;
use insta::assert_snapshot;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};
use std::time::Duration;

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (60, 15)];

/// One golden screen for each size.
fn check(name: &str, make: impl Fn((u16, u16)) -> State) {
    for size in SIZES {
        let state = make(size);
        assert_snapshot!(
            format!("{name}_{}x{}", size.0, size.1),
            screen(&state, size)
        );
    }
}

fn on_tab(tab: Tab, size: (u16, u16)) -> State {
    let options = TopOptions {
        tab,
        ..TopOptions::default()
    };
    state_of(Synthetic { ports: 224 }.at(75), size, options)
}

#[test]
fn every_tab() {
    for tab in Tab::ALL {
        check(tab.name(), |size| on_tab(tab, size));
    }
}

#[test]
fn details_of_every_kind_of_row() {
    for tab in Tab::ALL {
        check(&format!("detail_{}", tab.name()), |size| {
            let mut state = on_tab(tab, size);
            press(&mut state, "<Down><Enter>");
            state
        });
    }
}

#[test]
fn help() {
    check("help", |size| {
        let mut state = busy(size);
        press(&mut state, "?");
        state
    });
}

#[test]
fn filter_while_typing_and_after() {
    check("filter_typing", |size| {
        let mut state = busy(size);
        press(&mut state, "/htt");
        state
    });
    check("filter_set", |size| {
        let mut state = busy(size);
        press(&mut state, "/http<Enter>");
        state
    });
    check("filter_nothing", |size| {
        let mut state = busy(size);
        press(&mut state, "/gopher<Enter>");
        state
    });
}

#[test]
fn paused_shows_the_old_numbers_and_says_so() {
    check("paused", |size| {
        let mut state = busy(size);
        let before = screen(&state, size);
        press(&mut state, " ");
        give(&mut state, Synthetic { ports: 10 }.at(500), 6);
        let after = screen(&state, size);
        let body = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(body(&before), body(&after), "nothing but the badge changes");
        state
    });
}

#[test]
fn stale_data_is_kept_and_marked() {
    check("stale", |size| {
        let mut state = busy(size);
        let error = "connect /run/firewall/control.sock: Connection refused (os error 111)";
        update(
            &mut state,
            Event::Failed(error.to_owned(), Duration::from_secs(6)),
        );
        update(&mut state, Event::Tick(Duration::from_secs(17)));
        state
    });
}

#[test]
fn no_traffic_yet() {
    for tab in Tab::ALL {
        check(&format!("idle_{}", tab.name()), |size| {
            state_of(
                idle(),
                size,
                TopOptions {
                    tab,
                    ..TopOptions::default()
                },
            )
        });
    }
}

#[test]
fn nothing_loaded() {
    check("no_policy", |size| {
        let mut snapshot = idle();
        snapshot.status.generation = None;
        snapshot.status.interfaces.clear();
        snapshot.rules.clear();
        state_of(snapshot, size, TopOptions::default())
    });
}

#[test]
fn warnings_take_one_line() {
    check("warnings", |size| {
        let mut snapshot = Synthetic { ports: 224 }.at(75);
        snapshot.status.last_error = Some("rules/web.yaml:14:13: unknown action `dorp`".to_owned());
        snapshot.status.warnings = vec!["eth1: GRO is off".to_owned()];
        state_of(snapshot, size, TopOptions::default())
    });
}

#[test]
fn every_port_at_once() {
    let snapshot = Synthetic { ports: 65_536 }.at(75);
    check("65536_ports", |size| {
        state_of(snapshot.clone(), size, TopOptions::default())
    });
    check("65536_ports_end", |size| {
        let mut state = state_of(snapshot.clone(), size, TopOptions::default());
        press(&mut state, "<End>");
        state
    });
}

#[test]
fn ports_that_the_source_left_out_are_summed_up() {
    check("other_ports", |size| {
        let mut snapshot = Synthetic { ports: 40 }.at(75);
        snapshot.other_ports.count = 64_960;
        snapshot.other_ports.drop = snapshot.ports[0].drop;
        state_of(snapshot, size, TopOptions::default())
    });
}

#[test]
fn raw_numbers_bytes_and_one_interface() {
    check("raw", |size| {
        let options = TopOptions {
            numbers: Numbers::Raw,
            bytes: true,
            ..TopOptions::default()
        };
        let mut state = state_of(Synthetic { ports: 224 }.at(75), size, options);
        press(&mut state, "i");
        state
    });
}

#[test]
fn without_unicode_only_ascii_is_drawn() {
    let ascii = |size| {
        let options = TopOptions {
            unicode: false,
            ..TopOptions::default()
        };
        state_of(Synthetic { ports: 224 }.at(75), size, options)
    };
    check("ascii", ascii);
    check("ascii_detail", |size| {
        let mut state = ascii(size);
        press(&mut state, "<Enter>");
        state
    });
    for keys in ["", "2", "3", "4", "?", "<Enter>", "/x", "r"] {
        for size in SIZES {
            let mut state = ascii(size);
            press(&mut state, keys);
            let text = screen(&state, size);
            assert!(text.is_ascii(), "after {keys}:\n{text}");
        }
    }
}

#[test]
fn too_small_terminals_are_told_so() {
    let small = (40, 10);
    assert_snapshot!("too_small_40x10", screen(&busy(small), small));
    for keys in ["2", "3", "4", "?", "/x", " ", "<Enter>"] {
        let mut state = busy(small);
        press(&mut state, keys);
        assert_eq!(
            screen(&state, small),
            screen(&busy(small), small),
            "after {keys}"
        );
    }
    for size in [(59, 15), (60, 14), (1, 1), (20, 60), (200, 3)] {
        let text = screen(&busy(size), size);
        assert!(!text.contains("PASS"), "{size:?}:\n{text}");
    }
}

#[test]
fn escape_sequences_in_names_do_not_reach_the_terminal() {
    let size = (80, 24);
    let evil = "\x1b]0;owned\x07\x1b[2J\u{202e}\u{200b}\u{e0041}";
    let mut snapshot = Synthetic { ports: 10 }.at(75);
    snapshot.ports[0].service = Some(evil.to_owned());
    snapshot.rules[0].name = evil.to_owned();
    snapshot.rules[0].summary = evil.to_owned();
    snapshot.status.interfaces[0].name = evil.to_owned();
    snapshot.status.warnings.push(evil.to_owned());
    for keys in ["1", "2", "2<Enter>", "4", "4<Enter>", "i"] {
        let mut state = state_of(snapshot.clone(), size, TopOptions::default());
        update(
            &mut state,
            Event::Failed(evil.to_owned(), Duration::from_secs(6)),
        );
        press(&mut state, keys);
        let backend = drawn(&state, size);
        let cells = backend.buffer().content();
        assert!(
            !cells.iter().any(|cell| cell.symbol().contains(is_unsafe)),
            "{keys}"
        );
    }
}

#[test]
fn columns_line_up_in_any_script() {
    let size = (120, 40);
    let names = [
        "plain",
        "\u{65e5}\u{672c}\u{8a9e}\u{65e5}\u{672c}\u{8a9e}\u{65e5}\u{672c}\u{8a9e}\u{65e5}\u{672c}\u{8a9e}\u{65e5}\u{672c}\u{8a9e}",
        "\u{1f600}\u{1f525} \u{2764}\u{fe0f}",
        "e\u{301}a\u{308}e\u{301}",
        "\u{202e}eno",
        "\u{2066}two\u{2069}",
    ];
    let with = |name: &str| {
        let mut snapshot = Synthetic { ports: 10 }.at(75);
        snapshot.rules[0].name = name.to_owned();
        snapshot.status.interfaces[0].name = name.to_owned();
        snapshot
    };
    for keys in ["2", "4"] {
        let cells = |name: &str| {
            let mut state = state_of(with(name), size, TopOptions::default());
            press(&mut state, keys);
            drawn(&state, size).buffer().clone()
        };
        let plain = cells(names[0]);
        let line = |y: u16| {
            (0..size.0)
                .map(|x| plain[(x, y)].symbol())
                .collect::<String>()
        };
        // Not the title, which names interfaces too.
        let row = (3..size.1).find(|&y| line(y).contains("plain")).unwrap();
        for name in names {
            let drawn = cells(name);
            let rest = |buffer: &Buffer, y: u16| {
                let cells = (40..size.0).map(|x| buffer[(x, y)].symbol().to_owned());
                cells.collect::<Vec<_>>()
            };
            // By its name the row may stand elsewhere.
            let stands = (3..size.1).any(|y| rest(&drawn, y) == rest(&plain, row));
            assert!(stands, "{name:?}");
        }
    }
    let text = |name| {
        block(
            &with(name),
            &TopOptions {
                tab: Tab::Interfaces,
                ..TopOptions::default()
            },
        )
    };
    let end = |name| {
        let text = text(name);
        let line = text
            .lines()
            .find(|line| line.contains(" native "))
            .unwrap()
            .to_owned();
        width(&line[..line.find(" native ").unwrap()])
    };
    for name in names {
        assert_eq!(end(name), end(names[0]), "{name:?}:\n{}", text(name));
    }
}

#[test]
fn colour_only_repeats_what_words_say() {
    let size = (80, 24);
    for keys in ["1", "2", "3", "4", "<Enter>", " "] {
        let look = |colour| {
            let options = TopOptions {
                colour,
                ..TopOptions::default()
            };
            let mut state = state_of(Synthetic { ports: 224 }.at(75), size, options);
            press(&mut state, keys);
            drawn(&state, size)
        };
        let (with, without) = (look(true), look(false));
        assert_eq!(with.to_string(), without.to_string());
        let plain = without.buffer().content();
        assert!(
            plain
                .iter()
                .all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset),
            "no colour where none is wanted"
        );
        let marked = |cell: &ratatui::buffer::Cell| cell.modifier.contains(Modifier::REVERSED);
        assert!(
            plain.iter().any(marked),
            "the highlighted row or tab still stands out"
        );
        let has = |colour| with.buffer().content().iter().any(|cell| cell.fg == colour);
        if keys != "4" {
            assert!(
                has(Color::Green) && has(Color::Red),
                "PASS and DROP are coloured ({keys})"
            );
        }
    }
}
