//! How findings look in a terminal: the compiler look, by annotate-snippets.
//!
//! Control characters of the source are shown as pictures, never sent to the terminal. Lines that
//! are too long to read are quoted in part.

use super::{Diagnostic, Diagnostics, Severity, Source, show};
use crate::span::Span;
use annotate_snippets::{
    Annotation, AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet,
};
use std::ops::Range;

/// How many findings are shown.
const SHOWN: usize = 20;

/// Bytes of a line that is shown whole.
const LONG_LINE: usize = 240;

/// Bytes that are quoted of a longer line.
const QUOTED: usize = 60;

impl Diagnostics {
    /// All findings with source lines, carets and help, at most 20 of them, and how many more
    /// there are. Ends with a line break unless there is nothing to show.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut text = String::new();
        for (number, diagnostic) in self.list.iter().take(SHOWN).enumerate() {
            if number > 0 {
                text.push('\n');
            }
            text.push_str(&renderer.render(&[self.group(diagnostic)]));
            text.push('\n');
        }
        let more = self.count() - self.list.len().min(SHOWN);
        if more > 0 {
            text.push_str(&format!("\n... and {more} more\n"));
        }
        text
    }

    fn group<'d>(&'d self, diagnostic: &'d Diagnostic) -> Group<'d> {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(&diagnostic.message).id(diagnostic.code);
        let mut group = Group::with_title(title);
        let label = diagnostic.label.as_deref();
        let (source, span) = (
            &self.sources[diagnostic.span.source as usize],
            diagnostic.span,
        );
        match &diagnostic.related {
            Some(other)
                if other.span.source == span.source && !source.is_long(span, other.span) =>
            {
                group = group.element(source.both(span, label, other.span, &other.label));
            }
            related => {
                group = group.elements(source.one(AnnotationKind::Primary, span, label));
                if let Some(other) = related {
                    let source = &self.sources[other.span.source as usize];
                    let label = Some(other.label.as_str());
                    group = group.elements(source.one(AnnotationKind::Context, other.span, label));
                }
            }
        }
        if let Some(help) = &diagnostic.help {
            group = group.element(Level::HELP.message(help));
        }
        group
    }
}

impl Source {
    /// Whether one of two lines is too long to be shown whole.
    fn is_long(&self, a: Span, b: Span) -> bool {
        [a, b]
            .iter()
            .any(|span| self.line(span.start as usize).len() > LONG_LINE)
    }

    /// The line around a byte, without its end.
    fn line(&self, at: usize) -> Range<usize> {
        let bytes = self.text.as_bytes();
        let at = at.min(bytes.len());
        let start = bytes[..at]
            .iter()
            .rposition(|&b| b == b'\n')
            .map_or(0, |n| n + 1);
        let end = bytes[at..]
            .iter()
            .position(|&b| b == b'\n')
            .map_or(bytes.len(), |n| at + n);
        let end = if end > start && bytes[end - 1] == b'\r' {
            end - 1
        } else {
            end
        };
        start..end.max(at)
    }

    /// A span as a range of the text, cut at the end of its first line.
    fn range(&self, span: Span) -> Range<usize> {
        let start = (span.start as usize).min(self.text.len());
        start..(span.end as usize).clamp(start, self.line(start).end)
    }

    /// Two places in one excerpt.
    fn both<'s>(
        &'s self,
        span: Span,
        label: Option<&'s str>,
        other: Span,
        other_label: &'s str,
    ) -> Snippet<'s, Annotation<'s>> {
        let (first, last) = if span.start <= other.start {
            (span, other)
        } else {
            (other, span)
        };
        let start = self.line(first.start as usize).start;
        let end = self.line(last.start as usize).end;
        let shift = |range: Range<usize>| range.start - start..range.end - start;
        Snippet::source(&self.text[start..end])
            .path(&self.name)
            .line_start(first.line.max(1) as usize)
            .annotation(
                AnnotationKind::Primary
                    .span(shift(self.range(span)))
                    .label(label),
            )
            .annotation(
                AnnotationKind::Context
                    .span(shift(self.range(other)))
                    .label(other_label),
            )
    }

    /// One place with its line. A line too long to be read is quoted around the place only.
    fn one<'s>(
        &'s self,
        kind: AnnotationKind,
        span: Span,
        label: Option<&'s str>,
    ) -> Vec<Element<'s>> {
        let line = self.line(span.start as usize);
        let range = self.range(span);
        let line_number = span.line.max(1) as usize;
        if line.len() <= LONG_LINE {
            let range = range.start - line.start..range.end - line.start;
            let snippet = Snippet::source(&self.text[line])
                .path(&self.name)
                .line_start(line_number)
                .annotation(kind.span(range).label(label));
            return vec![snippet.into()];
        }
        let end = self
            .text
            .floor_char_boundary((range.start + QUOTED).min(line.end));
        let note = format!(
            "near `{}`",
            show(&self.text[range.start..end.max(range.start)])
        );
        let origin = Origin::path(&self.name)
            .line(line_number)
            .char_column(span.column.max(1) as usize);
        vec![origin.into(), Level::NOTE.message(note).into()]
    }
}
