//! The end of every `--help`: examples to copy, and the exit codes that the verb can end with.

use firewall_api::failure::Exit;

/// Examples and exit codes as text.
pub(super) fn after(examples: &[&str; 3], codes: &[Exit]) -> String {
    let mut text = String::from("Examples:\n");
    for example in examples {
        text.push_str(&format!("  {example}\n"));
    }
    text.push_str("\nExit codes:\n");
    for exit in codes {
        text.push_str(&format!("  {}  {}\n", exit.code(), exit.text()));
    }
    text.truncate(text.trim_end().len());
    text
}
