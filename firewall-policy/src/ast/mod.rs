//! The YAML as it is written: a tree of values with spans, before anything is given a meaning.
//!
//! Scalars keep their text and whether they were quoted; nothing is resolved to a number or a
//! truth value here, so nothing can be reinterpreted on the way. [`yaml`] builds the tree, and
//! [`crate::validate`] is its only reader.

pub(crate) mod yaml;

pub(crate) use crate::span::Span;

use std::borrow::Cow;

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
