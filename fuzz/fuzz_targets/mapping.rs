#![no_main]
//! See `weir::fuzz`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir::fuzz::mapping(bytes));
