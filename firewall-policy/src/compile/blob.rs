//! The growing bytes of [`crate::tables::Tables`], and the report of where they went.
//!
//! Invariant: holds [`MAX_TABLES`] bytes at most. What comes after them is counted only, so that
//! the error can say how much there would have been.

use super::{LimitError, MAX_TABLES, limit};
use crate::tables::SizeLine;
use firewall_common::abi::TABLES_SPARE;

/// Bytes so far. Offset 0 is never used, so that it can mean "none".
pub(super) struct Blob {
    bytes: Vec<u8>,
    /// How many bytes there are, those that are not held any more included.
    length: usize,
    report: Vec<SizeLine>,
}

impl Blob {
    /// A blob without content.
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; 64],
            length: 64,
            report: Vec::new(),
        }
    }

    /// Where the next byte goes.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// The number at byte `offset`; 0 where no byte is held.
    pub(super) fn word(&self, offset: usize) -> u32 {
        let bytes = self.bytes.get(offset..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |&bytes| u32::from_ne_bytes(bytes))
    }

    /// Moves on to a multiple of `to` (a power of two) and returns that offset.
    pub(super) fn align(&mut self, to: usize) -> usize {
        self.length = self.length.next_multiple_of(to);
        if self.length <= MAX_TABLES {
            self.bytes.resize(self.length, 0);
        }
        self.length
    }

    /// Appends bytes.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.length += bytes.len();
        if self.length <= MAX_TABLES {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// Appends a number.
    pub(super) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_ne_bytes());
    }

    /// Appends a number.
    pub(super) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_ne_bytes());
    }

    /// Appends a number.
    pub(super) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_ne_bytes());
    }

    /// Appends a word or an entry that the kernel program reads as it stands.
    pub(super) fn put<T: bytemuck::NoUninit>(&mut self, entry: T) {
        self.bytes(bytemuck::bytes_of(&entry));
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
            bytes: self.length - start,
        });
    }

    /// The bytes, as long as `Config::tables_size` says, and the report.
    pub(super) fn finish(mut self) -> Result<(Vec<u8>, Vec<SizeLine>), LimitError> {
        limit("the compiled policy, in bytes,", self.length, MAX_TABLES)?;
        let size = self.bytes.len().next_power_of_two() + TABLES_SPARE as usize;
        self.bytes.reserve_exact(size - self.bytes.len());
        self.bytes.resize(size, 0);
        Ok((self.bytes, self.report))
    }
}
