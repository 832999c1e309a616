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
use crate::report::{BenchReport, Mark, Times};
use crate::trees::{Both, Programs, Trees};
use anyhow::{Context as _, Result, bail, ensure};
use firewall_engine::kernel::bench::{Bed, Subject};
use firewall_tests::frames::Frame;
use firewall_tests::oracle::flows::Message;
use firewall_tests::policies;
use scene::{COMPANY, Cookies, FLOWS, MINE, Scene, THEIRS, Way};

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
    /// In turns: the same packet of several flows.
    frames: Vec<Frame>,
    /// What the program returns, and that of the other tree; `None` for whatever it is.
    returns: Option<u32>,
    returned: Option<u32>,
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
            frames: vec![frame],
            returns: Some(returns),
            returned: Some(returns),
            cookies: Cookies::Seldom,
            bar: None,
        }
    }

    /// Of all flows that only the table knows.
    fn of_flows(self, frame: impl Fn(u16) -> Frame) -> Self {
        Self {
            frames: (0..FLOWS).map(frame).collect(),
            ..self
        }
    }

    /// With a bar.
    fn bar(self, bar: f64) -> Self {
        Self {
            bar: Some(bar),
            ..self
        }
    }

    /// The other tree said something else.
    fn once(self, returned: u32) -> Self {
        Self {
            returned: Some(returned),
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

/// Packets that come in and belong to something.
fn known() -> Vec<Packet> {
    use To::{Host, Router};
    use Way::In;
    let datagram = |number| scene::flow_datagram(number, false);
    let forwarded = |number| scene::forwarded(number).data(false);
    let socket = scene::socket_datagram();
    let mine = || MINE.data(false);
    let theirs = THEIRS.data(false);
    let packet = Packet::new;
    let flow = |what, to| packet(what, to, In, Frame::new(), PASS).bar(SAME);
    vec![
        flow("datagram of a flow", Host).of_flows(datagram),
        flow("forwarded segment of a flow", Router).of_flows(forwarded),
        packet(
            "segment of a connection that this host has opened",
            Host,
            In,
            mine(),
            PASS,
        ),
        packet("router: the same", Router, In, mine(), PASS),
        packet(
            "segment of a connection that it has accepted",
            Host,
            In,
            theirs,
            PASS,
        ),
        packet(
            "datagram of a connected socket, no flow",
            Host,
            In,
            socket,
            PASS,
        )
        .once(DROP),
    ]
}

/// Packets that come in and belong to nothing.
fn strange() -> Vec<Packet> {
    use To::{Host, Plain, Router};
    use Way::In;
    let ack = scene::stranger_ack;
    let syn = scene::syn_closed;
    let udp = || scene::stranger(Message::Udp);
    let reply = scene::stranger(Message::EchoReply);
    let service = scene::service_datagram(false);
    let dropped = |what, to, frame| Packet::new(what, to, In, frame, DROP).bar(STRANGER);
    let passed = |what, frame| Packet::new(what, Host, In, frame, PASS);
    vec![
        dropped("stranger's ACK, dropped", Host, ack()),
        dropped("router: stranger's ACK, dropped", Router, ack()),
        dropped("stranger's SYN, dropped", Host, syn()),
        dropped("router: stranger's SYN, dropped", Router, syn()),
        dropped("stranger's datagram, dropped", Host, udp()),
        dropped("stranger's echo reply, dropped", Host, reply),
        Packet {
            // The other tree may let in any: it asked nobody what they are about.
            returns: None,
            returned: None,
            bar: None,
            ..dropped("stranger's ICMP error", Host, scene::stranger_error())
        },
        Packet::new("dropped, no rule looks at state", Plain, In, ack(), DROP),
        passed("SYN to an open port, passed", scene::syn_quiet()),
        passed("datagram to an open port, passed", service),
    ]
}

/// Packets that are answered, and packets that leave.
fn answered_and_sent() -> Vec<Packet> {
    use To::{Answers, Host, Rejects, Router};
    use Way::{Answered, Out};
    let ack = scene::stranger_ack;
    let udp = scene::stranger(Message::Udp);
    let answered = |what, to, frame| Packet::new(what, to, Answered, frame, BACK);
    let sent = |what, to, frame| Packet::new(what, to, Out, frame, NEXT);
    vec![
        Packet {
            cookies: Cookies::Always,
            ..answered("SYN, answered by a cookie", Host, scene::syn_flooded())
        },
        answered("ACK, answered by a reset", Answers, ack()),
        answered("datagram, answered by an ICMP error", Answers, udp),
        Packet {
            // Now and then there is an answer left.
            returns: None,
            returned: None,
            ..answered("rejected, beyond the limit of answers", Rejects, ack())
        },
        sent(
            "sent: segment of a connection of this host",
            Host,
            MINE.data(true),
        ),
        sent("sent: segment of a flow", Router, Frame::new())
            .of_flows(|number| scene::forwarded(number).data(true)),
        sent("sent: datagram of a flow", Host, Frame::new())
            .of_flows(|number| scene::flow_datagram(number, true)),
        sent(
            "sent: datagram of a service",
            Host,
            scene::service_datagram(true),
        ),
    ]
}

/// Every packet but the dearest.
fn packets() -> Vec<Packet> {
    [known(), strange(), answered_and_sent()]
        .into_iter()
        .flatten()
        .collect()
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
    fn contest(
        &mut self,
        what: &str,
        subjects: &[(&Programs, Way, &[Frame])],
    ) -> Result<Vec<Series>> {
        let (rounds, repeat) = (self.rounds, self.repeat);
        let mut samples = 0;
        measure::rounds(what, rounds, subjects.len(), |number| {
            let (programs, way, frames) = subjects[number];
            let frame = &frames[samples / subjects.len() % frames.len()];
            samples += 1;
            Ok(self.run(programs, way, frame, repeat)?.1)
        })
    }
}

/// Runs it.
pub(crate) fn p13(context: &Context, report: &mut BenchReport) -> Result<()> {
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
fn small(stage: &mut Stage, trees: &mut Trees, web: &str, report: &mut BenchReport) -> Result<()> {
    scene::give_cookies(Cookies::Seldom)?;
    let loaded = To::ALL
        .iter()
        .map(|to| to.load(trees, web).with_context(|| format!("{to:?}")))
        .collect::<Result<Vec<Both>>>()?;
    let of = |to: To| &loaded[to as usize];
    for to in [To::Host, To::Router] {
        open(stage, of(to), to == To::Router)?;
    }
    let plain = [scene::stranger_ack()];
    ensure!(
        !stateless(web).contains("state:"),
        "the policy looks at state"
    );
    for packet in packets() {
        scene::give_cookies(packet.cookies)?;
        let both = of(packet.to);
        let frames = packet.frames.as_slice();
        expect(stage, &packet, &both.now, packet.returns)?;
        let mut subjects = vec![(&both.now, packet.way, frames)];
        subjects.push((&of(To::Plain).now, Way::In, &plain));
        if let Ok(before) = &both.before {
            expect(stage, &packet, before, packet.returned)?;
            subjects.push((before, packet.way, frames));
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
            let what = format!("{}: over before", packet.what);
            let mark = Mark::at_most("P13", &what, "x", bar);
            match before {
                Some(before) => report.bar(mark, &series[0].over(before)),
                None => report.not_run(mark, "nothing to compare with (--before)"),
            }
        }
    }
    Ok(())
}

/// Lets both trees see the connections begin that are open, among others.
fn open(stage: &mut Stage, both: &Both, routes: bool) -> Result<()> {
    let mut frames: Vec<(Way, Frame)> = Vec::new();
    let company = |is_tcp| (0..COMPANY).map(move |number| scene::company(number, is_tcp));
    frames.extend(company(false).map(|frame| (Way::Out, frame)));
    if routes {
        frames.extend(company(true).map(|frame| (Way::Out, frame)));
        frames.extend((0..FLOWS).flat_map(|number| scene::forwarded(number).opening()));
    }
    frames.extend(MINE.opening());
    frames.extend(THEIRS.opening());
    frames.extend((0..FLOWS).flat_map(scene::flow_opening));
    let before = both.before.as_ref().ok();
    for programs in [Some(&both.now), before].into_iter().flatten() {
        for (way, frame) in &frames {
            stage.once(programs, *way, frame)?;
        }
    }
    Ok(())
}

/// What is timed is what is meant.
fn expect(
    stage: &mut Stage,
    packet: &Packet,
    programs: &Programs,
    returns: Option<u32>,
) -> Result<()> {
    if packet.to == To::Rejects {
        // More than there are answers at once.
        programs.xdp.run(&packet.frames[0], 2_000)?;
    }
    let what = packet.what;
    for frame in &packet.frames {
        let value = stage.once(programs, packet.way, frame)?;
        if returns.is_some_and(|returns| value != returns) {
            bail!("{what}: the program returned {value}, not {returns:?}");
        }
    }
    Ok(())
}

/// The dearest packets of policies with many rules, over a median one of acl1 with as many.
fn dearest(
    stage: &mut Stage,
    trees: &mut Trees,
    context: &Context,
    report: &mut BenchReport,
) -> Result<()> {
    let (size, others) = (context.many_rules(), if context.quick { 51 } else { 301 });
    stage.repeat /= 10;
    let kinds = [
        ("64 rules that count", many_rules::most_counting(size)?),
        (
            "64 rules that go on, 8 with limit and log",
            many_rules::most_limited(size)?,
        ),
        (
            "every rule matches in all keys but one",
            many_rules::all_but_one(size)?,
        ),
    ];
    let worst = [many_rules::dearest()];
    let mut loaded = Vec::new();
    for (what, text) in &kinds {
        let both = trees.load(text, true).with_context(|| (*what).to_owned())?;
        // Limits are used up.
        both.now.xdp.run(&worst[0], 100)?;
        loaded.push((what, both));
    }
    let (_, ordinary) = loaded.first().context("no policy")?;
    let frames = many_rules::ordinary(&kinds[0].1, others)?;
    let median = [median(stage, &ordinary.now, &frames)?];
    for (what, both) in &loaded {
        let mut subjects = vec![
            (&both.now, Way::In, worst.as_slice()),
            (&ordinary.now, Way::In, median.as_slice()),
        ];
        if let Ok(before) = &both.before {
            subjects.push((before, Way::In, worst.as_slice()));
        }
        let what = format!("{size} rules: {what}");
        let series = stage.contest(&what, &subjects)?;
        let times = series[0].over(&series[1]);
        let median = Times::of(&times, "a median packet of acl1");
        report.packet(&what, &series[0], series.get(2), median);
        let what = format!("{what}: over the median packet");
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
