//! The kernel side of `cargo xtask bench` (feature `bench`): the benchmark's own programs, running
//! a program behind a stream of prepared headers, and sending those as real frames.
//!
//! No part of the product imports this. Everything made here is gone when its value is dropped.
#![expect(unsafe_code, reason = "wait4(2), which no library offers")]

use super::program::Loaded;
use super::{KernelError, link, sys};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, loaded_programs};
use aya::{Ebpf, EbpfLoader};
use std::fmt::Display;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ExitStatus};

/// Bytes of a prepared header: what follows the Ethernet header, one cache line.
pub const HEADER: usize = 64;

/// A prepared header.
pub type Header = [u8; HEADER];

/// Frames for the programs have this many bytes: an Ethernet header and what is overwritten.
const SHORT_FRAME: usize = 14 + 48;
/// The same with IPv6 headers.
const LONG_FRAME: usize = 14 + HEADER;

/// `XDP_FLAGS_DRV_MODE`.
const NATIVE: u32 = 1 << 2;

/// What the benchmark's object or aya says.
fn bench_error(what: &str) -> impl FnOnce(&dyn Display) -> KernelError {
    let what = what.to_owned();
    move |error| KernelError::State(format!("{what}: {error}"))
}

/// A program that is compared: ours, the benchmark's, or one that another tool has loaded.
#[derive(Debug)]
pub struct Subject {
    fd: OwnedFd,
    id: u32,
}

impl Subject {
    fn of(fd: BorrowedFd<'_>) -> Result<Self, KernelError> {
        let call = || KernelError::call("open the program under test");
        let id = sys::program_info(fd).map_err(call())?.id;
        Ok(Self {
            fd: fd.try_clone_to_owned().map_err(call())?,
            id,
        })
    }

    /// A program of ours.
    ///
    /// # Errors
    /// What the system says.
    pub fn ours(loaded: &Loaded) -> Result<Self, KernelError> {
        Self::of(loaded.program().fd())
    }

    /// The XDP program that some tool has attached to an interface of this network namespace.
    ///
    /// # Errors
    /// There is none, or what the system says.
    pub fn attached(interface: &str, ifindex: u32) -> Result<Self, KernelError> {
        let id = link::programs_on(interface, ifindex)?
            .first()
            .ok_or_else(|| KernelError::State(format!("{interface} carries no XDP program")))?
            .program_id;
        let fd = sys::program_by_id(id).map_err(KernelError::call("open the peer's program"))?;
        Ok(Self { fd, id })
    }

    /// A program that another process holds. It stays in the kernel as long as this value.
    ///
    /// # Errors
    /// There is none, or what the system says.
    pub fn by_id(id: u32) -> Result<Self, KernelError> {
        let fd = sys::program_by_id(id).map_err(KernelError::call(format!("open program {id}")))?;
        Ok(Self { fd, id })
    }

    /// Runs the program `repeat` times on one frame, and gives what it returned and the mean
    /// nanoseconds of a run.
    ///
    /// # Errors
    /// What the system says.
    pub fn run(&self, frame: &[u8], repeat: u32) -> Result<(u32, f64), KernelError> {
        let (value, nanoseconds) = sys::test_run(self.fd.as_fd(), frame, repeat, None, None)
            .map_err(KernelError::call("test run"))?;
        Ok((value, f64::from(nanoseconds)))
    }

    /// As [`Subject::run`], of a program for TC egress.
    ///
    /// # Errors
    /// What the system says.
    pub fn send(&self, frame: &[u8], repeat: u32) -> Result<(u32, f64), KernelError> {
        let (value, nanoseconds) = sys::test_run_egress(self.fd.as_fd(), frame, repeat)
            .map_err(KernelError::call("egress test run"))?;
        Ok((value, f64::from(nanoseconds)))
    }

    /// Attaches it in native mode to an interface of this network namespace.
    ///
    /// # Errors
    /// What the system says.
    pub fn attach(&self, ifindex: u32) -> Result<Attachment, KernelError> {
        let fd = sys::link_create(self.fd.as_fd(), ifindex, NATIVE).map_err(KernelError::call(
            format!("attach a program to interface {ifindex}"),
        ))?;
        Ok(Attachment { _link: fd })
    }
}

/// A program on an interface, until this is dropped.
#[derive(Debug)]
pub struct Attachment {
    _link: OwnedFd,
}

/// Bytes of the longest frame that is made again.
const KEPT: usize = 128;

/// A frame that `bench_again` makes again: its length and its bytes.
type Kept = [u64; 1 + KEPT / 8];

/// The benchmark's programs, with a stream of headers.
#[derive(Debug)]
pub struct Bed {
    programs: Ebpf,
    long: bool,
    count: u32,
}

impl Bed {
    /// Loads the object of the benchmark. `headers` must be a power of two of them; they are used
    /// in turn. `long`: they are longer than IPv4 and TCP need. `prefixes`: room in the kernel's
    /// trie.
    ///
    /// # Errors
    /// What aya or the system says.
    pub fn load(
        object: &[u8],
        headers: &[Header],
        long: bool,
        prefixes: u32,
    ) -> Result<Self, KernelError> {
        let error = || bench_error("load the benchmark's programs");
        if !headers.len().is_power_of_two() {
            return Err(error()(&"not a power of two of headers"));
        }
        let count = headers.len() as u32;
        let mask = count - 1;
        let is_long = u32::from(long);
        let mut programs = EbpfLoader::new()
            .override_global("MASK", &mask, true)
            .override_global("LONG", &is_long, true)
            .map_max_entries("HEADERS", count)
            .map_max_entries("PREFIXES", prefixes.max(1))
            .load(object)
            .map_err(|e| error()(&e))?;
        for name in [
            "bench_headers",
            "bench_send",
            "bench_again",
            "bench_drop",
            "bench_trie",
        ] {
            xdp(&mut programs, name)?
                .load()
                .map_err(|e| bench_error(&format!("load {name}"))(&e))?;
        }
        let mut bed = Self {
            programs,
            long,
            count,
        };
        let mut map: Array<&mut MapData, [u64; HEADER / 8]> =
            Array::try_from(bed.map("HEADERS")?).map_err(|e| error()(&e))?;
        for (index, header) in (0..).zip(headers) {
            let words: [u64; HEADER / 8] = bytemuck::cast(*header);
            map.set(index, words, 0).map_err(|e| error()(&e))?;
        }
        Ok(bed)
    }

    fn map(&mut self, name: &str) -> Result<&mut aya::maps::Map, KernelError> {
        self.programs
            .map_mut(name)
            .ok_or_else(|| KernelError::Object(format!("the benchmark has no map {name}")))
    }

    /// How many headers there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// One of the benchmark's programs: `bench_drop` or `bench_trie`.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn program(&mut self, name: &str) -> Result<Subject, KernelError> {
        let program = xdp(&mut self.programs, name)?;
        let fd = program.fd().map_err(|e| bench_error(name)(&e))?;
        Subject::of(fd.as_fd())
    }

    /// From now on the headers go to this program.
    ///
    /// # Errors
    /// The kernel refuses the call from program to program.
    pub fn aim(&mut self, subject: &Subject) -> Result<(), KernelError> {
        let error = || bench_error("call the program under test");
        let fd = loaded_programs()
            .filter_map(Result::ok)
            .find(|program| program.id() == subject.id)
            .ok_or_else(|| error()(&"it is gone"))?
            .fd()
            .map_err(|e| error()(&e))?;
        let mut map = ProgramArray::try_from(self.map("TARGET")?).map_err(|e| error()(&e))?;
        map.set(0, &fd, 0).map_err(|e| error()(&e))
    }

    /// Starts again with the first header.
    ///
    /// # Errors
    /// What the system says.
    pub fn rewind(&mut self) -> Result<(), KernelError> {
        let error = || bench_error("rewind the headers");
        let mut map: Array<&mut MapData, u64> =
            Array::try_from(self.map("CURSOR")?).map_err(|e| error()(&e))?;
        map.set(0, 0, 0).map_err(|e| error()(&e))
    }

    /// Runs the program that [`Bed::aim`] named on the next `repeat` headers; what it returned
    /// last, and the mean nanoseconds of a run, putting the header in included.
    ///
    /// # Errors
    /// What the system says.
    pub fn run(&mut self, repeat: u32) -> Result<(u32, f64), KernelError> {
        let frame = self.frame([0; 12]);
        let program = xdp(&mut self.programs, "bench_headers")?;
        let fd = program.fd().map_err(|e| bench_error("bench_headers")(&e))?;
        let (value, nanoseconds) = sys::test_run(fd.as_fd(), &frame, repeat, None, None)
            .map_err(KernelError::call("test run behind the headers"))?;
        Ok((value, f64::from(nanoseconds)))
    }

    /// Runs the program that [`Bed::aim`] named on a frame of at most 128 bytes, which is made again
    /// before each run: for programs that change it. What it returned last, and the mean nanoseconds of
    /// a run, making the frame again included.
    ///
    /// # Errors
    /// What the system says; the frame is too long.
    pub fn run_again(&mut self, frame: &[u8], repeat: u32) -> Result<(u32, f64), KernelError> {
        self.keep(frame)?;
        let program = xdp(&mut self.programs, "bench_again")?;
        let fd = program.fd().map_err(|e| bench_error("bench_again")(&e))?;
        let (value, nanoseconds) = sys::test_run(fd.as_fd(), frame, repeat, None, None)
            .map_err(KernelError::call("test run of a frame that is made again"))?;
        Ok((value, f64::from(nanoseconds)))
    }

    /// Sends `repeat` frames with the next headers from an interface of this network namespace.
    /// `macs`: destination and source. Returns when all are sent, whether received or not.
    ///
    /// # Errors
    /// What the system says.
    pub fn send(&mut self, ifindex: u32, macs: [u8; 12], repeat: u32) -> Result<(), KernelError> {
        let frame = self.frame(macs);
        // The kernel takes the pages of frames that have come back, as whoever had them has left them.
        self.keep(&frame)?;
        // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress.
        let context: [u32; 6] = [0, frame.len() as u32, 0, ifindex, 0, 0];
        xdp(&mut self.programs, "bench_send")?
            .test_run(TestRunOptions {
                data_in: Some(&frame),
                ctx_in: Some(bytemuck::cast_slice(&context)),
                repeat,
                attrs: TestRunAttrs::new().xdp_live_frames(64),
                ..TestRunOptions::default()
            })
            .map_err(|e| bench_error("send frames")(&e))?;
        Ok(())
    }

    /// Has the frame made again before each run of a program that changes it.
    fn keep(&mut self, frame: &[u8]) -> Result<(), KernelError> {
        let error = || bench_error("keep a frame");
        let mut kept: Kept = [0; _];
        kept[0] = frame.len() as u64;
        bytemuck::cast_slice_mut(&mut kept[1..])
            .get_mut(..frame.len())
            .ok_or_else(|| error()(&"it is too long"))?
            .copy_from_slice(frame);
        let mut map: Array<&mut MapData, Kept> =
            Array::try_from(self.map("FRAME")?).map_err(|e| error()(&e))?;
        map.set(0, kept, 0).map_err(|e| error()(&e))
    }

    /// A frame that the headers go into.
    fn frame(&self, macs: [u8; 12]) -> Vec<u8> {
        let (length, ethertype) = if self.long {
            (LONG_FRAME, 0x86dd_u16)
        } else {
            (SHORT_FRAME, 0x0800)
        };
        let mut frame = vec![0; length];
        frame[..12].copy_from_slice(&macs);
        frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
        frame
    }

    /// Puts prefixes (address and length) into the kernel's trie.
    ///
    /// # Errors
    /// What the system says.
    pub fn fill_trie(&mut self, prefixes: &[(u32, u8)]) -> Result<(), KernelError> {
        let error = || bench_error("fill the trie");
        let mut trie: LpmTrie<&mut MapData, u32, u32> =
            LpmTrie::try_from(self.map("PREFIXES")?).map_err(|e| error()(&e))?;
        for &(address, length) in prefixes {
            trie.insert(&Key::new(length.into(), address.to_be()), 1, 0)
                .map_err(|e| error()(&e))?;
        }
        Ok(())
    }
}

fn xdp<'a>(programs: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, KernelError> {
    programs
        .program_mut(name)
        .ok_or_else(|| KernelError::Object(format!("the benchmark has no program {name}")))?
        .try_into()
        .map_err(|e: aya::programs::ProgramError| bench_error(name)(&e))
}

/// Bytes of kernel memory that the pinned maps below `folder` take, as the kernel accounts them.
/// Each map counts once, however often it is pinned.
///
/// # Errors
/// What the system says.
pub fn pinned_memory(folder: &Path) -> Result<u64, KernelError> {
    fn visit(folder: &Path, found: &mut Vec<(u32, u64)>) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                visit(&path, found)?;
                continue;
            }
            let fd = sys::open_pin(&path)?;
            let facts = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
            let number = |name: &str| {
                let line = facts.lines().find_map(|line| line.strip_prefix(name))?;
                line.trim().parse::<u64>().ok()
            };
            if let (Some(id), Some(bytes)) = (number("map_id:"), number("memlock:")) {
                found.push((id as u32, bytes));
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    visit(folder, &mut found).map_err(KernelError::call(format!(
        "read the maps below {}",
        folder.display()
    )))?;
    found.sort_unstable();
    found.dedup();
    Ok(found.iter().map(|(_, bytes)| bytes).sum())
}

/// Waits for a child of this process; how it ended, and the most memory it ever had resident, in
/// bytes. The kernel counts in what the process had before it called `exec`: call this from a
/// process that is small itself.
///
/// # Errors
/// What the system says.
pub fn wait_measured(child: &Child) -> io::Result<(ExitStatus, u64)> {
    let mut status = 0;
    // SAFETY: a struct of integers, valid when zero.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: a child of ours that nobody has waited for, and two places to write to.
    let answer =
        unsafe { libc::wait4(child.id().cast_signed(), &raw mut status, 0, &raw mut usage) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    let kibibytes = u64::try_from(usage.ru_maxrss).map_err(io::Error::other)?;
    Ok((ExitStatus::from_raw(status), kibibytes * 1024))
}
