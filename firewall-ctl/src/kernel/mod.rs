//! The only place that talks to the kernel: system calls, aya, `unsafe`.
//!
//! ```text
//! object (ELF, relocation) ─► program (verifier, test runs) ─► attach (links)
//! maps (create, mmap, pin)  ─┘        counters (mmap, sums)     netlink, sys (raw calls)
//! ```
//!
//! May import `firewall_common`, and of `firewall_policy` only `tables`. Knows nothing of policies,
//! records and generations: that is [`crate::engine`]'s part.

mod error;

pub mod counters;
pub mod program;

pub use error::KernelError;
