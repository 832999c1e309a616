//! From the ELF object to instructions that the kernel can load: symbols patched, data sections
//! turned into maps, references to them resolved.
//!
//! The program has no lookups: its big maps are data sections `.data.fw_*`, which instructions
//! address directly (`BPF_PSEUDO_MAP_VALUE`). This product makes those maps itself, as large as the
//! policy needs, and hands their descriptors to the relocation. aya's own loader cannot do that:
//! into a map that it finds pinned it writes the section's initial data, with a buffer of the
//! section's size where the kernel reads the map's (aya 0.14, `MapData::finalize`), and a section
//! without data it relocates as a map pointer, not as a value (aya-obj 0.3, `relocate_maps`). So
//! this uses `aya-obj`, the half of aya that knows ELF and BTF.

use super::fold::{Code, Folding, ReadOnly, fold};
use super::sys::{self, BtfInfo, Hook, MapShape, ProgramText};
use super::{KernelError, maps};
use aya_obj::obj::EbpfSectionKind;
use aya_obj::{Map, Object, ProgramSection};
use firewall_common::abi::Config;
use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Name of a program in the object, and of the program in the kernel.
pub(crate) const fn name_of(hook: Hook) -> &'static str {
    match hook {
        Hook::Xdp => "fw_xdp",
        Hook::Egress => "fw_egress",
    }
}

/// What the sections of the big maps are called: `.data.fw_ports` holds the map `fw_ports`.
const SECTION_PREFIX: &str = ".data.";

/// The BPF object of this build; empty if there is none.
pub(crate) static BUILT_IN: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/firewall-ebpf.o"));

/// A program ready for BPF_PROG_LOAD. Holds the maps that belong to it alone (constants, the debug
/// log, scratch memory), which live as long as a program refers to them.
#[derive(Debug)]
pub(crate) struct Prepared {
    hook: Hook,
    instructions: Vec<aya_obj::generated::bpf_insn>,
    license: CString,
    frags: bool,
    btf: Option<BtfInfo>,
    /// Kept open until the program is loaded.
    kept: Vec<OwnedFd>,
}

impl Prepared {
    /// Keeps a map open that nobody else does.
    pub(super) fn keep(&mut self, map: OwnedFd) {
        self.kept.push(map);
    }

    /// What BPF_PROG_LOAD takes.
    pub(crate) fn program(&self) -> ProgramText<'_> {
        ProgramText {
            hook: self.hook,
            name: name_of(self.hook),
            instructions: &self.instructions,
            license: &self.license,
            flags: if self.frags && self.hook == Hook::Xdp {
                sys::BPF_F_XDP_HAS_FRAGS
            } else {
                0
            },
            btf: self.btf.as_ref(),
        }
    }
}

/// Prepares a program of `object` with the constants `config`. `big_maps` gives the descriptor
/// of each data section's map, by map name.
pub(crate) fn prepare(
    object: &[u8],
    hook: Hook,
    config: &Config,
    big_maps: &[(&str, BorrowedFd<'_>)],
    folding: Folding,
) -> Result<Prepared, KernelError> {
    if object.is_empty() {
        return Err(KernelError::Stub);
    }
    let mut object = Object::parse(object).map_err(|e| unusable(&e))?;
    let constants = bytemuck::bytes_of(config);
    object
        .patch_map_data(HashMap::from([("CONFIG", (constants, true))]))
        .map_err(|e| unusable(&e))?;
    let btf = load_btf(&mut object)?;

    let mut kept = Vec::new();
    let sections = sections(&mut object, big_maps, &mut kept)?;
    relocate(&mut object, &sections)?;

    let name = name_of(hook);
    let program = object
        .programs
        .get(name)
        .ok_or_else(|| KernelError::Object(format!("it has no program {name}")))?;
    check_hook(name, &program.section, hook)?;
    let mut function = object
        .functions
        .get(&program.function_key())
        .ok_or_else(|| KernelError::Object(format!("{name} has no code")))?
        .clone();
    let constants: Vec<ReadOnly<'_>> = sections
        .iter()
        .filter(|(_, _, map)| map.section_kind() == EbpfSectionKind::Rodata)
        .map(|(_, fd, map)| (*fd, map.data()))
        .collect();
    let code = Code {
        instructions: &mut function.instructions,
        functions: &mut function.func_info.func_info,
        lines: &mut function.line_info.line_info,
    };
    if folding == Folding::On {
        fold(code, &constants);
    }
    let btf = btf.map(|btf| BtfInfo {
        btf,
        functions: (
            function.func_info.func_info_bytes(),
            function.func_info_rec_size as u32,
            function.func_info.len() as u32,
        ),
        lines: (
            function.line_info.line_info_bytes(),
            function.line_info_rec_size as u32,
            function.line_info.len() as u32,
        ),
    });
    Ok(Prepared {
        hook,
        instructions: function.instructions,
        license: program.license.clone(),
        frags: config.frags != 0,
        btf,
        kept,
    })
}

/// The maps of an object by name, each with a descriptor: of big maps those given, of small ones new
/// ones, which go into `kept`.
fn sections(
    object: &mut Object,
    big_maps: &[(&str, BorrowedFd<'_>)],
    kept: &mut Vec<OwnedFd>,
) -> Result<Vec<(String, i32, Map)>, KernelError> {
    let mut sections = Vec::new();
    for (name, mut map) in std::mem::take(&mut object.maps) {
        let big = name
            .strip_prefix(SECTION_PREFIX)
            .filter(|name| name.starts_with("fw_"));
        let fd = if let Some(big) = big {
            let (_, fd) = big_maps
                .iter()
                .find(|(name, _)| *name == big)
                .ok_or_else(|| {
                    KernelError::Object(format!("it has a section for an unknown map {big}"))
                })?;
            // Sections without data would be relocated as map pointers.
            if map.data().is_empty() {
                map.data_mut().push(0);
            }
            fd.as_raw_fd()
        } else {
            let fd = create_small(&name, &map)?;
            let number = fd.as_raw_fd();
            kept.push(fd);
            number
        };
        sections.push((name, fd, map));
    }
    Ok(sections)
}

/// Resolves what the object's functions say of maps and of each other.
fn relocate(object: &mut Object, sections: &[(String, i32, Map)]) -> Result<(), KernelError> {
    let text: HashSet<usize> = object
        .functions
        .keys()
        .map(|&(section, _)| section)
        .collect();
    object
        .relocate_maps(
            sections
                .iter()
                .map(|(name, fd, map)| (name.as_str(), *fd, map)),
            &text,
        )
        .map_err(|e| unusable(&e))?;
    object.relocate_calls(&text).map_err(|e| unusable(&e))?;
    object.sanitize_functions(aya::features());
    Ok(())
}

fn unusable(error: &dyn std::fmt::Display) -> KernelError {
    KernelError::Object(error.to_string())
}

/// Whether a program is one for a hook.
fn check_hook(name: &str, section: &ProgramSection, hook: Hook) -> Result<(), KernelError> {
    let fits = match hook {
        Hook::Xdp => matches!(section, ProgramSection::Xdp { .. }),
        Hook::Egress => matches!(section, ProgramSection::SchedClassifier),
    };
    if fits {
        return Ok(());
    }
    Err(KernelError::Object(format!(
        "{name} is a program for another hook"
    )))
}

/// Loads the object's type information, made fit for this kernel.
fn load_btf(object: &mut Object) -> Result<Option<OwnedFd>, KernelError> {
    let Some(features) = aya::features().btf() else {
        return Ok(None);
    };
    let btf = object
        .fixup_and_sanitize_btf(features)
        .map_err(|error| KernelError::Object(error.to_string()))?;
    btf.map(|btf| {
        sys::btf_load(&btf.to_bytes()).map_err(KernelError::call("load type information"))
    })
    .transpose()
}

/// Makes a map as the object describes it, with its initial data, read-only where it is constant.
fn create_small(name: &str, map: &Map) -> Result<OwnedFd, KernelError> {
    let shape = MapShape {
        kind: map.map_type(),
        key_size: map.key_size(),
        value_size: map.value_size(),
        max_entries: map.max_entries(),
        flags: map.map_flags(),
    };
    // The kernel takes letters, digits, dots and underscores.
    let fd = sys::map_create(&maps::kernel_name(name), &shape)
        .map_err(KernelError::call(format!("create map {name}")))?;
    if !map.data().is_empty() {
        sys::map_set(fd.as_fd(), map.data())
            .map_err(KernelError::call(format!("fill map {name}")))?;
    }
    if map.section_kind() == EbpfSectionKind::Rodata {
        sys::map_freeze(fd.as_fd()).map_err(KernelError::call(format!("freeze map {name}")))?;
    }
    Ok(fd)
}
