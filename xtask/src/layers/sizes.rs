//! How long a file and a function may be.
//!
//! The limits are a sign, not a knife: what is over them is split by concept, or stands in a list here
//! with the reason.

use super::source::Crate;

/// Longest file, in lines.
const LONGEST_FILE: usize = 800;

/// Lines from which on a file is warned about.
const LONG_FILE: usize = 500;

/// Longest function outside of tests, in lines from `fn` to the closing brace.
const LONGEST_FUNCTION: usize = 70;

/// A function that is longer, by the end of its file's path and its name.
type Exception = (&'static str, &'static str);

/// Tables: a row for each key of the language in the order of the documents, or for each frame that
/// tries to get past, with its label.
const TABLES: &[Exception] = &[
    ("policy/src/schema.rs", "meaning"),
    ("policy/src/schema.rs", "shape"),
    ("policy/src/evasion/essential.rs", "essentials"),
    ("policy/src/evasion/essential.rs", "errors"),
    ("policy/src/evasion/ipv4.rs", "headers"),
    ("policy/src/evasion/ipv6.rs", "headers"),
    ("policy/src/evasion/ipv6.rs", "fragments"),
    ("policy/src/evasion/transport.rs", "tunnels"),
];

/// What is wrong, and what is worth a look.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) offences: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

impl Findings {
    /// Adds what was found elsewhere.
    pub(super) fn extend(&mut self, more: Self) {
        self.offences.extend(more.offences);
        self.warnings.extend(more.warnings);
    }

    /// Prints all of it, one a line.
    pub(crate) fn show(&self) {
        for warning in &self.warnings {
            println!("warning: {warning}");
        }
        for offence in &self.offences {
            println!("{offence}");
        }
    }
}

/// Looks at one file.
pub(super) fn file(name: &str, text: &str) -> Findings {
    let mut found = Findings::default();
    let lines = text.lines().count();
    if lines > LONGEST_FILE {
        found.offences.push(format!(
            "{name}: {lines} lines, more than {LONGEST_FILE}: split it by concept"
        ));
    } else if lines > LONG_FILE {
        found.warnings.push(format!(
            "{name}: {lines} lines, more than {LONG_FILE}: is it one concept?"
        ));
    }
    found
}

/// Looks at the functions of all crates.
pub(super) fn functions(crates: &[Crate]) -> Findings {
    let mut found = Findings::default();
    let mut met = vec![false; TABLES.len()];
    for module in crates.iter().flat_map(|of| &of.modules) {
        for function in &module.functions {
            if function.lines <= LONGEST_FUNCTION {
                continue;
            }
            let is_this =
                |&(file, name): &Exception| name == function.name && module.file.ends_with(file);
            match TABLES.iter().position(is_this) {
                Some(listed) => met[listed] = true,
                None => found.offences.push(format!(
                    "{}:{}: the function `{}` has {} lines, more than {LONGEST_FUNCTION}: split it \
                     by concept",
                    module.file, function.line, function.name, function.lines
                )),
            }
        }
    }
    for (&(file, name), met) in TABLES.iter().zip(met) {
        if !met {
            found.warnings.push(format!(
                "xtask/src/layers/sizes.rs: `{name}` of {file} is no longer too long: take it out"
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::source::read_module;
    use super::*;

    #[test]
    fn long_files_are_refused_and_rather_long_ones_shown() {
        let of = |lines| {
            let found = file("tests/a.rs", &"\n".repeat(lines));
            (found.offences.len(), found.warnings.len())
        };
        assert_eq!(of(LONG_FILE), (0, 0));
        assert_eq!(of(LONG_FILE + 1), (0, 1));
        assert_eq!(of(LONGEST_FILE), (0, 1));
        assert_eq!(of(LONGEST_FILE + 1), (1, 0));
    }

    #[test]
    fn long_functions_are_refused() {
        let of = |lines: usize| {
            let text = format!("fn a() {{\n{}}}\n", "f();\n".repeat(lines - 2));
            let (module, _) =
                read_module("firewall_x", "x.rs".into(), Vec::new(), true, &text).unwrap();
            let name = "firewall_x".to_owned();
            let modules = vec![module];
            functions(&[Crate { name, modules }]).offences
        };
        assert_eq!(of(LONGEST_FUNCTION), Vec::<String>::new());
        let found = of(LONGEST_FUNCTION + 1);
        assert!(
            found[0].starts_with("x.rs:1: the function `a` has 71 lines"),
            "{found:?}"
        );
    }
}
