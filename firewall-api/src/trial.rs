//! Questions to the program in the kernel that is attached to nothing, and about the machine: requests
//! and documents of `doctor`, `check --kernel` and `test --live`.

use crate::failure::{Exit, Failure};
use crate::source::PolicySource;
use serde::{Deserialize, Serialize};

/// Most bytes of the frames of one request.
pub const FRAMES_LIMIT: usize = 64 << 20;

/// Which interfaces `doctor` looks at.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoctorRequest {
    /// Names and patterns; none: filtered interfaces, or all.
    #[serde(default)]
    pub interfaces: Vec<String>,
}

/// `doctor -o json`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DoctorReport {
    /// [`crate::view::SCHEMA`].
    pub schema: String,
    /// The machine and its interfaces.
    pub checks: Vec<CheckView>,
    /// With `--selftest`, the packets that try to get past the filter.
    pub selftest: Option<Selftest>,
}

/// One thing about the machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CheckView {
    /// What was looked at.
    pub what: String,
    /// Whether the filter can work with it.
    pub ok: bool,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub advice: Option<String>,
}

/// The evasion table, sent through the program in the kernel.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Selftest {
    /// How long it took.
    pub milliseconds: f64,
    /// How many packets met another end than they should.
    pub failed: usize,
    /// Packet by packet.
    pub rows: Vec<SelftestRow>,
}

/// What became of one packet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SelftestRow {
    /// Its name in the evasion table.
    pub row: String,
    /// What it is.
    pub frame: String,
    /// The zone where it came in.
    pub zone: String,
    /// The verdict that it should get.
    pub expected: String,
    /// And for which reason.
    pub expected_reason: String,
    /// The verdict that it got.
    pub got: String,
    /// And for which reason.
    pub reason: String,
    /// Whether that is as it should be.
    pub ok: bool,
}

/// Answer to `POST /v1/verify`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Verified {
    /// [`crate::view::SCHEMA`].
    pub schema: String,
    /// Instructions that the kernel's verifier went through.
    pub instructions: u32,
}

/// Frames for the program in the kernel.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceRequest {
    /// The policy. In audit mode, what it would do.
    pub policy: PolicySource,
    /// The zone where the frames come in.
    #[serde(default)]
    pub zone: u32,
    /// What happened before.
    #[serde(default)]
    pub earlier: Before,
    /// Ethernet frames as hexadecimal digits.
    pub frames: Vec<String>,
    /// The frames come one after the other, as in a capture, and no rate limit counts: verdicts only.
    /// Otherwise each by itself, with reason and rule.
    #[serde(default)]
    pub in_sequence: bool,
}

/// What was before a frame.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    /// Frames that this host has sent, as hexadecimal digits.
    #[serde(default)]
    pub sent: Vec<String>,
    /// Entries of live sets.
    #[serde(default)]
    pub members: Vec<Member>,
    /// Prefixes that are banned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub banned: Vec<String>,
}

/// An entry of a live set.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The set's name.
    pub set: String,
    /// The prefix.
    pub prefix: String,
}

/// Answer to `POST /v1/trace`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Traced {
    /// [`crate::view::SCHEMA`].
    pub schema: String,
    /// Frame by frame.
    pub frames: Vec<FrameTrace>,
}

/// What the program did with a frame.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FrameTrace {
    /// Pass or drop.
    pub verdict: String,
    /// The reason; `None` for frames in sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The rule that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Whether the flow of what was sent before found no room.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flow_full: bool,
}

/// A frame as hexadecimal digits.
#[must_use]
pub fn digits(frame: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
    let pairs = frame.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    pairs.map(digit).collect()
}

/// The frame of hexadecimal digits.
///
/// # Errors
/// Exit code 2: other characters, or half a byte.
pub fn frame(digits: &str) -> Result<Vec<u8>, Failure> {
    let wrong = || {
        let what = "a frame is hexadecimal digits, two a byte";
        Failure::new(Exit::Usage, what)
    };
    let half = |digit: u8| char::from(digit).to_digit(16).map(|half| half as u8);
    let bytes = digits.as_bytes().chunks(2).map(|pair| match pair {
        &[high, low] => Some(half(high)? << 4 | half(low)?),
        _ => None,
    });
    bytes.collect::<Option<_>>().ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::{digits, frame};

    #[test]
    fn frames_are_read_as_they_are_written() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(frame(&digits(&bytes)), Ok(bytes));
        for wrong in ["0", "0g", "00 00", "\u{e9}"] {
            assert!(frame(wrong).is_err(), "{wrong}");
        }
    }
}
