//! See `fuzz::pop3`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::pop3(data));
