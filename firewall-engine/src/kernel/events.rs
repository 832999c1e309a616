//! The ring of events in the kernel, memory-mapped: read while programs write it.

use super::KernelError;
pub use super::clock::offset as clock_offset;
use super::maps::BigMap;
use super::shared::Shared;
use firewall_common::log::Ring;
use firewall_policy::log::{Event, Reader};

/// The ring of the generation in force.
#[derive(Debug)]
pub struct EventRing {
    shared: Shared,
    /// Which map it is.
    id: u32,
}

impl EventRing {
    /// Maps the ring.
    pub(crate) fn of(map: &BigMap) -> Result<Self, KernelError> {
        Ok(Self {
            shared: Shared::of(map)?,
            id: map.id()?,
        })
    }

    /// Which ring it is: a change of the policy can bring another one.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// A reader that starts with the `last` events that are there.
    #[must_use]
    pub fn reader(&self, last: u64) -> Reader {
        Reader::new(Ring::LOG, &self.words(), last)
    }

    /// The next event; `None` if there is none yet.
    pub fn next(&self, reader: &mut Reader) -> Option<Event> {
        reader.next(&self.words())
    }

    fn words(&self) -> impl Fn(u64) -> u64 {
        |offset| self.shared.read((offset / 8) as usize)
    }
}
