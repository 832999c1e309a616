//! Documents as JSON or YAML. The only place outside the policy reader that knows YAML.

use clap::ValueEnum;
use firewall_api::failure::{Exit, Failure};
use firewall_policy::text::is_unsafe;
use serde::Serialize;

/// How to write what is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Format {
    /// Aligned columns, 80 characters wide
    Table,
    /// All columns
    Wide,
    /// JSON, schema firewall/v1
    #[value(alias = "jsonl")]
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
        if self == Self::Json {
            text = escaped(text);
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
        Ok(text)
    }
}

/// JSON with its own escapes in place of what a terminal would obey or hide: that stands in strings only.
fn escaped(json: String) -> String {
    let bare = |c: char| c != '\n' && is_unsafe(c);
    if !json.contains(bare) {
        return json;
    }
    let mut text = String::with_capacity(json.len() + 12);
    for c in json.chars() {
        if bare(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_shows_what_a_terminal_would_hide() {
        let names = ["a\u{202e}b\u{1b}\n", "\u{e0041}\u{1f600}"];
        let text = Format::Json.document(&names, true).unwrap();
        assert_eq!(
            text,
            "[\"a\\u202eb\\u001b\\n\",\"\\udb40\\udc41\u{1f600}\"]\n"
        );
        assert_eq!(serde_json::from_str::<[String; 2]>(&text).unwrap(), names);
    }
}
