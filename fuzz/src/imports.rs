//! What must hold whatever the rules of another firewall are, one function a fuzz target: no panic, an
//! error says where and what to do, and what is made is a valid policy in canonical form.
//!
//! Read twice: as a module of the fuzz targets, and as one of `firewall-import/tests/fuzz_corpus.rs`,
//! which replays the corpus. May use what the crates make public only.

use firewall_import::{self as import, ImportError, Imported, Options};
use firewall_policy::fmt;
use firewall_policy::source::{NoFiles, read_policy};

/// A target: its name, and what must hold of an input.
pub type Target = (&'static str, fn(&[u8]));

/// The targets by name.
pub const ALL: [Target; 3] = [
    ("import_iptables", import_iptables),
    ("import_nft", import_nft),
    ("import_ufw", import_ufw),
];

const NAME: &str = "firewall.yaml";

/// `iptables-save`, `ip6tables-save` and `ipset save`, one behind the other with `===` lines between.
pub fn import_iptables(data: &[u8]) {
    let Some([v4, v6, ipset]) = parts(data) else {
        return;
    };
    for local in [false, true] {
        let options = options(local, ipset.as_deref());
        imported(import::iptables(v4.as_deref(), v6.as_deref(), &options));
    }
}

/// `nft -j list ruleset`.
pub fn import_nft(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for local in [false, true] {
        imported(import::nft(text, &options(local, None)));
    }
}

/// `user.rules` and `user6.rules`, or the output of ufw, with a `===` line between.
pub fn import_ufw(data: &[u8]) {
    let Some([v4, v6, _]) = parts(data) else {
        return;
    };
    let text = v4.unwrap_or_default();
    imported(import::ufw(&text, v6.as_deref(), &options(false, None)));
}

/// Up to three texts, divided by lines `===`.
fn parts(data: &[u8]) -> Option<[Option<String>; 3]> {
    let text = std::str::from_utf8(data).ok()?;
    let mut parts = text.split("===\n").map(String::from);
    Some([parts.next(), parts.next(), parts.next()])
}

fn options(local: bool, ipset: Option<&str>) -> Options {
    Options {
        interface: local.then(|| "eth0".to_owned()),
        local: if local {
            vec!["192.0.2.1/24".to_owned(), "2001:db8::1/64".to_owned()]
        } else {
            Vec::new()
        },
        ipset: ipset.map(String::from),
        ..Options::default()
    }
}

/// What was imported is a valid policy in canonical form; what was not says where and why.
fn imported(result: Result<Imported, ImportError>) {
    match result {
        Err(error) => {
            assert!(!error.message.is_empty() && !error.help.is_empty());
            assert_eq!(error.line == 0, error.column == 0, "{error:?}");
        }
        Ok(imported) => {
            if let Err(errors) = read_policy(NAME, &imported.yaml, &NoFiles) {
                panic!("not a valid policy:\n{}\n{errors}", imported.yaml);
            }
            let canonical = fmt::canonical(NAME, &imported.yaml).expect("read above");
            assert_eq!(canonical, imported.yaml, "not in canonical form");
            for left in &imported.left_out {
                assert!(!left.place.is_empty() && !left.reason.is_empty());
            }
        }
    }
}
