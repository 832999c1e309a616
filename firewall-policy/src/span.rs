//! Where something stands in the texts of a policy, for messages and carets.
//!
//! Imports nothing. Lines and columns count from 1, columns in characters.

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
