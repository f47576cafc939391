//! Windows, where mio polls through a completion port and the AFD driver. What differs from Unix, and how it is met:
//!
//! - **A mio source belongs to one poll**, and closes its socket when it is dropped. A socket here is in several polls
//!   at once: those of its two directions, and one for each queue. So each of these has a source of its own that
//!   *borrows* the socket, as `socket2::SockRef` does: [`PollSource`]. The driver keeps one poll operation for each
//!   pair of socket and completion port, so they don't get in one another's way. Duplicated handles
//!   (`WSADuplicateSocket`) would keep a connection or a port alive until the last of them is closed, and a poll for
//!   each socket would take away what a queue is for.
//! - **What was reported is not watched any more** until mio sees an operation of its own say "would block", which it
//!   never does here. So it is asked to watch again: [`REPORTS_ONCE`]. The driver's poll is level-triggered: what has
//!   come meanwhile is reported at once.
//! - **There are no signal handlers.** A console control handler runs in a thread of its own: see [`on_signal`]. What
//!   is async-signal-safe on Unix is, here, what may be called from any thread; so a handle frees the waiters of a
//!   socket that no thread is inside of, and closes it: [`HANDLERS_INTERRUPT`].
//! - **No `dup2` for sockets.** One that is borrowed through `AsSocket` is only shut down when it is closed, and is
//!   closed when its owner opens or drops it. Its peer sees the end of the stream; but a *listener* that was ever
//!   borrowed keeps its port until then: [`replace`].
//! - `SO_REUSEADDR` would let any process take the port over: see [`set_reuse_address`].
//! - A read may be short while there is more to read, for all that is documented: [`SHORT_READ_EMPTIES`]. Urgent data
//!   is known to [`poll`] only.
//! - Nobody is told which process is at the other end of a Unix-domain connection, and there is no abstract namespace.
//! - A connection to a port of this machine where nobody listens is refused after some two seconds: the system tries
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
