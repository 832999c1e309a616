//! ufw: the rules of `/etc/ufw/user.rules`, of `ufw show added`, or of `ufw status`.
//!
//! Each of them is put into the words of iptables, as ufw does it itself, and goes the same way
//! from there. Before them come ufw's own rules (`before.rules` as it is shipped), which no such
//! text holds. May not import the writer's parts but through [`super::write`]. Invariant: every
//! line is a rule, a heading, in the list of what was left out, or an error with its place.

mod lines;
mod own;

use super::flatten::flatten;
use super::imported::{Effect, ImportError, Imported, LeftOut};
use super::interfaces::Interfaces;
use super::ipset::Sets;
use super::iptables::matches::Reader;
use super::join::OWN as OWN_CHAIN;
use super::local;
use super::options::Options;
use super::packets::Family;
use super::ruleset::{Base, Condition, Origin, Path, Rule, Ruleset, Verdict};
use super::words::{self, Word};
use super::write::{Given, unseen, write};
use lines::{Action, Line};
use own::OWN;

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
        Some(match (&line.unclear, line.out) {
            (Some(reason), _) => (reason.clone(), line.effect()),
            (None, true) => (
                "only packets that come in are filtered".into(),
                Effect::None,
            ),
            _ => (
                "rules before this one decide about all packets".into(),
                Effect::None,
            ),
        })
    });
    notes(&read, &mut flat.left_out);
    write(
        flat,
        &Given {
            from: "ufw",
            origins: &ruleset.origins,
            interfaces: &interfaces,
            families: &families,
            sets: &[],
            options,
            missing: "user6.rules, as --ip6 FILE",
        },
    )
}

/// What the texts do not say.
fn notes(read: &lines::Read, left_out: &mut Vec<LeftOut>) {
    let mut note = |place: &str, text: &str, reason: &str| {
        left_out.push(LeftOut {
            place: place.into(),
            line: 0,
            text: text.into(),
            reason: reason.into(),
            effect: Effect::None,
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
        "they are taken as they are shipped: what was changed in \
         /etc/ufw/before.rules and after.rules is not in this text",
    );
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
    let forwards = read
        .lines
        .iter()
        .any(|line| line.forwards && line.unclear.is_none());
    own(&mut ruleset, families, forwards, &reader)?;
    let own = Rule {
        origin: 0,
        also: Vec::new(),
        condition: Condition::all(families),
        verdict: Verdict::Jump(OWN_CHAIN.into()),
        comment: None,
    };
    ruleset.chains.insert("input".into(), vec![own]);
    for line in &read.lines {
        let origin = ruleset.origins.len();
        ruleset.origins.push(Origin {
            place: line.place.clone(),
            line: line.number,
            text: line.text.clone(),
            count: 1,
        });
        if line.unclear.is_some() || line.out {
            continue;
        }
        let chain = if line.forwards { "forward" } else { "input" };
        for family in line.families.iter().filter(|of| families.contains(of)) {
            for words in line.iptables() {
                let words: Vec<Word> = words.into_iter().map(word).collect();
                let comment = line.comment.as_ref();
                add(
                    &mut ruleset,
                    chain,
                    &reader(*family),
                    &words,
                    origin,
                    comment,
                );
            }
        }
    }
    let accepts = read.default_accepts.unwrap_or(false);
    ruleset.bases = bases(families, accepts, forwards || local.is_known(), local);
    Ok(ruleset)
}

/// Puts ufw's own rules into a chain of their own, and those of forwarded packets into theirs.
fn own<'r>(
    ruleset: &mut Ruleset,
    families: &[Family],
    forwards: bool,
    reader: &dyn Fn(Family) -> Reader<'r>,
) -> Result<(), ImportError> {
    for (family, text, forwarded) in OWN {
        let origin = ruleset.origins.len();
        ruleset.origins.push(Origin {
            place: "ufw's own rules".into(),
            line: 0,
            text: (*text).into(),
            count: 0,
        });
        if families.contains(family) {
            let words = words::split(text, 0)?;
            add(ruleset, OWN_CHAIN, &reader(*family), &words, origin, None);
            if *forwarded && forwards {
                add(ruleset, "forward", &reader(*family), &words, origin, None);
            }
        }
    }
    Ok(())
}

/// Appends a rule in the words of iptables.
fn add(
    ruleset: &mut Ruleset,
    chain: &str,
    reader: &Reader<'_>,
    words: &[Word],
    origin: usize,
    comment: Option<&String>,
) {
    let mut understood = reader.rule(words, &|_| false);
    if understood.recent.is_some()
        && let Some(rate) = &mut understood.condition.rate
    {
        // ufw puts a source into the list before it looks there, so a packet counts itself.
        (rate.packets, rate.burst) = (rate.packets - 1, rate.burst - 1);
    }
    let rules = ruleset.chains.entry(chain.to_owned()).or_default();
    rules.push(Rule {
        origin,
        also: Vec::new(),
        condition: understood.condition,
        verdict: understood.verdict,
        comment: comment.cloned(),
    });
}

/// The chains for what comes to this host and, if any rule is for it, for what it forwards.
fn bases(
    families: &[Family],
    accepts: bool,
    forwards: bool,
    local: &local::Addresses,
) -> Vec<Base> {
    let base = |chain: &str, path, accepts, scope| Base {
        chain: chain.into(),
        families: families.to_vec(),
        scope,
        accepts,
        path,
        priority: 0,
    };
    let mut bases = Vec::new();
    let scope = Condition::all(families);
    if forwards {
        let mut beyond = scope.clone();
        beyond.within(&local.beyond(), false);
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
                    let often = "-m conntrack --ctstate NEW -m recent --update --seconds 30 \
                                 --hitcount 6 -j DROP";
                    end(&words, &often.split_whitespace().collect::<Vec<_>>());
                    end(&words, &["-j", "ACCEPT"]);
                }
            }
        }
        rules
    }
}
