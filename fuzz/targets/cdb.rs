//! See `fuzz::cdb`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::cdb(data));
