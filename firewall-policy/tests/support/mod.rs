//! Set files for tests, in memory.

use firewall_policy::source::Files;
use std::io::{Error, ErrorKind};

/// A folder of a few fixed set files.
pub(crate) struct Fake;

impl Files for Fake {
    fn read(&self, path: &str) -> std::io::Result<String> {
        Ok(match path {
            "sets.d/good.txt" => "# comment\n192.0.2.0/24 ; inline\n\n198.51.100.7\r\n\
                                  198.51.100.64-198.51.100.95\n2001:db8::/32\n"
                .into(),
            "sets.d/bad.txt" => "192.0.2.0/24\n  10.0.0.1/8   # slip\nexample.net\n".into(),
            "sets.d/names.txt" => (1..=25).map(|n| format!("host{n}.example.net\n")).collect(),
            "sets.d/empty.txt" => "# nothing yet\n".into(),
            "sets.d/secret.txt" => return Err(ErrorKind::PermissionDenied.into()),
            "sets.d/binary.txt" => {
                return Err(Error::new(
                    ErrorKind::InvalidData,
                    "stream did not contain valid UTF-8",
                ));
            }
            _ => return Err(Error::new(ErrorKind::NotFound, "No such file or directory")),
        })
    }
}
