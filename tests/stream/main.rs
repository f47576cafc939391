//! The bytes of a connection: none is lost, given twice or out of order.
//!
//! - `reading`, `lines`: reads of all kinds.
//! - `peek_all`: bytes that stay, and bytes that are put back.
//! - `random_reads`: any mix of them, held against a plain byte string.
//! - `vectored`: of several slices at once.
//! - `writing`: writes of all kinds, urgent bytes, the end of the writing.
//! - `get_and_put`: what these two return, and which errors stick.
//! - `std_traits`: the same through the standard library.
//! - `sticky`: what an error of one direction does to the other, and what is never an error.
//! - `again`: what it costs to ask for something until it is there.
//! - `halves`: the two halves of a connection in two threads.
//! - `names`: second names for what U++'s names would say wrong in Rust.

#[path = "../support/reads/mod.rs"]
mod reads;
#[path = "../support/mod.rs"]
mod support;

#[cfg(target_os = "linux")]
mod again;
mod get_and_put;
mod halves;
mod lines;
mod names;
mod peek_all;
mod random_reads;
mod reading;
mod std_traits;
mod sticky;
mod vectored;
mod writing;
