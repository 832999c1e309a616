//! ufw: the rules of `/etc/ufw/user.rules`, of `ufw show added`, or of `ufw status`.
//!
//! Each of them is put into the words of iptables, as ufw does it itself, and goes the same way
//! from there. Before them come ufw's own rules (`before.rules` as it is shipped), which no such
//! text holds. May not import the writer's parts but through [`super::write`]. Invariant: every
//! line is a rule, a heading, in the list of what was left out, or an error with its place.

mod lines;

use super::flatten::flatten;
use super::imported::{Effect, ImportError, Imported, LeftOut};
use super::interfaces::Interfaces;
use super::ipset::Sets;
use super::iptables::matches::Reader;
use super::local;
use super::options::Options;
use super::packets::Family;
use super::ruleset::{Base, Condition, Origin, Path, Rule, Ruleset};
use super::words::{self, Word};
use super::write::{Given, unseen, write};
use lines::{Action, Line};

/// What `before.rules` and `before6.rules` let in as they are shipped, in the words of iptables.
/// Loopback never comes to a policy, and broken packets are dropped by its parser.
const OWN: [(Family, &str); 22] = [
    (
        Family::V4,
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    ),
    (Family::V4, "-m conntrack --ctstate INVALID -j DROP"),
    (
        Family::V4,
        "-p icmp --icmp-type destination-unreachable -j ACCEPT",
    ),
    (Family::V4, "-p icmp --icmp-type time-exceeded -j ACCEPT"),
    (
        Family::V4,
        "-p icmp --icmp-type parameter-problem -j ACCEPT",
    ),
    (Family::V4, "-p icmp --icmp-type echo-request -j ACCEPT"),
    (Family::V4, "-p udp --sport 67 --dport 68 -j ACCEPT"),
    (Family::V4, "-p udp -d 224.0.0.251 --dport 5353 -j ACCEPT"),
    (
        Family::V4,
        "-p udp -d 239.255.255.250 --dport 1900 -j ACCEPT",
    ),
    (
        Family::V6,
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    ),
    (
        Family::V6,
        "-p ipv6-icmp --icmpv6-type echo-reply -j ACCEPT",
    ),
    (Family::V6, "-m conntrack --ctstate INVALID -j DROP"),
    (
        Family::V6,
        "-p ipv6-icmp --icmpv6-type destination-unreachable -j ACCEPT",
    ),
    (
        Family::V6,
        "-p ipv6-icmp --icmpv6-type packet-too-big -j ACCEPT",
    ),
    (
        Family::V6,
        "-p ipv6-icmp --icmpv6-type time-exceeded -j ACCEPT",
    ),
    (
        Family::V6,
        "-p ipv6-icmp --icmpv6-type parameter-problem -j ACCEPT",
    ),
    (
        Family::V6,
        "-p ipv6-icmp --icmpv6-type echo-request -j ACCEPT",
    ),
    (
        Family::V6,
        "-p ipv6-icmp --icmpv6-type 133 -m hl --hl-eq 255 -j ACCEPT",
    ),
    (
        Family::V6,
        "-p ipv6-icmp --icmpv6-type 134 -m hl --hl-eq 255 -j ACCEPT",
    ),
    (
        Family::V6,
        "-p ipv6-icmp --icmpv6-type 135 -m hl --hl-eq 255 -j ACCEPT",
    ),
    (
        Family::V6,
        "-p ipv6-icmp --icmpv6-type 136 -m hl --hl-eq 255 -j ACCEPT",
    ),
    (
        Family::V6,
        "-p udp -s fe80::/10 --sport 547 -d fe80::/10 --dport 546 -j ACCEPT",
    ),
];

/// Reads the rules, and those of IPv6 where they stand in a text of their own.
pub(super) fn import(
    text: &str,
    v6: Option<&str>,
    options: &Options,
) -> Result<Imported, ImportError> {
    let mut read = lines::read(text, None)?;
    if let Some(v6) = v6 {
        let more = lines::read(v6, Some(Family::V6))?;
        for line in &mut read.lines {
            line.families.retain(|family| *family == Family::V4);
        }
        read.lines.extend(more.lines);
    }
    let families: Vec<Family> = if v6.is_none() && read.one_family {
        vec![Family::V4]
    } else {
        Family::BOTH.to_vec()
    };
    let local = local::Addresses::read(&options.local)?;
    let mut interfaces = Interfaces::new(options.interface.as_deref());
    // The first round finds the interfaces that rules name.
    understand(&read, &families, &interfaces, &local)?;
    interfaces.settle();
    let ruleset = understand(&read, &families, &interfaces, &local)?;
    let mut flat = flatten(&ruleset)?;
    let lines = OWN.len();
    unseen(&mut flat, &ruleset.origins, |origin| {
        let line = read.lines.get(origin.checked_sub(lines)?)?;
        Some(match (&line.unclear, line.forwards, line.out) {
            (Some(reason), ..) => (reason.clone(), Effect::Differs),
            (None, true, _) => (
                "forwarded packets are not told apart without this host's addresses (--local)"
                    .into(),
                Effect::Differs,
            ),
            (None, false, true) => (
                "only packets that come in are filtered".into(),
                Effect::None,
            ),
            _ => (
                "rules before this one decide about all packets".into(),
                Effect::None,
            ),
        })
    });
    notes(&read, &families, &mut flat.left_out);
    write(
        flat,
        &Given {
            from: "ufw",
            origins: &ruleset.origins,
            interfaces: &interfaces,
            families: &families,
            sets: &local.named(),
            options,
        },
    )
}

/// What the texts do not say.
fn notes(read: &lines::Read, families: &[Family], left_out: &mut Vec<LeftOut>) {
    let mut note = |place: &str, text: &str, reason: &str| {
        left_out.push(LeftOut {
            place: place.into(),
            line: 0,
            text: text.into(),
            reason: reason.into(),
            effect: Effect::Differs,
            in_part: false,
        });
    };
    if read.default_accepts.is_none() {
        note(
            "default",
            "the default for incoming packets",
            "it is not in this text: taken as deny, which is ufw's own (DEFAULT_INPUT_POLICY in \
             /etc/default/ufw)",
        );
    }
    note(
        "before.rules",
        "ufw's own rules",
        "they are taken as they are shipped, without multicast: what was changed in \
         /etc/ufw/before.rules and after.rules is not in this text",
    );
    if families.len() == 1 {
        note(
            "IPv6",
            "no user6.rules was given",
            "nothing is known of IPv6: it gets the default; add --ip6 FILE",
        );
    }
}

fn understand(
    read: &lines::Read,
    families: &[Family],
    interfaces: &Interfaces,
    local: &local::Addresses,
) -> Result<Ruleset, ImportError> {
    let mut ruleset = Ruleset::default();
    let sets = Sets::default();
    let reader = |family| Reader {
        family,
        interfaces,
        sets: &sets,
        local,
    };
    for (number, (family, text)) in OWN.iter().enumerate() {
        ruleset.origins.push(Origin {
            place: "ufw's own rules".into(),
            line: 0,
            text: (*text).into(),
        });
        if families.contains(family) {
            let words = words::split(text, 0)?;
            for chain in ["input", "forward"] {
                let both = number == 0 || text.contains("ctstate") || text.contains("icmp");
                if chain == "input" || both {
                    add(
                        &mut ruleset,
                        chain,
                        &reader(*family),
                        &words,
                        (number, 0),
                        None,
                    )?;
                }
            }
        }
    }
    for line in &read.lines {
        let origin = ruleset.origins.len();
        ruleset.origins.push(Origin {
            place: line.place.clone(),
            line: line.number,
            text: line.text.clone(),
        });
        if line.unclear.is_some() || line.out {
            continue;
        }
        let chain = if line.forwards { "forward" } else { "input" };
        for family in line.families.iter().filter(|of| families.contains(of)) {
            for words in line.iptables() {
                let words: Vec<Word> = words.into_iter().map(word).collect();
                let at = (origin, line.number);
                add(
                    &mut ruleset,
                    chain,
                    &reader(*family),
                    &words,
                    at,
                    line.comment.as_ref(),
                )?;
            }
        }
    }
    let accepts = read.default_accepts.unwrap_or(false);
    ruleset.bases = bases(families, accepts, local);
    Ok(ruleset)
}

/// Appends a rule in the words of iptables; `at` is its origin and its line.
fn add(
    ruleset: &mut Ruleset,
    chain: &str,
    reader: &Reader<'_>,
    words: &[Word],
    at: (usize, u32),
    comment: Option<&String>,
) -> Result<(), ImportError> {
    let understood = reader.rule(words, at.1, &|_| false)?;
    let rules = ruleset.chains.entry(chain.to_owned()).or_default();
    rules.push(Rule {
        origin: at.0,
        condition: understood.condition,
        verdict: understood.verdict,
        comment: comment.cloned(),
    });
    Ok(())
}

/// The chains for what comes to this host and, if its addresses are known, for what it forwards.
fn bases(families: &[Family], accepts: bool, local: &local::Addresses) -> Vec<Base> {
    let base = |chain: &str, path, accepts, scope| Base {
        chain: chain.into(),
        families: families.to_vec(),
        scope,
        accepts,
        path,
        priority: 0,
    };
    let mut bases = Vec::new();
    let mut scope = Condition::all(families);
    if local.is_known() {
        let mut beyond = scope.clone();
        scope.within(&local.boxes(), false);
        beyond.within(&local.boxes(), true);
        bases.push(base("forward", Path::Forward, false, beyond));
    }
    bases.push(base("input", Path::Input, accepts, scope));
    bases
}

/// A word of our own making, which has no place.
fn word(text: String) -> Word {
    Word {
        text,
        column: 1,
        quoted: false,
    }
}

impl Line {
    /// The rule in the words of iptables: one for each protocol, and for a limit two.
    fn iptables(&self) -> Vec<Vec<String>> {
        let mut start: Vec<String> = Vec::new();
        for (option, value) in [
            ("-i", &self.interface_in),
            ("-o", &self.interface_out),
            ("-s", &self.from),
            ("-d", &self.to),
        ] {
            if let Some(value) = value {
                start.extend([option.to_owned(), value.clone()]);
            }
        }
        let has_ports = self.port.is_some() || self.source_port.is_some();
        let protos: Vec<Option<&str>> = match &self.proto {
            Some(proto) => vec![Some(proto)],
            None if has_ports => vec![Some("tcp"), Some("udp")],
            None => vec![None],
        };
        let mut rules = Vec::new();
        for proto in protos {
            let mut words = start.clone();
            if let Some(proto) = proto {
                words.extend(["-p".into(), proto.to_owned()]);
            }
            for (option, ports) in [("--dports", &self.port), ("--sports", &self.source_port)] {
                if let Some(ports) = ports {
                    words.extend([option.to_owned(), ports.clone()]);
                }
            }
            let mut end = |words: &[String], more: &[&str]| {
                let mut whole = words.to_vec();
                whole.extend(more.iter().map(|&word| word.to_owned()));
                rules.push(whole);
            };
            match self.action {
                Action::Allow => end(&words, &["-j", "ACCEPT"]),
                Action::Deny => end(&words, &["-j", "DROP"]),
                Action::Reject => end(&words, &["-j", "REJECT"]),
                Action::Limit => {
                    let often = ["-m", "recent", "--update", "--seconds", "30", "-j", "DROP"];
                    end(&words, &often);
                    end(&words, &["-j", "ACCEPT"]);
                }
            }
        }
        rules
    }
}
