//! Looks for frames of a WebSocket that mean one thing at once and another in pieces, or that make something panic.
//!
//! ```text
//! cargo +nightly fuzz run --fuzz-dir tests/fuzz frames
//! ```
//!
//! What it finds is added to `tests/websocket/random.rs`, as a test that is named for the promise that it broke.

#![no_main]

#[path = "../../websocket/any_bytes.rs"]
mod any_bytes;
#[path = "../../support/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (bytes, cuts) = input;
    any_bytes::check(&bytes, &cuts);
});
