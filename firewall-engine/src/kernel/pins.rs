//! Pins: what kind of object is behind one, and where a program is pinned.

use super::sys;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// Where BPF file systems are mounted by custom.
const BPFFS: &str = "/sys/fs/bpf";
/// How deep and how far to look for someone's pin: it only makes a message better.
const SEARCH_DEPTH: usize = 6;
const SEARCH_PINS: usize = 4096;

/// What a BPF descriptor refers to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Map,
    Program,
    Link,
    Other,
}

/// The kind of object behind a descriptor. The info structs of the kinds cannot be told apart by
/// their content, so the descriptor's name has to say it.
pub(crate) fn kind(fd: BorrowedFd<'_>) -> Kind {
    let name = fs::read_link(format!("/proc/thread-self/fd/{}", fd.as_raw_fd()));
    match name.as_deref().ok().and_then(Path::to_str) {
        Some("anon_inode:bpf-map") => Kind::Map,
        Some("anon_inode:bpf-prog") => Kind::Program,
        Some("anon_inode:bpf_link" | "anon_inode:bpf-link") => Kind::Link,
        _ => Kind::Other,
    }
}

/// Where the program, or a link that runs it, is pinned.
pub(crate) fn find_program(id: u32) -> Option<PathBuf> {
    let mut budget = SEARCH_PINS;
    search(Path::new(BPFFS), id, SEARCH_DEPTH, &mut budget)
}

fn search(folder: &Path, id: u32, depth: usize, budget: &mut usize) -> Option<PathBuf> {
    for entry in fs::read_dir(folder).ok()?.filter_map(Result::ok) {
        *budget = budget.checked_sub(1)?;
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let found = if is_folder {
            if depth == 0 {
                None
            } else {
                search(&path, id, depth - 1, budget)
            }
        } else {
            runs_program(&path, id).then_some(path)
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

fn runs_program(pin: &Path, id: u32) -> bool {
    let Ok(fd) = sys::open_pin(pin) else {
        return false;
    };
    match kind(fd.as_fd()) {
        Kind::Program => sys::program_info(fd.as_fd()).is_ok_and(|facts| facts.id == id),
        Kind::Link => {
            matches!(sys::link_info(fd.as_fd()), Ok(Some(facts)) if facts.program_id == id)
        }
        Kind::Map | Kind::Other => false,
    }
}
