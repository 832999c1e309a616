//! Set files: one prefix, address or range `a-b` a line; `#` and `;` start comments.
//!
//! Errors point at the file's own line and column. The first 20 bad lines are shown, the rest
//! counted, so that a wrong file does not bury everything else.

use super::addr::Ranges;
use super::shape::Cx;
use crate::ast::Span;
use crate::diag::{codes, show};

/// Bytes of one set file. Ten million IPv4 prefixes need some 180 MB.
const MAX_FILE: usize = 256 << 20;

/// Bad lines that are shown.
const SHOWN: usize = 20;

/// Adds the entries of `path` to `ranges`; false after an error. `span` is where the policy names
/// the file.
pub(super) fn read(
    cx: &mut Cx<'_>,
    span: Span,
    path: &str,
    limit: u64,
    ranges: &mut Ranges,
) -> bool {
    let text = match cx.files.read(path) {
        Ok(text) if text.len() <= MAX_FILE => text,
        Ok(text) => {
            cx.sink
                .error(
                    &codes::SET_FILE_UNREADABLE,
                    span,
                    format!(
                        "`{}` has {} bytes, the limit is {MAX_FILE}",
                        show(path),
                        text.len()
                    ),
                )
                .help("split the list over several sets");
            return false;
        }
        Err(error) => {
            let help = match error.kind() {
                std::io::ErrorKind::NotFound => {
                    "the path counts from the policy file's folder, unless it starts with `/`"
                }
                std::io::ErrorKind::PermissionDenied => {
                    "make the file readable for the user that runs this"
                }
                std::io::ErrorKind::InvalidData => "the file must be UTF-8 text, one prefix a line",
                _ => "check the path and the file",
            };
            cx.sink
                .error(
                    &codes::SET_FILE_UNREADABLE,
                    span,
                    format!("cannot read the set file `{}`: {error}", show(path)),
                )
                .help(help);
            return false;
        }
    };
    let (mut bad, mut taken) = (Vec::new(), 0_u64);
    let mut full = None;
    let mut start = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let content = line.split(['#', ';']).next().unwrap_or("");
        let entry = content.trim();
        if !entry.is_empty() {
            let lead = content.len() - content.trim_start().len();
            let at = || Span {
                source: 0,
                start: (start + lead) as u32,
                end: (start + lead + entry.len()) as u32,
                line: number as u32 + 1,
                column: content[..lead].chars().count() as u32 + 1,
            };
            taken += 1;
            if taken > limit {
                full = Some(at());
                break;
            }
            if let Err(fault) = ranges.add(entry) {
                bad.push((at(), fault));
            }
        }
        start += line.len();
    }
    if bad.is_empty() && full.is_none() {
        return true;
    }
    let source = cx.sink.add_source(path, text);
    let count = bad.len();
    for (at, fault) in bad.into_iter().take(SHOWN) {
        cx.sink
            .error(fault.code, Span { source, ..at }, fault.message)
            .help(fault.help);
    }
    if count > SHOWN {
        cx.sink
            .error(
                &codes::SET_FILE_LINES,
                span,
                format!(
                    "`{}` has {} more lines that are not addresses",
                    show(path),
                    count - SHOWN
                ),
            )
            .help("a set file holds one prefix, address or range a line; comments start with `#`");
    }
    if let Some(at) = full {
        cx.sink
            .error(
                &codes::SET_FULL,
                Span { source, ..at },
                format!("`{}` has more entries than the set's `max`", show(path)),
            )
            .also(span, "named here")
            .help("raise `max`, or shorten the list");
    }
    false
}
