//! See `fuzz::aliases`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::aliases(data));
