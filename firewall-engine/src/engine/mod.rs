//! The engine: applies a policy to interfaces and reads what the kernel counts. Used by the
//! daemon and by the verbs that work without one; it is the same code.
//!
//! May not import aya, and nothing above it (`probe`, `sampler`).
//!
//! Invariant: after every call, failed or not, each interface is filtered by exactly one whole
//! generation, the new one or the old one. The engine keeps no state: it reads
//! the active generation from the pins each time, so any number of processes can take turns.

mod carrier;
mod carry;
mod copy;
mod doctor;
mod effect;
mod egress;
mod files;
mod flows;
mod follow;
mod guard;
mod handover;
mod history;
mod hold;
mod ledger;
mod live;
mod log;
mod observe;
mod plan;
mod preview;
mod resolve;
mod selectors;
mod slots;
mod spared;
mod stations;
mod store;
mod trial;
mod types;
mod unload;

pub use copy::Placed;
pub use doctor::Check;
pub use follow::Followed;
pub use guard::{Connection, Guard, Session, SetAfter, contains, prefix_of};
pub use history::{left, pending};
pub use hold::{Hold, Revived};
pub use ledger::{DEFAULT_STATE, STATE_VARIABLE, state_of};
pub use live::{BANNED_NAME, Change, Changed, Live, LiveView};
pub use log::{Log, Names};
pub use observe::Carried;
pub use preview::Preview;
pub use trial::{Trial, TrialOutcome};
pub use types::{
    Applied, Compiled, Counters, EngineError, Identity, InterfaceRecord, LiveRecord, Observed,
    ObservedLink, Origin, Record, Request, RuleRecord, Scope, Selectors, Stage,
};

use crate::kernel::clock;
use crate::kernel::counters::{CounterMaps, Sums};
use crate::kernel::egress::By;
use crate::kernel::flows::LossReader;
use crate::kernel::live::LiveTable;
use crate::kernel::watch::DefaultRoutes;
use crate::kernel::{BUILT_IN, Hook, KernelError, host};
use carrier::Needs;
use firewall_api::effect::Effect;
use firewall_common::region::Region;
use firewall_policy::lint::lets_ssh_in;
use firewall_policy::rule::{Mode, Policy};
use guard::{After, Scene};
use plan::{Desired, Done};
use resolve::{Present, Target, resolve as resolve_interfaces};
use selectors::without_zone;
use std::borrow::Cow;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;
use store::{PinnedLink, Store, Survey};

/// Where the pins are, unless the caller says otherwise.
pub const DEFAULT_ROOT: &str = "/sys/fs/bpf/firewall";

/// How often a change is tried while interfaces go.
const ATTEMPTS: usize = 3;

/// Applies policies under one folder of pins, and reads what the kernel counts.
#[derive(Debug)]
pub struct Engine {
    store: Store,
    object: Cow<'static, [u8]>,
    egress_by: By,
    fails_at: Option<usize>,
    routes: Option<Arc<DefaultRoutes>>,
    /// The newest generation that waits no more, though the disk did not take that.
    ended: AtomicU64,
}

impl Engine {
    /// An engine for the pins under `root` (see [`DEFAULT_ROOT`]). Does nothing to the kernel.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self::with_object(root, Cow::Borrowed(BUILT_IN))
    }

    /// As [`Engine::new`], with another BPF object than the one that is built in. Its bytes must
    /// be aligned to 8.
    #[must_use]
    pub fn with_object(root: &Path, object: Cow<'static, [u8]>) -> Self {
        Self {
            store: Store::new(root.to_owned()),
            object,
            egress_by: By::default(),
            fails_at: None,
            routes: None,
            ended: AtomicU64::new(0),
        }
    }

    /// Attaches to what leaves as on kernels before Linux 6.6, by filters in `clsact`, also where
    /// there are TCX links.
    #[must_use]
    pub fn with_clsact(self) -> Self {
        Self {
            egress_by: By::Filter,
            ..self
        }
    }

    /// Fails every change at its step `number`, counted from 0: for tests of what is undone. A
    /// change with fewer steps succeeds.
    #[must_use]
    pub fn failing_at(self, number: usize) -> Self {
        Self {
            fails_at: Some(number),
            ..self
        }
    }

    /// Looks at default routes by what is known of them already: for who looks again and again.
    #[must_use]
    pub fn with_routes(self, routes: Arc<DefaultRoutes>) -> Self {
        Self {
            routes: Some(routes),
            ..self
        }
    }

    /// The interfaces there are.
    fn present(&self) -> Result<Present, EngineError> {
        Present::by(self.routes.clone())
    }

    /// The folder of pins.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.store.root()
    }

    /// Reads and compiles a policy. Needs no privilege and no kernel; set files are read relative
    /// to `request.base`.
    ///
    /// # Errors
    /// Everything that is wrong with the policy, a test of it that fails, or the limit that it
    /// exceeds.
    pub fn compile(&self, request: &Request) -> Result<Compiled, EngineError> {
        let source = files::read(request, &self.object)?;
        let slots: Vec<u32> = (0..source.policy.counters().len() as u32).collect();
        let tables = files::compile(&source.policy, &slots)?;
        if !request.is_change {
            files::test(request, &source, &tables)?;
        }
        Ok(Compiled {
            policy: source.policy,
            tables,
            tests: source.tests,
            warnings: source.warnings,
            fingerprint: source.fingerprint,
            files: source.files,
            sets: source.sets,
        })
    }

    /// The files that a policy names, each as the policy does, with the SHA-256 of its bytes.
    ///
    /// # Errors
    /// Everything that is wrong with the policy.
    pub fn files_of(&self, request: &Request) -> Result<Vec<(String, String)>, EngineError> {
        let files = files::read(request, &self.object)?.files.into_iter();
        Ok(files.map(|file| (file.path, file.sha256)).collect())
    }

    /// A candidate of a compiled policy, to be asked in the kernel without being attached.
    #[must_use]
    pub fn trial<'a>(&'a self, compiled: &'a Compiled) -> Trial<'a> {
        Trial::new(&self.object, &compiled.policy, &compiled.tables)
    }

    /// Has the kernel's verifier take a compiled policy, without attaching it, and runs its tests
    /// there. `name` and `text` are the policy file's. Gives the number of instructions verified.
    ///
    /// # Errors
    /// A missing privilege, the verifier's refusal, a test that fails in the kernel.
    pub fn verify(&self, name: &str, text: &str, compiled: &Compiled) -> Result<u32, EngineError> {
        let mut trial = self.trial(compiled);
        let instructions = trial.load()?;
        trial.run_tests(name, text, &compiled.tests)?;
        Ok(instructions)
    }

    /// Puts a policy in force. Idempotent: the same policy on the same interfaces changes nothing.
    ///
    /// The interfaces are those that `request.interfaces` names in addition to those that are
    /// filtered already; if it names none, exactly those that the policy names; if that names none
    /// either, those that are filtered already.
    ///
    /// # Errors
    /// Whatever went wrong; the generation before is in force then, on every interface.
    pub fn apply(&mut self, request: &Request) -> Result<Applied, EngineError> {
        let start = Instant::now();
        self.check_early(request)?;
        // What is wrong with the request is said first: it needs no privilege to find out.
        let source = files::read(request, &self.object)?;
        source.require_own_files()?;
        let present = Present::now()?;
        if !request.interfaces.is_empty() {
            let selectors = Selectors::of(request, &source.policy, None, &present);
            let (targets, _) =
                resolve_interfaces(&selectors, (request.scope, true), &[], &[], &present)?;
            settle(targets, Needs::of(&source.policy), &present)?;
        }
        if self.object.is_empty() {
            return Err(KernelError::Stub.into());
        }
        host::require_privilege()?;
        host::require_bpffs(self.root())?;

        let _lock = host::lock(self.root())?;
        let mut answer = self.apply_locked(request, &source, &present, None);
        for _ in 1..ATTEMPTS {
            match &answer {
                // Whoever waits for what is not there waits for what has gone meanwhile, too.
                Err(EngineError::Kernel(error))
                    if error.is_gone() && request.scope != Scope::Present =>
                {
                    answer = self.apply_locked(request, &source, &Present::now()?, None);
                }
                _ => break,
            }
        }
        self.store.remove_if_empty();
        let (done, changed) = answer?;
        Ok(Applied {
            generation: done.record.generation,
            before: done.before,
            changed,
            interfaces: done.record.interfaces,
            warnings: done.warnings,
            effect: done.effect,
            seconds: start.elapsed().as_secs_f64(),
        })
    }

    fn apply_locked(
        &self,
        request: &Request,
        source: &files::Source,
        present: &Present,
        lost: Option<&Record>,
    ) -> Result<(Done, bool), EngineError> {
        let mut survey = self.store.survey()?;
        require_of(request, &survey)?;
        remove_unused(&mut survey)?;
        let record = survey
            .in_force()
            .map(|generation| generation.folder.read_record());
        let known = record.as_ref().and_then(|record| record.as_ref().ok());
        if let Some(record) = known {
            require_namespace(record, &survey)?;
        }
        self.check_stage(request, source, known)?;
        let carried = survey.filtered();
        let before = known.or(lost).map(|record| &record.selectors);
        let selectors = Selectors::of(request, &source.policy, before, present);
        let needs = Needs::of(&source.policy);
        let (targets, mut warnings) =
            targets_of(request, &selectors, needs, (&carried, lost), present)?;
        let mut desired = Desired {
            request,
            source,
            targets: &targets,
            number: 0,
            state: self.store.state(),
            selectors: &selectors,
            object: &self.object,
            frags: targets.iter().any(|target| target.in_buffers),
            egress_by: self.egress_by,
            record: record.as_ref(),
        };
        warnings.extend(without_cookies(&source.policy));
        warnings.extend(without_zone(&source.policy, &selectors, &targets, present));
        let modes = plan::check_modes(&survey, &desired)?;
        let same = |known: &&Record| {
            known.frags == desired.frags
                && known.files == source.files
                && known.selectors == selectors
                && is_in_force(known, &survey, source, &targets)
                && survey
                    .in_force()
                    .is_some_and(|in_force| !self.is_self_stale(in_force, known))
        };
        if let Some(known) = known.filter(same) {
            let mut done = self.adopt((request, source), known, &survey, warnings)?;
            let limits = carrier::limits(&done.record.interfaces, needs, present);
            done.warnings.extend(limits);
            done.effect = request.is_change.then(Effect::default);
            return Ok((done, false));
        }
        let effect = self.examine(
            (request, source, &targets),
            (known, &survey),
            present,
            &mut warnings,
        )?;
        desired.number = self.store.next_number(&survey, &mut warnings);
        let mut done = self.change_noted((&survey, &desired), &modes, warnings, lost)?;
        let limits = carrier::limits(&done.record.interfaces, needs, present);
        done.warnings.extend(limits);
        done.effect = effect;
        Ok((done, true))
    }

    /// What a change of the rules in force does to packets.
    fn effect_of(
        &self,
        request: &Request,
        source: &files::Source,
        record: Option<&Record>,
    ) -> Result<Option<Effect>, EngineError> {
        let Some(record) = record.filter(|_| request.is_change) else {
            return Ok(None);
        };
        let before = files::in_force(record, self.store.state());
        effect::of_change(before, &source.policy, request.guard.is_off())
    }

    /// Has guard and tests look at a policy before anything is changed. What it does to packets, if it is a
    /// change of the rules in force.
    fn examine(
        &self,
        (request, source, targets): (&Request, &files::Source, &[Target]),
        (record, survey): (Option<&Record>, &Survey),
        present: &Present,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Effect>, EngineError> {
        self.spare_session(request, (source, targets), (record, survey), present)?;
        let effect = self.effect_of(request, source, record)?;
        warnings.extend(without_ssh(request, &source.policy));
        warnings.extend(trial::run_tests(&self.object, request, source)?);
        Ok(effect)
    }

    /// Refuses a policy that would cut off whoever asks for it.
    fn spare_session(
        &self,
        request: &Request,
        (source, targets): (&files::Source, &[Target]),
        (record, survey): (Option<&Record>, &Survey),
        present: &Present,
    ) -> Result<(), EngineError> {
        let in_force = record.zip(survey.in_force());
        let live = in_force.and_then(|(record, in_force)| {
            self.view_of(in_force, record, LiveTable::of_region).ok()
        });
        let scene = Scene {
            record,
            live: live.as_ref(),
            state: self.store.state(),
            present,
        };
        let zones = targets.iter().map(|it| (it.ifindex, it.zone)).collect();
        let after = After::Policy(&source.policy, zones);
        let checked = request.guard.check_change(&scene, &after);
        checked.map_err(|refused| match refused {
            EngineError::Refused { message, help } if request.origin.verb == "apply" => {
                let help =
                    format!("{help}; or try it, and go back by itself: --confirm=60s").into();
                EngineError::Refused { message, help }
            }
            other => other,
        })
    }

    /// As [`Engine::change`], and the history knows of it.
    fn change_noted(
        &self,
        (survey, desired): (&Survey, &Desired<'_>),
        modes: &[Option<Mode>],
        warnings: Vec<String>,
        lost: Option<&Record>,
    ) -> Result<Done, EngineError> {
        let request = desired.request;
        let known = desired.record.and_then(|record| record.as_ref().ok());
        self.begin_tried(desired, known)?;
        let done = self.change(survey, desired, modes, warnings);
        let mut done = done.inspect_err(|_| self.end_tried(desired))?;
        let before = known.or(lost).map(|it| it.generation);
        self.note(request, &done.record, before, &mut done.warnings);
        Ok(done)
    }

    /// Makes what is desired the generation in force.
    fn change(
        &self,
        survey: &Survey,
        desired: &Desired<'_>,
        modes: &[Option<Mode>],
        mut warnings: Vec<String>,
    ) -> Result<Done, EngineError> {
        let known = desired.record.and_then(|record| record.as_ref().ok());
        // A table that nothing is handed on to begins with the copy of the one before.
        let has_bans = survey.in_force().is_some_and(|in_force| {
            known.is_some() && in_force.folder.region(Region::Live).is_some()
        });
        let mut done = plan::run(&self.store, survey, desired, modes, self.fails_at)?;
        warnings.append(&mut done.warnings);
        done.warnings = warnings;
        done.before = survey.in_force().map(|in_force| in_force.number);
        self.store.note_in_force(&mut done.warnings);
        let is_kept_here = known.is_some_and(|known| known.state == self.store.state());
        if !has_bans || !is_kept_here {
            let guard = &desired.request.guard;
            self.restore(has_bans, guard, &mut done.warnings);
        }
        Ok(done)
    }

    /// Goes on with what is in force, as if it had been applied here as the request says: `@self` is brought up to date,
    /// and its copy is kept where this engine keeps it.
    fn adopt(
        &self,
        (request, source): (&Request, &files::Source),
        known: &Record,
        survey: &Survey,
        mut warnings: Vec<String>,
    ) -> Result<Done, EngineError> {
        let mut record = named_anew(known, request, source);
        record.state = self.store.state().to_owned();
        if record != *known
            && let Some(in_force) = survey.in_force()
        {
            in_force.folder.write_record(&record)?;
        }
        if record.state != known.state {
            self.restore(true, &Guard::of(Session::None), &mut warnings);
        }
        let view = self.open_live(LiveTable::of_region)?;
        if !view.is_self_current()? {
            view.refresh_self()?;
        }
        self.store.note_in_force(&mut warnings);
        let before = Some(record.generation);
        self.note(request, &record, before, &mut warnings);
        Ok(Done {
            record,
            before,
            warnings,
            effect: None,
        })
    }

    /// Fills bans and live sets with what their copy says. Needs the lock on the store.
    fn restore(&self, only_former: bool, guard: &Guard, warnings: &mut Vec<String>) {
        let restored = self
            .open_live(LiveTable::of_region)
            .map_err(|error| error.to_string())
            .and_then(|view| {
                copy::restore(&view, self.store.state(), only_former, guard)
                    .map_err(|error| format!("{}: {error}", self.store.state().display()))
            });
        match restored {
            Ok((placed, refusals)) => {
                if placed.added > 0 {
                    let added = placed.added;
                    tracing::info!("{added} bans and entries of live sets are back");
                }
                warnings.extend(refusals);
                warnings.extend(placed.waiting);
            }
            Err(error) => warnings.push(format!("bans and live sets start empty: {error}")),
        }
    }

    /// All counters now. For sampling, keep a [`CounterReader`].
    ///
    /// # Errors
    /// Nothing is loaded, or its pins cannot be read.
    pub fn counters(&self) -> Result<Counters, EngineError> {
        Ok(self.reader()?.read())
    }

    /// Opens the counters of the generation in force for sampling.
    ///
    /// # Errors
    /// Nothing is loaded, or its pins cannot be read.
    pub fn reader(&self) -> Result<CounterReader, EngineError> {
        let survey = self.store.survey()?;
        let in_force = survey.in_force().ok_or_else(|| self.nothing_loaded())?;
        // A map of another version has other meanings, even where its size fits.
        let record = in_force.folder.read_record()?;
        let flows = in_force.folder.region(Region::Flows);
        let flows = flows.filter(|_| record.tracks);
        Ok(CounterReader {
            generation: in_force.number,
            programs: in_force.ids(Hook::Xdp),
            maps: in_force.folder.counters()?,
            losses: flows.map(|map| LossReader::of(&map)).transpose()?,
        })
    }

    fn nothing_loaded(&self) -> KernelError {
        KernelError::State(format!(
            "no policy is loaded (nothing is enforced from {})",
            self.root().display()
        ))
    }
}

/// A record as the policy of a request that changes nothing would have it: it may lie elsewhere.
fn named_anew(record: &Record, request: &Request, source: &files::Source) -> Record {
    let mut record = record.clone();
    record.policy_path.clone_from(&request.policy_path);
    record.base.clone_from(&request.base);
    record.sent = request.is_sent();
    for (known, rule) in record.rules.iter_mut().zip(&source.policy.rules) {
        known.place = rule.place.text();
    }
    record
}

/// The targets in the mode in which they will be filtered, by what the interface can carry.
fn settle(
    mut targets: Vec<Target>,
    needs: Needs,
    present: &Present,
) -> Result<Vec<Target>, KernelError> {
    carrier::settle(&mut targets, needs, present)?;
    Ok(targets)
}

/// The interfaces that a request is for, and what is to be said of them; `carried` are filtered now, and
/// those of `lost` were.
fn targets_of(
    request: &Request,
    selectors: &Selectors,
    needs: Needs,
    (carried, lost): (&[u32], Option<&Record>),
    present: &Present,
) -> Result<(Vec<Target>, Vec<String>), EngineError> {
    let mut filtered = carried.to_vec();
    let lost_on = lost.iter().flat_map(|it| it.still_there(present));
    filtered.extend(lost_on.map(|it| it.ifindex));
    let stays = !request.interfaces.is_empty() || request.scope == Scope::Again;
    let (scope, named) = ((request.scope, stays), &request.interfaces);
    let (mut targets, warnings) = resolve_interfaces(selectors, scope, named, &filtered, present)?;
    if request.scope == Scope::Again {
        // What has come meanwhile and cannot be filtered is no reason to leave the others as they are.
        targets.retain(|it| {
            let place = (it.name.as_str(), it.ifindex);
            let is_new = !carried.contains(&it.ifindex);
            !is_new || carrier::obstacle(place, (it.mode, needs), present).is_none()
        });
    }
    Ok((settle(targets, needs, present)?, warnings))
}

/// Where the kernel gives no SYN cookies, the program gets none from it.
fn without_cookies(policy: &Policy) -> Option<String> {
    if !policy.protects() {
        return None;
    }
    let setting = fs::read_to_string("/proc/sys/net/ipv4/tcp_syncookies").ok()?;
    (setting.trim() == "0").then(|| {
        "`syn_protect` does nothing while the kernel gives no SYN cookies; turn them on \
         (sysctl -w net.ipv4.tcp_syncookies=1)"
            .to_owned()
    })
}

/// Where something listens for SSH, and nobody would reach it. (A session that this would cut is refused.)
fn without_ssh(request: &Request, policy: &Policy) -> Option<String> {
    let is_new = request.is_change || request.scope != Scope::Again;
    let is_shut = is_new && host::listens_for_ssh() && lets_ssh_in(policy) == Some(false);
    is_shut.then(|| {
        "nobody can open an SSH connection: no SYN to tcp/22 passes; is there another way in?"
            .to_owned()
    })
}

fn not_filtered(name: &str, filtered: &[String]) -> EngineError {
    let filtered = match filtered {
        [] => "nothing is loaded".to_owned(),
        names => format!("filtered are: {}", names.join(", ")),
    };
    EngineError::Interface(format!("{name} is not filtered; {filtered}"))
}

/// A change that was made of a generation needs that one in force.
fn require_of(request: &Request, survey: &Survey) -> Result<(), EngineError> {
    let number = survey.in_force().map(|in_force| in_force.number);
    match request.of.is_some() && request.of != number {
        true => Err(EngineError::ChangedMeanwhile),
        false => Ok(()),
    }
}

/// Removes what a crash left behind: generations that never came into force.
fn remove_unused(survey: &mut Survey) -> Result<(), KernelError> {
    let newest = survey.in_force().map_or(0, |generation| generation.number);
    for generation in survey
        .generations
        .extract_if(.., |generation| generation.number > newest)
    {
        generation.folder.remove()?;
    }
    Ok(())
}

/// Interface indices mean something in one network namespace only.
fn require_namespace(record: &Record, survey: &Survey) -> Result<(), KernelError> {
    let nothing = !survey.links.iter().any(PinnedLink::is_attached);
    if record.namespace == host::network_namespace()? || nothing {
        return Ok(());
    }
    Err(KernelError::State(format!(
        "the policy in force belongs to another network namespace (inode {}). Work there, or use \
         another folder for pins",
        record.namespace
    )))
}

/// Whether the request changes nothing.
fn is_in_force(
    record: &Record,
    survey: &Survey,
    source: &files::Source,
    targets: &[Target],
) -> bool {
    let recorded = |target: &Target| {
        record
            .interfaces
            .iter()
            .any(|i| (&i.name, i.ifindex, i.zone) == (&target.name, target.ifindex, target.zone))
    };
    record.fingerprint == source.fingerprint
        && !record.clock_has_moved()
        && !record.stations_have_changed()
        && !record.uppers_have_changed()
        && survey.generations.len() == 1
        && survey.generations[0].folder.missing(record).is_empty()
        && survey.links.len() == targets.len()
        && survey
            .links
            .iter()
            .all(|link| survey.generation_of(link) == Some(record.generation))
        && targets
            .iter()
            .all(|target| survey.link_on(target.ifindex).is_some() && recorded(target))
        && egress::is_complete(survey, targets)
}

/// The counters of one generation, memory-mapped: reading costs no system call. Open a new one
/// when the generation changes.
#[derive(Debug)]
pub struct CounterReader {
    generation: u64,
    programs: Vec<u32>,
    maps: CounterMaps,
    losses: Option<LossReader>,
}

impl CounterReader {
    /// The generation whose counters these are.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether they are those of what was observed. A number alone does not say so.
    #[must_use]
    pub fn is_of(&self, observed: &Observed) -> bool {
        self.generation == observed.record.generation && self.programs == observed.identity.programs
    }

    /// All counters now.
    #[must_use]
    pub fn read(&self) -> Counters {
        let monotonic = clock::now().as_secs_f64();
        let Sums {
            reasons,
            ports,
            rules,
        } = self.maps.read();
        Counters {
            monotonic,
            reasons,
            ports,
            rules,
            losses: self.losses.as_ref().map(LossReader::read),
        }
    }
}
