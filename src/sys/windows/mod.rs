//! Windows, where mio polls through a completion port and the AFD driver. What differs from Unix, and how it is met:
//!
//! - **A mio source belongs to one poll**, and closes its socket when it is dropped. A socket of this crate is in
//!   several polls at once: those of its two directions, and one for each queue. So each of these has a source of its
//!   own that *borrows* the socket, as `socket2::SockRef` does: [`PollSource`]. The driver keeps one poll operation for
//!   each pair of socket and completion port, so they don't get in one another's way. Duplicated handles
//!   (`WSADuplicateSocket`) would keep a connection or a port alive until the last of them is closed, and a poll for
//!   each socket would take away what a queue is for.
//! - **mio stops watching for what it has reported** until an operation of its own finds "would block", which never
//!   happens here. So it is asked to watch again: [`REPORTS_ONCE`]. The driver's poll is level-triggered: what has come
//!   meanwhile is reported at once.
//! - **There are no signal handlers.** A console control handler runs in a thread of its own: see [`on_signal`]. What
//!   has to be async-signal-safe on Unix may, on Windows, do what any thread may do. So a handle frees the waiters of a
//!   socket that no thread uses, and closes it: [`HANDLERS_INTERRUPT`].
//! - **There is no `dup2` for sockets.** Closing a socket that was borrowed through `AsSocket` only shuts it down; the
//!   handle is closed when its owner opens or drops it. The peer sees the end of the stream, but a *listener* that was
//!   ever borrowed keeps its port until then: [`replace`].
//! - `SO_REUSEADDR` would let any process take the port over: see [`set_reuse_address`].
//! - The documentation doesn't exclude that a read is short while there is more to read: [`SHORT_READ_EMPTIES`]. Only
//!   [`poll`] knows of urgent data.
//! - The system doesn't tell which process is at the other end of a Unix-domain connection, and has no abstract
//!   namespace.
//! - A connection to a port of this machine without a listener is refused after some two seconds: the system tries
//!   again.

mod domain;
mod error;
mod poll;
mod raw;
#[cfg(feature = "signal")]
mod signal;
mod socket;
mod waker;

pub(crate) use self::domain::*;
pub(crate) use self::error::*;
pub(crate) use self::poll::*;
pub(crate) use self::raw::*;
#[cfg(feature = "signal")]
pub(crate) use self::signal::*;
pub(crate) use self::socket::*;
pub(crate) use self::waker::*;
