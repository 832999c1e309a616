//! The regions of memory that programs keep from packet to packet ([`Region`]): making their maps,
//! handing them on from generation to generation, and using them from here while a program does.
//!
//! A region that is handed on has a header behind it, which no program reaches. It holds the secret
//! with which the region's hashes begin; every generation that uses the region gets it as constants.
//!
//! Invariant: a region that is found is used on only if it has exactly the size that the new
//! generation would have made, and its content means the same.

use super::KernelError;
use super::clock;
use super::mapping::Mapping;
use super::maps::BigMap;
use firewall_common::abi::Config;
use firewall_common::machine::Machine;
use firewall_common::plain::Plain;
use firewall_common::region::{REGION_HEADER, Region, UNUSED_SIZE};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The maps of all regions, in index order.
#[derive(Debug)]
pub(crate) struct Regions {
    maps: [BigMap; Region::COUNT],
}

/// Bytes of a region's map under these constants, header included.
fn map_size(region: Region, config: &Config) -> u32 {
    match *region.size(config) {
        0 => UNUSED_SIZE,
        _ if !is_used(region, config) => UNUSED_SIZE,
        size if region.is_handed_on() => size + REGION_HEADER,
        size => size,
    }
}

/// Whether the policy of these constants uses a region.
pub(crate) fn is_used(region: Region, config: &Config) -> bool {
    match region {
        Region::Fragments => {
            config.packet.fragments == firewall_common::abi::fragments::FOLLOW_FIRST
        }
        _ => *region.size(config) > UNUSED_SIZE,
    }
}

impl Regions {
    /// New ones, all zero: as large as the constants say, and as little as a map can be where the
    /// policy has no use for one. Their secrets are those of `config`.
    pub(crate) fn new(config: &Config) -> Result<Self, KernelError> {
        Self::obtain(config, |_| None)
    }

    /// As [`Regions::new`], but a region that `found` gives is used on, if it fits.
    pub(crate) fn obtain(
        config: &Config,
        found: impl Fn(Region) -> Option<BigMap>,
    ) -> Result<Self, KernelError> {
        let obtain = |region: Region| {
            let size = map_size(region, config);
            let fits = |map: &BigMap| {
                map.size() == size as usize
                    && is_used(region, config)
                    && (region != Region::Buckets
                        || Shared::of(map).is_ok_and(|it| it.layout() == config.buckets_layout))
            };
            match found(region).filter(fits) {
                Some(map) => Ok(map),
                None => Self::begin(region, size),
            }
        };
        let [fragments, flows, buckets, live, log, proof, syns, watch] = Region::ALL.map(obtain);
        Ok(Self {
            maps: [
                fragments?, flows?, buckets?, live?, log?, proof?, syns?, watch?,
            ],
        })
    }

    /// A region as it begins: all zero, but for the times of SYNs that nobody has noted.
    fn begin(region: Region, size: u32) -> Result<BigMap, KernelError> {
        let map = BigMap::region(region.name(), size)?;
        if region == Region::Syns && size > UNUSED_SIZE {
            let (shared, now) = (Shared::of(&map)?, super::flows::now());
            for index in 0..shared.words() {
                shared.write(index, now);
            }
        }
        Ok(map)
    }

    /// One region's map.
    pub(crate) fn map(&self, region: Region) -> &BigMap {
        &self.maps[region as usize]
    }

    /// All maps.
    pub(crate) fn maps(&self) -> impl Iterator<Item = &BigMap> {
        self.maps.iter()
    }

    /// The regions that a generation's folder holds: those that are in use and handed on.
    pub(crate) fn pinned<'a>(&'a self, config: &'a Config) -> impl Iterator<Item = &'a BigMap> {
        Region::ALL
            .into_iter()
            .filter(|&region| region.is_handed_on() && is_used(region, config))
            .map(|region| self.map(region))
    }

    /// Writes the secrets of the regions in use to `config`. A region that has none yet gets one.
    pub(crate) fn seed(&self, config: &mut Config) -> Result<(), KernelError> {
        for region in [Region::Flows, Region::Buckets, Region::Live] {
            if !is_used(region, config) {
                continue;
            }
            let shared = Shared::of(self.map(region))?;
            let seed = shared.seed();
            match region {
                Region::Fragments | Region::Log | Region::Proof | Region::Syns | Region::Watch => {}
                Region::Flows => config.flows_seed = seed,
                Region::Buckets => {
                    shared.set_layout(config.buckets_layout);
                    config.buckets_seed = seed;
                }
                Region::Live => config.live_seed = seed,
            }
        }
        Ok(())
    }

    /// Writes what the program must know of the maps as they are to `config`.
    pub(super) fn sizes(&self, config: &mut Config) {
        let size = |region: Region| {
            let size = self.map(region).size() as u32;
            match size {
                UNUSED_SIZE => size,
                size => size - REGION_HEADER,
            }
        };
        config.flows_size = size(Region::Flows);
        config.buckets_size = size(Region::Buckets);
        config.live_size = size(Region::Live);
        config.log_size = size(Region::Log);
        config.proof_size = size(Region::Proof);
        config.syns_size = size(Region::Syns);
    }
}

/// A region that is handed on, memory-mapped: used while programs use it.
#[derive(Debug)]
pub(crate) struct Shared {
    memory: Memory,
    /// Words of the map, header included.
    words: usize,
}

#[derive(Debug)]
enum Memory {
    Whole(Mapping),
    Windows(Windows),
}

/// A map that is mapped where it is touched: for a few words of many megabytes, whose mapping would
/// take longer than all the rest.
#[derive(Debug)]
struct Windows {
    map: BigMap,
    windows: Box<[OnceLock<Option<Mapping>>]>,
    /// Whether some window could not be mapped: reads were 0 and writes were lost.
    is_broken: AtomicBool,
}

/// Bytes of a window.
const WINDOW: usize = 64 << 10;

impl Windows {
    fn word(&self, index: usize) -> Option<&AtomicU64> {
        let (window, rest) = (index / (WINDOW / 8), index % (WINDOW / 8));
        let mapping = self.windows[window].get_or_init(|| {
            let offset = window * WINDOW;
            let len = WINDOW.min(self.map.size() - offset);
            Mapping::window(self.map.fd(), offset as u64, len).ok()
        });
        let word = mapping
            .as_ref()
            .and_then(|mapping| mapping.words().get(rest));
        if word.is_none() {
            self.is_broken.store(true, Ordering::Relaxed);
        }
        word
    }
}

impl Shared {
    /// Maps a region that is in use.
    pub(crate) fn of(map: &BigMap) -> Result<Self, KernelError> {
        if map.size() <= REGION_HEADER as usize {
            return Err(KernelError::State(format!(
                "map {} has {} bytes, which is no region in use; it was made by another version",
                map.name(),
                map.size()
            )));
        }
        Ok(Self {
            memory: Memory::Whole(map.map_writable()?),
            words: map.size() / 8,
        })
    }

    /// As [`Shared::of`], mapped where it is touched. [`Shared::is_broken`] says whether that failed.
    pub(crate) fn in_windows(map: &BigMap) -> Result<Self, KernelError> {
        if map.size() <= REGION_HEADER as usize {
            return Self::of(map);
        }
        let windows = (0..map.size().div_ceil(WINDOW)).map(|_| OnceLock::new());
        Ok(Self {
            memory: Memory::Windows(Windows {
                map: map.try_clone()?,
                windows: windows.collect(),
                is_broken: AtomicBool::new(false),
            }),
            words: map.size() / 8,
        })
    }

    /// Whether a part of the memory could not be had: what was read is worth nothing then.
    pub(crate) fn is_broken(&self) -> bool {
        match &self.memory {
            Memory::Whole(_) => false,
            Memory::Windows(windows) => windows.is_broken.load(Ordering::Relaxed),
        }
    }

    fn word(&self, index: usize) -> Option<&AtomicU64> {
        match &self.memory {
            Memory::Whole(mapping) => mapping.words().get(index),
            Memory::Windows(windows) => windows.word(index),
        }
    }

    /// What the buckets of rate limits mean ([`Config::buckets_layout`]): those of other limits
    /// are worth nothing.
    fn layout(&self) -> u32 {
        self.read(self.words() + 1) as u32
    }

    /// Sets [`Shared::layout`]. Needs the lock on the store.
    fn set_layout(&self, layout: u32) {
        self.write(self.words() + 1, layout.into());
    }

    /// The secret in the header, made now if there is none. Needs the lock on the store.
    pub(super) fn seed(&self) -> [u32; 2] {
        let place = self.words();
        let mut seed = self.read(place);
        if seed == 0 {
            seed = RandomState::new().hash_one("region") | 1;
            self.write(place, seed);
        }
        [seed as u32, (seed >> 32) as u32]
    }
}

impl Shared {
    /// How many words the region has, header excluded: a power of two.
    pub(crate) fn words(&self) -> usize {
        self.words - REGION_HEADER as usize / 8
    }

    /// Reads word `index`. Without its lock, the next word may be of another moment.
    pub(crate) fn read(&self, index: usize) -> u64 {
        self.word(index)
            .map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Sets word `index`. The caller holds the lock of what it belongs to.
    pub(crate) fn write(&self, index: usize, word: u64) {
        if let Some(place) = self.word(index) {
            place.store(word, Ordering::Release);
        }
    }

    /// Sets word `index` to `new` if it is `old`, and says whether it was.
    pub(crate) fn exchange_if(&self, index: usize, old: u64, new: u64) -> bool {
        self.word(index).is_some_and(|word| {
            let order = Ordering::SeqCst;
            word.compare_exchange(old, new, order, order).is_ok()
        })
    }
}

/// A [`Machine`] that has one region and nothing else: for running the programs' own code on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RegionMachine<'a> {
    words: &'a Shared,
    config: &'a Config,
}

impl<'a> RegionMachine<'a> {
    /// `config` holds the constants that the code asks for.
    pub(crate) fn new(words: &'a Shared, config: &'a Config) -> Self {
        Self { words, config }
    }

    /// What a lock holds that is taken from here.
    pub(crate) const LOCKED: u64 = 2;

    /// The index of the word at a byte offset, which wraps round as in the program.
    fn index(self, offset: u64) -> usize {
        (offset as usize / 8) & (self.words.words() - 1)
    }
}

impl Plain for RegionMachine<'_> {}

impl Machine for RegionMachine<'_> {
    fn constant(&self, pick: impl Fn(&Config) -> &u32) -> u32 {
        *pick(self.config)
    }

    fn table_u16(&self, _offset: u64) -> u32 {
        0
    }

    fn table_u32(&self, _offset: u64) -> u32 {
        0
    }

    fn table_u64(&self, _offset: u64) -> u64 {
        0
    }

    fn opaque(&self, value: u64) -> u64 {
        value
    }

    fn forget(&self, value: u64) -> u64 {
        value
    }

    fn now(&self) -> u64 {
        clock::now().as_nanos() as u64
    }

    fn read(&self, _region: Region, offset: u64) -> u64 {
        self.words.read(self.index(offset))
    }

    fn write(&self, _region: Region, offset: u64, word: u64) {
        self.words.write(self.index(offset), word);
    }

    fn exchange_if(&self, _region: Region, offset: u64, old: u64, new: u64) -> bool {
        self.words.exchange_if(self.index(offset), old, new)
    }

    fn try_lock(&self, region: Region, offset: u64) -> bool {
        self.exchange_if(region, offset, 0, Self::LOCKED)
    }

    fn unlock(&self, region: Region, offset: u64) {
        self.write(region, offset, 0);
    }

    fn count_rule(&self, _slot: u32) {}

    fn quiet(&self) -> Self {
        *self
    }
}
