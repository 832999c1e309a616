//! Small programs before and after. Whether folded programs do what they did is for the kernel to say:
//! `tests/tests/kernel_fold.rs`.

use super::insn::Insn;
use super::{Code, fold};
use aya_obj::generated::{bpf_func_info, bpf_insn, bpf_line_info};

const DATA_MAP: i32 = 7;
/// What is read-only.
const DATA: [u8; 24] = [
    5, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0x80, 9, 0, 0, 0,
];

fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn {
        code,
        dst,
        src,
        off,
        imm,
        high: 0,
    }
}

fn slots(insns: &[Insn]) -> Vec<bpf_insn> {
    let mut slots = Vec::new();
    for insn in insns {
        insn.write(&mut slots);
    }
    slots
}

/// Folds; instructions, beginnings of functions, and line records as (slot, line).
fn folded(
    insns: &[Insn],
    functions: &[u32],
    lines: &[(u32, u32)],
) -> (Vec<Insn>, Vec<u32>, Vec<(u32, u32)>) {
    let mut instructions = slots(insns);
    let mut functions: Vec<_> = functions
        .iter()
        .map(|&insn_off| bpf_func_info {
            insn_off,
            type_id: 1,
        })
        .collect();
    let mut lines: Vec<_> = lines
        .iter()
        .map(|&(insn_off, line)| bpf_line_info {
            insn_off,
            file_name_off: 0,
            line_off: line,
            line_col: 0,
        })
        .collect();
    let code = Code {
        instructions: &mut instructions,
        functions: &mut functions,
        lines: &mut lines,
    };
    fold(code, &[(DATA_MAP, &DATA)]);
    (
        Insn::all(&instructions).unwrap(),
        functions.iter().map(|record| record.insn_off).collect(),
        lines
            .iter()
            .map(|record| (record.insn_off, record.line_off))
            .collect(),
    )
}

/// The address of the read-only data in `dst`.
fn address(dst: u8, offset: i32) -> Insn {
    Insn {
        high: offset,
        ..insn(0x18, dst, 2, 0, DATA_MAP)
    }
}

#[test]
fn a_constant_that_is_not_set_takes_its_branch_along() {
    let program = [
        address(1, 4),
        insn(0x61, 2, 1, 0, 0), // w2 = the constant, which is u32::MAX
        insn(0x16, 2, 0, 2, 0), // if w2 == 0 goto the second number
        insn(0xb4, 0, 0, 0, 1),
        insn(0x95, 0, 0, 0, 0),
        insn(0xb4, 0, 0, 0, 2),
        insn(0x95, 0, 0, 0, 0),
    ];
    let (shorter, _, _) = folded(&program, &[0], &[]);
    assert_eq!(
        shorter,
        [insn(0xb4, 0, 0, 0, 1), insn(0x95, 0, 0, 0, 0)],
        "only the number and the end stay"
    );
}

#[test]
fn functions_that_nobody_calls_go_with_their_records() {
    let program = [
        address(6, 0),
        insn(0x61, 7, 6, 0, 0), // w7 = 5
        insn(0x16, 7, 0, 1, 5), // if w7 == 5 goto the second call
        insn(0x85, 0, 1, 0, 2), // the first function
        insn(0x85, 0, 1, 0, 3), // the second function
        insn(0x95, 0, 0, 0, 0),
        insn(0xb4, 0, 0, 0, 1),
        insn(0x95, 0, 0, 0, 0),
        insn(0xb4, 0, 0, 0, 2),
        insn(0x95, 0, 0, 0, 0),
    ];
    let lines = [
        (0, 10),
        (3, 11),
        (4, 12),
        (5, 13),
        (6, 14),
        (7, 20),
        (9, 30),
        (10, 31),
    ];
    let (shorter, functions, lines) = folded(&program, &[0, 7, 9], &lines);
    assert_eq!(
        shorter,
        [
            insn(0x85, 0, 1, 0, 1),
            insn(0x95, 0, 0, 0, 0),
            insn(0xb4, 0, 0, 0, 2),
            insn(0x95, 0, 0, 0, 0),
        ]
    );
    assert_eq!(functions, [0, 2]);
    assert_eq!(lines, [(0, 13), (1, 14), (2, 30), (3, 31)]);
}

#[test]
fn what_is_not_known_stays_as_it_is() {
    // A jump with 32 bits of distance, of newer processors.
    let far = insn(0x06, 0, 0, 0, 1);
    let program = slots(&[insn(0xb7, 0, 0, 0, 1), far, insn(0x95, 0, 0, 0, 0)]);
    let mut instructions = program.clone();
    let code = Code {
        instructions: &mut instructions,
        functions: &mut Vec::new(),
        lines: &mut Vec::new(),
    };
    fold(code, &[]);
    assert_eq!(instructions.len(), program.len());
    assert!(
        instructions
            .iter()
            .zip(&program)
            .all(|(a, b)| a.code == b.code && a.imm == b.imm)
    );
}

#[test]
fn data_that_is_not_there_is_not_made_up() {
    let program = [
        address(1, 16),
        insn(0x79, 0, 1, 1, 0), // eight bytes, of which the last is beyond the data
        insn(0x95, 0, 0, 0, 0),
    ];
    assert_eq!(folded(&program, &[0], &[]).0, program);
}
