//! Reading the tree by shape: tables with known keys, words, numbers, text. Every reader reports
//! what is wrong itself and answers `None`, so that the caller goes on and all errors of a policy
//! come out in one run.
//!
//! Strict YAML 1.2: a scalar is read by the place where it stands, from its text as written.
//! Nothing is converted: `no` is not false, `0o22`, `1e3`, `+80` and `22:22` are not numbers.

mod integer;

pub(super) use integer::{decimal, hexadecimal, integer, looks_numeric};

use super::foreign;
use super::lists::{Loose, in_one_text};
use crate::ast::{Key, Node, Span, Value};
use crate::diag::{Sink, codes, show, suggest};
use crate::files::Files;

/// Address ranges that all sets and rules of a policy may hold together. A set that rules share
/// counts once. Guards the memory of the machine that reads the policy: they take at most half a
/// gigabyte.
pub(super) const MAX_RANGES: usize = 16_000_000;

/// What all readers share.
pub(super) struct Cx<'a> {
    pub(super) sink: Sink<'a>,
    pub(super) files: &'a dyn Files,
    /// How many more address ranges there may be.
    ranges_left: usize,
}

impl<'a> Cx<'a> {
    /// For one policy.
    pub(super) fn new(sink: Sink<'a>, files: &'a dyn Files) -> Self {
        Self {
            sink,
            files,
            ranges_left: MAX_RANGES,
        }
    }

    /// Counts address ranges that are going to be kept for what stands at `span`; false, and an
    /// error, if there are too many.
    pub(super) fn keep_ranges(&mut self, span: Span, count: usize) -> bool {
        match self.ranges_left.checked_sub(count) {
            Some(left) => {
                self.ranges_left = left;
                true
            }
            None => {
                self.sink
                    .error(
                        &codes::TOO_MANY_RANGES,
                        span,
                        format!(
                            "with these, the policy has more than {MAX_RANGES} address ranges, \
                             sets and rules together"
                        ),
                    )
                    .help(
                        "name long lists in one rule each: rules with `from: \"@set\"` share the \
                         set, lists of several sets and negations are copies",
                    );
                false
            }
        }
    }
}

/// The keys of one kind of table.
pub(crate) struct Keys {
    /// For messages: `a rule`.
    pub(crate) of: &'static str,
    /// Keys that are read.
    pub(crate) known: &'static [&'static str],
    /// Keys of the language that this version refuses.
    pub(crate) reserved: &'static [&'static str],
}

/// A mapping whose keys have been checked.
#[derive(Clone, Copy)]
pub(super) struct Table<'n, 'a> {
    node: &'n Node<'a>,
    keys: &'static Keys,
    /// A bit for each known key that is there, by its place in [`Keys::known`].
    present: u64,
}

/// Of how many unknown keys somebody asks what they stand for.
const UNKNOWN: usize = 100;

impl<'n, 'a> Table<'n, 'a> {
    /// Checks that `node` is a mapping with keys of `keys` only.
    pub(super) fn read(cx: &mut Cx<'_>, node: &'n Node<'a>, keys: &'static Keys) -> Option<Self> {
        let Value::Map(map) = &node.value else {
            wrong_kind(cx, node, &format!("{} is a mapping", keys.of)).help(format!(
                "write `{{{}: ...}}` or indented lines of `key: value`",
                keys.known[0]
            ));
            return None;
        };
        let place = |key: &Key<'_>| keys.known.iter().position(|known| *known == &*key.text);
        let places = map.iter().filter_map(|(key, _)| place(key));
        let table = Self {
            node,
            keys,
            present: places.fold(0, |present, place| present | 1 << place),
        };
        let mut loose = Loose::new(keys.of);
        for entry in map {
            let (key, value) = entry;
            let is_known = keys.known.contains(&&*key.text);
            let is_key = is_known || table.glued(&key.text).is_some();
            if loose.take(&mut cx.sink, entry, is_key) || is_known || cx.sink.omit_error() {
                continue;
            }
            table.unknown(cx, key, value);
        }
        loose.end(&mut cx.sink);
        Some(table)
    }

    /// Reports a key that is none of the table's.
    fn unknown(&self, cx: &mut Cx<'_>, key: &Key<'a>, value: &Node<'a>) {
        let keys = self.keys;
        let message = format!("unknown key `{}` in {}", show(&key.text), keys.of);
        if let Some(meant) = foreign::key(keys.of, &key.text, value.scalar()) {
            let error = cx.sink.error(&codes::UNKNOWN_KEY, key.span, message);
            error.help(meant.help(value.scalar()));
            return;
        }
        if keys.reserved.contains(&&*key.text) {
            return not_supported(cx, key.span, &format!("`{}`", key.text), keys.of);
        }
        let (message, help) = if key.text == "<<" {
            let message = "`<<` (YAML merge) is not part of the policy language";
            let help = "write the keys out in each entry".to_owned();
            (message.to_owned(), help)
        } else if let Some((name, rest)) = self.glued(&key.text) {
            let message = format!(
                "`{}` is one word: YAML needs a space behind the colon",
                show(&key.text)
            );
            (message, format!("write `{name}: {}`", show(rest)))
        } else {
            let all = keys.known.iter().chain(keys.reserved).copied();
            let later =
                suggest::nearest(&key.text, all).filter(|near| keys.reserved.contains(near));
            let help = match (later, self.meant(&key.text)) {
                (Some(near), _) => format!("did you mean `{near}`? it is not supported yet"),
                (None, Some(near)) => {
                    let line = one_line(cx, value).map(|value| format!("{near}: {}", show(&value)));
                    suggest::help_with(Some(line.as_deref().unwrap_or(near)), keys.known)
                }
                (None, None) => suggest::help(&key.text, keys.known),
            };
            (message, help)
        };
        cx.sink
            .error(&codes::UNKNOWN_KEY, key.span, message)
            .help(help);
    }

    /// A key of the table and a value that are one word, because no space stands between.
    fn glued<'t>(&self, text: &'t str) -> Option<(&'static str, &'t str)> {
        let (name, rest) = text.split_once(':')?;
        let known = self.keys.known.iter().find(|&&known| known == name)?;
        (!rest.is_empty()).then_some((known, rest))
    }

    /// The key that an unknown one stands for; one that is there already is seldom meant.
    fn meant(&self, text: &str) -> Option<&'static str> {
        let known = self.keys.known.iter().copied().enumerate();
        let absent = known.filter(|(place, _)| self.present & 1 << place == 0);
        suggest::nearest(text, absent.map(|(_, key)| key))
    }

    /// The value of a key, if it is there.
    pub(super) fn get(&self, key: &str) -> Option<&'n Node<'a>> {
        self.entry(key).map(|(_, node)| node)
    }

    /// The span of the key and its value.
    pub(super) fn entry(&self, key: &str) -> Option<(Span, &'n Node<'a>)> {
        let Value::Map(map) = &self.node.value else {
            return None;
        };
        map.iter()
            .find(|(k, _)| k.text == key)
            .map(|(k, node)| (k.span, node))
    }

    /// Where the table is best pointed at: its first key.
    pub(super) fn span(&self) -> Span {
        match &self.node.value {
            Value::Map(map) => map.first().map_or(self.node.span, |(key, _)| key.span),
            _ => self.node.span,
        }
    }

    /// Whether an unknown key, which has been reported, stands for this one.
    pub(super) fn is_misspelt(&self, key: &str) -> bool {
        let Value::Map(map) = &self.node.value else {
            return false;
        };
        let unknown = map
            .iter()
            .map(|(other, value)| (&*other.text, value))
            .filter(|(other, _)| !self.keys.known.contains(other));
        unknown.take(UNKNOWN).any(|(other, value)| {
            foreign::key(self.keys.of, other, value.scalar()).map_or_else(
                || {
                    self.glued(other)
                        .map_or_else(|| self.meant(other), |(name, _)| Some(name))
                },
                |meant| meant.key,
            ) == Some(key)
        })
    }

    /// The value of a key that must be there.
    pub(super) fn require(
        &self,
        cx: &mut Cx<'_>,
        key: &str,
        example: &str,
    ) -> Option<&'n Node<'a>> {
        let found = self.get(key);
        if found.is_none() && !self.is_misspelt(key) {
            cx.sink
                .error(
                    &codes::MISSING_KEY,
                    self.span(),
                    format!("{} needs `{key}`", self.keys.of),
                )
                .help(format!("add {example}"));
        }
        found
    }
}

/// A value in one line as it would be written behind its key, if that is short.
fn one_line(cx: &Cx<'_>, node: &Node<'_>) -> Option<String> {
    const LONGEST: usize = 60;
    let text = in_flow(cx, node);
    (!text.is_empty() && text.len() <= LONGEST && !text.contains('\n')).then_some(text)
}

fn in_flow(cx: &Cx<'_>, node: &Node<'_>) -> String {
    match &node.value {
        Value::Null => String::new(),
        Value::Scalar { .. } => cx.sink.slice(node.span).trim().to_owned(),
        Value::List(list) => {
            let items: Vec<String> = list.iter().map(|item| in_flow(cx, item)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(map) => {
            let entry =
                |(key, node): &(Key<'_>, Node<'_>)| format!("{}: {}", key.text, in_flow(cx, node));
            let entries: Vec<String> = map.iter().map(entry).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// Reports a construct of the language that is to come.
pub(super) fn not_supported(cx: &mut Cx<'_>, span: Span, what: &str, of: &str) {
    cx.sink
        .error(
            &codes::NOT_SUPPORTED,
            span,
            format!("{what} in {of} is not supported yet"),
        )
        .help(instead(what));
}

/// What to do until a construct is supported.
fn instead(what: &str) -> &'static str {
    match what.trim_matches('`') {
        "observe" => "write `log: 10/s`; `firewall-ctl observe` shows what is logged",
        "reject" => "use `drop`, and a last rule that says `action: reject`",
        "on" => {
            "use `auto`, and set net.ipv4.tcp_syncookies to 2: then every SYN is answered with a cookie"
        }
        "fragments" => {
            "write `fragment: first` or `fragment: later` here; `packet: {fragments: drop}`, `pass` or \
             `follow-first` is for all of them"
        }
        "open" => {
            "limit how fast connections come, `limit: {new: 50/m, per: source}`; how many are open at once \
             the server limits itself (nginx: limit_conn, sshd: MaxStartups), or nft behind this filter: \
             `ct count over 50 reject`"
        }
        "ipsec" => {
            "XDP sees neither IPsec's policy nor whether a packet was decrypted: filter the xfrm \
             interface, or pass what is encrypted by `proto: esp`"
        }
        "include" => "put everything into one file",
        _ => "remove it; it is never silently ignored",
    }
}

/// Reports a value of the wrong kind, or a key with nothing behind it.
pub(super) fn wrong_kind<'c>(
    cx: &'c mut Cx<'_>,
    node: &Node<'_>,
    expected: &str,
) -> &'c mut crate::diag::Diagnostic {
    if matches!(node.value, Value::Null) {
        cx.sink.error(
            &codes::NOTHING,
            node.span,
            format!("nothing stands here: {expected}"),
        )
    } else {
        let span = match &node.value {
            Value::Map(map) => map.first().map_or(node.span, |(key, _)| key.span),
            _ => node.span,
        };
        cx.sink.error(
            &codes::WRONG_KIND,
            span,
            format!("{expected}, not {}", node.kind()),
        )
    }
}

/// A single value's text.
pub(super) fn scalar<'n>(
    cx: &mut Cx<'_>,
    node: &'n Node<'_>,
    expected: &str,
    example: &str,
) -> Option<&'n str> {
    let text = node.scalar();
    if text.is_none() {
        let bare_address = address_in_mapping(node);
        let error = wrong_kind(cx, node, expected);
        match bare_address {
            Some(address) => error.help(format!(
                "YAML reads a colon at the end of a value as a key: put it in quotes, \"{address}\""
            )),
            None => error.help(format!("write {example}")),
        };
    }
    text
}

/// `[fc00::]` is a list of one mapping in YAML; finds the address that was meant.
fn address_in_mapping(node: &Node<'_>) -> Option<String> {
    let Value::Map(map) = &node.value else {
        return None;
    };
    let [
        (
            key,
            Node {
                value: Value::Null, ..
            },
        ),
    ] = map.as_slice()
    else {
        return None;
    };
    let meant = format!("{}:", key.text);
    meant.parse::<std::net::Ipv6Addr>().is_ok().then_some(meant)
}

/// Free text. Plain text that YAML resolves to a number or a truth value must be quoted.
pub(super) fn text<'n>(cx: &mut Cx<'_>, node: &'n Node<'_>, key: &str) -> Option<&'n str> {
    let text = scalar(
        cx,
        node,
        &format!("`{key}` is text"),
        &format!("`{key}: some text`"),
    )?;
    if let Value::Scalar { plain: true, .. } = &node.value
        && let Some(kind) = core_schema(text)
    {
        cx.sink
            .error(
                &codes::TEXT_NEEDS_QUOTES,
                node.span,
                format!("`{key}` is text, but YAML reads `{}` as {kind}", show(text)),
            )
            .help(format!("put it in quotes: \"{}\"", show(text)));
        return None;
    }
    Some(text)
}

/// What the YAML 1.2 core schema makes of plain text, if not a string.
fn core_schema(text: &str) -> Option<&'static str> {
    if matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE") {
        return Some("true or false");
    }
    let all = |digits: &str, ok: fn(u8) -> bool| !digits.is_empty() && digits.bytes().all(ok);
    if let Some(octal) = text.strip_prefix("0o")
        && all(octal, |b| (b'0'..=b'7').contains(&b))
    {
        return Some("a number");
    }
    if let Some(hex) = text.strip_prefix("0x")
        && all(hex, |b| b.is_ascii_hexdigit())
    {
        return Some("a number");
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(
        unsigned,
        ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN"
    ) {
        return Some("a number");
    }
    let digit_or_point = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let shape = unsigned
        .bytes()
        .all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    (digit_or_point && shape && unsigned.parse::<f64>().is_ok()).then_some("a number")
}

/// One of a few words.
pub(super) fn word<T: Copy>(
    cx: &mut Cx<'_>,
    node: &Node<'_>,
    key: &str,
    words: &[(&'static str, T)],
    reserved: &[&str],
) -> Option<T> {
    let known: Vec<&str> = words.iter().map(|&(word, _)| word).collect();
    let expected = format!("`{key}` is one of {}", known.join(", "));
    let text = scalar(cx, node, &expected, &format!("`{key}: {}`", known[0]))?;
    if let Some(&(_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Some(value);
    }
    if reserved.contains(&text) {
        not_supported(cx, node.span, &format!("`{text}`"), &format!("`{key}`"));
        return None;
    }
    let help = foreign::word(key, text).unwrap_or_else(|| suggest::help(text, &known));
    cx.sink
        .error(
            &codes::UNKNOWN_VALUE,
            node.span,
            format!("unknown {key} `{}`", show(text)),
        )
        .help(help);
    None
}

/// `true` or `false`, without quotes.
pub(super) fn boolean(cx: &mut Cx<'_>, node: &Node<'_>, key: &str) -> Option<bool> {
    let expected = format!("`{key}` is true or false");
    let text = scalar(cx, node, &expected, &format!("`{key}: true`"))?;
    let plain = matches!(node.value, Value::Scalar { plain: true, .. });
    match text {
        "true" if plain => return Some(true),
        "false" if plain => return Some(false),
        _ => {}
    }
    let meant = match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" | "1" => "write `true`",
        "false" | "no" | "off" | "n" | "0" => "write `false`",
        _ => "write `true` or `false`",
    };
    let found = if plain {
        show(text)
    } else {
        format!("\"{}\"", show(text))
    };
    cx.sink
        .error(
            &codes::BOOLEAN,
            node.span,
            format!("{expected}, not `{found}`"),
        )
        .help(meant);
    None
}

/// The elements of a list that must not be empty, or one single value.
pub(super) fn items<'n, 'a>(
    cx: &mut Cx<'_>,
    node: &'n Node<'a>,
    key: &str,
) -> Option<&'n [Node<'a>]> {
    let items = node.items();
    if items.is_empty() {
        let help = match key {
            // Without it nobody is exempt.
            "exempt" => {
                "name at least one address, prefix or set, or leave `exempt` out: then every \
                         ban holds"
                    .to_owned()
            }
            // An interface has to have it.
            "match" => "name at least one interface: `eth0`, `eth*`, `default-route`".to_owned(),
            _ => format!("name at least one value, or leave `{key}` out to match everything"),
        };
        cx.sink
            .error(
                &codes::EMPTY_LIST,
                node.span,
                format!("`{key}` is an empty list"),
            )
            .help(help);
        return None;
    }
    (!in_one_text(&mut cx.sink, node, key)).then_some(items)
}

/// Reports a name that is not `[a-z0-9-]{1,63}`.
pub(super) fn name<'n>(cx: &mut Cx<'_>, span: Span, what: &str, name: &'n str) -> Option<&'n str> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if (1..=63).contains(&name.len()) && name.bytes().all(fits) {
        return Some(name);
    }
    let mut proposal: String = name
        .chars()
        .map(|c| {
            if fits(c.to_ascii_lowercase() as u8) && c.is_ascii() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .take(63)
        .collect();
    proposal = proposal.trim_matches('-').to_string();
    let error = cx.sink.error(
        &codes::BAD_NAME,
        span,
        format!("`{}` is not a name for {what}", show(name)),
    );
    let help = "a name is 1 to 63 of a-z, 0-9 and -";
    if proposal.is_empty() {
        error.help(help);
    } else {
        error.help(format!("{help}: write `{proposal}`"));
    }
    None
}
