//! TLS inside a socket.
//!
//! - `basics`: handshakes, bytes, the end, what a session says of itself.
//! - `bad_input`: what isn't TLS, is broken off, changed or never ends, and whom nobody vouches for.
//! - `complaints`: what users of other libraries suffer from.
//! - `random_records`: any mix of records, and of what is none.
//! - `peers`: OpenSSL, curl, Python's ssl, and tlslite-ng, which misbehaves.
//! - `chopped`: what comes in pieces.
//! - `edges`: lengths, ends and orders that are easily got wrong.
//! - `endings`: every ending in every phase.
//! - `halves`: a thread for each direction.
//! - `keys`: keys that wear out, and what comes before they are agreed on.
//! - `memory`: how little of it peers can take.
//! - `queues`: queues and wait events.
//! - `servers`: `serve`, drains, and raw waits that belong to threads.

#![cfg(all(feature = "tls-ring", any(target_os = "linux", target_env = "gnu")))]

#[path = "../support/records/mod.rs"]
mod records;
#[path = "../support/mod.rs"]
mod support;

#[allow(dead_code, reason = "the peers are those of this binary")]
#[path = "../support/reads/mod.rs"]
mod reads;

mod bad_input;
mod basics;
mod chopped;
mod complaints;
mod edges;
mod endings;
mod ends;
mod halves;
mod keys;
#[cfg(target_os = "linux")]
mod memory;
mod middle;
mod peer;
#[cfg(target_os = "linux")]
mod peers;
#[cfg(target_os = "linux")]
mod programs;
mod queues;
mod random_records;
mod servers;
