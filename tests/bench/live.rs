//! Real frames: one end of a cable sends, the filter under test sits on the other. BPF_PROG_TEST_RUN
//! in live-frames mode injects them, so that native XDP, netdev ingress and prerouting are reached
//! as with a network card. Sender and receiver share one CPU and take turns.
//!
//! The time is that of the sending thread and of the kernel's thread that works off what is left,
//! so that other programs on the CPU do not count; where the kernel keeps interrupts out of the
//! time of threads, it is the time on the clock.
//!
//! Invariant: a time counts for frames that the receiver has seen, not for frames that were sent.

use crate::machine::{Busy, OneCpu};
use crate::measure::{self, Series};
use crate::peers::{self, Missing};
use crate::stop;
use crate::traffic::Traffic;
use anyhow::{Context, Result, ensure};
use firewall_engine::kernel::bench::{Attachment, Bed, Subject};
use firewall_tests::netns::{INTERFACE, Namespace, Pair};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a sample takes, about.
const SAMPLE: Duration = Duration::from_millis(200);
/// Frames of a sample at least and at most.
const FRAMES: (u32, u32) = (512, 1 << 20);
/// Without it, the hosts announce their addresses to each other now and then.
const NO_V6: &str = "/proc/sys/net/ipv6/conf/all/disable_ipv6";
/// How long the hosts take to fall silent.
const SILENCE: Duration = Duration::from_millis(20);
/// Frames are lost if none arrives for so long.
const PATIENCE: Duration = Duration::from_millis(300);

/// The index of an interface of this network namespace.
pub(crate) fn ifindex(name: &str) -> Result<u32> {
    let interfaces = pnet_datalink::interfaces();
    let found = interfaces.iter().find(|interface| interface.name == name);
    Ok(found.with_context(|| format!("no interface {name}"))?.index)
}

/// A cable with a stream of headers at its outer end.
#[derive(Debug)]
pub(crate) struct Cable {
    bed: Bed,
    /// Interface indices outside and inside.
    indices: (u32, u32),
    /// `/proc/net/dev` inside.
    statistics: File,
    pair: Pair,
}

impl Cable {
    /// Lays one. `bed`: the headers that it carries.
    pub(crate) fn new(bed: Bed) -> Result<Self> {
        let pair = Pair::new()?;
        for host in [&pair.outside, &pair.inside] {
            host.run(|| std::fs::write(NO_V6, "1"))
                .with_context(|| NO_V6.to_owned())?;
        }
        std::thread::sleep(SILENCE);
        let outside = pair.outside.run(|| ifindex(INTERFACE))?;
        let (inside, statistics) = pair.inside.run(|| -> Result<_> {
            let statistics = File::open("/proc/thread-self/net/dev")?;
            Ok((ifindex(INTERFACE)?, statistics))
        })?;
        Ok(Self {
            bed,
            indices: (outside, inside),
            statistics,
            pair,
        })
    }

    /// The end that receives.
    pub(crate) fn inside(&self) -> &Namespace {
        &self.pair.inside
    }

    /// The index of the receiving interface.
    pub(crate) fn ifindex(&self) -> u32 {
        self.indices.1
    }

    /// One of the benchmark's programs.
    pub(crate) fn program(&mut self, name: &str) -> Result<Subject> {
        Ok(self.bed.program(name)?)
    }

    /// Attaches a program to the receiving end.
    pub(crate) fn attach(&self, subject: &Subject) -> Result<Attachment> {
        Ok(self.inside().run(|| subject.attach(self.ifindex()))?)
    }

    /// Lets the receiving end take frames where it carries no XDP program.
    pub(crate) fn take_frames(&self) -> Result<()> {
        let ethtool = peers::find("ethtool", "ethtool")?;
        let mut command: Command = self.inside().command(ethtool);
        peers::run(command.args(["-K", INTERFACE, "gro", "on"]))?;
        Ok(())
    }

    /// Frames that the receiving end has taken so far.
    fn received(&self) -> Result<u64> {
        let mut buffer = [0; 4096];
        let length = self.statistics.read_at(&mut buffer, 0)?;
        let text = String::from_utf8_lossy(&buffer[..length]);
        // `wan0: BYTES PACKETS ...`
        let counts = text
            .lines()
            .find_map(|line| line.trim().strip_prefix(INTERFACE)?.strip_prefix(':'));
        let packets = counts.and_then(|counts| counts.split_whitespace().nth(1)?.parse().ok());
        packets.context("no statistics of the receiving interface")
    }

    /// Sends the next `frames` headers; how many arrived, and the time that it took.
    fn send(&mut self, frames: u32) -> Result<(u64, Duration)> {
        let before = self.received()?;
        let (bed, sender) = (&mut self.bed, self.indices.0);
        let busy = Busy::start()?;
        let (start, sending) = self.pair.outside.run(|| -> Result<_> {
            let start = Instant::now();
            bed.send(sender, Pair::macs(), frames)?;
            Ok((start, Busy::of_this_thread()))
        })?;
        // What is left in the receiver's queue is worked off by the kernel's own thread.
        let mut seen = (0, start.elapsed());
        loop {
            let now = self.received()? - before;
            if now > seen.0 {
                seen = (now, start.elapsed());
            }
            if now >= u64::from(frames) || start.elapsed() > seen.1 + PATIENCE {
                break;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        let took = match busy {
            Some(busy) => sending + busy.since()?,
            None => seen.1,
        };
        Ok((seen.0, took))
    }

    /// Sends every header once; all must arrive.
    pub(crate) fn send_all(&mut self) -> Result<()> {
        /// So few that no queue overflows, however slow the receiver is.
        const BATCH: u32 = 64;
        self.bed.rewind()?;
        let mut left = self.bed.count();
        while left > 0 {
            stop::check()?;
            let batch = left.min(BATCH);
            let (arrived, _) = self.send(batch)?;
            ensure!(
                arrived == u64::from(batch),
                "{arrived} of {batch} frames arrived"
            );
            left -= batch;
        }
        Ok(())
    }
}

/// A filter on its cable.
pub(crate) struct Contender {
    /// What it is called.
    pub(crate) label: String,
    cable: Cable,
    frames: u32,
    /// What must live as long: programs, attachments, peers.
    _keep: Box<dyn std::any::Any>,
}

impl Contender {
    /// A filter that is in place on its cable. `passed` counts the frames that it has let through:
    /// none, of traffic that it drops as a whole.
    pub(crate) fn new(
        label: &str,
        mut cable: Cable,
        keep: Box<dyn std::any::Any>,
        passed: impl Fn(&Cable) -> Result<u64>,
    ) -> Result<Self> {
        let _one_cpu = OneCpu::enter()?;
        cable.send_all().with_context(|| label.to_owned())?;
        let passed = passed(&cable)?;
        ensure!(
            passed == 0,
            "{label} lets {passed} frames through that it must drop"
        );
        let mut contender = Self {
            label: label.to_owned(),
            cable,
            frames: FRAMES.0,
            _keep: keep,
        };
        // Twice: of few frames, most of the time is not theirs.
        for target in [SAMPLE / 10, SAMPLE] {
            let one = contender.sample()?.max(1.0);
            let frames = (target.as_nanos() as f64 / one) as u32;
            contender.frames = frames.clamp(contender.frames, FRAMES.1);
        }
        Ok(contender)
    }

    /// Nanoseconds a frame.
    fn sample(&mut self) -> Result<f64> {
        let (arrived, took) = self.cable.send(self.frames)?;
        let (label, sent) = (&self.label, self.frames);
        ensure!(
            arrived * 20 >= u64::from(sent) * 19,
            "{label}: only {arrived} of {sent} frames arrived, so a time would mean nothing"
        );
        Ok(took.as_nanos() as f64 / arrived as f64)
    }
}

/// A bare XDP_DROP.
pub(crate) fn bare_drop(object: &[u8], traffic: &Traffic) -> Result<Contender> {
    let mut cable = Cable::new(Bed::load(object, &traffic.headers, traffic.long, 0)?)?;
    let program = cable.program("bench_drop")?;
    let attachment = cable.attach(&program)?;
    Contender::new("bare XDP_DROP", cable, Box::new(attachment), |_| Ok(0))
}

/// Measures all of them against each other; nanoseconds a frame.
pub(crate) fn contest(
    what: &str,
    rounds: usize,
    contenders: &mut [Contender],
) -> Result<Vec<Series>> {
    measure::rounds(what, rounds, contenders.len(), |index| {
        contenders[index].sample()
    })
}

/// Contenders, and those that are missing with the reason.
#[derive(Default)]
pub(crate) struct Gathered {
    /// Those that are there.
    pub(crate) contenders: Vec<Contender>,
    /// Label and reason of the others.
    pub(crate) missing: Vec<(&'static str, Missing)>,
}

/// Tells contenders that are missing from those that fail, which is an error.
pub(crate) fn gather(
    found: impl IntoIterator<Item = (&'static str, Result<Contender>)>,
) -> Result<Gathered> {
    let mut gathered = Gathered::default();
    for (label, contender) in found {
        match contender {
            Ok(contender) => gathered.contenders.push(contender),
            Err(error) => {
                let missing = error.downcast::<Missing>()?;
                eprintln!("  {label}: {missing}");
                gathered.missing.push((label, missing));
            }
        }
    }
    Ok(gathered)
}
