//! The lines of ufw's texts: tuples of `user.rules`, commands of `ufw show added`, and the table of
//! `ufw status`.
//!
//! May not import a reader or the writer. Invariant: a rule line that is not understood keeps its
//! place with the reason; it is never taken for another rule.

use super::super::imported::{Effect, ImportError};
use super::super::packets::Family;
use super::super::{local, words};
use firewall_policy::well_known_ports;

/// What a rule does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Action {
    Allow,
    Deny,
    Reject,
    Limit,
}

/// One rule.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// `line 12`, or `ip6 line 12`.
    pub(super) place: String,
    pub(super) number: u32,
    pub(super) text: String,
    pub(super) action: Action,
    pub(super) families: Vec<Family>,
    pub(super) proto: Option<String>,
    pub(super) port: Option<String>,
    pub(super) source_port: Option<String>,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) interface_in: Option<String>,
    pub(super) interface_out: Option<String>,
    /// For packets that go out.
    pub(super) out: bool,
    /// For packets that are forwarded.
    pub(super) forwards: bool,
    pub(super) comment: Option<String>,
    /// Why it is not known what it means.
    pub(super) unclear: Option<String>,
}

/// The rules of a text.
#[derive(Clone, Debug, Default)]
pub(super) struct Read {
    pub(super) lines: Vec<Line>,
    /// The default for what comes in, if the text says it.
    pub(super) default_accepts: Option<bool>,
    /// The text holds the rules of one family, as user.rules does.
    pub(super) one_family: bool,
}

/// Reads a text of any of the three kinds. `only` is the family of a user6.rules.
pub(super) fn read(text: &str, only: Option<Family>) -> Result<Read, ImportError> {
    let mut read = Read::default();
    let tuples = text.lines().any(|line| line.starts_with("### tuple ###"));
    let status = text.lines().any(|line| line.starts_with("Status:"));
    let added = text.lines().any(|line| line.starts_with("ufw "));
    let rules_file = tuples || text.contains("### RULES ###");
    if !(rules_file || status || added) {
        return Err(ImportError {
            line: 1,
            column: 1,
            message: "there are no rules of ufw in this text".into(),
            help: "give /etc/ufw/user.rules (and --ip6 /etc/ufw/user6.rules), or the output of \
                   `ufw show added` or `ufw status verbose`"
                .into(),
        });
    }
    is_active(text)?;
    is_whole(text, rules_file)?;
    read.one_family = rules_file;
    let mut in_table = false;
    for (line, number) in text.lines().zip(1u32..) {
        let start = Line {
            place: match only {
                Some(Family::V6) => format!("ip6 line {number}"),
                _ => format!("line {number}"),
            },
            number,
            text: line.trim().to_owned(),
            action: Action::Deny,
            families: match (only, rules_file) {
                (Some(family), _) => vec![family],
                (None, true) => vec![Family::V4],
                (None, false) => Family::BOTH.to_vec(),
            },
            proto: None,
            port: None,
            source_port: None,
            from: None,
            to: None,
            interface_in: None,
            interface_out: None,
            out: false,
            forwards: false,
            comment: None,
            unclear: None,
        };
        let found = if rules_file {
            line.strip_prefix("### tuple ### ")
                .map(|rest| tuple(start, rest))
        } else if status {
            if let Some(defaults) = line.strip_prefix("Default: ") {
                read.default_accepts = Some(defaults.starts_with("allow"));
            }
            let heading = !in_table;
            in_table |= line.trim_start().starts_with("--");
            (!heading && !line.trim().is_empty()).then(|| row(start, line))
        } else {
            match line.strip_prefix("ufw ") {
                Some(rest) => Some(command(start, &words::split(rest, number)?)),
                None => None,
            }
        };
        if let Some(mut found) = found {
            found.settle();
            read.lines.push(found);
        }
    }
    Ok(read)
}

/// A file of rules ends with COMMIT.
fn is_whole(text: &str, rules_file: bool) -> Result<(), ImportError> {
    let is_file = rules_file && text.contains("*filter");
    if !is_file || text.lines().any(|line| line.trim() == "COMMIT") {
        return Ok(());
    }
    Err(ImportError {
        line: text.lines().count() as u32,
        column: 1,
        message: "these rules of ufw have no COMMIT at their end".into(),
        help: "the text seems to be cut off: give /etc/ufw/user.rules whole".into(),
    })
}

/// Of a firewall that is off nothing is shown.
fn is_active(text: &str) -> Result<(), ImportError> {
    let line = text
        .lines()
        .position(|line| line.trim() == "Status: inactive");
    line.map_or(Ok(()), |number| {
        Err(ImportError {
            line: number as u32 + 1,
            column: 1,
            message: "ufw is inactive: it filters nothing, and shows no rules".into(),
            help:
                "give /etc/ufw/user.rules (and --ip6 /etc/ufw/user6.rules) for the rules that it \
                   would apply"
                    .into(),
        })
    })
}

impl Line {
    /// What it does that it is lost.
    pub(super) fn effect(&self) -> Effect {
        match self.action {
            _ if self.out => Effect::None,
            Action::Allow | Action::Limit => Effect::PassesLess,
            Action::Deny | Action::Reject => Effect::PassesMore,
        }
    }

    fn unclear(mut self, reason: impl Into<String>) -> Self {
        self.unclear = Some(reason.into());
        self
    }

    /// What addresses say about families; ports as iptables takes them.
    fn settle(&mut self) {
        for side in [&mut self.from, &mut self.to] {
            let any = side
                .as_deref()
                .is_some_and(|text| matches!(text, "any" | "0.0.0.0/0" | "::/0" | "Anywhere"));
            if any {
                *side = None;
            }
            let Some(text) = side else { continue };
            match local::range(text) {
                Some((family, _)) => self.families.retain(|of| *of == family),
                None => {
                    self.unclear
                        .get_or_insert_with(|| format!("`{text}` is not an address"));
                }
            }
        }
        for ports in [&mut self.port, &mut self.source_port] {
            let Some(text) = ports else { continue };
            if text == "any" {
                *ports = None;
                continue;
            }
            let known = super::super::iptables::numbers::ports(text).is_some();
            if !known {
                self.unclear.get_or_insert_with(|| {
                    format!(
                        "`{text}` is an application profile whose ports are not in this text; \
                         give /etc/ufw/user.rules"
                    )
                });
            } else if let Some((port, protos)) = well_known_ports::find(text) {
                *ports = Some(port.to_string());
                if let ([6], None) = (&protos[..], &self.proto) {
                    self.proto = Some("tcp".into());
                } else if let ([17], None) = (&protos[..], &self.proto) {
                    self.proto = Some("udp".into());
                }
            }
        }
        if self.proto.as_deref() == Some("any") {
            self.proto = None;
        }
        if let Some(proto) = &self.proto
            && super::super::iptables::numbers::protocol(proto).is_none()
        {
            self.unclear
                .get_or_insert_with(|| format!("`{proto}` is not a protocol that is known"));
        }
    }
}

fn action(text: &str) -> Option<Action> {
    Some(match text.to_ascii_lowercase().as_str() {
        "allow" => Action::Allow,
        "deny" => Action::Deny,
        "reject" => Action::Reject,
        "limit" => Action::Limit,
        _ => return None,
    })
}

/// `allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in`: action, protocol, port, address, source port, source,
/// perhaps two application names, and the direction.
fn tuple(mut line: Line, rest: &str) -> Line {
    let (rest, comment) = match rest.split_once(" comment=") {
        Some((rest, hex)) => (rest, Some(unhex(hex.trim()))),
        None => (rest, None),
    };
    line.comment = comment.flatten();
    let words: Vec<&str> = rest.split_whitespace().collect();
    let (Some([first, proto, port, to, source_port, from]), Some(direction)) = (
        words.first_chunk::<6>(),
        words.get(6..).and_then(<[&str]>::last),
    ) else {
        return line.unclear("the tuple has fewer fields than ufw writes");
    };
    let (first, forwards) = match first.strip_prefix("route:") {
        Some(action) => (action, true),
        None => (*first, false),
    };
    let Some(action) = action(first.split('_').next().unwrap_or_default()) else {
        return line.unclear(format!("`{first}` is not an action that is known"));
    };
    (line.action, line.forwards) = (action, forwards);
    let some = |text: &str| Some(text.to_owned());
    line.proto = some(proto);
    (line.port, line.source_port) = (some(port), some(source_port));
    (line.from, line.to) = (some(from), some(to));
    for part in direction.split('!') {
        match part.split_once('_') {
            None => line.out |= part == "out",
            Some(("in", name)) => line.interface_in = some(name),
            Some(("out", name)) => {
                line.out |= !forwards;
                line.interface_out = some(name);
            }
            Some(_) => return line.unclear(format!("`{part}` is not a direction")),
        }
    }
    line
}

/// Text of hexadecimal digits.
fn unhex(text: &str) -> Option<String> {
    let bytes = text.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    });
    String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok()
}

/// `allow in on eth0 from 10.0.0.0/8 to any port 22 proto tcp comment 'x'`, or `allow 22/tcp`.
fn command(mut line: Line, words: &[words::Word]) -> Line {
    let mut words = words.iter().map(|word| word.text.as_str()).peekable();
    if words.peek() == Some(&"route") {
        line.forwards = true;
        words.next();
    }
    match words.next().and_then(action) {
        Some(action) => line.action = action,
        None => return line.unclear("the action is none that is known"),
    }
    let mut direction = "in";
    let mut side = "to";
    while let Some(word) = words.next() {
        let mut value = || words.next().map(str::to_owned);
        match word {
            "in" | "out" => {
                direction = word;
                line.out |= word == "out" && !line.forwards;
            }
            "on" => match direction {
                "in" => line.interface_in = value(),
                _ => line.interface_out = value(),
            },
            "from" => (side, line.from) = ("from", value()),
            "to" => (side, line.to) = ("to", value()),
            "port" | "app" => match side {
                "from" => line.source_port = value(),
                _ => line.port = value(),
            },
            "proto" => line.proto = value(),
            "comment" => line.comment = value(),
            "any" | "log" | "log-all" => {}
            simple => match simple.split_once('/') {
                Some((port, proto)) => {
                    (line.port, line.proto) = (Some(port.into()), Some(proto.into()));
                }
                None => line.port = Some(simple.into()),
            },
        }
    }
    line
}

/// A row of `ufw status`: to, action, from, with two blanks or more between them.
fn row(mut line: Line, text: &str) -> Line {
    let (text, comment) = match text.split_once(" # ") {
        Some((text, comment)) => (text, Some(comment.trim().to_owned())),
        None => (text, None),
    };
    line.comment = comment;
    let text = match text.split_once(']') {
        Some((number, rest)) if number.starts_with('[') => rest,
        _ => text,
    };
    let columns: Vec<&str> = text
        .split("  ")
        .map(str::trim)
        .filter(|column| !column.is_empty())
        .collect();
    let [to, what, from] = columns[..] else {
        return line.unclear("the row has not three columns");
    };
    let (what, direction) = what.split_once(' ').unwrap_or((what, "IN"));
    match action(what) {
        Some(action) => line.action = action,
        None => return line.unclear(format!("`{what}` is not an action that is known")),
    }
    line.out = direction == "OUT";
    line.forwards = direction == "FWD";
    side(&mut line, to, false);
    side(&mut line, from, true);
    if !line.forwards && !line.out {
        // An interface of a rule for what comes in stands beside the destination.
        line.interface_in = line.interface_in.take().or(line.interface_out.take());
    }
    line
}

/// The column of a row that says where packets come from, or where they go.
fn side(line: &mut Line, column: &str, is_from: bool) {
    let v6 = column.contains("(v6)");
    let column = column.replace("(v6)", "");
    // What stands in brackets otherwise is the application that has these ports.
    let column = column.split(" (").next().unwrap_or_default();
    let (column, interface) = match column.split_once(" on ") {
        Some((column, interface)) => (column.trim(), Some(interface.trim().to_owned())),
        None => (column.trim(), None),
    };
    if interface.is_some() {
        // The interface stands beside the side that it is on.
        if is_from == line.forwards {
            line.interface_in = interface;
        } else {
            line.interface_out = interface;
        }
    }
    let anywhere = column == "Anywhere" || column.starts_with("Anywhere ");
    if anywhere {
        let keep = if v6 { Family::V6 } else { Family::V4 };
        line.families.retain(|family| *family == keep);
    }
    let (mut address, mut port) = (None, None);
    for word in column.split_whitespace().filter(|word| *word != "Anywhere") {
        if local::range(word).is_some() {
            address = Some(word.to_owned());
        } else {
            port = Some(word.to_owned());
        }
    }
    if let Some(text) = port {
        let (port, proto) = match text.split_once('/') {
            Some((port, proto)) => (port.to_owned(), Some(proto.to_owned())),
            None => (text, None),
        };
        line.proto = proto.or(line.proto.take());
        if is_from {
            line.source_port = Some(port);
        } else {
            line.port = Some(port);
        }
    }
    if is_from {
        line.from = address;
    } else {
        line.to = address;
    }
}
