//! Descriptors: none left, high numbers, and how many are used. Alone since it sets the limits of the process.
//!
//! - `sockets`
//! - `queues`

#![cfg(target_os = "linux")]

#[path = "../support/mod.rs"]
mod support;

mod queues;
mod sockets;
