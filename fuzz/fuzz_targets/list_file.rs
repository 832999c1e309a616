//! Fuzz target `list_file`: see `firewall_fuzz::properties`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| firewall_fuzz::properties::list_file(data));
