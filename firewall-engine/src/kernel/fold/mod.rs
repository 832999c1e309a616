//! Folds the constants of a generation into the program's text before the kernel sees it.
//!
//! The program asks for each constant of its generation (which fields the policy looks at, where its
//! tables are) by a load from frozen read-only data. The verifier knows the values and takes out
//! the branches that cannot be taken, but the loads stay, and what is computed from them: every
//! seventh instruction under a small policy. Here the loads become numbers, what follows from numbers is
//! computed, and what nobody reads any more goes away. This is constant propagation inside basic
//! blocks, then removal of unreachable and dead instructions by liveness (Aho, Lam, Sethi and Ullman,
//! *Compilers*, 2nd edition, 8.4, 8.5 and 9.2.5).
//!
//! May import nothing of the firewall. Invariants: every instruction that stays does for every
//! packet what it did before, and every load stays that reads what can change; a program with an
//! instruction that is not known here stays as it is; line and function records stand at what they
//! stood at.

mod insn;
mod prune;
#[cfg(test)]
mod tests;
mod text;

use aya_obj::generated::{bpf_func_info, bpf_insn, bpf_line_info};
use insn::{FRAME, Insn, Kind, REGISTERS, compute, op, taken};
use text::Text;

/// Set to 1, makes generations whose programs are as they were compiled.
pub const VARIABLE: &str = "FIREWALL_NO_FOLD";

/// Whether constants are folded into a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Folding {
    /// They are.
    On,
    /// The program is loaded as it was compiled.
    Off,
}

impl Folding {
    /// What the environment says.
    pub(crate) fn wanted() -> Self {
        match std::env::var_os(VARIABLE).is_some_and(|value| value == "1") {
            true => Self::Off,
            false => Self::On,
        }
    }
}

/// Read-only data as it will be at run time: descriptor of the map in the program, and its bytes.
pub(crate) type ReadOnly<'a> = (i32, &'a [u8]);

/// A program, relocated, with all its functions.
#[derive(Debug)]
pub(crate) struct Code<'a> {
    pub(crate) instructions: &'a mut Vec<bpf_insn>,
    /// Where each function begins.
    pub(crate) functions: &'a mut Vec<bpf_func_info>,
    /// What line of the source each instruction comes from.
    pub(crate) lines: &'a mut Vec<bpf_line_info>,
}

/// Folds `data` into the program.
pub(crate) fn fold(mut code: Code<'_>, data: &[ReadOnly<'_>]) {
    let Some(mut text) = Text::read(code.instructions) else {
        return;
    };
    // What the first round removes joins basic blocks for the second.
    for _ in 0..2 {
        propagate(&mut text, data);
        prune::prune(&mut text);
    }
    text.write(&mut code);
}

/// What is known of a register.
#[derive(Clone, Copy)]
enum Value {
    Number(u64),
    /// An address in read-only data: which, and where.
    Data(usize, i64),
}

/// Computes what can be computed, block by block.
fn propagate(text: &mut Text, data: &[ReadOnly<'_>]) {
    let mut known = [None; REGISTERS];
    for (at, is_leader) in text.leaders().into_iter().enumerate() {
        if is_leader {
            known = [None; REGISTERS];
        }
        let Some(insn) = text.insn(at) else {
            continue;
        };
        match insn.kind() {
            Kind::Branch { wide, .. } => branch(text, at, simplified(insn, &known), wide, &known),
            Kind::Jump | Kind::Exit => known = [None; REGISTERS],
            _ => {
                let insn = simplified(insn, &known);
                let value = value_of(insn, &known, data);
                let number = match value {
                    Some(Value::Number(number)) if insn.is_pure() => Insn::number(insn.dst, number),
                    _ => None,
                };
                text.replace(at, number.unwrap_or(insn));
                for register in (0..FRAME).filter(|r| insn.writes() & 1 << r != 0) {
                    known[usize::from(register)] = None;
                }
                if insn.is_pure() {
                    known[usize::from(insn.dst)] = value;
                }
            }
        }
    }
}

/// Takes a branch out whose outcome is known, or makes it a jump.
fn branch(text: &mut Text, at: usize, insn: Insn, wide: bool, known: &[Option<Value>; REGISTERS]) {
    let outcome = match (insn.kind(), known[usize::from(insn.dst)]) {
        (
            Kind::Branch {
                register: false, ..
            },
            Some(Value::Number(number)),
        ) => taken(insn.op(), wide, number, sign_extended(insn.imm)),
        _ => None,
    };
    match outcome {
        None => text.replace(at, insn),
        Some(true) => text.jump(at),
        Some(false) => text.remove(at),
    }
}

/// The instruction with a number in the place of a register that holds one.
fn simplified(insn: Insn, known: &[Option<Value>; REGISTERS]) -> Insn {
    let Some(Value::Number(number)) = known[usize::from(insn.src)] else {
        return insn;
    };
    let wide = match insn.kind() {
        Kind::Arithmetic {
            wide,
            register: true,
        } => {
            let bits = if wide { 64 } else { 32 };
            let allowed = match insn.op() {
                op::MOV | op::ADD | op::SUB | op::MUL | op::OR | op::AND | op::XOR => true,
                op::LSH | op::RSH => number < bits,
                _ => false,
            };
            if !allowed {
                return insn;
            }
            wide
        }
        Kind::Branch {
            wide,
            register: true,
        } => wide,
        Kind::Store => return stored(insn, number),
        _ => return insn,
    };
    let imm = if wide {
        i32::try_from(number.cast_signed()).ok()
    } else {
        Some((number as u32).cast_signed())
    };
    imm.map_or(insn, |imm| Insn {
        code: insn.code & !0x08,
        src: 0,
        imm,
        ..insn
    })
}

/// The store of a register as a store of its number.
fn stored(insn: Insn, number: u64) -> Insn {
    let imm = match insn.code & 0x18 {
        0x18 => i32::try_from(number.cast_signed()).ok(),
        _ => Some((number as u32).cast_signed()),
    };
    imm.map_or(insn, |imm| Insn {
        code: insn.code & !0x07 | 0x02,
        src: 0,
        imm,
        ..insn
    })
}

/// What the instruction writes into its register, if that is known.
fn value_of(
    insn: Insn,
    known: &[Option<Value>; REGISTERS],
    data: &[ReadOnly<'_>],
) -> Option<Value> {
    match insn.kind() {
        Kind::Wide => {
            let address = data
                .iter()
                .enumerate()
                .find_map(|(index, &(map, _))| Some(Value::Data(index, insn.map_offset(map)?)));
            address.or_else(|| insn.wide_number().map(Value::Number))
        }
        Kind::Load(size) => {
            let Some(Value::Data(index, offset)) = known[usize::from(insn.src)] else {
                return None;
            };
            let start = usize::try_from(offset + i64::from(insn.off)).ok()?;
            let bytes = data[index].1.get(start..start.checked_add(size)?)?;
            let mut number = [0; 8];
            number[..size].copy_from_slice(bytes);
            Some(Value::Number(u64::from_le_bytes(number)))
        }
        Kind::Arithmetic {
            wide,
            register: true,
        } if insn.op() == op::MOV => match known[usize::from(insn.src)]? {
            Value::Number(number) => compute(op::MOV, wide, 0, number).map(Value::Number),
            address if wide => Some(address),
            Value::Data(..) => None,
        },
        Kind::Arithmetic {
            wide,
            register: false,
        } => {
            let operand = sign_extended(insn.imm);
            if insn.op() == op::MOV {
                return compute(op::MOV, wide, 0, operand).map(Value::Number);
            }
            match known[usize::from(insn.dst)]? {
                Value::Number(number) => {
                    compute(insn.op(), wide, number, operand).map(Value::Number)
                }
                Value::Data(index, offset) if wide && insn.op() == op::ADD => {
                    Some(Value::Data(index, offset + i64::from(insn.imm)))
                }
                Value::Data(..) => None,
            }
        }
        _ => None,
    }
}

/// How the processor takes the number of an instruction on 64 bits.
fn sign_extended(imm: i32) -> u64 {
    i64::from(imm).cast_unsigned()
}
