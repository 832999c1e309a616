//! The thread that maintains bans and live sets: updates `@self` and the addresses that rules never
//! ban, removes expired entries, and keeps a copy on disk for the next boot.
//!
//! The kernel's table is authoritative. It outlives the daemon, so the copy is read only if no policy
//! was active before. A new copy is written beside the old one and renamed over it: after a power
//! failure there is always one complete copy.

use super::options::Options;
use firewall_api::failure::{Exit, Failure};
use firewall_common::live::Prefix;
use firewall_engine::engine::{BANNED_NAME, Change, Engine, Guard, LiveRecord, LiveView, Session};
use firewall_engine::kernel::live::Origin;
use firewall_policy::entry::parse;
use firewall_policy::prefixes::text;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tracing::{info, warn};

/// How often the host's addresses are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often routes and resolvers are looked at: a router can have a million routes.
const SPARE: Duration = Duration::from_secs(60);

/// How often the copy is written, if something has changed.
const SAVE: Duration = Duration::from_secs(5);

/// How often what has ended is removed. It ends by itself; this makes room.
const SWEEP: Duration = Duration::from_secs(60);

/// Name of the copy, and of the one that is being written.
const COPY: &str = "live";
const NEW_COPY: &str = "live.new";

/// First line of a copy.
const HEADING: &str = "# firewall-ctl: bans and live sets, version 1";

/// Starts the thread. It saves once more and ends when the sender is dropped.
pub(super) fn start(
    options: &Arc<Options>,
) -> Result<(Sender<()>, thread::JoinHandle<()>), Failure> {
    let (end, ended) = channel();
    let options = Arc::clone(options);
    let thread = thread::Builder::new()
        .name("keeper".to_owned())
        .spawn(move || Keeper::new(&options).run(&ended))
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot start a thread: {error}")))?;
    Ok((end, thread))
}

/// Fills bans and live sets with what the copy says, for a start after which nothing was in force.
/// What cannot be read is no reason not to start.
pub(super) fn restore(options: &Options, engine: &Engine) {
    let path = options.state.join(COPY);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => {
            return warn!(
                "bans and live sets start empty: {}: {error}",
                path.display()
            );
        }
    };
    match put_back(engine, &text) {
        Ok(0) => {}
        Ok(count) => info!("{count} bans and entries of live sets are back"),
        Err(error) => warn!(
            "bans and live sets start empty: {}: {error}",
            path.display()
        ),
    }
}

fn put_back(engine: &Engine, text: &str) -> Result<u64, String> {
    let live = engine.live().map_err(|error| error.to_string())?;
    let now = SystemTime::now();
    let mut changes: HashMap<&str, Vec<Change>> = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        if line.starts_with('#') {
            continue;
        }
        let entry = Line::read(line, now);
        let entry = entry.ok_or_else(|| format!("line {} cannot be read", number + 1))?;
        if let Some(change) = entry.change {
            changes.entry(entry.set).or_default().push(change);
        }
    }
    let mut count = 0;
    for (name, changes) in changes {
        let Some(set) = live.view().set(name) else {
            warn!("the policy no longer has the live set `{name}`: its entries are discarded");
            continue;
        };
        // One entry that would do harm keeps the others out of nothing.
        let guard = Guard::of(Session::None);
        let changes = changes.into_iter().filter(|change| {
            let refusal = match change {
                Change::Add(prefix, _) if name == BANNED_NAME => guard.refusal(prefix),
                _ => None,
            };
            if let Some(refusal) = &refusal {
                warn!("{name}: discarded: {refusal}");
            }
            refusal.is_none()
        });
        match live.change(&set, &changes.collect::<Vec<_>>(), &guard) {
            Ok(changed) => count += changed.added,
            Err(error) => warn!("{name}: {error}"),
        }
    }
    Ok(count)
}

/// A line of the copy: `SET PREFIX END`, the end in milliseconds of the Unix epoch or `-`.
#[derive(Debug, PartialEq)]
struct Line<'a> {
    set: &'a str,
    /// `None`: it has ended.
    change: Option<Change>,
}

impl<'a> Line<'a> {
    fn read(line: &'a str, now: SystemTime) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let [set, prefix, end] = words[..] else {
            return None;
        };
        let prefixes = parse(prefix).ok()?;
        let [prefix] = prefixes[..] else {
            return None;
        };
        let time = match end {
            "-" => None,
            end => {
                let end = UNIX_EPOCH.checked_add(Duration::from_millis(end.parse().ok()?))?;
                Some(end.duration_since(now).unwrap_or_default())
            }
        };
        let has_ended = time.is_some_and(|time| time.is_zero());
        let change = (!has_ended).then_some(Change::Add(prefix, time));
        Some(Self { set, change })
    }

    fn write(set: &str, prefix: &Prefix, left: Option<Duration>, now: SystemTime) -> String {
        let end = left.and_then(|left| {
            let since = now.duration_since(UNIX_EPOCH).ok()?;
            Some((since + left).as_millis().to_string())
        });
        let end = end.unwrap_or_else(|| "-".to_owned());
        format!("{set} {} {end}", text(prefix))
    }
}

struct Keeper {
    engine: Engine,
    folder: PathBuf,
    root: PathBuf,
    /// The table, and the generations that there were when it was opened.
    view: Option<(Vec<String>, LiveView)>,
    /// What was saved last: the table's count of changes.
    saved: Option<u64>,
    /// The last thing that went wrong: said once.
    complaint: Option<String>,
}

impl Keeper {
    fn new(options: &Options) -> Self {
        Self {
            engine: Engine::new(&options.root),
            folder: options.state.clone(),
            root: options.root.clone(),
            view: None,
            saved: None,
            complaint: None,
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
                result = result.and_then(|()| self.save());
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
    }

    /// The table of what is in force; `None` if nothing is.
    fn view(&mut self) -> Option<&LiveView> {
        let mut generations: Vec<String> = fs::read_dir(&self.root)
            .ok()?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.starts_with("gen-"))
            .collect();
        generations.sort_unstable();
        let known = self.view.as_ref().map(|(known, _)| known);
        if known != Some(&generations) {
            self.view = self.engine.live_view().ok().map(|view| (generations, view));
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
        let folder = self.folder.clone();
        let Some(view) = self.view() else {
            return Ok(());
        };
        let changes = view.changes();
        if saved == Some(changes) {
            return Ok(());
        }
        let names: HashMap<u32, &str> = view
            .sets()
            .iter()
            .map(|LiveRecord { id, name, .. }| (*id, name.as_str()))
            .chain([(firewall_common::live::BANNED, BANNED_NAME)])
            .collect();
        let now = SystemTime::now();
        let mut lines = vec![HEADING.to_owned()];
        for entry in view.all_entries() {
            if let Some(name) = names.get(&entry.id)
                && entry.origin != Origin::Policy
            {
                lines.push(Line::write(name, &entry.prefix, entry.left, now));
            }
        }
        // Nothing was ever in them: no folder for nothing.
        if lines.len() > 1 || folder.join(COPY).exists() {
            write(&folder, &lines)
                .map_err(|error| format!("cannot keep a copy in {}: {error}", folder.display()))?;
        }
        self.saved = Some(changes);
        Ok(())
    }
}

/// Writes a whole copy and puts it in the place of the former one.
fn write(folder: &Path, lines: &[String]) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let new = folder.join(NEW_COPY);
    let file = File::create(&new)?;
    let mut writer = BufWriter::new(&file);
    for line in lines {
        writeln!(writer, "{line}")?;
    }
    writer.flush()?;
    drop(writer);
    file.sync_all()?;
    fs::rename(&new, folder.join(COPY))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_it_was_written_from() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        for entry in ["192.0.2.1", "192.0.2.0/24", "2001:db8::/32", "2001:db8::1"] {
            let prefix = parse(entry).expect("a prefix")[0];
            let line = Line::write("banned", &prefix, None, now);
            assert_eq!(line, format!("banned {entry} -"));
            let read = Line::read(&line, now).expect("a line");
            assert_eq!(read.change, Some(Change::Add(prefix, None)));
            let minute = Some(Duration::from_secs(60));
            let line = Line::write("banned", &prefix, minute, now);
            let later = now + Duration::from_secs(20);
            let read = Line::read(&line, later).expect("a line");
            let left = Some(Duration::from_secs(40));
            assert_eq!(read.change, Some(Change::Add(prefix, left)));
            let read = Line::read(&line, now + Duration::from_secs(60)).expect("a line");
            assert_eq!(read.change, None, "it has ended");
        }
        for wrong in [
            "",
            "banned",
            "banned 192.0.2.1",
            "banned x -",
            "a 192.0.2.1 x",
            "a b c d",
        ] {
            assert_eq!(Line::read(wrong, now), None, "{wrong}");
        }
    }
}
