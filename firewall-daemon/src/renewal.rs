//! When the policy in force is applied once more as it is, because an interface needs another program or
//! the clock was set, and what `status` says of the last attempt.
//!
//! Knows no kernel. Invariants: one attempt is under way at a time; attempts that change nothing for the
//! better become rarer, and end only when one has succeeded or nothing is wanted any more.

use super::revival::wait;
use std::time::{Duration, Instant};

/// The longest time between two attempts: each compiles a whole policy.
const LONGEST: Duration = Duration::from_secs(60);

/// What is to be applied again, if something is.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    is_wanted: bool,
    /// For which reason.
    reason: &'static str,
    is_under_way: bool,
    /// Attempts since all was well.
    attempts: u32,
    next: Option<Instant>,
    /// Why the last one failed.
    why: String,
    /// The same, for `status`.
    error: Option<String>,
}

impl Renewal {
    /// The policy in force is to be applied again, for a reason.
    pub(super) fn want(&mut self, reason: &'static str) {
        self.is_wanted = true;
        self.reason = reason;
    }

    /// Why that was wanted last.
    pub(super) const fn reason(&self) -> &'static str {
        self.reason
    }

    /// Whether to try now; it is under way then.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let is_early = self.next.is_some_and(|next| now < next);
        if !self.is_wanted || self.is_under_way || is_early {
            return false;
        }
        self.is_under_way = true;
        true
    }

    /// An attempt has succeeded, or what it was about is no longer in force. What is wanted again at once
    /// waits.
    pub(super) fn succeeded(&mut self, now: Instant) {
        self.end(now);
        self.is_wanted = false;
        self.forget_error();
    }

    /// An attempt has failed: in a sentence, and in a line for `status`. Whether that is new.
    pub(super) fn failed(&mut self, why: String, error: String, now: Instant) -> bool {
        self.end(now);
        let is_new = self.why != why;
        self.why = why;
        self.error = Some(error);
        is_new
    }

    fn end(&mut self, now: Instant) {
        self.is_under_way = false;
        self.next = Some(now + wait(self.attempts, LONGEST));
        self.attempts = self.attempts.saturating_add(1);
    }

    /// All is as it must be.
    pub(super) fn is_well(&mut self) {
        if !self.is_wanted {
            (self.attempts, self.next) = (0, None);
        }
    }

    /// A policy was applied for another reason, and what was wanted with it.
    pub(super) fn is_settled(&mut self) {
        self.is_wanted &= self.is_under_way;
        self.forget_error();
    }

    fn forget_error(&mut self) {
        self.why.clear();
        self.error = None;
    }

    /// What `status` says of the last attempt.
    pub(super) fn error(&self) -> Option<&String> {
        self.error.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_that_fails_is_repeated_ever_more_rarely_and_is_news_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut renewal = Renewal::default();
        assert!(!renewal.is_due(start), "nothing is wanted");
        renewal.want("a test");
        let (mut tries, mut news) = (Vec::new(), 0);
        for second in 0..200 {
            // Every look finds the same.
            renewal.want("a test");
            renewal.is_well();
            if renewal.is_due(at(second)) {
                assert!(!renewal.is_due(at(second)), "it is under way");
                tries.push(second);
                let line = format!("at {second}: no");
                news += u32::from(renewal.failed("no".into(), line, at(second)));
            }
        }
        assert_eq!(tries, [0, 1, 3, 7, 15, 31, 63, 123, 183]);
        assert_eq!(news, 1);
        assert_eq!(renewal.error().map(String::as_str), Some("at 183: no"));
        assert!(renewal.is_due(at(243)));
        renewal.succeeded(at(243));
        assert_eq!(renewal.error(), None);
        assert!(!renewal.is_due(at(1_000)), "it is done");
        renewal.want("a test");
        assert!(!renewal.is_due(at(244)), "and it was of no use");
        assert!(renewal.is_due(at(400)));
        renewal.succeeded(at(400));
        renewal.is_well();
        renewal.want("a test");
        assert!(renewal.is_due(at(400)), "what is new waits for nothing");
    }
}
