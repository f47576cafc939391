//! Closing: what it ends, and what it waits for.
//!
//! - `sockets`: whatever blocks in a socket is ended by a close or an abort from elsewhere.
//! - `finish`: what the peer gets of an answer.
//! - `linger`: which close waits for unsent data.
//! - `shared`: what others have of a socket, too, is theirs.

// Stands in for getaddrinfo(3), and hands on what isn't about its host.
#[cfg(target_os = "linux")]
#[path = "../support/names.rs"]
mod names;
#[path = "../support/mod.rs"]
mod support;

mod finish;
mod linger;
#[cfg(target_os = "linux")]
mod shared;
mod sockets;
