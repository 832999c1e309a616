//! What a module's header says of its imports, against its imports.
//!
//! Sentences of these forms are held to their word; all others are prose:
//!
//! - `May not import` and names: none of them is imported;
//! - `May import` or `imports`, names, and `only` before or behind them: nothing else of ours is;
//! - `imports nothing`, `may import nothing`, `may not import anything of (the project, this crate)`:
//!   nothing of ours is.
//!
//! Names stand in backticks: modules of the crate, or paths that begin with one of our crates. What
//! lies in the module's own folder it may always import.

use super::source::{Crate, Import, Module};

/// What a header promises.
#[derive(PartialEq, Eq, Debug)]
enum Promise {
    /// None of these.
    Not(Vec<Vec<String>>),
    /// These at most.
    Only(Vec<Vec<String>>),
}

/// Every header of a crate that its module does not keep.
pub(super) fn check(of: &Crate) -> Vec<String> {
    let mut offences = Vec::new();
    for module in &of.modules {
        for promise in promises(&of.name, &module.header) {
            let (Promise::Not(paths) | Promise::Only(paths)) = &promise;
            for path in paths.iter().filter(|path| !exists(of, path)) {
                offences.push(format!(
                    "{}: the header speaks of `{}`, which is no module",
                    module.file,
                    path.join("::")
                ));
            }
            // What a folder's header promises holds for all that lies in it.
            for part in &of.modules {
                let within = module.is_folder;
                if part.path == module.path || within && part.path.starts_with(&module.path) {
                    let broken = part
                        .imports
                        .iter()
                        .filter(|i| breaks(of, module, &promise, i));
                    offences.extend(broken.map(|import| {
                        format!(
                            "{}:{}: `{}`: the header of {} says otherwise",
                            part.file,
                            import.line,
                            import.path.join("::"),
                            module.file
                        )
                    }));
                }
            }
        }
    }
    offences
}

/// Whether a module stands where a header says; of other crates only the name is known.
fn exists(of: &Crate, path: &[String]) -> bool {
    path[0] != of.name || of.modules.iter().any(|module| module.path == path[1..])
}

fn breaks(of: &Crate, module: &Module, promise: &Promise, import: &Import) -> bool {
    let leads_to = |path: &Vec<String>| import.path.starts_with(path);
    match promise {
        Promise::Not(paths) => paths.iter().any(leads_to),
        Promise::Only(paths) => {
            // Its own folder: of a file, the folder that it lies in.
            let own = match module.path.len() {
                length if module.is_folder || length == 1 => &module.path[..],
                length => &module.path[..length.saturating_sub(1)],
            };
            let inside = import.path[0] == of.name && import.path[1..].starts_with(own);
            !inside && !paths.iter().any(leads_to)
        }
    }
}

/// The promises of a header, in the crate `of`.
fn promises(of: &str, header: &str) -> Vec<Promise> {
    let sentences = header
        .split_inclusive(['.', ';', ':'])
        .scan(String::new(), |open, part| {
            // A dot inside of backticks ends nothing.
            open.push_str(part);
            let whole = open.matches('`').count() % 2 == 0;
            Some(if whole {
                std::mem::take(open)
            } else {
                String::new()
            })
        });
    sentences
        .filter_map(|sentence| promise(of, &sentence))
        .collect()
}

fn promise(of: &str, sentence: &str) -> Option<Promise> {
    let lower = sentence.to_lowercase();
    let ours = ["of the project", "of this crate", "of the firewall"]
        .iter()
        .any(|end| lower.contains(end));
    let paths = || names(of, sentence);
    if let Some(rest) = behind(&lower, "may not import ") {
        if rest.starts_with("anything") {
            return ours.then(|| Promise::Only(Vec::new()));
        }
        return Some(Promise::Not(paths()));
    }
    let rest = behind(&lower, "may import ").or_else(|| behind(&lower, "imports "))?;
    if rest.starts_with("nothing") {
        return Some(Promise::Only(Vec::new()));
    }
    let only = rest.starts_with("only ") || rest.trim_end_matches('.').ends_with(" only");
    // `of X only Y` is more than is understood here.
    (only && !paths().is_empty()).then(|| Promise::Only(paths()))
}

/// What stands behind words, if they begin the sentence or a clause of it.
fn behind<'t>(sentence: &'t str, words: &str) -> Option<&'t str> {
    let at = sentence.find(words)?;
    Some(&sentence[at + words.len()..])
}

/// The paths in backticks: modules of the crate, or of another of ours.
fn names(of: &str, sentence: &str) -> Vec<Vec<String>> {
    let quoted = sentence.split('`').skip(1).step_by(2);
    let is_path = |text: &&str| {
        let part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        !text.is_empty() && text.chars().all(part)
    };
    quoted
        .filter(|text| is_path(text) && !text.starts_with("super::"))
        .map(|text| {
            let mut path: Vec<String> = text.split("::").map(String::from).collect();
            if path[0] == "crate" {
                path[0] = of.to_owned();
            } else if !path[0].starts_with("firewall_") {
                path.insert(0, of.to_owned());
            }
            path
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::source::read_module;
    use super::*;

    fn offences(header: &str, code: &str) -> Vec<String> {
        let made = |path: &str, text: &str| {
            let path: Vec<String> = path.split("::").map(String::from).collect();
            read_module(
                "firewall_x",
                format!("{}.rs", path.join("/")),
                path,
                false,
                text,
            )
            .unwrap()
            .0
        };
        check(&Crate {
            name: "firewall_x".into(),
            modules: vec![
                made("low", ""),
                made("high", ""),
                made("a", &format!("//! A.\n//! {header}\n{code}")),
            ],
        })
    }

    #[test]
    fn a_header_that_is_not_kept_is_refused() {
        for (header, code, wanted) in [
            (
                "May not import `high` or `low`.",
                "use crate::low::B;",
                "a.rs:3: `firewall_x::low::B`",
            ),
            (
                "Pure. May not import `firewall_y::z`.",
                "use firewall_y::z::B;",
                "a.rs:3: `firewall_y::z::B`",
            ),
            (
                "Imports nothing.",
                "use crate::low::B;",
                "a.rs:3: `firewall_x::low::B`",
            ),
            (
                "Pure; imports nothing of the project.",
                "use firewall_y::z;",
                "a.rs:3: `firewall_y::z`",
            ),
            (
                "May not import anything of this crate.",
                "fn f() { crate::low::g() }",
                "a.rs:3: `firewall_x::low::g`",
            ),
            (
                "Imports only [`crate::low`] and [`crate::high`].",
                "use firewall_y::z;",
                "a.rs:3: `firewall_y::z`",
            ),
            (
                "May import [`crate::low`] only.",
                "use crate::high::B;",
                "a.rs:3: `firewall_x::high::B`",
            ),
            (
                "May not import `hihg`.",
                "",
                "a.rs: the header speaks of `firewall_x::hihg`, which is no module",
            ),
        ] {
            let found = offences(header, code);
            assert_eq!(found.len(), 1, "{header}: {found:?}");
            assert!(found[0].starts_with(wanted), "{header}: {found:?}");
        }
    }

    #[test]
    fn a_header_that_is_kept_is_fine() {
        for (header, code) in [
            (
                "May not import `high`.",
                "use crate::low::B; use firewall_y::high::C;",
            ),
            (
                "Imports nothing.",
                "use std::fmt;\n#[cfg(test)]\nmod tests { use crate::low::B; }",
            ),
            ("May import [`crate::low`] only.", "use crate::low::{B, C};"),
            (
                "May not import anything of the host or the kernel.",
                "use crate::low::B;",
            ),
            (
                "Nothing imports this module but `main`.",
                "use crate::low::B;",
            ),
        ] {
            assert_eq!(offences(header, code), Vec::<String>::new(), "{header}");
        }
    }
}
