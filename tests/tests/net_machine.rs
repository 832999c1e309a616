//! Random sequences of operations and faults against a model of what must be in force, what must be said, and
//! what must be on disk: links that go, come, move, are renamed, detached, lose their pins; a BPF file system
//! that is hidden, a disk that is full, a clock that is stepped, a daemon that is killed.
//!
//! Netlink says which interface carries a program, and a counter of nft what gets in. The model knows nothing
//! of the daemon's code. `FIREWALL_CASES=N` says how many sequences there are (10; `--long`: 1,000),
//! `FIREWALL_SEED=N` picks other ones. One that fails is printed, made as short as it gets, and its seed
//! belongs into [`KEPT`].

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_engine::engine::Engine;
use firewall_tests::clock::WallClock;
use firewall_tests::ctl::Ctl;
use firewall_tests::frames::{Ipv4, ethernet, udp};
use firewall_tests::netns::{Namespace, put};
use firewall_tests::random::Random;
use firewall_tests::{number, patience};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Seeds of sequences that have failed once: they run first.
const KEPT: [u64; 0] = [];

/// Operations of a sequence.
const LENGTH: usize = 40;

/// How long it may take until everything is as it must be.
const SOON: Duration = Duration::from_secs(15);

/// How long until what was accepted is on disk.
const ON_DISK: Duration = Duration::from_secs(12);

const CABLES: usize = 3;
const BPFFS: &str = "/sys/fs/bpf";

/// An operation or a fault; the number is a cable's, or an address's. One that makes no sense as things
/// stand is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Op {
    Delete(usize),
    Add(usize),
    Move(usize),
    Rename(usize),
    Detach(usize),
    RemovePin(usize),
    RemovePins,
    Hide,
    FillDisk,
    Clock(i64),
    Kill,
    Start,
    Ban(u8),
    Unban(u8),
    Apply,
    LookAtDisk,
}

fn sequence(seed: u64) -> Vec<Op> {
    let mut random = Random::new(seed);
    let mut one = || {
        let (cable, kind) = (random.below(CABLES as u64) as usize, random.below(20));
        // The first cable stays.
        let other = cable.max(1);
        match kind {
            0 => Op::Delete(other),
            1 | 2 => Op::Add(other),
            3 => Op::Move(other),
            4 | 5 => Op::Rename(cable),
            6 => Op::Detach(cable),
            7 => Op::RemovePin(cable),
            8 => Op::RemovePins,
            9 => Op::Hide,
            10 => Op::FillDisk,
            11 => Op::Clock([0, 86_400, -86_400][cable]),
            12 => Op::Kill,
            13 | 14 => Op::Start,
            15 | 16 => Op::Ban(random.below(8) as u8),
            17 => Op::Unban(random.below(8) as u8),
            18 => Op::Apply,
            _ => Op::LookAtDisk,
        }
    };
    (0..LENGTH).map(|_| one()).collect()
}

/// Where the inner end of a cable is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Gone,
    Here,
    Away,
}

/// What must be so of one cable.
#[derive(Clone, Debug)]
struct Cable {
    place: Place,
    /// Whether its name is one that the policy means.
    is_named: bool,
    /// Whether it must be filtered; it stays so under any name.
    is_filtered: bool,
    /// Whether it took its filter along to another namespace, and nobody has let go of that.
    takes_along: bool,
    /// Its name when it was filtered.
    pin: String,
}

/// What must be so.
#[derive(Clone, Debug)]
struct Model {
    cables: Vec<Cable>,
    bans: BTreeSet<u8>,
    is_up: bool,
    is_hidden: bool,
    is_full: bool,
    second: bool,
}

struct World<'a> {
    outside: &'a Namespace,
    inside: &'a Namespace,
    away: &'a Namespace,
    ctl: &'a Ctl<'a>,
    clock: WallClock,
    daemon: Option<Child>,
    model: Model,
    files: [String; 2],
    counted: u64,
}

fn name(cable: usize, is_named: bool) -> String {
    format!("{}{cable}", if is_named { "wan" } else { "odd" })
}

/// A frame to everybody, for the port that is counted.
fn stranger() -> Vec<u8> {
    let packet = Ipv4::new([203, 0, 113, 7], [255; 4], 17).packet(&udp(4_000, 9, b"line"));
    let mut frame = ethernet(0x0800, &packet);
    frame[..6].fill(0xff);
    frame
}

impl World<'_> {
    fn cable_name(&self, cable: usize) -> String {
        name(cable, self.model.cables[cable].is_named)
    }

    fn add(&mut self, cable: usize) {
        let (far, own) = (self.outside.name(), name(cable, true));
        self.inside
            .ip(&format!(
                "link add {own} type veth peer name {own} netns {far}"
            ))
            .unwrap();
        for host in [self.inside, self.outside] {
            host.ip(&format!("link set {own} addrgenmode none"))
                .unwrap();
            host.ip(&format!("link set {own} up")).unwrap();
        }
        let cable = &mut self.model.cables[cable];
        (cable.place, cable.is_named, cable.is_filtered) = (Place::Here, true, false);
    }

    /// What the daemon does on its own, if it can.
    fn follow(&mut self) {
        if !self.model.is_up || self.model.is_hidden {
            return;
        }
        for (number, cable) in self.model.cables.iter_mut().enumerate() {
            cable.takes_along = false;
            if cable.place == Place::Here && cable.is_named && !cable.is_filtered {
                cable.is_filtered = true;
                cable.pin = name(number, true);
            }
        }
    }

    fn has_named(&self) -> bool {
        let mut cables = self.model.cables.iter();
        cables.any(|it| it.place == Place::Here && it.is_named)
    }

    /// A policy that is applied anew filters what it names, and nothing else.
    fn choose(&mut self) {
        for cable in &mut self.model.cables {
            cable.is_filtered &= cable.is_named;
            cable.takes_along = false;
        }
    }

    fn spawn(&mut self) {
        let log = self.ctl.folder().join("daemon.log");
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        let mut command = self.ctl.command(&["daemon", "-f", &self.files[0]]);
        command.arg("--state").arg(self.ctl.state());
        let command = command.stdout(Stdio::null()).stderr(log);
        self.daemon = Some(command.spawn().unwrap());
    }

    fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        }
        self.model.is_up = false;
    }

    /// Does it, and changes the model; false if it makes no sense as things stand.
    fn perform(&mut self, op: Op) -> bool {
        let (is_up, is_hidden, is_full) = {
            let model = &self.model;
            (model.is_up, model.is_hidden, model.is_full)
        };
        // What tells a loss from `unload` and what is on disk comes from the daemon.
        let can_change = is_up && !is_hidden && !is_full;
        match op {
            Op::Delete(cable) if self.model.cables[cable].place == Place::Here => {
                let name = self.cable_name(cable);
                self.inside.ip(&format!("link del {name}")).unwrap();
                self.model.cables[cable].place = Place::Gone;
                self.model.cables[cable].is_filtered = false;
            }
            Op::Add(cable) if self.model.cables[cable].place == Place::Gone => self.add(cable),
            Op::Move(cable) => return self.relocate(cable),
            Op::Rename(cable) if self.model.cables[cable].place == Place::Here => {
                let from = self.cable_name(cable);
                self.model.cables[cable].is_named ^= true;
                let to = self.cable_name(cable);
                for words in [
                    format!("link set {from} down"),
                    format!("link set {from} name {to}"),
                    format!("link set {to} up"),
                ] {
                    self.inside.ip(&words).unwrap();
                }
            }
            Op::Detach(cable) | Op::RemovePin(cable) if can_change => {
                let known = &self.model.cables[cable];
                if known.place != Place::Here || !known.is_filtered {
                    return false;
                }
                let pin = self.ctl.pins().join("links").join(&known.pin);
                // A policy that was applied since may have pinned it anew under its present name.
                if !pin.exists() {
                    return false;
                }
                let before = self.times_put_back();
                match op {
                    Op::Detach(_) => Engine::new(self.ctl.pins()).detach_pinned(&pin).unwrap(),
                    _ => fs::remove_file(&pin).unwrap(),
                }
                self.wait_for_loss(before);
                // It is back by the next look, under the name of now.
                self.model.cables[cable].pin = self.cable_name(cable);
            }
            Op::RemovePins if can_change => {
                let before = self.times_put_back();
                self.ctl.forget_pins().unwrap();
                self.wait_for_loss(before);
                for cable in 0..CABLES {
                    self.model.cables[cable].pin = self.cable_name(cable);
                }
            }
            Op::Hide if is_hidden => {
                unmount(BPFFS, UnmountFlags::DETACH).unwrap();
                self.model.is_hidden = false;
            }
            Op::Hide if is_up => {
                mount("tmpfs", BPFFS, "tmpfs", MountFlags::empty(), None).unwrap();
                self.model.is_hidden = true;
            }
            Op::FillDisk if is_up => self.fill(),
            Op::Clock(seconds) => self.clock.set(seconds).unwrap(),
            Op::Kill if is_up && !is_full => self.kill(),
            // A policy that means no interface is refused.
            Op::Start if !is_up && !is_hidden && !is_full && self.has_named() => {
                self.spawn();
                (self.model.is_up, self.model.second) = (true, false);
                self.choose();
            }
            Op::Ban(last) if !is_hidden => {
                let done = self.ctl.ok(&["ban", &format!("198.51.100.{last}")]);
                done.unwrap();
                self.model.bans.insert(last);
            }
            Op::Unban(last) if !is_hidden && self.model.bans.contains(&last) => {
                let done = self.ctl.ok(&["unban", &format!("198.51.100.{last}")]);
                done.unwrap();
                self.model.bans.remove(&last);
            }
            Op::Apply if can_change && self.has_named() => {
                self.model.second ^= true;
                let file = &self.files[usize::from(self.model.second)];
                self.ctl.ok(&["apply", "-f", file]).unwrap();
                self.choose();
            }
            Op::LookAtDisk => self.on_disk(),
            _ => return false,
        }
        true
    }

    fn times_put_back(&self) -> usize {
        self.ctl.log().matches("put back the filter").count()
    }

    /// The kernel takes a filter off a moment after its pin is gone: until the daemon has noticed, nothing can
    /// be judged.
    fn wait_for_loss(&self, before: usize) {
        let begin = Instant::now();
        while self.times_put_back() == before {
            let late = begin.elapsed() > patience(SOON);
            assert!(!late, "nothing was put back");
            sleep(Duration::from_millis(10));
        }
    }

    /// Moves a cable's end to another namespace, or back.
    fn relocate(&mut self, cable: usize) -> bool {
        let name = self.cable_name(cable);
        let (from, to, place) = match self.model.cables[cable].place {
            Place::Gone => return false,
            Place::Here => (self.inside, self.away, Place::Away),
            Place::Away => (self.away, self.inside, Place::Here),
        };
        from.ip(&format!("link set {name} netns {}", to.name()))
            .unwrap();
        to.ip(&format!("link set {name} up")).unwrap();
        let cable = &mut self.model.cables[cable];
        cable.place = place;
        match place {
            Place::Here => cable.is_filtered = cable.takes_along,
            _ => cable.takes_along = std::mem::take(&mut cable.is_filtered),
        }
        true
    }

    /// Fills the disk of what is kept, or makes room.
    fn fill(&mut self) {
        let filler = self.ctl.state().join("filler");
        self.model.is_full ^= true;
        if self.model.is_full {
            let mut size = 1 << 20;
            while size > 0 {
                let before = fs::read(&filler).unwrap_or_default();
                let more = [before, vec![0; size]].concat();
                if fs::write(&filler, more).is_err() {
                    size /= 2;
                }
            }
        } else {
            fs::remove_file(&filler).unwrap();
        }
    }

    /// The cables that carry a program, by netlink.
    fn carrying(&self) -> BTreeSet<String> {
        let text = self.inside.say(&["ip", "-json", "link", "show"]).unwrap();
        let links: Value = serde_json::from_str(&text).unwrap();
        let links = links.as_array().unwrap().iter();
        let carrying = links.filter(|link| link["xdp"]["prog"]["id"].is_u64());
        carrying
            .map(|link| link["ifname"].as_str().unwrap().to_owned())
            .collect()
    }

    fn expected(&self) -> BTreeSet<String> {
        let cables = self.model.cables.iter().enumerate();
        let filtered = cables.filter(|(_, it)| it.place == Place::Here && it.is_filtered);
        filtered
            .map(|(number, it)| name(number, it.is_named))
            .collect()
    }

    /// What is wrong now; `None` if everything is as the model has it.
    fn wrong(&self) -> Option<String> {
        let (model, expected) = (&self.model, self.expected());
        let carrying = self.carrying();
        if carrying != expected {
            return Some(format!("netlink: {carrying:?}, not {expected:?}"));
        }
        let output = self.ctl.run(&["-o", "json", "status"]).unwrap();
        let code = output.status.code();
        let status: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        let complaint = String::from_utf8_lossy(&output.stderr);
        if model.is_hidden {
            let is_quiet = code == Some(0) || complaint.contains("every packet passes");
            return is_quiet.then(|| format!("hidden, and status says {code:?} {status}"));
        }
        let interfaces = status["interfaces"].as_array();
        let said: BTreeSet<String> = interfaces
            .into_iter()
            .flatten()
            .map(|it| it["name"].as_str().unwrap().to_owned())
            .collect();
        if said != expected {
            return Some(format!("status: {said:?}, not {expected:?}; {complaint}"));
        }
        let is_open = |it: &Cable| it.place == Place::Here && it.is_named && !it.is_filtered;
        let must_fail = model.cables.iter().any(is_open);
        let must_be_good = model.is_up && !model.is_full && !must_fail;
        if must_fail && code == Some(0) || must_be_good && code != Some(0) {
            return Some(format!("status ends with {code:?}: {}", status["warnings"]));
        }
        let bans = match self.ctl.json(&["bans"]) {
            Ok(bans) => bans,
            Err(error) => return Some(format!("bans: {error}")),
        };
        let bans: BTreeSet<String> = bans["entries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["prefix"].as_str().unwrap().to_owned())
            .collect();
        let wanted: BTreeSet<String> = model
            .bans
            .iter()
            .map(|last| format!("198.51.100.{last}"))
            .collect();
        (bans != wanted).then(|| format!("bans: {bans:?}, not {wanted:?}"))
    }

    /// Waits until everything is as the model has it, and that nothing gets in.
    fn settle(&mut self, after: &str) {
        self.follow();
        let begin = Instant::now();
        while let Some(wrong) = self.wrong() {
            if let Some(daemon) = &mut self.daemon {
                let ended = daemon.try_wait().unwrap();
                assert!(ended.is_none(), "{after}: the daemon has ended: {ended:?}");
            }
            let late = begin.elapsed() > patience(SOON);
            assert!(!late, "{after}: {wrong}");
            sleep(Duration::from_millis(20));
        }
        for cable in 0..CABLES {
            let known = &self.model.cables[cable];
            if known.place == Place::Here && known.is_filtered {
                let far = name(cable, true);
                let frames = vec![stranger(); 3];
                self.outside.run(|| put(&far, &frames).unwrap());
            }
        }
        let counted = self.inside.counted("inet fwt strangers").unwrap();
        assert_eq!(counted, self.counted, "{after}: something has got in");
    }

    /// What was accepted is on disk before long.
    fn on_disk(&self) {
        let model = &self.model;
        if model.is_full || model.is_hidden || !model.is_up {
            return;
        }
        let wanted: BTreeSet<String> = model
            .bans
            .iter()
            .map(|last| format!("banned 198.51.100.{last} -"))
            .collect();
        let copy = self.ctl.state().join("live");
        let read = || -> BTreeSet<String> {
            let text = fs::read_to_string(&copy).unwrap_or_default();
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.map(str::to_owned).collect()
        };
        let begin = Instant::now();
        while read() != wanted {
            let late = begin.elapsed() > patience(ON_DISK);
            assert!(!late, "on disk: {:?}, not {wanted:?}", read());
            sleep(Duration::from_millis(50));
        }
    }
}

/// Runs a sequence; what went wrong, if something did.
fn run(ops: &[Op]) -> Result<usize, String> {
    let host = |what| Namespace::new(what).unwrap();
    let (outside, inside, away) = (host("out"), host("in"), host("away"));
    inside
        .nft(
            "add table inet fwt; add counter inet fwt strangers; \
             add chain inet fwt pre { type filter hook prerouting priority raw; }; \
             add rule inet fwt pre udp dport 9 counter name strangers",
        )
        .unwrap();
    let mut ctl = Ctl::new(&inside).unwrap();
    let clock = WallClock::of(&mut ctl).unwrap();
    fs::create_dir(ctl.state()).unwrap();
    let small = Some(c"size=256k");
    mount("tmpfs", ctl.state(), "tmpfs", MountFlags::empty(), small).unwrap();
    let write = |name: &str, rules: &str| {
        let head = "version: 1\ninterfaces: [{match: 'wan*'}]\ndefault: {in: drop}\nrules: ";
        let path = ctl.folder().join(name);
        fs::write(&path, format!("{head}{rules}\n")).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let files = [
        write("a.yaml", "[]"),
        write(
            "b.yaml",
            "[{name: web, proto: tcp, port: 80, action: pass}]",
        ),
    ];
    let cable = Cable {
        place: Place::Gone,
        is_named: true,
        is_filtered: false,
        takes_along: false,
        pin: String::new(),
    };
    let mut world = World {
        outside: &outside,
        inside: &inside,
        away: &away,
        ctl: &ctl,
        clock,
        daemon: None,
        model: Model {
            cables: vec![cable; CABLES],
            bans: BTreeSet::new(),
            is_up: true,
            is_hidden: false,
            is_full: false,
            second: false,
        },
        files,
        counted: 0,
    };
    for cable in 0..CABLES {
        world.add(cable);
    }
    // Without a filter it counts, so that nothing counted means something.
    outside.run(|| put("wan0", &[stranger()]).unwrap());
    while world.counted == 0 {
        world.counted = inside.counted("inet fwt strangers").unwrap();
    }
    world.spawn();
    let mut performed = 0;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        world.settle("the start");
        for (number, op) in ops.iter().enumerate() {
            if world.perform(*op) {
                performed += 1;
                world.settle(&format!("operation {number}, {op:?}"));
            }
        }
    }));
    if world.model.is_hidden {
        unmount(BPFFS, UnmountFlags::DETACH).unwrap();
    }
    world.kill();
    unmount(ctl.state(), UnmountFlags::DETACH).unwrap();
    outcome.map(|()| performed).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        format!("{}\n{}", text.unwrap_or_default(), tail(&ctl))
    })
}

fn tail(ctl: &Ctl<'_>) -> String {
    let log = ctl.log();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Leaves out what is not needed to fail, in a few attempts.
fn shrink(mut ops: Vec<Op>) -> Vec<Op> {
    let mut attempts = number("FIREWALL_SHRINK", 12).unwrap();
    let mut size = ops.len() / 2;
    while size > 0 && attempts > 0 {
        let mut at = 0;
        while at < ops.len() && attempts > 0 {
            let mut fewer = ops.clone();
            fewer.drain(at..(at + size).min(ops.len()));
            attempts -= 1;
            match run(&fewer) {
                Err(_) => ops = fewer,
                Ok(_) => at += size,
            }
        }
        size /= 2;
    }
    ops
}

#[test]
#[ignore = "needs root; alone: it hides the BPF file system, and waits for what takes a second"]
fn whatever_happens_what_is_said_and_kept_is_what_is() {
    assert!(Path::new(BPFFS).exists());
    let count = number("FIREWALL_CASES", 10).unwrap();
    let first = number("FIREWALL_SEED", 0).unwrap();
    let begin = Instant::now();
    let (mut performed, mut sequences) = (0, 0);
    for seed in KEPT.into_iter().chain(first..first + count) {
        let ops = sequence(seed);
        match run(&ops) {
            Ok(count) => performed += count,
            Err(why) => {
                let short = shrink(ops);
                panic!("seed {seed}: {why}\nas short as it gets: {short:?}");
            }
        }
        sequences += 1;
    }
    println!(
        "{sequences} sequences, {performed} operations in {:.0} s",
        begin.elapsed().as_secs_f64()
    );
}
