//! Daemon and command line of the XDP firewall.
//!
//! ```text
//! cli, daemon, api, tui ─► engine ─► kernel (aya, the only unsafe code)
//!                 └─► view (Snapshot) ◄─ sampler ◄─ engine::Counters
//! ```
//!
//! Imports go from left to right only.

pub mod api;
pub mod capture;
pub mod cli;
pub mod daemon;
pub mod engine;
pub mod failure;
pub mod format;
pub mod kernel;
pub mod policy_file;
pub mod probe;
pub mod sampler;
pub mod tui;
pub mod view;
