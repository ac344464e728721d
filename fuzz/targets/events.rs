#![no_main]
#![allow(dead_code)] // each target uses one body of the four

#[path = "../../tests/support/bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = bodies::event(bytes);
});
