//! What the fuzz targets share: [`properties`], one function a target. The test
//! `firewall-policy/tests/fuzz_corpus.rs` includes the same file.
#![forbid(unsafe_code)]

pub mod properties;
