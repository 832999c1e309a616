//! The thread that maintains bans and live sets: updates `@self` and the addresses that rules never
//! ban, removes expired entries, and keeps a copy on disk for the next boot.
//!
//! The kernel's table is authoritative, and outlives the daemon. The copy is read where a policy is put in
//! force and there was no table before ([`firewall_engine::engine::Engine::apply`]).

use super::messages::Message;
use super::options::Options;
use firewall_api::failure::{Exit, Failure};
use firewall_engine::engine::{Engine, LiveView};
use std::ffi::OsString;
use std::fs::{self, DirEntry};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::WeakSender;
use tracing::{info, warn};

/// How often the host's addresses are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often routes and resolvers are looked at: a router can have a million routes.
const SPARE: Duration = Duration::from_secs(60);

/// How often the copy is written, if something has changed.
const SAVE: Duration = Duration::from_secs(5);

/// How often what has ended is removed. It ends by itself; this makes room.
const SWEEP: Duration = Duration::from_secs(60);

/// Starts the thread, which tells the state task what is wrong with the copy. It saves once more and
/// ends when the sender is dropped.
pub(super) fn start(
    options: &Arc<Options>,
    state: WeakSender<Message>,
) -> Result<(Sender<()>, thread::JoinHandle<()>), Failure> {
    let (end, ended) = channel();
    let options = Arc::clone(options);
    let thread = thread::Builder::new()
        .name("keeper".to_owned())
        .spawn(move || Keeper::new(&options, state).run(&ended))
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot start a thread: {error}")))?;
    Ok((end, thread))
}

struct Keeper {
    engine: Engine,
    root: PathBuf,
    state: WeakSender<Message>,
    /// The table, and the generations that there were when it was opened.
    view: Option<(Vec<Generation>, LiveView)>,
    /// What was saved last: the table's count of changes. Of another table, another count.
    saved: Option<u64>,
    /// What waits in the copy.
    waiting: Vec<String>,
    /// The last thing that went wrong: said once.
    complaint: Option<String>,
    /// Why the copy could not be written the last time.
    unsaved: Option<String>,
    /// What the state task was told last.
    told: Vec<String>,
}

/// A folder of a generation: its name, and a number that no other one has had.
type Generation = (OsString, u64);

impl Keeper {
    fn new(options: &Options, state: WeakSender<Message>) -> Self {
        Self {
            engine: options.engine(),
            root: options.root.clone(),
            state,
            view: None,
            saved: None,
            waiting: Vec::new(),
            complaint: None,
            unsaved: None,
            told: Vec::new(),
        }
    }

    fn run(mut self, ended: &Receiver<()>) {
        let start = Instant::now();
        let (mut save, mut sweep, mut spare) = (start + SAVE, start + SWEEP, start + SPARE);
        loop {
            let ends = !matches!(ended.recv_timeout(INTERVAL), Err(RecvTimeoutError::Timeout));
            let now = Instant::now();
            let mut result = if ends { Ok(()) } else { self.refresh() };
            if !ends && now >= spare {
                result = result.and_then(|()| self.spare());
                spare = now + SPARE;
            }
            if ends || now >= save {
                let unsaved = self.save().err();
                let new = unsaved.as_ref().filter(|_| self.unsaved != unsaved);
                if let Some(why) = new {
                    warn!("bans and live sets: {why}");
                }
                self.unsaved = unsaved;
                save = now + SAVE;
            }
            if now >= sweep {
                result = result.and_then(|()| self.sweep());
                sweep = now + SWEEP;
            }
            self.say(result);
            if ends {
                return;
            }
        }
    }

    /// Says what went wrong, if it is not what went wrong before.
    fn say(&mut self, result: Result<(), String>) {
        let complaint = result.err();
        if let Some(complaint) = &complaint
            && self.complaint.as_ref() != Some(complaint)
        {
            warn!("bans and live sets: {complaint}");
        }
        self.complaint = complaint;
        let complaint = self.complaint.iter().chain(&self.unsaved);
        let complaint = complaint.map(|it| format!("bans and live sets: {it}"));
        let told: Vec<String> = complaint.chain(self.waiting.iter().cloned()).collect();
        if told != self.told
            && let Some(state) = self.state.upgrade()
            && state.blocking_send(Message::Kept(told.clone())).is_ok()
        {
            self.told = told;
        }
    }

    /// The table of what is in force; `None` if nothing is.
    fn view(&mut self) -> Option<&LiveView> {
        let generation = |entry: DirEntry| {
            let inode = entry.metadata().ok()?.ino();
            Some((entry.file_name(), inode))
        };
        let mut generations: Vec<Generation> = fs::read_dir(&self.root)
            .ok()?
            .filter_map(|entry| generation(entry.ok()?))
            .filter(|(name, _)| name.to_string_lossy().starts_with("gen-"))
            .collect();
        generations.sort_unstable();
        let known = self.view.as_ref().map(|(known, _)| known);
        if known != Some(&generations) {
            self.view = self.engine.live_view().ok().map(|view| (generations, view));
            self.saved = None;
        }
        self.view.as_ref().map(|(_, view)| view)
    }

    fn refresh(&mut self) -> Result<(), String> {
        let Some(view) = self.view() else {
            return Ok(());
        };
        if view.is_self_current().map_err(|error| error.to_string())? {
            return Ok(());
        }
        let live = self.engine.live().map_err(|error| error.to_string())?;
        if live.refresh_self().map_err(|error| error.to_string())? {
            info!("addresses of this host changed: @self updated");
        }
        Ok(())
    }

    /// A gateway or a resolver that is new is not banned by rules, and one that is gone may be.
    fn spare(&mut self) -> Result<(), String> {
        let current = self.view().map(LiveView::is_spared_current);
        if current.transpose().map_err(|error| error.to_string())? == Some(false) {
            let live = self.engine.live().map_err(|error| error.to_string())?;
            if live.refresh_spared().map_err(|error| error.to_string())? {
                info!("addresses, gateways or resolvers have changed: no rule bans them");
            }
        }
        Ok(())
    }

    fn sweep(&mut self) -> Result<(), String> {
        let ended = self.view().is_some_and(LiveView::has_ended_entries);
        if ended {
            let live = self.engine.live().map_err(|error| error.to_string())?;
            live.sweep().map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn save(&mut self) -> Result<(), String> {
        let saved = self.saved;
        let Some(view) = self.view() else {
            return Ok(());
        };
        let changes = view.changes();
        if saved == Some(changes) {
            return Ok(());
        }
        let waits = saved.is_none() && view.has_placeable();
        // With the store's lock: what `unload --all` has forgotten meanwhile stays so.
        let live = self.engine.live().map_err(|error| error.to_string())?;
        let kept = match waits {
            true => live.keep_and_place()?,
            false => live.view().keep()?,
        };
        if kept.added > 0 {
            let added = kept.added;
            info!("{added} entries of live sets are back that the policy did not have before");
        }
        self.waiting = kept.waiting;
        self.saved = Some(changes);
        Ok(())
    }
}
