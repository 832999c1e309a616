//! Sends frames to both hosts, and looks for what the policy forbids at the filtered one.

use super::frames::network;
use super::{Arrival, Frames, Host};
use crate::fuzz::{hex, minimise};
use anyhow::Result;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// Frames between two looks at the sockets: what they deliver fits into the sockets' buffers.
const BATCH: usize = 512;

/// Every so manyth batch goes to the host without a filter, too: it shows what there was to hold
/// back.
const BESIDE: usize = 8;

/// How many findings are taken apart.
const FINDINGS: usize = 8;

/// Something forbidden that was delivered.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What arrived.
    pub what: String,
    /// The smallest frames that show it; several if one alone does not.
    pub frames: Vec<Vec<u8>>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "delivered: {}", self.what)?;
        // More are no finding but a riddle: the run's seed gives them all.
        for frame in self.frames.iter().take(32) {
            writeln!(f, "  {}", hex(frame))?;
        }
        writeln!(f, "  {} frames", self.frames.len())
    }
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct HuntOutcome {
    /// Frames sent to the filtered host.
    pub frames: u64,
    /// Of IPv4, of IPv6, and of neither.
    pub by_family: [u64; 3],
    /// What arrived there, all of it allowed but for the findings.
    pub delivered: u64,
    /// What the other host had of what the policy forbids, by family and protocol.
    pub held_back: BTreeMap<(bool, u8), u64>,
    /// What should not have been delivered.
    pub findings: Vec<Finding>,
    /// How long it took.
    pub time: Duration,
}

/// Sends frames, until there are `count` of each family.
///
/// # Errors
/// A frame that the cable does not take.
pub fn hunt(behind: &Host, open: &Host, source: &mut Frames, count: u64) -> Result<HuntOutcome> {
    let start = Instant::now();
    let mut found = HuntOutcome::default();
    let mut batches = 0;
    let mut before: Vec<Vec<u8>> = Vec::new();
    while found.by_family[..2].iter().any(|sent| *sent < count) && found.findings.len() < FINDINGS {
        let mut frames: Vec<Vec<u8>> = (0..BATCH).map(|_| source.frame()).collect();
        // Of the family that has its number, no more.
        frames.retain(|frame| found.by_family[family(frame).min(1)] < count);
        for frame in &frames {
            found.by_family[family(frame)] += 1;
        }
        if batches % BESIDE == 0 {
            for arrival in open.send(&frames)? {
                if arrival.forbidden().is_some() {
                    let kind = (arrival.source.is_ipv6(), arrival.proto);
                    *found.held_back.entry(kind).or_default() += 1;
                }
            }
        }
        batches += 1;
        let arrivals = behind.send(&frames)?;
        found.frames += frames.len() as u64;
        found.delivered += arrivals.len() as u64;
        if let Some(what) = forbidden(&arrivals) {
            // What is late comes of the batch before.
            let both = [before, frames.clone()].concat();
            found.findings.push(isolate(behind, &both, what)?);
        }
        before = frames;
    }
    found.time = start.elapsed();
    std::thread::sleep(Duration::from_millis(100));
    if let Some(what) = forbidden(&behind.send(&[])?) {
        found.findings.push(isolate(behind, &before, what)?);
    }
    Ok(found)
}

/// By the type behind its tags, an index of [`HuntOutcome::by_family`].
fn family(frame: &[u8]) -> usize {
    let at = network(frame);
    match frame.get(at - 2..at) {
        Some([8, 0]) => 0,
        Some([0x86, 0xdd]) => 1,
        _ => 2,
    }
}

/// The first of some arrivals that the policy forbids.
fn forbidden(arrivals: &[Arrival]) -> Option<String> {
    arrivals.iter().find_map(Arrival::forbidden)
}

/// What forbidden thing arrives if these frames are sent.
fn shows(host: &Host, frames: &[Vec<u8>]) -> Option<String> {
    let arrivals = host.send(frames).ok()?;
    forbidden(&arrivals).or_else(|| {
        std::thread::sleep(Duration::from_micros(100));
        forbidden(&host.send(&[]).ok()?)
    })
}

/// Finds the frame, or the frames, of a batch that have been delivered as `what`.
fn isolate(host: &Host, frames: &[Vec<u8>], what: String) -> Result<Finding> {
    for frame in frames {
        let alone = std::slice::from_ref(frame);
        let Some(what) = shows(host, alone) else {
            continue;
        };
        let small = minimise(frame, |frame| {
            shows(host, &[frame.to_vec()]).as_ref() == Some(&what)
        });
        return Ok(Finding {
            what,
            frames: vec![small],
        });
    }
    // Several together: leave out whatever is not needed.
    let mut needed = frames.to_vec();
    let mut step = needed.len() / 2;
    while step > 0 {
        let mut at = 0;
        while at < needed.len() {
            let end = (at + step).min(needed.len());
            let without = [&needed[..at], &needed[end..]].concat();
            // Time for what is left of the datagrams before.
            std::thread::sleep(Duration::from_millis(2));
            if shows(host, &without).is_some() {
                needed = without;
            } else {
                at += step;
            }
        }
        step /= 2;
    }
    Ok(Finding {
        what,
        frames: needed,
    })
}
