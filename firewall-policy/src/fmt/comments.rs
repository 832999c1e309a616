//! Comments: found in the text, and handed to the unit that they belong to: the one that begins
//! next, or the one on whose line they stand.

use crate::ast::{Node, Span, Value};

/// One comment.
struct Comment<'t> {
    line: u32,
    /// From `#` to the end of the line.
    text: &'t str,
    /// Whether it has a line of its own.
    own_line: bool,
}

/// The comments of a text that no unit has taken yet, in order.
pub(super) struct Comments<'t> {
    text: &'t str,
    left: Vec<Comment<'t>>,
    /// Byte offset of each line.
    starts: Vec<usize>,
}

/// What belongs to one unit besides itself.
pub(super) struct Unit {
    /// Lines before it; an empty one is a blank line.
    before: Vec<String>,
    /// Behind it, on its line.
    behind: Option<String>,
}

impl<'t> Comments<'t> {
    /// Those of `text`, which was read to `root`.
    pub(super) fn of(text: &'t str, root: &Node<'_>) -> Self {
        let mut scalars = Vec::new();
        spans(root, &mut scalars);
        scalars.sort_unstable();
        let mut starts = vec![0];
        starts.extend(text.match_indices('\n').map(|(at, _)| at + 1));
        let mut left = Vec::new();
        for (number, &start) in starts.iter().enumerate() {
            let line = text[start..].split('\n').next().unwrap_or_default();
            let line = line.trim_end_matches('\r');
            let found = line.char_indices().find(|&(at, c)| {
                let before = line[..at].chars().next_back();
                c == '#'
                    && before.is_none_or(char::is_whitespace)
                    && !inside(&scalars, (start + at) as u32)
            });
            if let Some((at, _)) = found {
                left.push(Comment {
                    line: number as u32 + 1,
                    text: line[at..].trim_end(),
                    own_line: line[..at].trim().is_empty(),
                });
            }
        }
        Self { text, left, starts }
    }

    /// What belongs to the unit from the line of `first` to the end of `last`, which is written
    /// `indent` columns in.
    pub(super) fn unit(&mut self, first: Span, last: Span, indent: usize) -> Unit {
        self.unit_since(0, first, last, indent)
    }

    /// As [`Comments::unit`], without the comments before the line `since`.
    pub(super) fn unit_since(
        &mut self,
        since: u32,
        first: Span,
        last: Span,
        indent: usize,
    ) -> Unit {
        let end = self.line_of(last.end);
        let taken: Vec<Comment<'t>> = self
            .left
            .extract_if(.., |c| (since..=end).contains(&c.line))
            .collect();
        let mut before = Vec::new();
        let mut behind: Vec<&str> = Vec::new();
        for comment in &taken {
            if !comment.own_line && comment.line >= first.line {
                behind.push(comment.text);
                continue;
            }
            if self.is_blank(comment.line - 1) {
                before.push(String::new());
            }
            before.push(format!("{}{}", " ".repeat(indent), comment.text));
        }
        if self.is_blank(first.line - 1) {
            before.push(String::new());
        }
        Unit {
            before,
            behind: (!behind.is_empty()).then(|| behind.join(" ")),
        }
    }

    /// Whether a comment stands between two lines, or on one of them.
    pub(super) fn between(&self, first: Span, last: Span) -> bool {
        let lines = first.line..=self.line_of(last.end);
        self.left
            .iter()
            .any(|comment| lines.contains(&comment.line))
    }

    /// The comments at the top of the text that a blank line parts from the first section.
    pub(super) fn head(&mut self, first: Span) -> String {
        let blank = (1..first.line).rev().find(|&line| self.is_blank(line));
        let end = blank.unwrap_or(0);
        let taken: Vec<Comment<'t>> = self.left.extract_if(.., |c| c.line <= end).collect();
        let mut head = String::new();
        for comment in taken {
            if !head.is_empty() && self.is_blank(comment.line - 1) {
                head.push('\n');
            }
            head.push_str(&format!("{}\n", comment.text));
        }
        if !head.is_empty() {
            head.push('\n');
        }
        head
    }

    /// What no unit has taken.
    pub(super) fn rest(&mut self) -> String {
        let lines = self.left.drain(..);
        lines.map(|comment| format!("{}\n", comment.text)).collect()
    }

    fn line_of(&self, offset: u32) -> u32 {
        self.starts
            .partition_point(|&start| start < offset as usize) as u32
    }

    fn is_blank(&self, line: u32) -> bool {
        let Some(&start) = (line as usize)
            .checked_sub(1)
            .and_then(|at| self.starts.get(at))
        else {
            return false;
        };
        let line = self.text[start..].split('\n').next().unwrap_or_default();
        line.trim().is_empty()
    }
}

impl Unit {
    /// The unit's lines with what belongs to it, `indent` columns in. Blank lines at the top of a
    /// section are the section's own.
    pub(super) fn wrap(&self, content: &str, indent: usize) -> String {
        let mut out = String::new();
        let top = indent == 0;
        let before: &[String] = match self.before.split_first() {
            Some((first, rest)) if top && first.is_empty() => rest,
            _ => &self.before,
        };
        // A blank line between comment and section would grow with the one between sections.
        for line in before {
            out.push_str(line);
            out.push('\n');
        }
        let one_line = !content.contains('\n');
        if let (Some(behind), false) = (&self.behind, one_line) {
            out.push_str(&format!("{}{behind}\n", " ".repeat(indent)));
        }
        for (number, line) in content.lines().enumerate() {
            if number > 0 || !line.is_empty() {
                out.push_str(&" ".repeat(indent));
            }
            out.push_str(line);
            if let (Some(behind), true) = (&self.behind, one_line) {
                out.push_str(&format!("  {behind}"));
            }
            out.push('\n');
        }
        out
    }
}

/// The stretches of all scalars and keys.
fn spans(node: &Node<'_>, into: &mut Vec<(u32, u32)>) {
    match &node.value {
        Value::Null => {}
        Value::Scalar { .. } => into.push((node.span.start, node.span.end)),
        Value::List(list) => list.iter().for_each(|item| spans(item, into)),
        Value::Map(map) => {
            for (key, item) in map {
                into.push((key.span.start, key.span.end));
                spans(item, into);
            }
        }
    }
}

fn inside(scalars: &[(u32, u32)], at: u32) -> bool {
    let behind = scalars.partition_point(|&(start, _)| start <= at);
    behind > 0 && at < scalars[behind - 1].1
}
