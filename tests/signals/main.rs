//! Handlers of signals: what they may end, and what they interrupt. Alone since handlers are the process's.
//!
//! - `sockets`: handlers that end what blocks in sockets; with the feature `signal`, also what it installs.
//! - `queues`: handlers that interrupt anything at all that is done with queues.
//!
//! `../storm.rs` has all of it together.

#![cfg(target_os = "linux")]

#[path = "../support/mod.rs"]
mod support;

mod queues;
#[cfg(feature = "signal")]
mod sockets;
