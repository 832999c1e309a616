//! Diagnostics: what is wrong with a policy, where, and what to write instead.
//!
//! [`Diagnostics`] carries the texts that its spans point into, so that rendering and JSON need
//! nothing else. Stable codes stand in [`codes`]; the look is in [`render`]. Line and column count
//! from 1, columns in characters.

pub mod codes;
mod findings;
mod render;
pub(crate) mod suggest;

use crate::bundle;
use crate::rule::Place;
use crate::span::Span;
use crate::text;
use codes::Code;
pub use findings::Findings;
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
pub use suggest::nearest;

/// How many findings of one run are kept; the rest are counted.
const KEPT: usize = 200;

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The policy is refused.
    Error,
    /// The policy is taken, and probably not what was meant.
    Warning,
}

/// A place that belongs to a finding, with a few words on why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Related {
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// Why it is shown.
    pub label: String,
    #[serde(skip)]
    span: Span,
}

/// One finding.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// Stable code, `FW0101`; [`codes::find`] explains it.
    pub code: &'static str,
    /// One line.
    pub message: String,
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// What to write instead.
    pub help: Option<String>,
    /// A second place, such as the first of two equal names.
    pub related: Option<Related>,
    #[serde(skip)]
    span: Span,
    #[serde(skip)]
    label: Option<String>,
}

/// One text that spans point into: a file, or of a long file only the lines that are pointed at.
/// Line numbers stand in the spans, so lines may be missing in between.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Source {
    name: String,
    /// Empty if nothing points there.
    text: Arc<str>,
}

/// Findings of one run, in file order, with the texts that they point into.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Diagnostics {
    /// The findings, at most 200 of them.
    pub list: Vec<Diagnostic>,
    /// How many more there were.
    pub omitted: usize,
    sources: Vec<Source>,
}

impl Diagnostics {
    /// Whether there is no finding.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many findings there were, the omitted ones included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.list.len() + self.omitted
    }

    /// Adds findings of the same policy, made by another step of the run.
    pub(crate) fn extend(&mut self, more: Self) {
        self.omitted += more.omitted;
        for finding in more.list {
            if self.list.len() < KEPT {
                self.list.push(finding);
            } else {
                self.omitted += 1;
            }
        }
        self.list.sort_by_key(in_file_order);
        for (number, source) in more.sources.into_iter().enumerate() {
            match self.sources.get_mut(number) {
                None => self.sources.push(source),
                Some(known) if known.text.is_empty() => *known = source,
                Some(_) => {}
            }
        }
    }
}

fn in_file_order(finding: &Diagnostic) -> (u32, u32) {
    (finding.span.source, finding.span.start)
}

/// A list of findings.
impl Serialize for Diagnostics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.list)
    }
}

/// The plain rendering.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

impl Diagnostic {
    /// Says what to write instead.
    pub(crate) fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(harmless(help));
        self
    }

    /// Puts words next to the caret.
    pub(crate) fn label(&mut self, label: impl Into<String>) -> &mut Self {
        self.label = Some(harmless(label));
        self
    }

    /// Shows a second place.
    pub(crate) fn also(&mut self, span: Span, label: impl Into<String>) -> &mut Self {
        self.related = Some(Related {
            place: Place::default(),
            label: harmless(label),
            span,
        });
        self
    }
}

/// Collects findings while a policy is read, and owns the texts: the files of the policy, then those
/// that it names.
#[derive(Debug)]
pub(crate) struct Sink<'a> {
    sources: Vec<(String, Cow<'a, str>)>,
    /// The path of each file of the policy in its directory.
    paths: Vec<&'a str>,
    list: Vec<Diagnostic>,
    omitted: [usize; 2],
    /// Takes what is not kept.
    scratch: Option<Diagnostic>,
}

impl<'a> Sink<'a> {
    /// A sink for the policy `text` in the file or directory `name`.
    pub(crate) fn new(name: &str, text: &'a str) -> Self {
        let parts = bundle::parts(text);
        Self {
            sources: parts
                .iter()
                .map(|part| (bundle::shown(name, part), Cow::Borrowed(part.text)))
                .collect(),
            paths: parts.iter().map(|part| part.path).collect(),
            list: Vec::new(),
            omitted: [0; 2],
            scratch: None,
        }
    }

    /// Adds a file, whole or only those lines of it that spans point into; the number is
    /// [`Span::source`].
    pub(crate) fn add_source(&mut self, name: &str, text: String) -> u32 {
        self.sources.push((name.to_string(), Cow::Owned(text)));
        (self.sources.len() - 1) as u32
    }

    /// A path that stands at `span`, from the policy's directory: it counts from the folder of the
    /// file in which it is written.
    pub(crate) fn resolve<'p>(&self, span: Span, path: &'p str) -> Cow<'p, str> {
        let written_in = self.paths.get(span.source as usize);
        match written_in.and_then(|file| file.rsplit_once('/')) {
            Some((folder, _)) if !path.starts_with('/') => format!("{folder}/{path}").into(),
            _ => path.into(),
        }
    }

    /// Whether a span lies in the policy's runtime rules.
    pub(crate) fn is_runtime(&self, span: Span) -> bool {
        self.paths.get(span.source as usize) == Some(&bundle::RUNTIME)
    }

    /// The text of a source.
    pub(crate) fn text(&self, source: u32) -> &str {
        self.sources
            .get(source as usize)
            .map_or("", |(_, text)| text)
    }

    /// The text that a span covers.
    pub(crate) fn slice(&self, span: Span) -> &str {
        self.text(span.source)
            .get(span.start as usize..span.end as usize)
            .unwrap_or("")
    }

    /// Where a span stands, for people.
    pub(crate) fn place(&self, span: Span) -> Place {
        let file = self
            .sources
            .get(span.source as usize)
            .map_or("", |(name, _)| name);
        Place {
            file: file.to_string(),
            line: span.line.max(1),
            column: span.column.max(1),
        }
    }

    /// Whether an error was reported.
    pub(crate) fn has_errors(&self) -> bool {
        self.omitted[0] > 0 || self.list.iter().any(|d| d.severity == Severity::Error)
    }

    /// Counts an error without making its text, if enough are kept already. For places that may
    /// report very many, or whose help is dear.
    pub(crate) fn omit_error(&mut self) -> bool {
        let full = self.list.len() >= KEPT;
        self.omitted[Severity::Error as usize] += usize::from(full);
        full
    }

    /// Reports an error.
    pub(crate) fn error(
        &mut self,
        code: &'static Code,
        span: Span,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.add(Severity::Error, code, span, message.into())
    }

    /// Reports a warning.
    pub(crate) fn warning(
        &mut self,
        code: &'static Code,
        span: Span,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.add(Severity::Warning, code, span, message.into())
    }

    fn add(
        &mut self,
        severity: Severity,
        code: &'static Code,
        span: Span,
        message: String,
    ) -> &mut Diagnostic {
        let diagnostic = Diagnostic {
            severity,
            code: code.id,
            message: harmless(message),
            place: self.place(span),
            help: None,
            related: None,
            span,
            label: None,
        };
        if self.list.len() >= KEPT {
            self.omitted[severity as usize] += 1;
            return self.scratch.insert(diagnostic);
        }
        let at = self.list.len();
        self.list.push(diagnostic);
        &mut self.list[at]
    }

    /// Everything of one severity, in file order.
    pub(crate) fn finish(self, severity: Severity) -> Diagnostics {
        let omitted = self.omitted[severity as usize];
        let mut list: Vec<Diagnostic> = Vec::new();
        for diagnostic in &self.list {
            if diagnostic.severity == severity {
                let mut diagnostic = diagnostic.clone();
                if let Some(related) = &mut diagnostic.related {
                    related.place = self.place(related.span);
                }
                list.push(diagnostic);
            }
        }
        list.sort_by_key(in_file_order);
        let shown = |source: usize| {
            list.iter().any(|d| {
                d.span.source as usize == source
                    || d.related
                        .as_ref()
                        .is_some_and(|r| r.span.source as usize == source)
            })
        };
        let sources = self
            .sources
            .iter()
            .enumerate()
            .map(|(number, (name, text))| Source {
                name: text::safe(name).into_owned(),
                text: if shown(number) {
                    printable(text)
                } else {
                    Arc::from("")
                },
            })
            .collect();
        Diagnostics {
            list,
            omitted,
            sources,
        }
    }
}

/// A text with pictures in place of control characters that terminals may obey and that the renderer
/// does not know (U+0080 to U+009F). Both have two bytes, so that spans keep their meaning.
fn printable(text: &str) -> Arc<str> {
    const PICTURE: &str = "\u{b7}";
    let unknown = |c: char| matches!(c, '\u{80}'..='\u{9f}');
    if text.contains(unknown) {
        return Arc::from(text.replace(unknown, PICTURE));
    }
    Arc::from(text)
}

/// Text of a user's file made fit for a message: short, one line, no control characters and
/// none that change the direction of writing.
pub(crate) fn show(text: &str) -> String {
    const LONGEST: usize = 60;
    text::safe_start(text, LONGEST)
}

/// The last guard of a message that may quote what somebody wrote. Line breaks of longer helps stay.
fn harmless(text: impl Into<String>) -> String {
    text::safe_lines(&text.into()).into_owned()
}
