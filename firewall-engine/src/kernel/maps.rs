//! The big maps: how large each one is, how it is made, pinned, found again and checked.
//!
//! Every one is an array map with one entry, memory-mapped by user space. The counter maps hold a
//! region for each possible CPU; `fw_rules` holds one more, which the program never sees: the
//! totals carried over from a smaller map that it took the place of.
//!
//! Invariant: a map that is found pinned is reused only if its shape is the one that this version
//! would have made.

use super::mapping::Mapping;
use super::sys::{self, MapShape};
use super::{KernelError, host};
use aya_obj::generated::{BPF_F_MMAPABLE, BPF_F_RDONLY_PROG};
use firewall_common::abi::{
    COUNTER_SIZE, Config, INTERFACE_PROBES, INTERFACE_TABLE, InterfaceEntry, PORTS_STRIDE,
    REASONS_STRIDE, SCRATCH_STRIDE, STATION_PROBES, STATIONS, interface_hash, station_hash,
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Classifier tables.
pub(crate) const TABLES: &str = "fw_tables";
/// Interface table.
pub(crate) const INTERFACES: &str = "fw_interfaces";
/// Counters by interface, reason and verdict.
pub(crate) const REASONS: &str = "fw_reasons";
/// Counters by port, protocol and verdict.
pub(crate) const PORTS: &str = "fw_ports";
/// Counters by rule slot.
pub(crate) const RULES: &str = "fw_rules";
/// Where the program copies headers beyond a frame's first buffer to.
const SCRATCH: &str = "fw_scratch";
/// What user space knows about a generation; the program does not touch it.
pub(crate) const RECORD: &str = "fw_record";

/// Fewest rule counters in a map.
const RULE_SLOTS_MIN: u32 = 1024;

/// A map's name as the kernel takes it: letters, digits, dots and underscores.
pub(crate) fn kernel_name(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '_'
            }
        })
        .collect()
}

/// Bytes of one CPU's region of a `fw_rules` map with `slots` counters.
pub(crate) const fn rules_stride(slots: u32) -> u32 {
    (slots * COUNTER_SIZE).next_multiple_of(64)
}

/// How many counters a new `fw_rules` map for `rules` rules gets: room for as many again, so that
/// rules can be swapped for others without sharing slots with those that still count.
#[must_use]
pub(crate) fn rule_slots(rules: usize) -> u32 {
    let rules = u32::try_from(rules).unwrap_or(u32::MAX / 4);
    rules
        .saturating_mul(2)
        .next_power_of_two()
        .max(RULE_SLOTS_MIN)
}

/// A big map: open, and of known size.
#[derive(Debug)]
pub(crate) struct BigMap {
    name: &'static str,
    fd: OwnedFd,
    size: u32,
}

impl BigMap {
    /// Makes a map with `size` bytes, all zero. `extra_flags` in addition to BPF_F_MMAPABLE.
    fn create(name: &'static str, size: u64, extra_flags: u32) -> Result<Self, KernelError> {
        let what = || format!("create map {name} of {size} bytes");
        let size = u32::try_from(size).map_err(|_| KernelError::Call {
            what: what(),
            error: std::io::ErrorKind::OutOfMemory.into(),
        })?;
        let shape = sys::single(size, BPF_F_MMAPABLE | extra_flags);
        let fd = sys::map_create(name, &shape).map_err(KernelError::call(what()))?;
        Ok(Self { name, fd, size })
    }

    /// A map with exactly these bytes, which the program can read and nobody can change.
    pub(crate) fn constant(name: &'static str, bytes: &[u8]) -> Result<Self, KernelError> {
        let map = Self::create(name, bytes.len() as u64, BPF_F_RDONLY_PROG)?;
        // The kernel maps memory that programs may only read for nobody to write, hence one copy.
        map.set(bytes)?;
        sys::map_freeze(map.fd()).map_err(KernelError::call(format!("freeze map {name}")))?;
        Ok(map)
    }

    /// The table of interfaces, and behind it that of stations; and how many of those did not fit, the
    /// last ones first.
    pub(crate) fn interfaces(
        entries: &[InterfaceEntry],
        stations: &[u64],
    ) -> Result<(Self, usize), KernelError> {
        let interfaces = interface_table(entries)?;
        let (stations, left_out) = station_table(stations);
        let bytes: [&[u8]; 2] = [
            bytemuck::cast_slice(&interfaces),
            bytemuck::cast_slice(&stations),
        ];
        let bytes = bytes.concat();
        // Not frozen: see `add_interface`.
        let map = Self::create(INTERFACES, bytes.len() as u64, BPF_F_RDONLY_PROG)?;
        map.set(&bytes)?;
        Ok((map, left_out))
    }

    /// Adds an entry to the table of interfaces of programs that run. Entries of interfaces that are not
    /// among the `filtered` ones make room. (None is ever taken out: the search for others goes over it.)
    pub(crate) fn add_interface(
        &self,
        entry: InterfaceEntry,
        filtered: &[u32],
    ) -> Result<(), KernelError> {
        let mut bytes = self.map()?.to_vec();
        let size = size_of::<InterfaceEntry>();
        let (table, _) = bytes.split_at_mut(INTERFACE_TABLE * size);
        let place = place_of(entry.ifindex, |place| {
            let found = &table[place * size..(place + 1) * size];
            let found: InterfaceEntry = bytemuck::pod_read_unaligned(found);
            found.ifindex == entry.ifindex || !filtered.contains(&found.ifindex)
        })?;
        table[place * size..(place + 1) * size].copy_from_slice(bytemuck::bytes_of(&entry));
        // All words but one stay what they were, and none is ever seen by halves.
        self.set(&bytes)
    }

    fn set(&self, bytes: &[u8]) -> Result<(), KernelError> {
        sys::map_set(self.fd(), bytes).map_err(KernelError::call(format!("fill map {}", self.name)))
    }

    /// A region of memory that programs keep, all zero.
    pub(super) fn region(name: &'static str, size: u32) -> Result<Self, KernelError> {
        Self::create(name, size.into(), 0)
    }

    /// New counters by interface and reason.
    pub(crate) fn new_reasons() -> Result<Self, KernelError> {
        Self::create(
            REASONS,
            u64::from(REASONS_STRIDE) * u64::from(host::cpus()?),
            0,
        )
    }

    /// New counters by port.
    pub(crate) fn new_ports() -> Result<Self, KernelError> {
        Self::create(PORTS, u64::from(PORTS_STRIDE) * u64::from(host::cpus()?), 0)
    }

    /// New counters for `slots` rules, with the region for carried totals.
    pub(crate) fn new_rules(slots: u32) -> Result<Self, KernelError> {
        Self::create(
            RULES,
            u64::from(rules_stride(slots)) * (u64::from(host::cpus()?) + 1),
            0,
        )
    }

    /// Scratch memory for headers beyond a frame's first buffer, if there are such frames.
    pub(super) fn scratch(config: &Config) -> Result<Self, KernelError> {
        let size = match config.frags {
            0 => 8,
            _ => u64::from(SCRATCH_STRIDE) * u64::from(config.cpus),
        };
        Self::create(SCRATCH, size, 0)
    }

    /// Opens a pinned map and checks its shape: `expected_size` bytes, or any size for `None`.
    pub(crate) fn open(
        name: &'static str,
        pin: &Path,
        expected_size: Option<u64>,
    ) -> Result<Self, KernelError> {
        let fd =
            sys::open_pin(pin).map_err(KernelError::call(format!("open map {}", pin.display())))?;
        let (_, found) = sys::map_info(fd.as_fd()).map_err(KernelError::call(format!(
            "read the shape of map {}",
            pin.display()
        )))?;
        let expected = MapShape {
            flags: found.flags & BPF_F_RDONLY_PROG | BPF_F_MMAPABLE,
            ..sys::single(found.value_size, 0)
        };
        if found != expected || expected_size.is_some_and(|s| s != u64::from(found.value_size)) {
            return Err(KernelError::State(format!(
                "map {} has an unknown layout (type {}, {} entries of {} bytes, flags {:#x}); it \
                 was made by another version",
                pin.display(),
                found.kind,
                found.max_entries,
                found.value_size,
                found.flags
            )));
        }
        Ok(Self {
            name,
            fd,
            size: found.value_size,
        })
    }

    /// Opens pinned reason counters.
    pub(crate) fn open_reasons(pin: &Path) -> Result<Self, KernelError> {
        Self::open(
            REASONS,
            pin,
            Some(u64::from(REASONS_STRIDE) * u64::from(host::cpus()?)),
        )
    }

    /// Opens pinned port counters.
    pub(crate) fn open_ports(pin: &Path) -> Result<Self, KernelError> {
        Self::open(
            PORTS,
            pin,
            Some(u64::from(PORTS_STRIDE) * u64::from(host::cpus()?)),
        )
    }

    /// Opens pinned rule counters.
    pub(crate) fn open_rules(pin: &Path) -> Result<Self, KernelError> {
        let map = Self::open(RULES, pin, None)?;
        if !map.size.is_multiple_of((host::cpus()? + 1) * 64) {
            return Err(KernelError::State(format!(
                "map {} has {} bytes, which is not a region for each CPU; it was made by another \
                 version",
                pin.display(),
                map.size
            )));
        }
        Ok(map)
    }

    /// Its name.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Its descriptor.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> usize {
        self.size as usize
    }

    /// Its id in the kernel.
    pub(crate) fn id(&self) -> Result<u32, KernelError> {
        let (id, _) = sys::map_info(self.fd()).map_err(KernelError::call(format!(
            "read the id of map {}",
            self.name
        )))?;
        Ok(id)
    }

    /// Another descriptor of the same map.
    pub(crate) fn try_clone(&self) -> Result<Self, KernelError> {
        let fd = self.fd.try_clone().map_err(KernelError::call(format!(
            "duplicate the descriptor of {}",
            self.name
        )))?;
        Ok(Self { fd, ..*self })
    }

    /// Its descriptor, to keep.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Pins it at `path`.
    pub(crate) fn pin(&self, path: &Path) -> Result<(), KernelError> {
        sys::pin(self.fd(), path).map_err(KernelError::call(format!("pin {}", path.display())))
    }

    /// Maps it for reading.
    pub(crate) fn map(&self) -> Result<Mapping, KernelError> {
        Mapping::read_only(self.fd(), self.size())
            .map_err(KernelError::call(format!("mmap {}", self.name)))
    }

    /// Maps it for reading and writing.
    pub(crate) fn map_writable(&self) -> Result<Mapping, KernelError> {
        Mapping::writable(self.fd(), self.size())
            .map_err(KernelError::call(format!("mmap {} for writing", self.name)))
    }
}

/// Makes the map of a record's bytes.
pub(crate) fn record(bytes: &[u8]) -> Result<BigMap, KernelError> {
    BigMap::constant(RECORD, bytes)
}

/// Lays interfaces out as the program looks them up.
fn interface_table(
    entries: &[InterfaceEntry],
) -> Result<[InterfaceEntry; INTERFACE_TABLE], KernelError> {
    let mut table = [InterfaceEntry::default(); INTERFACE_TABLE];
    for entry in entries {
        let place = place_of(entry.ifindex, |place| table[place].ifindex == 0)?;
        table[place] = *entry;
    }
    Ok(table)
}

/// The place of an interface in the table, of those that are free.
fn place_of(ifindex: u32, is_free: impl Fn(usize) -> bool) -> Result<usize, KernelError> {
    let start = interface_hash(ifindex) as usize;
    let mut places = (start..=start + INTERFACE_PROBES as usize).map(|at| at % INTERFACE_TABLE);
    places.find(|&place| is_free(place)).ok_or_else(|| {
        KernelError::State(format!(
            "interface index {ifindex} does not fit into the interface table: too many indices with \
             one hash. Filter fewer interfaces"
        ))
    })
}

/// Lays stations out as the program looks them up; and how many of them do not fit.
fn station_table(words: &[u64]) -> ([u64; STATIONS], usize) {
    let mut table = [0; STATIONS];
    let mut left_out = 0;
    for &word in words {
        let start = station_hash(word) as usize;
        let free = (start..=start + STATION_PROBES as usize)
            .map(|place| place % STATIONS)
            .find(|&place| table[place] == 0);
        match free {
            Some(place) => table[place] = word,
            None => left_out += 1,
        }
    }
    (table, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewall_common::abi::station;

    #[test]
    fn every_interface_is_found_within_the_probes() {
        let entries: Vec<InterfaceEntry> = (0..63u16)
            .map(|i| InterfaceEntry {
                ifindex: u32::from(i) * 3 + 1,
                slot: i + 1,
                zone: i,
            })
            .collect();
        let table = interface_table(&entries).unwrap();
        for entry in &entries {
            let start = interface_hash(entry.ifindex) as usize;
            let found = (start..=start + INTERFACE_PROBES as usize)
                .map(|place| table[place % INTERFACE_TABLE])
                .find(|candidate| candidate.ifindex == entry.ifindex);
            assert_eq!(found, Some(*entry));
        }
        assert_eq!(table.iter().filter(|entry| entry.ifindex != 0).count(), 63);
    }

    #[test]
    fn indices_that_collide_too_often_are_refused() {
        // Fibonacci hashing is a bijection on 32 bits, so indices with one hash can be searched.
        let same: Vec<InterfaceEntry> = (1..)
            .filter(|&ifindex| interface_hash(ifindex) == 7)
            .take(INTERFACE_PROBES as usize + 2)
            .map(|ifindex| InterfaceEntry {
                ifindex,
                slot: 1,
                zone: 0,
            })
            .collect();
        assert!(interface_table(&same[..=INTERFACE_PROBES as usize]).is_ok());
        assert!(
            interface_table(&same)
                .unwrap_err()
                .to_string()
                .contains("does not fit")
        );
    }

    #[test]
    fn every_station_is_found_within_the_probes() {
        let words: Vec<u64> = (0..300).map(|mac| station(mac % 64, mac.into())).collect();
        let (table, left_out) = station_table(&words);
        assert_eq!(left_out, 0);
        for word in words {
            let start = station_hash(word) as usize;
            let mut probes = start..=start + STATION_PROBES as usize;
            assert!(word == 0 || probes.any(|place| table[place % STATIONS] == word));
        }
        let same: Vec<u64> = (1..)
            .filter(|&word| station_hash(word) == 7)
            .take(12)
            .collect();
        let (table, left_out) = station_table(&same);
        assert_eq!((table[7], left_out), (same[0], 3));
    }

    #[test]
    fn rule_maps_have_room_to_swap_every_rule() {
        assert_eq!(rule_slots(0), 1024);
        assert_eq!(rule_slots(512), 1024);
        assert_eq!(rule_slots(513), 2048);
        assert_eq!(rule_slots(100_000), 262_144);
        assert_eq!(rules_stride(1024) % 64, 0);
    }
}
