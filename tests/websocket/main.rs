//! WebSockets.
//!
//! - `talking`: messages, fragments, pings; no byte is lost at a limit, wherever it comes.
//! - `faults`: what a peer does wrong, and what it is told.
//! - `hostile`: peers that want memory or time.
//! - `any_bytes`, `random`: whatever comes means the same in whatever pieces: frames, requests and answers.
//! - `chopped`: two that are cut short all the time, and whatever pieces come between them.
//! - `closing`: the closing handshake.
//! - `goodbyes`: whatever both ends do around it.
//! - `deflate`: compressed messages.
//! - `endings`: every way to end what blocks, at every point.
//! - `halves`: both directions at once.
//! - `in_queues`: what queues and wait events report.
//! - `opening`, `requests`: the opening handshake, from the client's side and the server's.
//! - `over`: the client's over a connection that stands.
//! - `secure`: all that over TLS.

#[path = "../support/allocated.rs"]
mod allocated;
#[path = "../support/names.rs"]
mod names;
#[path = "../support/mod.rs"]
mod support;

mod any_bytes;
mod chopped;
mod closing;
#[cfg(feature = "websocket-deflate")]
mod deflate;
mod endings;
mod ends;
mod faults;
#[cfg(unix)]
mod goodbyes;
mod halves;
mod hostile;
mod in_queues;
mod opening;
mod over;
mod random;
mod requests;
#[cfg(all(feature = "tls-ring", any(target_os = "linux", target_env = "gnu")))]
mod secure;
mod talking;
