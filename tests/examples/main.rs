//! What the examples promise their readers: that they start, answer, say what failed, and end when they are told to.
//!
//! They run as the programs that `cargo test` has built, with clients and servers of the standard library. What is made
//! of foreign clients, `.ci/clients.py` tries.

#![cfg(unix)]
#![allow(unsafe_code, reason = "kill(2), openpty(3)")]
#![allow(unreachable_pub, reason = "a test has modules, but is no library")]
#![cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, unused_imports, reason = "what looks into /proc is left out")
)]

#[cfg(feature = "websocket")]
mod async_web_socket;
#[cfg(target_os = "linux")]
mod black_hole;
mod download;
mod handover;
mod http_client;
mod line_server;
mod line_servers;
mod many_clients;
#[cfg(target_os = "linux")]
mod proc;
mod raw_wait;
mod running;
mod scratch;
mod signal_handler;
#[cfg(target_os = "linux")]
mod soak;
#[cfg(target_os = "linux")]
mod terminal;
#[cfg(all(target_os = "linux", feature = "tls-ring"))]
mod tls;
mod unix_server;
#[cfg(feature = "websocket")]
mod web_socket;
#[cfg(feature = "websocket")]
mod web_socket_chat;
