//! Looks for frames of a WebSocket that mean one thing at once and another in pieces, or that make something panic: plain
//! ones to either end, compressed ones to a server, and what is to be the inside of a compressed message.
//!
//! ```text
//! cargo +nightly fuzz run --fuzz-dir tests/fuzz frames tests/corpus/frames
//! ```
//!
//! What reaches something new is added to the corpus, all of which `cargo test --test websocket` tries, too; what is done with
//! what it finds, and how the corpus stays small, `reads.rs` says.

#![no_main]

#[path = "../../websocket/any_bytes.rs"]
mod any_bytes;
#[path = "../../support/mod.rs"]
mod support;

use any_bytes::{Case, check_case};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|case: Case| check_case(&case));
