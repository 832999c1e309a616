//! The growing bytes of [`crate::tables::Tables`], and the report of where they went.

use crate::tables::SizeLine;
use firewall_common::abi::TABLES_SPARE;

/// Bytes so far. Offset 0 is never used, so that it can mean "none".
pub(super) struct Blob {
    bytes: Vec<u8>,
    report: Vec<SizeLine>,
}

impl Blob {
    /// A blob without content.
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; 64],
            report: Vec::new(),
        }
    }

    /// Where the next byte goes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Moves on to a multiple of `to` (a power of two) and returns that offset.
    pub(super) fn align(&mut self, to: usize) -> usize {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
        self.bytes.len()
    }

    /// Appends a number.
    pub(super) fn u16(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_ne_bytes());
    }

    /// Appends a number.
    pub(super) fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_ne_bytes());
    }

    /// Appends a number.
    pub(super) fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_ne_bytes());
    }

    /// Appends a row reference or class: `u32` if `wide`, else `u16`.
    pub(super) fn reference(&mut self, value: u32, wide: bool) {
        if wide {
            self.u32(value);
        } else {
            self.u16(value as u16);
        }
    }

    /// Reports the bytes from `start` on.
    pub(super) fn report(&mut self, what: String, entries: usize, start: usize) {
        self.report.push(SizeLine {
            what,
            entries,
            bytes: self.bytes.len() - start,
        });
    }

    /// The bytes, as long as `Config::tables_size` says, and the report.
    pub(super) fn finish(mut self) -> (Vec<u8>, Vec<SizeLine>) {
        let size = self.bytes.len().next_power_of_two();
        self.bytes.resize(size + TABLES_SPARE as usize, 0);
        (self.bytes, self.report)
    }
}
