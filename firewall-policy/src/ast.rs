//! The YAML as it is written, with spans.
