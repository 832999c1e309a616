//! Plain output: golden blocks, and what happens when the source or the reader fails.

use super::idle;
use super::synthetic::Synthetic;
use firewall_api::format::Numbers;
use firewall_api::view::Snapshot;
use firewall_ctl::tui::{Tab, TopOptions, once, plain};
use insta::assert_snapshot;
use std::io::{self, Write};
use std::time::Duration;

#[test]
fn blocks() {
    let snapshot = Synthetic { ports: 224 }.at(75);
    for tab in Tab::ALL {
        let options = TopOptions {
            tab,
            ..TopOptions::default()
        };
        assert_snapshot!(
            format!("plain_{}", tab.name()),
            plain::block(&snapshot, &options)
        );
    }
    let options = TopOptions {
        numbers: Numbers::Raw,
        bytes: true,
        interface: Some("eth0".to_owned()),
        rows: 5,
        ..TopOptions::default()
    };
    assert_snapshot!("plain_raw", plain::block(&snapshot, &options));
    assert_snapshot!("plain_idle", plain::block(&idle(), &TopOptions::default()));
}

#[test]
fn what_is_not_listed_is_summed_up_once() {
    let mut snapshot = Synthetic { ports: 3 }.at(75);
    let options = TopOptions {
        rows: 3,
        ..TopOptions::default()
    };
    assert!(
        !plain::block(&snapshot, &options).contains("other"),
        "everything is listed"
    );
    snapshot.other_ports.count = 7;
    snapshot.other_ports.pass.rate.pps = 1000.0;
    assert!(
        plain::block(&snapshot, &options).contains("(other 7 ports: PASS 1.0k/s, DROP 0/s)"),
        "{}",
        plain::block(&snapshot, &options)
    );
    let options = TopOptions { rows: 2, ..options };
    assert!(plain::block(&snapshot, &options).contains("(other 8 ports: "));
}

#[test]
fn lines_are_short_and_have_no_blanks_at_the_end() {
    let snapshot = Synthetic { ports: 65_536 }.at(75);
    for tab in Tab::ALL {
        let text = plain::block(
            &snapshot,
            &TopOptions {
                tab,
                ..TopOptions::default()
            },
        );
        for line in text.lines() {
            assert!(line.len() <= 80, "{line}");
            assert_eq!(line, line.trim_end());
        }
    }
}

fn quick(count: u64) -> TopOptions {
    TopOptions {
        interval: Duration::from_millis(1),
        count: Some(count),
        ..TopOptions::default()
    }
}

/// A source that fails in its second call only.
fn flaky() -> impl FnMut() -> anyhow::Result<Snapshot> {
    let mut calls = 0;
    move || {
        calls += 1;
        match calls {
            2 => Err(anyhow::anyhow!("refused").context("asking the daemon")),
            n => Ok(Synthetic { ports: 2 }.at(n)),
        }
    }
}

#[test]
fn a_failure_in_between_is_a_line_and_the_next_block_follows() {
    let mut out = Vec::new();
    plain::run(flaky(), &quick(3), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(
        text.contains("daemon not reachable: asking the daemon: refused, retrying"),
        "{text}"
    );
    assert_eq!(text.matches("PORT ").count(), 2, "{text}");
}

#[test]
fn a_failure_at_the_start_is_an_error() {
    let mut out = Vec::new();
    let error = plain::run(|| anyhow::bail!("refused"), &quick(3), &mut out).unwrap_err();
    assert_eq!(error.to_string(), "refused");
    assert!(out.is_empty());
}

#[test]
fn an_interface_that_is_not_filtered_is_an_error_and_one_that_goes_is_said() {
    let other = TopOptions {
        interface: Some("eth9".to_owned()),
        ..quick(1)
    };
    let source = || anyhow::Ok(Synthetic { ports: 2 }.at(1));
    let error = plain::run(source, &other, Vec::new()).unwrap_err();
    let expected = "interface `eth9` is not filtered; filtered are: eth0, eth1";
    assert_eq!(error.to_string(), expected);
    let block = plain::block(&source().unwrap(), &other);
    assert!(block.contains("(eth9 is gone) PASS"), "{block}");
}

/// A pipe whose reader has gone away, or a full disk.
struct Broken(io::ErrorKind);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_leaves_ends_it_and_a_full_disk_fails_it() {
    let source = || Ok(Synthetic { ports: 2 }.at(1));
    let forever = TopOptions {
        count: None,
        ..quick(0)
    };
    plain::run(source, &forever, Broken(io::ErrorKind::BrokenPipe)).unwrap();
    once(source, &forever, true, Broken(io::ErrorKind::BrokenPipe)).unwrap();
    let full = Broken(io::ErrorKind::StorageFull);
    assert!(plain::run(source, &forever, full).is_err());
}

#[test]
fn once_writes_one_block_or_the_whole_snapshot() {
    let source = || Ok(Synthetic { ports: 30 }.at(75));
    let mut out = Vec::new();
    once(source, &TopOptions::default(), false, &mut out).unwrap();
    let expected = plain::block(&source().unwrap(), &TopOptions::default());
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    let mut out = Vec::new();
    once(source, &TopOptions::default(), true, &mut out).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(value["schema"], "firewall/v1");
    assert_eq!(value["ports"].as_array().unwrap().len(), 30);
    let read: Snapshot = serde_json::from_slice(&out).unwrap();
    let totals = |snapshot: &Snapshot| {
        let ports = snapshot.ports.iter();
        ports
            .map(|view| (view.port, view.pass.total, view.drop.total))
            .collect::<Vec<_>>()
    };
    assert_eq!(totals(&read), totals(&source().unwrap()));
}
