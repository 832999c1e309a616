//! The `bpf(2)` system call, one typed function for each command in use.
//!
//! aya's own wrappers are private, and what this product needs of the kernel is not in its public
//! interface: memory-mapped maps, maps shared between programs by descriptor, a link that must be
//! a link (aya falls back to netlink in silence), interface and program of a link.
//!
//! Nothing here decides anything. Every function returns the system's error as it is.
#![expect(unsafe_code, reason = "system calls that take pointers")]

mod test_run;

pub(crate) use test_run::{test_run, test_run_and_read, test_run_egress};

use aya_obj::generated::{
    bpf_attr, bpf_cmd, bpf_insn, bpf_link_info, bpf_link_type, bpf_map_info, bpf_map_type,
    bpf_prog_info, bpf_prog_type,
};
use std::ffi::{CStr, CString};
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// `enum bpf_attach_type`: XDP.
const BPF_XDP: u32 = 37;
/// `enum bpf_attach_type`: TCX, egress.
const BPF_TCX_EGRESS: u32 = 47;
/// The program accepts frames in several buffers.
pub(crate) const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
/// Longest name of a program or map, without the terminating zero.
const NAME_LEN: usize = 15;

/// One `bpf(2)` call. `attr` must hold what `cmd` reads, and pointers in it must be good for it.
fn bpf(cmd: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i64> {
    // SAFETY: the kernel reads and writes `size_of::<bpf_attr>()` bytes of `attr`, which is a
    // plain union of integers; the pointers in it belong to borrows that outlive the call (every
    // caller is in this file).
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            cmd as libc::c_long,
            std::ptr::from_mut(attr),
            size_of::<bpf_attr>(),
        )
    };
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(answer)
    }
}

/// A `bpf(2)` call that answers with a new descriptor.
fn bpf_fd(cmd: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(bpf(cmd, attr)?).map_err(io::Error::other)?;
    // SAFETY: the kernel just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A `bpf_attr` with every byte zero, which the kernel demands of unused ones.
fn zeroed() -> bpf_attr {
    // SAFETY: a union of structs of integers: all zero is a valid value.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

fn set_name(to: &mut [std::ffi::c_char], name: &str) {
    for (to, from) in to.iter_mut().zip(name.bytes().take(NAME_LEN)) {
        *to = from as std::ffi::c_char;
    }
}

fn get_name(from: &[std::ffi::c_char]) -> String {
    let bytes: Vec<u8> = from
        .iter()
        .map(|&c| c as u8)
        .take_while(|&b| b != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Shape of a map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MapShape {
    /// `enum bpf_map_type`.
    pub(crate) kind: u32,
    /// Bytes of a key.
    pub(crate) key_size: u32,
    /// Bytes of a value.
    pub(crate) value_size: u32,
    /// Number of entries.
    pub(crate) max_entries: u32,
    /// `BPF_F_*`.
    pub(crate) flags: u32,
}

/// BPF_MAP_CREATE.
pub(crate) fn map_create(name: &str, shape: &MapShape) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    // SAFETY: the union's arm for this command; all arms are integers.
    let arm = unsafe { &mut attr.__bindgen_anon_1 };
    arm.map_type = shape.kind;
    arm.key_size = shape.key_size;
    arm.value_size = shape.value_size;
    arm.max_entries = shape.max_entries;
    arm.map_flags = shape.flags;
    set_name(&mut arm.map_name, name);
    bpf_fd(bpf_cmd::BPF_MAP_CREATE, &mut attr)
}

/// BPF_MAP_UPDATE_ELEM of entry 0 of an array map with one entry of `value.len()` bytes.
pub(crate) fn map_set(map: BorrowedFd<'_>, value: &[u8]) -> io::Result<()> {
    let (_, shape) = map_info(map)?;
    if shape.value_size as usize != value.len() || shape.key_size != 4 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let key = 0u32;
    let mut attr = zeroed();
    // SAFETY: the union's arm for this command; all arms are integers.
    let arm = unsafe { &mut attr.__bindgen_anon_2 };
    arm.map_fd = raw(map);
    arm.key = std::ptr::from_ref(&key) as u64;
    arm.__bindgen_anon_1.value = value.as_ptr() as u64;
    bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
}

/// BPF_MAP_FREEZE: no more writes from user space.
pub(crate) fn map_freeze(map: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = zeroed();
    attr.__bindgen_anon_1.map_type = raw(map);
    bpf(bpf_cmd::BPF_MAP_FREEZE, &mut attr).map(drop)
}

/// BPF_OBJ_GET_INFO_BY_FD into a struct of integers.
fn info<T>(fd: BorrowedFd<'_>) -> io::Result<T> {
    let mut info = MaybeUninit::<T>::zeroed();
    let mut attr = zeroed();
    // SAFETY: the union's arm for this command; all arms are integers.
    let arm = unsafe { &mut attr.info };
    arm.bpf_fd = raw(fd);
    arm.info_len = size_of::<T>() as u32;
    arm.info = info.as_mut_ptr() as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    // SAFETY: `T` is one of aya's `bpf_*_info` (private function, three callers): integers, valid
    // when zero, and the kernel wrote at most `size_of::<T>()` bytes.
    Ok(unsafe { info.assume_init() })
}

/// A map's id and shape.
pub(crate) fn map_info(map: BorrowedFd<'_>) -> io::Result<(u32, MapShape)> {
    let info: bpf_map_info = info(map)?;
    let shape = MapShape {
        kind: info.type_,
        key_size: info.key_size,
        value_size: info.value_size,
        max_entries: info.max_entries,
        flags: info.map_flags,
    };
    Ok((info.id, shape))
}

/// What the kernel tells about a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ProgramFacts {
    /// Id.
    pub(crate) id: u32,
    /// Name.
    pub(crate) name: String,
    /// Instructions that the verifier processed.
    pub(crate) verified: u32,
    /// Bytes of the program as the verifier left it.
    pub(crate) translated: u32,
    /// Bytes of the machine code.
    pub(crate) compiled: u32,
}

/// A program's facts.
pub(crate) fn program_info(program: BorrowedFd<'_>) -> io::Result<ProgramFacts> {
    let info: bpf_prog_info = info(program)?;
    Ok(ProgramFacts {
        id: info.id,
        name: get_name(&info.name),
        verified: info.verified_insns,
        translated: info.xlated_prog_len,
        compiled: info.jited_prog_len,
    })
}

/// What the kernel tells about a link of one of our programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LinkFacts {
    /// What it attaches to.
    pub(crate) hook: Hook,
    /// Id.
    pub(crate) id: u32,
    /// Id of the program that it runs.
    pub(crate) program_id: u32,
    /// The interface that it is attached to; 0 if the interface is gone.
    pub(crate) ifindex: u32,
}

/// The facts of an XDP or TCX egress link; `None` if it is a link of another type.
pub(crate) fn link_info(link: BorrowedFd<'_>) -> io::Result<Option<LinkFacts>> {
    let info: bpf_link_info = info(link)?;
    let (hook, ifindex) = if info.type_ == bpf_link_type::BPF_LINK_TYPE_XDP as u32 {
        // SAFETY: `type_` says which arm of the union is in use; all arms are integers.
        (Hook::Xdp, unsafe { info.__bindgen_anon_1.xdp.ifindex })
    } else if info.type_ == bpf_link_type::BPF_LINK_TYPE_TCX as u32 {
        // SAFETY: as above.
        let tcx = unsafe { info.__bindgen_anon_1.tcx };
        if tcx.attach_type != BPF_TCX_EGRESS {
            return Ok(None);
        }
        (Hook::Egress, tcx.ifindex)
    } else {
        return Ok(None);
    };
    Ok(Some(LinkFacts {
        hook,
        id: info.id,
        program_id: info.prog_id,
        ifindex,
    }))
}

/// BPF_OBJ_PIN.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attr = zeroed();
    // SAFETY: the union's arm for this command; all arms are integers.
    let arm = unsafe { &mut attr.__bindgen_anon_4 };
    arm.pathname = path.as_ptr() as u64;
    arm.bpf_fd = raw(object);
    bpf(bpf_cmd::BPF_OBJ_PIN, &mut attr).map(drop)
}

/// BPF_OBJ_GET: opens what is pinned at `path`, whatever it is.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attr = zeroed();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    bpf_fd(bpf_cmd::BPF_OBJ_GET, &mut attr)
}

/// BPF_PROG_QUERY: ids of the programs that TCX runs on what leaves by an interface of this namespace.
pub(crate) fn egress_programs(ifindex: u32) -> io::Result<Vec<u32>> {
    /// As many as the kernel takes (BPF_MPROG_MAX).
    const MOST: usize = 64;
    let mut ids = vec![0u32; MOST];
    let mut attr = zeroed();
    // SAFETY: the union's arm for this command; all arms are integers.
    let arm = unsafe { &mut attr.query };
    arm.__bindgen_anon_1.target_ifindex = ifindex;
    arm.attach_type = BPF_TCX_EGRESS;
    arm.prog_ids = ids.as_mut_ptr() as u64;
    arm.__bindgen_anon_2.count = MOST as u32;
    bpf(bpf_cmd::BPF_PROG_QUERY, &mut attr)?;
    // SAFETY: as above; the kernel wrote how many there are.
    ids.truncate(unsafe { attr.query.__bindgen_anon_2.count } as usize);
    Ok(ids)
}

/// BPF_PROG_GET_FD_BY_ID. Needs CAP_SYS_ADMIN.
pub(crate) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    attr.__bindgen_anon_6.__bindgen_anon_1.prog_id = id;
    bpf_fd(bpf_cmd::BPF_PROG_GET_FD_BY_ID, &mut attr)
}

/// Every link of the machine. Needs CAP_SYS_ADMIN: without it the first item is an error. Ends at
/// the first error.
pub(crate) fn links() -> impl Iterator<Item = io::Result<OwnedFd>> {
    let mut last = 0;
    until_error(move || {
        loop {
            let mut attr = zeroed();
            attr.__bindgen_anon_6.__bindgen_anon_1.start_id = last;
            match bpf(bpf_cmd::BPF_LINK_GET_NEXT_ID, &mut attr) {
                // SAFETY: the kernel wrote the arm that it belongs to.
                Ok(_) => last = unsafe { attr.__bindgen_anon_6.next_id },
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return None,
                Err(error) => return Some(Err(error)),
            }
            let mut attr = zeroed();
            attr.__bindgen_anon_6.__bindgen_anon_1.link_id = last;
            match bpf_fd(bpf_cmd::BPF_LINK_GET_FD_BY_ID, &mut attr) {
                // Gone between the two calls.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                answer => return Some(answer),
            }
        }
    })
}

/// The items of `next` up to its first error, which is the last one: whoever skips errors would ask
/// for ever.
fn until_error<T>(
    mut next: impl FnMut() -> Option<io::Result<T>>,
) -> impl Iterator<Item = io::Result<T>> {
    let mut has_failed = false;
    std::iter::from_fn(move || {
        if has_failed {
            return None;
        }
        let item = next();
        has_failed = matches!(item, Some(Err(_)));
        item
    })
}

/// BPF_BTF_LOAD.
pub(crate) fn btf_load(btf: &[u8]) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    // SAFETY: the union's arm for this command; all arms are integers.
    let arm = unsafe { &mut attr.__bindgen_anon_7 };
    arm.btf = btf.as_ptr() as u64;
    arm.btf_size = btf.len() as u32;
    bpf_fd(bpf_cmd::BPF_BTF_LOAD, &mut attr)
}

/// Type information of a program, as BPF_PROG_LOAD takes it.
#[derive(Debug)]
pub(crate) struct BtfInfo {
    /// The loaded BTF.
    pub(crate) btf: OwnedFd,
    /// `struct bpf_func_info` records: bytes, size of one, number.
    pub(crate) functions: (Vec<u8>, u32, u32),
    /// `struct bpf_line_info` records: bytes, size of one, number.
    pub(crate) lines: (Vec<u8>, u32, u32),
}

/// Where a program runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hook {
    /// XDP: frames that come in.
    Xdp,
    /// TC egress: frames that go out.
    Egress,
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Xdp => "xdp",
            Self::Egress => "egress",
        })
    }
}

/// A program to load.
#[derive(Debug)]
pub(crate) struct ProgramText<'a> {
    /// Where it will run.
    pub(crate) hook: Hook,
    /// Name, cut to 15 characters.
    pub(crate) name: &'a str,
    /// Instructions, relocated.
    pub(crate) instructions: &'a [bpf_insn],
    /// Licence.
    pub(crate) license: &'a CStr,
    /// `BPF_F_*`.
    pub(crate) flags: u32,
    /// Type information, if there is any.
    pub(crate) btf: Option<&'a BtfInfo>,
}

/// What the verifier writes into its log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LogLevel {
    /// What it does, instruction by instruction (BPF_LOG_LEVEL1).
    Steps = 1,
    /// The same of every path, not of the refused one alone (BPF_LOG_LEVEL2).
    Paths = 2,
    /// What it needed, in a few lines (BPF_LOG_STATS).
    Statistics = 4,
}

/// BPF_PROG_LOAD. With a `log` that is not empty, the verifier writes into it.
pub(crate) fn program_load(
    program: &ProgramText<'_>,
    level: LogLevel,
    log: &mut [u8],
) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    // SAFETY: the union's arm for this command; all arms are integers.
    let arm = unsafe { &mut attr.__bindgen_anon_3 };
    // A program for TC runs where it is attached to; the kernel does not want to know before.
    (arm.prog_type, arm.expected_attach_type) = match program.hook {
        Hook::Xdp => (bpf_prog_type::BPF_PROG_TYPE_XDP as u32, BPF_XDP),
        Hook::Egress => (bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS as u32, 0),
    };
    arm.prog_flags = program.flags;
    arm.insns = program.instructions.as_ptr() as u64;
    arm.insn_cnt = program.instructions.len() as u32;
    arm.license = program.license.as_ptr() as u64;
    set_name(&mut arm.prog_name, program.name);
    if let Some(info) = program.btf {
        arm.prog_btf_fd = info.btf.as_raw_fd().cast_unsigned();
        let (bytes, size, count) = &info.functions;
        (arm.func_info, arm.func_info_rec_size, arm.func_info_cnt) =
            (bytes.as_ptr() as u64, *size, *count);
        let (bytes, size, count) = &info.lines;
        (arm.line_info, arm.line_info_rec_size, arm.line_info_cnt) =
            (bytes.as_ptr() as u64, *size, *count);
    }
    if !log.is_empty() {
        arm.log_level = level as u32;
        arm.log_buf = log.as_mut_ptr() as u64;
        arm.log_size = log.len() as u32;
    }
    bpf_fd(bpf_cmd::BPF_PROG_LOAD, &mut attr)
}

/// BPF_LINK_CREATE of an XDP link. `flags`: `XDP_FLAGS_*`.
pub(crate) fn link_create(
    program: BorrowedFd<'_>,
    ifindex: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    link_create_at(program, ifindex, BPF_XDP, flags)
}

/// BPF_LINK_CREATE of a TCX egress link, behind all that are there. Linux 6.6 and later.
pub(crate) fn link_create_egress(program: BorrowedFd<'_>, ifindex: u32) -> io::Result<OwnedFd> {
    link_create_at(program, ifindex, BPF_TCX_EGRESS, 0)
}

fn link_create_at(
    program: BorrowedFd<'_>,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    // SAFETY: the union's arm for this command; all arms are integers.
    let arm = unsafe { &mut attr.link_create };
    arm.__bindgen_anon_1.prog_fd = raw(program);
    arm.__bindgen_anon_2.target_ifindex = ifindex;
    arm.attach_type = attach_type;
    arm.flags = flags;
    bpf_fd(bpf_cmd::BPF_LINK_CREATE, &mut attr)
}

/// BPF_LINK_UPDATE: from now on the link runs `program`. No packet sees neither or both.
pub(crate) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = zeroed();
    // SAFETY: the union's arm for this command; all arms are integers.
    let arm = unsafe { &mut attr.link_update };
    arm.link_fd = raw(link);
    arm.__bindgen_anon_1.new_prog_fd = raw(program);
    bpf(bpf_cmd::BPF_LINK_UPDATE, &mut attr).map(drop)
}

/// BPF_LINK_DETACH: the link stays, attached to nothing. Done when this returns, whereas the
/// removal of a link's last pin takes effect a moment later.
pub(crate) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = zeroed();
    attr.link_detach.link_fd = raw(link);
    bpf(bpf_cmd::BPF_LINK_DETACH, &mut attr).map(drop)
}

/// An array map with one entry: what every map of this product is.
pub(crate) const fn single(value_size: u32, flags: u32) -> MapShape {
    MapShape {
        kind: bpf_map_type::BPF_MAP_TYPE_ARRAY as u32,
        key_size: 4,
        value_size,
        max_entries: 1,
        flags,
    }
}

/// Waits until every program run that was under way has ended: `membarrier(2)` with
/// MEMBARRIER_CMD_GLOBAL is an RCU grace period, and XDP programs run inside RCU read sections. Where that is
/// refused (processors without a clock tick, `nohz_full=`; a filter of system calls), for longer than a run
/// takes: they are a few microseconds long, and nothing else runs on their processor meanwhile.
pub(crate) fn wait_for_running_programs() {
    const LONGER: Duration = Duration::from_millis(20);
    // SAFETY: no pointers.
    let answer = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if answer < 0 {
        std::thread::sleep(LONGER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_is_the_last_item() {
        fn refused<T>() -> Option<io::Result<T>> {
            Some(Err(io::Error::from_raw_os_error(libc::EPERM)))
        }
        assert_eq!(until_error(refused::<()>).flatten().count(), 0);
        let mut numbers = 0..3;
        let mut items = until_error(move || numbers.next().map(Ok).or_else(refused));
        assert_eq!(items.by_ref().flatten().count(), 3);
        assert!(items.next().is_none());
    }
}
