//! One test of a policy as data: a packet and its expected verdict.
//!
//! Read by [`crate::validate`], run by `policy_tests` and by the engine. May not import `compile` or
//! `host`.

use crate::packet_text::{Earlier, PacketText};
use crate::rule::{Place, Policy};
use crate::span::Span;
use firewall_common::reason::Reason;
use firewall_common::verdict::Verdict;

/// One test of a policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyTest {
    /// Unique among the tests.
    pub name: String,
    /// Where it is written.
    pub place: Place,
    /// The packet.
    pub packet: PacketText,
    /// Number of the zone that it comes in from.
    pub zone: u32,
    /// What must become of it.
    pub expect: Expect,
    /// Who must decide so; `None`: whoever.
    pub by: Option<By>,
    /// The value of `expect`, for the caret.
    pub(crate) span: Span,
}

/// What must become of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// It passes.
    Pass,
    /// It is dropped, whether or not its sender is told.
    Drop,
    /// It is dropped, and its sender is told.
    Reject,
}

impl Expect {
    /// Whether an end is what is expected.
    #[must_use]
    pub fn holds(self, verdict: Verdict, reason: Reason) -> bool {
        match self {
            Self::Pass => verdict == Verdict::PASS,
            Self::Drop => verdict == Verdict::DROP,
            Self::Reject => reason == Reason::REJECT,
        }
    }
}

/// Who decides about a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// A rule, by its index.
    Rule(usize),
    /// No rule, but this reason.
    Reason(Reason),
}

/// What became of the packet of a test, by the host build or by the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Judged {
    /// Pass or drop.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// The rule that decided, by its index.
    pub rule: Option<usize>,
}

impl PolicyTest {
    /// Whether this is what the test expects.
    #[must_use]
    pub fn holds(&self, judged: Judged) -> bool {
        self.expect.holds(judged.verdict, judged.reason)
            && match self.by {
                None => true,
                Some(By::Rule(rule)) => judged.rule == Some(rule),
                Some(By::Reason(reason)) => judged.reason == reason,
            }
    }

    /// What has been before its packet.
    #[must_use]
    pub fn earlier(&self, policy: &Policy) -> Earlier {
        // A test that names a set which is not there has been refused.
        self.packet.earlier(policy).unwrap_or_default()
    }
}
