//! Desired state: the interfaces, and the objects of the new generation. Nothing here is pinned or
//! attached, so dropping it removes everything.

use super::Interface;
use super::counters::{Counters, Kept};
use super::make::Wanted;
use super::record::draft_record;
use crate::engine::files::{self, Source};
use crate::engine::resolve::Target;
use crate::engine::store::{PinnedLink, Survey};
use crate::engine::types::{EngineError, Record, Request, Selectors};
use crate::kernel::KernelError;
use crate::kernel::egress::By;
use crate::kernel::link;
use crate::kernel::maps::{self, BigMap};
use crate::kernel::program::ProgramMaps;
use crate::kernel::shared::Regions;
use firewall_common::abi::{Config, InterfaceEntry};
use firewall_common::live::SETS;
use firewall_common::region::Region;
use firewall_policy::rule::Mode;
use firewall_policy::tables::Tables;
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;

/// What is to be in force.
#[derive(Debug)]
pub(in crate::engine) struct Desired<'a> {
    pub(in crate::engine) request: &'a Request,
    pub(in crate::engine) source: &'a Source,
    pub(in crate::engine) targets: &'a [Target],
    /// The number of the generation to be.
    pub(in crate::engine) number: u64,
    /// Folder of what outlives the machine's next start.
    pub(in crate::engine) state: &'a Path,
    /// The words by which they were chosen.
    pub(in crate::engine) selectors: &'a Selectors,
    pub(in crate::engine) object: &'a [u8],
    /// Whether frames may come in several buffers.
    pub(in crate::engine) frags: bool,
    /// By what to attach to what leaves.
    pub(in crate::engine) egress_by: By,
    /// What is on record about the generation in force, or why that cannot be read.
    pub(in crate::engine) record: Option<&'a Result<Record, KernelError>>,
}

impl<'a> Desired<'a> {
    /// The record of the generation in force, if it can be read.
    pub(super) fn known(&self) -> Option<&'a Record> {
        self.record.and_then(|record| record.as_ref().ok())
    }
}

/// The mode in force of each target that we have a link on. A link keeps its mode for life, so
/// another mode needs a gap, which only the user may open.
pub(in crate::engine) fn check_modes(
    survey: &Survey,
    desired: &Desired<'_>,
) -> Result<Vec<Option<Mode>>, EngineError> {
    let mut modes = Vec::with_capacity(desired.targets.len());
    for target in desired.targets {
        let Some(pinned) = survey.link_on(target.ifindex) else {
            modes.push(None);
            continue;
        };
        let have = mode_in_force(pinned, target)?;
        let want = target.mode;
        if want != Mode::Auto && want != have {
            let (want, have) = (want.name(), have.name());
            return Err(KernelError::Attach {
                interface: target.name.clone(),
                mode: want,
                reason: format!(
                    "it is filtered in {have} mode, and a change of mode leaves a gap without \
                     filter. Nothing was changed; to change it, `firewall-ctl unload -i {}` and apply \
                     this once more",
                    target.name
                ),
            }
            .into());
        }
        modes.push(Some(have));
    }
    Ok(modes)
}

/// The mode of a link of our own, as the kernel has it.
fn mode_in_force(pinned: &PinnedLink, target: &Target) -> Result<Mode, KernelError> {
    let programs = link::programs_on(&target.name, target.ifindex)?;
    let id = pinned.link.facts().program_id;
    let ours = programs.iter().find(|program| program.program_id == id);
    Ok(if ours.is_some_and(|program| program.is_generic()) {
        Mode::Generic
    } else {
        Mode::Native
    })
}

/// All that the generation to be is made of, but for its programs.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) kept: Kept<'a>,
    pub(super) counters: Counters,
    pub(super) record: Record,
    pub(super) compiled: Tables,
    pub(super) config: Config,
    pub(super) tables: BigMap,
    /// The table of flows of the generation in force, if this one has one, too.
    pub(super) former_flows: Option<BigMap>,
    pub(super) interfaces: BigMap,
    pub(super) regions: Regions,
}

impl<'a> Draft<'a> {
    /// Compiles the policy, and makes the maps that are not handed on. `kept_modes` are those of
    /// the interfaces that are filtered already. Without `notes`, nothing is noted of what leaves but
    /// for rules that look at state.
    pub(super) fn make(
        survey: &Survey,
        desired: &Desired<'a>,
        kept_modes: &[Option<Mode>],
        notes: bool,
        warnings: &mut Vec<String>,
    ) -> Result<Self, EngineError> {
        let kept = Kept::open(survey, desired, warnings);
        let counters = Counters::obtain(&kept, desired)?;
        let compiled = files::compile(&desired.source.policy, &counters.rule_slots.slots)?;
        let mut record = draft_record(desired, &counters, compiled.bytes.len() as u64)?;
        for (interface, mode) in record.interfaces.iter_mut().zip(kept_modes) {
            if let Some(mode) = mode {
                interface.mode = *mode;
                interface.fallback = kept.fallback_of(interface.ifindex);
            }
        }
        let regions = Regions::obtain(&compiled.config, |region| kept.region(region))?;
        let mut config = config_of(desired, &record, &compiled);
        if !notes {
            config.asked = 0;
        }
        regions.seed(&mut config)?;
        let former_flows = kept.region(Region::Flows);
        Ok(Self {
            former_flows: former_flows.filter(|_| config.flows | config.asked != 0),
            tables: BigMap::constant(maps::TABLES, &compiled.bytes)?,
            interfaces: interface_map(&record, warnings)?,
            kept,
            counters,
            record,
            compiled,
            config,
            regions,
        })
    }

    /// The maps that its programs read and write.
    pub(super) fn maps(&self) -> ProgramMaps<'_> {
        ProgramMaps {
            tables: &self.tables,
            interfaces: &self.interfaces,
            reasons: &self.counters.reasons,
            ports: &self.counters.ports,
            rules: &self.counters.rules,
            regions: &self.regions,
        }
    }

    /// The maps that lie in its folder.
    pub(super) fn pinned(&self) -> impl Iterator<Item = &BigMap> {
        let all = self.maps();
        let own = [
            all.tables,
            all.interfaces,
            all.reasons,
            all.ports,
            all.rules,
        ];
        own.into_iter().chain(self.regions.pinned(&self.config))
    }

    /// What a plan must know of it.
    pub(super) fn wanted(&self, desired: &Desired<'_>) -> Result<Wanted, KernelError> {
        let interface = |target: &Target| Interface {
            name: target.name.clone(),
            index: target.ifindex,
        };
        let targets = desired.targets.iter();
        Ok(Wanted {
            targets: targets.map(|it| (interface(it), it.mode)).collect(),
            framings: desired.targets.iter().map(|it| it.framing).collect(),
            egress: self.config.flows | self.config.asked != 0,
            has_new_flows: match &self.former_flows {
                Some(former) => former.id()? != self.regions.map(Region::Flows).id()?,
                None => false,
            },
        })
    }
}

/// The constants of its programs: what the policy says, and what belongs to this host and this
/// generation alone.
fn config_of(desired: &Desired<'_>, record: &Record, compiled: &Tables) -> Config {
    let mut live_ids = [0; SETS];
    for (id, set) in live_ids.iter_mut().zip(&record.live) {
        *id = set.id;
    }
    let halves = |clock: u64| [clock as u32, (clock >> 32) as u32];
    Config {
        live_ids,
        frags: u32::from(desired.frags),
        stations: u32::from(record.stations.is_some()),
        uppers: u32::from(record.uppers.as_ref().is_some_and(|it| !it.is_empty())),
        clock: record.clock.map_or([0; 2], halves),
        fragment_seed: RandomState::new().hash_one(record.generation) as u32,
        ..compiled.config
    }
}

/// The table of interfaces, and of this host's own MAC addresses.
fn interface_map(record: &Record, warnings: &mut Vec<String>) -> Result<BigMap, KernelError> {
    let entries: Vec<InterfaceEntry> = record
        .interfaces
        .iter()
        .map(|interface| InterfaceEntry {
            ifindex: interface.ifindex,
            slot: interface.slot as u16,
            zone: interface.zone as u16,
        })
        .collect();
    let words =
        [&record.stations, &record.uppers].map(|words| words.as_deref().unwrap_or_default());
    let (map, left_out) = BigMap::interfaces(&entries, &words.concat())?;
    if left_out > 0 {
        warnings.push(format!(
            "this host has too many addresses, or interfaces over the filtered ones: what is sent to \
             {left_out} of them is rejected without an answer, or may make a flow although it leaves \
             as it has come"
        ));
    }
    Ok(map)
}
