//! TLS inside a socket.
//!
//! - `basics`: handshakes, bytes, the end, what a session says of itself.

#![cfg(all(feature = "tls-ring", target_os = "linux"))]

#[path = "../support/mod.rs"]
mod support;

mod basics;
mod ends;
