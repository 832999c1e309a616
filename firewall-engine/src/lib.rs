//! Applies policies and reads the kernel's counters: the only crate of user space that talks to the
//! kernel.
//!
//! ```text
//! local ─► probe, sampler ─► engine ─► kernel (aya, the only unsafe code)
//! ```
//!
//! Imports go from left to right only. The documents that others read are `firewall_api`'s; they
//! are filled here.

pub mod drift;
pub mod engine;
mod failure;
pub mod kernel;
pub mod local;
pub mod probe;
mod report;
pub mod sampler;
