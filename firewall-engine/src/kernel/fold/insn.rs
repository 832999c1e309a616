//! One BPF instruction with its fields apart: what it reads, what it writes, what it computes.
//!
//! May import nothing of the firewall. Numbers are those of the instruction set (RFC 9669). Whatever
//! is not known here is [`Kind::Unknown`], and a program that holds it is left as it is.

use aya_obj::generated::bpf_insn;

/// The frame pointer; the highest register.
pub(super) const FRAME: u8 = 10;
/// How many registers there are.
pub(super) const REGISTERS: usize = 11;

/// `imm` of a call, or `src` of a wide load, that stands for a function of the program.
const PSEUDO_CALL: u8 = 1;
const PSEUDO_FUNC: u8 = 4;
/// `src` of a wide load that stands for an address in a map's value.
const PSEUDO_MAP_VALUE: u8 = 2;

/// Operations of arithmetic: the upper four bits of `code`.
pub(super) mod op {
    pub(crate) const ADD: u8 = 0x00;
    pub(crate) const SUB: u8 = 0x10;
    pub(crate) const MUL: u8 = 0x20;
    pub(crate) const OR: u8 = 0x40;
    pub(crate) const AND: u8 = 0x50;
    pub(crate) const LSH: u8 = 0x60;
    pub(crate) const RSH: u8 = 0x70;
    pub(crate) const NEG: u8 = 0x80;
    pub(crate) const XOR: u8 = 0xa0;
    pub(crate) const MOV: u8 = 0xb0;
    pub(crate) const END: u8 = 0xd0;
}

/// An instruction. A wide load is one, with the second slot's number in `high`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Insn {
    pub(super) code: u8,
    pub(super) dst: u8,
    pub(super) src: u8,
    pub(super) off: i16,
    pub(super) imm: i32,
    pub(super) high: i32,
}

/// What an instruction is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Arithmetic; `wide`: on 64 bits.
    Arithmetic { wide: bool, register: bool },
    /// A load of 64 bits that are in the program.
    Wide,
    /// A load of that many bytes from memory.
    Load(usize),
    /// A store of a number.
    StoreNumber,
    /// A store of a register.
    Store,
    /// An atomic operation on memory.
    Atomic,
    /// A jump that depends on nothing.
    Jump,
    /// A jump that depends on a comparison; `wide`: of 64 bits.
    Branch { wide: bool, register: bool },
    /// A call.
    Call,
    /// The end of a function.
    Exit,
    /// Something that is not known here.
    Unknown,
}

impl Insn {
    /// Takes the slots apart.
    pub(super) fn all(slots: &[bpf_insn]) -> Option<Vec<Self>> {
        let mut all = Vec::with_capacity(slots.len());
        let mut rest = slots.iter();
        while let Some(slot) = rest.next() {
            let mut insn = Self {
                code: slot.code,
                dst: slot.dst_reg(),
                src: slot.src_reg(),
                off: slot.off,
                imm: slot.imm,
                high: 0,
            };
            if insn.kind() == Kind::Wide {
                insn.high = rest.next()?.imm;
            }
            let known = insn.kind() != Kind::Unknown && insn.dst <= FRAME && insn.src <= FRAME;
            if !known {
                return None;
            }
            all.push(insn);
        }
        Some(all)
    }

    /// Puts it back into slots.
    pub(super) fn write(self, slots: &mut Vec<bpf_insn>) {
        let slot = |code, dst, src, off, imm| bpf_insn {
            code,
            _bitfield_align_1: [],
            _bitfield_1: bpf_insn::new_bitfield_1(dst, src),
            off,
            imm,
        };
        slots.push(slot(self.code, self.dst, self.src, self.off, self.imm));
        if self.kind() == Kind::Wide {
            slots.push(slot(0, 0, 0, 0, self.high));
        }
    }

    /// How many slots it takes.
    pub(super) fn slots(self) -> usize {
        1 + usize::from(self.kind() == Kind::Wide)
    }

    pub(super) fn kind(self) -> Kind {
        let register = self.code & 0x08 != 0;
        match (self.code & 0x07, self.code & 0xf0, self.code & 0xe0) {
            (0x00, ..) if self.code == 0x18 => Kind::Wide,
            (0x01, _, 0x60) => Kind::Load(match self.code & 0x18 {
                0x00 => 4,
                0x08 => 2,
                0x10 => 1,
                _ => 8,
            }),
            (0x02, _, 0x60) => Kind::StoreNumber,
            (0x03, _, 0x60) => Kind::Store,
            (0x03, _, 0xc0) => Kind::Atomic,
            // Up to byte swaps; with an offset it is a signed form of newer kernels.
            (0x04 | 0x07, 0x00..=0xd0, _) if self.off == 0 => Kind::Arithmetic {
                wide: self.code & 0x07 == 0x07,
                register,
            },
            (0x05, 0x00, _) if !register => Kind::Jump,
            (0x05, 0x80, _) if !register => Kind::Call,
            (0x05, 0x90, _) if !register => Kind::Exit,
            (0x05 | 0x06, 0x10..=0x70 | 0xa0..=0xd0, _) => Kind::Branch {
                wide: self.code & 0x07 == 0x05,
                register,
            },
            _ => Kind::Unknown,
        }
    }

    /// The operation of arithmetic or of a branch.
    pub(super) const fn op(self) -> u8 {
        self.code & 0xf0
    }

    /// `dst = number`, if there is an instruction of one slot for it.
    pub(super) fn number(dst: u8, number: u64) -> Option<Self> {
        // On 32 bits it fills with zeros, on 64 bits with the sign.
        let (code, imm) = if let Ok(low) = u32::try_from(number) {
            (0xb4, low.cast_signed())
        } else {
            (0xb7, i32::try_from(number.cast_signed()).ok()?)
        };
        Some(Self {
            code,
            dst,
            src: 0,
            off: 0,
            imm,
            high: 0,
        })
    }

    /// The number of a wide load that is no address.
    pub(super) fn wide_number(self) -> Option<u64> {
        (self.src == 0).then(|| {
            u64::from(self.imm.cast_unsigned()) | u64::from(self.high.cast_unsigned()) << 32
        })
    }

    /// Offset in the value of the map with descriptor `map`, of a wide load of its address.
    pub(super) fn map_offset(self, map: i32) -> Option<i64> {
        (self.src == PSEUDO_MAP_VALUE && self.imm == map).then_some(i64::from(self.high))
    }

    /// Whether it names a function of the program, which begins `imm + 1` slots on.
    pub(super) fn names_function(self) -> bool {
        match self.kind() {
            Kind::Call => self.src == PSEUDO_CALL,
            Kind::Wide => self.src == PSEUDO_FUNC,
            _ => false,
        }
    }

    /// The registers that it reads, a bit for each.
    pub(super) fn reads(self) -> u16 {
        let (dst, src) = (1 << self.dst, 1 << self.src);
        match self.kind() {
            Kind::Arithmetic { register, .. } => {
                let operand = if register && !matches!(self.op(), op::END | op::NEG) {
                    src
                } else {
                    0
                };
                operand | if self.op() == op::MOV { 0 } else { dst }
            }
            Kind::Load(_) => src,
            Kind::StoreNumber => dst,
            Kind::Store => dst | src,
            // Compare-and-exchange looks at register 0.
            Kind::Atomic => dst | src | 1,
            Kind::Branch { register, .. } => dst | if register { src } else { 0 },
            Kind::Call => 0b11_1110,
            Kind::Exit => 1,
            Kind::Wide | Kind::Jump | Kind::Unknown => 0,
        }
    }

    /// The registers whose value it changes.
    pub(super) fn writes(self) -> u16 {
        match self.kind() {
            Kind::Arithmetic { .. } | Kind::Wide | Kind::Load(_) => 1 << self.dst,
            Kind::Atomic => 1 << self.src | 1,
            Kind::Call => 0b11_1111,
            _ => 0,
        }
    }

    /// Whether it does nothing but write its register.
    pub(super) fn is_pure(self) -> bool {
        matches!(
            self.kind(),
            Kind::Arithmetic { .. } | Kind::Wide | Kind::Load(_)
        )
    }
}

/// `a op b` as the processor computes it, for the operations that are known here.
pub(super) fn compute(op: u8, wide: bool, a: u64, b: u64) -> Option<u64> {
    let bits = if wide { 64 } else { 32 };
    let (a, b) = if wide {
        (a, b)
    } else {
        (a & 0xffff_ffff, b & 0xffff_ffff)
    };
    let result = match op {
        op::ADD => a.wrapping_add(b),
        op::SUB => a.wrapping_sub(b),
        op::MUL => a.wrapping_mul(b),
        op::OR => a | b,
        op::AND => a & b,
        op::XOR => a ^ b,
        op::LSH if b < bits => a << b,
        op::RSH if b < bits => a >> b,
        op::MOV => b,
        _ => return None,
    };
    Some(if wide { result } else { result & 0xffff_ffff })
}

/// Whether the branch `op` is taken for `a` and `b`.
pub(super) fn taken(op: u8, wide: bool, a: u64, b: u64) -> Option<bool> {
    let (a, b) = if wide {
        (a, b)
    } else {
        (a & 0xffff_ffff, b & 0xffff_ffff)
    };
    let signed = |n: u64| {
        if wide {
            n.cast_signed()
        } else {
            i64::from((n as u32).cast_signed())
        }
    };
    Some(match op {
        0x10 => a == b,
        0x20 => a > b,
        0x30 => a >= b,
        0x40 => a & b != 0,
        0x50 => a != b,
        0x60 => signed(a) > signed(b),
        0x70 => signed(a) >= signed(b),
        0xa0 => a < b,
        0xb0 => a <= b,
        0xc0 => signed(a) < signed(b),
        0xd0 => signed(a) <= signed(b),
        _ => return None,
    })
}
