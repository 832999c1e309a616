//! A packet's way: parse, essential traffic, classify, answer, outcome. The whole decision, in the order
//! in which users read about it; the kernel program adds only where the packet came in and where
//! the outcome is counted.
//!
//! Invariant: every frame gets exactly one verdict and one reason.

use crate::abi::{self, CountedPort, Entry, answers, essential_bit, has_limit, tunnels};
use crate::calls::{Calls, IngressCalls};
use crate::classify::classify;
use crate::essential;
use crate::field::Field;
use crate::flows::{ASKS_LISTENER, ASKS_QUOTE, ENDS, UNPROVEN, quote, state_field};
use crate::fragments::GOES_ON;
use crate::key::{FRAME, PacketKey};
use crate::limits;
use crate::live;
use crate::machine::Machine;
use crate::parse::{Packet, Parsed, fragment, is_tunnel, proto, rules_judge_malformed};
use crate::reason::{Governs, Reason};
use crate::verdict::{Action, Verdict};
use crate::{answer, asked};

/// What a rule slot holds when no rule decided.
pub const NO_RULE: u32 = u32::MAX;

/// What became of a frame, and what to count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Pass or drop.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Counter slot of the rule that decided, or of what is over its limit, or [`NO_RULE`].
    pub rule: u32,
    /// Where the packet is counted among the ports.
    pub port: CountedPort,
}

impl Outcome {
    /// Whether the frame has become an answer to its sender.
    #[must_use]
    #[inline(always)]
    pub const fn is_answered(&self) -> bool {
        (self.reason.0 == Reason::REJECT.0 || self.reason.0 == Reason::SYN_COOKIE.0)
            && self.verdict.0 != Verdict::PASS.0
    }

    #[inline(always)]
    const fn without_rule(verdict: Verdict, reason: Reason, port: CountedPort) -> Self {
        Self {
            verdict,
            reason,
            rule: NO_RULE,
            port,
        }
    }
}

/// Decides about a frame that came in on an interface of zone `zone`. Counts `next` rules on the
/// way; the outcome is the caller's to count. What was found in the frame is in `packet`, which the
/// caller hands in as [`Packet::EMPTY`]: of a frame that is not IP as [`crate::link::name`] takes it.
#[inline(always)]
pub fn decide<M: Calls, F: IngressCalls>(
    machine: &M,
    frame: &F,
    zone: u32,
    packet: &mut Packet,
) -> Outcome {
    match frame.parse(machine, packet) {
        Parsed::Ip => {
            packet.key.fields[Field::Zone as usize] = zone;
            if machine.constant(|config| &config.has_limit) == has_limit::BY_INTERFACE {
                packet.key.interface = frame.interface() as u8;
            }
            if machine.constant(|config| &config.macs) != 0 {
                packet.key.fields[Field::Mac as usize] = frame.mac(machine);
            }
            let mut outcome = ip(machine, frame, packet);
            // In this order: a comparison costs every packet less than a constant. What passes all
            // the same is not answered.
            if outcome.reason.0 == Reason::REJECT.0
                && machine.constant(|config| &config.answers) != answers::NO
                && machine.constant(|config| &config.audit) == 0
            {
                outcome.reason = if is_malformed(machine, packet) {
                    Reason::REJECT_SILENT
                } else {
                    frame.reject(machine, packet)
                };
            }
            outcome
        }
        Parsed::Other { ethertype, offset } => {
            packet.key.fields[Field::Zone as usize] = zone;
            other(machine, frame, packet, ethertype, offset)
        }
        Parsed::Bad(reason) => bad(machine, reason),
    }
}

/// What is done: under `mode: audit` what would be dropped passes, with reason, rule and port as they are.
#[inline(always)]
pub fn enforced<M: Machine>(machine: &M, outcome: Outcome) -> Outcome {
    if machine.constant(|config| &config.audit) == 0 {
        return outcome;
    }
    Outcome {
        verdict: Verdict::PASS,
        ..outcome
    }
}

#[inline(always)]
fn default_verdict<M: Calls>(machine: &M) -> Verdict {
    if machine.constant(|config| &config.default_verdict) == u32::from(Verdict::PASS.0) {
        Verdict::PASS
    } else {
        Verdict::DROP
    }
}

/// The policy's word on a frame of which no rule can read anything: `packet.malformed` drops it or
/// leaves it to the default, except where a knob of its own sent the frame here, or where there is none
/// for it: both mean drop.
#[inline(always)]
fn bad<M: Calls>(machine: &M, reason: Reason) -> Outcome {
    let is_left_to_the_default =
        rules_judge_malformed(machine) && matches!(reason.governed_by(), Governs::Malformed);
    let verdict = if is_left_to_the_default {
        default_verdict(machine)
    } else {
        Verdict::DROP
    };
    Outcome::without_rule(verdict, reason, CountedPort::NONE)
}

/// Whether rules judge the packet though it is malformed.
#[inline(always)]
fn is_malformed<M: Calls>(machine: &M, packet: &Packet) -> bool {
    rules_judge_malformed(machine) && packet.anomaly as u8 != 0
}

/// The outcome for a frame that is not IP.
#[inline(always)]
fn other<M: Calls, F: IngressCalls>(
    machine: &M,
    frame: &F,
    packet: &mut Packet,
    ethertype: u32,
    offset: u32,
) -> Outcome {
    packet.key.is_v6 = FRAME;
    packet.key.fields[Field::DestinationPort as usize] = ethertype;
    packet.l4 = offset;
    match essential::check_arp(machine, frame, ethertype, offset) {
        Ok(true) => return Outcome::without_rule(Verdict::PASS, Reason::ARP, CountedPort::NONE),
        Ok(false) => {}
        Err(reason) => return bad(machine, reason),
    }
    // What keeps a link up has no tag that names a VLAN.
    if machine.constant(|config| &config.essential) & essential_bit::LINK != 0
        && packet.key.field(Field::Vlan) == Field::Vlan.none()
        && frame.is_of_link(machine, ethertype, offset)
    {
        return Outcome::without_rule(Verdict::PASS, Reason::LINK, CountedPort::NONE);
    }
    let log = machine.constant(|config| &config.default_log);
    if machine.constant(|config| &config.frames) | log == 0 {
        return Outcome::without_rule(default_verdict(machine), Reason::NON_IP, CountedPort::NONE);
    }
    if machine.constant(|config| &config.has_limit) == has_limit::BY_INTERFACE {
        packet.key.interface = frame.interface() as u8;
    }
    let found = frame.judge(machine, packet, ethertype, offset);
    if found.is_none() {
        log_default(machine, &packet.key);
        return Outcome::without_rule(default_verdict(machine), Reason::NON_IP, CountedPort::NONE);
    }
    let action = found.action().0;
    Outcome {
        verdict: if action == Action::PASS.0 {
            Verdict::PASS
        } else {
            Verdict::DROP
        },
        reason: if action == Action::OVER.0 {
            Reason::LIMIT
        } else {
            Reason::RULE
        },
        rule: found.slot(),
        port: CountedPort::NONE,
    }
}

/// In the place of the reason of essential traffic.
const NOT_ESSENTIAL: u64 = u64::MAX;

#[inline(always)]
fn ip<M: Calls, F: IngressCalls>(machine: &M, frame: &F, packet: &mut Packet) -> Outcome {
    // What can be read once more is not kept: the kernel's stack is small.
    let essential = if is_malformed(machine, packet) {
        NOT_ESSENTIAL
    } else {
        match essential::check_ip(machine, frame, packet) {
            Ok(Some(reason)) => u64::from(reason.0),
            Ok(None) => NOT_ESSENTIAL,
            Err(reason) if rules_judge_malformed(machine) => {
                packet.note(reason);
                NOT_ESSENTIAL
            }
            Err(reason) => return bad(machine, reason),
        }
    };
    // A number that the compiler does not see through: of an `Option` it would look at the reason
    // before it asks whether there is one, and kernels before 6.3 refuse to read what was never
    // written.
    let essential = machine.opaque(essential);
    // Without neighbour discovery there is no link to anyone: a neighbour that is banned would cut off
    // those behind it.
    if look_up_sets(machine, &mut packet.key) && essential != u64::from(Reason::NEIGHBOUR.0) {
        return Outcome::without_rule(Verdict::DROP, Reason::BANNED, counted_port(packet));
    }
    let essential =
        if is_to_be_asked_for(machine, essential) && !asked::is_asked_for(machine, frame, packet) {
            NOT_ESSENTIAL
        } else {
            essential
        };
    // Kept, because a tunnel's content takes the place of the packet.
    let part = if follows_first(machine, packet) {
        packet.key.field(Field::Fragment)
    } else {
        fragment::WHOLE
    };
    let outcome = if essential != NOT_ESSENTIAL {
        Outcome::without_rule(Verdict::PASS, Reason(essential as u8), counted_port(packet))
    } else if part == fragment::LATER {
        Outcome::without_rule(Verdict::PASS, Reason::FRAGMENT, CountedPort::NONE)
    } else {
        by_headers(machine, frame, packet)
    };
    if part == fragment::WHOLE {
        return outcome;
    }
    followed(machine, packet, outcome)
}

/// Whether the policy has later fragments follow their first. A malformed one follows nothing and
/// leaves no trace.
#[inline(always)]
fn follows_first<M: Calls>(machine: &M, packet: &Packet) -> bool {
    machine.constant(|config| &config.packet.fragments) == abi::fragments::FOLLOW_FIRST
        && !is_malformed(machine, packet)
}

/// The outcome for a fragment, if the others of its datagram leave it that.
#[inline(always)]
fn followed<M: Calls>(machine: &M, packet: &Packet, outcome: Outcome) -> Outcome {
    match machine.follow_fragment(packet, outcome.verdict.0 == Verdict::PASS.0) {
        GOES_ON => outcome,
        reason => bad(machine, Reason(reason as u8)),
    }
}

/// Looks the packet's addresses up in the live sets, for the rules, and says whether the source is
/// banned. While nothing is in them, that is one read.
#[inline(always)]
pub fn look_up_sets<M: Calls>(machine: &M, key: &mut PacketKey) -> bool {
    if !live::is_in_use(machine, key) {
        return false;
    }
    let sets = machine.sets_of(key, false);
    if machine.constant(|config| &config.live_source) != 0 {
        key.fields[Field::SourceSets as usize] = live::of_policy(machine, sets);
    }
    if machine.constant(|config| &config.live_destination) != 0 {
        let sets = machine.sets_of(key, true);
        key.fields[Field::DestinationSets as usize] = live::of_policy(machine, sets);
    }
    if sets & 1 << live::BANNED == 0 {
        return false;
    }
    // Only who is banned is asked for.
    machine.constant(|config| &config.exempt) == 0
        || machine.protection_of(key) & 1 << live::EXEMPT == 0
}

/// Whether what is essential by its form is so only if it has been asked for.
#[inline(always)]
fn is_to_be_asked_for<M: Calls>(machine: &M, essential: u64) -> bool {
    machine.constant(|config| &config.asked) != 0
        && (essential == u64::from(Reason::DHCP.0) || essential == u64::from(Reason::ICMP_ERROR.0))
}

/// The state of a packet: a value of [`state_field`].
#[inline(always)]
pub fn state<M: Calls, F: IngressCalls>(machine: &M, frame: &F, packet: &Packet) -> u32 {
    match frame.state(machine, packet) {
        ASKS_LISTENER if frame.has_cookie(machine, packet) => state_field::ESTABLISHED,
        ASKS_QUOTE if frame.quote(machine, packet) == quote::PROVEN => state_field::ESTABLISHED,
        ASKS_LISTENER | ASKS_QUOTE => state_field::INVALID,
        ENDS => {
            if frame.is_intact(machine, packet) {
                machine.ended(packet);
            }
            state_field::ESTABLISHED
        }
        UNPROVEN => state_field::ESTABLISHED,
        state_field::ESTABLISHED => {
            note_source(machine, packet);
            state_field::ESTABLISHED
        }
        state_field::NEW
            if may_be_related(machine, packet) && frame.is_expected(machine, packet) =>
        {
            state_field::RELATED
        }
        state => state,
    }
}

/// Whether a new packet can be one that rules tell from others as related.
#[inline(always)]
fn may_be_related<M: Calls>(machine: &M, packet: &Packet) -> bool {
    machine.constant(|config| &config.related) != 0
        && packet.key.field(Field::Proto) == proto::UDP
        && packet.key.field(Field::Fragment) != fragment::LATER
}

/// Remembers the source of a TCP segment whose sender has shown that he is there, under a policy that
/// bans by rules.
#[inline(always)]
fn note_source<M: Calls>(machine: &M, packet: &Packet) {
    if machine.constant(|config| &config.has_ban) != 0
        && packet.key.field(Field::Proto) == proto::TCP
    {
        machine.note_source(&packet.key);
    }
}

/// What the rules say about the packet, and where the policy looks into tunnels, about its content.
#[inline(always)]
fn by_headers<M: Calls, F: IngressCalls>(machine: &M, frame: &F, packet: &mut Packet) -> Outcome {
    if machine.constant(|config| &config.flows) != 0 {
        packet.key.fields[Field::State as usize] =
            if rules_judge_malformed(machine) && !packet.is_sound() {
                Field::State.none()
            } else {
                state(machine, frame, packet)
            };
    }
    look_into(machine, frame, packet);
    let mut outcome = by_rules(machine, packet);
    if outcome.reason.0 == Reason::SYN_COOKIE.0
        && machine.constant(|config| &config.syn_protect) != 0
    {
        // Without a header in order there is nothing that a cookie could be about.
        let guarded = if rules_judge_malformed(machine) && !packet.is_sound() {
            None
        } else {
            answer::guard(machine, frame, packet)
        };
        match guarded {
            Some(reason) => {
                outcome.reason = reason;
                return outcome;
            }
            None => (outcome.verdict, outcome.reason) = (Verdict::PASS, Reason::RULE),
        }
    }
    if machine.constant(|config| &config.packet.tunnels) == tunnels::INNER
        && outcome.verdict.0 == Verdict::PASS.0
        && is_tunnel(&packet.key)
    {
        return tunnelled(machine, frame, packet, outcome);
    }
    outcome
}

/// Notes which conditions on payload and options hold, if a rule has some.
#[inline(always)]
pub fn look_into<M: Calls, F: IngressCalls>(machine: &M, frame: &F, packet: &mut Packet) {
    if machine.constant(|config| &config.contents) != 0 {
        packet.key.content = frame.content(machine, packet) as u16;
    }
}

/// The outcome for a tunnel that passed by its outer headers: that of the packet inside. Its outer
/// rule is counted like a `next` rule.
#[inline(always)]
fn tunnelled<M: Calls, F: IngressCalls>(
    machine: &M,
    frame: &F,
    packet: &mut Packet,
    outer: Outcome,
) -> Outcome {
    if outer.rule != NO_RULE {
        machine.count_rule(outer.rule);
    }
    match frame.parse_inner(machine, packet) {
        Parsed::Ip => {
            if machine.constant(|config| &config.has_limit) == has_limit::BY_INTERFACE {
                packet.key.interface = frame.interface() as u8;
            }
            if look_up_sets(machine, &mut packet.key) {
                let port = counted_port(packet);
                return Outcome::without_rule(Verdict::DROP, Reason::BANNED, port);
            }
            // The host puts fragments together in one place, wherever they have come from.
            let part = |packet: &Packet| packet.key.field(Field::Fragment);
            let follows = follows_first(machine, packet);
            let mut inner = if follows && part(packet) == fragment::LATER {
                Outcome::without_rule(Verdict::PASS, Reason::FRAGMENT, CountedPort::NONE)
            } else {
                look_into(machine, frame, packet);
                by_rules(machine, packet)
            };
            // Who is in the tunnel is not who sent the frame.
            if inner.reason.0 == Reason::REJECT.0 {
                inner.reason = Reason::REJECT_SILENT;
            } else if inner.reason.0 == Reason::SYN_COOKIE.0 {
                (inner.verdict, inner.reason) = (Verdict::PASS, Reason::RULE);
            }
            if follows_first(machine, packet) && part(packet) != fragment::WHOLE {
                inner = followed(machine, packet, inner);
            }
            inner
        }
        // Nothing in a tunnel is essential.
        Parsed::Other { .. } => {
            Outcome::without_rule(default_verdict(machine), Reason::NON_IP, CountedPort::NONE)
        }
        Parsed::Bad(reason) => bad(machine, reason),
    }
}

/// What the rules say, or the default. What a rule rejects or protects has the reason of a packet that
/// is answered; whether it is, is the caller's to find out.
#[inline(always)]
fn by_rules<M: Calls>(machine: &M, packet: &Packet) -> Outcome {
    // Read behind the walk, and not kept over it: the kernel's stack is small.
    let hit = classify(machine, &packet.key);
    let port = counted_port(packet);
    if let Some(hit) = hit {
        if hit.action.0 == Action::OVER.0
            && machine.constant(|config| &config.has_ban) != 0
            && limits::may_ban(machine, &packet.key)
        {
            machine.ban(&packet.key, Entry::of_limit(hit.limit));
        }
        let verdict = if hit.action.0 == Action::PASS.0 {
            Verdict::PASS
        } else {
            Verdict::DROP
        };
        return Outcome {
            verdict,
            reason: match hit.action.0 {
                action if action == Action::OVER.0 => Reason::LIMIT,
                action if action == Action::REJECT.0 => Reason::REJECT,
                action if action == Action::PROTECT.0 => Reason::SYN_COOKIE,
                _ => Reason::RULE,
            },
            rule: hit.slot,
            port,
        };
    }
    if is_malformed(machine, packet) {
        return Outcome::without_rule(default_verdict(machine), packet.anomaly(), port);
    }
    // `fragments: pass`: a policy that lets fragments through means their rest too: without the
    // first fragment, on which the rules did decide, the rest is of no use to anyone.
    if packet.key.field(Field::Fragment) == fragment::LATER {
        return Outcome::without_rule(Verdict::PASS, Reason::FRAGMENT, CountedPort::NONE);
    }
    log_default(machine, &packet.key);
    let verdict = default_verdict(machine);
    Outcome::without_rule(verdict, Reason::NO_MATCH, port)
}

/// Logs a packet that no rule decides about, if the policy wants that.
#[inline(always)]
fn log_default<M: Calls>(machine: &M, key: &PacketKey) {
    let log = machine.constant(|config| &config.default_log);
    if log == 0 {
        return;
    }
    let action = if default_verdict(machine).0 == Verdict::PASS.0 {
        Action::PASS
    } else {
        Action::DROP
    };
    let entry = Entry::new(0, action).with_limit(u64::from(log - 1));
    machine.log(key, entry, entry);
}

/// Where the packet is counted among the ports.
#[inline(always)]
const fn counted_port(packet: &Packet) -> CountedPort {
    let port = packet.key.field(Field::DestinationPort);
    match packet.key.field(Field::Proto) {
        proto::TCP if port != Field::DestinationPort.none() => CountedPort::tcp(port),
        proto::UDP if port != Field::DestinationPort.none() => CountedPort::udp(port),
        _ => CountedPort::NONE,
    }
}
