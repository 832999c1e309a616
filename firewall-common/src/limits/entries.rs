//! Reading a limit or a log in the tables, field by field: only what is asked for is read.

use crate::abi::{BanLengths, Entry, EventBits, LIMIT_ENTRY, LimitEntry, LimitFlags, LogEntry};
use crate::machine::Machine;
use core::marker::PhantomData;
use core::mem::offset_of;

/// Where in the tables an entry of this kind stands.
#[repr(transparent)]
pub(crate) struct At<T> {
    /// Byte offset.
    offset: u64,
    kind: PhantomData<T>,
}

impl<T> Clone for At<T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for At<T> {}

impl<T> At<T> {
    /// The entry with this number among the limits.
    #[inline(always)]
    pub(crate) fn numbered<M: Machine>(machine: &M, number: u64) -> Self {
        let table = u64::from(machine.constant(|c| &c.limits));
        Self {
            offset: table + number * u64::from(LIMIT_ENTRY),
            kind: PhantomData,
        }
    }
}

impl At<LimitEntry> {
    /// The limit that an entry names.
    #[inline(always)]
    pub(crate) fn of<M: Machine>(machine: &M, entry: Entry) -> Self {
        Self::numbered(machine, entry.limit())
    }

    /// The log of its rule, if it has one.
    #[inline(always)]
    pub(crate) fn log<M: Machine>(self, machine: &M) -> Option<At<LogEntry>> {
        let number = self.flags(machine).log()?;
        Some(At::numbered(machine, u64::from(number)))
    }
}

impl At<LogEntry> {
    /// The rate of its events, which stands where a limit has its own.
    #[inline(always)]
    pub(crate) const fn rate(self) -> At<LimitEntry> {
        At {
            offset: self.offset,
            kind: PhantomData,
        }
    }
}

/// A method for each field: its kind, how it is read, and what the number is.
macro_rules! fields {
    ($entry:ident: $($field:ident $read:ident $type:ty, $of:expr;)*) => {
        impl At<$entry> {
            $(
                #[inline(always)]
                pub(crate) fn $field<M: Machine>(self, machine: &M) -> $type {
                    $of(machine.$read(self.offset + offset_of!($entry, $field) as u64))
                }
            )*
        }
    };
}

fields! { LimitEntry:
    interval table_u64 u64, u64::from;
    tolerance table_u64 u64, u64::from;
    until table_u64 u64, u64::from;
    v4_mask table_u64 u64, u64::from;
    v6_mask_hi table_u64 u64, u64::from;
    v6_mask_lo table_u64 u64, u64::from;
    base table_u32 u64, u64::from;
    size table_u32 u64, u64::from;
    over table_u64 Entry, Entry::from_word;
    per table_u32 u32, u32::from;
    flags table_u32 LimitFlags, LimitFlags::from_word;
    ban table_u32 u32, u32::from;
    ban_lengths table_u32 BanLengths, BanLengths::from_word;
}

fields! { LogEntry:
    name table_u64 u64, u64::from;
    found table_u64 EventBits, EventBits::from_word;
    unlogged table_u32 u32, u32::from;
}
