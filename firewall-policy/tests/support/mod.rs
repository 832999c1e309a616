//! Set files for tests, in memory.

use firewall_policy::source::Files;
use std::io::{Cursor, Error, ErrorKind, Read, Result};

/// A folder of a few fixed set files.
pub(crate) struct Fake;

impl Files for Fake {
    fn open(&self, path: &str) -> Result<Box<dyn Read + '_>> {
        let text: Vec<u8> = match path {
            "sets.d/good.txt" => "# comment\n192.0.2.0/24 ; inline\n\n198.51.100.7\r\n\
                                  198.51.100.64-198.51.100.95\n2001:db8::/32\n"
                .into(),
            "sets.d/bad.txt" => "192.0.2.0/24\n  10.0.0.1/8   # slip\nexample.net\n".into(),
            "sets.d/names.txt" => (1..=25)
                .flat_map(|n| format!("host{n}.example.net\n").into_bytes())
                .collect(),
            "sets.d/empty.txt" => "# nothing yet\n".into(),
            "sets.d/secret.txt" => return Err(ErrorKind::PermissionDenied.into()),
            "sets.d/binary.txt" => b"\x7fELF\x02\x01\x01\0\0\0\0\n".into(),
            "sets.d/packed.txt" => b"\x1f\x8b\x08\0\0\0\0\0".into(),
            "sets.d/long.txt" => [b"192.0.2.1\n".as_slice(), &[b'#'; 5_000]].concat(),
            "sets.d/endless.txt" => return Ok(Box::new(std::io::repeat(b'\n'))),
            // Neighbours do not touch.
            "sets.d/wide.txt" => (0..100_000u32)
                .flat_map(|n| {
                    let [a, b, c, d] = (n * 2).to_be_bytes();
                    format!("{a}.{b}.{c}.{d}\n").into_bytes()
                })
                .collect(),
            "sets.d/page.txt" => "<!DOCTYPE html>\n<html lang=en>\n".into(),
            _ => return Err(Error::new(ErrorKind::NotFound, "No such file or directory")),
        };
        Ok(Box::new(Cursor::new(text)))
    }

    /// 2026-01-01.
    fn now(&self) -> u64 {
        1_767_225_600
    }
}
