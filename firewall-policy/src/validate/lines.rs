//! Lines of a file of any length, read in pieces of fixed size.
//!
//! Knows nothing of addresses. Invariant: holds [`PIECE`] bytes of the file, whatever is in it.

use std::io::{self, Read};

/// Bytes that are held at a time.
const PIECE: usize = 256 << 10;

/// Longest line, in bytes. Published lists stay below 300.
pub(super) const LONGEST_LINE: usize = 4_096;

/// Bytes of one file. Ten million IPv4 prefixes need some 180 MB.
pub(super) const LARGEST_FILE: u64 = 256 << 20;

/// Lines of one file: twice as many as a set can have entries.
pub(super) const MOST_LINES: u32 = 20_000_000;

/// Why reading stopped before the end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The system's answer.
    Io(io::Error),
    /// More than [`LARGEST_FILE`] bytes.
    TooLarge,
    /// More than [`MOST_LINES`] lines.
    ManyLines,
    /// A line of more than [`LONGEST_LINE`] bytes.
    LongLine,
    /// A zero byte: not text.
    Binary,
}

/// A file, line by line.
pub(super) struct Lines<'f> {
    input: Box<dyn Read + 'f>,
    piece: Vec<u8>,
    /// The part of `piece` that has been read and not yet handed out.
    start: usize,
    end: usize,
    at_end: bool,
    bytes: u64,
    number: u32,
}

impl<'f> Lines<'f> {
    /// From the beginning, behind a byte order mark.
    pub(super) fn new(input: Box<dyn Read + 'f>) -> Result<Self, Stop> {
        let mut lines = Self {
            input,
            piece: vec![0; PIECE],
            start: 0,
            end: 0,
            at_end: false,
            bytes: 0,
            number: 0,
        };
        lines.fill()?;
        if lines.buffered().starts_with(b"\xef\xbb\xbf") {
            lines.start = 3;
        }
        Ok(lines)
    }

    /// What has been read and not yet handed out.
    pub(super) fn buffered(&self) -> &[u8] {
        &self.piece[self.start..self.end]
    }

    /// Takes `lines` whole lines of `bytes` bytes off the front of [`Self::buffered`].
    pub(super) fn take(&mut self, lines: u32, bytes: usize) {
        self.start = (self.start + bytes).min(self.end);
        self.number += lines;
    }

    /// Number of the line that was handed out last, from 1.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// The next line without its end; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, Stop> {
        let length = loop {
            let rest = self.buffered();
            if let Some(length) = rest.iter().position(|&byte| byte == b'\n') {
                break length;
            }
            if self.at_end {
                if rest.is_empty() {
                    return Ok(None);
                }
                break rest.len();
            }
            if rest.len() > LONGEST_LINE {
                let stop = if rest.contains(&0) {
                    Stop::Binary
                } else {
                    Stop::LongLine
                };
                self.number += 1;
                return Err(stop);
            }
            self.fill()?;
        };
        let start = self.start;
        self.take(1, length + 1);
        let line = &self.piece[start..start + length];
        if line.contains(&0) {
            return Err(Stop::Binary);
        }
        if line.len() > LONGEST_LINE {
            return Err(Stop::LongLine);
        }
        if self.number > MOST_LINES {
            return Err(Stop::ManyLines);
        }
        Ok(Some(line.strip_suffix(b"\r").unwrap_or(line)))
    }

    /// Moves what is left to the front and reads on until the piece is full or the file ends.
    fn fill(&mut self) -> Result<(), Stop> {
        self.piece.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        while self.end < self.piece.len() && !self.at_end {
            match self.input.read(&mut self.piece[self.end..]) {
                Ok(0) => self.at_end = true,
                Ok(count) => {
                    self.end += count;
                    self.bytes += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Stop::Io(error)),
            }
        }
        if self.bytes > LARGEST_FILE {
            return Err(Stop::TooLarge);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out a few bytes at a time.
    struct Drops<'a>(&'a [u8], usize);

    impl Read for Drops<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(to.len());
            to[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn all(bytes: &[u8]) -> Result<Vec<(u32, Vec<u8>)>, Stop> {
        let mut lines = Lines::new(Box::new(Drops(bytes, 7)))?;
        let mut found = Vec::new();
        while let Some(line) = lines.next()? {
            let line = line.to_vec();
            found.push((lines.number(), line));
        }
        Ok(found)
    }

    #[test]
    fn lines_are_split_across_pieces() {
        let mut text = b"\xef\xbb\xbffirst\r\n\nlast".to_vec();
        assert_eq!(
            all(&text).unwrap(),
            [
                (1, b"first".to_vec()),
                (2, Vec::new()),
                (3, b"last".to_vec())
            ]
        );
        text = (0..100_000)
            .flat_map(|n| format!("{n}\n").into_bytes())
            .collect();
        let found = all(&text).unwrap();
        assert_eq!(found.len(), 100_000);
        for (n, (number, line)) in found.iter().enumerate() {
            assert_eq!(*number as usize, n + 1);
            assert_eq!(line, n.to_string().as_bytes());
        }
        assert!(all(b"").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_text_or_has_no_end_stops() {
        let mut long = vec![b'1'; LONGEST_LINE];
        long.push(b'\n');
        assert_eq!(all(&long).unwrap().len(), 1);
        long.insert(0, b'1');
        assert!(matches!(all(&long), Err(Stop::LongLine)));
        assert!(matches!(all(b"1\n\0\n"), Err(Stop::Binary)));
        for (byte, stop) in [(b'a', "LongLine"), (0, "Binary")] {
            let mut lines = Lines::new(Box::new(io::repeat(byte))).unwrap();
            assert_eq!(format!("{:?}", lines.next().unwrap_err()), stop);
        }
        let mut lines = Lines::new(Box::new(io::repeat(b'\n'))).unwrap();
        let stop = loop {
            match lines.next() {
                Ok(line) => assert_eq!(line, Some(&b""[..])),
                Err(stop) => break stop,
            }
        };
        assert!(matches!(stop, Stop::ManyLines));
    }

    #[test]
    fn a_file_without_end_stops() {
        let line = [b"#".repeat(4_000), b"\n".to_vec()].concat();
        let mut lines = Lines::new(Box::new(Again(line.clone(), 0))).unwrap();
        let stop = loop {
            match lines.next() {
                Ok(found) => assert_eq!(found, Some(&line[..4_000])),
                Err(stop) => break stop,
            }
        };
        assert!(matches!(stop, Stop::TooLarge));
        assert_eq!(lines.piece.len(), PIECE);
    }

    /// The same bytes again and again.
    struct Again(Vec<u8>, usize);

    impl Read for Again {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let rest = &self.0[self.1..];
            let count = rest.len().min(to.len());
            to[..count].copy_from_slice(&rest[..count]);
            self.1 = (self.1 + count) % self.0.len();
            Ok(count)
        }
    }
}
