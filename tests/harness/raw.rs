//! Frames of interfaces that have no link header, made of Ethernet frames, and what must become of them.
//!
//! The oracle knows Ethernet alone: it is asked about the packet behind a header that says of it what Linux
//! says on such an interface.

use crate::frames::{Frame, ethernet};
use crate::fuzz::Case;
use crate::oracle::Judgement;
use firewall_policy::tables::Tables;

/// What follows the Ethernet header and its tags; `None` if that is not IP.
#[must_use]
pub fn bare(frame: &[u8]) -> Option<Frame> {
    let mut at = 12;
    loop {
        let kind = frame.get(at..at + 2)?;
        match u16::from_be_bytes([kind[0], kind[1]]) {
            0x8100 | 0x88a8 | 0x9100 => at += 4,
            0x0800 | 0x86dd => return Some(frame[at + 2..].to_vec()),
            _ => return None,
        }
    }
}

/// The tables of the program for such interfaces.
#[must_use]
pub fn tables(mut tables: Tables) -> Tables {
    tables.config.raw_ip = 1;
    tables
}

/// The same policy there.
///
/// # Errors
/// It is beyond a limit.
pub fn case(case: &Case) -> anyhow::Result<Case> {
    let mut raw = Case::new(format!("{} (raw IP)", case.name), case.policy.clone())?;
    raw.tables = tables(raw.tables);
    // Nor is there a MAC address.
    raw.policy.macs.clear();
    Ok(raw)
}

/// What must become of a frame without link header under the policy of `case`, which [`case()`] has made.
#[must_use]
pub fn oracle(case: &Case, frame: &[u8]) -> Judgement {
    let (kind, packet) = match frame.first().map(|first| first >> 4) {
        Some(6) => (0x86dd, frame.to_vec()),
        // An IPv4 header of another version, whole.
        Some(0..=3 | 5..) => (0x0800, [frame, &[0; 20]].concat()),
        _ => (0x0800, frame.to_vec()),
    };
    let mut judgement = case.oracle(&ethernet(kind, &packet));
    // No answer finds its way back.
    judgement.answer = None;
    if ["reject", "reject-limit"].contains(&judgement.reason) {
        judgement.reason = "reject-silent";
    }
    judgement
}
