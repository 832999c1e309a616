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
    /// Number of the source: 0 is the policy, the rest are files that it names.
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
    /// The stretch from `start` to `end` of the policy's text, by counting from its beginning.
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
