//! `SocketEventQueue`, and `SocketWaitEvent`, U++'s set of sockets.
//!
//! - `reports`: what a queue reports of a socket, and for how long.
//! - `subscriptions`: what is subscribed, changed, removed and dropped.
//! - `threads`: several threads in one queue, and what one of them leaves to the others.
//! - `at_most`: threads that take a few events at a time.
//! - `close`: what closing sockets, queues and registries does.
//! - `read_ahead`: what a socket has read ahead counts as readable.
//! - `linear`: many sockets cost each of them the same.
//! - `misuse`: what is asked of a queue in error.
//! - `program_code`: code of the program that the crate calls, and that uses the queue itself.
//! - `random`: random operations, after which a queue says what poll(2) says.
//! - `ten_thousand`: ten thousand connections in one queue.
//! - `wait_event`: `SocketWaitEvent`.
//!
//! Queues and signals are in `../signals`, queues without descriptors in `../scarcity`.

#[path = "../support/mod.rs"]
mod support;

mod at_most;
mod close;
mod linear;
mod misuse;
mod program_code;
mod random;
mod read_ahead;
mod reports;
mod subscriptions;
mod ten_thousand;
mod threads;
mod wait_event;
