//! See `fuzz::dot`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::dot(data));
