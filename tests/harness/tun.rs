//! Two hosts on a cable whose packets have no link header, as those of WireGuard, PPP and IP tunnels: a tun
//! device in each, and a program between them (`tun.c`).
//!
//! Invariant: a [`RawPair`] leaves no process behind when it is dropped.

use crate::netns::{
    INSIDE_V4, INSIDE_V6, INTERFACE, Namespace, OUTSIDE_V4, OUTSIDE_V6, Pair, unique,
};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::ops::Deref;
use std::process::{Child, Command, Stdio};

const SOURCE: &str = include_str!("tun.c");

/// A device in each of two namespaces, and who carries packets between them.
#[derive(Debug)]
pub struct Cable {
    carrier: Child,
}

impl Cable {
    /// Makes devices of this name in both, without addresses and down.
    ///
    /// # Errors
    /// There is no C compiler, or no tun.
    pub fn new(first: &Namespace, second: &Namespace, name: &str) -> Result<Self> {
        Self::make(first, second, &[name])
    }

    /// As [`Cable::new`], of devices that say that they are of another type (`ARPHRD_*`).
    ///
    /// # Errors
    /// As [`Cable::new`].
    pub fn of_type(first: &Namespace, second: &Namespace, name: &str, of: u16) -> Result<Self> {
        Self::make(first, second, &[name, &of.to_string()])
    }

    fn make(first: &Namespace, second: &Namespace, words: &[&str]) -> Result<Self> {
        let folder = std::env::temp_dir().join(unique("tun"));
        fs::create_dir(&folder)?;
        let (source, program) = (folder.join("tun.c"), folder.join("tun"));
        fs::write(&source, SOURCE)?;
        let output = Command::new("cc")
            .args(["-O1", "-o"])
            .args([&program, &source])
            .output()
            .context("cannot start cc")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cc: {said}");
        let mut carrier = Command::new(&program)
            .args([first.path(), second.path()])
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut word = String::new();
        let said = carrier.stdout.take().context("it has an output")?;
        BufReader::new(said).read_line(&mut word)?;
        let _ = fs::remove_dir_all(&folder);
        let cable = Self { carrier };
        ensure!(word == "ready\n", "there is no tun device");
        Ok(cable)
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        let _ = self.carrier.kill();
        let _ = self.carrier.wait();
    }
}

/// Two hosts on such a cable, with the addresses of a [`Pair`].
#[derive(Debug)]
pub struct RawPair {
    _cable: Cable,
    pair: Pair,
}

impl RawPair {
    /// Makes both hosts.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn new() -> Result<Self> {
        let pair = Pair {
            outside: Namespace::new("out")?,
            inside: Namespace::new("in")?,
        };
        let cable = Cable::new(&pair.outside, &pair.inside, INTERFACE)?;
        for (host, v4, v6) in [
            (&pair.outside, OUTSIDE_V4, OUTSIDE_V6),
            (&pair.inside, INSIDE_V4, INSIDE_V6),
        ] {
            host.ip(&format!("link set {INTERFACE} addrgenmode none"))?;
            host.ip(&format!("addr add {v4}/24 dev {INTERFACE}"))?;
            host.ip(&format!("addr add {v6}/64 dev {INTERFACE} nodad"))?;
            host.ip(&format!("link set {INTERFACE} up"))?;
        }
        Ok(Self {
            _cable: cable,
            pair,
        })
    }
}

impl Deref for RawPair {
    type Target = Pair;

    fn deref(&self) -> &Pair {
        &self.pair
    }
}
