//! Findings as data that can be sent and shown elsewhere: with the texts that they point into, so
//! that whoever reads them chooses the look.
//!
//! Invariant: whatever was received, what is rendered of it holds no character that a terminal
//! obeys, and no place outside of its text.

use super::{Diagnostic, Diagnostics, Related, Severity, Source, codes, harmless, printable};
use crate::rule::Place;
use crate::span::Span;
use serde::{Deserialize, Serialize};

/// [`Diagnostics`] to be sent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Findings {
    list: Vec<Finding>,
    omitted: usize,
    /// Name and text of what the findings point into.
    sources: Vec<(String, String)>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Finding {
    severity: Severity,
    code: String,
    message: String,
    help: Option<String>,
    at: At,
    label: Option<String>,
    related: Option<(At, String)>,
}

/// A place: the number of its source, from which byte to which, and in which line and column.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct At {
    source: u32,
    start: u32,
    end: u32,
    line: u32,
    column: u32,
}

impl From<Span> for At {
    fn from(span: Span) -> Self {
        Self {
            source: span.source,
            start: span.start,
            end: span.end,
            line: span.line,
            column: span.column,
        }
    }
}

impl From<&Diagnostics> for Findings {
    fn from(diagnostics: &Diagnostics) -> Self {
        let finding = |found: &Diagnostic| Finding {
            severity: found.severity,
            code: found.code.to_owned(),
            message: found.message.clone(),
            help: found.help.clone(),
            at: found.span.into(),
            label: found.label.clone(),
            related: found
                .related
                .as_ref()
                .map(|related| (related.span.into(), related.label.clone())),
        };
        let sources = diagnostics.sources.iter();
        Self {
            list: diagnostics.list.iter().map(finding).collect(),
            omitted: diagnostics.omitted,
            sources: sources
                .map(|source| (source.name.clone(), source.text.to_string()))
                .collect(),
        }
    }
}

impl Findings {
    /// As [`Diagnostics::render`]; `None` if they do not fit together or are of another version.
    #[must_use]
    pub fn render(&self, color: bool) -> Option<String> {
        let sources: Vec<Source> = self
            .sources
            .iter()
            .map(|(name, text)| Source {
                name: harmless(name.replace('\n', " ")),
                text: printable(text),
            })
            .collect();
        let list: Option<Vec<Diagnostic>> = self
            .list
            .iter()
            .map(|finding| finding.read(&sources))
            .collect();
        let diagnostics = Diagnostics {
            list: list?,
            omitted: self.omitted,
            sources,
        };
        Some(diagnostics.render(color))
    }
}

impl Finding {
    fn read(&self, sources: &[Source]) -> Option<Diagnostic> {
        let related = match &self.related {
            None => None,
            Some((at, label)) => Some(Related {
                place: Place::default(),
                label: harmless(label),
                span: at.read(sources)?,
            }),
        };
        Some(Diagnostic {
            severity: self.severity,
            code: codes::find(&self.code)?.id,
            message: harmless(&self.message),
            place: Place::default(),
            help: self.help.as_deref().map(harmless),
            related,
            span: self.at.read(sources)?,
            label: self.label.as_deref().map(harmless),
        })
    }
}

impl At {
    fn read(self, sources: &[Source]) -> Option<Span> {
        let text = &sources.get(self.source as usize)?.text;
        let is_place = |at: u32| at as usize >= text.len() || text.is_char_boundary(at as usize);
        (self.start <= self.end && is_place(self.start) && is_place(self.end)).then_some(Span {
            source: self.source,
            start: self.start,
            end: self.end,
            line: self.line,
            column: self.column,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{NoFiles, read_policy};

    /// The findings of a policy with a letter of two bytes before its mistake, as JSON.
    fn sent() -> serde_json::Value {
        let text = "version: 1\ndefault: {in: pass}\n# \u{e9}\nrulez: []\n";
        let diagnostics = read_policy("policy.yaml", text, &NoFiles).expect_err("wrong");
        serde_json::to_value(Findings::from(&diagnostics)).expect("JSON")
    }

    fn shown(sent: serde_json::Value) -> Option<String> {
        let findings: Findings = serde_json::from_value(sent).expect("findings");
        findings.render(false)
    }

    #[test]
    fn what_is_received_is_shown_as_it_was_sent() {
        let text = shown(sent()).expect("they fit together");
        assert!(text.contains("rulez"), "{text}");
        assert!(text.contains("policy.yaml:4"), "{text}");
    }

    #[test]
    fn places_outside_of_their_text_are_refused() {
        for (key, value) in [
            ("source", 9),
            ("start", 1_000),
            // In the middle of a letter.
            ("start", "version: 1\ndefault: {in: pass}\n# ".len() + 1),
            ("end", 0),
        ] {
            let mut wrong = sent();
            wrong["list"][0]["at"][key] = value.into();
            assert_eq!(shown(wrong), None, "{key} {value}");
        }
        let mut wrong = sent();
        wrong["list"][0]["code"] = "FW9999".into();
        assert_eq!(shown(wrong), None);
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_shown() {
        let mut hostile = sent();
        let evil = "\u{1b}[31m\u{9b}31m\u{202e}";
        for key in ["message", "help", "label"] {
            hostile["list"][0][key] = evil.into();
        }
        hostile["sources"][0][0] = format!("{evil}\nname").into();
        let text = hostile["sources"][0][1].as_str().expect("text").to_owned();
        hostile["sources"][0][1] = text.replace("rulez", "\u{1b}\u{9b}ez").into();
        let text = shown(hostile).expect("they fit together");
        let obeyed = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!text.contains(obeyed), "{text:?}");
    }
}
