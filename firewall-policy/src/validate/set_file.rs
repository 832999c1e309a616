//! Set files: reads a list of addresses in one pass, and reports its bad lines.
//!
//! Errors point at the file's own line and column. The first 20 bad lines are shown, the rest
//! counted, so that a wrong file does not bury everything else. Invariant: memory follows the
//! entries and the lines shown, never the file.

use super::addr::{Fault, Ranges};
use super::lines::{LARGEST_FILE, LONGEST_LINE, Lines, MOST_LINES, Stop};
use super::list_line;
use super::shape::Cx;
use crate::ast::Span;
use crate::diag::{codes, show};
use std::io;
use std::ops::Range;

/// Bad lines that are shown.
const SHOWN: usize = 20;

/// What packed and binary files begin with, and how to make text of them.
const PACKED: &[(&[u8], &str)] = &[
    (b"\x1f\x8b", "the file is packed: unpack it with `gunzip`"),
    (b"\xfd7zXZ", "the file is packed: unpack it with `unxz`"),
    (
        b"\x28\xb5\x2f\xfd",
        "the file is packed: unpack it with `unzstd`",
    ),
    (b"BZh", "the file is packed: unpack it with `bunzip2`"),
    (b"PK\x03\x04", "the file is packed: unpack it with `unzip`"),
    (
        b"\xff\xfe",
        "the file is UTF-16: convert it with `iconv -f utf-16 -t utf-8`",
    ),
    (
        b"\xfe\xff",
        "the file is UTF-16: convert it with `iconv -f utf-16 -t utf-8`",
    ),
];

/// The bad lines of one file: the text of those that are shown, and how many there are.
#[derive(Default)]
struct Bad {
    /// The lines that are shown, as a source of their own.
    text: String,
    shown: Vec<(Span, Fault)>,
    count: u64,
}

impl Bad {
    fn add(&mut self, number: u32, line: &str, at: Range<usize>, fault: Fault) {
        self.count += 1;
        if self.shown.len() < SHOWN {
            let span = self.quote(number, line, at);
            self.shown.push((span, fault));
        }
    }

    /// Keeps a line, and gives the place in it.
    fn quote(&mut self, number: u32, line: &str, at: Range<usize>) -> Span {
        let start = self.text.len();
        self.text.push_str(line);
        self.text.push('\n');
        Span {
            source: 0,
            start: (start + at.start) as u32,
            end: (start + at.end) as u32,
            line: number,
            column: line[..at.start].chars().count() as u32 + 1,
        }
    }
}

/// Adds the entries of `path` to `ranges`, at most `limit` of them; false after an error. `span`
/// is where the policy names the file.
pub(super) fn read(
    cx: &mut Cx<'_>,
    span: Span,
    path: &str,
    limit: u64,
    ranges: &mut Ranges,
) -> bool {
    let path = &*cx.sink.resolve(span, path);
    let files = cx.files;
    let mut lines = match files.open(path).map_err(Stop::Io).and_then(Lines::new) {
        Ok(lines) => lines,
        Err(stop) => return unreadable(cx, span, path, 0, &stop),
    };
    if let Some((_, help)) = PACKED
        .iter()
        .find(|(start, _)| lines.buffered().starts_with(start))
    {
        cx.sink
            .error(
                &codes::SET_FILE_UNREADABLE,
                span,
                format!("the set file `{}` is not text", show(path)),
            )
            .help(*help);
        return false;
    }
    let mut bad = Bad::default();
    let (mut taken, mut first) = (0_u64, true);
    let full = loop {
        let (count, bytes) = ranges.add_plain_lines(lines.buffered(), limit - taken);
        lines.take(count, bytes);
        taken += u64::from(count);
        first &= count == 0;
        let line = match lines.next() {
            Ok(Some(line)) => String::from_utf8_lossy(line),
            Ok(None) => break None,
            Err(stop) => {
                report(cx, span, path, bad, None);
                return unreadable(cx, span, path, lines.number(), &stop);
            }
        };
        let (entry, fault) = match list_line::read(&line, first) {
            Ok(None) => {
                first &= line.trim_start().starts_with(['#', ';', '/']) || line.trim().is_empty();
                continue;
            }
            Ok(Some(entry)) => {
                let added = if taken < limit {
                    ranges.add(&entry.text)
                } else {
                    Ok(())
                };
                (entry.at, added.err())
            }
            Err((at, fault)) => (at, Some(fault)),
        };
        let line = line.into_owned();
        first = false;
        if taken == limit {
            break Some(bad.quote(lines.number(), &line, entry));
        }
        taken += 1;
        if let Some(fault) = fault {
            bad.add(lines.number(), &line, entry, for_a_line(&line, fault));
        }
    };
    report(cx, span, path, bad, full)
}

/// The same fault with the help that fits in a file.
fn for_a_line(line: &str, fault: Fault) -> Fault {
    let help = if fault.code != &codes::ADDRESS || !fault.message.ends_with("is not an address") {
        return fault;
    } else if line.trim_start().starts_with('<') {
        "this looks like a web page: download the list itself"
    } else if line.trim().contains(char::is_whitespace) {
        "a line holds one prefix, address or range; comments start with `#`, `;` or `//`"
    } else {
        return fault;
    };
    Fault {
        help: help.into(),
        ..fault
    }
}

fn report(cx: &mut Cx<'_>, span: Span, path: &str, bad: Bad, full: Option<Span>) -> bool {
    if bad.count == 0 && full.is_none() {
        return true;
    }
    let more = bad.count - bad.shown.len() as u64;
    let source = cx.sink.add_source(path, bad.text);
    for (at, fault) in bad.shown {
        cx.sink
            .error(fault.code, Span { source, ..at }, fault.message)
            .help(fault.help);
    }
    if more > 0 {
        cx.sink
            .error(
                &codes::SET_FILE_LINES,
                span,
                format!(
                    "`{}` has {more} more lines that are not addresses",
                    show(path)
                ),
            )
            .help(
                "a set file holds one prefix, address or range a line; comments start with `#`, \
                 `;` or `//`",
            );
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

/// Reports why a file cannot be read to its end. `number` is the line where it went wrong.
fn unreadable(cx: &mut Cx<'_>, span: Span, path: &str, number: u32, stop: &Stop) -> bool {
    let full = show(&cx.files.full(path));
    let path = show(path);
    let missing = format!(
        "write the right path, which counts from the folder of the file that names it, or make the file: \
         touch {full} (an empty one is an empty set)"
    );
    let (message, help) = match stop {
        Stop::Io(error) => (
            format!("cannot read the set file `{path}`: {error}"),
            match error.kind() {
                io::ErrorKind::NotFound => &missing,
                io::ErrorKind::PermissionDenied => {
                    "make the file readable for the user that runs this"
                }
                _ => "check the path and the file",
            },
        ),
        Stop::TooLarge => (
            format!("the set file `{path}` has more than {LARGEST_FILE} bytes, the limit"),
            "split the list over several sets",
        ),
        Stop::ManyLines => (
            format!("the set file `{path}` has more than {MOST_LINES} lines, the limit"),
            "split the list over several sets",
        ),
        Stop::LongLine => (
            format!(
                "line {number} of the set file `{path}` has more than {LONGEST_LINE} bytes, the \
                 limit"
            ),
            "a set file holds one prefix, address or range a line",
        ),
        Stop::Binary => (
            format!("the set file `{path}` is not text: line {number} has a zero byte"),
            "a set file is text, one prefix, address or range a line",
        ),
    };
    cx.sink
        .error(&codes::SET_FILE_UNREADABLE, span, message)
        .help(help);
    false
}
