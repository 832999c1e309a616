//! How findings look in a terminal: the compiler look, by annotate-snippets.
//!
//! Control characters of the source are shown as pictures, never sent to the terminal.

use super::{Diagnostic, Diagnostics, Severity, Source};
use crate::ast::Span;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use std::ops::Range;

/// How many findings are shown.
const SHOWN: usize = 20;

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
        let mut group =
            Group::with_title(level.primary_title(&diagnostic.message).id(diagnostic.code));
        let source = &self.sources[diagnostic.span.source as usize];
        let related = diagnostic.related.as_ref();
        let near = related.filter(|r| r.span.source == diagnostic.span.source);
        let excerpt = Excerpt::new(source, diagnostic.span, near.map(|r| r.span));
        let mut snippet = Snippet::source(excerpt.text)
            .path(&source.name)
            .line_start(excerpt.line as usize)
            .annotation(
                AnnotationKind::Primary
                    .span(excerpt.range(diagnostic.span))
                    .label(diagnostic.label.as_deref()),
            );
        if let Some(related) = near {
            snippet = snippet.annotation(
                AnnotationKind::Context
                    .span(excerpt.range(related.span))
                    .label(related.label.as_str()),
            );
        }
        group = group.element(snippet);
        if let Some(far) = related.filter(|r| r.span.source != diagnostic.span.source) {
            let source = &self.sources[far.span.source as usize];
            let excerpt = Excerpt::new(source, far.span, None);
            group = group.element(
                Snippet::source(excerpt.text)
                    .path(&source.name)
                    .line_start(excerpt.line as usize)
                    .annotation(
                        AnnotationKind::Context
                            .span(excerpt.range(far.span))
                            .label(far.label.as_str()),
                    ),
            );
        }
        if let Some(help) = &diagnostic.help {
            group = group.element(Level::HELP.message(help));
        }
        group
    }
}

/// The lines of a source that one or two spans stand on.
struct Excerpt<'s> {
    text: &'s str,
    /// Byte offset of `text` in the source.
    start: usize,
    /// Line number of its first line.
    line: u32,
}

impl<'s> Excerpt<'s> {
    fn new(source: &'s Source, span: Span, other: Option<Span>) -> Self {
        let whole = &*source.text;
        let other = other.unwrap_or(span);
        let (first, last) = if span.start <= other.start {
            (span, other)
        } else {
            (other, span)
        };
        let start = line_start(whole, first.start as usize);
        let end = line_end(whole, last.start as usize);
        Self {
            text: &whole[start..end],
            start,
            line: first.line.max(1),
        }
    }

    /// The span inside the excerpt, cut at the end of its first line, at least one column wide.
    fn range(&self, span: Span) -> Range<usize> {
        let start = (span.start as usize)
            .saturating_sub(self.start)
            .min(self.text.len());
        let line_end = line_end(self.text, start);
        let end = (span.end as usize)
            .saturating_sub(self.start)
            .clamp(start, line_end);
        start..end
    }
}

fn line_start(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())]
        .iter()
        .rposition(|&b| b == b'\n')
        .map_or(0, |n| n + 1)
}

fn line_end(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    text.as_bytes()[at..]
        .iter()
        .position(|&b| b == b'\n')
        .map_or(text.len(), |n| at + n)
}
