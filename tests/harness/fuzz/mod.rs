//! Differential fuzzing of frames: where to get them, under which policies, and what to do with one
//! about which two evaluators disagree.
//!
//! The product's parser and the oracle are compared by what users see: verdict, reason, the rule
//! that decided and the rules that counted. Equal seeds give equal frames.

mod asked;
mod connections;
mod datagrams;
mod generate;
mod minimise;
mod policies;

pub use asked::{Moment, moment};
pub use connections::{Connections, Event, frame as connection_frame};
pub use datagrams::{Datagrams, Piece, fragment};
pub use generate::Generator;
pub use minimise::minimise;
pub use policies::policies;

use crate::frames::Frame;
use crate::oracle::{self, Judgement, Seen};
use anyhow::{Context, Result, bail};
use firewall_common::abi::fragments;
use firewall_common::pipeline::NO_RULE;
use firewall_policy::compile::compile;
use firewall_policy::host;
use firewall_policy::rule::Policy;
use firewall_policy::tables::Tables;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A policy with its tables; counter slot `i` belongs to rule `i`.
#[derive(Debug)]
pub struct Case {
    /// Name for messages.
    pub name: String,
    /// The policy.
    pub policy: Policy,
    /// What it compiles to.
    pub tables: Tables,
}

impl Case {
    /// Compiles a policy.
    ///
    /// # Errors
    /// It is beyond a limit.
    pub fn new(name: impl Into<String>, policy: Policy) -> Result<Self> {
        let slots: Vec<u32> = (0..policy.counters().len() as u32).collect();
        let mut tables = compile(&policy, &slots).context("the policy does not compile")?;
        // What comes in a moment is more than a host asks for in one.
        tables.config.asked_limit = 0;
        Ok(Self {
            name: name.into(),
            policy,
            tables,
        })
    }

    /// Whether what becomes of a frame depends on those before it.
    #[must_use]
    pub fn follows_fragments(&self) -> bool {
        self.policy.packet.fragments == fragments::FOLLOW_FIRST
    }

    /// What the oracle says about a frame.
    #[must_use]
    pub fn oracle(&self, frame: &[u8]) -> Judgement {
        oracle::judge(&self.policy, frame, 0)
    }

    /// What the host build of the product says.
    #[must_use]
    pub fn host(&self, frame: &[u8]) -> Judgement {
        self.host_after(&host::Memory::default(), frame)
    }

    /// What the oracle says about a frame after those that left their traces in `seen`.
    #[must_use]
    pub fn oracle_after(&self, seen: &mut Seen, frame: &[u8]) -> Judgement {
        oracle::judge_after(&self.policy, seen, frame, 0)
    }

    /// What the host build says after the frames that left their traces in `fragments`.
    #[must_use]
    pub fn host_after(&self, fragments: &host::Memory, frame: &[u8]) -> Judgement {
        let answer = host::decide_after(&self.tables, fragments, frame, 0);
        let outcome = answer.outcome;
        Judgement {
            passes: outcome.verdict.name() == "pass",
            reason: outcome.reason.name(),
            rule: (outcome.rule != NO_RULE).then_some(outcome.rule as usize),
            counted: answer.counted.iter().map(|&slot| slot as usize).collect(),
            answer: outcome
                .is_answered()
                .then(|| host::answer(&self.tables, frame))
                .flatten(),
        }
    }

    /// Where oracle and host disagree about a frame: a message with the smallest such frame.
    #[must_use]
    pub fn disagreement(&self, frame: &[u8]) -> Option<String> {
        if self.oracle(frame) == self.host(frame) {
            return None;
        }
        let small = minimise(frame, |frame| self.oracle(frame) != self.host(frame));
        Some(format!(
            "under {}:\n  oracle {:?}\n  host   {:?}\n  frame  {}",
            self.name,
            self.oracle(&small),
            self.host(&small),
            hex(&small)
        ))
    }
}

/// Two digits a byte.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The folder of frames that were worth keeping.
#[must_use]
pub fn corpus_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// Every kept frame, with its place: files of lines of hexadecimal digits, `#` before comments.
///
/// # Errors
/// A file that does not read, or an empty corpus.
pub fn corpus() -> Result<Vec<(String, Frame)>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(corpus_folder())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    let mut frames = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        for (number, line) in text.lines().enumerate() {
            let digits = line.split('#').next().unwrap_or_default().trim();
            if digits.is_empty() {
                continue;
            }
            let place = format!("{}:{}", file.display(), number + 1);
            let frame = from_hex(digits).with_context(|| place.clone())?;
            frames.push((place, frame));
        }
    }
    if frames.is_empty() {
        bail!("the corpus is empty");
    }
    Ok(frames)
}

fn from_hex(digits: &str) -> Result<Frame> {
    let digits: Vec<u8> = digits.bytes().filter(|byte| *byte != b' ').collect();
    if !digits.len().is_multiple_of(2) {
        bail!("an odd number of digits");
    }
    digits
        .chunks(2)
        .map(|pair| {
            let text = std::str::from_utf8(pair)?;
            Ok(u8::from_str_radix(text, 16)?)
        })
        .collect()
}
