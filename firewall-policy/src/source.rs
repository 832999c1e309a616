//! Text in: the policy file and the files that it names.
//!
//! The entry of this crate: text to [`Policy`], or every error of the text at once. May not import
//! `compile`, `host` or `policy_tests`: reading a policy runs nothing.

use crate::ast::{Node, Span, yaml};
use crate::bundle;
use crate::case::PolicyTest;
use crate::diag::{Diagnostics, Severity, Sink, codes};
use crate::rule::{Elements, Policy, SetSize};
use crate::validate::{self, ReadPolicy, foreign};

pub use crate::files::{Files, NoFiles};

/// Bytes of policy text that are read at most (16 MiB). Set files do not count.
pub const MAX_POLICY_BYTES: usize = yaml::MAX_TEXT;

/// A valid policy and what to warn about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Read {
    /// The policy.
    pub policy: Policy,
    /// The policy's tests, not yet run. Some may have outlived a rule that has expired:
    /// `policy_tests::in_time` takes them out.
    pub tests: Vec<PolicyTest>,
    /// Warnings; empty for most.
    pub warnings: Diagnostics,
    /// How large its sets are, in file order.
    pub sets: Vec<SetSize>,
    /// What is in those that are not live, by name in file order.
    pub elements: Vec<(String, Elements)>,
}

/// Reads and validates a policy. `name` is the file name for messages, or that of the directory if
/// `text` is that of several files (see [`bundle`]).
///
/// # Errors
/// Every error of the text at once, in file order. A text that is not YAML has one.
pub fn read_policy(name: &str, text: &str, files: &dyn Files) -> Result<Read, Diagnostics> {
    let mut sink = Sink::new(name, text);
    if let Some(other) = foreign::file(text) {
        sink.error(
            &codes::NOT_A_POLICY,
            Span::at(text, 0, text.lines().next().map_or(0, str::len)),
            format!("the file holds {}, not a policy", other.what),
        )
        .help(other.help);
        return Err(sink.finish(Severity::Error));
    }
    let Some(roots) = trees(text, &mut sink) else {
        return Err(sink.finish(Severity::Error));
    };
    match validate::policy(roots, sink, files) {
        (
            Some(ReadPolicy {
                policy,
                tests,
                sets,
                elements,
            }),
            sink,
        ) if !sink.has_errors() => Ok(Read {
            policy,
            tests,
            warnings: sink.finish(Severity::Warning),
            sets,
            elements,
        }),
        (_, sink) => Err(sink.finish(Severity::Error)),
    }
}

/// The tree of each file. `None` after an error in any of them that leaves nothing to check further.
fn trees<'a>(text: &'a str, sink: &mut Sink<'a>) -> Option<Vec<Node<'a>>> {
    let parts = bundle::parts(text);
    let start = Span::at(text, 0, 0);
    if parts.len() > bundle::MAX_FILES {
        let message = format!(
            "the policy has {} files, the limit is {}",
            parts.len(),
            bundle::MAX_FILES
        );
        sink.error(&codes::TOO_LARGE, start, message)
            .help("put the rules of several files into one");
        return None;
    }
    if parts.len() > 1 && text.len() > MAX_POLICY_BYTES {
        let message = format!(
            "the files of the policy have {} bytes, the limit is {MAX_POLICY_BYTES}",
            text.len()
        );
        sink.error(&codes::TOO_LARGE, start, message).help(
            "put long address lists into a file of their own: `sets: {name: {type: cidr, file: PATH}}`",
        );
        return None;
    }
    let trees: Vec<Option<Node<'a>>> = (0..)
        .zip(parts)
        .map(|(source, part)| yaml::parse(part.text, source, sink))
        .collect();
    trees.into_iter().collect()
}

/// As [`read_policy`], for bytes that may not be UTF-8.
///
/// # Errors
/// As [`read_policy`]; bytes that are not UTF-8 are an error with line and column.
pub fn read_policy_bytes(name: &str, bytes: &[u8], files: &dyn Files) -> Result<Read, Diagnostics> {
    let error = match std::str::from_utf8(bytes) {
        Ok(text) => return read_policy(name, text, files),
        Err(error) => error,
    };
    let sound = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or("");
    let span = Span::at(sound, sound.len(), sound.len());
    let mut sink = Sink::new(name, sound);
    sink.error(
        &codes::NOT_UTF8,
        span,
        format!(
            "the byte 0x{:02x} is not UTF-8",
            bytes.get(sound.len()).copied().unwrap_or(0)
        ),
    )
    .help("save the file as UTF-8");
    Err(sink.finish(Severity::Error))
}
