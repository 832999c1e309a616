//! The command line and the live view `top` of the XDP firewall.
//!
//! ```text
//! cli ─► tui, remote, firewall_daemon, firewall_engine ─► firewall_api
//! ```
//!
//! Imports go from left to right only; `tui` reads `firewall_api`'s snapshots and nothing else of the
//! firewall's state.

#![forbid(unsafe_code)]

pub mod capture;
pub mod cli;
pub mod remote;
pub mod tui;
