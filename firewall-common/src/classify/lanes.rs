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

/// Lanes that a family has at most: source, destination, and four runs of small fields.
pub const LANES: usize = 6;

/// Byte offsets of the packet's rows, as many as the family has lanes.
#[inline(always)]
pub(super) fn rows<M: Machine, F: Family>(machine: &M, key: &PacketKey) -> [u64; LANES] {
    let mut rows = [0; LANES];
    // A constant on every path that the verifier follows.
    let mut lanes = 0;
    let mut add = |row| {
        if lanes < LANES {
            rows[lanes] = row;
            lanes += 1;
        }
    };
    if machine.constant(|c| &F::of(c).src.form) != addr_form::UNUSED {
        add(addr::row(machine, F::src(key), F::LONG, |c| &F::of(c).src));
    }
    if machine.constant(|c| &F::of(c).dst.form) != addr_form::UNUSED {
        add(addr::row(machine, F::dst(key), F::LONG, |c| &F::of(c).dst));
    }
    let mut class = 0;
    for field in WALK_ORDER {
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
            add(row_offset(lane_rows, class));
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
