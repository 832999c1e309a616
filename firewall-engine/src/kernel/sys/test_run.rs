//! BPF_PROG_TEST_RUN: a program run on a frame that no interface has seen.

use super::{bpf, raw, zeroed};
use aya_obj::generated::bpf_cmd;
use std::io;
use std::os::fd::BorrowedFd;

/// `struct xdp_md`, as BPF_PROG_TEST_RUN takes it.
#[repr(C)]
struct XdpContext {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}

impl XdpContext {
    /// A frame whose first buffer has `length` bytes, from an interface.
    fn new(length: u32, ifindex: Option<u32>) -> Self {
        Self {
            data: 0,
            data_end: length,
            data_meta: 0,
            ingress_ifindex: ifindex.unwrap_or(0),
            rx_queue_index: 0,
            egress_ifindex: 0,
        }
    }
}

/// BPF_PROG_TEST_RUN. `first` is how many bytes the first buffer holds; `None` for as many as fit.
/// Returns the program's return value and the mean nanoseconds of a run.
pub(crate) fn test_run(
    program: BorrowedFd<'_>,
    frame: &[u8],
    repeat: u32,
    ifindex: Option<u32>,
    first: Option<u32>,
) -> io::Result<(u32, u32)> {
    let context = XdpContext::new(first.unwrap_or(frame.len() as u32), ifindex);
    let mut attr = zeroed();
    // SAFETY: the union's arm for this command; all arms are integers.
    let arm = unsafe { &mut attr.test };
    arm.prog_fd = raw(program);
    arm.data_in = frame.as_ptr() as u64;
    arm.data_size_in = frame.len() as u32;
    arm.repeat = repeat;
    if ifindex.is_some() || first.is_some() {
        arm.ctx_in = std::ptr::from_ref(&context) as u64;
        arm.ctx_size_in = size_of::<XdpContext>() as u32;
    }
    bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr)?;
    // SAFETY: the kernel wrote the arm that it belongs to.
    Ok(unsafe { (attr.test.retval, attr.test.duration) })
}

/// As [`test_run`] once; with the frame as the program leaves it.
pub(crate) fn test_run_and_read(
    program: BorrowedFd<'_>,
    frame: &[u8],
    ifindex: Option<u32>,
) -> io::Result<(u32, Vec<u8>)> {
    let context = XdpContext::new(frame.len() as u32, ifindex);
    // What a program can add is below the room that the kernel keeps around a frame.
    let mut left = vec![0; frame.len() + 256];
    let mut attr = zeroed();
    // SAFETY: the union's arm for this command; all arms are integers.
    let arm = unsafe { &mut attr.test };
    arm.prog_fd = raw(program);
    arm.data_in = frame.as_ptr() as u64;
    arm.data_size_in = frame.len() as u32;
    arm.data_out = left.as_mut_ptr() as u64;
    arm.data_size_out = left.len() as u32;
    arm.repeat = 1;
    if ifindex.is_some() {
        arm.ctx_in = std::ptr::from_ref(&context) as u64;
        arm.ctx_size_in = size_of::<XdpContext>() as u32;
    }
    bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr)?;
    // SAFETY: the kernel wrote the arm that it belongs to.
    let (value, size) = unsafe { (attr.test.retval, attr.test.data_size_out) };
    left.truncate(size as usize);
    Ok((value, left))
}

/// BPF_PROG_TEST_RUN of a program for TC. Returns what it returned, and the mean nanoseconds of a run.
pub(crate) fn test_run_egress(
    program: BorrowedFd<'_>,
    frame: &[u8],
    repeat: u32,
) -> io::Result<(u32, u32)> {
    let mut attr = zeroed();
    // SAFETY: the union's arm for this command; all arms are integers.
    let arm = unsafe { &mut attr.test };
    arm.prog_fd = raw(program);
    arm.data_in = frame.as_ptr() as u64;
    arm.data_size_in = frame.len() as u32;
    arm.repeat = repeat;
    bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr)?;
    // SAFETY: the kernel wrote the arm that it belongs to.
    Ok(unsafe { (attr.test.retval, attr.test.duration) })
}
