//! From YAML text to the tree of [`super::Node`], over the event parser of serde-saphyr.
//!
//! A policy uses a small part of YAML 1.2: block and flow collections, plain, quoted and block
//! scalars, comments. Anchors, aliases, tags, merge keys, directives and several documents are
//! refused, so there are no alias bombs and no types by tag. Depth and the number of values are
//! bounded, and the tree is built without recursion.

use super::{Key, Node, Span, Value};
use crate::diag::{Sink, codes, show};
use serde_saphyr::granit_parser::{
    ErrorKind, Event, Marker, Options, Parser, ScalarStyle, ScanError, Span as EventSpan,
};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

/// Bytes of policy text that are read.
pub(crate) const MAX_TEXT: usize = 16 << 20;

/// Values, keys and collections in one policy.
const MAX_NODES: usize = 2_000_000;

/// Collections inside each other. The language itself needs six.
const MAX_DEPTH: usize = 32;

/// A collection that is still open.
enum Open<'a> {
    List(Span, Vec<Node<'a>>),
    Map(Span, Vec<(Key<'a>, Node<'a>)>, Option<Key<'a>>),
}

/// Reads one document, the text of the source with the number `source`. `None` after an error that
/// leaves nothing to check further.
pub(crate) fn parse<'a>(text: &'a str, source: u32, sink: &mut Sink<'a>) -> Option<Node<'a>> {
    if !text_is_sound(text, source, sink) {
        return None;
    }
    let mut options = Options::default();
    options.emit_comments = false;
    options.disallow_directives = true;
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    options.emit_unresolved_aliases = true;
    let mut builder = Builder {
        sink,
        source,
        open: Vec::new(),
        root: None,
        nodes: 0,
        documents: 0,
        sound: true,
    };
    for event in Parser::new_from_str_with_options(text, options) {
        match event {
            Ok((event, span)) => {
                if !builder.event(event, span) {
                    return None;
                }
            }
            Err(error) => {
                syntax_error(text, source, &error, builder.sink);
                return None;
            }
        }
    }
    let Builder {
        sink, root, sound, ..
    } = builder;
    match root {
        Some(Node {
            value: Value::Null, ..
        })
        | None => {
            if sound {
                let span = Span {
                    source,
                    line: 1,
                    column: 1,
                    ..Span::default()
                };
                // A file that was cut off must not pass for one that adds nothing.
                let (message, help) = if source == 0 {
                    (
                        "the policy is empty",
                        "the smallest policy is `version: 1` and `default: {in: pass}`, each on a \
                         line of its own",
                    )
                } else {
                    (
                        "this file of the policy is empty",
                        "write `version: 1` if it is to add nothing, or remove the file",
                    )
                };
                sink.error(&codes::EMPTY, span, message).help(help);
            }
            None
        }
        root => root.filter(|_| sound),
    }
}

/// Size and characters, before the parser sees the text.
fn text_is_sound(text: &str, source: u32, sink: &mut Sink<'_>) -> bool {
    let first = Span {
        source,
        line: 1,
        column: 1,
        ..Span::default()
    };
    if text.len() > MAX_TEXT {
        sink.error(
            &codes::TOO_LARGE,
            first,
            format!("the policy has {} bytes, the limit is {MAX_TEXT}", text.len()),
        )
        .help("put long address lists into a file of their own: `sets: {name: {type: cidr, file: PATH}}`");
        return false;
    }
    let bad = |c: char| (c.is_control() && !matches!(c, '\t' | '\n' | '\r')) || c == '\u{feff}';
    // YAML takes a carriage return alone for a line break and editors do not: lines would be counted
    // in two ways.
    let alone = |at: &usize| !text[at + 1..].starts_with('\n');
    // A byte order mark at the very start is allowed.
    let offset = if text.starts_with('\u{feff}') {
        '\u{feff}'.len_utf8()
    } else {
        0
    };
    let returns = text.match_indices('\r').map(|(at, _)| at);
    let found = text[offset..].find(bad).map(|at| offset + at);
    if let Some(start) = found.into_iter().chain(returns.filter(alone).take(1)).min() {
        let character = text[start..].chars().next().unwrap_or_default();
        let span = Span::at(text, start, start + character.len_utf8()).of(source);
        sink.error(
            &codes::CONTROL_CHARACTER,
            span,
            format!(
                "the character U+{:04X} is not allowed in a policy",
                character as u32
            ),
        )
        .help("remove it; a policy is printable UTF-8 text");
        return false;
    }
    true
}

fn span_of(span: &EventSpan, source: u32) -> Span {
    let start = span.start.byte_offset().unwrap_or(0);
    let end = span.end.byte_offset().unwrap_or(start).max(start);
    Span {
        source,
        start: start as u32,
        end: end as u32,
        line: span.start.line() as u32,
        column: span.start.col() as u32 + 1,
    }
}

struct Builder<'s, 'a> {
    sink: &'s mut Sink<'a>,
    /// Number of the text.
    source: u32,
    open: Vec<Open<'a>>,
    root: Option<Node<'a>>,
    nodes: usize,
    documents: usize,
    /// False after an error that would make later checks repeat it.
    sound: bool,
}

impl<'a> Builder<'_, 'a> {
    /// Takes one event; false to stop.
    fn event(&mut self, event: Event<'a>, at: EventSpan) -> bool {
        let span = span_of(&at, self.source);
        if event.is_node() {
            self.nodes += 1;
            if self.nodes > MAX_NODES {
                self.sink
                    .error(
                        &codes::TOO_DEEP,
                        span,
                        format!("the policy has more than {MAX_NODES} values"),
                    )
                    .help("put long lists into set files");
                return false;
            }
            self.properties(&event, &at, span);
        }
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.sink
                        .error(&codes::DOCUMENTS, span, "a second document starts here")
                        .help("a policy file holds one document: remove the `---`");
                    return false;
                }
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => self.put(Node {
                span,
                value: Value::Null,
            }),
            Event::Scalar(text, style, ..) => {
                let plain = style == ScalarStyle::Plain;
                let null = plain
                    && (span.start == span.end
                        || matches!(&*text, "~" | "null" | "Null" | "NULL" | ""));
                let value = if null {
                    Value::Null
                } else {
                    Value::Scalar { text, plain }
                };
                self.put(Node { span, value });
            }
            Event::SequenceStart(..) => self.open.push(Open::List(span, Vec::new())),
            Event::MappingStart(..) => self.open.push(Open::Map(span, Vec::new(), None)),
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            _ => {}
        }
        if self.open.len() > MAX_DEPTH {
            self.sink
                .error(
                    &codes::TOO_DEEP,
                    span,
                    format!("values are nested deeper than {MAX_DEPTH} levels"),
                )
                .help("no part of the policy language needs that; look for a bracket too many");
            return false;
        }
        true
    }

    /// Reports anchors, aliases and tags, which the policy language does not have.
    fn properties(&mut self, event: &Event<'a>, at: &EventSpan, span: Span) {
        if event.anchor_id().is_some() || event.is_alias() {
            let what = if event.is_alias() {
                "an alias"
            } else {
                "an anchor"
            };
            self.sink
                .error(
                    &codes::ANCHOR,
                    span,
                    format!("{what} (`&name`, `*name`) is not part of the policy language"),
                )
                .help(
                    "write the value again, or define it once under `sets:` and use `\"@name\"`; \
                     a `*` pattern goes in quotes: \"*\"",
                );
            self.sound = false;
        }
        if event.tag().is_some() {
            let at = at.tag_span().map_or(span, |tag| span_of(&tag, self.source));
            let written = self.sink.slice(at).trim().to_string();
            let message = format!("YAML reads `{}` as a type tag", show(&written));
            self.sink.error(&codes::TAG, at, message).help(format!(
                "a value that starts with `!` goes in quotes: \"{}\"",
                show(&written)
            ));
            self.sound = false;
        }
    }

    fn close(&mut self, end: Span) {
        let (mut span, value) = match self.open.pop() {
            Some(Open::List(span, list)) => (span, Value::List(list)),
            Some(Open::Map(span, map, _)) => (span, Value::Map(self.unique(map))),
            None => return,
        };
        span.end = span.end.max(end.end);
        self.put(Node { span, value });
    }

    /// A finished node goes into the collection around it.
    fn put(&mut self, node: Node<'a>) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List(_, list)) => list.push(node),
            Some(Open::Map(_, map, pending)) => match pending.take() {
                Some(key) => map.push((key, node)),
                None => {
                    let span = node.span;
                    let text = match node.value {
                        Value::Scalar { text, .. } => text,
                        _ => {
                            self.sink
                                .error(&codes::KEY_KIND, span, "a key must be a plain word")
                                .help("write `key: value`; text that starts with `{` or `[` goes in quotes");
                            self.sound = false;
                            "".into()
                        }
                    };
                    *pending = Some(Key { span, text });
                }
            },
        }
    }

    /// Reports keys that stand twice and keeps the first of each.
    fn unique(&mut self, mut map: Vec<(Key<'a>, Node<'a>)>) -> Vec<(Key<'a>, Node<'a>)> {
        let mut again = Vec::new();
        let mut seen: HashMap<&str, Span> = HashMap::with_capacity(map.len());
        for (at, (key, _)) in map.iter().enumerate() {
            match seen.entry(&key.text) {
                Entry::Vacant(free) => {
                    free.insert(key.span);
                }
                Entry::Occupied(first) => {
                    again.push(at);
                    self.sink
                        .error(
                            &codes::DUPLICATE_KEY,
                            key.span,
                            format!("the key `{}` stands twice", show(&key.text)),
                        )
                        .label("again here")
                        .also(*first.get(), "first here")
                        .help("keep one of them; several values for one key are a list: `[a, b]`");
                }
            }
        }
        for at in again.into_iter().rev() {
            map.remove(at);
        }
        map
    }
}

/// Byte offset of a marker, kept inside the text and on a character's border.
fn offset(text: &str, marker: &Marker) -> usize {
    let mut at = marker.byte_offset().unwrap_or(0).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Turns the parser's error into one that says what to write.
fn syntax_error(text: &str, source: u32, error: &ScanError, sink: &mut Sink<'_>) {
    let marker = error.marker();
    let start = offset(text, marker);
    let next = text[start..].chars().next();
    let span = Span {
        source,
        start: start as u32,
        end: (start + next.filter(|&c| c != '\n').map_or(0, char::len_utf8)) as u32,
        line: (marker.line() as u32).max(1),
        column: marker.col() as u32 + 1,
    };
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[line_start..].lines().next().unwrap_or("");
    let word: String = text[start..]
        .chars()
        .take_while(|c| !c.is_whitespace() && !",]}".contains(*c))
        .collect();
    if let Some(tab) = tab_at(error.kind(), text, start) {
        let span = Span::at(text, tab.start, tab.end).of(source);
        sink.error(&codes::TAB, span, "a tab in the indentation")
            .help("indent with spaces; YAML does not allow tabs there");
        return;
    }
    match error.kind() {
        ErrorKind::UnexpectedCharacter {
            character: c @ ('@' | '`' | '%'),
        } => {
            sink.error(
                &codes::NEEDS_QUOTES,
                span,
                format!("a value cannot start with `{c}`"),
            )
            .help(format!("put it in quotes: \"{}\"", show(&word)));
        }
        ErrorKind::MissingAnchorOrAliasName => {
            sink.error(
                &codes::NEEDS_QUOTES,
                span,
                "a value cannot start with `*` or `&`",
            )
            .help(format!("put it in quotes: \"{}\"", show(&word)));
        }
        ErrorKind::RecursionLimitExceeded => {
            sink.error(
                &codes::TOO_DEEP,
                span,
                format!("values are nested deeper than {MAX_DEPTH} levels"),
            )
            .help("no part of the policy language needs that; look for a bracket too many");
        }
        ErrorKind::DirectiveDisallowed => {
            sink.error(
                &codes::DIRECTIVE,
                span,
                "a YAML directive is not part of the policy language",
            )
            .help("remove the line that starts with `%`");
        }
        kind => {
            let help = syntax_help(kind, line, text, start);
            sink.error(&codes::SYNTAX, span, format!("this is not YAML: {kind}"))
                .help(help);
        }
    }
}

/// The tab that an error is about, if it is about one.
fn tab_at(kind: &ErrorKind, text: &str, start: usize) -> Option<Range<usize>> {
    match kind {
        // The parser names the start of the scalar that the tab breaks off.
        ErrorKind::TabInPlainScalar => {
            let tab = start + text[start..].find('\t')?;
            Some(tab..tab + 1)
        }
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabAtBlockScalarStart => {
            let tab = start - usize::from(text[..start].ends_with('\t'));
            Some(tab..tab)
        }
        _ => None,
    }
}

/// The likeliest mend for a syntax error.
fn syntax_help(kind: &ErrorKind, line: &str, text: &str, start: usize) -> String {
    let key = line
        .trim_start()
        .trim_start_matches("- ")
        .split(':')
        .next()
        .unwrap_or("");
    let is_word = !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let glued = line
        .find(':')
        .filter(|&colon| is_word && line[colon + 1..].starts_with(|c: char| !c.is_whitespace()));
    if let Some(colon) = glued {
        let rest = show(line[colon + 1..].trim());
        return format!("put a space behind the colon: `{key}: {rest}`");
    }
    match kind {
        ErrorKind::MappingValueNotAllowed if text[..start].ends_with(':') => {
            "a value with a colon at its end goes in quotes, such as \"2001:db8::\"".into()
        }
        ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidColonPlacement => {
            "check the lines above: an open bracket or quote, or keys of one mapping that do not \
             start in the same column"
                .into()
        }
        ErrorKind::UnclosedQuotedScalar
        | ErrorKind::InvalidQuotedScalarIndent
        | ErrorKind::DocumentIndicatorInQuotedScalar => {
            "a quote that opens on this line or above is not closed".into()
        }
        ErrorKind::UnclosedFlowCollection { open }
        | ErrorKind::MismatchedFlowCollectionEnd { open, .. } => {
            format!("close the `{open}` that opens before, or remove it")
        }
        ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::UnexpectedEofImplicitFlowMapping
        | ErrorKind::ExpectedFlowMappingSeparator
        | ErrorKind::ExpectedFlowSequenceSeparator
        | ErrorKind::InvalidFlowScalarIndent => {
            "a bracket that opens before is not closed, or a comma is missing between two values"
                .into()
        }
        ErrorKind::UnknownQuotedScalarEscape => {
            "write `\\\\` for a backslash, or use single quotes".into()
        }
        _ => {
            "a mapping is `key: value` with a space behind the colon; keys of one mapping start in \
              the same column; list entries start with `- `"
                .into()
        }
    }
}
