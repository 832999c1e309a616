//! P13: what a packet can cost that somebody sends who need not be asked: of a flow, of a socket, of
//! nothing; new ones; answers; the dearest that the language allows. Beside the same packet in the
//! programs of another source tree, if there is one.
//!
//! Hot: one packet over and over. What is compared runs in turns of some milliseconds, because a
//! processor is not equally fast at all times: the ratios count.

mod many_rules;
mod scene;

use super::Context;
use crate::measure::{self, Series};
use crate::report::{Mark, Report, Times};
use crate::trees::{Both, Programs, Trees};
use anyhow::{Context as _, Result, bail, ensure};
use firewall_engine::kernel::bench::{Bed, Subject};
use firewall_tests::frames::Frame;
use firewall_tests::oracle::flows::Message;
use firewall_tests::policies;
use many_rules::Dear;
use scene::{Cookies, FORWARDED, MINE, Scene, THEIRS, Way};

/// Return values of the programs.
const DROP: u32 = 1;
const PASS: u32 = 2;
const BACK: u32 = 3;
/// Of the egress program.
const NEXT: u32 = u32::MAX;

/// Packets of a sample, so that it takes some milliseconds.
const REPEAT: u32 = 40_000;

/// Rounds for each that counts elsewhere: these are short.
const ROUNDS: usize = 5;

/// Policies that put one or the other on the way.
const REJECTS: &str = "\
version: 1
default: {in: drop}
rules:
  - {name: tcp, proto: tcp, action: reject}
  - {name: udp, proto: udp, action: reject}
  - {name: replies, state: established, action: pass}
";

/// Which programs a packet goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum To {
    /// rules/web-server.yaml, on a host that forwards nothing.
    Host,
    /// The same on one that does.
    Router,
    /// The same without the rules that look at state.
    Plain,
    /// Rules that reject, within their limits.
    Rejects,
    /// The same, with an answer for everybody.
    Answers,
}

impl To {
    const ALL: [Self; 5] = [
        Self::Host,
        Self::Router,
        Self::Plain,
        Self::Rejects,
        Self::Answers,
    ];

    fn load(self, trees: &mut Trees, web: &str) -> Result<Both> {
        match self {
            Self::Host | Self::Router => trees.load(web, true),
            Self::Plain => trees.load(&stateless(web), true),
            Self::Rejects => trees.load(REJECTS, true),
            Self::Answers => trees.load(REJECTS, false),
        }
    }
}

/// The policy without what looks at state.
fn stateless(web: &str) -> String {
    let looks = |line: &&str| !line.contains("state: established") && !line.contains("limit: {new");
    web.lines().filter(looks).collect::<Vec<_>>().join("\n")
}

/// One packet of the table.
struct Packet {
    what: &'static str,
    to: To,
    way: Way,
    frame: Frame,
    /// What the program returns; of the other tree, where that is the same.
    returns: u32,
    returned: bool,
    cookies: Cookies,
    /// The most that it may cost over the other tree.
    bar: Option<f64>,
}

impl Packet {
    fn new(what: &'static str, to: To, way: Way, frame: Frame, returns: u32) -> Self {
        Self {
            what,
            to,
            way,
            frame,
            returns,
            returned: true,
            cookies: Cookies::Seldom,
            bar: None,
        }
    }

    /// With a bar.
    fn bar(self, bar: f64) -> Self {
        Self {
            bar: Some(bar),
            ..self
        }
    }

    /// The other tree may say something else.
    fn differs(self) -> Self {
        Self {
            returned: false,
            ..self
        }
    }
}

/// Two runs of one program differ by so much.
const SAME: f64 = 1.02;
/// What a stranger's packet may cost over what it cost before sockets were asked.
const STRANGER: f64 = 1.4;
/// What the dearest packet may cost over the median one.
const DEAREST: f64 = 20.0;

/// Every packet but the dearest.
fn packets() -> Vec<Packet> {
    use To::{Answers, Host, Plain, Rejects, Router};
    use Way::{Answered, In, Out};
    let packet = Packet::new;
    let ack = scene::stranger_ack;
    let udp = || scene::stranger(Message::Udp);
    let syn = scene::syn_closed;
    vec![
        packet(
            "datagram of a flow",
            Host,
            In,
            scene::flow_datagram(false),
            PASS,
        )
        .bar(SAME),
        packet(
            "forwarded segment of a flow",
            Router,
            In,
            FORWARDED.data(false),
            PASS,
        )
        .bar(SAME),
        packet(
            "segment of a connection of this host",
            Host,
            In,
            MINE.data(false),
            PASS,
        ),
        packet("the same, on a router", Router, In, MINE.data(false), PASS),
        packet(
            "segment of an accepted connection",
            Host,
            In,
            THEIRS.data(false),
            PASS,
        ),
        packet(
            "datagram of a connected socket",
            Host,
            In,
            scene::socket_datagram(),
            PASS,
        )
        .differs(),
        packet("stranger's ACK, dropped", Host, In, ack(), DROP).bar(STRANGER),
        packet("the same, on a router", Router, In, ack(), DROP).bar(STRANGER),
        packet("stranger's SYN, dropped", Host, In, syn(), DROP).bar(STRANGER),
        packet("the same, on a router", Router, In, syn(), DROP).bar(STRANGER),
        packet("stranger's datagram, dropped", Host, In, udp(), DROP).bar(STRANGER),
        packet(
            "stranger's echo reply, dropped",
            Host,
            In,
            scene::stranger(Message::EchoReply),
            DROP,
        )
        .bar(STRANGER),
        packet(
            "stranger's ICMP error, dropped",
            Host,
            In,
            scene::stranger_error(),
            DROP,
        )
        .bar(STRANGER),
        packet("dropped, no rule looks at state", Plain, In, ack(), DROP),
        packet(
            "SYN to an open port, passed",
            Host,
            In,
            scene::syn_quiet(),
            PASS,
        ),
        packet(
            "datagram to an open port, passed",
            Host,
            In,
            scene::service_datagram(false),
            PASS,
        ),
        Packet {
            cookies: Cookies::Always,
            ..packet(
                "SYN, answered by a cookie",
                Host,
                Answered,
                scene::syn_flooded(),
                BACK,
            )
        },
        packet(
            "rejected, beyond the limit of answers",
            Rejects,
            In,
            ack(),
            DROP,
        ),
        packet(
            "rejected, answered by a reset",
            Answers,
            Answered,
            ack(),
            BACK,
        ),
        packet(
            "rejected, answered by an ICMP error",
            Answers,
            Answered,
            udp(),
            BACK,
        ),
        packet(
            "sent: segment of a connection of this host",
            Host,
            Out,
            MINE.data(true),
            NEXT,
        ),
        packet(
            "sent: segment of a flow",
            Router,
            Out,
            FORWARDED.data(true),
            NEXT,
        ),
        packet(
            "sent: datagram of a flow",
            Host,
            Out,
            scene::flow_datagram(true),
            NEXT,
        ),
        packet(
            "sent: datagram of a service",
            Host,
            Out,
            scene::service_datagram(true),
            NEXT,
        ),
    ]
}

/// What samples are taken with.
struct Stage {
    bed: Bed,
    bare: Subject,
    repeat: u32,
    rounds: usize,
}

impl Stage {
    /// Runs a program once on a frame.
    fn once(&mut self, programs: &Programs, way: Way, frame: &[u8]) -> Result<u32> {
        self.run(programs, way, frame, 1).map(|(value, _)| value)
    }

    /// What it returned, and the nanoseconds of a run.
    fn run(
        &mut self,
        programs: &Programs,
        way: Way,
        frame: &[u8],
        repeat: u32,
    ) -> Result<(u32, f64)> {
        match way {
            Way::In => Ok(programs.xdp.run(frame, repeat)?),
            Way::Out => {
                let egress = programs.egress.as_ref().context("no egress program")?;
                Ok(egress.send(frame, repeat)?)
            }
            Way::Answered => {
                self.bed.aim(&self.bare)?;
                let (_, bare) = self.bed.run_again(frame, repeat)?;
                self.bed.aim(&programs.xdp)?;
                let (value, time) = self.bed.run_again(frame, repeat)?;
                Ok((value, time - bare))
            }
        }
    }

    /// Samples of several programs and frames in turns.
    fn contest(&mut self, what: &str, subjects: &[(&Programs, Way, &[u8])]) -> Result<Vec<Series>> {
        let (rounds, repeat) = (self.rounds, self.repeat);
        measure::rounds(what, rounds, subjects.len(), |number| {
            let (programs, way, frame) = subjects[number];
            Ok(self.run(programs, way, frame, repeat)?.1)
        })
    }
}

/// Runs it.
pub(crate) fn p13(context: &Context, report: &mut Report) -> Result<()> {
    let scene = Scene::new()?;
    let web = std::fs::read_to_string(policies::folder().join("web-server.yaml"))?;
    // Its tests speak of rules that the one without state lacks.
    let web = web.split("\ntests:").next().unwrap_or_default();
    let mut trees = Trees::start(context.before.as_deref())?;
    scene.run(|| {
        let mut bed = Bed::load(&context.object, &[[0; 64]], false, 0)?;
        let mut stage = Stage {
            bare: bed.program("bench_drop")?,
            bed,
            repeat: if context.quick { REPEAT / 4 } else { REPEAT },
            rounds: context.rounds * ROUNDS,
        };
        small(&mut stage, &mut trees, web, report)?;
        dearest(&mut stage, &mut trees, context, report)
    })
}

/// The packets under policies with few rules.
fn small(stage: &mut Stage, trees: &mut Trees, web: &str, report: &mut Report) -> Result<()> {
    scene::give_cookies(Cookies::Seldom)?;
    let loaded = To::ALL
        .iter()
        .map(|to| to.load(trees, web).with_context(|| format!("{to:?}")))
        .collect::<Result<Vec<Both>>>()?;
    let of = |to: To| &loaded[to as usize];
    for to in [To::Host, To::Router] {
        open(stage, of(to), to == To::Router)?;
    }
    let plain = scene::stranger_ack();
    ensure!(
        of(To::Plain).now.egress.is_none(),
        "the policy looks at state"
    );
    for packet in packets() {
        scene::give_cookies(packet.cookies)?;
        let both = of(packet.to);
        let frame = packet.frame.as_slice();
        expect(stage, &packet, &both.now, true)?;
        let mut subjects = vec![(&both.now, packet.way, frame)];
        subjects.push((&of(To::Plain).now, Way::In, &plain));
        if let Ok(before) = &both.before {
            expect(stage, &packet, before, packet.returned)?;
            subjects.push((before, packet.way, frame));
        }
        let series = stage.contest(packet.what, &subjects)?;
        let before = series.get(2);
        report.packet(
            packet.what,
            &series[0],
            before,
            Times::of(&series[0].over(&series[1]), "a drop without state"),
        );
        if let Some(bar) = packet.bar {
            let what = format!("{}: over before", name(packet.to, packet.what));
            let mark = Mark::at_most("P13", &what, "x", bar);
            match before {
                Some(before) => report.bar(mark, &series[0].over(before)),
                None => report.not_run(mark, "nothing to compare with (--before)"),
            }
        }
    }
    Ok(())
}

/// What a bar is called.
fn name(to: To, what: &str) -> String {
    match to {
        To::Router if what.starts_with("the same") => format!("router, {what}"),
        _ => what.to_owned(),
    }
}

/// Lets both trees see the connections begin that are open.
fn open(stage: &mut Stage, both: &Both, routes: bool) -> Result<()> {
    let mut frames: Vec<(Way, Frame)> = Vec::new();
    frames.extend(MINE.opening());
    frames.extend(THEIRS.opening());
    frames.extend(scene::flow_opening());
    if routes {
        frames.extend(FORWARDED.opening());
    }
    for programs in [Some(&both.now), both.before.as_ref().ok()]
        .into_iter()
        .flatten()
    {
        for (way, frame) in &frames {
            stage.once(programs, *way, frame)?;
        }
    }
    Ok(())
}

/// What is timed is what is meant.
fn expect(stage: &mut Stage, packet: &Packet, programs: &Programs, same: bool) -> Result<()> {
    // Of limits the first packets are within.
    for _ in 0..2_000 {
        if packet.to != To::Rejects {
            break;
        }
        let _ = programs.xdp.run(&packet.frame, 1)?;
        break;
    }
    let value = stage.once(programs, packet.way, &packet.frame)?;
    if same && value != packet.returns {
        bail!(
            "{}: the program returned {value}, not {}",
            packet.what,
            packet.returns
        );
    }
    Ok(())
}

/// The dearest packets of policies with many rules.
fn dearest(
    stage: &mut Stage,
    trees: &mut Trees,
    context: &Context,
    report: &mut Report,
) -> Result<()> {
    let (size, others) = (context.many_rules(), if context.quick { 51 } else { 301 });
    stage.repeat /= 10;
    let kinds: [(&str, Result<Dear>); 3] = [
        (
            "dearest packet: 64 rules that count",
            many_rules::most_counting(size, others),
        ),
        (
            "dearest packet: 64 rules that go on, 16 with a limit and a log",
            many_rules::most_limited(size, others),
        ),
        (
            "dearest packet: every rule but for one key",
            many_rules::all_but_one(size, others),
        ),
    ];
    for (what, dear) in kinds {
        let dear = dear.context(what)?;
        let both = trees.load(&dear.text, true).context(what)?;
        let median = median(stage, &both.now, &dear.others)?;
        let (worst, median) = (dear.worst.as_slice(), median.as_slice());
        let mut subjects = vec![(&both.now, Way::In, worst), (&both.now, Way::In, median)];
        if let Ok(before) = &both.before {
            subjects.push((before, Way::In, worst));
        }
        let series = stage.contest(what, &subjects)?;
        let times = series[0].over(&series[1]);
        report.packet(
            &format!("{what}; {size} rules"),
            &series[0],
            series.get(2),
            Times::of(&times, "the median packet"),
        );
        let what = format!("{what}: over the median packet at {size} rules");
        report.bar(Mark::at_most("P13", &what, "x", DEAREST), &times);
    }
    Ok(())
}

/// The frame of the median cost.
fn median(stage: &mut Stage, programs: &Programs, frames: &[Frame]) -> Result<Frame> {
    let mut costs = Vec::new();
    for frame in frames {
        let (_, first) = stage.run(programs, Way::In, frame, stage.repeat)?;
        let (_, second) = stage.run(programs, Way::In, frame, stage.repeat)?;
        costs.push((first.min(second), frame));
    }
    costs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (_, frame) = costs.get(costs.len() / 2).context("no frames")?;
    Ok((*frame).clone())
}
