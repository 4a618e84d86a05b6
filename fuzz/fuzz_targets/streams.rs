#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| brimful_fuzz::streams::hold(data));
