//! The bytes of a connection: none is lost, given twice or out of order.
//!
//! - `reading`, `lines`: reads of all kinds.
//! - `random_reads`: any mix of them, held against a plain byte string.
//! - `writing`: writes of all kinds, urgent bytes, the end of the writing.
//! - `get_and_put`: what these two return, and which errors stick.
//! - `sticky`: what an error of one direction does to the other, and what is never an error.
//! - `halves`: the two halves of a connection in two threads.

#[path = "../support/reads/mod.rs"]
mod reads;
#[path = "../support/mod.rs"]
mod support;

mod get_and_put;
mod halves;
mod lines;
mod random_reads;
mod reading;
mod sticky;
mod writing;
