//! What is done wrong, and what is shown.
//!
//! - `misuse`: what a caller, a peer or the system can do wrong is a named error each time.
//! - `peer`: whom a connection is with, also when it has ended.
//! - `debug`: what `{:?}` shows.

#[path = "../support/mod.rs"]
mod support;

mod debug;
mod misuse;
mod peer;
