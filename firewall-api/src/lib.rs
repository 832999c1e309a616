//! Requests to a firewall and its answers, as plain data: the documents that the API sends and `-o json`
//! prints, the exit codes, and the one form of an error.
//!
//! May import `firewall_common` and `firewall_policy`. Sees no kernel and does no I/O.

#![forbid(unsafe_code)]

pub mod audit;
pub use firewall_policy::clock;
pub mod compared;
pub mod effect;
pub mod events;
pub mod failure;
pub mod firewall;
pub mod flows;
pub mod format;
pub mod history;
pub mod network;
pub mod plan;
pub mod report;
pub mod request;
pub mod rules;
pub mod session;
pub mod sets;
pub mod source;
pub mod trial;
pub mod view;
pub mod watch;
pub mod width;
