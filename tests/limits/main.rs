//! Limits: none is over early, or long after its time.
//!
//! - `each_operation`: limits of one operation.
//! - `exact`: parts of a millisecond.
//! - `from_elsewhere`: deadlines that handles set, and aborts.
//! - `global_timeout`: a limit over a run of operations.
//! - `when_wait`: the callback, which runs in steps of a limit.

#![allow(unsafe_code, reason = "signal handlers")]

// Stands in for getaddrinfo(3), and hands on what isn't about its host.
#[cfg(target_os = "linux")]
#[path = "../support/names.rs"]
mod names;
#[path = "../support/mod.rs"]
mod support;

mod each_operation;
#[cfg(all(target_os = "linux", not(mio_unsupported_force_poll_poll)))]
mod exact;
mod from_elsewhere;
mod global_timeout;
mod when_wait;
