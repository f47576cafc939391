//! TLS inside a socket.
//!
//! - `basics`: handshakes, bytes, the end, what a session says of itself.
//! - `bad_input`: what isn't TLS, is broken off, changed or never ends, and whom nobody vouches for.
//! - `peers`: OpenSSL, curl, Python's ssl, and tlslite-ng, which misbehaves.
//! - `halves`: a thread for each direction.
//! - `queues`: queues and wait events.

#![cfg(all(feature = "tls-ring", target_os = "linux"))]

#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod basics;
mod ends;
mod halves;
mod middle;
mod peer;
mod peers;
mod programs;
mod queues;
