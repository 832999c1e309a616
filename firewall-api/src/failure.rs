//! Exit codes, and [`Failure`], the one form in which an error reaches a person or a script, whether it
//! happened here or in the daemon.
//!
//! Errors of the layers above become a [`Failure`] where they are defined.
//!
//! Invariant: the numbers of [`Exit`] are part of the interface and are never changed.

use firewall_policy::checked::Invalid;
use firewall_policy::diag::{Diagnostics, Findings};
use firewall_policy::text::safe_lines;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;

/// What a process or a request ends with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(into = "u8", from = "u8")]
#[repr(u8)]
pub enum Exit {
    /// Done, or already so.
    Ok = 0,
    /// Failed for a reason that has no code of its own; for `status`: not filtering as asked.
    Failed = 1,
    /// Wrong use of the command line.
    Usage = 2,
    /// The policy or another input is not valid.
    Config = 3,
    /// A privilege is missing.
    Privilege = 4,
    /// The daemon does not answer.
    Unreachable = 5,
    /// The kernel or the driver cannot do it.
    Unsupported = 6,
    /// Refused, because it would do harm.
    Refused = 7,
    /// There are changes.
    Changes = 8,
}

impl Exit {
    /// Every code, in order.
    pub const ALL: [Self; 9] = [
        Self::Ok,
        Self::Failed,
        Self::Usage,
        Self::Config,
        Self::Privilege,
        Self::Unreachable,
        Self::Unsupported,
        Self::Refused,
        Self::Changes,
    ];

    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// One word for JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Config => "config",
            Self::Privilege => "privilege",
            Self::Unreachable => "unreachable",
            Self::Unsupported => "unsupported",
            Self::Refused => "refused",
            Self::Changes => "changes",
        }
    }

    /// A line of documentation.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Ok => "success, or nothing to do",
            Self::Failed => "failed",
            Self::Usage => "usage error",
            Self::Config => "the policy or another input is not valid",
            Self::Privilege => "insufficient privileges",
            Self::Unreachable => "the daemon does not answer",
            Self::Unsupported => {
                "the kernel or driver does not support it, or the interface is in use"
            }
            Self::Refused => "refused for safety",
            Self::Changes => "there are differences",
        }
    }
}

impl From<Exit> for u8 {
    fn from(exit: Exit) -> Self {
        exit.code()
    }
}

/// An unknown number means failure.
impl From<u8> for Exit {
    fn from(code: u8) -> Self {
        Self::ALL
            .into_iter()
            .find(|exit| exit.code() == code)
            .unwrap_or(Self::Failed)
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error with everything that its reader needs. Serialised, it is the `error` object of the API
/// and of `-o json`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// [`Exit::name`].
    pub code: Box<str>,
    /// The exit code of the command.
    pub exit_code: Exit,
    /// What went wrong, where; no line break.
    pub message: String,
    /// What to do instead.
    pub help: Option<Box<str>>,
    /// What holds now, `nothing applied; generation 42 stays active`.
    pub outcome: Option<Box<str>>,
    /// Findings about a policy.
    #[serde(default)]
    pub diagnostics: Box<[serde_json::Value]>,
    /// The findings as plain text.
    #[serde(default)]
    pub rendered: Option<Box<str>>,
    /// The findings with the texts that they point into, for whoever shows them in colour. Not part
    /// of the document.
    #[serde(skip)]
    pub findings: Option<Box<Findings>>,
}

impl Failure {
    /// A failure without advice.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            code: exit.name().into(),
            exit_code: exit,
            message: message.into(),
            help: None,
            outcome: None,
            diagnostics: Box::default(),
            rendered: None,
            findings: None,
        }
    }

    /// Adds what to do instead.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into().into_boxed_str());
        self
    }

    /// Adds what holds now.
    #[must_use]
    pub fn outcome(mut self, outcome: impl Into<String>) -> Self {
        self.outcome = Some(outcome.into().into_boxed_str());
        self
    }

    /// An invalid policy.
    #[must_use]
    pub fn policy(diagnostics: &Diagnostics) -> Self {
        let count = diagnostics.count();
        let message = format!("{count} {}", if count == 1 { "error" } else { "errors" });
        let list = match serde_json::to_value(diagnostics) {
            Ok(serde_json::Value::Array(list)) => list,
            _ => Vec::new(),
        };
        Self {
            diagnostics: list.into(),
            rendered: Some(diagnostics.render(false).into_boxed_str()),
            findings: Some(Box::new(diagnostics.into())),
            ..Self::new(Exit::Config, message)
        }
    }

    /// A policy that cannot be used.
    #[must_use]
    pub fn invalid(invalid: &Invalid) -> Self {
        match invalid {
            Invalid::Findings(findings) => Self::policy(findings),
            Invalid::Limit(error) => {
                Self::new(Exit::Config, format!("the policy is too large: {error}"))
            }
        }
    }

    /// Output that could not be written. A reader that went away (`| head`) is no failure.
    #[must_use]
    pub fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(Exit::Ok, "");
        }
        Self::new(Exit::Failed, format!("cannot write the output: {error}"))
    }

    /// One line, for a log and for `last_error`.
    #[must_use]
    pub fn line(&self) -> String {
        let first = self.diagnostics.first().map(|finding| {
            let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
            let place = match (finding["file"].as_str(), finding["line"].as_u64()) {
                (Some(file), Some(line)) => format!(" ({file}:{line})"),
                _ => String::new(),
            };
            format!(": {} {}{place}", text("code"), text("message"))
        });
        safe_lines(&format!("{}{}", self.message, first.unwrap_or_default())).into_owned()
    }
}

/// The text for a terminal, without colour in its own words.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text(false))
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// The text for a terminal, ending with a line break; empty for a broken pipe.
    #[must_use]
    pub fn to_text(&self, color: bool) -> String {
        if self.exit_code == Exit::Ok {
            return String::new();
        }
        let (red, cyan, reset) = if color {
            ("\x1b[1;31m", "\x1b[1;36m", "\x1b[0m")
        } else {
            ("", "", "")
        };
        let message = safe_lines(&self.message);
        let [outcome, help] =
            [&self.outcome, &self.help].map(|part| part.as_deref().map(safe_lines));
        let mut text = String::new();
        if let Some(rendered) = &self.rendered {
            let shown = self.findings.as_ref().and_then(|all| all.render(color));
            text.push_str(&shown.unwrap_or_else(|| safe_lines(rendered).into_owned()));
            text.push('\n');
            let outcome = outcome.map(|o| format!(", {o}"));
            text.push_str(&format!("{message}{}.\n", outcome.unwrap_or_default()));
        } else {
            text.push_str(&format!("{red}error{reset}: {message}\n"));
            if let Some(outcome) = outcome {
                text.push_str(&format!("{cyan}note{reset}: {outcome}\n"));
            }
        }
        if let Some(help) = help {
            text.push_str(&format!("{cyan}help{reset}: {help}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_never_change() {
        let codes: Vec<(u8, &str)> = Exit::ALL
            .iter()
            .map(|exit| (exit.code(), exit.name()))
            .collect();
        assert_eq!(
            codes,
            [
                (0, "ok"),
                (1, "failed"),
                (2, "usage"),
                (3, "config"),
                (4, "privilege"),
                (5, "unreachable"),
                (6, "unsupported"),
                (7, "refused"),
                (8, "changes"),
            ]
        );
        assert_eq!(Exit::from(200), Exit::Failed);
    }

    #[test]
    fn a_failure_survives_the_wire() {
        let failure = Failure::new(Exit::Refused, "no")
            .help("do this")
            .outcome("nothing loaded");
        let json = serde_json::to_string(&failure).unwrap();
        assert!(json.contains(r#""exit_code":7"#), "{json}");
        assert_eq!(serde_json::from_str::<Failure>(&json).unwrap(), failure);
        assert_eq!(
            failure.to_string(),
            "error: no\nnote: nothing loaded\nhelp: do this\n"
        );
    }

    #[test]
    fn what_users_wrote_does_not_reach_the_terminal_as_it_is() {
        let failure = Failure::new(Exit::Usage, "`\x1b[31m` is no port").help("not \u{202e}it");
        let text = "error: `\\u{1b}[31m` is no port\nhelp: not \\u{202e}it\n";
        assert_eq!(failure.to_text(false), text);
        assert_eq!(failure.line(), "`\\u{1b}[31m` is no port");
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        let failure = Failure::output(&io::ErrorKind::BrokenPipe.into());
        assert_eq!(
            (failure.exit_code, failure.to_text(true).as_str()),
            (Exit::Ok, "")
        );
    }
}
