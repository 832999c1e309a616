//! The engine and the kernel layer against the real kernel: namespaces, veth pairs and folders for
//! pins of their own, nothing left behind. Need root and the BPF object: `cargo xtask test`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;
mod egress;
mod engine;
mod failures;
mod leftovers;
mod program;
