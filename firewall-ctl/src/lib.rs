//! The command line and the live view `top` of the XDP firewall.
//!
//! ```text
//! cli ─► tui, firewall_daemon, door ─► remote, firewall_engine ─► firewall_system ─► firewall_api
//! ```
//!
//! Imports go from left to right only; `door` alone may name the engine; `tui` reads `firewall_api`'s snapshots and nothing else of the
//! firewall's state.

#![forbid(unsafe_code)]

pub mod capture;
pub mod cli;
pub mod door;
pub mod remote;
pub mod tui;
