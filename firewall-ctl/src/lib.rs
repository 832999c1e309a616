//! Daemon and command line of the XDP firewall.
//!
//! ```text
//! cli, daemon, api, tui ─► engine ─► kernel (aya, the only unsafe code)
//!                 └─► view (Snapshot) ◄─ sampler ◄─ engine::Counters
//! ```
//!
//! Imports go from left to right only.

pub mod engine;
pub mod format;
pub mod kernel;
pub mod sampler;
pub mod tui;
pub mod view;
