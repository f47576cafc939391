//! System calls that fail. Alone since it stands in for most of the C library's.
//!
//! - `injected`: makes them fail when a test wants them to.
//! - `each_call`: whichever call of an operation fails, nothing is lost with it but what the error says.

#![cfg(all(target_os = "linux", target_env = "gnu", not(mio_unsupported_force_poll_poll)))]

#[path = "../support/mod.rs"]
mod support;

mod each_call;
mod injected;
