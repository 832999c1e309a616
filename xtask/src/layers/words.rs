//! Borders that imports do not show: which words may not stand in which folder's code, and how a file
//! must begin.
//!
//! It reads words, not meaning: comments and text literals are taken out, the rest is searched.

use super::sizes::{self, Findings};
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Words that may not stand in the code below a folder.
struct Border {
    /// Folder or file below the root, with `/` at the end of a folder.
    below: &'static str,
    /// Parts of it to which the border does not apply.
    except: &'static [&'static str],
    words: &'static [&'static str],
    reason: &'static str,
}

const BORDERS: &[Border] = &[
    Border {
        below: "firewall-common/src/",
        except: &[],
        words: &[
            "std::",
            "alloc::",
            "tokio",
            "aya::maps",
            "aya::programs",
            "unsafe",
        ],
        reason: "firewall-common is no_std, does no input or output, and has no unsafe",
    },
    Border {
        below: "firewall-ebpf/src/",
        except: &[],
        words: &["bpf_ktime_get_boot_ns", "bpf_ktime_get_tai_ns"],
        reason: "all times in maps are of one clock, the monotonic one, which nobody can set",
    },
    Border {
        below: "firewall-policy/",
        except: &[],
        words: &[
            "aya",
            "tokio",
            "rustix",
            "std::process",
            "unsafe",
            "firewall_api",
            "firewall_engine",
        ],
        reason: "firewall-policy knows no kernel, no runtime, and no unsafe",
    },
    Border {
        below: "firewall-policy/src/",
        // How many packets a proof draws comes from the environment.
        except: &[
            "firewall-policy/src/diff/tests.rs",
            "firewall-policy/src/lint/tests.rs",
            // And which sets of rules.
            "firewall-policy/src/lint/classbench_tests.rs",
        ],
        words: &["std::fs", "std::env", "std::os"],
        reason: "firewall-policy works on text that is handed to it",
    },
    Border {
        below: "firewall-policy/src/oracle.rs",
        except: &[],
        words: &["compile", "tables", "host"],
        reason: "the oracle must not know what it is there to check",
    },
    Border {
        below: "firewall-import/",
        except: &[],
        words: &["aya", "tokio", "rustix", "std::process", "unsafe"],
        reason: "firewall-import makes text of text: no kernel, no runtime, no unsafe",
    },
    Border {
        below: "firewall-import/src/",
        except: &[],
        words: &["std::fs", "std::env", "std::os"],
        reason: "firewall-import works on text that is handed to it",
    },
    Border {
        below: "firewall-api/",
        except: &[],
        words: &[
            "firewall_engine",
            "firewall_daemon",
            "firewall_ctl",
            "aya",
            "libc",
            "nix",
            "rustix",
            "tokio",
            "std::fs",
            "std::net",
            "std::os",
            "std::env",
            "std::thread",
            "unsafe",
        ],
        reason: "firewall-api is documents: no kernel, no input or output, nothing above it",
    },
    Border {
        below: "firewall-system/",
        except: &[],
        words: &[
            "firewall_engine",
            "firewall_daemon",
            "firewall_ctl",
            "aya",
            "tokio",
        ],
        reason: "firewall-system asks the operating system, and knows nothing above it",
    },
    Border {
        below: "firewall-engine/",
        except: &[],
        words: &["firewall_daemon", "firewall_ctl", "tokio"],
        reason: "the engine knows nothing above it",
    },
    Border {
        below: "firewall-engine/",
        except: &["firewall-engine/src/kernel/"],
        words: &["unsafe"],
        reason: "only firewall-engine/src/kernel may use unsafe",
    },
    Border {
        below: "firewall-engine/",
        // The test asks the kernel what is left, past our own code.
        except: &[
            "firewall-engine/src/kernel/",
            "firewall-engine/tests/kernel_engine/",
        ],
        words: &["aya", "aya_log", "aya_obj"],
        reason: "only firewall-engine/src/kernel may use aya",
    },
    Border {
        below: "firewall-engine/src/kernel/",
        except: &[],
        words: &[
            "crate::engine",
            "crate::probe",
            "crate::sampler",
            "firewall_api",
        ],
        reason: "the kernel layer knows nothing above it",
    },
    Border {
        below: "firewall-engine/src/engine/",
        except: &[],
        words: &["crate::probe", "crate::sampler"],
        reason: "the engine is below what reads with it",
    },
    Border {
        below: "firewall-daemon/",
        except: &[],
        words: &["firewall_ctl", "aya", "libc", "nix", "rustix", "unsafe"],
        reason: "the daemon asks the engine, and knows no command line",
    },
    Border {
        below: "firewall-ctl/",
        except: &[],
        words: &[
            "aya", "aya_log", "aya_obj", "libc", "nix", "rustix", "unsafe",
        ],
        reason: "only firewall-engine makes system calls",
    },
    Border {
        below: "firewall-ctl/",
        except: &["firewall-ctl/src/door.rs"],
        words: &["firewall_engine"],
        reason: "only door.rs says which firewall a verb gets; ask it through `trait Firewall`",
    },
    Border {
        below: "firewall-ctl/src/tui/",
        except: &[],
        words: &[
            "firewall_daemon",
            "crate::door",
            "crate::remote",
            "crate::cli",
        ],
        reason: "the terminal interface reads snapshots only",
    },
    Border {
        below: "firewall-ctl/src/remote",
        except: &[],
        words: &["firewall_daemon", "crate::door", "crate::cli", "crate::tui"],
        reason: "the remote firewall is documents and HTTP",
    },
    Border {
        below: "firewall-daemon/src/server.rs",
        except: &[],
        words: &[
            "firewall_engine::engine",
            "firewall_engine::kernel",
            "crate::state",
        ],
        reason: "the server knows HTTP and documents; what the calls do is behind a trait",
    },
    Border {
        below: "xtask/",
        except: &[],
        words: &[
            "firewall_common",
            "firewall_policy",
            "firewall_api",
            "firewall_engine",
            "firewall_daemon",
            "firewall_ctl",
            "unsafe",
        ],
        reason: "xtask compiles before everything else",
    },
    Border {
        below: "fuzz/",
        except: &[],
        words: &["unsafe", "aya", "std::process"],
        reason: "fuzz targets drive firewall-policy, which has none of these",
    },
    Border {
        below: "tests/",
        except: &[],
        words: &["xtask", "unsafe"],
        reason: "nothing imports xtask, and unsafe stays in the kernel layer",
    },
];

/// Roots of the crates that forbid unsafe code: nothing in them can switch that off.
const SAFE: &[&str] = &[
    "firewall-common/src/lib.rs",
    "firewall-policy/src/lib.rs",
    "firewall-import/src/lib.rs",
    "firewall-api/src/lib.rs",
    "firewall-system/src/lib.rs",
    "firewall-daemon/src/lib.rs",
    "firewall-ctl/src/lib.rs",
    "firewall-ctl/src/main.rs",
    "fuzz/src/lib.rs",
    "tests/harness/lib.rs",
    "xtask/src/main.rs",
];

/// Every offence, as `file:line: what`.
pub(super) fn check(workspace: &Workspace) -> Result<Findings> {
    let mut found = Findings::default();
    for folder in [
        "firewall-common",
        "firewall-ebpf",
        "firewall-policy",
        "firewall-import",
        "firewall-api",
        "firewall-system",
        "firewall-engine",
        "firewall-daemon",
        "firewall-ctl",
        "xtask",
        "tests",
        "fuzz",
    ] {
        for file in sources(&workspace.root.join(folder))? {
            let text = std::fs::read_to_string(&file)
                .with_context(|| format!("reading {}", file.display()))?;
            let name = file
                .strip_prefix(&workspace.root)
                .unwrap_or(&file)
                .to_string_lossy();
            found.offences.extend(check_file(&name, &text));
            found.extend(sizes::file(&name, &text));
        }
    }
    Ok(found)
}

/// All Rust files below a folder, in order.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if !folder.exists() {
        return Ok(found);
    }
    for entry in std::fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                found.extend(sources(&path)?);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn check_file(name: &str, text: &str) -> Vec<String> {
    let mut offences = Vec::new();
    if !text.starts_with("//!") {
        offences.push(format!(
            "{name}:1: begin with `//!`: what the file holds and may not do"
        ));
    }
    let code = code_lines(text);
    let forbids = |line: &String| line.trim() == "#![forbid(unsafe_code)]";
    if SAFE.contains(&name) && !code.iter().any(forbids) {
        offences.push(format!("{name}:1: `#![forbid(unsafe_code)]` is missing"));
    }
    for border in BORDERS {
        let inside = name.starts_with(border.below);
        if !inside || border.except.iter().any(|part| name.starts_with(part)) {
            continue;
        }
        for (number, line) in code.iter().enumerate() {
            for word in border.words {
                if has_word(line, word) {
                    offences.push(format!(
                        "{name}:{}: `{word}`: {}",
                        number + 1,
                        border.reason
                    ));
                }
            }
        }
    }
    offences
}

/// Whether `word` stands in `line` with no identifier character next to it.
fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        // A word that ends in `::` is followed by an identifier.
        !before.is_some_and(part) && (word.ends_with(':') || !after.is_some_and(part))
    })
}

/// The lines of a file without comments and without the insides of text literals.
fn code_lines(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut rest = text.chars().peekable();
    let mut literal = false;
    let mut comment = false;
    while let Some(c) = rest.next() {
        if c == '\n' {
            comment = false;
            lines.push(String::new());
        } else if comment {
            continue;
        } else if literal {
            // What follows a backslash is part of the text; an escaped line end still ends the line.
            if c == '\\' && rest.next() == Some('\n') {
                lines.push(String::new());
            }
            literal = c != '"';
        } else if c == '/' && rest.peek() == Some(&'/') {
            comment = true;
        } else if c == '\'' {
            // A character literal may hold a quotation mark; a lifetime holds none.
            let next: Vec<char> = rest.clone().take(3).collect();
            match next[..] {
                ['\\', '"' | '\'', '\''] => drop(rest.nth(2)),
                ['"', '\'', ..] => drop(rest.nth(1)),
                _ => {}
            }
        } else if c == '"' {
            literal = true;
        } else if let Some(line) = lines.last_mut() {
            line.push(c);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offences(name: &str, code: &str) -> Vec<String> {
        check_file(name, &format!("//! Text.\n{code}"))
    }

    #[test]
    fn forbidden_words_are_found() {
        let found = offences(
            "firewall-policy/src/rule.rs",
            "use std::fs;\nuse std::fmt;\n",
        );
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("firewall-policy/src/rule.rs:2: `std::fs`"),
            "{found:?}"
        );
        assert_eq!(
            offences("firewall-daemon/src/state.rs", "use aya::Ebpf;\n").len(),
            1
        );
        assert_eq!(
            offences("firewall-api/src/view.rs", "unsafe { f() }\n").len(),
            1
        );
        assert_eq!(
            offences("firewall-engine/src/engine/mod.rs", "unsafe { f() }\n").len(),
            1
        );
        assert_eq!(
            offences("firewall-ctl/src/cli/top.rs", "use rustix::fs;\n").len(),
            1
        );
        assert_eq!(
            offences("firewall-common/src/key.rs", "use std::vec::Vec;\n").len(),
            1
        );
        assert_eq!(
            offences("xtask/src/x.rs", "use firewall_api::view;\n").len(),
            1
        );
    }

    #[test]
    fn the_kernel_layer_may_use_aya() {
        assert!(
            offences(
                "firewall-engine/src/kernel/maps.rs",
                "use aya::Ebpf; unsafe {}\n"
            )
            .is_empty()
        );
    }

    #[test]
    fn crates_without_unsafe_code_say_so() {
        let found = offences("firewall-api/src/lib.rs", "pub mod view;\n");
        assert!(found[0].contains("forbid(unsafe_code)"), "{found:?}");
        let code = "#![forbid(unsafe_code)]\npub mod view;\n";
        assert!(offences("firewall-api/src/lib.rs", code).is_empty());
    }

    #[test]
    fn imports_go_one_way() {
        for (file, import) in [
            (
                "firewall-api/src/report.rs",
                "firewall_engine::engine::Record",
            ),
            ("firewall-engine/src/probe.rs", "firewall_daemon::Options"),
            (
                "firewall-engine/src/kernel/live.rs",
                "crate::engine::Record",
            ),
            (
                "firewall-daemon/src/state.rs",
                "firewall_ctl::remote::Remote",
            ),
            (
                "firewall-ctl/src/tui/run.rs",
                "firewall_engine::probe::Probe",
            ),
        ] {
            assert_eq!(
                offences(file, &format!("use {import};\n")).len(),
                1,
                "{file}"
            );
        }
    }

    #[test]
    fn only_the_door_names_the_engine() {
        let import = "use firewall_engine::local::Local;\n";
        assert!(offences("firewall-ctl/src/door.rs", import).is_empty());
        for file in [
            "src/cli/load.rs",
            "src/tui/terminal.rs",
            "src/remote.rs",
            "tests/cli.rs",
        ] {
            let found = offences(&format!("firewall-ctl/{file}"), import);
            assert_eq!(found.len(), 1, "{file}: {found:?}");
            assert!(found[0].contains("trait Firewall"), "{found:?}");
        }
        // A path in the code is as good as an import.
        let call = "let it = firewall_engine::engine::Engine::new(root);\n";
        assert_eq!(offences("firewall-ctl/src/cli/top.rs", call).len(), 1);
    }

    #[test]
    fn comments_and_texts_do_not_count() {
        let code = "// aya and unsafe\nlet a = \"unsafe \\\" aya\";\nlet b = '\"'; // tokio\n\
                    let unsafely = 1; let d = '\\''; let c = \"aya\";\n";
        assert!(offences("firewall-policy/src/rule.rs", code).is_empty());
        assert_eq!(
            offences("firewall-policy/src/rule.rs", &format!("{code}aya();")).len(),
            1
        );
    }

    #[test]
    fn files_introduce_themselves() {
        assert!(check_file("tests/a.rs", "fn a() {}\n")[0].contains("begin with `//!`"));
    }
}
