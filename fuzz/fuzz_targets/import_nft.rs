//! Fuzz target `import_nft`: see `firewall_fuzz::properties`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| firewall_fuzz::properties::import_nft(data));
