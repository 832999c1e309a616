//! The verdict on a packet. An integer newtype, not an enum, because it is read from kernel memory.

use core::fmt;

/// The end of a packet's way through the program.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(transparent)]
pub struct Verdict(pub u8);

impl Verdict {
    /// Hand the packet to the kernel's network stack.
    pub const PASS: Self = Self(0);
    /// Free the packet in the driver.
    pub const DROP: Self = Self(1);

    /// The word for listings: `pass` or `drop`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        if self.0 == Self::PASS.0 {
            "pass"
        } else {
            "drop"
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a rule does with a packet that it matches.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(transparent)]
pub struct Action(pub u8);

impl Action {
    /// Pass, and look no further.
    pub const PASS: Self = Self(0);
    /// Drop, and look no further.
    pub const DROP: Self = Self(1);
    /// Count, and go on with the rule after this one.
    pub const NEXT: Self = Self(2);
    /// Drop what is over the rule's rate limit. No rule of a policy has this action.
    pub const OVER: Self = Self(3);
    /// Drop, tell the sender so, and look no further.
    pub const REJECT: Self = Self(4);
    /// Pass, and answer SYNs with cookies while the port is under attack. In the tables, for rules that
    /// pass and have `syn_protect`.
    pub const PROTECT: Self = Self(5);

    /// The word for listings and for YAML.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PASS | Self::PROTECT => "pass",
            Self::DROP => "drop",
            Self::OVER => "over",
            Self::REJECT => "reject",
            _ => "next",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
