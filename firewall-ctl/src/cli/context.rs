//! What every verb gets: the global options, resolved against the environment.
//!
//! [`Globals`] is what was typed; [`Context`] is what it means here.

use super::output::Format;
use crate::door;
use clap::ValueEnum;
use firewall_api::failure::Failure;
use firewall_api::firewall::{Firewall, Host};
use firewall_api::format::Numbers;
use firewall_api::request::ErrorReport;
use firewall_policy::diag::Diagnostics;
use firewall_policy::text::{safe_lines, safe_screen};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

/// The control sequences with which the program styles its text.
const STYLES: [&str; 4] = ["\x1b[0m", "\x1b[1;31m", "\x1b[1;32m", "\x1b[1;33m"];

/// Options that every verb takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct Globals {
    /// Output format
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "table",
        hide_short_help = true
    )]
    output: Format,
    /// Short for -o json
    #[arg(long, global = true, hide_short_help = true, conflicts_with = "output")]
    json: bool,
    /// Print results and errors only
    #[arg(
        short,
        long,
        global = true,
        hide_short_help = true,
        conflicts_with = "verbose"
    )]
    quiet: bool,
    /// Print more detail; -vv for debug logging
    #[arg(short, long, global = true, hide_short_help = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// When to use colour; auto obeys NO_COLOR and CLICOLOR_FORCE
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "WHEN",
        default_value = "auto"
    )]
    pub(super) color: When,
    /// Print exact numbers (1240000, not 1.24M)
    #[arg(long, global = true, hide_short_help = true)]
    raw_numbers: bool,
    /// Control socket of the daemon
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "PATH",
        env = "FIREWALL_SOCKET",
        hide_env_values = true,
        default_value = "/run/firewall/control.sock"
    )]
    socket: PathBuf,
    /// Directory of pinned BPF objects
    #[arg(
        long, global = true, hide_short_help = true, value_name = "PATH", env = "FIREWALL_ROOT",
        hide_env_values = true, default_value = door::DEFAULT_ROOT
    )]
    root: PathBuf,
    /// Directory of files that add services
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "PATH",
        env = "FIREWALL_SERVICES",
        hide_env_values = true,
        default_value = "/etc/firewall/services.d"
    )]
    services: PathBuf,
}

/// When to use colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum When {
    /// If the output is a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The global options, resolved.
#[derive(Clone, Debug)]
pub(super) struct Context {
    /// How to write documents.
    pub(super) format: Format,
    /// Say only what was asked for.
    pub(super) quiet: bool,
    /// Say more.
    pub(super) verbose: u8,
    /// Colour on the standard output.
    pub(super) color: bool,
    /// Colour on the standard error.
    pub(super) color_errors: bool,
    /// How to write numbers.
    pub(super) numbers: Numbers,
    /// Cells of the terminal that the standard output is; `None`: tables are whole.
    pub(super) width: Option<usize>,
    /// The daemon's control socket.
    pub(super) socket: PathBuf,
    /// Folder of pins.
    pub(super) root: PathBuf,
    /// Folder of files that add services.
    pub(super) services: PathBuf,
}

impl Context {
    /// Resolves against this process's environment and streams.
    pub(super) fn from_environment(globals: &Globals) -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let color = |terminal: bool| {
            wants_color(
                globals.color,
                terminal,
                set("NO_COLOR").is_some(),
                set("CLICOLOR_FORCE").is_some_and(|value| value != "0"),
            )
        };
        Self {
            format: if globals.json {
                Format::Json
            } else {
                globals.output
            },
            quiet: globals.quiet,
            verbose: globals.verbose,
            color: color(std::io::stdout().is_terminal()),
            color_errors: color(std::io::stderr().is_terminal()),
            numbers: if globals.raw_numbers {
                Numbers::Raw
            } else {
                Numbers::Si
            },
            width: std::io::stdout()
                .is_terminal()
                .then(ratatui::crossterm::terminal::size)
                .and_then(|size| Some(usize::from(size.ok()?.0)).filter(|&cells| cells > 0)),
            socket: globals.socket.clone(),
            root: globals.root.clone(),
            services: globals.services.clone(),
        }
    }

    /// The firewall: the daemon's if one listens, else this host's own.
    pub(super) fn firewall(&self) -> Result<Box<dyn Firewall>, Failure> {
        door::firewall(&self.root, &self.socket)
    }

    /// As [`Context::firewall`], and this host's own where the daemon's may not be asked.
    pub(super) fn nearest(&self) -> Box<dyn Firewall> {
        door::nearest(&self.root, &self.socket)
    }

    /// This host's own firewall, whether a daemon runs or not.
    pub(super) fn host(&self) -> Box<dyn Host> {
        door::host(&self.root, &self.socket)
    }

    /// The daemon's firewall.
    ///
    /// # Errors
    /// Exit code 5 when no daemon listens.
    pub(super) fn daemon(&self) -> Result<Box<dyn Firewall>, Failure> {
        door::daemon(&self.socket)
    }

    /// Writes text for people, or a document, to the standard output. Of text only our own styles
    /// reach a terminal as control sequences.
    pub(super) fn print(&self, text: &str) -> Result<(), Failure> {
        if self.format.is_text() {
            self.print_raw(&safe_screen(text, &STYLES))
        } else {
            self.print_raw(text)
        }
    }

    /// Writes what others wrote to the standard output, as it is: a policy's text, a script.
    pub(super) fn print_raw(&self, text: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .map_err(|error| Failure::output(&error))
    }

    /// Writes one line of good news, unless `-q`.
    pub(super) fn say(&self, line: &str) -> Result<(), Failure> {
        if self.quiet {
            Ok(())
        } else {
            self.print(&format!("{line}\n"))
        }
    }

    /// Writes warnings to the standard error, unless `-q`.
    pub(super) fn warn(&self, warnings: &[String]) {
        if !self.quiet {
            let (yellow, reset) = if self.color_errors {
                ("\x1b[1;33m", "\x1b[0m")
            } else {
                ("", "")
            };
            for warning in warnings {
                self.error_text(&format!(
                    "{yellow}warning{reset}: {}\n",
                    safe_lines(warning)
                ));
            }
        }
    }

    /// Writes what people should know to the standard error, unless `-q`.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet {
            self.error_text(&safe_lines(text));
        }
    }

    /// Writes a failure to the standard error, in the format of the output.
    pub(super) fn complain(&self, failure: &Failure) {
        let text = failure.to_text(self.color_errors);
        if text.is_empty() {
            return;
        }
        let report = ErrorReport {
            error: failure.clone(),
            findings: None,
        };
        match self.format {
            Format::Json | Format::Yaml => match self.format.document(&report, false) {
                Ok(document) => self.error_text(&document),
                Err(_) => self.error_text(&text),
            },
            Format::Table | Format::Wide => self.error_text(&text),
        }
    }

    /// Writes findings that are no failure.
    pub(super) fn complain_about(&self, findings: &Diagnostics) {
        self.error_text(&findings.render(self.color_errors));
    }

    fn error_text(&self, text: &str) {
        // Nobody is left to be told that the standard error cannot be written.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

/// The order: what was typed, NO_COLOR (no-color.org), CLICOLOR_FORCE, whether it is a terminal.
fn wants_color(when: When, terminal: bool, no_color: bool, forced: bool) -> bool {
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto => !no_color && (forced || terminal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_follows_the_conventions() {
        assert!(wants_color(When::Auto, true, false, false));
        assert!(!wants_color(When::Auto, false, false, false));
        assert!(wants_color(When::Auto, false, false, true));
        assert!(!wants_color(When::Auto, true, true, true));
        assert!(wants_color(When::Always, false, true, false));
        assert!(!wants_color(When::Never, true, false, true));
    }
}
