//! What the fuzz targets share: [`properties`] and [`imports`], one function a target. The tests
//! `fuzz_corpus` of `firewall-policy` and `firewall-import` include the same files.
#![forbid(unsafe_code)]

pub mod imports;
pub mod properties;
