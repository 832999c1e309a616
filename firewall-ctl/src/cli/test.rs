//! `test`: what a policy does with a packet, and why. Offline, unless asked for the kernel. The
//! answer's form is in [`report`].

mod in_force;
mod report;

use self::report::{Answered, CaptureReport, Live, Near, Row, RuleLine, TestReport};
use self::report::{capture_text, text};
use firewall_policy::text::safe;

use super::context::Context;
use super::help::after;
use super::observe::packet_of_line;
use super::output::Format;
use super::policy::{self, Compiled};

use crate::capture::{Capture, CaptureError};
use clap::ValueEnum;
use firewall_api::failure::{Exit, Failure};
use firewall_api::firewall::Firewall;
use firewall_api::trial::{Before, FRAMES_LIMIT, Member, TraceRequest, digits};
use firewall_api::view::SCHEMA;

use firewall_common::pipeline::{NO_RULE, Outcome};
use firewall_common::verdict::{Action, Verdict};
use firewall_policy::explain::{Explained, explain, key_of};
use firewall_policy::fields;
use firewall_policy::host;
use firewall_policy::packet_text::{self, Earlier, Ingress, Misplaced, PacketText, zone_of};
use firewall_policy::policy_tests::Expect;
use firewall_policy::prefixes;
use firewall_policy::rule::{Policy, Rule};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;

/// Near misses that are shown; more with -v.
const NEAR: usize = 3;
const NEAR_VERBOSE: usize = 20;

/// Show what a policy does with a packet, and why
#[derive(Debug, clap::Args)]
#[command(long_about = about())]
#[command(group(clap::ArgGroup::new("what").required(true).args(["packet", "hex", "pcap"])))]
pub(super) struct Args {
    /// Packet, as one argument
    #[arg(value_name = "PACKET", allow_hyphen_values = true)]
    packet: Option<String>,
    /// Ethernet frame in hexadecimal
    #[arg(long, value_name = "DIGITS")]
    hex: Option<String>,
    /// Capture file (pcap or pcapng); prints verdicts by rule
    #[arg(long, value_name = "FILE")]
    pcap: Option<String>,
    /// Policy file or directory; - reads standard input [default: the active policy]
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// Zone of the ingress interface
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Run the kernel program too, without attaching it; counters do not change
    #[arg(long)]
    live: bool,
    /// Expected verdict; any other is a failure
    #[arg(long, value_name = "VERDICT")]
    expect: Option<Expected>,
}

/// What the verb does, and all that can be said of a packet.
fn about() -> String {
    let numbers = fields::numbers().map(|row| format!("`{} N`", row.word));
    format!(
        "Show what a policy does with a packet, and why\n\n\
         The packet is text: protocol, SOURCE > DESTINATION with ports, then options: TCP flags \
         (syn, ack, ...), an ICMP type, `vlan N`, {}, `fragment first|later`, `options`, \
         `in zone ZONE`, `on INTERFACE`. A TCP packet without flags is a SYN. A line that `observe` \
         has printed is read, too.",
        numbers.collect::<Vec<_>>().join(", ")
    )
}

/// `--expect`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Expected {
    /// Passed
    Pass,
    /// Dropped, with or without an answer
    Drop,
    /// Dropped with an answer
    Reject,
}

impl Expected {
    fn holds(self, outcome: &Outcome) -> bool {
        let expect = match self {
            Self::Pass => Expect::Pass,
            Self::Drop => Expect::Drop,
            Self::Reject => Expect::Reject,
        };
        expect.holds(outcome.verdict, outcome.reason)
    }
}

pub(super) fn help() -> String {
    after(
        &[
            "firewall-ctl test -f edge.yaml 'tcp 203.0.113.9:5000 > 198.51.100.80:22 syn'",
            "firewall-ctl test -f edge.yaml --pcap incident.pcapng -o json",
            "sudo firewall-ctl test --live 'udp [2001:db8::9]:53 > [2001:db8::1]:40000 in zone wan'",
        ],
        &[
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::Config,
            Exit::Privilege,
            Exit::Unreachable,
        ],
    )
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    // What is wrong with the packet is said first: it needs no policy.
    let packet = match &args.packet {
        Some(text) => {
            let text = packet_of_line(text).unwrap_or(text);
            Some(packet_text::read(text).map_err(|findings| Failure::policy(&findings))?)
        }
        None => None,
    };
    let hex = args.hex.as_deref().map(frame_of_hex).transpose()?;
    let compiled = match &args.file {
        Some(name) => policy::compile(name)?,
        None => policy::compile_in_force(context, "name a policy: -f FILE")?.0,
    };
    let given = match &args.zone {
        Some(name) => Ingress::Zone(name.clone()),
        None => Ingress::Anywhere,
    };
    let ingress = match &packet {
        Some(packet) if packet.ingress != Ingress::Anywhere => &packet.ingress,
        _ => &given,
    };
    // What the policy says; that it does not act on it in audit mode, the answer adds.
    let tables = compiled.tables.enforced().into_owned();
    let compiled = Compiled { tables, ..compiled };
    let zone = zone_of(&compiled.policy, ingress)
        .map_err(|message| Failure::new(Exit::Config, message))?;
    // A policy in a file is tried offline, unless the kernel is asked.
    let is_asked = args.live || args.file.is_none();
    let firewall = is_asked.then(|| context.firewall()).transpose()?;
    let case = Case {
        firewall: firewall.as_deref(),
        compiled: &compiled,
        zone,
        args,
        context,
    };
    match (&packet, hex, &args.pcap) {
        (Some(packet), _, _) => {
            let policy = &case.compiled.policy;
            let packet = packet
                .placed(policy)
                .map_err(|misplaced| not_placed(&misplaced, packet, policy))?;
            let mut earlier = packet
                .earlier(policy)
                .map_err(|name| not_placed(&Misplaced::Unknown(name), &packet, policy))?;
            let frame = packet.frame();
            case.add_in_force(&frame, &mut earlier)?;
            case.one(&frame, &earlier)
        }
        (_, Some(frame), _) => {
            let mut earlier = Earlier::default();
            case.add_in_force(&frame, &mut earlier)?;
            case.one(&frame, &earlier)
        }
        (_, _, Some(file)) => case.capture(file),
        _ => Err(Failure::new(Exit::Usage, "no packet")),
    }
}

/// Why a packet has no address in a set that it names.
fn not_placed(misplaced: &Misplaced, packet: &PacketText, policy: &Policy) -> Failure {
    match misplaced {
        Misplaced::Unknown(name) => {
            let fixed = policy.sets.iter().map(|set| set.name.as_str());
            let live = policy.live.iter().map(|set| set.name.as_str());
            let known: Vec<String> = fixed.chain(live).map(|name| format!("@{name}")).collect();
            Failure::new(
                Exit::Config,
                format!("`@{name}` is not a set of addresses that the policy uses"),
            )
            .help(format!("sets: {}", known.join(", ")))
        }
        Misplaced::Empty(name) => {
            let family = if packet.dst.is_ipv4() { "IPv4" } else { "IPv6" };
            Failure::new(
                Exit::Config,
                format!("`@{name}` holds no {family} address, so no such packet comes from it"),
            )
            .help("write the packet's addresses in the other family, or add one to the set")
        }
    }
}

/// The bytes of hexadecimal digits, which may be grouped by spaces, colons or commas.
fn frame_of_hex(text: &str) -> Result<Vec<u8>, Failure> {
    let wrong = |message: String| {
        Failure::new(Exit::Config, message)
            .help("write two digits per byte, from the Ethernet header on: 020000000002 0200...")
    };
    let mut digits = Vec::new();
    for (at, c) in text.chars().enumerate() {
        match c.to_digit(16) {
            Some(digit) => digits.push(digit as u8),
            None if c.is_whitespace() || matches!(c, ':' | ',') => {}
            None => {
                return Err(wrong(format!(
                    "`{}` at position {} is not a hexadecimal digit",
                    safe(c.encode_utf8(&mut [0; 4])),
                    at + 1
                )));
            }
        }
    }
    if digits.len() % 2 != 0 {
        return Err(wrong(format!(
            "{} digits: one is missing or extra",
            digits.len()
        )));
    }
    let frame: Vec<u8> = digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect();
    if frame.len() < 14 {
        return Err(wrong(format!(
            "an Ethernet frame has at least 14 bytes, not {}",
            frame.len()
        )));
    }
    Ok(frame)
}

/// What all kinds of input have in common.
struct Case<'a> {
    /// Who is asked, unless all is offline.
    firewall: Option<&'a dyn Firewall>,
    compiled: &'a Compiled,
    zone: u32,
    args: &'a Args,
    context: &'a Context,
}

impl Case<'_> {
    fn rule(&self, index: usize) -> &Rule {
        &self.compiled.policy.rules[index]
    }

    /// Who is asked about the program in the kernel.
    fn kernel(&self) -> Option<&dyn Firewall> {
        self.firewall.filter(|_| self.args.live)
    }

    /// Adds what live sets and bans hold of a frame's addresses, if the policy is the one in force.
    fn add_in_force(&self, frame: &[u8], earlier: &mut Earlier) -> Result<(), Failure> {
        let key = key_of(&self.compiled.tables, frame, self.zone);
        match (&self.args.file, self.firewall, key) {
            (None, Some(firewall), Some(key)) => {
                in_force::add(earlier, &key, &self.compiled.policy, firewall)
            }
            _ => Ok(()),
        }
    }

    /// What the program in the kernel does with a frame by itself.
    fn live(
        &self,
        firewall: &dyn Firewall,
        earlier: &Earlier,
        frame: &[u8],
    ) -> Result<Live, Failure> {
        let live = &self.compiled.policy.live;
        let members = earlier.members.iter().map(|(set, prefix)| Member {
            set: live[*set].name.to_string(),
            prefix: prefixes::text(prefix),
        });
        let request = TraceRequest {
            policy: self.compiled.source.clone(),
            zone: self.zone,
            earlier: Before {
                sent: earlier.sent.iter().map(|frame| digits(frame)).collect(),
                members: members.collect(),
                banned: earlier.banned.iter().map(prefixes::text).collect(),
            },
            frames: vec![digits(frame)],
            in_sequence: false,
        };
        let traced = firewall.trace(&request)?;
        let one = traced.frames.into_iter().next();
        let one = one.ok_or_else(|| Failure::new(Exit::Failed, "no answer about the frame"))?;
        Ok(Live {
            verdict: one.verdict,
            reason: one.reason.unwrap_or_default(),
            rule: one.rule,
            flow_full: one.flow_full,
        })
    }

    /// `earlier` has been before the frame comes.
    fn one(&self, frame: &[u8], earlier: &Earlier) -> Result<Exit, Failure> {
        let near = if self.context.verbose > 0 {
            NEAR_VERBOSE
        } else {
            NEAR
        };
        let policy = &self.compiled.policy;
        let tables = &self.compiled.tables;
        let memory = host::memory_of(tables, earlier);
        let found = explain(policy, tables, &memory, frame, self.zone, near);
        let live = self
            .kernel()
            .map(|firewall| self.live(firewall, earlier, frame));
        let live = live.transpose()?;
        let answer = if found.outcome.is_answered() {
            key_of(tables, frame, self.zone)
                .zip(host::answer(tables, frame))
                .map(|(key, answer)| Answered::new(&key, &answer))
        } else {
            None
        };
        let report = self.report(&found, answer, live);
        if self.context.format.is_text() {
            let wide = self.context.format == Format::Wide;
            self.context.print(&text(&report, wide))?;
        } else {
            self.context
                .print(&self.context.format.document(&report, false)?)?;
        }
        if let Some(live) = &report.live
            && (&*live.verdict, &*live.reason) != (report.verdict, report.reason)
        {
            return Err(differs());
        }
        match self.args.expect {
            Some(expected) if !expected.holds(&found.outcome) => Ok(Exit::Failed),
            _ => Ok(Exit::Ok),
        }
    }

    fn about(&self, index: usize) -> RuleLine {
        let rule = self.rule(index);
        RuleLine {
            name: rule.name.clone(),
            action: rule.action.name(),
            audit: rule.audit.map(Action::name),
            place: place(rule),
            summary: rule.summary.clone(),
        }
    }

    fn report(
        &self,
        found: &Explained,
        answer: Option<Answered>,
        live: Option<Live>,
    ) -> TestReport {
        let policy = &self.compiled.policy;
        TestReport {
            schema: SCHEMA,
            packet: found.packet.as_ref().map(ToString::to_string),
            zone: policy.zones[self.zone as usize].clone(),
            verdict: found.outcome.verdict.name(),
            audit: policy.audit,
            reason: found.outcome.reason.name(),
            text: found.outcome.reason.text(),
            rule: found.rule.map(|rule| self.about(rule)),
            counted: found.counted.iter().map(|&rule| self.about(rule)).collect(),
            near_misses: found
                .near
                .iter()
                .map(|near| Near {
                    rule: self.about(near.rule),
                    field: near.field,
                    found: near.found.clone(),
                })
                .collect(),
            hidden: found.hidden.map(|rule| self.about(rule)),
            live,
            answer,
        }
    }

    /// How many frames of a capture the program in the kernel gives another verdict.
    fn differing(&self, firewall: &dyn Firewall, asked: Asked) -> Result<u64, Failure> {
        let request = TraceRequest {
            policy: self.compiled.source.clone(),
            zone: self.zone,
            frames: asked.frames,
            in_sequence: true,
            ..TraceRequest::default()
        };
        let traced = firewall.trace(&request)?;
        if traced.frames.len() != asked.verdicts.len() {
            return Err(Failure::new(
                Exit::Failed,
                "no answer about some of the frames",
            ));
        }
        let pairs = traced.frames.iter().zip(&asked.verdicts);
        let differs = pairs.filter(|(live, verdict)| live.verdict != verdict.name());
        Ok(differs.count() as u64)
    }

    fn capture(&self, name: &str) -> Result<Exit, Failure> {
        let failed = |error: CaptureError| {
            Failure::new(Exit::Config, format!("{name}: {error}"))
                .help("write captures with tcpdump -w FILE, or convert them with editcap")
        };
        let file = File::open(name).map_err(|error| unreadable(name, &error))?;
        let mut capture = Capture::open(BufReader::new(file)).map_err(failed)?;
        let fragments = host::Memory::default();
        // Frames of a capture are judged as if every rate limit had room: when they came, and what
        // came besides, a capture does not say.
        let mut compiled = self.compiled.clone();
        compiled.tables = compiled.tables.without_limits();
        let mut asked = self.kernel().map(|_| Asked::default());
        let mut rows: BTreeMap<(u32, u8, u8), Row> = BTreeMap::new();
        let (mut frames, mut cut, mut unexpected) = (0, 0, 0);
        while let Some(captured) = capture.next_frame().map_err(failed)? {
            frames += 1;
            cut += u64::from(captured.cut);
            let tables = &compiled.tables;
            let outcome =
                host::decide_after(tables, &fragments, &captured.frame, self.zone).outcome;
            if let Some(asked) = &mut asked {
                asked.add(name, &captured.frame, outcome.verdict)?;
            }
            let expected = self.args.expect;
            unexpected += u64::from(expected.is_some_and(|expected| !expected.holds(&outcome)));
            let row = rows
                .entry((outcome.rule, outcome.reason.0, outcome.verdict.0))
                .or_insert_with(|| Row {
                    verdict: outcome.verdict.name(),
                    reason: outcome.reason.name(),
                    rule: (outcome.rule != NO_RULE)
                        .then(|| self.compiled.policy.rule_of_counter(outcome.rule as usize))
                        .flatten()
                        .map(|rule| self.about(rule)),
                    packets: 0,
                    bytes: 0,
                    first: frames,
                });
            row.packets += 1;
            row.bytes += captured.frame.len() as u64;
        }
        let differing = match (self.kernel(), asked) {
            (Some(firewall), Some(asked)) => Some(self.differing(firewall, asked)?),
            _ => None,
        };
        let report = CaptureReport {
            schema: SCHEMA,
            file: name.to_owned(),
            frames,
            cut,
            differing,
            rows: rows.into_values().collect(),
        };
        if self.context.format.is_text() {
            self.context.print(&capture_text(&report, self.context))?;
        } else {
            self.context
                .print(&self.context.format.document(&report, false)?)?;
        }
        if differing.is_some_and(|differing| differing > 0) {
            return Err(differs());
        }
        Ok(if unexpected > 0 {
            Exit::Failed
        } else {
            Exit::Ok
        })
    }
}

/// Frames of a capture about which the program in the kernel is asked, and what the host build says.
#[derive(Default)]
struct Asked {
    frames: Vec<String>,
    verdicts: Vec<Verdict>,
    bytes: usize,
}

impl Asked {
    fn add(&mut self, name: &str, frame: &[u8], verdict: Verdict) -> Result<(), Failure> {
        self.bytes += frame.len();
        if self.bytes > FRAMES_LIMIT {
            let what = format!(
                "{name}: more than {} MiB of frames; the program in the kernel takes no more at a \
                 time",
                FRAMES_LIMIT >> 20
            );
            return Err(Failure::new(Exit::Config, what)
                .help("cut the capture with editcap -c 100000 IN OUT, or leave --live out"));
        }
        self.frames.push(digits(frame));
        self.verdicts.push(verdict);
        Ok(())
    }
}

fn unreadable(name: &str, error: &std::io::Error) -> Failure {
    let exit = match error.kind() {
        std::io::ErrorKind::PermissionDenied => Exit::Privilege,
        _ => Exit::Config,
    };
    Failure::new(exit, format!("{name}: {error}"))
}

/// The promise that the program in the kernel is the one that is tested here was broken.
fn differs() -> Failure {
    Failure::new(Exit::Failed, "kernel program and host build disagree")
        .help("this is a bug of the firewall: please report it with the policy and the packet")
}

fn place(rule: &Rule) -> String {
    format!("{}:{}", rule.place.file, rule.place.line)
}
