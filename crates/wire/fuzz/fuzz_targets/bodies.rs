#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| claude_code_api_wire_fuzz::bodies(bytes));
