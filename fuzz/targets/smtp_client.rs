//! See `fuzz::smtp_client`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::smtp_client(data));
