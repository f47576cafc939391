//! Looks for records of TLS, and what is none, that a socket doesn't put up with.
//!
//! ```text
//! cargo +nightly fuzz run -O --fuzz-dir tests/fuzz records tests/corpus/records
//! ```
//!
//! Without debug assertions: rustls has one that fails, which the crate catches, and the fuzzer takes for an end. What is done
//! with what it finds, `reads.rs` says.

#![no_main]

#[allow(dead_code, reason = "the tests have more use for it")]
#[path = "../../tls/peer.rs"]
mod peer;
#[path = "../../support/records/mod.rs"]
mod records;
#[path = "../../support/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use records::{Case, check};

fuzz_target!(|case: Case| {
    if let Err(error) = check(&case) {
        panic!("{error}");
    }
});
