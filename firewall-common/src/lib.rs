//! What the kernel program and user space share: the layout of every map, the packet parser and
//! the classify walk.
//!
//! Compiled twice: for the BPF target by `firewall-ebpf`, and for the host by everything else. So
//! the code that decides in the kernel is the code that is unit-tested, fuzzed and run by
//! `firewall-ctl test` without root.
//!
//! May not allocate, do I/O, use `unsafe`, or import anything but `core` (and `bytemuck`, for user
//! space).
#![no_std]
#![forbid(unsafe_code)]

pub mod abi;
pub mod answer;
pub mod asked;
mod bits;
pub mod calls;
pub mod classify;
pub mod content;
pub mod essential;
pub mod field;
pub mod flows;
pub mod fragments;
pub mod frame;
pub mod key;
pub mod limits;
pub mod link;
pub mod live;
pub mod log;
pub mod machine;
pub mod outgoing;
pub mod packet;
pub mod parse;
pub mod pipeline;
pub mod plain;
pub mod proof;
pub mod reason;
pub mod region;
pub mod verdict;
pub mod watch;
