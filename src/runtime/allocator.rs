//! What the allocator keeps of memory that was freed.
//!
//! glibc raises the size from which memory is given back at once to that of the largest piece that was ever freed, up to 32 MiB, and keeps
//! an arena for each of many threads. Batches come and go in large pieces on whichever thread is free, so half of what a busy
//! instance held was memory that nobody used: 210 MB where 128 MB do. Pieces below a megabyte are kept: what Kafka's client unpacks and what
//! a batch begins with come and go thousands of times, and each time the kernel would have to make their pages anew. Absent on purpose: other allocators, which have rules of their own.
#![allow(unsafe_code)] // calls into libc

/// Gives large pieces back when they are freed. Before the first of them is needed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn give_back() {
    use std::ffi::c_int;

    unsafe extern "C" {
        fn mallopt(parameter: c_int, value: c_int) -> c_int;
    }
    const TRIM_THRESHOLD: c_int = -1;
    const MMAP_THRESHOLD: c_int = -3;
    const ARENA_MAX: c_int = -8;
    for (parameter, value) in [(MMAP_THRESHOLD, 1 << 20), (TRIM_THRESHOLD, 4 << 20), (ARENA_MAX, 2)] {
        // SAFETY: glibc takes any value of these; what it does not like it ignores and answers 0.
        unsafe {
            mallopt(parameter, value);
        }
    }
}

/// Nothing is known of other allocators.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back() {}
