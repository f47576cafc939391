//! Looks for a mix of reads that doesn't give the stream.
//!
//! ```text
//! cargo +nightly fuzz run --fuzz-dir tests/fuzz reads tests/corpus/reads
//! ```
//!
//! What reaches something new is added to the corpus, all of which `cargo test --test stream` tries, too. So that it stays
//! small, its place is taken by the least part of it that covers the same code; files that have a name stay:
//!
//! ```text
//! mkdir least
//! cargo +nightly fuzz run --fuzz-dir tests/fuzz reads least tests/corpus/reads -- -set_cover_merge=1 -use_counters=0
//! find tests/corpus/reads -regex '.*/[0-9a-f]*' -delete
//! mv least/* tests/corpus/reads && rmdir least
//! ```
//!
//! A case that fails is written to `tests/fuzz/artifacts/reads`. `cargo +nightly fuzz tmin --fuzz-dir tests/fuzz reads FILE`
//! makes it smaller, and `cargo +nightly fuzz fmt --fuzz-dir tests/fuzz reads FILE` says what it stands for. It is moved
//! into the corpus, where it is named for the promise that it broke, in words with hyphens.

#![no_main]

#[path = "../../support/reads/mod.rs"]
mod reads;
#[path = "../../support/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use reads::Case;
use reads::model::{check, tcp_pair, unix_pair};

fuzz_target!(|case: Case| {
    for result in [check(unix_pair(), &case), check(tcp_pair(), &case)] {
        if let Err(error) = result {
            panic!("{error}");
        }
    }
});
