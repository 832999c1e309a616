//! Fuzz target `import_nft`: see `firewall_fuzz::imports`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| firewall_fuzz::imports::import_nft(data));
