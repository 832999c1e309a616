//! The texts of `iptables-save` and `iptables -S`, line by line: tables, chains, and rules as words.
//!
//! May not import the writer. Invariant: every line is a rule, a chain, a table, or an error with its
//! place; lines that differ in their source alone are one rule, whose memory is their addresses.

use super::super::imported::ImportError;
use super::super::local;
use super::super::packets::Family;
use super::super::words::{self, Word};
use std::collections::BTreeMap;

/// A rule before its words are understood.
pub(super) struct Raw {
    pub(super) table: String,
    pub(super) chain: String,
    pub(super) line: u32,
    /// The last line, where several stand for one rule.
    pub(super) last: u32,
    pub(super) text: String,
    pub(super) words: Vec<Word>,
    pub(super) family: Family,
    /// The sources of all lines, where several stand for one rule.
    pub(super) sources: Vec<(u128, u128)>,
}

impl Raw {
    /// Whether it sends packets that come in elsewhere.
    pub(super) fn redirects(&self) -> bool {
        let targets = ["DNAT", "REDIRECT", "NETMAP"];
        let mut pairs = self.words.windows(2);
        pairs.any(|pair| pair[0].text == "-j" && targets.contains(&pair[1].text.as_str()))
    }

    /// Lines that it stands for.
    pub(super) fn count(&self) -> usize {
        self.sources.len().max(1)
    }
}

/// Chains and rules of one text.
#[derive(Default)]
pub(super) struct Saved {
    pub(super) rules: Vec<Raw>,
    /// Table and chain to its policy; `None` for chains of users.
    pub(super) chains: BTreeMap<(String, String), Option<bool>>,
}

/// The rules of one family.
struct Document {
    /// What its header or its addresses say.
    family: Option<Family>,
    saved: Saved,
    /// Tables, and the lines that they begin in.
    tables: BTreeMap<String, u32>,
    first: u32,
}

impl Document {
    fn new(family: Option<Family>, first: u32) -> Self {
        Self {
            family,
            saved: Saved::default(),
            tables: BTreeMap::new(),
            first,
        }
    }
}

/// Reads a text, in which the dumps of both families may stand behind each other. `expected` is the
/// family of a text that does not say its own.
pub(super) fn read(text: &str, expected: Family) -> Result<Vec<(Family, Saved)>, ImportError> {
    let mut reader = Reader {
        documents: vec![Document::new(None, 1)],
        table: None,
        listed: false,
        joins: !text.lines().any(|line| line.trim_start().starts_with("-I")),
        last: None,
    };
    for (line, number) in text.lines().zip(1u32..) {
        reader.line(line, number)?;
    }
    if let Some((open, since)) = reader.table.filter(|_| !reader.listed) {
        return Err(fault(
            (since, 1),
            format!("the table `{open}` has no COMMIT"),
            "the text seems to be cut off: save the rules again",
        ));
    }
    let mut found: Vec<(Family, Saved)> = Vec::new();
    for (at, mut document) in reader.documents.into_iter().enumerate() {
        if document.saved.chains.is_empty() {
            continue;
        }
        let family = match (document.family, at) {
            (Some(family), _) => family,
            (None, 0) => expected,
            (None, _) => return Err(twice(&document)),
        };
        if found.iter().any(|(known, _)| *known == family) {
            return Err(twice(&document));
        }
        for raw in &mut document.saved.rules {
            raw.family = family;
        }
        found.push((family, document.saved));
    }
    if found.is_empty() {
        return Err(fault(
            (1, 1),
            "there is no table in this text".into(),
            "give the output of `iptables-save` or `ip6tables-save`",
        ));
    }
    Ok(found)
}

/// One table of one family stands in two places, of which `iptables-restore` would take the second
/// alone.
fn twice(document: &Document) -> ImportError {
    let table = document.tables.keys().next().map_or("filter", |name| name);
    fault(
        (document.first, 1),
        format!("the table `*{table}` stands here a second time, for the same address family"),
        "give the output of one iptables-save; that of ip6tables-save goes into a file of its own: \
         --ip6 FILE",
    )
}

struct Reader {
    documents: Vec<Document>,
    /// The open table, and the line that it begins in.
    table: Option<(String, u32)>,
    /// The text is that of `iptables -S`.
    listed: bool,
    /// Lines that differ in their source alone may become one rule.
    joins: bool,
    /// The line before, without its source.
    last: Option<(String, String)>,
}

impl Reader {
    fn document(&mut self) -> &mut Document {
        if self.documents.is_empty() {
            self.documents.push(Document::new(None, 1));
        }
        let last = self.documents.len() - 1;
        &mut self.documents[last]
    }

    fn line(&mut self, line: &str, number: u32) -> Result<(), ImportError> {
        let content = line.trim();
        if content.is_empty() {
            return Ok(());
        }
        if let Some(comment) = content.strip_prefix('#') {
            self.header(comment.trim(), number);
            return Ok(());
        }
        if let Some(name) = content.strip_prefix('*') {
            return self.begins(name, number);
        }
        if self.table.is_none() && matches!(content.get(..3), Some("-P " | "-N " | "-A ")) {
            self.listed = true;
            self.begins("filter", number)?;
        }
        let Some((open, _)) = self.table.clone() else {
            return Err(no_table(content, number));
        };
        if content == "COMMIT" {
            self.table = None;
        } else if let Some(rest) = content.strip_prefix(':') {
            let (name, policy) = declared(rest, line, number)?;
            self.document().saved.chains.insert((open, name), policy);
        } else if let Some(rest) = content.strip_prefix("-P ") {
            let (name, policy) = declared(rest, line, number)?;
            self.document().saved.chains.insert((open, name), policy);
        } else if let Some(name) = content.strip_prefix("-N ") {
            let chain = (open, name.trim().to_owned());
            self.document().saved.chains.insert(chain, None);
        } else if !self.again(content, &open, number) {
            self.rule(&open, line, number)?;
        }
        Ok(())
    }

    /// `# Generated by ip6tables-save v1.8.9`.
    fn header(&mut self, comment: &str, number: u32) {
        let family = match comment {
            text if text.starts_with("Generated by ip6tables-save") => Family::V6,
            text if text.starts_with("Generated by iptables-save") => Family::V4,
            _ => return,
        };
        let document = self.document();
        if document.tables.is_empty() {
            document.family = Some(family);
        } else if document.family.unwrap_or(family) != family {
            self.documents.push(Document::new(Some(family), number));
        }
    }

    /// A table begins.
    fn begins(&mut self, name: &str, number: u32) -> Result<(), ImportError> {
        if let Some((open, since)) = &self.table {
            return Err(fault(
                (number, 1),
                format!("the table `{open}` of line {since} has no COMMIT"),
                "the text seems to be cut off: save the rules again",
            ));
        }
        if self.document().tables.contains_key(name) {
            self.documents.push(Document::new(None, number));
        }
        self.document().tables.insert(name.to_owned(), number);
        self.table = Some((name.to_owned(), number));
        self.last = None;
        Ok(())
    }

    /// Whether the line is the one before with another source: then its source is taken.
    fn again(&mut self, content: &str, table: &str, number: u32) -> bool {
        let Some((head, source, tail)) = parted(content).filter(|_| self.joins) else {
            self.last = None;
            return false;
        };
        let same = self
            .last
            .as_ref()
            .is_some_and(|(first, second)| first == head && second == tail);
        let range = local::range(source);
        if let (true, Some((family, range))) = (same, range)
            && let Some(raw) = self.document().saved.rules.last_mut()
            && raw.table == table
            && let Some((known, first)) = raw
                .words
                .windows(2)
                .find(|pair| pair[0].text == "-s")
                .and_then(|pair| local::range(&pair[1].text))
            && known == family
        {
            if raw.sources.is_empty() {
                raw.sources.push(first);
            }
            raw.sources.push(range);
            raw.last = number;
            return true;
        }
        self.last = Some((head.to_owned(), tail.to_owned()));
        false
    }

    /// A rule of the table `open`.
    fn rule(&mut self, open: &str, line: &str, number: u32) -> Result<(), ImportError> {
        let mut all = words::split(line, number)?;
        // Counters in front: `[12:3456] -A ...`.
        if all.first().is_some_and(|word| word.text.starts_with('[')) {
            all.remove(0);
        }
        let option = all.first().map_or("", |word| word.text.as_str());
        let inserts = matches!(option, "-I" | "--insert");
        let is_rule = inserts || matches!(option, "-A" | "--append");
        let Some(chain) = all.get(1).filter(|_| is_rule) else {
            return Err(fault(
                (number, all.first().map_or(1, |word| word.column)),
                "neither a chain (`:INPUT ...`) nor a rule (`-A INPUT ...`)".into(),
                "give the output of `iptables-save` as it is",
            ));
        };
        let chain = chain.text.clone();
        let further = self.documents.len() > 1;
        let document = self.document();
        if !document
            .saved
            .chains
            .contains_key(&(open.to_owned(), chain.clone()))
        {
            return Err(fault(
                (number, all[1].column),
                format!("the chain `{chain}` is not in the table `{open}`"),
                "chains are declared before their rules, as `:NAME - [0:0]`",
            ));
        }
        let mut words = all.split_off(2);
        let place = words.first().and_then(|word| word.text.parse().ok());
        if inserts && place.is_some() {
            words.remove(0);
        }
        document.family = document.family.or_else(|| clue(&words, further));
        let raw = Raw {
            table: open.to_owned(),
            chain,
            line: number,
            last: number,
            text: line.trim().to_owned(),
            words,
            family: Family::V4,
            sources: Vec::new(),
        };
        let rules = &mut document.saved.rules;
        let at = if inserts {
            let mine =
                |(_, other): &(usize, &Raw)| other.table == raw.table && other.chain == raw.chain;
            let before = rules.iter().enumerate().filter(mine);
            let before = before.skip(place.unwrap_or(1usize).saturating_sub(1));
            before.map(|(at, _)| at).next().unwrap_or(rules.len())
        } else {
            rules.len()
        };
        rules.insert(at, raw);
        Ok(())
    }
}

/// What a rule says about its family: by its addresses, and `by_protocol`, too.
fn clue(words: &[Word], by_protocol: bool) -> Option<Family> {
    words.windows(2).find_map(|pair| {
        let value = pair[1].text.as_str();
        match pair[0].text.as_str() {
            "-s" | "-d" | "--source" | "--destination" => {
                local::range(value).map(|(family, _)| family)
            }
            "-p" | "--protocol" if by_protocol => match value {
                "icmpv6" | "ipv6-icmp" => Some(Family::V6),
                "icmp" => Some(Family::V4),
                _ => None,
            },
            _ => None,
        }
    })
}

/// An appended rule around the value of its one `-s`.
fn parted(content: &str) -> Option<(&str, &str, &str)> {
    let (head, rest) = content.split_once(" -s ")?;
    let (source, tail) = rest.split_once(' ').unwrap_or((rest, ""));
    let plain = head.starts_with("-A ")
        && !head.ends_with('!')
        && !head.contains(['"', '\''])
        && !tail.contains(" -s ")
        // Each of them has a rate of its own.
        && !content.contains("limit");
    plain.then_some((head, source, tail))
}

/// A text without a table.
fn no_table(content: &str, number: u32) -> ImportError {
    if content.starts_with("Chain ") {
        return fault(
            (number, 1),
            "this is the output of `iptables -L`, which does not show rules whole".into(),
            "give that of `sudo iptables-save`, and with --ip6 that of `sudo ip6tables-save`",
        );
    }
    fault(
        (number, 1),
        "this is not the output of iptables-save: a table such as `*filter` comes first".into(),
        "give the output of `sudo iptables-save` or `sudo ip6tables-save`",
    )
}

/// `at` is line and column.
pub(super) fn fault(at: (u32, u32), message: String, help: &str) -> ImportError {
    ImportError {
        line: at.0,
        column: at.1,
        message,
        help: help.into(),
    }
}

/// A chain as it is declared, behind the colon: its name, and what its policy accepts.
fn declared(rest: &str, line: &str, number: u32) -> Result<(String, Option<bool>), ImportError> {
    let mut parts = rest.split_whitespace();
    let (name, policy) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let policy = match policy {
        "ACCEPT" => Some(true),
        "DROP" => Some(false),
        "-" => None,
        other => {
            let column = 1 + line.find(other).unwrap_or(0) as u32;
            return Err(fault(
                (number, column),
                format!("`{other}` is not the policy of a chain"),
                "a chain has the policy ACCEPT, DROP or - (none)",
            ));
        }
    };
    Ok((name.to_owned(), policy))
}
