//! A map's memory in this process: what `mmap(2)` of a `BPF_F_MMAPABLE` map gives.
//!
//! The kernel program writes to the same memory meanwhile, so it is only ever touched as atomic
//! words or by copies, never borrowed as plain bytes.
#![expect(unsafe_code, reason = "memory that the kernel shares")]

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// A mapped map value. Unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    /// Bytes of the value; the mapping itself is whole pages.
    len: usize,
    writable: bool,
}

// SAFETY: the memory is shared with the kernel anyway; every access is atomic, or a copy of bytes
// that nobody writes any more.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of a map for reading.
    pub(crate) fn read_only(map: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        Self::new(map, 0, len, ProtFlags::READ)
    }

    /// Maps the first `len` bytes of a map for reading and writing.
    pub(crate) fn writable(map: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        Self::new(map, 0, len, ProtFlags::READ | ProtFlags::WRITE)
    }

    /// Maps `len` bytes of a map from byte `offset` on, a multiple of a page, for reading and writing.
    pub(crate) fn window(map: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<Self> {
        Self::new(map, offset, len, ProtFlags::READ | ProtFlags::WRITE)
    }

    fn new(
        map: BorrowedFd<'_>,
        offset: u64,
        len: usize,
        protection: ProtFlags,
    ) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                len,
                protection,
                MapFlags::SHARED,
                map,
                offset,
            )?
        };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self {
            start,
            len,
            writable: protection.contains(ProtFlags::WRITE),
        })
    }

    /// The value as atomic words; bytes after the last whole word are left out.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: page-aligned memory of at least `len` bytes that lives as long as `self`; any
        // bit pattern is a valid word, and the kernel's writes to it are whole words.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.len / 8) }
    }

    /// Sets words to zero, from word `start` on. Only for writable mappings.
    pub(crate) fn clear(&self, start: usize, count: usize) {
        debug_assert!(self.writable);
        for word in &self.words()[start..start + count] {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Copies the value out. The map must not be written meanwhile.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        // SAFETY: readable memory of `len` bytes, which the new vector cannot overlap.
        unsafe {
            std::ptr::copy_nonoverlapping(self.start.as_ptr(), bytes.as_mut_ptr(), self.len);
        }
        bytes
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our own mapping, whose last borrow has ended. An error leaves it mapped, which
        // is harmless.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}
