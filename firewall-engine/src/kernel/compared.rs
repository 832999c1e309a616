//! Any program, run by the kernel before and after folding (feature `bench`: for tests).

use super::KernelError;
use super::fold::{Code, fold};
use super::maps::BigMap;
use super::sys::{self, Hook, LogLevel, ProgramText};
use aya_obj::generated::bpf_insn;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// What became of a program.
#[derive(Debug)]
pub struct Compared {
    /// Slots that it has before and after.
    pub slots: [usize; 2],
    /// For each frame: return value and frame behind the program as it was, and as it is.
    pub ends: Vec<[(u32, Vec<u8>); 2]>,
}

/// Runs a program for XDP on each frame (at least 14 bytes), as it is and folded. A slot is eight
/// bytes (RFC 9669); a wide load with `src` 2 is of an address in `data`, whatever its first number
/// says.
///
/// # Errors
/// A missing privilege; a program that the kernel takes in one form only. `None` is one that it
/// takes in neither.
pub fn compare(
    slots: &[[u8; 8]],
    data: &[u8],
    frames: &[Vec<u8>],
) -> Result<Option<Compared>, KernelError> {
    let map = BigMap::constant("fw_folded", data)?;
    let map_fd = map.fd().as_raw_fd();
    let before: Vec<bpf_insn> = slots
        .iter()
        .map(|slot| {
            let (dst, src) = (slot[1] & 15, slot[1] >> 4);
            let number = i32::from_le_bytes([slot[4], slot[5], slot[6], slot[7]]);
            let is_address = slot[0] == 0x18 && src == 2;
            bpf_insn {
                code: slot[0],
                _bitfield_align_1: [],
                _bitfield_1: bpf_insn::new_bitfield_1(dst, src),
                off: i16::from_le_bytes([slot[2], slot[3]]),
                imm: if is_address { map_fd } else { number },
            }
        })
        .collect();
    let mut after = before.clone();
    let code = Code {
        instructions: &mut after,
        functions: &mut Vec::new(),
        lines: &mut Vec::new(),
    };
    fold(code, &[(map_fd, data)]);
    let lengths = [before.len(), after.len()];
    let programs = match [before, after].map(|code| load(&code)) {
        [Ok(before), Ok(after)] => [before, after],
        [Err(_), Err(_)] => return Ok(None),
        [before, after] => {
            let which = if before.is_ok() { "folded" } else { "as it is" };
            let error = before.err().or(after.err()).unwrap_or_default();
            return Err(KernelError::State(format!(
                "it is refused {which}: {error}"
            )));
        }
    };
    let mut ends = Vec::new();
    for frame in frames {
        let run = |program: &OwnedFd| {
            sys::test_run_and_read(program.as_fd(), frame, None)
                .map_err(KernelError::call("run a folded program"))
        };
        ends.push([run(&programs[0])?, run(&programs[1])?]);
    }
    Ok(Some(Compared {
        slots: lengths,
        ends,
    }))
}

/// Loads it; the verifier's log if it is refused.
fn load(code: &[bpf_insn]) -> Result<OwnedFd, String> {
    let text = ProgramText {
        hook: Hook::Xdp,
        name: "fw_folded",
        instructions: code,
        license: c"GPL",
        flags: 0,
        btf: None,
    };
    let mut log = vec![0; 1 << 20];
    sys::program_load(&text, LogLevel::Steps, &mut log).map_err(|error| {
        let text = String::from_utf8_lossy(&log);
        let end: Vec<&str> = text.trim_end_matches('\0').lines().rev().take(12).collect();
        format!(
            "{error}: {}",
            end.into_iter().rev().collect::<Vec<_>>().join("\n")
        )
    })
}
