//! See `fuzz::qmtp`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::qmtp(data));
