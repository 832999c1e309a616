//! The policy language: from YAML text to tables for the kernel, and the evaluators that say what
//! a policy means.
//!
//! ```text
//! source ─► ast (with spans) ─► validate ─► rule::Policy ─► compile ─► tables::Tables
//!                                               └─► oracle
//! ```
//!
//! Text goes in, data comes out: no I/O, no root, no kernel. Files that a policy names are handed
//! in by the caller through [`source::Files`].
#![forbid(unsafe_code)]

pub mod bundle;
pub mod case;
pub mod checked;
pub mod classbench;
pub mod clock;
pub mod compile;
pub mod connection;
pub mod content;
pub mod diag;
pub mod diff;
pub mod duration;
pub mod edit;
pub mod entry;
pub mod evasion;
pub mod explain;
pub mod fields;
pub mod files;
pub mod fmt;
pub mod host;
pub mod limit;
pub mod lint;
pub mod log;
pub mod oracle;
pub mod packet_text;
pub mod policy_tests;
pub mod prefixes;
pub mod range;
pub mod rule;
pub mod schema;
pub mod services;
pub mod source;
mod space;
pub mod tables;
pub mod text;
pub mod time;
pub mod vocabulary;
pub mod watch;
pub mod well_known_ports;
pub mod worst;

mod ast;
mod span;
mod validate;
