//! Fuzz target `policy`: see `firewall_fuzz::properties`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| firewall_fuzz::properties::policy(data));
