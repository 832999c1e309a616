//! Programs before and after, run by a small machine of the test's own.

use super::insn::{Insn, compute, op, taken};
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

/// Runs a program of one function: register 0 at its end, and what it stored below register 10.
fn run(slots: &[bpf_insn], mut registers: [u64; 11]) -> (u64, [u64; 4]) {
    /// Where the machine has its read-only data.
    const BASE: u64 = 1 << 40;
    let mut by_slot = vec![None; slots.len()];
    let mut slot = 0;
    for insn in Insn::all(slots).unwrap() {
        by_slot[slot] = Some(insn);
        slot += insn.slots();
    }
    let mut stack = [0; 4];
    let mut at = 0;
    for _ in 0..10_000 {
        let now: Insn = by_slot[at].unwrap();
        at += now.slots();
        let imm = i64::from(now.imm).cast_unsigned();
        let (dst, src) = (usize::from(now.dst), usize::from(now.src));
        let operand = if now.code & 0x08 != 0 {
            registers[src]
        } else {
            imm
        };
        match now.code & 0x07 {
            0x00 if now.src == 2 => registers[dst] = BASE + now.high as u64,
            0x00 => registers[dst] = now.wide_number().unwrap(),
            0x01 => {
                let start = (registers[src] - BASE) as usize + now.off as usize;
                let size = [4, 2, 1, 8][usize::from(now.code >> 3 & 3)];
                let mut bytes = [0; 8];
                bytes[..size].copy_from_slice(&DATA[start..start + size]);
                registers[dst] = u64::from_le_bytes(bytes);
            }
            0x02 => stack[(-now.off / 8 - 1) as usize] = imm,
            0x03 => stack[(-now.off / 8 - 1) as usize] = registers[src],
            0x04 | 0x07 => {
                let wide = now.code & 7 == 7;
                registers[dst] = compute(now.op(), wide, registers[dst], operand).unwrap();
            }
            _ if now.code == 0x95 => return (registers[0], stack),
            class => {
                let jumps = now.code == 0x05
                    || taken(now.op(), class == 5, registers[dst], operand).unwrap();
                if jumps {
                    at = at.strict_add_signed(now.off.into());
                }
            }
        }
    }
    panic!("it does not end");
}

/// A number that looks random.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Some program that ends, in slots. Registers 1 to 3 come from outside.
fn random_program(state: &mut u64) -> Vec<Insn> {
    const OPERATIONS: [u8; 9] = [
        op::ADD,
        op::SUB,
        op::MUL,
        op::OR,
        op::AND,
        op::XOR,
        op::MOV,
        op::LSH,
        op::RSH,
    ];
    const BRANCHES: [u8; 11] = [
        0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0, 0xd0,
    ];
    let length = 8 + next(state) % 40;
    let mut insns = vec![
        insn(0xb7, 0, 0, 0, 3),
        insn(0xb7, 4, 0, 0, -1),
        insn(0xbf, 5, 1, 0, 0),
    ];
    for _ in 0..length {
        let (dst, src) = ((next(state) % 6) as u8, (next(state) % 6) as u8);
        let imm = [0, 1, -1, 5, 64, i32::MIN, i32::MAX][(next(state) % 7) as usize];
        let pick = next(state) as usize;
        let next_one = match next(state) % 10 {
            0..=3 => {
                let operation = OPERATIONS[pick % OPERATIONS.len()];
                let class = if next(state).is_multiple_of(2) {
                    0x04
                } else {
                    0x07
                };
                if matches!(operation, op::LSH | op::RSH) {
                    insn(class | operation, dst, 0, 0, (pick % 32) as i32)
                } else if next(state).is_multiple_of(2) {
                    insn(class | operation, dst, 0, 0, imm)
                } else {
                    insn(class | operation | 0x08, dst, src, 0, 0)
                }
            }
            4 | 5 => {
                insns.push(address(dst, (pick % 2 * 8) as i32));
                let code = [0x61, 0x69, 0x71, 0x79][pick / 2 % 4];
                insn(code, dst, dst, (pick / 8 % 8) as i16, 0)
            }
            6 => insn(0x7b, 10, src, -8 - (pick % 4 * 8) as i16, 0),
            7 => insn(0x05, 0, 0, (pick % 5) as i16, 0),
            _ => {
                let class = if pick.is_multiple_of(2) { 0x05 } else { 0x06 };
                let code = class | BRANCHES[pick / 2 % BRANCHES.len()];
                let ahead = (next(state) % 6) as i16;
                if next(state).is_multiple_of(2) {
                    insn(code, dst, 0, ahead, imm)
                } else {
                    insn(code | 0x08, dst, src, ahead, 0)
                }
            }
        };
        insns.push(next_one);
    }
    // No jump goes past the end, and none between an address and the load from it.
    let mut starts: Vec<usize> = Vec::new();
    let mut slot = 0;
    for insn in &insns {
        starts.push(slot);
        slot += insn.slots();
    }
    starts.push(slot);
    for at in 0..insns.len() {
        if matches!(insns[at].code & 7, 5 | 6) {
            let mut target = (at + 1 + insns[at].off as usize).min(insns.len());
            target += usize::from(insns.get(target).is_some_and(|insn| insn.code & 7 == 1));
            insns[at].off = (starts[target] - starts[at] - 1) as i16;
        }
    }
    insns.push(insn(0x95, 0, 0, 0, 0));
    insns
}

#[test]
fn random_programs_do_what_they_did() {
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let (mut before, mut after) = (0, 0);
    for round in 0..5_000 {
        let program = random_program(&mut state);
        let (shorter, _, _) = folded(&program, &[0], &[]);
        before += program.len();
        after += shorter.len();
        for _ in 0..4 {
            let mut registers = [0; 11];
            for register in &mut registers[1..4] {
                *register = next(&mut state) >> (next(&mut state) % 64);
            }
            assert_eq!(
                run(&slots(&program), registers),
                run(&slots(&shorter), registers),
                "round {round}: {program:#?} became {shorter:#?}"
            );
        }
    }
    // Otherwise nothing would be tested.
    assert!(after * 2 < before, "{before} instructions became {after}");
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
