//! The only place that talks to the kernel: system calls, aya, `unsafe`.
//!
//! ```text
//! object (ELF, relocation) ─► program (verifier, test runs) ─► link (attach)
//! maps (create, mmap, pin) ─┘      counters (mmap, sums)       netlink, sys (raw calls)
//! ```
//!
//! May import `firewall_common`, and of `firewall_policy` only `tables` and `rule::Mode`. Knows
//! nothing of policies, records and generations: that is [`crate::engine`]'s part.

mod error;
mod mapping;
mod netlink;
mod object;
mod sys;

pub(crate) mod egress;
pub(crate) mod ethtool;
pub(crate) mod host;
pub(crate) mod link;
pub(crate) mod maps;
pub(crate) mod pins;
pub(crate) mod shared;

#[cfg(feature = "bench")]
pub mod bench;
pub mod clock;
#[cfg(feature = "bench")]
pub mod compared;
pub mod counters;
pub mod debug_log;
pub mod events;
pub mod filters;
pub mod flows;
pub mod fold;
pub mod live;
pub mod peer;
pub mod program;
pub mod verify;

pub use error::KernelError;

pub(crate) use netlink::neighbours::Neighbours;
pub(crate) use netlink::routes::Leaving;
pub(crate) use netlink::tunnels::{Carrier, Tunnel};
pub(crate) use netlink::{conntrack, links};
pub use netlink::{sockets, watch};
pub(crate) use object::BUILT_IN;
pub(crate) use sys::{Hook, wait_for_running_programs};
