//! See `fuzz::qmqp`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::qmqp(data));
