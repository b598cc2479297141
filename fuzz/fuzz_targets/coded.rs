#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| onefed_fuzz::coded(data));
