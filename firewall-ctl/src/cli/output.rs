//! Documents as JSON or YAML. The only place outside the policy reader that knows YAML.

use clap::ValueEnum;
use firewall_api::failure::{Exit, Failure};
use serde::Serialize;

/// How to write what is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Format {
    /// Aligned columns, 80 characters wide
    Table,
    /// All columns
    Wide,
    /// JSON, schema firewall/v1
    Json,
    /// YAML, the same fields
    Yaml,
}

impl Format {
    /// Whether people read it.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }

    /// A document, ending with a line break. `stream`: one of several; JSON takes one line then,
    /// YAML starts with `---`.
    pub(super) fn document(self, what: &impl Serialize, stream: bool) -> Result<String, Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(Exit::Failed, format!("cannot write the document: {error}"))
        };
        let mut text = match (self, stream) {
            (Self::Yaml, stream) => {
                // Through a JSON value: both formats then say the same of every type.
                let value = serde_json::to_value(what).map_err(|error| failed(&error))?;
                let yaml = serde_saphyr::to_string(&value).map_err(|error| failed(&error))?;
                if stream { format!("---\n{yaml}") } else { yaml }
            }
            (_, true) => serde_json::to_string(what).map_err(|error| failed(&error))?,
            (_, false) => serde_json::to_string_pretty(what).map_err(|error| failed(&error))?,
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        Ok(text)
    }
}
