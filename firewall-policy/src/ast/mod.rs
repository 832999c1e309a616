//! The YAML as it is written: a tree of values with spans, before anything is given a meaning.
//!
//! Scalars keep their text and whether they were quoted; nothing is resolved to a number or a
//! truth value here, so nothing can be reinterpreted on the way. [`yaml`] builds the tree, and
//! [`crate::validate`] is its only reader.

pub(crate) mod yaml;

use std::borrow::Cow;

/// A stretch of one source text, with the line and column where it starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Span {
    /// Number of the source: the policy's files from 0, then files that they name.
    pub(crate) source: u32,
    /// Byte offset of the first character.
    pub(crate) start: u32,
    /// Byte offset behind the last character.
    pub(crate) end: u32,
    /// Line, from 1.
    pub(crate) line: u32,
    /// Column in characters, from 1.
    pub(crate) column: u32,
}

impl Span {
    /// The same stretch of another source.
    pub(crate) fn of(self, source: u32) -> Self {
        Self { source, ..self }
    }

    /// The stretch from `start` to `end` of the policy's first file, by counting from its beginning.
    pub(crate) fn at(text: &str, start: usize, end: usize) -> Self {
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            source: 0,
            start: start as u32,
            end: end as u32,
            line: before.matches('\n').count() as u32 + 1,
            column: before[line_start..].chars().count() as u32 + 1,
        }
    }

    /// The rest of a line of the policy's text, from a column on; both count from 1.
    pub(crate) fn of_line(text: &str, line: u32, column: u32) -> Self {
        let mut start = 0;
        for (number, content) in (1..).zip(text.split_inclusive('\n')) {
            if number == line {
                let content = content.trim_end();
                let skip = content
                    .char_indices()
                    .nth(column.saturating_sub(1) as usize)
                    .map_or(content.len(), |(at, _)| at);
                return Self {
                    source: 0,
                    start: (start + skip) as u32,
                    end: (start + content.len()) as u32,
                    line,
                    column,
                };
            }
            start += content.len();
        }
        Self::default()
    }

    /// The part of this stretch, whose text on one line is `slice`, between two byte offsets in it.
    pub(crate) fn part(self, slice: &str, start: usize, end: usize) -> Self {
        let before = slice.get(..start).unwrap_or_default();
        Self {
            start: self.start + start as u32,
            end: self.start + end as u32,
            column: self.column + before.chars().count() as u32,
            ..self
        }
    }
}

/// One value and where it stands.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    pub(crate) span: Span,
    pub(crate) value: Value<'a>,
}

/// What stands there.
#[derive(Debug)]
pub(crate) enum Value<'a> {
    /// Nothing, `~` or `null`.
    Null,
    /// Text after YAML's escapes; `plain` if it was written without quotes.
    Scalar { text: Cow<'a, str>, plain: bool },
    /// A sequence.
    List(Vec<Node<'a>>),
    /// A mapping with unique keys, in file order.
    Map(Vec<(Key<'a>, Node<'a>)>),
}

/// A mapping's key and where it stands.
#[derive(Debug)]
pub(crate) struct Key<'a> {
    pub(crate) span: Span,
    pub(crate) text: Cow<'a, str>,
}

impl<'a> Node<'a> {
    /// The text of a scalar.
    pub(crate) fn scalar(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The elements of a list, or the node itself as the only element.
    pub(crate) fn items(&self) -> &[Node<'a>] {
        match &self.value {
            Value::List(list) => list,
            _ => std::slice::from_ref(self),
        }
    }

    /// What the value is, for "expected ..., found ...".
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}
