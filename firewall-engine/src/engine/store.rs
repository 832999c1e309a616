//! The folder of pins: generations, their records, the links.
//!
//! ```text
//! ROOT/daemon/                     locked by the daemon for as long as it runs
//! ROOT/links/IFNAME                the link of each interface (`.` written as `:`)
//! ROOT/egress/IFNAME               the egress link of each interface, if there is an egress program
//!             IFNAME_IFINDEX/      before Linux 6.6, a folder that stands for the `clsact` filter
//! ROOT/gen-N/prog, prog_ip         the programs of generation N: for Ethernet frames, and for frames that
//!                                  begin with the IP header, if there are such interfaces
//!            egress, egress_ip     its egress programs, if the policy uses state or accepts solicited
//!                                  traffic
//!            record                fw_record: the JSON of `Record`
//!            fw_tables, fw_interfaces                 of this generation alone
//!            fw_reasons, fw_ports, fw_rules           shared with the generation before
//!            fw_flows, fw_buckets, fw_live, fw_proof, fw_syns  the same; only where the policy uses them
//!            fw_watch                                 the same, always
//! ```
//!
//! A generation's folder holds everything that belongs to it, and is complete before a link runs
//! its program. **The generation in force is the newest whose program a link runs.** So there is
//! no pointer that a crash could corrupt: the links always define the active generation, and its
//! record is next to its program. A folder whose program no link runs is a leftover of a crash, and
//! the next change removes it.

use super::Record;
use super::ledger::state_of;
use crate::kernel::counters::CounterMaps;
use crate::kernel::link::{Carried, Link};
use crate::kernel::maps::{self, BigMap};
use crate::kernel::program::{Framing, Program};
use crate::kernel::{Hook, KernelError, host};
use firewall_common::abi::ABI_VERSION;
use firewall_common::region::Region;
use serde::Deserialize;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Name of a program's pin.
const fn pin_name(hook: Hook, framing: Framing) -> &'static str {
    match (hook, framing) {
        (Hook::Xdp, Framing::Ethernet) => "prog",
        (Hook::Xdp, Framing::RawIp) => "prog_ip",
        (Hook::Egress, Framing::Ethernet) => "egress",
        (Hook::Egress, Framing::RawIp) => "egress_ip",
    }
}
/// Name of the record's pin.
const RECORD: &str = "record";
/// The record while it is being replaced.
const NEW_RECORD: &str = "record_new";

/// In the folder of pins, what the daemon keeps locked.
pub(super) const DAEMON: &str = "daemon";

/// The folder of pins, and that of what outlives them.
#[derive(Clone, Debug)]
pub(super) struct Store {
    root: PathBuf,
    state: PathBuf,
}

/// A generation that is pinned.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) number: u64,
    pub(super) folder: Folder,
    /// None in a folder that was being made or removed when its owner died.
    pub(super) programs: Vec<(Hook, Framing, Program)>,
}

impl Generation {
    /// Its program for a hook, and for frames that begin so.
    pub(super) fn program_at(&self, hook: Hook, framing: Framing) -> Option<&Program> {
        let mut all = self.programs.iter();
        let found = all.find(|(at, of, _)| (*at, *of) == (hook, framing));
        found.map(|(_, _, program)| program)
    }

    /// The one with an id, and what frames it is for.
    pub(super) fn program(&self, hook: Hook, id: u32) -> Option<(Framing, &Program)> {
        let mut all = self.programs.iter();
        let found = all.find(|(at, _, program)| *at == hook && program.id() == id);
        found.map(|(_, framing, program)| (*framing, program))
    }

    /// Ids of its programs for a hook, as their pins have them.
    pub(super) fn ids(&self, hook: Hook) -> Vec<u32> {
        let of_hook = self.programs.iter().filter(|(at, ..)| *at == hook);
        of_hook.map(|(_, _, program)| program.id()).collect()
    }

    /// Whether it takes note of what leaves.
    pub(super) fn has_egress(&self) -> bool {
        self.programs.iter().any(|(hook, ..)| *hook == Hook::Egress)
    }
}

/// A pinned link.
#[derive(Debug)]
pub(super) struct PinnedLink {
    /// The interface's name when it was pinned.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) link: Link,
    /// Whether an interface of this network namespace carries the program by it.
    is_carried: bool,
}

impl PinnedLink {
    /// `carried`: what interfaces carry, as far as that is known.
    fn open(path: PathBuf, name: &str, carried: &Carried) -> Result<Self, KernelError> {
        let link = Link::open(&path)?;
        Ok(Self {
            is_carried: carried.has(&link) || link.is_carried()?,
            name: name.replace(':', "."),
            path,
            link,
        })
    }

    /// Whether the interface that it was made for is still there, in this network namespace.
    pub(super) fn is_alive(&self) -> bool {
        self.is_carried
    }

    /// Whether that interface is still there, perhaps in another namespace.
    pub(super) fn is_attached(&self) -> bool {
        self.link.facts().ifindex != 0
    }

    /// Whether it holds the interface with an index in this namespace.
    pub(super) fn is_on(&self, ifindex: u32) -> bool {
        self.is_carried && self.link.facts().ifindex == ifindex
    }
}

/// Everything that is pinned.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Oldest first.
    pub(super) generations: Vec<Generation>,
    pub(super) links: Vec<PinnedLink>,
    /// The links of egress programs. What is in force does not depend on them.
    pub(super) egress: Vec<PinnedLink>,
}

impl Survey {
    /// The generation in force.
    pub(super) fn in_force(&self) -> Option<&Generation> {
        self.generations.iter().rev().find(|generation| {
            let mut links = self.links.iter();
            links.any(|link| {
                let id = link.link.facts().program_id;
                generation.program(Hook::Xdp, id).is_some()
            })
        })
    }

    /// The number of the generation whose program a link of what comes in runs.
    pub(super) fn generation_of(&self, link: &PinnedLink) -> Option<u64> {
        self.generation_at(Hook::Xdp, link)
    }

    /// The number of the generation whose program for a hook a link runs.
    pub(super) fn generation_at(&self, hook: Hook, link: &PinnedLink) -> Option<u64> {
        let id = link.link.facts().program_id;
        let runs = |generation: &&Generation| generation.program(hook, id).is_some();
        self.generations
            .iter()
            .find(runs)
            .map(|generation| generation.number)
    }

    /// Indices of the interfaces that are filtered.
    pub(super) fn filtered(&self) -> Vec<u32> {
        let alive = self.links.iter().filter(|link| link.is_alive());
        alive.map(|link| link.link.facts().ifindex).collect()
    }

    /// The link that is attached to an interface.
    pub(super) fn link_on(&self, ifindex: u32) -> Option<&PinnedLink> {
        self.links.iter().find(|link| link.is_on(ifindex))
    }

    /// The number of the newest generation that is pinned; 0 if none is.
    pub(super) fn newest(&self) -> u64 {
        let newest = self.generations.last();
        newest.map_or(0, |generation| generation.number)
    }
}

impl Store {
    pub(super) fn new(root: PathBuf) -> Self {
        let state = state_of(&root);
        Self { root, state }
    }

    /// The same pins, with another folder of state.
    pub(super) fn with_state(self, state: PathBuf) -> Self {
        Self { state, ..self }
    }

    /// The folder of what outlives the pins.
    pub(super) fn state(&self) -> &Path {
        &self.state
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a generation.
    pub(super) fn folder(&self, number: u64) -> Folder {
        Folder {
            path: self.root.join(format!("gen-{number}")),
        }
    }

    /// The folder of links.
    pub(super) fn links_folder(&self) -> PathBuf {
        self.root.join("links")
    }

    /// The folder of links of egress programs.
    pub(super) fn egress_folder(&self) -> PathBuf {
        self.root.join("egress")
    }

    /// Where the egress link of an interface is pinned.
    pub(super) fn egress_path(&self, interface: &str) -> PathBuf {
        self.egress_folder().join(interface.replace('.', ":"))
    }

    /// Where the link of an interface is pinned. A BPF file system takes no dots in names, and an
    /// interface has no colon in its name.
    pub(super) fn link_path(&self, interface: &str) -> PathBuf {
        self.links_folder().join(interface.replace('.', ":"))
    }

    /// Looks at everything that is pinned; nothing at all if the folder is not there.
    pub(super) fn survey(&self) -> Result<Survey, KernelError> {
        self.survey_past(Err)
    }

    /// As [`Store::survey`], past what cannot be read: that is left out, and handed back.
    pub(super) fn survey_readable(&self) -> (Survey, Vec<KernelError>) {
        let mut unreadable = Vec::new();
        let survey = self.survey_past(|error| {
            unreadable.push(error);
            Ok(())
        });
        let survey = survey.unwrap_or_else(|error| {
            unreadable.push(error);
            Survey::default()
        });
        (survey, unreadable)
    }

    fn survey_past(
        &self,
        mut past: impl FnMut(KernelError) -> Result<(), KernelError>,
    ) -> Result<Survey, KernelError> {
        let mut survey = Survey::default();
        for name in names_in(&self.root).or_else(|error| past(error).map(|()| Vec::new()))? {
            let Some(number) = name
                .strip_prefix("gen-")
                .and_then(|number| number.parse().ok())
            else {
                continue;
            };
            let folder = self.folder(number);
            let programs = folder
                .programs()
                .or_else(|error| past(error).map(|()| Vec::new()))?;
            survey.generations.push(Generation {
                number,
                folder,
                programs,
            });
        }
        let generations = &mut survey.generations;
        generations.sort_by_key(|generation| generation.number);
        let carried = Carried::now();
        survey.links = links_in(&self.links_folder(), &carried, &mut past)?;
        survey.egress = links_in(&self.egress_folder(), &Carried::default(), &mut past)?;
        Ok(survey)
    }

    /// Removes the root folder if nothing is left in it and it was made here.
    pub(super) fn remove_if_empty(&self) {
        let _ = fs::remove_dir(self.links_folder());
        let _ = fs::remove_dir(self.egress_folder());
        let daemon = self.root.join(DAEMON);
        if let Ok(Some(_unused)) = host::hold(&daemon) {
            let _ = fs::remove_dir(&daemon);
        }
        if host::is_made_here(&self.root) {
            let _ = fs::remove_dir(&self.root);
        }
    }
}

/// The links in a folder, by name. `past` says what becomes of one that cannot be read.
fn links_in(
    folder: &Path,
    carried: &Carried,
    past: &mut impl FnMut(KernelError) -> Result<(), KernelError>,
) -> Result<Vec<PinnedLink>, KernelError> {
    let mut links = Vec::new();
    for name in names_in(folder).or_else(|error| past(error).map(|()| Vec::new()))? {
        match PinnedLink::open(folder.join(&name), &name, carried) {
            Ok(pinned) => links.push(pinned),
            Err(error) => past(error)?,
        }
    }
    links.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(links)
}

/// The names in a folder; none if the folder is not there.
fn names_in(folder: &Path) -> Result<Vec<String>, KernelError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            host::require_privilege()?;
            return Err(KernelError::call(format!("read {}", folder.display()))(
                error,
            ));
        }
        answer => answer.map_err(KernelError::call(format!("read {}", folder.display())))?,
    };
    Ok(entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect())
}

/// The folder of one generation.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

/// The part of every version's record that says which version wrote it.
#[derive(Deserialize)]
struct RecordVersion {
    abi_version: u32,
}

impl Folder {
    /// Makes it.
    pub(super) fn create(&self) -> Result<(), KernelError> {
        fs::create_dir(&self.path).map_err(KernelError::call(format!(
            "make folder {}",
            self.path.display()
        )))
    }

    /// Removes it with everything in it.
    pub(super) fn remove(&self) -> Result<(), KernelError> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            answer => answer.map_err(KernelError::call(format!("remove {}", self.path.display()))),
        }
    }

    /// Pins a map under its name.
    pub(super) fn pin_map(&self, map: &BigMap) -> Result<(), KernelError> {
        map.pin(&self.path.join(map.name()))
    }

    /// Pins a program.
    pub(super) fn pin_program(
        &self,
        hook: Hook,
        framing: Framing,
        program: &Program,
    ) -> Result<(), KernelError> {
        program.pin(&self.path.join(pin_name(hook, framing)))
    }

    /// Opens the programs that are pinned.
    fn programs(&self) -> Result<Vec<(Hook, Framing, Program)>, KernelError> {
        let mut programs = Vec::new();
        for hook in [Hook::Xdp, Hook::Egress] {
            for framing in Framing::ALL {
                let pin = self.path.join(pin_name(hook, framing));
                if pin.exists() {
                    programs.push((hook, framing, Program::open(&pin)?));
                }
            }
        }
        Ok(programs)
    }

    /// Writes the record, in one step if there is one already.
    pub(super) fn write_record(&self, record: &Record) -> Result<(), KernelError> {
        let json = serde_json::to_vec(record)
            .map_err(|error| KernelError::State(format!("cannot write the record: {error}")))?;
        let (new, place) = (self.path.join(NEW_RECORD), self.path.join(RECORD));
        // From a process that died here.
        let _ = fs::remove_file(&new);
        maps::record(&json)?.pin(&new)?;
        fs::rename(&new, &place).map_err(KernelError::call(format!("rename {}", new.display())))
    }

    /// Reads the record.
    pub(super) fn read_record(&self) -> Result<Record, KernelError> {
        let pin = self.path.join(RECORD);
        let map = BigMap::open(maps::RECORD, &pin, None)?;
        let json = map.map()?.to_vec();
        let unreadable = |error: serde_json::Error| {
            KernelError::State(format!(
                "the record {} cannot be read: {error}",
                pin.display()
            ))
        };
        let answer: Result<Record, _> = serde_json::from_slice(&json);
        let version = match &answer {
            Ok(record) => record.abi_version,
            // Another version's record may have another form.
            Err(_) => {
                serde_json::from_slice::<RecordVersion>(&json)
                    .map_err(unreadable)?
                    .abi_version
            }
        };
        if version != ABI_VERSION {
            return Err(KernelError::State(format!(
                "{} was made by another version of firewall-ctl (map layout {}, this one has \
                 {ABI_VERSION}); it keeps filtering. `apply` or `load` replaces it, with counters \
                 from zero",
                self.path.display(),
                version
            )));
        }
        answer.map_err(unreadable)
    }

    /// Another number after each time that the record was written.
    pub(super) fn record_stamp(&self) -> u64 {
        let pin = fs::metadata(self.path.join(RECORD));
        pin.map_or(0, |pin| pin.ino())
    }

    /// The pins of maps that it should have and has not.
    pub(super) fn missing(&self, record: &Record) -> Vec<&'static str> {
        let own = [
            maps::TABLES,
            maps::INTERFACES,
            maps::REASONS,
            maps::PORTS,
            maps::RULES,
            Region::Live.name(),
            Region::Watch.name(),
        ];
        let flows = record.tracks.then_some(Region::Flows.name());
        let mut all: Vec<&str> = own.into_iter().chain(flows).collect();
        all.retain(|name| !self.path.join(name).exists());
        all
    }

    /// Opens its table of interfaces.
    pub(super) fn interfaces(&self) -> Result<BigMap, KernelError> {
        BigMap::open(maps::INTERFACES, &self.path.join(maps::INTERFACES), None)
    }

    /// Opens its reason counters.
    pub(super) fn reasons(&self) -> Result<BigMap, KernelError> {
        BigMap::open_reasons(&self.path.join(maps::REASONS))
    }

    /// Opens its port counters.
    pub(super) fn ports(&self) -> Result<BigMap, KernelError> {
        BigMap::open_ports(&self.path.join(maps::PORTS))
    }

    /// Opens its rule counters.
    pub(super) fn rules(&self) -> Result<BigMap, KernelError> {
        BigMap::open_rules(&self.path.join(maps::RULES))
    }

    /// Opens a region of memory that is handed on, if this generation uses it.
    pub(super) fn region(&self, region: Region) -> Option<BigMap> {
        let pin = self.path.join(region.name());
        // One that is not there is not in use; one of a strange shape is not used on.
        (region.is_handed_on() && pin.exists())
            .then(|| BigMap::open(region.name(), &pin, None).ok())
            .flatten()
    }

    /// Opens all its counters for reading.
    pub(super) fn counters(&self) -> Result<CounterMaps, KernelError> {
        CounterMaps::new(&self.reasons()?, &self.ports()?, &self.rules()?)
    }
}

/// Makes a folder of pins, with those above it.
pub(super) fn make_folder(folder: &Path) -> Result<(), KernelError> {
    fs::create_dir_all(folder).map_err(KernelError::call(format!(
        "make folder {}",
        folder.display()
    )))
}
