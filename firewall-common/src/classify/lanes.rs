//! Small fields to rows: direct arrays by value, and arrays by pair of classes that combine the
//! fields of one lane.

use super::{Family, addr, row_offset};
use crate::abi::{addr_form, field_mode};
use crate::field::Field;
use crate::key::PacketKey;
use crate::machine::Machine;

/// The order in which the walk takes the small fields. A lane is a run of neighbours: the fields
/// with few classes stand where they can join either port.
pub const WALK_ORDER: [Field; Field::COUNT] = [
    Field::SourcePort,
    Field::Proto,
    Field::DestinationPort,
    Field::Icmp,
    Field::TcpFlags,
    Field::Zone,
    Field::Fragment,
    Field::Vlan,
    Field::Dscp,
    Field::Ttl,
    Field::Length,
];

/// Lanes of one family: source, destination, and at most one for every small field.
pub(super) const LANES: usize = 2 + Field::COUNT;

/// Whether any rule of the family looks at the lane: a constant of the generation.
#[inline(always)]
pub(super) fn used<M: Machine, F: Family>(machine: &M, lane: usize) -> bool {
    match lane {
        0 => machine.constant(|c| &F::of(c).src.form) != addr_form::UNUSED,
        1 => machine.constant(|c| &F::of(c).dst.form) != addr_form::UNUSED,
        _ => machine.constant(|c| &F::of(c).fields[field_index(lane)].rows) != 0,
    }
}

/// Index of the small field that ends lane `lane`.
#[inline(always)]
const fn field_index(lane: usize) -> usize {
    let mut index = 0;
    let mut position = 0;
    while position < Field::COUNT {
        if position + 2 == lane {
            index = WALK_ORDER[position] as usize;
        }
        position += 1;
    }
    index
}

/// Byte offset of the packet's row in every used lane; the others hold nothing of use.
#[inline(always)]
pub(super) fn rows<M: Machine, F: Family>(machine: &M, key: &PacketKey) -> [u64; LANES] {
    let mut rows = [0; LANES];
    if used::<M, F>(machine, 0) {
        rows[0] = addr::row(machine, F::src(key), F::LONG, |c| &F::of(c).src);
    }
    if used::<M, F>(machine, 1) {
        rows[1] = addr::row(machine, F::dst(key), F::LONG, |c| &F::of(c).dst);
    }
    let mut class = 0;
    for position in 0..Field::COUNT {
        let field = WALK_ORDER[position];
        let index = field as usize;
        let mode = machine.constant(|c| &F::of(c).fields[index].mode);
        if mode == field_mode::UNUSED {
            continue;
        }
        let lane_rows = machine.constant(|c| &F::of(c).fields[index].rows);
        let wide = lane_rows != 0 && machine.constant(|c| &F::of(c).fields[index].wide) != 0;
        let classes = u64::from(machine.constant(|c| &F::of(c).fields[index].classes));
        let value = u64::from(key.fields[index]);
        if mode == field_mode::START {
            class = entry(machine, classes, value, wide);
        } else {
            let width = u64::from(machine.constant(|c| &F::of(c).fields[index].join_width));
            let join = u64::from(machine.constant(|c| &F::of(c).fields[index].join));
            let own = u64::from(machine.table_u16(classes + value * 2));
            class = entry(machine, join, u64::from(class) * width + own, wide);
        }
        if lane_rows != 0 {
            rows[2 + position] = row_offset(lane_rows, class);
        }
    }
    rows
}

/// Entry `index` of an array of `u16` (or, if `wide`, `u32`).
#[inline(always)]
fn entry<M: Machine>(machine: &M, array: u64, index: u64, wide: bool) -> u32 {
    if wide {
        machine.table_u32(array + index * 4)
    } else {
        machine.table_u16(array + index * 2)
    }
}
