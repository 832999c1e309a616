//! Small fields to rows: direct arrays by value, and arrays by pair of classes that combine the
//! fields of one lane.

use super::lists::Lists;
use super::{Family, addr, row_offset};
use crate::abi::{addr_form, field_mode};
use crate::field::{Field, field_table};
use crate::key::PacketKey;
use crate::machine::Machine;

/// Lanes that a family has at most: source, destination, and four runs of small fields.
pub const LANES: usize = 6;

/// Writes the walk over the fields out, unrolled: the verifier has to know every index into the
/// constants.
macro_rules! walk {
    ($($(#[$doc:meta])* $field:ident $row:tt;)*) => {
        impl Rows<'_> {
            #[inline(always)]
            fn add_fields<M: Machine, F: Family>(&mut self, machine: &M, key: &PacketKey) {
                $(self.add_field::<M, F, { Field::$field as usize }>(machine, key);)*
            }
        }
    };
}

field_table!(walk);

/// The rows found so far.
struct Rows<'a> {
    /// Byte offsets. By reference: beside an array with a computed index, the other fields would
    /// have to live in memory too.
    offsets: &'a mut [u64; LANES],
    /// How many. A constant on every path that the verifier follows.
    count: usize,
    /// Class of the unfinished lane of small fields.
    class: u32,
}

/// Writes the byte offsets of the packet's rows, as many as the family has lanes, and where its
/// lists are.
#[inline(always)]
pub(super) fn rows<M: Machine, F: Family>(
    machine: &M,
    key: &PacketKey,
    offsets: &mut [u64; LANES],
    lists: &mut Lists,
) {
    let mut rows = Rows {
        offsets,
        count: 0,
        class: 0,
    };
    if machine.constant(|c| &F::of(c).src.form) != addr_form::UNUSED {
        let mut at = addr::row(machine, F::src(key), F::LONG, |c| &F::of(c).src);
        if machine.constant(|c| &F::of(c).src.lists) != 0 {
            at = lists.src.enter(machine, at);
        }
        rows.add(at);
    }
    if machine.constant(|c| &F::of(c).dst.form) != addr_form::UNUSED {
        let mut at = addr::row(machine, F::dst(key), F::LONG, |c| &F::of(c).dst);
        if machine.constant(|c| &F::of(c).dst.lists) != 0 {
            at = lists.dst.enter(machine, at);
        }
        rows.add(at);
    }
    rows.add_fields::<M, F>(machine, key);
}

impl Rows<'_> {
    #[inline(always)]
    fn add(&mut self, offset: u64) {
        if self.count < LANES {
            self.offsets[self.count] = offset;
            self.count += 1;
        }
    }

    #[inline(always)]
    fn add_field<M: Machine, F: Family, const INDEX: usize>(
        &mut self,
        machine: &M,
        key: &PacketKey,
    ) {
        let mode = machine.constant(|c| &F::of(c).fields[INDEX].mode);
        if mode == field_mode::UNUSED {
            return;
        }
        let rows = machine.constant(|c| &F::of(c).fields[INDEX].rows);
        let wide = rows != 0 && machine.constant(|c| &F::of(c).fields[INDEX].wide) != 0;
        let classes = u64::from(machine.constant(|c| &F::of(c).fields[INDEX].classes));
        let value = u64::from(key.fields[INDEX]);
        self.class = if mode == field_mode::START {
            entry(machine, classes, value, wide)
        } else {
            let width = u64::from(machine.constant(|c| &F::of(c).fields[INDEX].join_width));
            let join = u64::from(machine.constant(|c| &F::of(c).fields[INDEX].join));
            let own = u64::from(machine.table_u16(classes + value * 2));
            entry(machine, join, u64::from(self.class) * width + own, wide)
        };
        if rows != 0 {
            self.add(row_offset(rows, self.class));
        }
    }
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
