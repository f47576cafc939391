//! Descriptors: none left, high numbers, and how many are used. Alone since it sets the limits of the process.
//!
//! - `sockets`
//! - `queues`
//! - `held_back`: a listener that can't accept, in queues.

#![cfg(target_os = "linux")]

#[path = "../support/mod.rs"]
mod support;

mod held_back;
mod queues;
mod sockets;
