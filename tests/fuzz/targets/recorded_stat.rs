#![no_main]

#[path = "../../hostile/properties.rs"]
#[allow(dead_code, reason = "every target uses one of them")]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::recorded_stat(data));
